"""What sorairo adds to a cluster's own time: create, scale, delete, and the memory of it all.

    python bench/cluster.py [--runs 5] [--memory 30] [--json]

In turns, on the same machine: the floor (`floor.py`: the same programs, the same flags, in the best order, by hand) and
`az aks create`'s own PUT against a running sorairo, measured until the kubelet is Ready and the default service account
exists, and until the operation has Succeeded (add-ons applied). Then a second node by scale, and the delete. With
`--memory`, the proportional set size of everything of ours that many seconds after the first cluster is Ready, and what
a second cluster adds. Needs root and the engine. Targets: create ≤ 1.25 × floor; second node ≤ 2.5 s; delete ≤ 2 s;
one-node cluster ≤ 550 MB, each further one ≤ 420 MB, sorairo itself ≤ 120 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent / "tests"), str(Path(__file__).parent)]

from installation import Installation  # noqa: E402

SEEDS = Path(__file__).parent.parent / "src/sorairo/providers/microsoft_containerservice/seeds"
MIB = 1024


def floor() -> float:
    """Seconds until the floor's cluster stands."""
    seed = next(iter(sorted(SEEDS.glob("1.37.*.json"))), None)
    images = ["pause", "coredns", "metrics-server", "web", "busybox"]
    command = [sys.executable, str(Path(__file__).with_name("floor.py")), "--runs", "1", "--proxy", "--images", *images]
    done = subprocess.run([*command, *(["--seed", str(seed)] if seed else [])], capture_output=True, text=True)
    found = re.search(r"^cluster stands\s+([\d.]+)", done.stdout, re.MULTILINE)
    if found is None:
        sys.exit(f"the floor did not stand:\n{done.stdout}{done.stderr}")
    return float(found[1])


def ready(on: Installation, operation: dict[str, str]) -> float:
    """Seconds from the PUT until the node was Ready and the default service account there, from the trace."""
    trace = on.arm("GET", f"/providers/Microsoft.Sorairo/traces/{operation['name']}").json()["properties"]["spans"]
    begun = min(_at(s["startTime"]) for s in trace)
    ends = [
        _at(s["endTime"])
        for s in trace
        if s["kind"] == "step" and s["name"] in ("nodes", "default service account", "API server") and s["endTime"]
    ]
    return max(ends) - begun


def _at(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def create(on: Installation, name: str) -> tuple[float, float]:
    begun = time.monotonic()
    operation = on.create_cluster("bench", name)
    whole = time.monotonic() - begun
    if operation["status"] != "Succeeded":
        sys.exit(f"not created: {operation}")
    return ready(on, operation), whole


def scale(on: Installation, name: str) -> float:
    path = f"{on.cluster_path('bench', name)}/agentPools/nodepool1"
    pool = on.arm("GET", path).json()
    pool["properties"]["count"] += 1
    begun = time.monotonic()
    on.wait(on.arm("PUT", path, pool))
    return time.monotonic() - begun


def delete(on: Installation, name: str) -> float:
    begun = time.monotonic()
    on.wait(on.arm("DELETE", on.cluster_path("bench", name)))
    return time.monotonic() - begun


def memory(on: Installation) -> dict[str, int]:
    """KiB of proportional set size by program: the daemon, and every process in our control groups or with our mark."""
    mark = f"SORAIRO_STATE={_mark(on)}".encode()
    assert on.process
    pids = {on.process.pid}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            marked = mark in (folder / "environ").read_bytes().split(b"\0")
            grouped = f"/sorairo/{_mark(on)}" in (folder / "cgroup").read_text()
        except OSError:
            continue
        if marked or grouped:
            pids.add(int(folder.name))
    sizes: dict[str, int] = {}
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        found = re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)
        name = "sorairo" if pid == on.process.pid else next((a for a in argv[:2] if "kube" in a and "/" not in a), "")
        sizes[name or os.path.basename(argv[0])] = sizes.get(name or os.path.basename(argv[0]), 0) + int(
            found[1] if found else 0
        )
    return sizes


def _mark(on: Installation) -> str:
    from sorairo.drivers.procs import state_mark

    return state_mark(on.state.root)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--memory", type=float, default=0, metavar="SECONDS")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)
        print(f"  {name}: {value:.2f}", file=sys.stderr)

    sizes: list[tuple[str, dict[str, int]]] = []
    with tempfile.TemporaryDirectory(prefix="sorairo-bench-") as folder:
        on = Installation(Path(folder) / "state", "linux").start()
        try:
            on.group("bench")
            delete_first = create(on, "warm"), delete(on, "warm")  # images are prepared once
            print(f"  warm-up: {delete_first}", file=sys.stderr)
            for _ in range(options.runs):
                add("floor", floor())
                until_ready, whole = create(on, "c")
                add("create: Ready", until_ready)
                add("create: Succeeded", whole)
                add("scale: second node", scale(on, "c"))
                add("delete", delete(on, "c"))
            if options.memory:
                for name in ("m1", "m2"):
                    create(on, name)
                    time.sleep(options.memory)
                    sizes.append((name, memory(on)))
        finally:
            on.purge()
    report(figures, sizes, as_json=options.json)


def report(figures: dict[str, list[float]], sizes: list[tuple[str, dict[str, int]]], *, as_json: bool) -> None:
    median = {name: statistics.median(values) for name, values in figures.items()}
    ratio = statistics.median(c / f for c, f in zip(figures["create: Ready"], figures["floor"], strict=True))
    if as_json:
        print(json.dumps({"medians": median, "create/floor": ratio, "memory KiB": dict(sizes)}, indent=1))
        return
    print(f"{'seconds':<24}{'median':>8}{'min':>8}{'max':>8}")
    for name, values in figures.items():
        print(f"{name:<24}{median[name]:8.2f}{min(values):8.2f}{max(values):8.2f}")
    print(f"{'create: Ready / floor':<24}{ratio:8.2f}   (run by run; target 1.25)")
    before = 0
    for name, found in sizes:
        total = sum(found.values())
        print(f"\n{'MiB (PSS), cluster ' + name:<32}{(total - before) / MIB:8.1f}   of {total / MIB:.1f} in all")
        for program, size in sorted(found.items(), key=lambda item: -item[1])[:14]:
            print(f"  {program:<30}{size / MIB:8.1f}")
        before = total


if __name__ == "__main__":
    main()
