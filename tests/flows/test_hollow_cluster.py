"""A cluster of simulated nodes, without root: a real API server, scheduler and controllers; nodes that tell the truth.

The tests are one life of one cluster, in order.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from installation import VERSIONS, Installation

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

APP = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 12
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:1", resources: {requests: {cpu: 100m, memory: 64Mi}}}]}
"""


def eventually(check: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Hollow:
    def __init__(self, on: Installation) -> None:
        self.on = on
        on.group("g")
        ended = on.create_cluster("g", "c", 2, vmSize="Standard_D4s_v3", maxPods=40)
        assert ended["status"] == "Succeeded", ended
        self.config = on.kubeconfig("g", "c")

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.on.kubectl(self.config, *arguments, stdin=stdin)

    def get(self, *arguments: str) -> list[dict[str, Any]]:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))["items"]  # type: ignore[no-any-return]

    def rolled_out(self, replicas: int) -> None:
        """What a deployment says of itself is old news just after its controller has been started."""
        self.kubectl("rollout", "status", "deployment/web", "--timeout=60s")

        def running() -> bool:
            pods = self.get("pods", "-l", "app=web")
            states = [p["status"]["phase"] for p in pods if "deletionTimestamp" not in p["metadata"]]
            return states == ["Running"] * replicas

        eventually(running)

    def pool(self, name: str, **properties: Any) -> None:
        path = f"{self.on.cluster_path('g', 'c')}/agentPools/{name}"
        assert self.on.wait(self.on.arm("PUT", path, {"properties": properties}))["status"] == "Succeeded"

    def act(self, action: str) -> None:
        answer = self.on.arm("POST", f"{self.on.cluster_path('g', 'c')}/{action}", {})
        assert self.on.wait(answer)["status"] == "Succeeded"

    def processes(self) -> dict[str, int]:
        status = self.on.arm("GET", "/providers/Microsoft.Sorairo/status/default").json()["properties"]
        return {p["name"]: p["pid"] for m in status["clusters"][0]["machines"] for p in m["processes"] if p["pid"]}

    def node_addresses(self) -> dict[str, list[str]]:
        """By node: its NIC's addresses, as ARM tells them."""
        found = {}
        for node in self.get("nodes"):
            instance = node["spec"]["providerID"].removeprefix("azure://")
            scale_set = instance.rsplit("/", 3)[1]
            path = f"{instance}/networkInterfaces/{scale_set}"  # Of Compute by its path, of Network by its version.
            nic = self.on.http.get(path, params={"api-version": VERSIONS["microsoft.network"]}).json()
            ips = [ip["properties"]["privateIPAddress"] for ip in nic["properties"]["ipConfigurations"]]
            found[node["metadata"]["name"]] = ips
        return found

    def check_pods(self) -> None:
        """Each has an address of its node's NIC, and none has another's."""
        addresses = self.node_addresses()
        pods = [p for p in self.get("pods", "-A") if "deletionTimestamp" not in p["metadata"]]
        for pod in pods:
            assert pod["status"]["phase"] in ("Running", "Succeeded"), pod["metadata"]["name"]
            assert pod["status"]["podIP"] in addresses[pod["spec"]["nodeName"]][1:]
        live = [p["status"]["podIP"] for p in pods if p["status"]["phase"] == "Running"]
        assert len(set(live)) == len(live)


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    it = Installation(tmp_path_factory.mktemp("hollow") / "state", "hollow")
    try:
        yield it.start()
    finally:
        it.purge()


@pytest.fixture(scope="module")
def cluster(on: Installation) -> Hollow:
    return Hollow(on)


def test_nodes_tell_the_truth(cluster: Hollow) -> None:
    document = cluster.on.arm("GET", cluster.on.cluster_path("g", "c")).json()
    nodes = cluster.get("nodes")
    addresses = cluster.node_addresses()
    assert len(nodes) == 2
    for node in nodes:
        name, status = node["metadata"]["name"], node["status"]
        assert {a["type"]: a["address"] for a in status["addresses"]} == {
            "InternalIP": addresses[name][0],
            "Hostname": name,
        }
        assert status["nodeInfo"]["kubeletVersion"] == f"v{document['properties']['currentKubernetesVersion']}"
        assert status["nodeInfo"]["osImage"]
        assert [status["capacity"][what] for what in ("cpu", "memory", "pods")] == ["4", "16Gi", "40"]
        # AKS keeps 140 thousandths of four CPUs, 20 MiB for each pod and 50 more, and evicts below 100 MiB.
        assert status["allocatable"]["cpu"] == "3860m"
        assert status["allocatable"]["memory"] == f"{16 * 1024 - (20 * 40 + 50) - 100}Mi"
        assert {c["type"]: c["status"] for c in status["conditions"]} == {
            "Ready": "True",
            "MemoryPressure": "False",
            "DiskPressure": "False",
            "PIDPressure": "False",
        }
        labels = node["metadata"]["labels"]
        assert labels["agentpool"] == "nodepool1"
        assert labels["node.kubernetes.io/instance-type"] == "Standard_D4s_v3"
        assert labels["topology.kubernetes.io/region"] == "westeurope"


