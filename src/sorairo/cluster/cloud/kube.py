"""The cluster as the cloud controller sees it: what it writes of Services, Events, and what it asks of nodes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from sorairo.cluster.cloud import names
from sorairo.drivers.kubernetes import Access, KubernetesApi, NotReady
from sorairo.drivers.protocols import DriverError

log = structlog.get_logger(__name__)

Object = dict[str, Any]

COMPONENTS = {"Service": "service-controller", "Node": "route_controller"}
"""Who Events about an object are from: Kubernetes's own names for parts of a cloud controller."""
MESSAGE = 1024
"""Characters of an Event's message that everything which reads Events can be trusted with."""
REMEMBERED = 256
"""Events that are counted up when they happen again, rather than written anew."""


class Gone(Exception):
    """The object is no longer there."""


class Moved(Exception):
    """Somebody else wrote the object meanwhile; a watch will tell."""


class Kube:
    def __init__(self, api: KubernetesApi, access: Access) -> None:
        self.api = api
        self.access = access

    async def hold(self, service: Object) -> None:
        """Put our finalizer on, so that nothing in the cloud outlives its Service: also in `service` itself, for those
        who look at it again before a watch tells. Raises Gone, Moved, NotReady."""
        there = service["metadata"].get("finalizers") or []
        patched = await self._finalizers(service, [*there, names.FINALIZER])
        service["metadata"] |= {k: patched["metadata"][k] for k in ("finalizers", "resourceVersion")}

    async def let_go(self, service: Object) -> None:
        there = service["metadata"].get("finalizers") or []
        with contextlib.suppress(Gone):
            await self._finalizers(service, [f for f in there if f != names.FINALIZER])

    async def tell(self, service: Object, addresses: tuple[str, ...]) -> None:
        """Say in its status where a Service is reached; nothing when it has gone."""
        ingress = [{"ip": a} for a in addresses] or None
        with contextlib.suppress(Gone):
            await self._patch(f"{_path(service)}/status", {"status": {"loadBalancer": {"ingress": ingress}}})

    async def node_addresses(self) -> tuple[str, ...]:
        """Internal addresses of all nodes that load balancers may use, in order."""
        listed = await self.api.get(self.access, "/api/v1/nodes") or {"items": []}
        return tuple(
            sorted(
                a["address"]
                for node in listed["items"]
                if names.EXCLUDED not in (node["metadata"].get("labels") or {})
                for a in node.get("status", {}).get("addresses", [])
                if a["type"] == "InternalIP"
            )
        )

    async def condition(self, node: str, type: str, status: str, reason: str, message: str) -> None:
        """Set a condition of a node, if it is still there. Raises DriverError, NotReady."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        found = {"type": type, "status": status, "reason": reason, "message": message}
        found |= {"lastHeartbeatTime": now, "lastTransitionTime": now}
        patch = {"status": {"conditions": [found]}}
        with contextlib.suppress(Gone):
            await self._patch(f"/api/v1/nodes/{node}/status", patch, kind="strategic-merge-patch")

    async def _finalizers(self, service: Object, wanted: list[str]) -> Object:
        # The version makes it a compare-and-swap: a merge patch replaces the whole list, others' finalizers too.
        metadata = {"finalizers": wanted, "resourceVersion": service["metadata"]["resourceVersion"]}
        return await self._patch(_path(service), {"metadata": metadata})

    async def _patch(self, path: str, patch: Object, kind: str = "merge-patch") -> Object:
        response = await self.api.request(
            self.access,
            "PATCH",
            path,
            content=json.dumps(patch),
            headers={"Content-Type": f"application/{kind}+json"},
        )
        if response.status_code == 404:
            raise Gone(path)
        if response.status_code == 409:
            raise Moved(path)
        if not response.is_success:
            raise DriverError(f"PATCH {path}: {response.status_code} {response.text[:500]}")
        patched: Object = response.json()
        return patched


def addresses(service: Object) -> tuple[str, ...]:
    """Where its status says it is reached."""
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    return tuple(i["ip"] for i in ingress if i.get("ip"))


def _path(service: Object) -> str:
    return f"/api/v1/namespaces/{service['metadata']['namespace']}/services/{service['metadata']['name']}"


@dataclass(slots=True)
class _Told:
    name: str
    count: int
    first: str


class Events:
    """Writes Events about Services and nodes in the background, in order; one that happens again is counted up.

    `run` writes them until it is cancelled."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._queue: asyncio.Queue[tuple[Object, str, str, str]] = asyncio.Queue(1000)
        self._told: OrderedDict[tuple[str, str, str], _Told] = OrderedDict()

    def normal(self, about: Object, reason: str, message: str) -> None:
        self._add(about, "Normal", reason, message)

    def warning(self, about: Object, reason: str, message: str) -> None:
        self._add(about, "Warning", reason, message)

    def _add(self, about: Object, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        with contextlib.suppress(asyncio.QueueFull):  # Nobody reads a thousand at once.
            self._queue.put_nowait((about, type, reason, message[:MESSAGE]))

    async def run(self) -> None:
        while True:
            event = await self._queue.get()
            try:
                await self._write(*event)
            except (DriverError, NotReady) as e:
                log.warning("an event could not be written", reason=event[2], cause=str(e))
            finally:
                self._queue.task_done()

    async def written(self) -> None:
        """Wait until all have been."""
        await self._queue.join()

    async def _write(self, about: Object, type: str, reason: str, message: str) -> None:
        metadata, kind = about["metadata"], about.get("kind") or "Service"  # Lists leave it out.
        # Events about what is in no namespace are in the default one.
        space = {"namespace": metadata["namespace"]} if "namespace" in metadata else {}
        path = f"/api/v1/namespaces/{metadata.get('namespace', 'default')}/events"
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        key = (metadata["uid"], reason, message)
        told = self._told.get(key)
        if told:
            told.count += 1
            with contextlib.suppress(Gone):
                await self._kube._patch(f"{path}/{told.name}", {"count": told.count, "lastTimestamp": now})
                return
        digest = hashlib.sha256(f"{key}{time.time_ns()}".encode()).hexdigest()[:16]
        told = self._told[key] = _Told(f"{metadata['name'][:200]}.{digest}", 1, now)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        event = {
            "metadata": {"name": told.name, "namespace": metadata.get("namespace", "default")},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": kind,
                **space,
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
            "type": type,
            "reason": reason,
            "message": message,
            "source": {"component": COMPONENTS[kind]},
            "reportingComponent": COMPONENTS[kind],
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        response = await self._kube.api.request(self._kube.access, "POST", path, json=event)
        # 403: the namespace is going, and takes no more events; 404: it has gone.
        if not response.is_success and response.status_code not in (403, 404):
            raise DriverError(f"POST {path}: {response.status_code} {response.text[:300]}")
