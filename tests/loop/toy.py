"""A resource type whose world is a dictionary, and a sorairo of nothing else: for tests of the engine alone."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sorairo.engine.control import Control
from sorairo.engine.ids import parse_id
from sorairo.engine.registry import Registry
from sorairo.engine.types import Action, Call, Context, Document, Operation, Provider, Resource, ResourceType, Step
from sorairo.store import Store

TYPE = "Microsoft.Test/toys"
CHILD = "Microsoft.Test/toys/parts"
GROUP = "/subscriptions/s/resourceGroups/g"

Hook = Callable[[Context, Resource], Awaitable[None]]


class Toys:
    """Made of three steps: `one`, then `two` and `three` at once. What is wanted is the property `colour`.

    `before[step]` runs at the start of a step; what it raises, the step raises. `deaf` worlds take nothing in.
    """

    def __init__(self) -> None:
        self.world: dict[str, dict[str, str]] = defaultdict(dict)
        self.before: dict[str, Hook] = {}
        self.deaf = False
        self.ran: list[tuple[str, str]] = []
        """(toy, step), in the order they began."""
        self.running: dict[str, int] = defaultdict(int)
        self.most_at_once: dict[str, int] = defaultdict(int)

    async def observe(self, ctx: Context, resource: Resource) -> dict[str, str]:
        return dict(self.world.get(resource.key, {}))

    def plan(self, resource: Resource, actual: dict[str, str]) -> list[Step]:
        if resource.deleting:
            return [Step("remove", self.remove)] if actual else []
        wanted = str(resource.properties.get("colour"))
        plan: list[Step] = []
        for name, needs in (("one", ()), ("two", ("one",)), ("three", ("one",))):
            if actual.get(name) != wanted:
                there = {s.name for s in plan}
                plan.append(Step(name, self.make, (name, wanted), tuple(n for n in needs if n in there)))
        return plan

    def status(self, resource: Resource, actual: dict[str, str]) -> Document:
        return {"seen": actual.get("one")}

    async def make(self, ctx: Context, resource: Resource, step: str, wanted: str) -> None:
        async with self._running(resource, step):
            if step in self.before:
                await self.before[step](ctx, resource)
            if not self.deaf:
                self.world[resource.key][step] = wanted

    async def remove(self, ctx: Context, resource: Resource) -> None:
        async with self._running(resource, "remove"):
            if "remove" in self.before:
                await self.before["remove"](ctx, resource)
            if not self.deaf:
                self.world.pop(resource.key, None)

    def _running(self, resource: Resource, step: str) -> _Running:
        return _Running(self, resource.rid.name, step)


class _Running:
    def __init__(self, toys: Toys, toy: str, step: str) -> None:
        self._toys, self._toy, self._step = toys, toy, step

    async def __aenter__(self) -> None:
        self._toys.ran.append((self._toy, self._step))
        for key in (self._toy, "all"):
            self._toys.running[key] += 1
            self._toys.most_at_once[key] = max(self._toys.most_at_once[key], self._toys.running[key])

    async def __aexit__(self, *_: object) -> None:
        for key in (self._toy, "all"):
            self._toys.running[key] -= 1


class Sorairo:
    """The engine on a database file; `restart` is what a kill and a start are to it."""

    def __init__(self, database: Path, toys: Toys) -> None:
        self.database = database
        self.toys = toys
        self.acting = asyncio.Event()
        self.open()

    def open(self) -> None:
        async def run(call: Call) -> Document:
            self.acting.set()
            if "wait" in call.body:
                await asyncio.Event().wait()
            return {"said": call.body.get("say")}

        self.store = Store.open(f"sqlite:///{self.database}")
        action = Action("run", f"{TYPE}/run/action", run, lro=True)
        toys = ResourceType(TYPE, ("1",), reconciler=self.toys, located=False, actions=(action,))
        parts = ResourceType(CHILD, ("1",), reconciler=self.toys, located=False)
        self.control = Control(self.store, Registry([Provider("Microsoft.Test", (toys, parts))]))

    async def start(self) -> Sorairo:
        if self.store.get(GROUP) is None:
            group = Resource(GROUP, {}, observed_generation=1, provisioning_state="Succeeded")
            await self.store.transact(lambda tx: tx.put(group))
        await self.control.loop.start()
        return self

    async def close(self) -> None:
        await self.control.loop.stop()
        await self.store.close()

    async def restart(self, *, meanwhile: Callable[[], None] = lambda: None) -> None:
        await self.close()
        meanwhile()
        self.open()
        await self.start()

    # --- what a client does --------------------------------------------------------------------------------

    def id(self, name: str) -> str:
        return f"{GROUP}/providers/{TYPE}/{name}"

    async def put(self, name: str, colour: str = "red") -> Operation:
        accepted = await self.control.put(parse_id(self.id(name)), {"properties": {"colour": colour}}, principal="p")
        assert accepted.operation
        return accepted.operation

    async def delete(self, name: str) -> Operation | None:
        return await self.control.delete(parse_id(self.id(name)), principal="p")

    async def act(self, name: str, body: Document) -> Operation:
        acted = await self.control.act(parse_id(self.id(name)), "run", body, {}, principal="p")
        assert acted.operation
        return acted.operation

    def get(self, name: str) -> Resource | None:
        return self.store.get(self.id(name))

    async def ended(self, operation: Operation | None) -> Operation:
        """The operation, once it has ended."""
        assert operation
        async with asyncio.timeout(10):
            while (now := self.store.operation(operation.id)) is None or now.status == "InProgress":
                await self.control.loop.wait_change(operation.resource_id.lower(), 0.05)
        return now

    async def quiet(self) -> None:
        """Until nobody works on anything."""
        async with asyncio.timeout(10):
            loop = self.control.loop
            while work := [*loop._workers.values(), *loop._watching._tasks]:
                await asyncio.wait(work)

    async def made(self, name: str, colour: str = "red") -> Resource:
        operation = await self.ended(await self.put(name, colour))
        assert operation.status == "Succeeded", operation
        found = self.get(name)
        assert found
        return found

    def right(self, name: str, colour: str) -> bool:
        return self.toys.world.get(self.id(name).lower()) == dict.fromkeys(("one", "two", "three"), colour)


def once(*errors: Exception) -> Hook:
    """Raises one after another, then lets things be."""
    left = list(errors)

    async def hook(ctx: Context, resource: Resource) -> None:
        if left:
            raise left.pop(0)

    return hook


class Gate:
    """A hook that waits until it is opened, and says that somebody waits."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        self.cancelled = 0

    async def __call__(self, ctx: Context, resource: Any) -> None:
        self.reached.set()
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