def test_nodes_can_be_scheduled_to_at_once(cluster: Hollow) -> None:
    eventually(lambda: not any("taints" in n["spec"] for n in cluster.get("nodes")), 5)


def test_pods_run_roll_and_end(cluster: Hollow) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=APP)
    cluster.rolled_out(12)
    cluster.check_pods()
    cluster.kubectl("set", "image", "deployment/web", "web=web:2")
    cluster.rolled_out(12)
    cluster.kubectl("scale", "deployment/web", "--replicas=30")
    cluster.rolled_out(30)
    cluster.check_pods()
    cluster.kubectl("create", "namespace", "short")
    cluster.kubectl("create", "job", "once", "--image=web:1", "--namespace=short")
    cluster.kubectl("wait", "--for=condition=complete", "job/once", "--namespace=short", "--timeout=30s")
    cluster.kubectl("delete", "namespace", "short", "--timeout=60s")


def test_what_needs_a_kubelet_says_so_at_once_and_dials_nobody(cluster: Hollow) -> None:
    began = time.monotonic()
    with pytest.raises(AssertionError, match="no preferred addresses found"):
        cluster.kubectl("logs", "deployment/web")
    assert time.monotonic() - began < 5


def test_pools_come_scale_and_go(cluster: Hollow) -> None:
    size = {"vmSize": "Standard_D2s_v3", "mode": "User"}
    cluster.pool("two", count=1, nodeLabels={"tier": "test"}, nodeTaints=["only=this:NoSchedule"], **size)
    (node,) = cluster.get("nodes", "-l", "agentpool=two")
    assert node["metadata"]["labels"]["tier"] == "test"
    assert {"key": "only", "value": "this", "effect": "NoSchedule"} in node["spec"]["taints"]
    cluster.pool("two", count=3, nodeLabels={"tier": "test"}, nodeTaints=["only=this:NoSchedule"], **size)
    assert len(cluster.get("nodes", "-l", "agentpool=two")) == 3
    cluster.pool("two", count=1, nodeLabels={"tier": "test"}, nodeTaints=["only=this:NoSchedule"], **size)
    assert len(cluster.get("nodes", "-l", "agentpool=two")) == 1
    cluster.on.wait(cluster.on.arm("DELETE", f"{cluster.on.cluster_path('g', 'c')}/agentPools/two"))
    assert len(cluster.get("nodes")) == 2


def test_a_new_kwok_gives_no_address_away_twice(cluster: Hollow) -> None:
    os.kill(cluster.processes()["kwok"], signal.SIGKILL)
    eventually(lambda: "kwok" in cluster.processes())
    cluster.kubectl("scale", "deployment/web", "--replicas=40")
    cluster.rolled_out(40)
    cluster.check_pods()


def test_stopped_and_started(cluster: Hollow) -> None:
    cluster.act("stop")
    assert cluster.processes() == {}
    cluster.act("start")
    cluster.rolled_out(40)
    cluster.check_pods()


def test_a_reboot_brings_it_back(cluster: Hollow) -> None:
    pids = cluster.processes().values()
    before = {n["metadata"]["uid"] for n in cluster.get("nodes")}
    cluster.on.kill()
    for pid in _of_machines(cluster.on):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    cluster.on.start()
    eventually(lambda: len(cluster.processes()) == 5)
    eventually(lambda: "ok" in cluster.on.kubectl(cluster.config, "get", "--raw", "/readyz", check=False))
    assert {n["metadata"]["uid"] for n in cluster.get("nodes")} == before
    cluster.kubectl("scale", "deployment/web", "--replicas=20")
    cluster.rolled_out(20)
    cluster.check_pods()


def test_nothing_is_left(cluster: Hollow) -> None:
    port = int(json.loads(cluster.kubectl("config", "view", "-o", "json"))["clusters"][0]["cluster"]["server"][-5:])
    path = cluster.on.cluster_path("g", "c")
    assert cluster.on.wait(cluster.on.arm("DELETE", path))["status"] == "Succeeded"
    assert cluster.on.arm("GET", path).status_code == 404
    assert _of_machines(cluster.on) == []
    assert list((cluster.on.state.root / "machines").iterdir()) == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    status = cluster.on.arm("GET", "/providers/Microsoft.Sorairo/status/default").json()["properties"]
    assert status["machines"] == []
    assert set(status["resources"]) <= {"Microsoft.Resources/resourceGroups", "Microsoft.Authorization/roleAssignments"}


def _of_machines(on: Installation) -> list[int]:
    """Processes of this installation's machines, whoever started them."""
    home = f"HOME={on.state.root.resolve()}/machines/".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(entry.startswith(home) for entry in (folder / "environ").read_bytes().split(b"\0")):
                found.append(int(folder.name))
        except OSError:
            continue
    return found
