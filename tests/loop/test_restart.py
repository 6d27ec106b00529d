"""What a sorairo that was killed leaves to the next one."""

from __future__ import annotations

import asyncio

import pytest

from sorairo.engine.errors import ArmError

from .toy import Gate, Sorairo, Toys


async def test_what_was_half_done_is_finished(sorairo: Sorairo, toys: Toys) -> None:
    gate = Gate()
    toys.before["three"] = gate
    operation = await sorairo.put("a")
    await gate.reached.wait()
    await sorairo.restart(meanwhile=toys.before.clear)
    ended = await sorairo.ended(operation)
    assert ended.status == "Succeeded"
    assert sorairo.right("a", "red")
    assert toys.ran.count(("a", "one")) == 1, "what was done is seen, not remembered, and not done again"


async def test_stopping_fails_nothing(sorairo: Sorairo, toys: Toys) -> None:
    gate = Gate()
    toys.before["one"] = gate
    operation = await sorairo.put("a")
    await gate.reached.wait()
    await sorairo.close()
    sorairo.open()
    now = sorairo.store.operation(operation.id)
    assert now
    assert (now.status, now.error) == ("InProgress", None)
    toys.before.clear()
    await sorairo.start()
    assert (await sorairo.ended(operation)).status == "Succeeded"


async def test_what_was_going_goes(sorairo: Sorairo, toys: Toys) -> None:
    await sorairo.made("a")
    gate = Gate()
    toys.before["remove"] = gate
    operation = await sorairo.delete("a")
    await gate.reached.wait()
    await sorairo.restart(meanwhile=toys.before.clear)
    assert (await sorairo.ended(operation)).status == "Succeeded"
    assert sorairo.get("a") is None


async def test_what_was_accepted_and_never_begun_is_done(sorairo: Sorairo, toys: Toys) -> None:
    sorairo.control.loop._stopping = True  # Killed between the commit and the waking of a worker.
    operation = await sorairo.put("a")
    await sorairo.restart()
    assert (await sorairo.ended(operation)).status == "Succeeded"
    assert sorairo.right("a", "red")


async def test_drift_is_repaired_without_an_operation(sorairo: Sorairo, toys: Toys) -> None:
    before = await sorairo.made("a")
    kept = await sorairo.made("b")

    def somebody_breaks_it() -> None:
        toys.world[sorairo.id("a").lower()]["two"] = "mud"
        toys.ran.clear()

    await sorairo.restart(meanwhile=somebody_breaks_it)
    await sorairo.quiet()
    assert sorairo.right("a", "red")
    assert toys.ran == [("a", "two")]
    assert sorairo.get("a") == before, "nothing was asked for, so the document and its etag stay"
    assert sorairo.get("b") == kept


async def test_drift_that_cannot_be_repaired_shows(sorairo: Sorairo, toys: Toys) -> None:
    await sorairo.made("a")

    async def refuse(ctx: object, resource: object) -> None:
        raise ArmError("Broken", "beyond repair")

    def somebody_breaks_it() -> None:
        toys.world.clear()
        toys.before["one"] = refuse

    await sorairo.restart(meanwhile=somebody_breaks_it)
    await sorairo.quiet()
    found = sorairo.get("a")
    assert found
    assert (found.provisioning_state, found.error) == ("Failed", {"code": "Broken", "message": "beyond repair"})


async def test_what_failed_is_not_tried_again_by_itself(sorairo: Sorairo, toys: Toys) -> None:
    async def refuse(ctx: object, resource: object) -> None:
        raise ArmError("NoPaint", "none")

    toys.before["one"] = refuse
    await sorairo.ended(await sorairo.put("a"))
    toys.ran.clear()
    await sorairo.restart(meanwhile=toys.before.clear)
    await asyncio.sleep(0.05)
    assert toys.ran == []


async def test_an_action_that_was_under_way_says_that_it_was_interrupted(sorairo: Sorairo) -> None:
    await sorairo.made("a")
    operation = await sorairo.act("a", {"wait": True, "secret": "s"})
    await sorairo.acting.wait()
    await sorairo.restart()
    ended = sorairo.store.operation(operation.id)
    assert ended
    assert ended.status == "Failed"
    assert ended.error
    assert ended.error["code"] == "OperationInterrupted"
    assert ended.input is None, "what it was given may hold secrets"
    again = await sorairo.ended(await sorairo.act("a", {"say": "ah"}))
    assert (again.status, again.result) == ("Succeeded", {"said": "ah"})


@pytest.mark.parametrize("times", [3])
async def test_being_killed_again_and_again_loses_nothing(sorairo: Sorairo, toys: Toys, times: int) -> None:
    operations = [await sorairo.put(f"t{n}") for n in range(20)]
    for _ in range(times):
        await asyncio.sleep(0.005)
        await sorairo.restart()
    for n, operation in enumerate(operations):
        assert (await sorairo.ended(operation)).status == "Succeeded"
        assert sorairo.right(f"t{n}", "red")
