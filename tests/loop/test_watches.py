"""A resource that others join and leave is looked at when they do, though nobody asks it for anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sorairo.engine.control import Control
from sorairo.engine.ids import ResourceId, parse_id
from sorairo.engine.registry import Registry
from sorairo.engine.types import Context, Document, Provider, Resource, ResourceType, Step, named
from sorairo.store import Store

GROUP = "/subscriptions/s/resourceGroups/g"
POOLS, MEMBERS = "Microsoft.Test/pools", "Microsoft.Test/members"


class Pools:
    """Shows who names it. A look takes `seconds`, and only happens while `gate` is open."""

    def __init__(self) -> None:
        self.looks: list[str] = []
        self.seconds = 0.0
        self.looking = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def observe(self, ctx: Context, resource: Resource) -> list[str]:
        members = [m.rid.name for m in await ctx.naming(resource.id, type=MEMBERS) if not m.deleting]
        self.looks.append(resource.rid.name)
        self.looking.set()
        await asyncio.sleep(self.seconds)
        await self.gate.wait()
        return members

    def plan(self, resource: Resource, actual: list[str]) -> list[Step]:
        return []

    def status(self, resource: Resource, actual: list[str]) -> Document:
        return {"members": actual}


class World:
    def __init__(self, control: Control, pools: Pools) -> None:
        self.control, self.pools = control, pools

    async def put(self, type: str, name: str, **properties: object) -> None:
        await self.control.put(_id(type, name), {"properties": properties}, principal="p")

    async def join(self, member: str, *pools: str) -> None:
        await self.put(MEMBERS, member, pools=[{"id": f"{_id(POOLS, pool)}/parts/p"} for pool in pools])

    async def shows(self, pool: str, *members: str) -> None:
        await self.until(pool, lambda it: it.status.get("members") == list(members))

    async def until(self, pool: str, true: Callable[[Resource], bool]) -> None:
        id = str(_id(POOLS, pool))
        async with asyncio.timeout(5):
            while not ((it := self.control.store.get(id)) and true(it)):
                await self.control.loop.wait_change(id.lower(), 1)


def _id(type: str, name: str) -> ResourceId:
    return parse_id(f"{GROUP}/providers/{type}/{name}")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = Store.open(f"sqlite:///{tmp_path}/s.db")
    pools = Pools()
    provider = Provider(
        "Microsoft.Test",
        (
            ResourceType(POOLS, ("1",), reconciler=pools, located=False, watches={MEMBERS: named}),
            ResourceType(MEMBERS, ("1",), located=False),
        ),
    )
    control = Control(store, Registry([provider]))
    group = Resource(GROUP, {}, observed_generation=1, provisioning_state="Succeeded")
    await store.transact(lambda tx: tx.put(group))
    yield World(control, pools)
    await control.loop.stop()
    await store.close()


async def test_who_comes_moves_and_goes_is_noticed(world: World) -> None:
    await world.put(POOLS, "a")
    await world.put(POOLS, "b")
    await world.shows("a")
    await world.join("m", "a")
    await world.shows("a", "m")
    await world.join("m", "b")
    await world.shows("a")
    await world.shows("b", "m")
    await world.control.delete(_id(MEMBERS, "m"), principal="p")
    await world.shows("b")


async def test_a_change_during_a_look_is_looked_at_after_it(world: World) -> None:
    await world.put(POOLS, "a")
    await world.shows("a")
    world.pools.gate.clear()
    world.pools.looking.clear()
    await world.join("m", "a")
    await world.pools.looking.wait()
    await world.join("n", "a")
    world.pools.gate.set()
    await world.shows("a", "m", "n")


async def test_what_is_written_while_everything_stops_is_told_to_nobody(world: World) -> None:
    await world.put(POOLS, "a")
    await world.put(MEMBERS, "m")
    await world.shows("a")
    await world.control.loop.stop()
    asked = len(asyncio.all_tasks())
    world.control.loop.written(world.control.store.get(str(_id(MEMBERS, "m"))))
    assert len(asyncio.all_tasks()) == asked


async def test_a_look_that_costs_is_not_taken_all_the_time(world: World) -> None:
    await world.put(POOLS, "a")
    await world.shows("a")
    world.pools.seconds = 0.03
    before = len(world.pools.looks)
    began = time.monotonic()
    for n in range(40):
        await world.join(f"m{n:02}", "a")
        await asyncio.sleep(0.005)
    took = time.monotonic() - began
    await world.shows("a", *(f"m{n:02}" for n in range(40)))
    assert 2 <= len(world.pools.looks) - before <= 2 + took / 0.12


async def test_a_wish_is_not_kept_waiting_by_that(world: World) -> None:
    await world.put(POOLS, "a")
    await world.shows("a")
    world.pools.seconds = 1.0
    await world.join("m", "a")
    await world.shows("a", "m")
    world.pools.seconds = 0.0
    began = time.monotonic()
    await world.put(POOLS, "a", color="blue")
    await world.until("a", lambda it: it.settled and "color" in it.properties)
    assert time.monotonic() - began < 1.0


async def test_a_pool_whose_look_failed_is_looked_at_again(world: World) -> None:
    await world.put(POOLS, "a")
    await world.shows("a")
    fails = 2
    observe = world.pools.observe

    async def failing(ctx: Context, resource: Resource) -> list[str]:
        nonlocal fails
        fails -= 1
        if fails >= 0:
            raise OSError("the host is busy")
        return await observe(ctx, resource)

    world.pools.observe = failing  # type: ignore[method-assign]
    await world.join("m", "a")
    await world.shows("a", "m")


async def test_only_what_clients_wrote_counts_as_naming(world: World) -> None:
    pool = str(_id(POOLS, "a"))
    await world.put(POOLS, "a", own=f"{pool}/parts/p")
    await world.shows("a")
    other = Resource(str(_id(MEMBERS, "m")), {}, status={"pool": {"id": pool}}, private={"pool": pool})
    await world.control.store.transact(lambda tx: tx.put(other))
    assert world.control.store.naming(pool) == []


async def test_who_names_whom_is_known_again_after_a_restart(world: World, tmp_path: Path) -> None:
    await world.put(POOLS, "a")
    await world.join("m", "a")
    await world.join("n", "a")
    again = Store.open(f"sqlite:///{tmp_path}/s.db")
    pool = str(_id(POOLS, "a"))
    assert [r.rid.name for r in again.naming(pool.upper())] == ["m", "n"]
    assert [r.rid.name for r in again.naming(f"{pool}/parts/p", type=MEMBERS)] == ["m", "n"]
    assert again.naming(pool, type=POOLS) == []
    await again.close()
