#!/usr/bin/env python3
"""RBAC decisions against the naive oracle, on as many generated cases as asked for (100,000).

python bench/rbac.py [CASES]
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    cases = sys.argv[1] if len(sys.argv) > 1 else "100000"
    started = time.perf_counter()
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=3600",
            "tests/identity/test_authorization.py::test_decisions_agree_with_the_oracle",
        ],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "SORAIRO_RBAC_CASES": cases},
    )  # fmt: skip
    print(f"{cases} cases in {time.perf_counter() - started:.0f} s")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
