"""One line a component: a bar that moves on a terminal, plain lines elsewhere. Written to standard error."""

import sys
import threading
import time
from typing import TextIO

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_WIDTH = 24


def elapsed(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


class Progress:
    """What is being done now, and how far it is."""

    def __init__(self, out: TextIO = sys.stderr) -> None:
        self._out = out
        self._live = out.isatty()
        self._lock = threading.Lock()
        self._name = self._what = ""
        self._done = self._total = 0
        self._since = 0.0
        if self._live:
            threading.Thread(target=self._tick, daemon=True).start()

    def start(self, name: str, what: str) -> None:
        with self._lock:
            self._name, self._what, self._done, self._total = name, what, 0, 0
            self._since = time.monotonic()
        if not self._live:
            self._line(f"  {name:<20} {what} …")

    def step(self, what: str, total: int = 0) -> None:
        """Say what is going on within the component, of how many parts if that is known."""
        with self._lock:
            self._what, self._done, self._total = what, 0, total

    def advance(self) -> None:
        with self._lock:
            self._done += 1

    def finish(self, text: str, mark: str = "✓") -> None:
        with self._lock:
            name, self._name = self._name, ""
            self._line(f"{mark} {name:<20} {text}")

    def note(self, name: str, text: str, mark: str = "✓") -> None:
        with self._lock:
            self._line(f"{mark} {name:<20} {text}")

    def _line(self, text: str) -> None:
        self._out.write(f"\r\x1b[K{text}\n" if self._live else f"{text}\n")
        self._out.flush()

    def _tick(self) -> None:
        for beat in range(sys.maxsize):
            time.sleep(0.15)
            with self._lock:
                if not self._name:
                    continue
                bar = ""
                if self._total:
                    full = min(_WIDTH, _WIDTH * self._done // self._total)
                    bar = f"{'█' * full}{'░' * (_WIDTH - full)} {self._done}/{self._total} "
                took = elapsed(time.monotonic() - self._since)
                spin = _SPINNER[beat % len(_SPINNER)]
                self._out.write(f"\r\x1b[K{spin} {self._name:<20} {bar}{self._what} {took}")
                self._out.flush()
