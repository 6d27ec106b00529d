"""Run the machine."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from fuzz.stateful.machine import Machine


def run(examples: int, steps: int, *, random: bool) -> None:
    """Raises AssertionError, with the fewest requests that break something. `random`: each time others."""
    given = settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=not random,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machine, settings=given)  # type: ignore[no-untyped-call]
