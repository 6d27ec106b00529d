"""How a plan is carried out: the order of needs, what fails with what, and where a crash test may strike."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from sorairo.engine.errors import ArmError, Retry
from sorairo.engine.steps import run_plan, together
from sorairo.engine.types import Context, Resource, Step

NOBODY = cast(Context, None)
RESOURCE = Resource("/subscriptions/s/resourceGroups/g/providers/Microsoft.Test/toys/a", {})

# (name, needs, what it raises) → names that ran, and what came out.
CASES: list[tuple[str, list[tuple[str, str, Exception | None]], list[str], Exception | None]] = [
    ("nothing to do", [], [], None),
    ("a chain, whatever its order", [("c", "b", None), ("b", "a", None), ("a", "", None)], ["a", "b", "c"], None),
    ("a diamond", [("a", "", None), ("b", "a", None), ("c", "a", None), ("d", "bc", None)], ["a", "b", "c", "d"], None),
    ("what waits is skipped with what needs it", [("a", "", Retry(1, "r")), ("b", "a", None), ("c", "b", None),
     ("d", "", None)], ["a", "d"], Retry(1, "r")),
    ("the soonest retry counts", [("a", "", Retry(3, "slow")), ("b", "", Retry(1, "fast"))], ["a", "b"],
     Retry(1, "fast")),
    ("an error outweighs a retry", [("a", "", Retry(1, "r")), ("b", "", ArmError("E", "e"))], ["a", "b"],
     ArmError("E", "e")),
    ("an ARM error outweighs a bug", [("a", "", RuntimeError("bug")), ("b", "", ArmError("E", "e"))], ["a", "b"],
     ArmError("E", "e")),
    ("what needs what failed does not run", [("a", "", RuntimeError("bug")), ("b", "a", None)], ["a"],
     RuntimeError("bug")),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "steps", "ran", "raised"), CASES, ids=[c[0] for c in CASES])
async def test_plan(
    reason: str, steps: list[tuple[str, str, Exception | None]], ran: list[str], raised: Exception | None
) -> None:
    begun: list[str] = []

    def step(name: str, error: Exception | None) -> Callable[..., Awaitable[None]]:
        async def run(ctx: Context, resource: Resource) -> None:
            begun.append(name)
            if error:
                raise error

        return run

    plan = [Step(name, step(name, error), needs=tuple(needs)) for name, needs, error in steps]
    work = run_plan(plan, NOBODY, RESOURCE, kind="toys", crash=lambda point: None)
    if raised is None:
        await work
    else:
        with pytest.raises(type(raised)) as found:
            await work
        assert str(found.value) == str(raised)
    assert sorted(begun) == sorted(ran)
    order = {name: n for n, name in enumerate(begun)}
    assert all(order[need] < order[s.name] for s in plan if s.name in order for need in s.needs)


async def test_a_need_that_names_no_step_is_a_bug() -> None:
    plan = [Step("a", _nothing, needs=("b",))]
    with pytest.raises(ValueError, match="step a needs b, which is not in the plan"):
        await run_plan(plan, NOBODY, RESOURCE, kind="toys", crash=lambda point: None)


async def test_a_crash_may_strike_before_and_after_each_step() -> None:
    points: list[str] = []
    plan = [Step("a", _nothing), Step("b", _nothing, needs=("a",))]
    await run_plan(plan, NOBODY, RESOURCE, kind="toys", crash=points.append)
    assert points == ["toys/a:before", "toys/a:after", "toys/b:before", "toys/b:after"]


async def test_arguments_reach_the_step() -> None:
    found: list[Any] = []

    async def run(ctx: Context, resource: Resource, *args: Any) -> None:
        found.extend(args)

    await run_plan([Step("a", run, (1, "x"))], NOBODY, RESOURCE, kind="toys", crash=lambda point: None)
    assert found == [1, "x"]


async def test_together_does_all_of_it_whatever_one_of_them_says() -> None:
    done: list[int] = []

    async def work(n: int, error: Exception | None) -> None:
        await asyncio.sleep(0.001 * n)
        done.append(n)
        if error:
            raise error

    errors: list[Exception | None] = [Retry(1, "r"), None, RuntimeError("bug"), ArmError("E", "e"), None]
    with pytest.raises(ArmError):
        await together(work(n, e) for n, e in enumerate(errors))
    assert done == [0, 1, 2, 3, 4]
    with pytest.raises(RuntimeError):
        await together(work(n, e) for n, e in enumerate(errors[:3]))


async def _nothing(ctx: Context, resource: Resource) -> None:
    return None
