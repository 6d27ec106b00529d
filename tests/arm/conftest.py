"""ARM in this process: the real engine and store, a made-up provider, tokens that are just names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from sorairo.arm import Arm, Settings, create_app
from sorairo.arm.inside import Inside
from sorairo.engine import trace
from sorairo.engine.control import Control
from sorairo.engine.errors import ArmError
from sorairo.engine.registry import Registry
from sorairo.engine.types import Action, Call, Context, Document, Inline, Provider, Resource, ResourceType, Step
from sorairo.identity.principal import Principal
from sorairo.providers import microsoft_resources
from sorairo.providers.microsoft_authorization.locks import Locks, locks
from sorairo.store import Store

SUBSCRIPTION = "0b1f6471-1bf0-4dda-aec3-111111111111"
OTHER = "0b1f6471-1bf0-4dda-aec3-222222222222"
SUB = f"/subscriptions/{SUBSCRIPTION}"
GROUP = f"{SUB}/resourceGroups/Web"
V = "2024-01-01"
RG = "2024-11-01"


class Gate:
    """A reconciler whose world is a set of names, and which waits at an open or a closed gate."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.world: set[str] = set()
        self.refusal: ArmError | None = None

    async def observe(self, ctx: Context, resource: Resource) -> bool:
        return resource.key in self.world

    def plan(self, resource: Resource, actual: bool) -> list[Step]:
        if resource.deleting:
            return [Step("unmake", self._unmake)] if actual else []
        return [] if actual else [Step("make", self._make)]

    async def _make(self, ctx: Context, resource: Resource) -> None:
        await self.open.wait()
        if self.refusal:
            raise self.refusal
        self.world.add(resource.key)

    async def _unmake(self, ctx: Context, resource: Resource) -> None:
        await self.open.wait()
        self.world.discard(resource.key)

    def status(self, resource: Resource, actual: bool) -> Document:
        return {"address": "10.0.0.1"}


def made_up_provider(gate: Gate) -> Provider:
    async def keys(call: Call) -> Document:
        return {"keys": [call.resource.rid.name], "asked": call.body, "expand": call.query.get("expand")}

    async def slow(call: Call) -> Document:
        await gate.open.wait()
        if call.body.get("fail"):
            raise ArmError("Refused", "the command was refused", target="command")
        return {"ran": call.body.get("command"), "properties": {"provisioningState": "Succeeded"}}

    def restart(resource: Resource, body: Document) -> None:
        resource.properties["restarts"] = resource.properties.get("restarts", 0) + 1

    async def sizes(*, location: str, scope: str, **_: Any) -> Document:
        return {"value": [{"name": "small", "location": location, "scope": scope}]}

    async def crash(**_: Any) -> Document:
        raise ZeroDivisionError("secret-in-a-message")

    async def tail(**_: Any) -> AsyncIterator[bytes]:
        async def lines() -> AsyncIterator[bytes]:
            yield b"one\n"
            yield b"two\n"

        return lines()

    versions = ("2024-01-01", "2023-05-01", "2022-01-01-preview")
    gadgets = ResourceType(
        "Microsoft.Test/gadgets",
        versions,
        reconciler=gate,
        actions=(
            Action("listKeys", "Microsoft.Test/gadgets/listKeys/action", run=keys),
            Action("run", "Microsoft.Test/gadgets/run/action", run=slow, lro=True),
            Action("invoke", "Microsoft.Test/gadgets/invoke/action", run=slow, lro=True, results="commandResults"),
            Action("restart", "Microsoft.Test/gadgets/restart/action", change=restart),
        ),
    )
    return Provider(
        "Microsoft.Test",
        (
            ResourceType("Microsoft.Test/widgets", versions, moves="yes", linked="Microsoft.Test/widgets/join/action"),
            gadgets,
            ResourceType("Microsoft.Test/gadgets/parts", versions, located=False),
            ResourceType(
                "Microsoft.Test/gadgets/slots", versions, inline=Inline("slots"), located=False, tracked=False
            ),
            ResourceType("Microsoft.Test/accounts", versions, reconciler=gate, created=202, moves="no"),
            ResourceType("Microsoft.Test/instances", versions, writable=False),
        ),
        routes=(
            ("GET", "locations/{location}/sizes", sizes),
            ("GET", "gadgets/{name}/crash", crash),
            ("GET", "gadgets/{name}/log", tail),
        ),
    )


