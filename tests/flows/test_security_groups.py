"""Security groups between real nodes, pods and the host: what is refused does not arrive, what is allowed does.

Given a cluster whose nodes' group is AKS's; when rules come, change and go, then packets say so within 100 ms, what is
connected stays, and the cluster goes on working.
"""

from __future__ import annotations

import os
import socket
import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flows_shared import eventually
from installation import Installation
from wire import outward

from .test_reach_a_pod import BUSYBOX, GROUP, NETWORK, Cluster, curl

pytestmark = [
    pytest.mark.root,
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, control groups, links"),
]

WEB = "mcr.sorairo.internal/sorairo/web:1"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    on = Installation(tmp_path_factory.mktemp("sorairo"), "linux")
    try:
        on.start().group(GROUP)
        assert on.create_cluster(GROUP, "c1", count=2)["status"] == "Succeeded"
        it = Cluster(on)
        it.kubectl("create", "deployment", "web", f"--image={WEB}", "--replicas=2")
        it.kubectl("run", "box", f"--image={BUSYBOX}", "--image-pull-policy=IfNotPresent", "--", "sleep", "100000")
        it.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
        it.kubectl("wait", "pod/box", "--for=condition=Ready", "--timeout=60s")
        yield it
    finally:
        on.purge()


@pytest.fixture(scope="module")
def address(cluster: Cluster) -> str:
    """Local: else a node hands some connections on to a pod of another, from its own address in the network, and they
    are judged a second time as what they are then."""
    found = cluster.expose("web", externalTrafficPolicy="Local")
    eventually("an answer", lambda: bool(curl(found, 1)), 10)
    return found


def group_of(cluster: Cluster) -> str:
    (group,) = cluster.on.arm("GET", f"{NETWORK}/networkSecurityGroups").json()["value"]
    return str(group["id"])


def deny(cluster: Cluster, name: str, **changes: Any) -> str:
    """A rule that denies all that comes in to port 80, and its id."""
    properties = {
        "priority": 100,
        "direction": "Inbound",
        "access": "Deny",
        "protocol": "Tcp",
        "sourceAddressPrefix": "*",
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": "80",
    }
    id = f"{group_of(cluster)}/securityRules/{name}"
    answer = cluster.on.arm("PUT", id, {"properties": {**properties, **changes}})
    assert cluster.on.wait(answer)["status"] == "Succeeded"
    return id


def remove(cluster: Cluster, id: str) -> None:
    assert cluster.on.wait(cluster.on.arm("DELETE", id))["status"] == "Succeeded"


def reaches(address: str, seconds: float = 0.3) -> bool:
    try:
        socket.create_connection((address, 80), timeout=seconds).close()
    except OSError:
        return False
    return True


def test_a_rule_refuses_and_without_it_all_is_as_before(cluster: Cluster, address: str) -> None:
    assert reaches(address)
    rule = deny(cluster, "closed", sourceAddressPrefix="Internet")
    assert not reaches(address)
    remove(cluster, rule)
    assert reaches(address)


def test_the_lower_priority_decides(cluster: Cluster, address: str) -> None:
    closed = deny(cluster, "closed", priority=300)
    opened = deny(cluster, "opened", priority=200, access="Allow", sourceAddressPrefix="Internet")
    assert reaches(address)
    remove(cluster, opened)
    assert not reaches(address)
    remove(cluster, closed)


def test_what_is_connected_stays(cluster: Cluster, address: str) -> None:
    ask = f"GET / HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
    with socket.create_connection((address, 80), timeout=5) as connection:
        connection.sendall(ask)
        assert b"200 OK" in connection.recv(4096)
        rule = deny(cluster, "closed")
        assert not reaches(address)
        connection.sendall(ask)
        assert b"200 OK" in connection.recv(4096)
    remove(cluster, rule)


def test_a_rule_takes_effect_at_once(cluster: Cluster, address: str) -> None:
    """From the request until no new connection passes: median of five, a bound for busy machines, no measurement."""
    took = []
    for _ in range(5):
        began = time.monotonic()
        id = f"{group_of(cluster)}/securityRules/fast"
        body = {
            "properties": {
                "priority": 150, "direction": "Inbound", "access": "Deny", "protocol": "Tcp",
                "sourceAddressPrefix": "*", "sourcePortRange": "*",
                "destinationAddressPrefix": "*", "destinationPortRange": "80",
            }
        }  # fmt: skip
        answer = cluster.on.arm("PUT", id, body)
        answer.raise_for_status()
        while reaches(address, 0.02):
            pass
        took.append(time.monotonic() - began)
        remove(cluster, id)
    assert statistics.median(took) < 0.25, took


def test_probes_that_are_refused_find_nobody_well(cluster: Cluster, address: str) -> None:
    rule = deny(cluster, "no-probes", sourceAddressPrefix="AzureLoadBalancer", destinationPortRange="*")
    eventually("nobody is in rotation", lambda: not reaches(address), 30)
    remove(cluster, rule)
    eventually("they are back", lambda: reaches(address), 15)


