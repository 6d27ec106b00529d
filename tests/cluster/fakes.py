"""ARM and an API server in memory: enough of both for a cloud controller, with every refusal at hand."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx

from sorairo.cluster.azure_json import CloudConfig
from sorairo.cluster.cloud.arm import Arm
from sorairo.cluster.cloud.controller import CloudController
from sorairo.cluster.cloud.signin import SignInFailed
from sorairo.drivers.kubernetes import Access, KubernetesApi, NotReady, Refused

Document = dict[str, Any]

CONFIG = CloudConfig(
    tenant_id="t",
    subscription_id="s",
    resource_group="MC_g_c_westeurope",
    location="westeurope",
    resource_manager="https://arm",
    security_group="aks-nsg",
    vnet="aks-vnet",
    vnet_group="MC_g_c_westeurope",
    subnet="aks-subnet",
    route_table="aks-routes",
    tags={"aks-managed-cluster-name": "c"},
)
GROUP = "/subscriptions/s/resourceGroups/MC_g_c_westeurope"
NETWORK = f"{GROUP}/providers/Microsoft.Network"
OUTBOUND = f"{NETWORK}/publicIPAddresses/outbound"


def error(status: int, code: str, message: str = "No.") -> httpx.Response:
    return httpx.Response(status, json={"error": {"code": code, "message": message}})


class FakeArm:
    """Documents by lower-case id. `refuse(method, path)` may answer instead."""

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}
        self.log: list[tuple[str, str]] = []
        self.refuse: Callable[[str, str], httpx.Response | None] = lambda method, path: None
        self.fail: Callable[[str, Document], str | None] = lambda path, body: None
        """The code that the operation of a PUT fails with, though what it put stays."""
        self.signed_in = True
        self._numbers = itertools.count(1)
        self.put(f"{NETWORK}/networkSecurityGroups/aks-nsg", {"properties": {"securityRules": []}})
        self.put(
            f"{NETWORK}/virtualNetworks/aks-vnet/subnets/aks-subnet", {"properties": {"addressPrefix": "10.0.0.0/8"}}
        )
        self.put(OUTBOUND, {"properties": {}})
        self.put(
            f"{NETWORK}/loadBalancers/kubernetes",
            {
                "properties": {
                    "frontendIPConfigurations": [{"name": "out", "properties": {"publicIPAddress": {"id": OUTBOUND}}}],
                    "backendAddressPools": [{"name": "kubernetes", "properties": {}}],
                    "outboundRules": [
                        {
                            "name": "aksOutboundRule",
                            "properties": {
                                "frontendIPConfigurations": [
                                    {"id": f"{NETWORK}/loadBalancers/kubernetes/frontendIPConfigurations/out"}
                                ]
                            },
                        }
                    ],
                }
            },
        )
        self.log.clear()

    def client(self) -> Arm:
        http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        return Arm(http, "https://arm", self)

    async def token(self) -> str:
        if not self.signed_in:
            raise SignInFailed("AADSTS7000222: The provided client secret keys for app 'x' are expired.")
        return "token"

    def forget(self) -> None:
        pass

    # --- documents -----------------------------------------------------------------------------------

    def get(self, id: str) -> Document | None:
        return self.documents.get(id.lower())

    def put(self, id: str, body: Document) -> Document:
        number = next(self._numbers)
        before = self.documents.get(id.lower(), {})
        document = {
            **copy.deepcopy(body),
            "id": before.get("id", id),
            "name": id.rsplit("/", 1)[1],
            "etag": f'W/"{number}"',
        }
        properties = document.setdefault("properties", {})
        if "/publicipaddresses/" in id.lower():
            known = before.get("properties", {}).get("ipAddress")
            properties["ipAddress"] = known or f"198.18.0.{number}"
        for frontend in properties.get("frontendIPConfigurations", []):
            if frontend["properties"].get("subnet"):
                frontend["properties"].setdefault("privateIPAddress", f"10.0.0.{number}")
        self.documents[id.lower()] = document
        return document

    def of(self, type: str) -> dict[str, Document]:
        """Documents of a network type by name, in order of name."""
        found = {d["name"]: d for k, d in self.documents.items() if k.rsplit("/", 2)[1] == type.lower()}
        return dict(sorted(found.items()))

    def writes(self) -> list[str]:
        return [f"{m} {p.rsplit('/', 2)[1]}/{p.rsplit('/', 1)[1]}" for m, p in self.log if m != "GET"]

    # --- HTTP ----------------------------------------------------------------------------------------

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        method, path = request.method, request.url.path
        self.log.append((method, path))
        if (refusal := self.refuse(method, path)) is not None:
            return refusal
        if path.startswith("/operations/"):
            code = path.rpartition("/")[2]
            if code == "done":
                return httpx.Response(200, json={"status": "Succeeded"})
            return httpx.Response(200, json={"status": "Failed", "error": {"code": code, "message": "No."}})
        there = self.documents.get(path.lower())
        if method == "GET":
            return self._read(path, there)
        if method == "DELETE":
            self.documents.pop(path.lower(), None)
            return httpx.Response(
                202 if there else 204, headers={"azure-asyncoperation": "https://arm/operations/done"}
            )
        if "if-match" in request.headers and (there is None or request.headers["if-match"] != there["etag"]):
            return error(412, "PreconditionFailed")
        body = json.loads(request.content)
        document = self.put(path, body)
        operation = f"https://arm/operations/{self.fail(path, body) or 'done'}"
        headers = {"azure-asyncoperation": operation, "retry-after": "1"}
        return httpx.Response(200 if there else 201, json=document, headers=headers)

    def _read(self, path: str, there: Document | None) -> httpx.Response:
        last = path.rsplit("/", 1)[1].lower()
        if last in ("loadbalancers", "publicipaddresses", "virtualmachinescalesets", "virtualmachines"):
            inside = [
                d
                for k, d in self.documents.items()
                if k.startswith(f"{path.lower()}/") and "/" not in k[len(path) + 1 :]
            ]
            return httpx.Response(200, json={"value": inside})
        return httpx.Response(200, json=there) if there else error(404, "ResourceNotFound")


class FakeApi(KubernetesApi):
    """Objects by path, with lists that can be watched."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, Document] = {}
        self.events: list[Document] = []
        self.down = False
        self.history: list[tuple[int, str, Document]] = []
        self.forgotten = 0
        """Watches from before this version are refused (410)."""
        self._version = 0
        self._news = asyncio.Event()

    # --- what users do -------------------------------------------------------------------------------

    def write(self, path: str, obj: Document) -> Document:
        self._version += 1
        obj = copy.deepcopy(obj)
        obj["metadata"]["resourceVersion"] = str(self._version)
        there = path in self.objects
        if obj["metadata"].get("deletionTimestamp") and not obj["metadata"].get("finalizers"):
            self.objects.pop(path, None)
            self._tell("DELETED", obj)
        else:
            self.objects[path] = obj
            self._tell("MODIFIED" if there else "ADDED", obj)
        return obj

    def remove(self, path: str) -> None:
        obj = copy.deepcopy(self.objects[path])
        if obj["metadata"].get("finalizers"):
            obj["metadata"]["deletionTimestamp"] = "now"
            self.write(path, obj)
        else:
            self._version += 1
            del self.objects[path]
            self._tell("DELETED", obj)

    def _tell(self, type: str, obj: Document) -> None:
        self.history.append((self._version, type, copy.deepcopy(obj)))
        self._news.set()
        self._news = asyncio.Event()

    # --- the driver's side ---------------------------------------------------------------------------

    async def request(self, access: Access, method: str, path: str, **kwargs: Any) -> httpx.Response:
        await asyncio.sleep(0)
        if self.down:
            raise NotReady("refused")
        if path.endswith("/events"):
            self.events.append(kwargs["json"])
            return httpx.Response(201, json=kwargs["json"])
        if "/events/" in path:
            event = next(e for e in self.events if e["metadata"]["name"] == path.rsplit("/", 1)[1])
            event.update(json.loads(kwargs["content"]))
            return httpx.Response(200, json=event)
        assert method == "PATCH"
        patch = json.loads(kwargs["content"])
        path = path.removesuffix("/status")
        there = self.objects.get(path)
        if there is None:
            return httpx.Response(404, json={})
        version = patch.get("metadata", {}).get("resourceVersion")
        if version and version != there["metadata"]["resourceVersion"]:
            return httpx.Response(409, json={})
        obj = copy.deepcopy(there)
        if "finalizers" in patch.get("metadata", {}):
            obj["metadata"]["finalizers"] = patch["metadata"]["finalizers"]
        if "strategic" in kwargs["headers"]["Content-Type"]:  # Conditions alone are asked for, by their type.
            new = {c["type"]: c for c in patch["status"]["conditions"]}
            before = {c["type"]: c for c in obj["status"].get("conditions", [])}
            obj["status"]["conditions"] = list({**before, **new}.values())
        elif "status" in patch:
            obj["status"] = patch["status"]
        return httpx.Response(200, json=self.write(path, obj))

    async def list(self, access: Access, path: str, *, accept: str = "", **params: str) -> Document:
        if self.down:
            raise NotReady("refused")
        items = [copy.deepcopy(o) for o in self.objects.values() if _list_of(o) == path]
        return {"items": items, "metadata": {"resourceVersion": str(self._version)}}

    async def get(self, access: Access, path: str, **params: str) -> Document | None:
        return await self.list(access, path)

    async def watch(
        self,
        access: Access,
        path: str,
        *,
        seconds: float,
        silence: float | None = None,
        accept: str = "",
        **params: str,
    ) -> AsyncGenerator[Document]:
        since = int(params["resourceVersion"])
        if since < self.forgotten:
            raise Refused("too old resource version", 410)
        while True:
            if self.down:
                raise NotReady("broken off")
            news = self._news
            for version, type, obj in list(self.history):
                if version > since:
                    since = version
                    if _list_of(obj) == path:
                        yield {"type": type, "object": copy.deepcopy(obj)}
            await news.wait()


