"""What goes wrong, in one line, with what to do next."""

from __future__ import annotations


class Problem(Exception):
    """Ends a command. `next` says what the reader can do; `details` are lines shown above it (the log's last)."""

    def __init__(self, message: str, next: str = "", *, details: list[str] | None = None, code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.next = next
        self.details = details or []
        self.code = code
        """The exit code."""


NOT_RUNNING = 3
"""Exit code where a running sorairo was needed or asked about, and there is none."""


def not_running(state: object) -> Problem:
    return Problem(f"sorairo is not running ({state}).", "start it with: sorairo up", code=NOT_RUNNING)
