"""A cluster and its cloud in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cluster.fakes import World
from sorairo.cluster.cloud import controller


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(controller, "FIRST_PAUSE", 0.01)
    it = World()
    yield it
    await it.stop()
