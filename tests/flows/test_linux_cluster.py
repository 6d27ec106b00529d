"""A real cluster on the linux substrate: what a user of AKS does with one, and what it leaves behind.

Given a cluster of one node, then two; when pods, services, probes, volumes and the like are used; then packets arrive.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows_shared import Kubectl, eventually
from host import Host
from installation import Installation, free_port, kubectl_program

pytestmark = [
    pytest.mark.root,
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, control groups, links"),
]

WEB = "mcr.sorairo.internal/sorairo/web:1"
BUSYBOX = "docker.io/library/busybox:1"
MC = "resourceGroups/MC_demo_c1_westeurope/providers"


class Cluster(Kubectl):
    def __init__(self, installation: Installation, group: str, name: str) -> None:
        super().__init__(installation, group, name)
        self.group, self.name = group, name

    def wait(self, what: str, condition: str, seconds: int = 60) -> None:
        self.kubectl("wait", what, f"--for={condition}", f"--timeout={seconds}s")


@pytest.fixture(scope="module")
def before() -> Host:
    return Host.now()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, before: Host) -> Iterator[Installation]:
    it = Installation(tmp_path_factory.mktemp("sorairo"), "linux")
    try:
        yield it.start()
    finally:
        it.purge()


@pytest.fixture(scope="module")
def cluster(installation: Installation) -> Cluster:
    installation.group("demo")
    operation = installation.create_cluster("demo", "c1")
    assert operation["status"] == "Succeeded", operation
    it = Cluster(installation, "demo", "c1")
    it.apply(
        deployment("web", WEB, replicas=2),
        service("web", 80),
        pod("box", BUSYBOX, command=["sleep", "100000"]),
    )
    it.wait("pod/box", "condition=Ready")
    it.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    return it


def pod(name: str, image: str, **container: object) -> dict[str, object]:
    spec = {"containers": [{"name": name, "image": image, "imagePullPolicy": "IfNotPresent", **container}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def deployment(name: str, image: str, replicas: int = 1, **container: object) -> dict[str, object]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod(name, image, **container)["spec"]},
        },
    }


def service(name: str, port: int) -> dict[str, object]:
    spec = {"selector": {"app": name}, "ports": [{"port": port}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


# --- what is there --------------------------------------------------------------------------------------------


def test_the_node_is_what_its_vm_size_says(cluster: Cluster) -> None:
    (node,) = cluster.get("nodes")["items"]  # type: ignore[misc]
    assert node["status"]["capacity"]["cpu"] == "2"
    assert node["status"]["capacity"]["memory"] in ("8Gi", str(8 * 2**20) + "Ki")
    assert node["status"]["capacity"]["pods"] == "30"
    assert node["status"]["nodeInfo"]["kubeletVersion"].startswith("v1.")
    labels = node["metadata"]["labels"]
    assert labels["kubernetes.azure.com/agentpool"] == "nodepool1"
    assert labels["kubernetes.azure.com/cluster"] == "MC_demo_c1_westeurope"
    assert labels["node.kubernetes.io/instance-type"] == "Standard_D2s_v3"
    assert labels["topology.kubernetes.io/region"] == "westeurope"
    assert node["spec"]["providerID"].lower().endswith("/virtualmachines/0")


def test_the_node_resource_group_tells_what_exists(cluster: Cluster) -> None:
    found = cluster.on.arm("GET", "resourceGroups/MC_demo_c1_westeurope/resources").json()["value"]
    assert sorted(r["type"] for r in found) == [
        "Microsoft.Compute/virtualMachineScaleSets",
        "Microsoft.ManagedIdentity/userAssignedIdentities",
        "Microsoft.Network/loadBalancers",
        "Microsoft.Network/networkSecurityGroups",
        "Microsoft.Network/publicIPAddresses",
        "Microsoft.Network/routeTables",
        "Microsoft.Network/virtualNetworks",
    ]


def test_the_control_plane_is_not_seen_in_the_cluster(cluster: Cluster) -> None:
    pods = cluster.get("pods", "-n", "kube-system")["items"]
    names = {re.sub(r"-[a-z0-9]+-[a-z0-9]+$", "", p["metadata"]["name"]) for p in pods}  # type: ignore[attr-defined]
    assert names == {"coredns", "metrics-server"}


def test_pods_have_addresses_of_the_subnet(cluster: Cluster) -> None:
    pods = cluster.get("pods", "-l", "app=web")["items"]
    assert {p["status"]["podIP"].rsplit(".", 1)[0] for p in pods} == {"10.224.0"}  # type: ignore[attr-defined]


# --- what works -----------------------------------------------------------------------------------------------


def test_a_pod_reaches_a_service_by_name(cluster: Cluster) -> None:
    said = cluster.kubectl("exec", "box", "--", "wget", "-qO-", "http://web.default.svc.cluster.local")
    assert "pod: web-" in said


def test_pods_on_two_nodes_reach_each_other(cluster: Cluster) -> None:
    path = f"{cluster.on.cluster_path('demo', 'c1')}/agentPools/nodepool1"
    pool = cluster.on.arm("GET", path).json()
    pool["properties"]["count"] = 2
    assert cluster.on.wait(cluster.on.arm("PUT", path, pool))["status"] == "Succeeded"
    assert len(cluster.get("nodes")["items"]) == 2  # type: ignore[arg-type]
    cluster.kubectl("scale", "deployment/web", "--replicas=4")
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    pods = cluster.get("pods", "-l", "app=web")["items"]
    assert len({p["spec"]["nodeName"] for p in pods}) == 2  # type: ignore[attr-defined]
    for each in pods:  # type: ignore[attr-defined]
        said = cluster.kubectl("exec", "box", "--", "wget", "-qO-", f"http://{each['status']['podIP']}")
        assert f"pod: {each['metadata']['name']}" in said


def test_logs_and_port_forward(cluster: Cluster) -> None:
    assert "listening on" in cluster.kubectl("logs", "deployment/web")
    port = free_port()
    forward = subprocess.Popen(
        [*kubectl_program(), f"--kubeconfig={cluster.config}", "port-forward", "service/web", f"{port}:80"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert forward.stdout
        assert "Forwarding" in forward.stdout.readline()
        said = subprocess.run(
            ["curl", "-s", "--max-time", "10", f"http://127.0.0.1:{port}"], capture_output=True, text=True
        ).stdout
        assert "pod: web-" in said
    finally:
        forward.send_signal(signal.SIGTERM)
        forward.wait(timeout=10)


def test_top(cluster: Cluster) -> None:
    def measured() -> bool:
        return "aks-nodepool1-" in cluster.kubectl("top", "nodes", check=False)

    eventually("metrics of nodes", measured, 90)


def test_volumes_are_the_nodes_not_the_hosts(cluster: Cluster) -> None:
    """A hostPath is a folder of the node: what is written there stays on the node, and the host is not to be seen."""
    marker = f"sorairo-{os.getpid()}"
    both = pod("keeper", BUSYBOX, command=["sh", "-c", f"echo here > /host/{marker}; ls -A /etc-of-node; sleep 100000"])
    both["spec"] = {
        **both["spec"],  # type: ignore[dict-item]
        "volumes": [
            {"name": "host", "hostPath": {"path": "/var/tmp/data", "type": "DirectoryOrCreate"}},
            {"name": "etc", "hostPath": {"path": "/etc"}},
            {"name": "scratch", "emptyDir": {}},
        ],
    }
    both["spec"]["containers"][0]["volumeMounts"] = [  # type: ignore[index]
        {"name": "host", "mountPath": "/host"},
        {"name": "etc", "mountPath": "/etc-of-node", "readOnly": True},
        {"name": "scratch", "mountPath": "/scratch"},
    ]
    cluster.apply(both)
    cluster.wait("pod/keeper", "condition=Ready")
    assert cluster.kubectl("exec", "keeper", "--", "cat", f"/host/{marker}") == "here\n"
    assert not Path("/var/tmp/data", marker).exists()
    assert "shadow" not in cluster.kubectl("logs", "keeper").split()


def test_probes_and_rolling_update(cluster: Cluster) -> None:
    probe = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}
    for version in ("1", "2"):
        cluster.apply(
            deployment(
                "rolling",
                WEB,
                2,
                env=[{"name": "VERSION", "value": version}],
                readinessProbe=probe,
                livenessProbe=probe,
            )
        )
        cluster.kubectl("rollout", "status", "deployment/rolling", "--timeout=90s")
    pods = [
        p
        for p in cluster.get("pods", "-l", "app=rolling")["items"]
        if "deletionTimestamp" not in p["metadata"]  # type: ignore[attr-defined]
    ]
    assert {p["spec"]["containers"][0]["env"][0]["value"] for p in pods} == {"2"}

    cluster.apply(deployment("sick", WEB, readinessProbe={"httpGet": {"path": "/", "port": 81}, "periodSeconds": 1}))
    cluster.wait(f"pod/{sick_pod(cluster)}", "condition=PodScheduled")
    eventually("a failed probe is told", lambda: "Readiness probe failed" in cluster.kubectl("get", "events"))
    cluster.kubectl("delete", "deployment", "sick", "rolling", "--wait=false")


def sick_pod(cluster: Cluster) -> str:
    eventually("the pod", lambda: bool(cluster.get("pods", "-l", "app=sick")["items"]))
    return str(cluster.get("pods", "-l", "app=sick")["items"][0]["metadata"]["name"])  # type: ignore[index]


def test_memory_is_held_to_its_limit(cluster: Cluster) -> None:
    greedy = pod(
        "greedy",
        BUSYBOX,
        command=["sh", "-c", "dd if=/dev/zero of=/dev/null bs=200M count=1"],
        resources={"limits": {"memory": "32Mi"}},
    )
    greedy["spec"]["restartPolicy"] = "Never"  # type: ignore[index]
    cluster.apply(greedy)

    def killed() -> bool:
        states = cluster.get("pod", "greedy")["status"].get("containerStatuses", [])  # type: ignore[attr-defined]
        return any(s["state"].get("terminated", {}).get("reason") == "OOMKilled" for s in states)

    eventually("the kernel ends it", killed, 30)


def test_a_second_pool_has_its_labels_taints_and_size(cluster: Cluster) -> None:
    path = f"{cluster.on.cluster_path('demo', 'c1')}/agentPools/tainted"
    body = {
        "properties": {
            "count": 1,
            "mode": "User",
            "vmSize": "Standard_B2s",
            "maxPods": 10,
            "nodeLabels": {"team": "blue"},
            "nodeTaints": ["only=blue:NoSchedule"],
        }
    }
    assert cluster.on.wait(cluster.on.arm("PUT", path, body))["status"] == "Succeeded"
    (node,) = cluster.get("nodes", "-l", "team=blue")["items"]  # type: ignore[misc]
    assert {"key": "only", "value": "blue", "effect": "NoSchedule"} in node["spec"]["taints"]
    assert node["status"]["capacity"]["pods"] == "10"
    assert node["status"]["capacity"]["memory"] in ("4Gi", str(4 * 2**20) + "Ki")
    assert cluster.on.wait(cluster.on.arm("DELETE", path))["status"] == "Succeeded"
    assert cluster.get("nodes", "-l", "team=blue")["items"] == []


# --- names ----------------------------------------------------------------------------------------------------


def lookup(cluster: Cluster, pod: str, name: str) -> str:
    return cluster.kubectl("exec", pod, "--", "nslookup", name, check=False)


def test_pods_and_nodes_find_machines_and_private_zones_by_name(cluster: Cluster) -> None:
    """As a pod of the cluster's DNS asks, and as one that asks as its node does."""
    (network,) = cluster.on.arm("GET", f"{MC}/Microsoft.Network/virtualNetworks").json()["value"]
    node = cluster.get("nodes")["items"][0]["metadata"]["name"]  # type: ignore[index]
    plain = pod("plain", BUSYBOX, command=["sleep", "100000"])
    plain["spec"]["dnsPolicy"] = "Default"  # type: ignore[index]
    cluster.apply(plain)
    cluster.wait("pod/plain", "condition=Ready")
    conf = cluster.kubectl("exec", "plain", "--", "cat", "/etc/resolv.conf")
    assert "nameserver 168.63.129.16\n" in conf
    suffix = re.search(r"search (n\w{10}\.internal\.cloudapp\.sorairo\.internal)\n", conf)
    assert suffix
    assert "Address: 10.224.0.4" in lookup(cluster, "plain", node)
    zone = "resourceGroups/demo/providers/Microsoft.Network/privateDnsZones/corp.example"

    def change(method: str, path: str, properties: dict[str, object] | None = None) -> None:
        body = None if properties is None else {"location": "global", "properties": properties}
        assert cluster.on.wait(cluster.on.arm(method, f"{zone}{path}", body))["status"] == "Succeeded"

    change("PUT", "", {})
    link = {"virtualNetwork": {"id": network["id"]}, "registrationEnabled": True}
    change("PUT", "/virtualNetworkLinks/l", link)
    change("PUT", "/A/db", {"ttl": 5, "aRecords": [{"ipv4Address": "10.9.9.9"}]})
    for who in ("plain", "box"):
        eventually("the zone's record", lambda who=who: "10.9.9.9" in lookup(cluster, who, "db.corp.example"))  # type: ignore[misc]
        eventually("the node's", lambda who=who: "10.224.0.4" in lookup(cluster, who, f"{node}.corp.example"))  # type: ignore[misc]
        began = time.monotonic()
        assert "NXDOMAIN" in lookup(cluster, who, "www.example.com"), "the world outside is closed"
        assert time.monotonic() - began < 4, "and that is said at once"
    back = lookup(cluster, "plain", "10.224.0.4")
    assert f"{node}.{suffix[1]}" in back
    assert f"{node}.corp.example" in back
    change("DELETE", "/virtualNetworkLinks/l")
    eventually("nothing of it", lambda: "10.9.9.9" not in lookup(cluster, "plain", "db.corp.example"))
    change("DELETE", "")
    cluster.kubectl("delete", "pod", "plain", "--wait=false")


