"""Plans as data: what there is and what is wanted on one side, steps in words on the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sorairo.engine.types import Document, Reconciler, Resource, Step

SUBSCRIPTION = "/subscriptions/0b1f6471-1bf0-4dda-aec3-111111111111"
GROUP = f"{SUBSCRIPTION}/resourceGroups/g"


@dataclass(frozen=True)
class Case:
    reason: str
    """A sentence: why this plan."""
    actual: Any
    steps: tuple[str, ...] = ()
    """`name` or `name < need, need`, in order; a need is a step of the same plan that comes first."""
    deleting: bool = False
    private: Document | None = None

    def __str__(self) -> str:
        return self.reason


def resource(id: str, body: Document, case: Case, **private: Any) -> Resource:
    given = {**private, **(case.private or {})}
    return Resource(id, body, private=given, deleting=case.deleting, provisioning_state="Updating")


def words(plan: list[Step]) -> tuple[str, ...]:
    return tuple(s.name + (f" < {', '.join(s.needs)}" if s.needs else "") for s in plan)


def check(reconciler: Reconciler[Any], wanted: Resource, case: Case) -> list[Step]:
    """The plan is the one in the table, carries names once, and is the same when asked again."""
    plan = reconciler.plan(wanted, case.actual)
    assert words(plan) == case.steps
    names = [s.name for s in plan]
    assert len(set(names)) == len(names)
    assert all(need in names[:n] for n, s in enumerate(plan) for need in s.needs)
    assert reconciler.plan(wanted, case.actual) == plan
    return plan
