"""Rows and the dataclasses they hold. Decoding makes a fresh object each time, so nobody edits another's copy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from sorairo.engine.ids import parse_id
from sorairo.engine.trace import Span
from sorairo.engine.types import Operation, Resource

_encode = msgspec.json.Encoder().encode
decode_resource = msgspec.json.Decoder(Resource).decode
decode_operation = msgspec.json.Decoder(Operation).decode
decode_span = msgspec.json.Decoder(Span).decode
decode_document: Any = msgspec.json.Decoder(dict[str, Any]).decode

Row = dict[str, Any]


def resource_row(resource: Resource) -> Row:
    return {
        "new_key": resource.key,
        "new_type": parse_id(resource.id).type.lower(),
        "new_generation": resource.generation,
        "new_observed_generation": resource.observed_generation,
        "new_deleting": int(resource.deleting),
        "new_doc": _encode(resource).decode(),
    }


def operation_row(operation: Operation) -> Row:
    return {
        "new_id": operation.id.lower(),
        "new_resource": operation.resource_id.lower(),
        "new_status": operation.status,
        "new_started_at": operation.started_at,
        "new_ended_at": operation.ended_at,
        "new_doc": _encode(operation).decode(),
    }


def span_row(span: Span) -> Row:
    return {
        "new_span": span.span_id,
        "new_trace": span.trace_id,
        "new_started_at": span.started_at,
        "new_doc": _encode(span).decode(),
    }


def activity_row(event: dict[str, Any], now: float) -> Row:
    """`resourceId` places the event; `eventTimestamp` (Unix seconds) dates it, and is now when absent."""
    event = {"eventTimestamp": now, **event}
    return {
        "new_resource": str(event["resourceId"]).lower(),
        "new_at": float(event["eventTimestamp"]),
        "new_doc": _encode(event).decode(),
    }


def note_row(kind: str, key: str, document: dict[str, Any]) -> Row:
    return {"new_kind": kind, "new_key": key, "new_doc": _encode(document).decode()}


def matching(notes: Iterable[tuple[str, str]], equals: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Decoded, those alone that have the members `equals`."""
    found = ((key, decode_document(doc)) for key, doc in notes)
    return [(key, doc) for key, doc in found if all(doc.get(k) == v for k, v in equals.items())]
