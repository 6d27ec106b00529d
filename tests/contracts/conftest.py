"""What tests of real networks begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wire import Wire


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    wire = Wire(tmp_path / "run")
    yield wire
    wire.wipe()
