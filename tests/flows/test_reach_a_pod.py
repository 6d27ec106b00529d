"""Flow 4: a client reaches a pod, through public IP, load balancer, security group, node and kube-proxy; real packets.

Given a cluster of two nodes; when Services are exposed, nodes come, fall ill and go, and the daemon is killed; then
`curl` on the host says what a client of AKS would see.
"""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dig import answers, ask
from flows.on_nodes import script_on
from flows_shared import Kubectl, eventually, virtual_machine
from installation import Installation

pytestmark = [
    pytest.mark.root,
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, control groups, links"),
]

WEB = "mcr.sorairo.internal/sorairo/web:1"
BUSYBOX = "docker.io/library/busybox:1"
GROUP, CLUSTER = "demo", "c1"
NETWORK = f"resourceGroups/MC_{GROUP}_{CLUSTER}_westeurope/providers/Microsoft.Network"


class Cluster(Kubectl):
    def __init__(self, on: Installation) -> None:
        super().__init__(on, GROUP, CLUSTER)

    def nodes(self) -> list[str]:
        return sorted(n["metadata"]["name"] for n in self.get("nodes")["items"])

    def members(self) -> int:
        """How many nodes the load balancer's pool shows."""
        pools = self.on.arm("GET", f"{NETWORK}/loadBalancers/kubernetes").json()["properties"]["backendAddressPools"]
        pool = next(p for p in pools if p["name"] == "kubernetes")
        return len(pool["properties"].get("backendIPConfigurations", []))


def curl(address: str, seconds: float = 3) -> dict[str, str]:
    """What the sample says of who asked and who answers; empty when nobody does."""
    command = ["curl", "-s", "--noproxy", "*", "--max-time", str(seconds), "-H", "Accept: application/json"]
    done = subprocess.run([*command, f"http://{address}/"], capture_output=True, text=True)
    # Where a host sends what is not ours, somebody else may answer something.
    return json.loads(done.stdout) if done.stdout.startswith("{") else {}  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    it = Installation(tmp_path_factory.mktemp("sorairo"), "linux")
    try:
        yield it.start()
    finally:
        it.purge()


@pytest.fixture(scope="module")
def cluster(installation: Installation) -> Cluster:
    installation.group(GROUP)
    assert installation.create_cluster(GROUP, CLUSTER, count=2)["status"] == "Succeeded"
    it = Cluster(installation)
    fields = {name: {"fieldRef": {"fieldPath": path}} for name, path in
              (("POD_NAME", "metadata.name"), ("POD_IP", "status.podIP"), ("NODE_NAME", "spec.nodeName"))}  # fmt: skip
    container = {
        "name": "web",
        "image": WEB,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": name, "valueFrom": source} for name, source in fields.items()],
    }
    box = {"name": "box", "image": BUSYBOX, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "100000"]}
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
              "labelSelector": {"matchLabels": {"app": "web"}}}  # fmt: skip
    it.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [container], "topologySpreadConstraints": [spread]},
                },
            },
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "box"}, "spec": {"containers": [box]}},
    )
    it.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    it.kubectl("wait", "pod/box", "--for=condition=Ready", "--timeout=60s")
    return it


@pytest.fixture(autouse=True)
def nothing_is_left(cluster: Cluster) -> Iterator[None]:
    yield
    services = [s for s in cluster.kubectl("get", "services", "-o", "name").split() if s != "service/kubernetes"]
    if services:
        cluster.kubectl("delete", *services, "--timeout=60s")


# --- reached --------------------------------------------------------------------------------------------------


def test_an_exposed_deployment_answers_at_its_address(cluster: Cluster) -> None:
    address = cluster.expose("web")
    eventually("an answer", lambda: bool(curl(address, 1)), 10)
    pods = {curl(address)["pod"] for _ in range(30)}
    assert len(pods) == 2, "both pods get some"
    cluster.kubectl("delete", "service/web", "--timeout=60s")
    assert curl(address, 1) == {}


