#!/usr/bin/env python3
"""What a decision and a token cost, and whether decisions are right.

python bench/rbac.py                  medians of single calls
python bench/rbac.py --oracle [CASES] decisions against the naive oracle, on as many generated cases as asked for
                                      (100,000)
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))


def oracle(cases: str) -> int:
    started = time.perf_counter()
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=3600",
            "tests/identity/test_authorization.py::test_decisions_agree_with_the_oracle",
        ],
        cwd=ROOT,
        env={**os.environ, "SORAIRO_RBAC_CASES": cases},
    )  # fmt: skip
    print(f"{int(cases):,} cases in {time.perf_counter() - started:.0f} s: ", end="")
    print("all agree" if done.returncode == 0 else "they disagree")
    return done.returncode


def median(call: Callable[[Any], object], questions: list[Any]) -> float:
    """Seconds. Of single calls: what else this machine does meanwhile hits few of them."""
    took = []
    for question in questions:
        started = time.perf_counter()
        call(question)
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def decisions(count: int, denials: int) -> tuple[float, float]:
    """One that is allowed by some role, and one that none allows, among `count` assignments of 500 principals."""
    from identity.oracle import ACTIONS, SCOPES, Denied, Rows
    from sorairo.identity.authorization import Authorization
    from sorairo.identity.principal import Principal
    from sorairo.identity.roles import BUILT_IN, Permissions

    store = Rows()
    for n in range(count):
        store.add(f"p{n % 500}", BUILT_IN[n % len(BUILT_IN)], f"{SCOPES[n % len(SCOPES)]}/providers/M.X/y/{n % 40}")
        if n < 500:  # every principal may read
            store.add(f"p{n}", next(r for r in BUILT_IN if r.name == "Reader"), "/subscriptions/s1")
    for n in range(denials):
        denied = Denied((f"p{n}",), (), Permissions(("*",)), f"{SCOPES[4]}/providers/M.X/z/{n}", False)
        store.deny(denied)
    authorization = Authorization(store)
    scope = f"{SCOPES[6]}/providers/M.X/y/3"
    principals = [Principal(f"p{n}", "t", groups=(f"p{n + 1}", "nobody")) for n in range(min(count, 490))] * 5
    authorization.allows(principals[0], ACTIONS[0], scope)
    return (
        median(lambda p: authorization.allows(p, ACTIONS[0], scope), principals),
        median(lambda p: authorization.allows(p, "Microsoft.Nothing/at/all", scope), principals),
    )


async def verifications() -> tuple[float, float, float]:
    """A token seen for the first time, the same again, and the RSA signature alone."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    from sorairo.identity.bootstrap import bootstrap
    from sorairo.identity.directory import Directory
    from sorairo.identity.keys import load_keys
    from sorairo.identity.tokens import Authority, Tokens
    from sorairo.identity.verify import Verifier
    from sorairo.store import Store

    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(f"sqlite:///{folder}/state.db")
        directory = Directory(store)
        admin = await bootstrap(store, directory, Path(folder) / "credentials.json")
        base = "https://127.0.0.1:9443"
        service = Tokens(Authority(base), load_keys(Path(folder) / "keys.json"), directory)
        principal = directory.service_principal(admin.objectId)
        assert principal
        tokens = ["Bearer " + service.issue(principal, f"{base}/") for _ in range(1000)]
        verifier = Verifier(service)
        first, again = (median(verifier.authenticate, tokens) for _ in range(2))
        key: Any = service.keys.current.private_key
        signature = key.sign(b"x" * 800, padding.PKCS1v15(), hashes.SHA256())
        public = key.public_key()
        bare = median(
            lambda _: public.verify(signature, b"x" * 800, padding.PKCS1v15(), hashes.SHA256()), list(range(1000))
        )
        await store.close()
    return first, again, bare


def main() -> int:
    if sys.argv[1:2] == ["--oracle"]:
        return oracle(sys.argv[2] if len(sys.argv) > 2 else "100000")
    (small, no), (large, refused), (denied, _) = decisions(10, 0), decisions(10_000, 0), decisions(10_000, 400)
    first, again, bare = asyncio.run(verifications())
    rows = [
        ("a decision among 20 assignments: allowed", small, ""),
        ("  refused", no, ""),
        ("among 10,500: allowed", large, f"{large / small:.1f} times as long, at most 50 µs"),
        ("  refused", refused, f"{refused / no:.1f} times as long, at most 50 µs"),
        ("  allowed, with 400 deny assignments", denied, f"{denied / large:.1f} times as long"),
        ("an RSA signature alone", bare, ""),
        ("a token verified", first, f"{first / bare:.1f} times as long, at most 150 µs"),
        ("  the same once more", again, ""),
    ]
    for what, seconds, said in rows:
        print(f"{what:<42} {seconds * 1e6:8.1f} µs  {said}".rstrip())
    return 0 if max(large, refused) < 50e-6 and first < 150e-6 else 1


if __name__ == "__main__":
    sys.exit(main())
