"""From a wish to a world: what the loop does when all goes well, and when it does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sorairo.engine.errors import ArmError, Retry
from sorairo.engine.loop import ATTEMPTS
from sorairo.engine.types import Context, Resource

from .toy import Gate, Sorairo, Toys, once


async def test_a_wish_becomes_true_and_is_shown(sorairo: Sorairo) -> None:
    operation = await sorairo.ended(await sorairo.put("a", "red"))
    assert operation.status == "Succeeded"
    found = sorairo.get("a")
    assert found
    assert (found.provisioning_state, found.status, found.settled) == ("Succeeded", {"seen": "red"}, True)
    assert sorairo.right("a", "red")
    assert sorairo.store.pending() == []


async def test_only_what_differs_is_done(sorairo: Sorairo, toys: Toys) -> None:
    await sorairo.made("a")
    toys.ran.clear()
    del toys.world[sorairo.id("a").lower()]["three"]
    await sorairo.made("a")
    assert toys.ran == [("a", "three")]


async def test_a_step_that_needs_no_other_runs_beside_it(sorairo: Sorairo, toys: Toys) -> None:
    two, three = Gate(), Gate()
    toys.before = {"two": two, "three": three}
    operation = await sorairo.put("a")
    await two.reached.wait()
    await three.reached.wait()  # Both wait: neither had to end for the other to begin.
    assert toys.ran[0] == ("a", "one")
    two.opened.set()
    three.opened.set()
    assert (await sorairo.ended(operation)).status == "Succeeded"


async def test_one_resource_is_worked_on_by_one_and_others_at_once(sorairo: Sorairo, toys: Toys) -> None:
    gate, three = Gate(), asyncio.Barrier(4)

    async def meet(ctx: Context, resource: Resource) -> None:
        await three.wait()
        await gate(ctx, resource)

    toys.before["one"] = meet
    operations = [await sorairo.put(name) for name in "abc"]
    await three.wait()
    for key in "abc":  # Being looked at again by everyone does not start a second worker.
        sorairo.control.loop.wake(sorairo.id(key).lower())
        sorairo.control.loop.wake(sorairo.id(key).lower(), drift=True)
    await asyncio.sleep(0.01)
    gate.opened.set()
    for operation in operations:
        assert (await sorairo.ended(operation)).status == "Succeeded"
    assert toys.ran.count(("a", "one")) == toys.ran.count(("b", "one")) == 1


# --- not yet -------------------------------------------------------------------------------------------------


async def test_retry_waits_as_long_as_it_says_and_says_why(sorairo: Sorairo, toys: Toys, pauses: list[float]) -> None:
    said: list[str] = []

    async def look(ctx: Context, resource: Resource) -> None:
        found = sorairo.get("a")
        operation = sorairo.store.operation(found.operation or "") if found else None
        said.append(operation.message if operation else "?")

    toys.before = {"two": once(Retry(0.7, "the paint is wet"), Retry(0.3, "still wet")), "one": look, "three": look}
    operation = await sorairo.ended(await sorairo.put("a"))
    assert operation.status == "Succeeded"
    assert operation.message == ""
    assert [p for p in pauses if p in (0.7, 0.3)] == [0.7, 0.3]
    assert said[0] == ""
    # What did succeed beside the one that did not is not done again.
    assert toys.ran.count(("a", "three")) == 1


async def test_a_step_whose_need_is_not_ready_is_left_out(sorairo: Sorairo, toys: Toys, pauses: list[float]) -> None:
    toys.before = {"one": once(Retry(0.5, "not yet"))}
    await sorairo.made("a")
    assert toys.ran == [("a", "one"), ("a", "one"), ("a", "two"), ("a", "three")]


async def test_a_plan_that_changes_nothing_is_repeated_ever_less_often(
    sorairo: Sorairo, toys: Toys, pauses: list[float]
) -> None:
    toys.deaf = True

    async def hear_at_last(ctx: Context, resource: Resource) -> None:
        toys.deaf = len(pauses) < 12

    toys.before["one"] = hear_at_last
    assert (await sorairo.ended(await sorairo.put("a"))).status == "Succeeded"
    assert pauses == sorted(pauses)
    assert pauses[0] < 0.1
    assert pauses[-1] == 5


# --- never ---------------------------------------------------------------------------------------------------


async def test_an_arm_error_ends_the_operation_and_stops_the_other_steps(sorairo: Sorairo, toys: Toys) -> None:
    three = Gate()

    async def refuse(ctx: Context, resource: Resource) -> None:
        await three.reached.wait()
        raise ArmError("NoPaint", "there is none left", target="colour")

    toys.before = {"two": refuse, "three": three}
    operation = await sorairo.ended(await sorairo.put("a"))
    error = {"code": "NoPaint", "message": "there is none left", "target": "colour"}
    assert (operation.status, operation.error) == ("Failed", error)
    found = sorairo.get("a")
    assert found
    assert (found.provisioning_state, found.error, found.settled) == ("Failed", error, True)
    assert three.cancelled == 1


async def test_a_put_after_a_failure_tries_again(sorairo: Sorairo, toys: Toys) -> None:
    toys.before["two"] = once(ArmError("NoPaint", "none"))
    assert (await sorairo.ended(await sorairo.put("a"))).status == "Failed"
    found = await sorairo.made("a")
    assert (found.provisioning_state, found.error) == ("Succeeded", None)
    assert sorairo.right("a", "red")


async def test_the_most_final_error_wins(sorairo: Sorairo, toys: Toys) -> None:
    two = Gate()

    async def later(ctx: Context, resource: Resource) -> None:
        two.reached.set()
        raise Retry(0, "later")

    async def never(ctx: Context, resource: Resource) -> None:
        await two.reached.wait()
        raise ArmError("Never", "no")

    toys.before = {"two": later, "three": never}
    operation = await sorairo.ended(await sorairo.put("a"))
    assert operation.error
    assert operation.error["code"] == "Never"


async def test_a_bug_is_tried_again_then_told(
    sorairo: Sorairo, toys: Toys, pauses: list[float], logged: list[dict[str, Any]]
) -> None:
    messages: set[str] = set()

    async def bug(ctx: Context, resource: Resource) -> None:
        found = sorairo.get("a")
        operation = sorairo.store.operation(found.operation or "") if found else None
        messages.add(operation.message if operation else "?")
        raise ZeroDivisionError("the paint tin is empty")

    toys.before["one"] = bug
    operation = await sorairo.ended(await sorairo.put("a"))
    assert operation.status == "Failed"
    assert operation.error == {
        "code": "InternalExecutionError",
        "message": "ZeroDivisionError: the paint tin is empty",
    }
    assert toys.ran.count(("a", "one")) == ATTEMPTS
    assert f"the paint tin is empty (attempt 2 of {ATTEMPTS})" in messages
    assert pauses == [0.4, 0.8, 1.6, 3.2]
    assert [e["attempt"] for e in logged if e["event"] == "reconcile failed"] == [1, 2, 3, 4, 5]
    assert all(isinstance(e["exc_info"], ZeroDivisionError) for e in logged if e["event"] == "reconcile failed")


async def test_a_bug_that_goes_away_leaves_no_trace(sorairo: Sorairo, toys: Toys, pauses: list[float]) -> None:
    toys.before["one"] = once(*[RuntimeError("no")] * (ATTEMPTS - 1))
    operation = await sorairo.ended(await sorairo.put("a"))
    assert (operation.status, operation.error, operation.message) == ("Succeeded", None, "")


async def test_a_bug_in_a_plan_does_not_hold_up_others(sorairo: Sorairo, toys: Toys) -> None:
    async def bug_of_a(ctx: Context, resource: Resource) -> None:
        if resource.rid.name == "a":
            raise RuntimeError("no")

    toys.before["one"] = bug_of_a
    await sorairo.put("a")
    await sorairo.made("b")


# --- a wish that changes -------------------------------------------------------------------------------------


async def test_a_later_put_supersedes_an_earlier_one(sorairo: Sorairo, toys: Toys) -> None:
    gate = Gate()
    toys.before["two"] = gate
    first = await sorairo.put("a", "red")
    await gate.reached.wait()
    del toys.before["two"]
    second = await sorairo.put("a", "blue")
    assert (await sorairo.ended(second)).status == "Succeeded"
    ended = await sorairo.ended(first)
    assert ended.status == "Canceled"
    assert ended.error
    assert "Superseded by a later PUT" in ended.error["message"]
    assert gate.cancelled == 1
    assert sorairo.right("a", "blue")


async def test_equal_puts_at_once_end_as_one_would(sorairo: Sorairo) -> None:
    operations = await asyncio.gather(*(sorairo.put("a") for _ in range(5)))
    states = sorted([(await sorairo.ended(o)).status for o in operations])
    assert states == ["Canceled"] * 4 + ["Succeeded"]
    assert sorairo.right("a", "red")


async def test_delete_cancels_what_is_being_made(sorairo: Sorairo, toys: Toys) -> None:
    gate = Gate()
    toys.before["three"] = gate
    creation = await sorairo.put("a")
    await gate.reached.wait()
    deletion = await sorairo.ended(await sorairo.delete("a"))
    assert deletion.status == "Succeeded"
    assert (await sorairo.ended(creation)).status == "Canceled"
    assert sorairo.get("a") is None
    assert toys.world.get(sorairo.id("a").lower()) is None


async def test_nothing_can_be_put_where_something_is_going(sorairo: Sorairo, toys: Toys) -> None:
    await sorairo.made("a")
    gate = Gate()
    toys.before["remove"] = gate
    deletion = await sorairo.delete("a")
    again = await sorairo.delete("a")
    assert deletion
    assert again
    assert again.id == deletion.id, "deleting what is being deleted is the same deletion"
    with pytest.raises(ArmError, match="being deleted") as refused:
        await sorairo.put("a", "blue")
    assert refused.value.status == 409
    gate.opened.set()
    await sorairo.ended(deletion)
    await sorairo.made("a", "blue")  # Afterwards the name is free.


async def test_a_deletion_that_fails_leaves_what_can_be_deleted_again(sorairo: Sorairo, toys: Toys) -> None:
    await sorairo.made("a")
    toys.before["remove"] = once(ArmError("Held", "somebody holds it"))
    failed = await sorairo.ended(await sorairo.delete("a"))
    assert failed.status == "Failed"
    found = sorairo.get("a")
    assert found
    assert (found.provisioning_state, found.deleting) == ("Failed", False)
    assert (await sorairo.ended(await sorairo.delete("a"))).status == "Succeeded"
    assert sorairo.get("a") is None


async def test_an_owner_looks_again_as_soon_as_what_it_made_has_settled(sorairo: Sorairo, toys: Toys) -> None:
    async def owner(ctx: Context, resource: Resource) -> None:
        part = f"{sorairo.id('a')}/parts/p"
        context = sorairo.control.loop.context(sorairo.get("a"))  # type: ignore[arg-type]
        if resource.rid.name == "a":
            await context.put(part, {"properties": {"colour": "red"}})
            if not (await context.get(part)).settled:  # type: ignore[union-attr]
                raise Retry(60, "waiting for the part")

    toys.before["two"] = owner
    async with asyncio.timeout(5):
        await sorairo.made("a")


async def test_an_owner_that_was_told_while_it_looked_does_not_wait(sorairo: Sorairo, toys: Toys) -> None:
    async def owner(ctx: Context, resource: Resource) -> None:
        if resource.rid.name == "a":
            part = f"{sorairo.id('a')}/parts/p"
            before = await ctx.get(part)
            await ctx.put(part, {"properties": {"colour": "red"}})
            await ctx.settled(part)  # Told here, while the round goes on.
            if before is None:
                raise Retry(60, "let us see again")

    toys.before["two"] = owner
    async with asyncio.timeout(5):
        await sorairo.made("a")


async def test_a_new_wish_is_heard_by_one_who_was_told_of_other_things_before(sorairo: Sorairo, toys: Toys) -> None:
    gate = Gate()
    toys.before["two"] = gate
    await sorairo.put("a")
    await gate.reached.wait()
    for _ in range(3):
        sorairo.control.loop.changed(sorairo.id("a").lower())
        await asyncio.sleep(0.005)
    assert (await sorairo.ended(await sorairo.delete("a"))).status == "Succeeded"
    assert gate.cancelled == 1


async def test_what_a_cancelled_step_has_asked_for_is_done(
    sorairo: Sorairo, toys: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = sorairo.control.loop.context(await sorairo.made("a"))
    committed, told = asyncio.Event(), asyncio.Event()
    transact = sorairo.store.transact

    async def slowly(fn: Any) -> Any:
        result = await transact(fn)
        committed.set()
        await told.wait()
        return result

    monkeypatch.setattr(sorairo.store, "transact", slowly)
    part = f"{sorairo.id('a')}/parts/p"
    step = asyncio.create_task(owner.put(part, {"properties": {"colour": "red"}}))
    await committed.wait()
    step.cancel()
    monkeypatch.undo()
    told.set()
    settled = await owner.settled(part, timeout=5)
    assert settled
    assert settled.provisioning_state == "Succeeded"
