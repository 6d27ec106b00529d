"""A list of steps as they are done: live on a terminal, a line each elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any

from sorairo.cli import show


@dataclass(frozen=True, slots=True)
class Part:
    """Something a step consists of. `seconds`: how long it took; None while it goes on."""

    name: str
    seconds: float | None


def seconds_between(start: str, end: str) -> float:
    return max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())


@dataclass(slots=True)
class _Step:
    name: str
    began: float = field(default_factory=time.monotonic)
    took: float | None = None
    failed: bool = False
    note: str = ""
    parts: list[Part] = field(default_factory=list)


class Steps:
    """`with steps: with steps.step("…"): …`. This one says nothing (`--json`)."""

    def __init__(self) -> None:
        self._steps: list[_Step] = []

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        return None

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        step = _Step(name)
        self._steps.append(step)
        self._changed(step)
        try:
            yield
        except BaseException:
            step.failed = True
            raise
        finally:
            step.took = time.monotonic() - step.began
            self._changed(step)

    def already(self, name: str) -> None:
        step = _Step(name, took=0.0, note="already there")
        self._steps.append(step)
        self._changed(step)

    def below(self, parts: Sequence[Part]) -> None:
        """The parts of the step at work, as they are now."""
        self._steps[-1].parts = list(parts)
        self._changed(self._steps[-1])

    def _changed(self, step: _Step) -> None:
        return None


class _Lines(Steps):
    """For logs: a line when something is done."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def _changed(self, step: _Step) -> None:
        for part in step.parts:
            if part.seconds is not None and part.name not in self._said:
                self._said.add(part.name)
                print(f"    {part.name}: {show.span(part.seconds)}", file=sys.stderr, flush=True)
        if step.took is not None:
            mark = "✗" if step.failed else "✓"
            print(f"{mark} {step.name}: {step.note or show.span(step.took)}", file=sys.stderr, flush=True)


class _Live(Steps):
    """For people: all of it, with what is at work moving."""

    def __init__(self) -> None:
        super().__init__()
        from rich.live import Live

        self._live = Live(self._drawn(), console=show.err(), refresh_per_second=12, get_renderable=self._drawn)

    def __enter__(self) -> Steps:
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._live.__exit__(kind, error, tb)

    def _drawn(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1))
        moving = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"[int(time.monotonic() * 10) % 10]
        for step in self._steps:
            took = step.took if step.took is not None else time.monotonic() - step.began
            mark = (
                Text("✗", "red")
                if step.failed
                else Text("✓", "green")
                if step.took is not None
                else Text(moving, "cyan")
            )
            table.add_row(
                mark, Text(step.name, "bold" if step.parts else ""), Text(step.note or show.span(took), "dim")
            )
            for part in step.parts:
                done = part.seconds is not None
                table.add_row(
                    "",
                    Text.assemble(("  ✓ ", "green") if done else (f"  {moving} ", "cyan"), part.name),
                    Text(show.span(part.seconds) if part.seconds is not None else "", "dim"),
                )
        return table


def make(*, quiet: bool) -> Steps:
    return Steps() if quiet else _Live() if sys.stderr.isatty() else _Lines()