# --- what survives --------------------------------------------------------------------------------------------


def test_pods_serve_while_sorairo_is_killed_and_started(cluster: Cluster) -> None:
    address = cluster.get("pods", "-l", "app=web")["items"][0]["status"]["podIP"]  # type: ignore[index]
    machines = cluster.on.arm("GET", "/providers/Microsoft.Sorairo/status/default").json()["properties"]["machines"]
    pids = {p["pid"] for m in machines for p in m["processes"]}
    cluster.on.kill()
    assert "pod: web-" in cluster.kubectl("exec", "box", "--", "wget", "-qO-", f"http://{address}")
    cluster.on.start()
    again = cluster.on.arm("GET", "/providers/Microsoft.Sorairo/status/default").json()["properties"]["machines"]
    assert pids == {p["pid"] for m in again for p in m["processes"]}, "processes are found, not started again"
    assert cluster.on.arm("GET", cluster.on.cluster_path("demo", "c1")).json()["properties"]["provisioningState"] == (
        "Succeeded"
    )


def test_a_killed_kubelet_comes_back(cluster: Cluster) -> None:
    def kubelet() -> tuple[int, int]:
        machines = cluster.on.arm("GET", "/providers/Microsoft.Sorairo/status/default").json()["properties"]["machines"]
        found = next(p for m in machines for p in m["processes"] if p["name"] == "kubelet")
        return found["pid"], found["restarts"]

    pid, restarts = kubelet()
    os.kill(pid, signal.SIGKILL)
    eventually("the supervisor starts it again", lambda: kubelet()[1] > restarts and bool(kubelet()[0]), 10)


def test_the_host_stays_itself(cluster: Cluster, before: Host) -> None:
    """One link, one route; no rule in the host's own tables, no sysctl, nothing mounted in its sight."""
    found = Host.now().difference(before, cluster.on.marks)
    assert len(found.pop("links")) == 1  # type: ignore[arg-type]
    assert len([r for r in found.pop("routes") if "table local" not in r]) == 1  # type: ignore[attr-defined]
    assert all("/netns" in m for m in found.pop("mounts"))  # type: ignore[attr-defined]
    assert set(found) == {"processes", "cgroups", "run"}


def test_deleting_leaves_nothing(cluster: Cluster, before: Host) -> None:
    began = time.monotonic()
    response = cluster.on.arm("DELETE", cluster.on.cluster_path("demo", "c1"))
    assert cluster.on.wait(response)["status"] == "Succeeded"
    assert time.monotonic() - began < 20
    assert cluster.on.arm("GET", "resourceGroups/MC_demo_c1_westeurope").status_code == 404
    assert Host.now().difference(before, cluster.on.marks) == {}
    assert list((cluster.on.state.root / "machines").iterdir()) == []
