"""Whatever is asked of ARM and Graph in whatever order, what there is is what a plain model says.

Always the same requests here; `bench/fuzz.py --stateful` asks others each time."""

from __future__ import annotations

import pytest

from crash.world import quickly
from fuzz.stateful.run import run


def test_documents_are_the_models_whatever_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    quickly(monkeypatch)
    run(examples=12, steps=40, random=False, shrink=False)
