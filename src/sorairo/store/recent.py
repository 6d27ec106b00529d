"""Resources' rows lately read or written, so that looking at one again does not go to the database.

A statement gives up the interpreter's lock, and a busy writer is slow to hand it back; a dictionary does not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

LIMIT = 16_000_000
"""Characters of documents kept."""


class Recent:
    """Documents by key, None for a row that is not there; the least lately used go first."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._rows: dict[str, str | None] = {}
        self._limit = limit
        self._size = 0
        self._commits = 0
        self._writing: frozenset[str] = frozenset()
        """Keys of the transaction that is being committed: only the database knows when it is."""
        self._lock = threading.Lock()

    def get(self, key: str, read: Callable[[], str | None]) -> str | None:
        """The row as last committed; `read` fetches it when it is not kept."""
        with self._lock:
            if key in self._rows:
                row = self._rows.pop(key)  # Put back as the latest.
                self._rows[key] = row
                return row
            commits = self._commits
        row = read()
        with self._lock:
            # Else what was read may be what has just been replaced.
            if commits == self._commits and key not in self._writing:
                self._keep(key, row)
        return row

    def committing(self, keys: Iterable[str]) -> None:
        """These rows are about to change: until `committed` they are the database's alone, so that who sees one thing
        of a transaction there (an operation that has ended) sees all of it."""
        with self._lock:
            self._writing = frozenset(keys)
            for key in self._writing:
                self._drop(key)

    def committed(self, rows: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Take over what a transaction wrote; None for what it deleted. Nothing: it was not committed."""
        with self._lock:
            self._commits += 1
            self._writing = frozenset()
            for key, row in rows.items():
                self._keep(key, None if row is None else row["doc"])

    def _keep(self, key: str, row: str | None) -> None:
        self._drop(key)
        self._rows[key] = row
        self._size += len(row or "") + len(key)
        while self._size > self._limit:
            self._drop(next(iter(self._rows)))

    def _drop(self, key: str) -> None:
        if key in self._rows:
            self._size -= len(self._rows.pop(key) or "") + len(key)
