#!/usr/bin/env python3
"""Requests of every kind, sensible and otherwise, to ARM, Graph and the token service, and what they leave behind.

python bench/fuzz.py [REQUESTS] [FIRST SEED]
python bench/fuzz.py --stateful [RUNS]

Sends 100,000 in one process, to a fresh installation for each 5,000. Says how each kind of answer was counted, and
everything that should not be: a 5xx (but for a 501 that names what is not built), an error without code and message, a
refused write that changed something, a resource half-made, a host object that nobody owns.

100,000 of seeds 1000 to 1019 came to: 200: 9,533, 201: 2,735, 202: 2,419, 204: 5,707, 400: 18,927, 401: 104, 403: 686,
404: 54,403, 405: 859, 409: 3,768, 412: 7, 501: 852, each of those naming what is not built; nothing wrong.

`--stateful`: RUNS of fifty requests each (400), among which everything that ARM and Graph show is compared with a plain
model's: some 280 requests a run. Stops at the first difference, and says what had been asked. 350 runs were 97,365
requests, and everything as the model says.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import pytest

from crash.world import quickly
from fuzz.run import Found, send
from fuzz.stateful.asking import COUNTED
from fuzz.stateful.run import run

OF_ONE = 5000


async def main(count: int, first: int) -> int:
    found = Found()
    for n, at in enumerate(range(0, count, OF_ONE)):
        with tempfile.TemporaryDirectory() as folder:
            await send(Path(folder), first + n, min(OF_ONE, count - at), found)
        print(f"\r{found.requests:,}", end="", file=sys.stderr, flush=True)
    statuses = ", ".join(f"{status}: {n:,}" for status, n in sorted(found.statuses.items()))
    rate = found.requests / found.seconds
    print(f"\r{found.requests:,} requests in {found.seconds:.0f} s ({rate:.0f}/s): {statuses}")
    print(f"wrong: {len(found.wrong)}")
    for wrong in found.wrong[:20]:
        print(f"  {wrong[:2000]}")
    return 1 if found.wrong else 0


def stateful(runs: int) -> int:
    started = time.perf_counter()
    run(runs, 50, random=True, shrink=False)
    requests = COUNTED.pop("requests")
    seconds = time.perf_counter() - started
    statuses = ", ".join(f"{status}: {n:,}" for status, n in sorted(COUNTED.items()))
    print(f"{requests:,} requests of {runs} runs in {seconds:.0f} s ({requests / seconds:.0f}/s): {statuses}")
    print("everything as the model says, always")
    return 0


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        quickly(patch)
        if sys.argv[1:2] == ["--stateful"]:
            sys.exit(stateful(int((*sys.argv[2:], 400)[0])))
        given = [int(a) for a in sys.argv[1:]]
        sys.exit(asyncio.run(main(*(given + [100_000, 0][len(given) :]))))
