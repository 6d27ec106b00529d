from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from sorairo.engine.loop import Loop

from .toy import Sorairo, Toys


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged; nothing is printed, which with a traceback takes a second."""
    with structlog.testing.capture_logs() as found:
        yield found


@pytest.fixture
def toys() -> Toys:
    return Toys()


@pytest.fixture
async def sorairo(tmp_path: Path, toys: Toys) -> AsyncIterator[Sorairo]:
    it = await Sorairo(tmp_path / "toys.db", toys).start()
    yield it
    await it.close()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the loop would have paused, which it does not do now."""
    found: list[float] = []

    async def pause(self: Loop, key: str, seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr(Loop, "_pause", pause)
    return found
