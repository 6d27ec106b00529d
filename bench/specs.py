"""Kubernetes' own end-to-end specs of Services and network policies, on a real cluster: which pass.

    python bench/specs.py [--only REGEX]… [--workers 3] [--nodes 2] [--spec-timeout 5m] [--keep] [--json]
                                                                            (root, the engine, Go for the first time)

Builds upstream's specs and the image that they run if they are not built (`engine/`, components e2e and image-specs),
makes an installation of its own and a cluster with `--network-policy azure`, puts the images on its nodes, runs the
specs as many at a time as there are workers, and says what came of each. `--only` (several are joined): which, by their
full names; without it the groups below. Specs of what a cluster of ours cannot have are left out by their labels.

Target: none fails.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from installation import Installation

from sorairo.engine.ids import host_name

GROUPS = (r"\[sig-network\] Services ", r"\[sig-network\] Netpol ", r"\[sig-network\] LoadBalancers ")
LEFT_OUT = (
    r"\[Serial\]",  # they disturb what runs beside them; alone: --only
    r"\[Disruptive\]",
    r"\[Feature:SCTP", r"SCTP",  # the kernel may lack it
    r"\[Feature:.*IPv6DualStack", r"\[Feature:ServiceCIDRs",
    r"\[Feature:.*Windows", r"\[Alpha\]", r"\[Feature:OffByDefault\]",
)  # fmt: skip
TOGETHER = 3
"""Specs of one process: looking at the cluster first takes each a second or two."""
COLUMNS = ("passed", "failed", "skipped")


@dataclass(frozen=True)
class Spec:
    name: str
    state: str
    """`passed`, `failed`, `skipped` (it says itself that it is not for this cluster), …"""
    seconds: float
    why: str = ""

    def line(self) -> str:
        return f"{self.state:8}{self.seconds:7.1f} s  {self.name}{f': {self.why}' if self.why else ''}"

    @property
    def group(self) -> str:
        return next((g.replace("\\", "").strip() for g in GROUPS if re.search(g, self.name)), "others")


def built(*components: str) -> dict[str, Path]:
    """Their folders; built first where they are missing."""
    command = [sys.executable, str(ROOT / "engine/build.py"), "--json", *(f"--only={c}" for c in components)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    listed = json.loads(done.stdout)["components"]
    return {name: Path(listed[name]["folder"]) for name in components}


class Suite:
    """Upstream's program, and a cluster for it."""

    def __init__(self, program: Path, kubeconfig: Path, timeout: str) -> None:
        self._program = program
        self._flags = [
            f"--kubeconfig={kubeconfig}",
            "--provider=skeleton",
            "--disable-log-dump",
            "--dump-logs-on-failure=false",
            "--ginkgo.no-color",
            "--ginkgo.silence-skips",
            f"--ginkgo.poll-progress-after={timeout}",
            "--ginkgo.timeout=3h",
        ]

    def list(self, only: list[str]) -> list[str]:
        """Full names of the specs that match, and are not left out."""
        focus = [f"--ginkgo.focus={'|'.join(only or GROUPS)}"]
        skip = [] if only else [f"--ginkgo.skip={'|'.join(LEFT_OUT)}"]
        return [spec.name for spec in self._run("list", [*focus, *skip, "--ginkgo.dry-run"])]

    def all(self, names: list[str], workers: int, folder: Path) -> list[Spec]:
        """So many at a time; each is told of on standard error when it has ended, or a few with it."""
        found: list[Spec] = []
        with ThreadPoolExecutor(workers) as pool:
            shares = [names[n : n + TOGETHER] for n in range(0, len(names), TOGETHER)]
            runs = [pool.submit(self.run, n, share, folder) for n, share in enumerate(shares)]
            for done in as_completed(runs):
                found += done.result()
                for spec in done.result():
                    print(spec.line(), file=sys.stderr, flush=True)
        return sorted(found, key=lambda s: s.name)

    def run(self, number: int, names: list[str], folder: Path) -> list[Spec]:
        # After the suite's own name; Go's expressions know no escaped space.
        focus = [f"--ginkgo.focus= {re.escape(name).replace(chr(92) + ' ', ' ')}$" for name in names]
        return list(self._run(str(number), focus, folder))

    def _run(self, label: str, flags: list[str], folder: Path | None = None) -> Iterator[Spec]:
        with tempfile.TemporaryDirectory() as scratch:
            report = Path(scratch) / "report.json"
            command = [str(self._program), *self._flags, *flags, f"--ginkgo.json-report={report}"]
            with (folder or Path(scratch)).joinpath(f"{label}.log").open("w") as log:
                done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, cwd=scratch, check=False)
            if not report.exists():
                raise SystemExit(f"the specs did not run ({done.returncode}): {log.name}")
            (suite,) = json.loads(report.read_text())
        dry = "--ginkgo.dry-run" in flags
        for found in suite.get("SpecReports") or []:
            wanted = found["State"] == "passed" if dry else found["State"] != "skipped" or found.get("Failure")
            if found["LeafNodeType"] == "It" and wanted:
                yield _spec(found)
            elif found["State"] in ("failed", "panicked", "timedout", "aborted") and found["LeafNodeType"] != "It":
                yield _spec(found)


