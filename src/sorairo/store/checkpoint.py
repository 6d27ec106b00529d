"""Moving the write-ahead log into the database file, beside the writer rather than in its way.

By itself SQLite does it within the commit that fills the log, and that commit waits for all of it: 60 to 90 ms on a
busy disk, several times a second under load. A passive checkpoint from another connection holds up nobody.
https://www.sqlite.org/wal.html#ckpt
"""

from __future__ import annotations

import threading
from typing import Any

import structlog

log = structlog.get_logger(__name__)

ROWS = 1000
"""Rows written after which it is time; some 8 MB of log."""


class Checkpointer:
    """Owns a connection and a thread, which sleeps until it is time."""

    def __init__(self, connection: Any) -> None:
        self._cursor = connection.cursor()
        self._rows = 0
        self._due = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="sorairo-checkpoint", daemon=True)
        self._thread.start()

    def wrote(self, rows: int) -> None:
        """Called by the writer after each commit."""
        self._rows += rows
        if self._rows >= ROWS:
            self._rows = 0
            self._due.set()

    def stop(self) -> None:
        self._closed = True
        self._due.set()
        self._thread.join()

    def _work(self) -> None:
        while self._due.wait() and not self._closed:
            self._due.clear()
            try:
                self._cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
                self._cursor.fetchall()
            except Exception as e:  # the log only grows; the next commit past `wal_autocheckpoint` does it then
                log.warning("store.checkpoint_failed", error=str(e))
