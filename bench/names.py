"""How soon a name is told: from ARM's answer to a record set's PUT to the packet that has its address.

    python bench/names.py [--runs 15] [--records 500] [--json]      (root, the engine)

Makes an installation of its own with a public zone of `--records` record sets, and adds one more, `--runs` times. The
baseline is the same engine's CoreDNS alone, in whose zone file of the same size a line is added by hand: what is above
it is sorairo's. Then questions for a second, one after the other, to either; and what the name server weighs.

Targets: median at most 0.2 s above the baseline; questions at least 0.9 of its.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import sorairo_engine

from dig import ask
from installation import Installation

ZONE = "bench.example"
PUBLIC = f"resourceGroups/bench/providers/Microsoft.Network/dnsZones/{ZONE}"
ALONE = "127.0.0.77"
SOA = f"{ZONE}. 60 IN SOA ns. host. {{serial}} 3600 300 2419200 1\n"


def address(n: int) -> str:
    return f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"


def until_told(server: str, name: str) -> float:
    began = time.perf_counter()
    while ask(server, f"{name}.{ZONE}").code != "NOERROR":
        time.sleep(0.002)
    return time.perf_counter() - began


def rate(server: str) -> float:
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < 1:
        assert ask(server, f"r0.{ZONE}").code == "NOERROR"
        count += 1
    return count


@contextmanager
def alone(folder: Path, records: int) -> Iterator[list[str]]:
    """CoreDNS by itself; the lines of its zone file, for `rewrite`."""
    lines = [f"r{n}.{ZONE}. 60 IN A {address(n)}\n" for n in range(records)]
    rewrite(folder, lines)
    core = f".:53 {{\n bind {ALONE}\n auto {{\n  directory {folder}/zones (.*) {{1}}\n  reload 500ms\n }}\n}}\n"
    (folder / "Corefile").write_text(core)
    server = subprocess.Popen([sorairo_engine.BIN / "coredns", "-quiet", "-conf", folder / "Corefile"])
    try:
        for _ in range(500):
            try:
                until_told(ALONE, "r0")
                break
            except OSError:
                time.sleep(0.01)
        yield lines
    finally:
        server.kill()
        server.wait()


def rewrite(folder: Path, lines: list[str]) -> None:
    (folder / "zones").mkdir(exist_ok=True)
    (folder / "draft").write_text(SOA.format(serial=len(lines)) + "".join(lines))
    (folder / "draft").rename(folder / "zones" / ZONE)


def weight(on: Installation) -> float:
    """MiB (PSS) of the name server."""
    machines = on.arm("GET", "/providers/Microsoft.Sorairo/status/default").json()["properties"]["machines"]
    total = 0
    for pid in (p["pid"] for m in machines if m["id"] == "names" for p in m["processes"]):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total / 1024


def run(on: Installation, folder: Path, runs: int, records: int) -> dict[str, Any]:
    on.group("bench")
    one = {"location": "global", "properties": {}}
    on.wait(on.arm("PUT", PUBLIC, one))
    for n in range(records):
        put(on, f"r{n}", n)
    server = on.arm("GET", "/providers/Microsoft.Sorairo/status/default").json()["properties"]["endpoints"]["names"]
    until_told(server, f"r{records - 1}")
    ours, base = [], []
    with alone(folder, records) as lines:
        for n in range(runs):
            time.sleep(random.random() / 2)  # the server's clock is not ours
            put(on, f"more{n}", n)
            ours.append(until_told(server, f"more{n}"))
            time.sleep(random.random() / 2)
            rewrite(folder, lines := [*lines, f"more{n}.{ZONE}. 60 IN A {address(n)}\n"])
            base.append(until_told(ALONE, f"more{n}"))
        asked = rate(server), rate(ALONE)
    time.sleep(10)  # it gives back what only its start needed
    return {
        "records": records,
        "seconds": statistics.median(ours),
        "seconds_alone": statistics.median(base),
        "worst": max(ours),
        "questions": asked[0],
        "questions_alone": asked[1],
        "mib": weight(on),
        "load": os.getloadavg()[0],
    }


def put(on: Installation, name: str, n: int) -> None:
    body = {"properties": {"TTL": 60, "ARecords": [{"ipv4Address": address(n)}]}}
    on.arm("PUT", f"{PUBLIC}/A/{name}", body).raise_for_status()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--records", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        on = Installation(Path(folder) / "state", "linux")
        try:
            found = run(on.start(), Path(folder), given.runs, given.records)
        finally:
            on.purge()
    if given.json:
        print(json.dumps(found))
        return
    print(f"{found['records']} record sets, load {found['load']:.1f}{'sorairo':>24}{'CoreDNS alone':>16}{'ratio':>8}")
    for label, key, form in (("told after (s, median)", "seconds", ".2f"), ("questions a second", "questions", ".0f")):
        a, b = found[key], found[f"{key}_alone"]
        print(f"{label:<30}{a:>22{form}}{b:>16{form}}{a / b:>8.2f}")
    print(f"{'told after (s, worst)':<30}{found['worst']:>22.2f}")
    print(f"{'name server, MiB (PSS)':<30}{found['mib']:>22.1f}")


if __name__ == "__main__":
    main()
