"""Resources' rows lately read or written, so that looking at one again does not go to the database.

A statement gives up the interpreter's lock, and a busy writer is slow to hand it back; a dictionary does not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
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
            if commits == self._commits:  # Else what was read may be what has just been replaced.
                self._keep(key, row)
        return row

    def committed(self, rows: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Take over what a transaction wrote; None for what it deleted."""
        with self._lock:
            self._commits += 1
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
