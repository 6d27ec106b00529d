"""A transaction, as the function that runs in it sees it.

Writes are kept in memory, over what is committed, until the whole group is written in a few statements. So a function
that raises leaves nothing behind without a savepoint, and a group of thirty-two writes costs four statements, not two
hundred: every statement gives up the interpreter's lock, which a busy event loop is slow to hand back.
"""

from __future__ import annotations

import builtins
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from sorairo.engine.ids import parse_id
from sorairo.engine.types import Operation, Resource
from sorairo.store import rows, sql
from sorairo.store.rows import Row


class Cursor(Protocol):
    """What we use of a DBAPI cursor."""

    def execute(self, sql: str, parameters: Any = ..., /) -> Any: ...
    def executemany(self, sql: str, parameters: Any, /) -> Any: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


@dataclass(slots=True)
class Pending:
    """Writes that are decided and not yet in the database. None stands for a deleted row."""

    resources: dict[str, Row | None] = field(default_factory=dict)
    operations: dict[str, Row] = field(default_factory=dict)
    notes: dict[tuple[str, str], Row | None] = field(default_factory=dict)
    activity: list[Row] = field(default_factory=list)

    def absorb(self, other: Pending) -> None:
        self.resources.update(other.resources)
        self.operations.update(other.operations)
        self.notes.update(other.notes)
        self.activity.extend(other.activity)

    def __len__(self) -> int:
        return len(self.resources) + len(self.operations) + len(self.notes) + len(self.activity)

    def write(self, cursor: Cursor) -> None:
        def many(statement: str, values: list[Row]) -> None:
            if values:
                cursor.executemany(statement, values)

        many(sql.PUT, [r for r in self.resources.values() if r is not None])
        many(sql.DELETE, [{"key": k} for k, r in self.resources.items() if r is None])
        many(sql.PUT_OPERATION, list(self.operations.values()))
        many(sql.PUT_NOTE, [r for r in self.notes.values() if r is not None])
        many(sql.DELETE_NOTE, [{"kind": k[0], "key": k[1]} for k, r in self.notes.items() if r is None])
        many(sql.PUT_ACTIVITY, self.activity)


class Tx:
    """Reads see the transaction's own writes, and those of the transactions before it."""

    __slots__ = ("_cursor", "_group", "own")

    def __init__(self, cursor: Cursor, group: Pending) -> None:
        self._cursor = cursor
        self._group = group
        self.own = Pending()

    def get(self, id: str) -> Resource | None:
        key = id.lower()
        for layer in (self.own.resources, self._group.resources):
            if key in layer:
                row = layer[key]
                return None if row is None else rows.decode_resource(row["doc"])
        doc = self._one(sql.GET, {"key": key})
        return None if doc is None else rows.decode_resource(doc)

    def list(self, *, type: str | None = None, under: str | None = None) -> builtins.list[Resource]:
        """As `Store.list`."""
        values: Row = sql.prefix_range(under or "/")
        statement = sql.LIST_ALL
        if type is not None:
            statement, values["type"] = sql.LIST_TYPE, type.lower()
        self._cursor.execute(statement, values)
        found: dict[str, str] = dict(self._cursor.fetchall())
        for layer in (self._group.resources, self.own.resources):
            for key, row in layer.items():
                if row is None:
                    found.pop(key, None)
                elif values["low"] <= key < values["high"] and row["type"] == values.get("type", row["type"]):
                    found[key] = row["doc"]
        return [rows.decode_resource(found[key]) for key in sorted(found)]

    def put(self, resource: Resource) -> None:
        """Insert or replace. The resource is copied as it is now; later changes to it are not seen."""
        self.own.resources[resource.key] = rows.resource_row(resource)

    def delete(self, id: str) -> None:
        self.own.resources[parse_id(id).key] = None

    def operation(self, id: str) -> Operation | None:
        key = id.lower()
        row = self.own.operations.get(key) or self._group.operations.get(key)
        doc = row["doc"] if row else self._one(sql.OPERATION, {"id": key})
        return None if doc is None else rows.decode_operation(doc)

    def put_operation(self, operation: Operation) -> None:
        self.own.operations[operation.id.lower()] = rows.operation_row(operation)

    def add_activity(self, event: dict[str, Any]) -> None:
        """An event of the activity log; needs `resourceId`, and `eventTimestamp` (Unix seconds) unless it is now."""
        self.own.activity.append(rows.activity_row(event, time.time()))

    def note(self, kind: str, key: str) -> dict[str, Any] | None:
        for layer in (self.own.notes, self._group.notes):
            if (kind, key) in layer:
                row = layer[kind, key]
                return None if row is None else rows.decode_document(row["doc"])
        doc = self._one(sql.NOTE, {"kind": kind, "key": key})
        return None if doc is None else rows.decode_document(doc)

    def notes(self, kind: str, **equals: Any) -> builtins.list[tuple[str, dict[str, Any]]]:
        """As `Store.notes`."""
        self._cursor.execute(sql.NOTES, {"kind": kind})
        found: dict[str, str] = dict(self._cursor.fetchall())
        for layer in (self._group.notes, self.own.notes):
            for (of, key), row in layer.items():
                if of == kind and row is None:
                    found.pop(key, None)
                elif of == kind and row is not None:
                    found[key] = row["doc"]
        return rows.matching(sorted(found.items()), equals)

    def put_note(self, kind: str, key: str, document: dict[str, Any]) -> None:
        self.own.notes[kind, key] = rows.note_row(kind, key, document)

    def delete_note(self, kind: str, key: str) -> None:
        self.own.notes[kind, key] = None

    def _one(self, statement: str, values: Row) -> str | None:
        self._cursor.execute(statement, values)
        row = self._cursor.fetchone()
        return None if row is None else row[0]
