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
        "key": resource.key,
        "type": parse_id(resource.id).type.lower(),
        "generation": resource.generation,
        "observed_generation": resource.observed_generation,
        "deleting": int(resource.deleting),
        "doc": _encode(resource).decode(),
    }


def operation_row(operation: Operation) -> Row:
    return {
        "id": operation.id.lower(),
        "resource": operation.resource_id.lower(),
        "status": operation.status,
        "started_at": operation.started_at,
        "ended_at": operation.ended_at,
        "doc": _encode(operation).decode(),
    }


def span_row(span: Span) -> Row:
    return {
        "span": span.span_id,
        "trace": span.trace_id,
        "started_at": span.started_at,
        "doc": _encode(span).decode(),
    }


def activity_row(event: dict[str, Any], now: float) -> Row:
    """`resourceId` places the event; `eventTimestamp` (Unix seconds) dates it, and is now when absent."""
    event = {"eventTimestamp": now, **event}
    return {
        "resource": str(event["resourceId"]).lower(),
        "at": float(event["eventTimestamp"]),
        "doc": _encode(event).decode(),
    }


def note_row(kind: str, key: str, document: dict[str, Any]) -> Row:
    return {"kind": kind, "key": key, "doc": _encode(document).decode()}


def matching(notes: Iterable[tuple[str, str]], equals: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Decoded, those alone that have the members `equals`."""
    found = ((key, decode_document(doc)) for key, doc in notes)
    return [(key, doc) for key, doc in found if all(doc.get(k) == v for k, v in equals.items())]
