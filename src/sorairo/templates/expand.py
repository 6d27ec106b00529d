"""From a template to the resources it comes to: loops spelt out, conditions decided, ids known, dependencies resolved.

Bodies stay as they are written: each is evaluated when its turn comes, since it may speak of what was made before it.

https://learn.microsoft.com/azure/azure-resource-manager/templates/copy-resources
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id
from sorairo.templates import graph
from sorairo.templates.errors import ExpressionError, Needed, invalid, unprocessable
from sorairo.templates.evaluate import count, resolve
from sorairo.templates.frame import Document, Frame, Known
from sorairo.templates.template import MOST_RESOURCES, Declared, Template

DEPLOYMENTS = "microsoft.resources/deployments"


@dataclass(slots=True)
class Unit:
    """One resource: a declaration in one turn of its loop."""

    id: str
    type: str
    name: str
    """All of it: `vnet/subnet` for a child."""
    api_version: str
    body: Document
    frame: Frame
    condition: bool = True
    existing: bool = False
    """Only spoken of, never put."""
    symbol: str = ""
    """`vm`, or `vms[2]` in a loop."""
    loop: str = ""
    """Name of the loop it is of (`copy.name`), or its symbolic name."""
    needs: tuple[str, ...] = ()
    """Keys of the units that go before it."""

    @property
    def key(self) -> str:
        return self.id.lower()

    @property
    def deployed(self) -> bool:
        return self.condition and not self.existing

    @property
    def nested(self) -> bool:
        return self.type.lower() == DEPLOYMENTS


@dataclass(slots=True)
class Plan:
    """All of a template's resources, and how they are called. Is the `Names` of every frame in it."""

    units: list[Unit] = field(default_factory=list)
    _index: dict[str, Unit] = field(default_factory=dict)
    _indexed: int = 0

    def find(self, name: str) -> Known | None:
        unit = self.unit(name)
        return Known(unit.id, unit.api_version, unit.name, unit.condition) if unit else None

    def unit(self, name: str) -> Unit | None:
        """By symbolic name, id, `type/name`, or name. Those that are deployed go before those that are not."""
        if self._indexed != len(self.units):
            self._index = self._indexes()
            self._indexed = len(self.units)
        return self._index.get(name.lower().strip("/"))

    def _indexes(self) -> dict[str, Unit]:
        found: dict[str, Unit] = {}
        ordered = sorted(self.units, key=lambda u: not u.condition)
        ways: tuple[Callable[[Unit], str], ...] = (
            lambda u: u.symbol.lower(),
            lambda u: u.key.strip("/"),
            lambda u: u.key.rpartition("/providers/")[2] if "/providers/" in u.key else "",
            lambda u: u.name.lower(),
        )
        for way in ways:
            for unit in ordered:
                if called := way(unit):
                    found.setdefault(called, unit)
        return found

    def all(self, symbol: str) -> list[Known] | None:
        found = [u for u in self.units if u.symbol.lower().startswith(symbol.lower() + "[")]
        return [Known(u.id, u.api_version, u.name, u.condition) for u in found] or None

    @property
    def deployed(self) -> list[Unit]:
        return [u for u in self.units if u.deployed]


def expand(template: Template, frame: Frame) -> Plan:
    """Raises ArmError 400 `InvalidTemplate`."""
    plan = Plan()
    frame = replace(frame, names=plan)
    batches: dict[str, tuple[str, int]] = {}
    declared: list[tuple[Unit, Declared]] = []
    for one in template.resources:
        for unit in _units(one, frame, batches):
            plan.units.append(unit)
            declared.append((unit, one))
            if len(plan.units) > MOST_RESOURCES:
                raise invalid(
                    f"The number of template resources limit exceeded. Limit: '{MOST_RESOURCES}'. "
                    "Please see https://aka.ms/arm-syntax for usage details."
                )
    seen: dict[str, Unit] = {}
    for unit in plan.deployed:
        if seen.setdefault(unit.key, unit) is not unit:
            raise invalid(
                f"The resource '{unit.type}/{unit.name}' is defined multiple times in a template. "
                "Please see https://aka.ms/arm-syntax-resources for usage details."
            )
    for unit, one in declared:
        unit.needs = graph.needs(plan, unit, one, frame)
    graph.serial(plan, batches)
    graph.check(plan)
    return plan


