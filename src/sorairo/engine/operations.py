"""An operation as it begins, and what the activity log says of it."""

from __future__ import annotations

import uuid
from typing import Any

from sorairo.engine import trace
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import ResourceId, parse_id
from sorairo.engine.types import Document, Operation, Resource, ResourceType
from sorairo.store import Tx


def new_operation(resource_id: str, action: str, principal: str, correlation_id: str, resource: Resource) -> Operation:
    span = trace.new_span(f"{action} {resource.rid.type}/{resource.rid.name}", "operation", resource=resource.id)
    trace.begin(span)
    return Operation(
        id=str(uuid.uuid4()),
        resource_id=resource_id,
        action=action,
        principal=principal,
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_id,
        correlation_id=correlation_id or str(uuid.uuid4()),
        location=str(resource.body.get("location", "")),
    )


def log_activity(tx: Tx, id: ResourceId, action: str, principal: str, correlation_id: str, status: str) -> None:
    tx.add_activity(
        {
            "resourceId": id.text,
            "operationName": action,
            "caller": principal,
            "correlationId": correlation_id,
            "status": status,
        }
    )


def log_refusal(tx: Tx, id: ResourceId, action: str, principal: str, correlation_id: str, error: ArmError) -> None:
    """What somebody was not let do."""
    tx.add_activity(
        {
            "resourceId": id.text,
            "operationName": action,
            "caller": principal,
            "correlationId": correlation_id,
            "status": "Failed",
            "httpStatus": error.status,
            "error": error.body(),
        }
    )


def log_end(tx: Tx, operation: Operation, type: ResourceType[Any]) -> None:
    """How it came out, as a second event beside the one that says it was accepted."""
    verb = {"PUT": "write", "PATCH": "write", "DELETE": "delete"}.get(operation.action)
    action = next((a.permission for a in type.actions if a.name == operation.action), operation.action)
    event: Document = {
        "resourceId": parse_id(operation.resource_id).text,
        "operationName": f"{type.name}/{verb}" if verb else action,
        "caller": operation.principal,
        "correlationId": operation.correlation_id,
        "operationId": operation.id,
        "status": operation.status,
    }
    if operation.error:
        event["error"] = operation.error
    tx.add_activity(event)


def end_span(operation: Operation) -> None:
    rid = parse_id(operation.resource_id)
    span = trace.Span(
        operation.trace_id,
        operation.span_id,
        operation.parent_span_id,
        f"{operation.action} {rid.type}/{rid.name}",
        "operation",
        started_at=operation.started_at,
        attributes={"resource": operation.resource_id, "operation": operation.id},
    )
    if operation.error:
        span.attributes["error"] = f"{operation.error.get('code')}: {operation.error.get('message')}"
    trace.end(span, "ok" if operation.status == "Succeeded" else "error")
