"""How the interpreter behaves in a process that answers requests beside a thread that writes."""

from __future__ import annotations

import gc
import sys


def tune() -> None:
    """Call once everything is imported and wired.

    The store's thread gives up the interpreter's lock at every statement, and a busy event loop hands it back only
    after the switch interval: 5 ms by default, several times for each commit. And a full collection over all that was
    imported stops every request for tens of milliseconds: what is there now stays anyway, so it is set aside, and
    the rest is looked through less often.
    """
    sys.setswitchinterval(0.0005)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