def test_the_control_plane_reaches_its_nodes_whatever_the_rules_say(cluster: Cluster) -> None:
    rule = deny(cluster, "everything", destinationPortRange="*", protocol="*")
    try:
        assert cluster.kubectl("exec", "box", "--", "echo", "here") == "here\n"
        assert "listening on" in cluster.kubectl("logs", "deployment/web")
    finally:
        remove(cluster, rule)


def test_pods_send_nothing_out_of_the_machine(cluster: Cluster) -> None:
    """Whatever their node's way out is: names, pages and pings of the world are not even asked for."""
    ways = (
        "nslookup example.com 8.8.8.8",
        "nc -w 1 8.8.8.8 53",
        "wget -T 1 -qO- http://1.1.1.1:443/",
        "wget -T 1 -qO- http://203.0.113.9/",
        "ping -c 1 -W 1 8.8.8.8",
    )
    asked = " & ".join(f"timeout 2 {each} </dev/null && echo through" for each in ways)
    (pod,) = (p for p in cluster.get("pods")["items"] if p["metadata"]["name"] == "box")
    own = {pod["status"]["podIP"], pod["status"]["hostIP"]}
    prefix = cluster.on.state.fabric.public_range.rpartition(".")[0]
    with outward() as seen:
        assert "through" not in cluster.kubectl("exec", "box", "--", "sh", "-c", f"{asked} & wait")
    targets = ("8.8.8.8", "1.1.1.1", "203.0.113.9")
    assert [(a, b) for a, b in seen if b in targets or a in own or a.startswith(prefix)] == []


def test_a_new_node_is_guarded_from_its_first_packet_on(cluster: Cluster, address: str) -> None:
    path = f"{cluster.on.cluster_path(GROUP, 'c1')}/agentPools/nodepool1"
    pool = cluster.on.arm("GET", path).json()
    pool["properties"]["count"] = 3
    assert cluster.on.wait(cluster.on.arm("PUT", path, pool))["status"] == "Succeeded"
    shown = cluster.on.arm("GET", group_of(cluster)).json()["properties"]
    assert len(shown["networkInterfaces"]) == 3
    rule = deny(cluster, "closed")
    assert not reaches(address)
    remove(cluster, rule)
    assert all(reaches(address, 1) for _ in range(12))


def test_who_refuses_a_packet_is_told(cluster: Cluster, address: str) -> None:
    """By `sorairo trace packet`, and by Network Watcher; and so it is."""

    def told() -> tuple[str, list[str], set[str]]:
        asked = {"api-version": "2026-12-01", "to": f"{address}:80"}
        answer = cluster.on.http.get("/providers/Microsoft.Sorairo/packets/default", params=asked)
        found = answer.json()["properties"]
        return found["outcome"], found["refusedBy"], pods(found["path"])

    def pods(hop: dict[str, Any]) -> set[str]:
        own = {hop["name"].removeprefix("default/")} if hop["kind"] == "pod" else set()
        return own.union(*map(pods, hop["next"]))

    answering = {p["metadata"]["name"] for p in cluster.get("pods", "-l", "app=web")["items"]}
    assert told() == ("delivered", [], answering)
    assert curl(address)["pod"] in answering
    rule = deny(cluster, "closed", priority=200)
    outcome, refused_by, reached = told()
    remove(cluster, rule)
    assert (outcome, reached) == ("refused", set())
    assert refused_by
    assert all("securityRules/closed (200)" in each for each in refused_by)
    assert told()[0] == "delivered"
    watcher = "resourceGroups/NetworkWatcherRG/providers/Microsoft.Network/networkWatchers/NetworkWatcher_westeurope"
    nic = cluster.on.arm("GET", group_of(cluster)).json()["properties"]["networkInterfaces"][0]["id"]
    machine = nic.partition("/networkInterfaces/")[0]
    shown = cluster.on.http.get(nic, params={"api-version": "2025-07-01"}).json()["properties"]["ipConfigurations"]
    flow = {"targetResourceId": machine, "direction": "Inbound", "protocol": "TCP", "remotePort": "*",
            "remoteIPAddress": "198.51.100.7", "localPort": "22",
            "localIPAddress": shown[0]["properties"]["privateIPAddress"]}  # fmt: skip
    assert cluster.on.arm("POST", f"{watcher}/ipFlowVerify", flow).json() == {
        "access": "Deny", "ruleName": "defaultSecurityRules/DenyAllInBound",
    }  # fmt: skip


def test_a_group_in_use_cannot_go(cluster: Cluster) -> None:
    answer = cluster.on.arm("DELETE", group_of(cluster))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "InUseNetworkSecurityGroupCannotBeDeleted"
