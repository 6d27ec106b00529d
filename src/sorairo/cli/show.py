"""Consoles, and a spinner for what takes long enough to be noticed."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sorairo.state import State, default_state

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


def call(state: State, command: str) -> str:
    """How to call another command from where the reader is: by name, or by path when it is not on PATH, and with
    `--state` when that was not the usual one."""
    here = Path(sys.argv[0])
    found = shutil.which("sorairo")
    if found is not None or not os.access(here, os.X_OK):
        name = "sorairo"
    else:
        name = os.path.relpath(here) if here.is_relative_to(Path.cwd()) else str(here)
    more = "" if state.root == default_state() else f" --state {shlex.quote(str(state.root))}"
    return f"{name} {command}{more}"


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
