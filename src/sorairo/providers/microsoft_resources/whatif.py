"""What a deployment would change, without changing it.

https://learn.microsoft.com/azure/azure-resource-manager/templates/deploy-what-if
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Call, Document, Resource
from sorairo.providers.microsoft_resources.asking import Asks, answered
from sorairo.providers.microsoft_resources.leftovers import outside
from sorairo.providers.microsoft_resources.prepared import Prepared, nested, preflight, prepare
from sorairo.templates.content import content
from sorairo.templates.diff import delta
from sorairo.templates.errors import ExpressionError, Needed
from sorairo.templates.evaluate import resolve
from sorairo.templates.expand import Unit
from sorairo.templates.frame import Answers, Frame

_UNSTEADY = ("etag", "systemData")
"""What changes by itself."""


async def what_if(call: Call, asks: Asks) -> Document:
    """`{correlationId, changes}`. Raises ArmError for a template that is wrong."""
    prepared = await prepare(call.id, call.body, call.ctx, asks, call.principal)
    await preflight(prepared, call.ctx, asks, call.principal)
    settings = call.body["properties"].get("whatIfSettings") or {}
    brief = str(settings.get("resultFormat", "")).lower() == "resourceidonly"
    changes: list[Document] = []
    named: set[str] = set()
    async for unit in _units(prepared, call, asks):
        named.add(unit.key)
        changes.append(await _change(unit, call, asks, brief))
    for resource in await _others(prepared, call, named):
        if asks.may(call.principal, "read", resource.id):
            changes.append(await _untouched(resource, prepared.mode, call, asks, brief))
    changes.sort(key=lambda c: str(c["resourceId"]).lower())
    return {"correlationId": str(uuid.uuid4()), "changes": changes}


async def _units(prepared: Prepared, call: Call, asks: Asks) -> AsyncIterator[Unit]:
    """Of nested templates too, instead of the deployments that they are."""
    for unit in prepared.plan.deployed:
        if unit.nested:
            body = await _body(unit, call, asks)
            inner = await nested(prepared, unit.id, body, call.ctx, asks, call.principal) if body else None
            if inner is not None:
                async for one in _units(inner, call, asks):
                    yield one
                continue
        yield unit


async def _body(unit: Unit, call: Call, asks: Asks) -> Document | None:
    """What would be sent; None when it depends on what is not there yet."""
    answers = Answers()
    unit = replace(unit, frame=replace(unit.frame, answers=answers))
    while True:
        try:
            return content(unit)
        except Needed as needed:
            try:
                await answered(asks, call.principal, needed, answers)
            except ArmError:
                return None


async def _change(unit: Unit, call: Call, asks: Asks, brief: bool) -> Document:
    before = await _shown(unit.id, unit.api_version, call, asks)
    change: Document = {"resourceId": unit.id}
    if unit.symbol:
        change["symbolicName"] = unit.symbol
    if brief:
        return change | {"changeType": "Deploy" if before else "Create"}
    body = await _body(unit, call, asks)
    after: Document | None = None
    if body is not None and not unit.nested:
        try:
            after = _plain(await asks.predict(call.principal, unit.id, unit.api_version, body), unit)
        except ArmError:
            after = None  # it needs what is not there yet, or would be refused: then what is asked for is shown
    if after is None:
        rid = parse_id(unit.id)
        asked = body if body is not None else _as_far_as_known(unit)
        head = {"apiVersion": unit.api_version, "id": unit.id, "type": rid.type, "name": rid.name}
        after = head | {k: v for k, v in asked.items() if v is not None}
    if before is None:
        return change | {"changeType": "Create", "after": after}
    before = _plain(before, unit)
    found = delta(before, after)
    kind = "Modify" if found else "NoChange"
    return change | {"changeType": kind, "before": before, "after": after, "delta": found}


def _as_far_as_known(unit: Unit) -> Document:
    """Expressions that have no value yet stand as they are written."""

    def walk(value: Any, frame: Frame) -> Any:
        try:
            return resolve(value, frame)
        except (Needed, ExpressionError):
            if isinstance(value, dict):
                return {k: walk(v, frame) for k, v in value.items()}
            if isinstance(value, list):
                return [walk(v, frame) for v in value]
            return value

    known = ("location", "tags", "sku", "kind", "identity", "zones", "plan", "properties")
    return {k: walk(unit.body[k], unit.frame) for k in known if k in unit.body}


async def _others(prepared: Prepared, call: Call, named: set[str]) -> list[Resource]:
    if not prepared.place.group:
        return []
    return outside(await call.ctx.list(under=prepared.place.scope), named)


async def _untouched(resource: Resource, mode: str, call: Call, asks: Asks, brief: bool) -> Document:
    """A resource of the group that the template does not name: a complete deployment deletes it."""
    change: Document = {"resourceId": resource.id, "changeType": "Delete" if mode == "Complete" else "Ignore"}
    if brief:
        return change
    version = asks.version_of(resource.rid.type)
    before = await _shown(resource.id, version, call, asks)
    if before is not None:
        change["before"] = _plain(before, None, version)
    return change | ({"after": change["before"]} if mode != "Complete" and "before" in change else {})


async def _shown(id: str, version: str, call: Call, asks: Asks) -> Document | None:
    try:
        reply = await asks.ask(call.principal, "GET", id, version)
    except ArmError:
        return None
    return reply.body if isinstance(reply.body, dict) else None


def _plain(document: Document, unit: Unit | None, version: str = "") -> Document:
    """Without what changes by itself."""
    found = {k: v for k, v in document.items() if k not in _UNSTEADY}
    found = _steady(found)
    return {"apiVersion": unit.api_version if unit else version, **found}


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _steady(v) for k, v in value.items() if k not in ("provisioningState", "etag")}
    return [_steady(v) for v in value] if isinstance(value, list) else value