def test_the_clients_address_is_kept_with_the_local_policy(cluster: Cluster) -> None:
    address = cluster.expose("web", externalTrafficPolicy="Local")
    host = str(next(ipaddress.ip_network(cluster.on.state.fabric.public_range).hosts()))
    eventually("an answer", lambda: bool(curl(address, 1)), 10)
    assert {curl(address)["client"] for _ in range(10)} == {host}


def test_a_node_without_pods_gets_nothing_with_the_local_policy(cluster: Cluster) -> None:
    """kube-proxy answers the probe of `healthCheckNodePort` with 503 there."""
    cluster.kubectl("scale", "deployment/web", "--replicas=1")
    try:
        cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        eventually("one pod", lambda: len(cluster.get("pods", "-l", "app=web")["items"]) == 1)
        address = cluster.expose("web", externalTrafficPolicy="Local")
        eventually("an answer", lambda: bool(curl(address, 1)), 10)
        answers = [curl(address, 1) for _ in range(20)]
        assert all(answers), "no connection goes to the node that would drop it"
    finally:
        cluster.kubectl("scale", "deployment/web", "--replicas=2")
        cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")


def test_several_ports_at_one_address(cluster: Cluster) -> None:
    ports = [{"name": "web", "port": 80}, {"name": "also", "port": 8081, "targetPort": 80}]
    address = cluster.expose("web", ports=ports)
    eventually("the first port", lambda: bool(curl(address, 1)), 10)
    eventually("the second", lambda: bool(curl(f"{address}:8081", 1)), 10)
    assert curl(f"{address}:8082", 1) == {}


def test_a_client_stays_with_its_pod_by_session_affinity(cluster: Cluster) -> None:
    address = cluster.expose("web", sessionAffinity="ClientIP")
    eventually("an answer", lambda: bool(curl(address, 1)), 10)
    assert len({curl(address)["pod"] for _ in range(12)}) == 1


def test_an_internal_load_balancer_is_for_the_network_alone(cluster: Cluster) -> None:
    address = cluster.expose("inside", {"load-balancer-internal": "true"})
    assert address.startswith("10.224.")
    asks = ("exec", "box", "--", "timeout", "3", "wget", "-qO-", f"http://{address}")
    eventually("an answer in the network", lambda: "pod: web-" in cluster.kubectl(*asks, check=False), 15)
    assert curl(address, 1) == {}
    (network,) = cluster.on.arm("GET", f"{NETWORK}/virtualNetworks").json()["value"]
    with virtual_machine(cluster.on, GROUP, "beside", network["properties"]["subnets"][0]["id"]) as machine:
        said, _ = script_on(cluster.on, machine, f"curl -sS --noproxy '*' -m 3 http://{address}")
        assert "pod: web-" in said, "a virtual machine of the network is in it, too"


def test_a_pod_reaches_a_service_by_its_public_address(cluster: Cluster) -> None:
    address = cluster.expose("web")
    eventually("an answer", lambda: bool(curl(address, 1)), 10)
    said = cluster.kubectl("exec", "box", "--", "timeout", "5", "wget", "-qO-", f"http://{address}")
    assert "pod: web-" in said


# --- who comes and goes ---------------------------------------------------------------------------------------


def test_a_connection_outlives_the_daemon_and_what_changes_meanwhile(cluster: Cluster) -> None:
    address = cluster.expose("web")
    eventually("an answer", lambda: bool(curl(address, 1)), 10)
    ask = f"GET / HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
    with socket.create_connection((address, 80), timeout=5) as connection:
        connection.sendall(ask)
        assert b"200 OK" in connection.recv(4096)
        cluster.on.kill()
        connection.sendall(ask)
        assert b"200 OK" in connection.recv(4096)
        assert curl(address), "new ones are taken too"
        cluster.on.start()
        connection.sendall(ask)
        assert b"200 OK" in connection.recv(4096)
        other = cluster.expose("other")
        eventually("another Service beside it", lambda: bool(curl(other, 1)), 10)
        connection.sendall(ask)
        assert b"200 OK" in connection.recv(4096)