def _spec(found: dict[str, Any]) -> Spec:
    containers = [str(text) for text in found.get("ContainerHierarchyTexts") or []]
    labels = ""
    name = " ".join([*containers, found["LeafNodeText"]]) + labels
    failure = found.get("Failure") or {}
    state = found["State"] if found["State"] in ("passed", "skipped") else "failed"
    why = str(failure.get("Message", "")).strip().split("\n\n")[0].replace("\n", " ")[:300]
    return Spec(name.strip(), state, found["RunTime"] / 1e9, why)


def cluster(on: Installation, nodes: int, images: Path) -> Path:
    """Its kubeconfig. The images are on every node."""
    on.group("specs")
    pool = {"name": "nodepool1", "mode": "System", "count": nodes, "maxPods": 60}
    network = {"networkPlugin": "azure", "networkPolicy": "azure"}
    properties = {"agentPoolProfiles": [pool], "networkProfile": network}
    body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": properties}
    ended = on.wait(on.arm("PUT", on.cluster_path("specs", "c"), body))
    assert ended["status"] == "Succeeded", ended
    load(on, images)
    return on.kubeconfig("specs", "c")


def load(on: Installation, images: Path) -> None:
    """Put an archive of images on every node."""
    node_group = "resourceGroups/MC_specs_c_westeurope/providers/Microsoft.Compute/virtualMachineScaleSets"
    (scale_set,) = on.arm("GET", node_group).json()["value"]
    ctr = "/opt/sorairo/bin/ctr -a /run/containerd/containerd.sock -n k8s.io images import --snapshotter overlayfs"
    for instance in on.arm("GET", f"{scale_set['id']}/virtualMachines").json()["value"]:
        home = on.state.root / "machines" / host_name(instance["id"]) / "root"
        shutil.copyfile(images, home / "root/specs.tar")
        command = {"commandId": "RunShellScript", "script": [f"{ctr} /root/specs.tar && rm /root/specs.tar"]}
        answer = on.arm("POST", f"{instance['id']}/runCommand", command)
        while (done := on.http.get(answer.headers["location"])).status_code == 202:
            time.sleep(0.2)
        assert "registry.k8s.io" in done.text, done.text


def table(specs: list[Spec]) -> str:
    by_group: dict[str, Counter[str]] = {}
    for spec in specs:
        by_group.setdefault(spec.group, Counter())[spec.state] += 1
    lines = [f"| specs | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += [f"| {group} | {' | '.join(str(n[c]) for c in COLUMNS)} |" for group, n in sorted(by_group.items())]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="REGEX")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--spec-timeout", default="5m", help="when ginkgo says where a spec hangs")
    parser.add_argument("--keep", action="store_true", help="leave the installation as it is at the end")
    parser.add_argument("--logs", type=Path, help="where upstream's own output goes")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    where = built("e2e", "image-specs")
    logs = options.logs or Path(tempfile.mkdtemp(prefix="specs-"))
    logs.mkdir(parents=True, exist_ok=True)
    on = Installation(Path(tempfile.mkdtemp(prefix="sorairo-specs-")) / "state", "linux").start()
    try:
        kubeconfig = cluster(on, options.nodes, where["image-specs"] / "images/specs.tar")
        suite = Suite(where["e2e"] / "bin/e2e", kubeconfig, options.spec_timeout)
        names = suite.list(options.only)
        print(f"{len(names)} specs; upstream's output: {logs}; kubeconfig: {kubeconfig}", file=sys.stderr, flush=True)
        began = time.monotonic()
        specs = suite.all(names, options.workers, logs)
        took = time.monotonic() - began
    finally:
        if not options.keep:
            on.purge()
    if options.json:
        print(json.dumps({"seconds": took, "specs": [asdict(s) for s in specs]}, indent=1))
    else:
        for spec in specs:
            print(spec.line())
        print(f"\n{table(specs)}\n\n{took / 60:.1f} minutes, {options.workers} at a time, {options.nodes} nodes")
    if any(s.state == "failed" for s in specs):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
