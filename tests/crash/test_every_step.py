"""Death before and after each step of everything that can be asked of a cluster, in memory: all of them, in seconds.

The steps are those that an undisturbed run takes, so a new one is covered as soon as it is there.
`test_kill_at_every_step` does the same to real processes, for what memory cannot show.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sorairo.engine.types import Operation

from .world import CLUSTER, Kind, Life, World, cluster, everywhere, quickly


@dataclass(frozen=True)
class Change:
    """From a cluster with pools `before` (None: no cluster) to `after`, by what a client asks."""

    ask: Callable[[Life], Awaitable[Operation | None]]
    before: dict[str, int] | None
    after: dict[str, int] | None
    was_stopped: bool = False
    is_stopped: bool = False
    only: Kind | None = None
    """Where it is anything to do at all."""


CHANGES = {
    "create": Change(lambda life: life.put(CLUSTER, cluster(one=2)), None, {"one": 2}),
    "create behind a NAT gateway": Change(
        lambda life: life.put(CLUSTER, cluster(outbound="managedNATGateway", one=1)), None, {"one": 1}
    ),
    "create with an overlay": Change(lambda life: life.put(CLUSTER, cluster(overlay=True, one=2)), None, {"one": 2}),
    "create a private one": Change(lambda life: life.put(CLUSTER, cluster(private=True, one=1)), None, {"one": 1}),
    "create with kubenet": Change(lambda life: life.put(CLUSTER, cluster(kubenet=True, one=2)), None, {"one": 2}),
    "let nobody call it": Change(
        lambda life: life.put(CLUSTER, cluster(shut=True, one=1)), {"one": 1}, {"one": 1}, only="linux"
    ),
    "scale up": Change(lambda life: life.put(CLUSTER, cluster(one=3)), {"one": 1}, {"one": 3}),
    "scale down": Change(lambda life: life.put(CLUSTER, cluster(one=1)), {"one": 3}, {"one": 1}),
    "sign in with Entra": Change(lambda life: life.put(CLUSTER, cluster(entra=True, one=1)), {"one": 1}, {"one": 1}),
    "add a pool": Change(
        lambda life: life.put(
            f"{CLUSTER}/agentPools/two", {"properties": {"count": 2, "vmSize": "Standard_D2s_v3", "mode": "User"}}
        ),
        {"one": 1},
        {"one": 1, "two": 2},
    ),
    "delete a pool": Change(lambda life: life.delete(f"{CLUSTER}/agentPools/two"), {"one": 1, "two": 2}, {"one": 1}),
    "stop": Change(lambda life: life.act(CLUSTER, "stop"), {"one": 2}, {"one": 2}, is_stopped=True),
    "start": Change(lambda life: life.act(CLUSTER, "start"), {"one": 2}, {"one": 2}, was_stopped=True),
    "delete": Change(lambda life: life.delete(CLUSTER), {"one": 2}, None),
}


async def given(change: Change, kind: Kind, folder: Path) -> World:
    """A world in which the change can be asked for."""
    world = World(kind, folder)
    async with world.life() as life:
        await life.quiet()
        if change.before is not None:
            assert (await life.ended(await life.put(CLUSTER, cluster(**change.before)))).status == "Succeeded"
        if change.was_stopped:
            assert (await life.ended(await life.act(CLUSTER, "stop"))).status == "Succeeded"
        await life.quiet()
        await life.check(change.before, stopped=change.was_stopped)
    return world


async def undisturbed(change: Change, world: World) -> list[str]:
    """The crash points that it passes, each once, in order."""
    async with world.life() as life:
        await life.quiet()
        life.points.clear()
        operation = await life.ended(await change.ask(life))
        assert (operation.status, operation.error) == ("Succeeded", None)
        await life.quiet()
        await life.check(change.after, stopped=change.is_stopped)
        return list(dict.fromkeys(life.points))


@pytest.mark.parametrize("kind", ["hollow", "linux"])
async def test_killed_at_any_step_of_create_it_can_be_deleted(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has been finished first, so what is half there must be found by its traces alone."""
    quickly(monkeypatch)
    start = await given(CHANGES["create"], kind, tmp_path / "given")

    async def die(world: World, point: str) -> None:
        async with world.life(lambda passed: passed == point) as life:
            creation = await life.put(CLUSTER, cluster(one=2))
            await life.dead.wait()
        async with world.life() as life:
            deletion = await life.ended(await life.delete(CLUSTER))
            assert (deletion.status, deletion.error) == ("Succeeded", None), point
            # At the last points there was nothing left to do but to say so.
            assert (await life.ended(creation)).status in ("Canceled", "Succeeded")
            await life.quiet()
            await life.check(None)

    points = await undisturbed(CHANGES["create"], start.copy(tmp_path / "undisturbed"))
    await everywhere(start, points, tmp_path, die)


@pytest.mark.parametrize("kind", ["hollow", "linux"])
@pytest.mark.parametrize("what", CHANGES)
async def test_killed_at_any_step_it_ends_as_if_it_had_not_been(
    what: str, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch)
    change = CHANGES[what]
    if change.only not in (None, kind):
        pytest.skip(f"of no effect on {kind}")
    start = await given(change, kind, tmp_path / "given")
    points = await undisturbed(change, start.copy(tmp_path / "undisturbed"))
    assert points

    async def die(world: World, point: str) -> None:
        armed = False
        async with world.life(lambda passed: armed and passed == point) as life:
            await life.quiet()
            armed = True
            asked = await change.ask(life)
            await life.dead.wait()
        async with world.life() as life:
            operation = await life.ended(asked)
            assert (operation.status, operation.error) == ("Succeeded", None), point
            await life.quiet()
            await life.check(change.after, stopped=change.is_stopped)

    await everywhere(start, points, tmp_path, die)