@dataclass
class World:
    app: Arm
    client: httpx.AsyncClient
    control: Control
    store: Store
    gate: Gate
    roles: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Principal → what it may: (prefix of the action, scope), without regard to case."""

    async def call(
        self, method: str, path: str, body: Any = None, *, v: str | None = V, token: str = "owner", **headers: str
    ) -> httpx.Response:
        """One request; `v` is its api-version, keywords are headers with `_` for `-`."""
        params = {"api-version": v} if v else None
        url = httpx.URL(path, params={**dict(httpx.URL(path).params), **(params or {})}) if params else path
        sent = {"authorization": f"Bearer {token}", **{k.replace("_", "-"): h for k, h in headers.items()}}
        return await self.client.request(method, url, json=body, headers=sent)

    async def made(self, path: str, body: Document | None = None) -> Document:
        """PUT, and wait until it stands."""
        answer = await self.call("PUT", path, {"location": "eastus", **(body or {})}, v=RG if path == GROUP else V)
        assert answer.status_code < 300, answer.text
        if "azure-asyncoperation" in answer.headers:
            await self.ended(answer)
        return answer.json()

    async def ended(self, answer: httpx.Response) -> Document:
        """Ask for an operation until it has ended."""
        async with asyncio.timeout(10):
            while True:
                status = (await self.call("GET", answer.headers["azure-asyncoperation"], v=None)).json()
                if status["status"] != "InProgress":
                    return status
                await asyncio.sleep(0.01)


Start = Callable[..., Any]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start ARM; keywords are Settings."""
    stores: list[World] = []

    async def begin(**settings: Any) -> World:
        store = Store.open(f"sqlite:///{tmp_path}/{len(stores)}.db")
        trace.record_to(store.add_span)
        gate = Gate()
        inside = Inside(lambda object_id: Principal(object_id, "tenant-1"))
        held = Locks(store)
        store.listen(held.changed)
        authorization = Provider("Microsoft.Authorization", (locks(store),))
        providers = [microsoft_resources.provider(store, inside), authorization, made_up_provider(gate)]
        control = Control(store, Registry(providers), guard=held.check)
        await store.transact(
            lambda tx: [
                tx.put(
                    Resource(
                        f"/subscriptions/{s}",
                        {"properties": {"tenantId": "t", "displayName": "one"}},
                        observed_generation=1,
                        provisioning_state="Succeeded",
                    )
                )
                for s in (SUBSCRIPTION, OTHER)
            ]
        )

        def authenticate(header: str | None) -> Principal:
            if not header or not header.startswith("Bearer "):
                raise ArmError("AuthenticationFailed", "Authentication failed.", status=401)
            if header.endswith("expired"):
                raise ArmError("ExpiredAuthenticationToken", "The access token has expired.", status=401)
            return Principal(header.removeprefix("Bearer "), "tenant-1")

        def authorize(principal: Principal, action: str, scope: str) -> None:
            if principal.object_id == "owner":
                return
            for prefix, at in world.roles.get(principal.object_id, []):
                within = (scope.lower().rstrip("/") + "/").startswith(at.lower().rstrip("/") + "/")
                if within and action.lower().startswith(prefix.lower()):
                    return
            raise ArmError("AuthorizationFailed", f"may not '{action}' at '{scope}'", status=403)

        app = create_app(
            control,
            authenticate,
            authorize,
            Settings(**{"patience": 0.0, **settings}),
            challenge=lambda error: f'Bearer error="{error.code}"',
        )
        inside.bind(app)
        transport = httpx.ASGITransport(app)
        client = httpx.AsyncClient(transport=transport, base_url="https://arm.test:8443")
        world = World(app, client, control, store, gate)
        await control.loop.start()
        stores.append(world)
        return world

    yield begin
    for world in stores:
        world.gate.open.set()
        await world.control.loop.stop()
        await world.client.aclose()
        await world.store.close()


@pytest.fixture
async def arm(start: Start) -> World:
    """ARM with one resource group, `Web`."""
    world: World = await start()
    await world.made(GROUP, {"tags": {"env": "dev"}})
    return world
