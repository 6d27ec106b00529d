"""Spans: what made what. Every ARM call and every step records one, with its parent; ids are OpenTelemetry's.

A span's parent comes from the context it runs in, or explicitly from the stored operation that asked for the work,
so that the tree holds across workers and restarts. https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Span:
    trace_id: str
    """32 hex digits."""
    span_id: str
    """16 hex digits."""
    parent_id: str
    """'' for a root."""
    name: str
    kind: str
    """`request`, `operation`, `reconcile` or `step`."""
    started_at: float = field(default_factory=time.time)
    ended_at: float | None = None
    status: str = "ok"
    """`ok`, `error`, or `retry` for a step that asked to be looked at again."""
    attributes: dict[str, Any] = field(default_factory=dict)


current: ContextVar[Span | None] = ContextVar("span", default=None)
_random = random.Random()
_sink: Callable[[Span], None] = lambda span: None  # noqa: E731


def record_to(sink: Callable[[Span], None]) -> None:
    """Where ended spans go: the store (`main` sets it)."""
    global _sink
    _sink = sink


def new_span(name: str, kind: str, *, trace_id: str = "", parent_id: str = "", **attributes: Any) -> Span:
    above = current.get()
    if not trace_id:
        trace_id, parent_id = (above.trace_id, above.span_id) if above else (f"{_random.getrandbits(128):032x}", "")
    return Span(trace_id, f"{_random.getrandbits(64):016x}", parent_id, name, kind, attributes=attributes)


def begin(span: Span) -> None:
    """Record a span that will end later, perhaps in another process; recorded again by `end`."""
    _sink(span)


def end(span: Span, status: str = "ok") -> None:
    span.ended_at = time.time()
    span.status = status
    _sink(span)


@contextlib.contextmanager
def span(name: str, kind: str, *, trace_id: str = "", parent_id: str = "", **attributes: Any) -> Iterator[Span]:
    """Time a block. An exception that leaves it marks the span `error` with the exception's text."""
    it = new_span(name, kind, trace_id=trace_id, parent_id=parent_id, **attributes)
    token = current.set(it)
    try:
        yield it
    except BaseException as e:
        it.attributes["error"] = str(e) or type(e).__name__
        end(it, "error")
        raise
    else:
        end(it, it.status)
    finally:
        current.reset(token)