def test_an_ill_node_leaves_rotation_and_comes_back(cluster: Cluster) -> None:
    """Its kube-proxy and kubelet are stopped, as if it hung: two probes, 5 s apart, then it gets no connections."""
    address = cluster.expose("web", externalTrafficPolicy="Local")
    eventually("an answer", lambda: bool(curl(address, 1)), 10)
    status = cluster.on.arm("GET", "/providers/Microsoft.Sorairo/status/default").json()["properties"]
    ill = next(m for m in status["machines"] if m["resourceId"].endswith("/virtualMachines/1"))
    (proxy,) = (p["pid"] for p in ill["processes"] if p["name"] == "kube-proxy")
    os.kill(proxy, signal.SIGSTOP)
    try:

        def well() -> bool:
            return all(curl(address, 0.5) for _ in range(12)) and len({curl(address)["node"] for _ in range(12)}) == 1

        eventually("only the other node gets connections", well, 30)
    finally:
        os.kill(proxy, signal.SIGCONT)
    eventually("it is back", lambda: len({curl(address).get("node") for _ in range(12)}) == 2, 30)


def test_a_new_node_is_in_the_pool_at_once_and_a_removed_one_is_not(cluster: Cluster) -> None:
    address = cluster.expose("web")
    assert cluster.members() == 2
    path = f"{cluster.on.cluster_path(GROUP, CLUSTER)}/agentPools/nodepool1"
    for count in (3, 2):
        pool = cluster.on.arm("GET", path).json()
        pool["properties"]["count"] = count
        assert cluster.on.wait(cluster.on.arm("PUT", path, pool))["status"] == "Succeeded"
        eventually(f"{count} members", lambda count=count: cluster.members() == count, 5)  # type: ignore[misc]
        assert all(curl(address) for _ in range(12))


async def test_labels_and_public_zones_are_told_to_pods_and_the_host(cluster: Cluster) -> None:
    def change(method: str, path: str, properties: dict[str, Any] | None = None) -> None:
        url = f"resourceGroups/{GROUP}/providers/Microsoft.Network/dnsZones/shop.example{path}"
        body = None if properties is None else {"location": "global", "properties": properties}
        assert cluster.on.wait(cluster.on.arm(method, url, body))["status"] == "Succeeded"

    def asked_by_a_pod(name: str) -> str:
        return cluster.kubectl("exec", "box", "--", "nslookup", name, check=False)

    address = cluster.expose("labelled", {"dns-label-name": "web-of-c1"})
    status = cluster.on.arm("GET", "/providers/Microsoft.Sorairo/status/default").json()["properties"]
    server, label = status["endpoints"]["names"], "web-of-c1.westeurope.cloudapp.sorairo.internal"
    pips = cluster.on.arm("GET", f"{NETWORK}/publicIPAddresses").json()["value"]
    pip = next(each["id"] for each in pips if each["properties"].get("ipAddress") == address)
    change("PUT", "", {})
    change("PUT", "/A/@", {"TTL": 5, "targetResource": {"id": pip}})
    change("PUT", "/CNAME/www", {"TTL": 5, "CNAMERecord": {"cname": label}})
    for name in (label, "shop.example", "www.shop.example"):
        await answers(lambda found: address in found.data, server, name)
        eventually(name, lambda name=name: address in asked_by_a_pod(name))  # type: ignore[misc]
    assert ask(server, "shop.example", "NS").data == [f"ns{n}-01.azure-dns.sorairo.internal." for n in range(1, 5)]
    for pid in (p["pid"] for m in status["machines"] if m["id"] == "names" for p in m["processes"]):
        os.kill(pid, signal.SIGKILL)
    await answers(lambda found: address in found.data, server, label)  # it is started again
    change("DELETE", "")
    cluster.kubectl("delete", "service", "labelled", "--timeout=60s")
    await answers(lambda found: found.code == "NXDOMAIN", server, label)
    await answers(lambda found: found.code == "REFUSED", server, "shop.example")


def test_the_host_has_no_rule_of_its_own(cluster: Cluster) -> None:
    cluster.expose("web")
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True).stdout
    assert "sorairo" not in rules
    assert not [line for line in Path("/proc/net/route").read_text().splitlines() if "nsr" in line]
