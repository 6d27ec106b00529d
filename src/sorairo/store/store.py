"""The store: what is committed, and the way to change it."""

from __future__ import annotations

import asyncio
import builtins
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from sorairo.engine.ids import parse_id
from sorairo.engine.trace import Span
from sorairo.engine.types import Operation, Resource
from sorairo.store import rows, sql
from sorairo.store.checkpoint import Checkpointer
from sorairo.store.migrations import migrate
from sorairo.store.recent import Recent
from sorairo.store.references import References
from sorairo.store.tx import Tx
from sorairo.store.writer import Retention, Writer

T = TypeVar("T")

PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    # With NORMAL a power cut loses acknowledged writes: WAL syncs only at checkpoints then.
    "PRAGMA synchronous = FULL",
    "PRAGMA busy_timeout = 10000",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -8000",
    # A last resort, 64 MB (in pages of 4 KB): `checkpoint` moves the log into the file long before.
    "PRAGMA wal_autocheckpoint = 16000",
    "PRAGMA journal_size_limit = 67108864",
)


class Store:
    """Resources, operations, spans, activity and notes.

    Reads are synchronous, see the last commit and return fresh copies. Writes go through `transact`.
    """

    def __init__(self, reader: sqlite3.Connection, writer: Writer, dispose: Callable[[], None]) -> None:
        self._reader = reader.cursor()
        self._lock = threading.Lock()
        self._writer = writer
        self._dispose = dispose
        self._recent = Recent()
        self._references = References(self._all(sql.LIST_ALL, sql.prefix_range("/")))
        writer.committing = self._recent.committing
        writer.committed = self._committed

    @classmethod
    def open(cls, url: str, *, retention: Retention | None = None) -> Store:
        """Open (or make) the database at a URL, `sqlite:////path/to/state.db`, and bring its schema up.

        The file and its directory are made readable by their owner alone: documents hold secrets. Raises ValueError
        for a URL that cannot be served, RuntimeError when a newer sorairo wrote the database.
        """
        scheme, _, name = url.partition(":///")
        if scheme != "sqlite" or name in ("", ":memory:"):
            raise ValueError(f"the store needs an SQLite file (sqlite:////path/to/state.db), not '{url}'")
        path = Path(name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)  # SQLite gives its -wal and -shm files the same mode

        reading, writing, moving = _connect(path), _connect(path), _connect(path)
        migrate(writing)
        checkpointer = Checkpointer(moving)
        writer = Writer(writing, retention or Retention(), checkpointer.wrote)

        def dispose() -> None:
            checkpointer.stop()
            for connection in (moving, reading, writing):
                connection.close()

        return cls(reading, writer, dispose)

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` in the writer's thread, in a transaction; return its value once that is on disk.

        What `fn` raises undoes its own writes alone, and is raised here. `fn` must not block. A full disk is
        ArmError `InsufficientStorage` (507), and nothing was changed.
        """
        result: T = await self._writer.submit(fn)
        return result

    def listen(self, listener: Callable[[Iterable[str]], None]) -> None:
        """Call `listener` after each commit, in the writer's thread and before the writers are answered, with the
        keys of the resources it wrote or deleted. It must be quick and must not raise."""
        self._writer.listeners.append(listener)

    def get(self, id: str) -> Resource | None:
        """By id, without regard to case."""
        key = id.lower()
        doc = self._recent.get(key, lambda: self._doc(key))
        return None if doc is None else rows.decode_resource(doc)

    def has(self, id: str) -> bool:
        """`get` without the trouble of decoding."""
        key = id.lower()
        return self._recent.get(key, lambda: self._doc(key)) is not None

    def list(self, *, type: str | None = None, under: str | None = None) -> builtins.list[Resource]:
        """Of a type (any), below a scope id (anywhere; the scope itself is not included), in order of key."""
        values: rows.Row = sql.prefix_range(under or "/")
        if type is None:
            return [rows.decode_resource(doc) for _, doc in self._all(sql.LIST_ALL, values)]
        values["type"] = type.lower()
        return [rows.decode_resource(doc) for _, doc in self._all(sql.LIST_TYPE, values)]

    def keys(self, *, type: str) -> builtins.list[str]:
        """Of all resources of a type, in order."""
        return [key for (key,) in self._all(sql.KEYS, {"type": type.lower()})]

    def naming(self, id: str, *, type: str | None = None) -> builtins.list[Resource]:
        """Of a type (any), whose documents name `id` or a part of it (a pool of a load balancer), in order of key."""
        keys = self._references.naming(id)
        if type is not None:
            keys = [key for key in keys if parse_id(key).type == type.lower()]
        return [found for key in keys if (found := self.get(key))]

    def pending(self) -> builtins.list[str]:
        """Keys of the resources there is work to do for: a generation not reached, or a deletion under way."""
        return [key for (key,) in self._all(sql.PENDING, {})]

    def operation(self, id: str) -> Operation | None:
        found = self._all(sql.OPERATION, {"id": id.lower()})
        return rows.decode_operation(found[0][0]) if found else None

    def operations(
        self, *, status: str | None = None, resource_id: str | None = None, limit: int = 100
    ) -> builtins.list[Operation]:
        """Newest first."""
        values = {"status": status, "resource": resource_id and resource_id.lower(), "limit": limit}
        return [rows.decode_operation(doc) for (doc,) in self._all(sql.OPERATIONS, values)]

    def spans(self, trace_id: str) -> builtins.list[Span]:
        """Of one trace, oldest first."""
        return [rows.decode_span(doc) for (doc,) in self._all(sql.SPANS, {"trace": trace_id})]

    def add_span(self, span: Span) -> None:
        """Keep a span, or its later word; it is on disk some 100 ms later. Never blocks and never fails."""
        self._writer.add_span(span)

    def activity(
        self, *, under: str, since: float = 0.0, until: float = float("inf"), limit: int = 1000
    ) -> builtins.list[dict[str, Any]]:
        """Events of a scope and everything below it, newest first. `since` and `until` in Unix seconds."""
        scope = under.lower().rstrip("/")
        values = {"self": scope, "since": since, "until": until, "limit": limit, **sql.prefix_range(scope)}
        return [rows.decode_document(doc) for (doc,) in self._all(sql.ACTIVITY, values)]

    def note(self, kind: str, key: str) -> dict[str, Any] | None:
        found = self._all(sql.NOTE, {"kind": kind, "key": key})
        return rows.decode_document(found[0][0]) if found else None

    def notes(self, kind: str, **equals: Any) -> builtins.list[tuple[str, dict[str, Any]]]:
        """Of a kind, in order of key; `equals` are members the document must have."""
        return rows.matching(self._all(sql.NOTES, {"kind": kind}), equals)

    async def close(self) -> None:
        """Write what is queued and let go of the file."""
        await asyncio.to_thread(self._writer.stop)
        with self._lock:
            self._dispose()

    def _committed(self, written: Mapping[str, rows.Row | None]) -> None:
        self._recent.committed(written)
        self._references.committed(written)

    def _doc(self, key: str) -> str | None:
        found = self._all(sql.GET, {"key": key})
        return found[0][0] if found else None

    def _all(self, statement: str, values: rows.Row) -> builtins.list[Any]:
        # Always to the end: an open cursor would hold a read transaction, and the log could not be checkpointed.
        with self._lock:
            self._reader.execute(statement, values)
            return self._reader.fetchall()


def _connect(path: Path) -> sqlite3.Connection:
    # No implicit transactions: `writer` says BEGIN and COMMIT itself.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for pragma in PRAGMAS:
        connection.execute(pragma).close()
    return connection
