"""The whole origin in this process, on a host in memory: ARM with every provider, Graph and the token service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from crash.kubernetes import MemoryApi
from crash.world import PUBLIC, Host, _seed_nothing
from sorairo.arm import Arm, Settings, create_app
from sorairo.arm.inside import Inside
from sorairo.engine.control import Control
from sorairo.engine.registry import Registry
from sorairo.identity import http as identity_http
from sorairo.identity.authorization import Authorization
from sorairo.identity.bootstrap import Credentials, bootstrap
from sorairo.identity.directory import Directory
from sorairo.identity.graph import http as graph_http
from sorairo.identity.keys import load_keys
from sorairo.identity.principal import Principal
from sorairo.identity.tokens import Authority, Tokens
from sorairo.identity.verify import Verifier
from sorairo.main import principal_of
from sorairo.providers import (
    microsoft_authorization,
    microsoft_compute,
    microsoft_containerservice,
    microsoft_managedidentity,
    microsoft_network,
    microsoft_resources,
    schemas,
)
from sorairo.providers.capacity import Capacity
from sorairo.providers.microsoft_authorization.locks import Locks
from sorairo.providers.microsoft_compute.sizes import SIZES
from sorairo.providers.microsoft_containerservice import entra
from sorairo.providers.microsoft_containerservice.substrate import Substrate
from sorairo.store import Store

BASE = "https://127.0.0.1:9443"


@dataclass(slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw) if self.raw else None

    @property
    def code(self) -> str:
        body = self.body
        return str(body["error"]["code"]) if isinstance(body, dict) and "error" in body else ""


@dataclass
class Origin:
    app: Arm
    control: Control
    store: Store
    host: Host
    admin: Credentials
    tokens: dict[str, str] = field(default_factory=dict)
    """Of the administrator, by what it is for: `arm`, `graph`."""
    issue: Callable[[str, str], str] = lambda object_id, audience: ""
    """A token of somebody's: object id, audience."""
    kept: frozenset[str] = frozenset()
    """Keys of what must stay for the administrator to be one."""

    @property
    def subscription(self) -> str:
        return f"/subscriptions/{self.admin.subscriptionId}"

    async def call(
        self, method: str, path: str, query: str = "", body: Any = None, *, token: str | None = None, **headers: str
    ) -> Answer:
        """One request, straight into the application. `body`: bytes as they are, anything else as JSON; `token`: the
        administrator's own unless it is given."""
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "graph" if path.startswith("/v1.0") else "arm"
        token = self.tokens[kind] if token is None else token
        given = {"host": "127.0.0.1:9443", "content-type": "application/json", **headers}
        if token:
            given["authorization"] = f"Bearer {token}"
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": path,
            "raw_path": quote(path).encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [
                (k.replace("_", "-").encode(), v.encode("latin-1", "replace"))
                for k, v in given.items()
                if v is not None
            ],
            "server": ("127.0.0.1", 9443),
            "client": ("127.0.0.1", 1),
        }
        sent: list[Any] = []
        came = [{"type": "http.request", "body": raw, "more_body": False}]

        async def receive() -> Any:
            return came.pop() if came else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        found = {k.decode().lower(): v.decode("latin-1") for k, v in sent[0]["headers"]}
        return Answer(sent[0]["status"], found, b"".join(m.get("body", b"") for m in sent[1:]))

    async def quiet(self, seconds: float = 60) -> None:
        """Until nothing is pending and nobody works."""
        loop, deadline = self.control.loop, asyncio.get_running_loop().time() + seconds
        while work := [*loop._workers.values(), *loop._actions, *loop._watching._tasks, *self.control._commits]:
            left = deadline - asyncio.get_running_loop().time()
            assert left > 0, [(k, self.store.get(k)) for k in loop._workers] or work
            await asyncio.wait(work, timeout=left)

    async def half_made(self) -> list[str]:
        """What is neither whole nor gone, in words; to be asked when it is quiet."""
        found = [f"{key} is pending" for key in self.store.pending()]
        found += [f"{o.action} {o.resource_id} goes on" for o in self.store.operations(status="InProgress")]
        for resource in self.store.list():
            state = resource.provisioning_state
            if state not in ("Succeeded", "Failed", "Canceled"):
                found.append(f"{resource.id} is {state}")
            if state == "Failed" and not resource.error:
                found.append(f"{resource.id} has failed, and does not say why")
            rid, type = resource.rid, self.control.registry.type(resource.rid.type)
            group = f"/subscriptions/{rid.subscription}/resourceGroups/{rid.resource_group}"
            if rid.resource_group and self.store.get(group) is None:
                found.append(f"{resource.id} is in no group")
            if type and type.reconciler and state == "Succeeded":
                actual = await type.reconciler.observe(self.control.loop.context(resource), resource)
                if plan := type.reconciler.plan(resource, actual):
                    found.append(f"{resource.id} still needs {[s.name for s in plan]}")
        orphans = {id: o for id, o in self.host.objects.items() if self.store.get(o) is None}
        return found + [f"{id} stands for {owner}, which is not there" for id, owner in orphans.items()]


