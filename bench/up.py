"""How long `sorairo up` takes to an ARM that answers, when nothing is to be installed: the goal is 2 s.

    python bench/up.py [--runs 5]

The floor is Python importing the daemon's modules, measured between the runs: a busy machine slows both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GOAL = 2.0
FLOOR = "import sys; sys.modules['rich'] = None; import sorairo.main"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    ups, repeats, floors = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        state = str(Path(folder) / "state")

        def sorairo(*arguments: str) -> float:
            began = time.monotonic()
            subprocess.run(
                [sys.executable, "-m", "sorairo.cli", *arguments, "--state", state],
                check=True,
                stdout=subprocess.DEVNULL,
                env=os.environ | {"SORAIRO_STATE": state},
            )
            return time.monotonic() - began

        first = sorairo("up", "--substrate", "hollow")
        try:
            for _ in range(runs):
                sorairo("down", "--keep-state")
                began = time.monotonic()
                subprocess.run([sys.executable, "-c", FLOOR], check=True)
                floors.append(time.monotonic() - began)
                ups.append(sorairo("up"))
                repeats.append(sorairo("up"))
        finally:
            sorairo("down", "--yes")
    median, floor = statistics.median(ups), statistics.median(floors)
    print(
        json.dumps(
            {
                "first": round(first, 2),
                "up": round(median, 2),
                "repeated": round(statistics.median(repeats), 2),
                "floor": round(floor, 2),
                "ratio": round(median / floor, 2),
                "goal": GOAL,
                "runs": runs,
            }
        )
    )


if __name__ == "__main__":
    main()
