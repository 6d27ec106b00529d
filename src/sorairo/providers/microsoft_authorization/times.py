"""Who wrote a role resource and when, as its properties say it."""

from __future__ import annotations

from datetime import UTC, datetime

from sorairo.engine.types import Document, Resource


def audited(resource: Resource) -> Document:
    return {
        "createdOn": _time(resource.created_at),
        "updatedOn": _time(resource.changed_at),
        "createdBy": resource.created_by,
        "updatedBy": resource.created_by,
    }


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
