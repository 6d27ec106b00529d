"""Run a plan: every step as soon as what it needs is done, each in a span of its own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterable

from sorairo.engine import trace
from sorairo.engine.errors import ArmError, Retry
from sorairo.engine.types import Context, Resource, Step

Crash = Callable[[str], None]


def crash_from_environment() -> Crash:
    """Kill this process, as hard as power loss does, at the step named in `SORAIRO_CRASH_AT`.

    `type/step:before` or `type/step:after`, such as `managedClusters/start-control-plane:after`. For crash tests.
    """
    at = os.environ.get("SORAIRO_CRASH_AT", "")
    if not at:
        return lambda point: None

    def crash(point: str) -> None:
        if point == at:
            os.kill(os.getpid(), signal.SIGKILL)

    return crash


async def run_plan(plan: list[Step], ctx: Context, resource: Resource, *, kind: str, crash: Crash) -> None:
    """Run all steps, in the order of `needs`. Raises the most final thing any step raised.

    An ArmError cancels the others; a Retry lets them finish first. ValueError: a need that names no step.
    """
    names = {s.name for s in plan}
    for s in plan:
        for need in s.needs:
            if need not in names:
                raise ValueError(f"step {s.name} needs {need}, which is not in the plan")
    done = {s.name: asyncio.Event() for s in plan}
    failed: set[str] = set()

    async def one(step: Step) -> None:
        for need in step.needs:
            await done[need].wait()
        try:
            if failed.intersection(step.needs):
                failed.add(step.name)
                return
            crash(f"{kind}/{step.name}:before")
            with trace.span(step.name, "step", args=[str(a)[:200] for a in step.args]) as span:
                try:
                    await step.run(ctx, resource, *step.args)
                except Retry as e:
                    trace.end(span, "retry")
                    failed.add(step.name)
                    raise _Later(e) from None
            crash(f"{kind}/{step.name}:after")
        except BaseException:
            failed.add(step.name)
            raise
        finally:
            done[step.name].set()

    later: list[Retry] = []

    async def guarded(step: Step) -> None:
        try:
            await one(step)
        except _Later as e:
            later.append(e.retry)

    try:
        async with asyncio.TaskGroup() as group:
            for step in plan:
                group.create_task(guarded(step))
    except BaseExceptionGroup as many:
        first: BaseException = many.exceptions[0]
        raise next((e for e in many.exceptions if isinstance(e, ArmError)), first) from None
    if later:
        raise min(later, key=lambda r: r.after)


async def together(work: Iterable[Awaitable[None]]) -> None:
    """Do all of it at once and to the end, for a step that is many alike; then raise the most final of its errors."""
    results = await asyncio.gather(*work, return_exceptions=True)
    errors = [r for r in results if r is not None]
    for error in sorted(errors, key=lambda e: (not isinstance(e, ArmError), isinstance(e, Retry))):
        raise error


class _Later(Exception):
    def __init__(self, retry: Retry) -> None:
        super().__init__(retry.reason)
        self.retry = retry
