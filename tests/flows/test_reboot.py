"""A reboot takes every process, namespace and link; the next start brings clusters back, with their data."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from host import Host
from installation import Installation

pytestmark = [
    pytest.mark.root,
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, control groups, links"),
]

SAMPLE = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"word": "sky"}},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web"},
            "spec": {
                "containers": [
                    {"name": "web", "image": "mcr.sorairo.internal/sorairo/web:1", "imagePullPolicy": "IfNotPresent"}
                ]
            },
        },
    ],
}


@pytest.fixture
def on(tmp_path: Path) -> Iterator[Installation]:
    it = Installation(tmp_path / "state", "linux")
    try:
        yield it.start()
    finally:
        it.purge()


def reboot(on: Installation) -> None:
    """What the kernel forgets, without the kernel: processes, /run, namespaces, links, control groups."""
    on.kill()
    mark = on.marks[1]
    groups = [p for p in Path("/sys/fs/cgroup").glob(f"**/sorairo/{mark}") if p.is_dir()]
    deadline = time.monotonic() + 30
    while True:
        pids = {pid for g in groups for f in g.glob("**/cgroup.procs") for pid in f.read_text().split()}
        if not pids:
            break
        assert time.monotonic() < deadline
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.05)
    fabric = on.state.fabric
    for namespace in (fabric.run_dir / "netns").iterdir():
        subprocess.run(["umount", "--lazy", str(namespace)], check=True)
    shutil.rmtree(fabric.run_dir)
    subprocess.run(["ip", "link", "delete", f"sorairo-{fabric.tag}"], check=False, capture_output=True)
    for group in groups:
        for folder in sorted(group.glob("**/"), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()


def test_clusters_come_back_with_their_data(on: Installation) -> None:
    before = Host.now()
    on.group("g")
    created = on.create_cluster("g", "c")
    assert created["status"] == "Succeeded", created["error"]
    config = on.kubeconfig("g", "c")
    on.kubectl(config, "apply", "-f", "-", stdin=json.dumps(SAMPLE))
    on.kubectl(config, "wait", "pod/web", "--for=condition=Ready", "--timeout=60s")

    reboot(on)
    assert Host.now().difference(before, on.marks) == {}

    on.start()
    deadline = time.monotonic() + 90
    while "sky" not in (
        said := on.kubectl(config, "get", "configmap", "kept", "-o", "jsonpath={.data.word}", check=False)
    ):
        assert time.monotonic() < deadline, said
        time.sleep(0.2)
    on.kubectl(config, "wait", "node", "--all", "--for=condition=Ready", "--timeout=90s")
    on.kubectl(config, "wait", "pod/web", "--for=condition=Ready", "--timeout=90s")
    path = on.cluster_path("g", "c")
    assert on.arm("GET", path).json()["properties"]["provisioningState"] == "Succeeded"
    assert on.wait(on.arm("DELETE", path))["status"] == "Succeeded"
    assert Host.now().difference(before, on.marks) == {}
