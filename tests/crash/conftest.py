from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
import structlog


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged; nothing is printed, which with a traceback takes a second."""
    with structlog.testing.capture_logs() as found:
        yield found