def _units(one: Declared, frame: Frame, batches: dict[str, tuple[str, int]]) -> Iterator[Unit]:
    """A declaration, once for each turn of its loop: its own, or that of what it stands inside."""
    where = f"resource '{one.type}'"
    loop = next((b["copy"] for b in (one.body, *reversed(one.parents)) if b.get("copy") is not None), None)
    try:
        if loop is None:
            yield _unit(one, frame, one.symbol, "")
            return
        if not isinstance(loop, dict) or "count" not in loop:
            raise ExpressionError("The 'copy' of a resource needs a 'name' and a 'count'.")
        name = str(resolve(loop.get("name", one.symbol), frame))
        turns = count(loop["count"], frame, name)
        if str(loop.get("mode", "parallel")).lower() == "serial":
            size = resolve(loop.get("batchSize", 1), frame)
            if type(size) is not int or size < 1:
                raise ExpressionError(f"The 'batchSize' of '{name}' must be an integer from 1.")
            batches[(one.symbol or name).lower()] = (name, size)
        for turn in range(turns):
            yield _unit(one, frame.looped(name, turn, unnamed=True), f"{one.symbol}[{turn}]" if one.symbol else "",
                        one.symbol or name)  # fmt: skip
    except ExpressionError as e:
        raise unprocessable(where, e) from None
    except Needed as e:
        raise _unexpected(where, e) from None


def _unit(one: Declared, frame: Frame, symbol: str, loop: str) -> Unit:
    name = "/".join(_text(b, "name", frame) for b in (*one.parents, one.body))
    if name.count("/") + 1 != one.type.count("/"):
        raise invalid(
            f"The template resource '{name}' for type '{one.type}' has incorrect segment lengths. A nested resource "
            "type must have identical number of segments as its resource name. A root resource type must have segment "
            "length one greater than its resource name. Please see https://aka.ms/arm-syntax-resources for usage "
            "details."
        )
    condition = all(_boolean(b, "condition", frame) for b in (*one.parents, one.body))
    version = _text(one.body, "apiVersion", frame) if one.body.get("apiVersion") else ""
    if not version:
        raise invalid(
            f"The template resource '{name}' of type '{one.type}' has no 'apiVersion'. "
            "Please see https://aka.ms/arm-syntax-resources for usage details."
        )
    id = _id(one, name, frame)
    try:
        parsed = parse_id(id)
    except ValueError:
        raise invalid(
            f"The template resource '{name}' of type '{one.type}' gives '{id[:300]}', which is no resource id. "
            "Please see https://aka.ms/arm-syntax-resources for usage details."
        ) from None
    return Unit(
        parsed.text,
        parsed.type,
        name,
        version,
        one.body,
        frame,
        condition,
        bool(one.body.get("existing")),
        symbol,
        loop,
    )


def _id(one: Declared, name: str, frame: Frame) -> str:
    scope = _scope(one, frame)
    if one.type.lower() == "microsoft.resources/resourcegroups":
        return "/".join([*scope.split("/")[:3], "resourceGroups", name])
    namespace, *types = one.type.split("/")
    below = "/".join(part for pair in zip(types, name.split("/"), strict=True) for part in pair)
    return f"{scope.rstrip('/')}/providers/{namespace}/{below}"


def _scope(one: Declared, frame: Frame) -> str:
    """Where a resource is put: where the template is, unless it says otherwise."""
    top = one.parents[0] if one.parents else one.body
    place = frame.place
    if top.get("scope") is not None:
        given = _text(top, "scope", frame)
        # An id, or what it extends in the words of the template: `Microsoft.Storage/storageAccounts/a`.
        return given if given.startswith("/") else f"{place.scope}/providers/{given}"
    subscription = _text(top, "subscriptionId", frame) if top.get("subscriptionId") else place.subscription
    if top.get("resourceGroup"):
        return f"/subscriptions/{subscription}/resourceGroups/{_text(top, 'resourceGroup', frame)}"
    return f"/subscriptions/{subscription}" if top.get("subscriptionId") else place.scope


def _text(body: Document, key: str, frame: Frame) -> str:
    value = resolve(body[key], frame)
    if not isinstance(value, str) or not value:
        raise ExpressionError(f"The '{key}' of a resource must be a string, and not empty.")
    return value


def _boolean(body: Document, key: str, frame: Frame) -> bool:
    value: Any = resolve(body.get(key, True), frame)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise ExpressionError(f"The '{key}' of a resource must be a Boolean.")
    return value


def _unexpected(where: str, needed: Needed) -> ArmError:
    name = needed.action or needed.kind
    return invalid(
        f"The template {where} is not valid: The template function '{name}' is not expected at this location. "
        "Please see https://aka.ms/arm-functions for usage details."
    )
