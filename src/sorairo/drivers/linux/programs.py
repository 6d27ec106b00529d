"""Programs of the host that do a bit of work and end: `ip`, `nft`."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from sorairo.drivers.protocols import DriverError


def run(argv: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """Run to the end in the namespace the thread is in; `text` is its input. Raises DriverError when it is missing."""
    try:
        return subprocess.run(argv, input=text, capture_output=True, check=False, text=True, errors="replace")
    except FileNotFoundError:
        raise DriverError(f"{argv[0]} is not installed") from None
