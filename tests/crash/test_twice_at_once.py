"""Requests that meet: the same twice, one that undoes another, one after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sorairo.drivers.protocols import DriverError
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id
from sorairo.engine.loop import Loop
from sorairo.engine.types import Operation

from .world import CLUSTER, GROUP, Life, World, cluster, quickly

POOL = {"properties": {"count": 1, "vmSize": "Standard_D2s_v3", "mode": "User"}}


@pytest.fixture(params=["hollow", "linux"])
async def life(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Life]:
    quickly(monkeypatch)
    world = World(request.param, tmp_path)
    async with world.life() as life:
        await life.quiet()
        yield life


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails unexpectedly is tried again without a pause."""
    pause = Loop._pause
    monkeypatch.setattr(Loop, "_pause", lambda self, key, seconds: pause(self, key, min(seconds, 0.01)))


async def create(life: Life, **pools: int) -> None:
    assert (await life.ended(await life.put(CLUSTER, cluster(**pools)))).status == "Succeeded"


async def refused(request: object, code: str) -> None:
    with pytest.raises(ArmError) as error:
        await request  # type: ignore[misc]
    assert (error.value.code, error.value.status) == (code, 409)


class Shut:
    """API servers that do not answer, until the door is opened."""

    def __init__(self, life: Life) -> None:
        self._etcd = life.host.etcd

    async def __aenter__(self) -> None:
        self._etcd.shut = True

    async def __aexit__(self, *_: object) -> None:
        self._etcd.shut = False


async def test_two_equal_puts_make_one_cluster(life: Life) -> None:
    answers = await asyncio.gather(*(life.put(CLUSTER, cluster(one=2)) for _ in range(4)), return_exceptions=True)
    accepted = [a for a in answers if isinstance(a, Operation)]
    others = [a for a in answers if not isinstance(a, Operation)]
    assert len(accepted) == 1
    assert {e.code for e in others if isinstance(e, ArmError)} == {"OperationNotAllowed"}
    assert (await life.ended(accepted[0])).status == "Succeeded"
    await life.quiet()
    await life.check({"one": 2})


async def test_a_cluster_under_way_is_not_changed(life: Life) -> None:
    async with Shut(life):
        creation = await life.put(CLUSTER, cluster(one=1))
        await refused(life.put(CLUSTER, cluster(one=3)), "OperationNotAllowed")
        await refused(life.put(f"{CLUSTER}/agentPools/two", POOL), "OperationNotAllowed")
        await refused(life.act(CLUSTER, "stop"), "OperationNotAllowed")
    assert (await life.ended(creation)).status == "Succeeded"
    await life.quiet()
    await life.check({"one": 1})


async def test_delete_during_create(life: Life) -> None:
    async with Shut(life):
        creation = await life.put(CLUSTER, cluster(one=2))
        await asyncio.sleep(0.1)
        deletion = await life.delete(CLUSTER)
        assert (await life.ended(deletion)).status == "Succeeded"
    assert (await life.ended(creation)).status == "Canceled"
    await life.quiet()
    await life.check(None)
    await create(life, one=1)
    await life.check({"one": 1})


async def test_delete_at_any_moment_of_create(life: Life) -> None:
    for n in range(12):
        await life.put(CLUSTER, cluster(one=2))
        await asyncio.sleep(0.008 * n)
        assert (await life.ended(await life.delete(CLUSTER))).status == "Succeeded"
        await life.quiet()
        await life.check(None)


async def test_put_during_delete(life: Life) -> None:
    await create(life, one=2)
    deletions = [await life.delete(CLUSTER) for _ in range(3)]
    await refused(life.put(CLUSTER, cluster(one=1)), "Conflict")
    await refused(life.put(f"{CLUSTER}/agentPools/two", POOL), "Conflict")
    assert len({d.id for d in deletions if d}) == 1, "asked again, it is the same deletion"
    assert (await life.ended(deletions[0])).status == "Succeeded"
    await create(life, one=1)
    await life.quiet()
    await life.check({"one": 1})


async def test_create_after_a_create_that_failed(life: Life, impatient: None) -> None:
    machines = life.host.control_planes
    machines.fail["ensure_machine", "*"] = DriverError("the disk is full")
    failed = await life.ended(await life.put(CLUSTER, cluster(one=1)))
    assert failed.status == "Failed"
    assert failed.error
    assert "the disk is full" in failed.error["message"]
    machines.fail.clear()
    await create(life, one=2)
    await life.quiet()
    await life.check({"one": 2})


async def test_delete_after_a_create_that_failed(life: Life, impatient: None) -> None:
    machines = life.host.control_planes
    machines.half = True
    machines.fail["ensure_machine", "*"] = DriverError("the disk is full")
    assert (await life.ended(await life.put(CLUSTER, cluster(one=1)))).status == "Failed"
    machines.fail.clear()
    assert (await life.ended(await life.delete(CLUSTER))).status == "Succeeded"
    await life.quiet()
    await life.check(None)


async def test_a_node_that_could_not_be_made_is_tried_again(life: Life, impatient: None) -> None:
    await create(life, one=1)
    life.host.links.fail["ensure_nic", "*"] = DriverError("no memory")
    failed = await life.ended(await life.put(CLUSTER, cluster(one=3)))
    assert failed.status == "Failed"
    assert failed.error
    assert "no memory" in failed.error["message"]
    life.host.links.fail.clear()
    await create(life, one=3)
    await life.quiet()
    await life.check({"one": 3})


async def test_scaling_down_gives_up_a_node_that_could_not_be_made(life: Life, impatient: None) -> None:
    await create(life, one=1)
    life.host.links.fail["ensure_nic", "*"] = DriverError("no memory")
    assert (await life.ended(await life.put(CLUSTER, cluster(one=3)))).status == "Failed"
    await create(life, one=1)
    await life.quiet()
    await life.check({"one": 1})


async def test_the_group_goes_while_a_cluster_is_made_in_it(life: Life) -> None:
    async with Shut(life):
        creation = await life.put(CLUSTER, cluster(one=2))
        await asyncio.sleep(0.05)
        deletion = await life.delete(GROUP)
        await refused(life.put(CLUSTER, cluster(one=2)), "ResourceGroupBeingDeleted")
        assert (await life.ended(deletion)).status == "Succeeded"
    assert (await life.ended(creation)).status == "Canceled"
    await life.quiet()
    assert life.host.objects == {}
    assert [r.rid.type for r in life.store.list()] == ["Microsoft.Resources/subscriptions"]


async def test_names_differ_by_more_than_case(life: Life) -> None:
    await create(life, one=1)
    shouted = CLUSTER.upper().replace("/SUBSCRIPTIONS/", "/subscriptions/")
    await create(life, one=1)
    operation = await life.put(shouted, cluster(one=2))
    assert (await life.ended(operation)).status == "Succeeded"
    await life.quiet()
    await life.check({"one": 2})
    assert [c.id for c in life.store.list(type=parse_id(CLUSTER).type)] == [CLUSTER]