@asynccontextmanager
async def origin(folder: Path, host: Host | None = None) -> AsyncIterator[Origin]:
    """`host`: that of an earlier one on the same folder, which goes on with what it left."""
    host = host or Host("hollow")
    store = Store.open(f"sqlite:///{folder}/state.db")
    directory = Directory(store)
    admin = await bootstrap(store, directory, folder / "credentials.json")
    authorization = Authorization(store)
    store.listen(authorization.changed)
    tokens = Tokens(Authority(BASE), load_keys(folder / "keys.json"), directory)
    verifier, graph = Verifier(tokens), Verifier(tokens, tokens.authority.graph)
    inside = Inside(lambda object_id: principal_of(directory, object_id))
    locks = Locks(store)
    store.listen(locks.changed)
    api = MemoryApi(host.etcd, host.control_planes, host.nodes)
    substrate = Substrate(
        "hollow",
        host.control_planes,
        host.links,
        api,
        PUBLIC,
        tuple(range(20000, 20100)),
        entra.Authority(directory.tenant_id, BASE, "CA"),
        None,
        _seed_nothing,
    )
    sizes = {name: (size.cpus, size.memory_bytes) for name, size in SIZES.items()}
    providers = [
        microsoft_resources.provider(store, inside),
        microsoft_authorization.provider(store, directory),
        microsoft_managedidentity.provider(directory),
        microsoft_network.provider(host.links, host.traffic, PUBLIC, host.names, blocks=True),
        microsoft_compute.provider(host.nodes, directory, Capacity(None)),
        microsoft_containerservice.provider(substrate, directory, sizes, Capacity(None), lambda *_: True),
    ]
    control = Control(store, Registry(providers), schemas.check, locks.check)

    def administers(caller: Principal) -> bool:
        scope = f"/subscriptions/{directory.tenant['subscriptionId']}"
        return authorization.allows(caller, "Microsoft.Authorization/roleAssignments/write", scope)

    app = create_app(
        control,
        verifier.authenticate,
        authorization.authorize,
        Settings(tenant=directory.tenant, base_url=BASE, patience=0.0),
        challenge=verifier.challenge,
        mounts=[
            (identity_http.PATHS, identity_http.create_app(tokens)),
            (graph_http.PATHS, graph_http.create_app(directory, store, graph.authenticate, administers, BASE)),
        ],
    )
    inside.bind(app)

    def issue(object_id: str, audience: str) -> str:
        principal = directory.service_principal(object_id)
        assert principal
        return tokens.issue(principal, audience)

    it = Origin(app, control, store, host, admin, issue=issue)
    audiences = {"arm": f"{BASE}/", "graph": "https://graph.microsoft.com"}
    it.tokens = {kind: issue(admin.objectId, audience) for kind, audience in audiences.items()}
    it.kept = frozenset(r.key for r in store.list(type="Microsoft.Authorization/roleAssignments"))
    await control.loop.start()
    try:
        yield it
    finally:
        await control.loop.stop()
        await store.close()
