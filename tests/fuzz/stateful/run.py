"""Run the machine."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from fuzz.stateful.machine import Machine


def run(examples: int, steps: int, *, random: bool, shrink: bool = True) -> None:
    """Raises AssertionError, with what was asked for. `random`: each time others; `shrink`: as little as is enough,
    which takes minutes to find."""
    given = settings(
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=not random,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machine, settings=given)  # type: ignore[no-untyped-call]
