"""Which resource goes before which: what `dependsOn` says, and what references imply.

https://learn.microsoft.com/azure/azure-resource-manager/templates/resource-dependency
"""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from sorairo.templates.errors import ExpressionError, Needed, circular, undefined, unprocessable
from sorairo.templates.evaluate import count, evaluate, property_loops, resolve
from sorairo.templates.frame import Frame
from sorairo.templates.parser import calls, is_expression, parse

if TYPE_CHECKING:
    from sorairo.templates.expand import Plan, Unit
    from sorairo.templates.template import Declared

_IMPLYING = ("reference", "references", "resourceinfo")
_OWN = frozenset(("type", "name", "apiversion", "dependson", "condition", "copy", "scope", "comments", "resources"))


def needs(plan: Plan, unit: Unit, one: Declared, frame: Frame) -> tuple[str, ...]:
    """Keys of the units a unit depends on, without those that are not deployed."""
    found: dict[str, None] = {}
    where = f"resource '{unit.id}'"
    try:
        said = resolve(one.body.get("dependsOn") or [], unit.frame)
        if not isinstance(said, list):
            raise ExpressionError("'dependsOn' must be an array of resources.")
        for entry in said:
            names = entry if isinstance(entry, list) else [entry]
            for name in names:
                for other in _named(plan, str(name)):
                    if other is unit:
                        raise circular(unit.id)
                    found[other.key] = None
        for name in _implied(unit):
            other_unit = plan.unit(name)
            loop = _loop(plan, name)
            for other in [other_unit] if other_unit else loop:
                found[other.key] = None
    except ExpressionError as e:
        raise unprocessable(where, e) from None
    except Needed:
        raise unprocessable(where, ExpressionError("'reference' is not expected in 'dependsOn'.")) from None
    found.pop(unit.key, None)
    return tuple(found)


def _named(plan: Plan, name: str) -> list[Unit]:
    """What an entry of `dependsOn` means: a resource, or every one of a loop. Raises ArmError when it is neither."""
    loop = _loop(plan, name)
    if loop:
        return loop
    unit = plan.unit(name)
    if unit is None:
        raise undefined(name)
    return [unit]


def _loop(plan: Plan, name: str) -> list[Unit]:
    low = name.lower()
    # A loop may have turned no times: then there is nothing to wait for, which is no error.
    return [u for u in plan.units if u.loop and (u.loop.lower() == low or u.symbol.lower().startswith(low + "["))]


def _implied(unit: Unit) -> Iterator[str]:
    """Names of the template's resources that a body refers to by `reference` without an API version."""
    body = {k: v for k, v in unit.body.items() if k.lower() not in _OWN}
    properties = body.get("properties")
    if unit.nested and isinstance(properties, dict):
        # A nested template is evaluated for itself, or (outer scope) may not refer to what it makes.
        inner = str((properties.get("expressionEvaluationOptions") or {}).get("scope", "outer")).lower() == "inner"
        body["properties"] = {k: v for k, v in properties.items() if k != "template" or not inner}
    for text, frame in _expressions(body, unit.frame):
        try:
            node = parse(text)
        except ExpressionError:
            continue  # told of when it is evaluated
        for call in calls(node):
            low = call.name.lower()
            runtime = low in _IMPLYING or (low.startswith("list") and "." not in low)
            if not runtime or not call.arguments:
                continue
            try:
                name = evaluate(call.arguments[0], frame)
            except (ExpressionError, Needed):
                continue  # within a lambda, or of something known only later
            if isinstance(name, str) and (len(call.arguments) == 1 or not name.startswith("/")):
                yield name


def _expressions(value: Any, frame: Frame) -> Iterator[tuple[str, Frame]]:
    """Every expression of a document, with the loops of properties spelt out."""
    if isinstance(value, str):
        if is_expression(value):
            yield value, frame
    elif isinstance(value, list):
        for item in value:
            yield from _expressions(item, frame)
    elif isinstance(value, dict):
        loops = property_loops(value)
        for key, item in value.items():
            if loops is None or key.lower() != "copy":
                yield from _expressions(key, frame)
                yield from _expressions(item, frame)
        for loop in loops or ():
            try:
                name = str(resolve(loop["name"], frame))
                turns = count(loop["count"], frame, name)
            except (ExpressionError, Needed):
                continue
            for turn in range(turns):
                yield from _expressions(loop.get("input"), frame.looped(name, turn, unnamed=False))


def serial(plan: Plan, batches: dict[str, tuple[str, int]]) -> None:
    """Loops that turn a few at a time: each batch after the one before it."""
    for loop, (_, size) in batches.items():
        units = [u for u in plan.units if u.loop.lower() == loop]
        for at in range(size, len(units)):
            start = at // size * size
            before = [u.key for u in units[start - size : start]]
            units[at].needs = tuple(dict.fromkeys((*units[at].needs, *before)))


def check(plan: Plan) -> None:
    """Drops dependencies on what is not deployed, in favour of what that depends on itself; refuses circles."""
    by_key = {u.key: u for u in plan.units if not u.deployed} | {u.key: u for u in plan.deployed}
    try:
        order = list(TopologicalSorter({key: unit.needs for key, unit in by_key.items()}).static_order())
    except CycleError as e:
        raise circular(by_key[e.args[1][0]].id) from None
    stands_for: dict[str, tuple[str, ...]] = {}
    for key in order:
        unit = by_key[key]
        unit.needs = tuple(dict.fromkeys(k for need in unit.needs for k in stands_for[need]))
        stands_for[key] = (key,) if unit.deployed else unit.needs
