"""Long-running operations on the wire: the headers that say where to ask, and what is answered there.

https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
"""

from __future__ import annotations

import contextlib
import uuid
from datetime import UTC, datetime

from sorairo.arm.errors import no_operation
from sorairo.arm.exchange import Answer, Exchange
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Document, Operation

RETRY_AFTER = "1"
"""Seconds. Without it az asks again after 30, and Go's SDK after 5."""


def headers(x: Exchange, operation: Operation, *, location: bool, results: str = "") -> dict[str, str]:
    """Where to ask about an operation; with `location`, also where its result will be (below the resource itself
    when the action declares `results`)."""
    found = {"azure-asyncoperation": _url(x, operation, "operations"), "retry-after": RETRY_AFTER}
    if results:  # az reads the id as one word
        id = operation.id.replace("-", "")
        found["location"] = f"{x.base}{operation.resource_id}/{results}/{id}?api-version={x.api_version}"
    elif location:
        found["location"] = _url(x, operation, "operationresults")
    return found


def _url(x: Exchange, operation: Operation, kind: str) -> str:
    rid = parse_id(operation.resource_id)
    scope = f"/subscriptions/{rid.subscription}" if rid.subscription else ""
    place = operation.location or "global"
    return (
        f"{x.base}{scope}/providers/{rid.namespace}/locations/{place}/{kind}/{operation.id}?api-version={x.api_version}"
    )


async def status(x: Exchange) -> Answer:
    """`GET …/operations/{id}`: always 200; the body says how it stands."""
    operation = _asked_for(x)
    body: Document = {
        "id": x.path,
        "name": operation.id,
        "resourceId": operation.resource_id,
        "status": operation.status,
        "startTime": timestamp(operation.started_at),
    }
    if operation.status == "InProgress":
        return Answer(200, body, {"retry-after": RETRY_AFTER})
    body["endTime"] = timestamp(operation.ended_at or operation.started_at)
    body["percentComplete"] = 100.0
    if operation.error is not None:
        body["error"] = operation.error
    if isinstance(operation.result, dict):
        body["properties"] = operation.result
    return Answer(200, body)


async def result(x: Exchange) -> Answer:
    """`GET …/operationresults/{id}`: 202 until there is one."""
    operation = _asked_for(x)
    if operation.status == "InProgress":
        # Some clients look for a state in the body (az aks command invoke), though the 202 says it all.
        body = {"id": operation.resource_id, "name": operation.id, "properties": {"provisioningState": "InProgress"}}
        return Answer(202, body, {"location": f"{x.base}{x.path}?{x.raw_query}", "retry-after": RETRY_AFTER})
    if operation.status != "Succeeded":
        error = operation.error or {"code": operation.status, "message": f"The operation was {operation.status}."}
        raise ArmError.from_body(error, status=409 if operation.status == "Canceled" else 400)
    if operation.result is not None:
        return Answer(200, operation.result)
    if operation.action != "DELETE" and x.control.store.get(operation.resource_id) is not None:
        return Answer(200, x.control.show(parse_id(operation.resource_id)))
    return Answer(204)


def _asked_for(x: Exchange) -> Operation:
    """The operation a path names, for those who began it or may read what it is about."""
    id = x.target.params["id"]
    with contextlib.suppress(ValueError):
        id = str(uuid.UUID(id))
    operation = x.control.store.operation(id)
    if operation is None:
        raise no_operation(id)
    rid = parse_id(operation.resource_id)
    if (rid.subscription or "").lower() != x.target.subscription.lower():
        raise no_operation(operation.id)
    if operation.principal != x.caller:
        x.arm.authorize(x.principal, f"{rid.type}/read", operation.resource_id)
    return operation


def timestamp(seconds: float) -> str:
    """As Azure writes time: `2024-05-01T12:00:00.000000Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
