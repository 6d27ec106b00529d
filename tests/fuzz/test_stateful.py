"""Whatever is asked of ARM and Graph in whatever order, what there is is what a plain model says."""

from __future__ import annotations

import pytest

from crash.world import quickly
from fuzz.stateful.run import run


def test_documents_are_the_models_whatever_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    quickly(monkeypatch)
    run(examples=20, steps=40, random=False)
