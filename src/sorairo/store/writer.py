"""The one thread that writes.

It takes everything that is queued, runs each function in turn, writes what they decided and commits once: while that
commit waits for the disk the next group gathers. So throughput does not depend on how long an fsync takes, and
nothing is acknowledged before it is durable.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from sorairo.engine.errors import ArmError
from sorairo.engine.trace import Span
from sorairo.store import rows, sql
from sorairo.store.tx import Cursor, Pending, Tx

log = structlog.get_logger(__name__)

GROUP = 256
"""Most functions in one commit, so that the first of a flood does not wait for the last."""
SPANS_WITHIN = 0.1
"""Seconds after which buffered spans are written even if nothing else is."""


@dataclass(slots=True)
class Job:
    run: Callable[[Tx], Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    context: contextvars.Context
    """The awaiter's, so that what `run` traces and logs has its place."""
    value: Any = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept of the past. Resources, notes and running operations are never dropped."""

    days: float = 90.0
    operations: int = 50_000
    spans: int = 500_000
    activity: int = 100_000
    every: float = 600.0
    """Seconds between two sweeps."""
    at_once: int = 2_000
    """Most rows a sweep takes from one table; the rest is for the next commit."""


class Writer:
    """Owns the writing connection; `start` and `stop` from outside, everything else in its thread."""

    def __init__(self, connection: Any, retention: Retention, wrote: Callable[[int], None]) -> None:
        """`wrote` is told, after each commit, how many rows it had."""
        self._cursor: Cursor = connection.cursor()
        self._retention = retention
        self._wrote = wrote
        self._queue: queue.SimpleQueue[Job | Literal["spans", "stop"]] = queue.SimpleQueue()
        self._spans: deque[Span] = deque(maxlen=100_000)
        self.listeners: list[Callable[[Iterable[str]], None]] = []
        self.committing: Callable[[Iterable[str]], None] = lambda keys: None
        """Told just before a commit, with the keys of the rows."""
        self.committed: Callable[[Mapping[str, rows.Row | None]], None] = lambda written: None
        """Told first, with the rows; without any when the commit failed."""
        self._told = False
        """The thread knows that there are spans to write."""
        self._swept = time.monotonic()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="sorairo-store", daemon=True)
        self._thread.start()

    def submit(self, run: Callable[[Tx], Any]) -> asyncio.Future[Any]:
        """Queue a function. Raises RuntimeError once stopped."""
        if self._closed:
            raise RuntimeError("the store is closed")
        loop = asyncio.get_running_loop()
        job = Job(run, loop.create_future(), loop, contextvars.copy_context())
        self._queue.put(job)
        return job.future

    def add_span(self, span: Span) -> None:
        self._spans.append(span)
        if not self._told:
            self._told = True
            self._queue.put("spans")

    def stop(self) -> None:
        """Write everything queued, then end. Blocks."""
        if not self._closed:
            self._closed = True
            self._queue.put("stop")
        self._thread.join()

    def _work(self) -> None:
        item: Job | Literal["spans", "stop"] = "spans"
        while item != "stop":
            jobs: list[Job] = []
            try:
                item = self._queue.get()
                if item == "spans":  # let more of them gather, unless there is something urgent
                    item = self._queue.get(timeout=SPANS_WITHIN)
                while item != "stop":
                    if isinstance(item, Job):
                        jobs.append(item)
                    if len(jobs) == GROUP:
                        break
                    item = self._queue.get_nowait()
            except queue.Empty:
                pass
            self._commit(jobs)
            if time.monotonic() - self._swept > self._retention.every:
                self.sweep()

    def _commit(self, jobs: list[Job]) -> None:
        self._told = False
        spans = [self._spans.popleft() for _ in range(len(self._spans))]
        if not jobs and not spans:
            return
        try:
            self._cursor.execute("BEGIN IMMEDIATE")
            group = Pending()
            for job in jobs:
                self._decide(job, group)
            group.write(self._cursor)
            if spans:
                self._cursor.executemany(sql.PUT_SPAN, [rows.span_row(s) for s in spans])
            self.committing(group.resources)
            self._cursor.execute("COMMIT")
        except Exception as e:
            self._abort()
            self.committed({})
            log.error("store.commit_failed", error=str(e), writes=len(jobs), spans=len(spans))
            for job in jobs:
                job.error = job.error or refusal(e)
        else:
            self._wrote(len(group) + len(spans))
            self.committed(group.resources)
            for listener in self.listeners:
                listener(group.resources)
        _resolve(jobs)

    def _decide(self, job: Job, group: Pending) -> None:
        if job.future.cancelled():
            return
        tx = Tx(self._cursor, group)
        try:
            job.value = job.context.run(job.run, tx)
        except StopIteration as e:  # a future refuses to carry it
            job.error = RuntimeError(f"a transaction raised {e!r}")
        except BaseException as e:
            job.error = e
        else:
            group.absorb(tx.own)

    def _abort(self) -> None:
        try:
            self._cursor.execute("ROLLBACK")
        except Exception as e:  # SQLite has rolled back by itself, as it does when the disk is full
            log.debug("store.rollback", error=str(e))

    def sweep(self) -> None:
        """Drop what is past its time, a little at once."""
        keep = self._retention
        self._swept = time.monotonic()
        counts = {"spans": keep.spans, "activity": keep.activity, "operations": keep.operations}
        try:
            for table, statement in sql.TRIM.items():
                values = {"keep": counts[table], "before": time.time() - keep.days * 86400, "limit": keep.at_once}
                self._cursor.execute(statement, values)
                if getattr(self._cursor, "rowcount", 0) >= keep.at_once:
                    self._swept -= keep.every  # there is more: again after the next commit
        except Exception as e:
            log.error("store.sweep_failed", error=str(e))


def _resolve(jobs: list[Job]) -> None:
    """Wake the awaiters, all of one loop with one call into it."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, group in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, group)
        except RuntimeError:  # the loop is closed: nobody waits
            log.debug("store.loop_closed", writes=len(group))


def _settle(jobs: list[Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.value)


def refusal(error: Exception) -> Exception:
    """What a client is told when the database could not write."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
        return ArmError(
            "InsufficientStorage",
            "The disk that holds sorairo's state is full, so the request was refused and nothing was changed. "
            "Free some space and send it again.",
            status=507,
        )
    return error
