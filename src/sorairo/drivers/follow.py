"""Reading a log that svlogd writes and rotates."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

POLL_SECONDS = 0.05


async def follow_log(folder: Path, *, follow: bool, lines: int) -> AsyncIterator[str]:
    """The last `lines` lines in `folder`, oldest first, without their line ends; with `follow` also what comes then,
    until the reader stops or the log is removed. A log that is not there has no lines."""
    tail = _Tail(folder)
    try:
        for line in await asyncio.to_thread(tail.last, lines):
            yield line
        while follow:
            fresh = await asyncio.to_thread(tail.fresh)
            if fresh is None:
                return
            for line in fresh:
                yield line
            if not fresh:
                await asyncio.sleep(POLL_SECONDS)
    finally:
        tail.close()


class _Tail:
    """A place in the log. svlogd renames `current` when it is full, and makes a new one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.current = _open(folder / "current")
        self.rest = b""

    def last(self, lines: int) -> list[str]:
        kept: deque[bytes] = deque(maxlen=lines)
        for part in sorted(self.folder.glob("@*.[su]")):
            try:
                kept.extend(part.read_bytes().splitlines())
            except FileNotFoundError:
                continue
        kept.extend(self._read())
        return [line.decode(errors="replace") for line in kept]

    def fresh(self) -> list[str] | None:
        """What has come since; None once the log is no more."""
        lines = self._read()
        if not lines and self._renamed():
            lines = self._read()  # What it got between the two looks.
            self.close()
            self.current = _open(self.folder / "current")
            lines += self._read()
        if not lines and not self.folder.is_dir():
            return None
        return [line.decode(errors="replace") for line in lines]

    def close(self) -> None:
        if self.current is not None:
            self.current.close()

    def _read(self) -> list[bytes]:
        if self.current is None:
            return []
        *whole, self.rest = (self.rest + self.current.read()).split(b"\n")
        return whole

    def _renamed(self) -> bool:
        try:
            now = os.stat(self.folder / "current")
        except FileNotFoundError:
            return False
        return self.current is None or not os.path.samestat(now, os.fstat(self.current.fileno()))


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None