def _list_of(obj: Document) -> str:
    return "/api/v1/nodes" if obj.get("kind") == "Node" else "/api/v1/services"


UID = "{:08d}-1bf0-4dda-aec3-000000000000"


def prefix(n: int) -> str:
    return ("a" + UID.format(n).replace("-", ""))[:32]


def service(n: int = 1, *, annotations: dict[str, str] | None = None, **spec: Any) -> Document:
    """`default/web<n>`, of type LoadBalancer with port 80; its uid and node ports follow from `n`."""
    ports = spec.pop("ports", [{"port": 80}])
    full = [{"protocol": "TCP", "nodePort": 30000 + 100 * n + i, "name": f"p{i}", **p} for i, p in enumerate(ports)]
    return {
        "kind": "Service",
        "metadata": {
            "name": f"web{n}",
            "namespace": "default",
            "uid": UID.format(n),
            "resourceVersion": "0",
            **({"annotations": annotations} if annotations else {}),
        },
        "spec": {"type": "LoadBalancer", "ports": full, "sessionAffinity": "None", **spec},
        "status": {"loadBalancer": {}},
    }


class World:
    """A cluster with its cloud, and the controller between them."""

    def __init__(self) -> None:
        self.arm = FakeArm()
        self.api = FakeApi()
        self.pod_cidr: str | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> World:
        access = Access("https://api", "", "", "")
        controller = CloudController(CONFIG, self.arm.client(), self.api, access, self.pod_cidr)
        self._task = asyncio.create_task(controller.run())
        return self

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    # --- what users do -------------------------------------------------------------------------------

    def apply(self, service: Document) -> None:
        path = _path(service["metadata"]["name"])
        there = self.api.objects.get(path)
        service = copy.deepcopy(service)
        if there:
            service["status"] = there["status"]
            service["metadata"]["finalizers"] = there["metadata"].get("finalizers", [])
        self.api.write(path, service)

    def delete(self, name: str) -> None:
        self.api.remove(_path(name))

    def node(self, name: str, *, block: str = "", address: str = "", **labels: str) -> None:
        """`block`: of the pod CIDR; `address`: the node's own."""
        addresses = [{"type": "InternalIP", "address": address}] if address else []
        obj = {"kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {"podCIDR": block}}
        self.api.write(f"/api/v1/nodes/{name}", {**obj, "status": {"addresses": addresses}})

    # --- what is seen --------------------------------------------------------------------------------

    def service(self, name: str) -> Document | None:
        return self.api.objects.get(_path(name))

    def addresses(self, name: str) -> list[str]:
        found = self.service(name) or {}
        return [i["ip"] for i in (found.get("status", {}).get("loadBalancer", {}).get("ingress") or [])]

    def reasons(self, name: str = "web1") -> list[str]:
        return [e["reason"] for e in self.api.events if e["involvedObject"]["name"] == name]

    def messages(self, reason: str) -> list[str]:
        return [e["message"] for e in self.api.events if e["reason"] == reason]

    def balancer(self, name: str = "kubernetes") -> Document:
        document = self.arm.get(f"{NETWORK}/loadBalancers/{name}")
        assert document
        return document

    def rules(self, name: str = "kubernetes") -> dict[str, Document]:
        return {r["name"]: r["properties"] for r in self.balancer(name)["properties"].get("loadBalancingRules", [])}

    def frontends(self, name: str = "kubernetes") -> list[str]:
        return [f["name"] for f in self.balancer(name)["properties"]["frontendIPConfigurations"]]

    def security(self) -> list[Document]:
        document = self.arm.get(f"{NETWORK}/networkSecurityGroups/aks-nsg")
        assert document
        return document["properties"]["securityRules"]  # type: ignore[no-any-return]

    async def until(self, what: Callable[[], Any], seconds: float = 5.0) -> None:
        async with asyncio.timeout(seconds):
            while not what():  # noqa: ASYNC110 - there is no one event for whatever it is
                await asyncio.sleep(0.002)

    async def reached(self, name: str = "web1") -> str:
        await self.until(lambda: self.addresses(name))
        return self.addresses(name)[0]

    async def quiet(self) -> None:
        """Until nothing has been asked of ARM or told to the API server for a while."""
        count = -1
        while count != (count := len(self.arm.log) + len(self.api.history)):  # noqa: ASYNC110
            await asyncio.sleep(0.03)


def _path(name: str) -> str:
    return f"/api/v1/namespaces/default/services/{name}"
