"""Consoles, and a spinner for what takes long enough to be noticed."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

# rich is imported where something is drawn: `up` has its daemon starting by then.


def out() -> Console:
    from rich.console import Console

    # What is piped somewhere is not cut to the 80 columns that rich takes an unknown width for.
    return Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 140)


def err() -> Console:
    """Progress goes here, so that standard output can be read by programs."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


@contextlib.contextmanager
def busy(what: str, *, quiet: bool = False) -> Iterator[None]:
    """Show that something is going on, on a terminal."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    with err().status(what, spinner="dots"):
        yield


def span(seconds: float) -> str:
    """A duration for people: `850 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours // 24} d {hours % 24} h" if hours >= 48 else f"{hours} h {minutes} min"


def size(count: float) -> str:
    """Bytes for people, in powers of 1024."""
    for unit in ("B", "KB", "MB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GB"
