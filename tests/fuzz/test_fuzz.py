"""Whatever is sent to ARM, Graph and the token service, nothing breaks and nothing is left half-made."""

from __future__ import annotations

from pathlib import Path

import pytest

from crash.world import quickly
from fuzz.run import Found, send

SEEDS = range(4)
OF_EACH = 1250
"""5,000 in all; `bench/fuzz.py` sends 100,000."""


@pytest.mark.parametrize("seed", SEEDS)
async def test_anything_is_answered_and_nothing_is_half_made(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch)
    found = Found()
    await send(tmp_path, seed, OF_EACH, found)
    assert found.wrong == []
    assert found.requests == OF_EACH
    assert found.statuses[201] + found.statuses[202] > OF_EACH / 30, "hardly anything was made"
