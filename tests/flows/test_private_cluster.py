"""A private cluster on the linux substrate: its API server is at an address of its network, and nowhere else.

Given a private cluster, a network peered with its own, and one of somebody else's with the same prefix; when the public
name goes, and a private endpoint connects the other network, is rejected and comes back; then machines of a network
reach the API server by what stands in their subnets, this host does not, and what was made goes without a trace.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

import dig
from flows_shared import eventually
from installation import Installation, kubectl_program
from sorairo.drivers.linux.links import LinuxLinks
from sorairo.drivers.protocols import Nic
from sorairo.engine.ids import host_name
from wire import PATIENCE

pytestmark = [
    pytest.mark.root,
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, control groups, links"),
]

GROUP, CLUSTER = "private", "hidden"
NODES = f"resourceGroups/MC_{GROUP}_{CLUSTER}_westeurope"
NETWORK = f"resourceGroups/{GROUP}/providers/Microsoft.Network"
ENDPOINT = f"{NETWORK}/privateEndpoints/mine"


class Cluster:
    def __init__(self, on: Installation) -> None:
        self.on = on
        self.path = on.cluster_path(GROUP, CLUSTER)
        self.id = f"{on.subscription}/{self.path}"
        fabric = on.state.fabric
        self.links = LinuxLinks(fabric.run_dir, fabric.public_range, fabric.tag)
        self.kubeconfig = on.kubeconfig(GROUP, CLUSTER)
        self.name = str(self.get(self.path)["privateFQDN"])

    def get(self, path: str) -> dict[str, Any]:
        answer = self.on.arm("GET", path)
        answer.raise_for_status()
        return answer.json()["properties"]  # type: ignore[no-any-return]

    def put(self, path: str, location: str | None = "westeurope", **properties: Any) -> dict[str, Any]:
        """The operation as it ended."""
        body = {"properties": properties, **({"location": location} if location else {})}
        return self.on.wait(self.on.arm("PUT", path, body))

    def delete(self, path: str) -> dict[str, Any]:
        return self.on.wait(self.on.arm("DELETE", path))

    def address(self, endpoint: str) -> str:
        """What the interface of a private endpoint has."""
        interface = self.get(self.get(endpoint)["networkInterfaces"][0]["id"])
        return str(interface["ipConfigurations"][0]["properties"]["privateIPAddress"])

    def state(self, endpoint: str) -> str:
        """Of the connection that a private endpoint has asked for."""
        (asked,) = self.get(endpoint)["manualPrivateLinkServiceConnections"]
        return str(asked["properties"]["privateLinkServiceConnectionState"]["status"])

    @property
    def node(self) -> str:
        """Its node's network namespace."""
        (pool,) = self.on.arm("GET", f"{NODES}/providers/Microsoft.Compute/virtualMachineScaleSets").json()["value"]
        (instance,) = self.on.arm("GET", f"{pool['id']}/virtualMachines").json()["value"]
        return host_name(instance["id"])

    def machine(self, network: str, address: str) -> str:
        """Put a bare machine into a virtual network, beside what sorairo knows of: its namespace."""
        id = host_name(f"{self.on.subscription}/{network}")
        gateway = address.rsplit(".", 1)[0] + ".1"
        nic = Nic(host_name(f"test {network}"), "test", id, host_name(f"test {network}"), address, gateway, 24)
        asyncio.run(self.links.ensure_nic(nic))
        return nic.namespace

    def take(self, machine: str) -> None:
        asyncio.run(self.links.remove_nic(machine))

    def answers(self, address: str, *, inside: str | None) -> bool:
        """Whether the API server answers a client with the cluster's kubeconfig at an address. None: on this host."""
        with self.links.socket(inside) if inside else socket.socket() as probe:
            probe.settimeout(PATIENCE)
            if probe.connect_ex((address, 443)) != 0:
                return False
        enter = ["nsenter", f"--net={self.links.namespace_path(inside)}"] if inside else []
        at = [f"--server=https://{address}:443", f"--tls-server-name={self.name}", "--request-timeout=10s"]
        command = [*enter, *kubectl_program(), f"--kubeconfig={self.kubeconfig}", *at, "get", "--raw", "/readyz"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout == "ok"

    def asked(self, name: str, *, inside: str) -> list[str]:
        """What a machine is told of a name."""
        return dig.ask("168.63.129.16", name, make=lambda kind: self.links.socket(inside, socket.SocketKind(kind))).data


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    it = Installation(tmp_path_factory.mktemp("sorairo"), "linux")
    try:
        yield it.start()
    finally:
        it.purge()


@pytest.fixture(scope="module")
def cluster(on: Installation) -> Cluster:
    on.group(GROUP)
    pool = {"name": "nodepool1", "mode": "System", "count": 1}
    properties = {"agentPoolProfiles": [pool], "apiServerAccessProfile": {"enablePrivateCluster": True}}
    body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": properties}
    ended = on.wait(on.arm("PUT", on.cluster_path(GROUP, CLUSTER), body))
    assert ended["status"] == "Succeeded", ended
    return Cluster(on)


def network(cluster: Cluster, name: str, prefix: str) -> str:
    """A virtual network of one's own; its path."""
    path = f"{NETWORK}/virtualNetworks/{name}"
    subnet = {"name": "s", "properties": {"addressPrefix": prefix.replace("/16", "/24")}}
    ended = cluster.put(path, addressSpace={"addressPrefixes": [prefix]}, subnets=[subnet])
    assert ended["status"] == "Succeeded", ended
    return path


@pytest.fixture(scope="module")
def own(cluster: Cluster) -> str:
    """The API server's address in the cluster's network."""
    return cluster.address(f"{NODES}/providers/Microsoft.Network/privateEndpoints/kube-apiserver")


def test_its_network_reaches_it_and_this_host_does_not(cluster: Cluster, own: str) -> None:
    name = cluster.name
    assert f"server: https://{name}:443" in cluster.kubeconfig.read_text()
    assert own == "10.224.0.4"
    assert cluster.answers(own, inside=cluster.node)
    assert eventually("its name", lambda: cluster.asked(name, inside=cluster.node)) == [own]
    public = asyncio.run(cluster.links.observe_links()).legs[host_name(cluster.id)].public_address
    for client in (None, cluster.node):
        assert not cluster.answers(public, inside=client)
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo(name, 443)


def test_it_is_commanded_from_outside(cluster: Cluster) -> None:
    answer = cluster.on.arm("POST", f"{cluster.path}/runCommand", {"command": "kubectl get nodes --no-headers"})
    assert " Ready " in str(cluster.on.wait(answer)["properties"]["properties"]["logs"])


def test_pods_reach_it_by_its_service(cluster: Cluster, own: str) -> None:
    """CoreDNS is Ready only once it has listed Services there."""
    command = (
        "kubectl -n kube-system rollout status deployment/coredns && kubectl get endpointslices kubernetes -o wide"
    )
    answer = cluster.on.arm("POST", f"{cluster.path}/runCommand", {"command": command})
    logs = str(cluster.on.wait(answer)["properties"]["properties"]["logs"])
    assert "successfully rolled out" in logs
    assert own in logs


def test_its_public_name_says_where_it_is_while_it_has_one(cluster: Cluster, own: str) -> None:
    name = cluster.get(cluster.path)["fqdn"]
    node = cluster.node
    assert eventually("the public name", lambda: cluster.asked(name, inside=node)) == [own]
    body = cluster.on.arm("GET", cluster.path).json()
    for enabled in (False, True):
        body["properties"]["apiServerAccessProfile"]["enablePrivateClusterPublicFQDN"] = enabled
        ended = cluster.on.wait(cluster.on.arm("PUT", cluster.path, body))
        assert ended["status"] == "Succeeded", ended
        assert ("fqdn" in cluster.get(cluster.path)) is enabled
        eventually("the name", lambda enabled=enabled: bool(cluster.asked(name, inside=node)) is enabled)
    body["properties"]["apiServerAccessProfile"] = {"enablePrivateCluster": False}
    refused = cluster.on.arm("PUT", cluster.path, body)
    assert refused.status_code == 400
    assert "Changing enablePrivateCluster is not allowed" in refused.json()["error"]["message"]


def test_peered_networks_reach_it(cluster: Cluster, own: str) -> None:
    path = network(cluster, "peer", "10.9.0.0/16")
    (theirs,) = cluster.on.arm("GET", f"{NODES}/providers/Microsoft.Network/virtualNetworks").json()["value"]
    machine = cluster.machine(path, "10.9.0.10")
    try:
        assert not cluster.answers(own, inside=machine)
        for near, far in ((path, theirs["id"]), (theirs["id"], f"{cluster.on.subscription}/{path}")):
            half = cluster.put(f"{near}/virtualNetworkPeerings/p", location=None, remoteVirtualNetwork={"id": far})
            assert half["status"] == "Succeeded"
        assert cluster.answers(own, inside=machine)
    finally:
        cluster.take(machine)
    assert cluster.delete(path)["status"] == "Succeeded"


def test_another_network_reaches_it_by_a_private_endpoint_while_that_is_approved(cluster: Cluster, own: str) -> None:
    """With the same prefix as the cluster's own network."""
    path = network(cluster, "other", "10.224.0.0/16")
    subnet = f"{cluster.on.subscription}/{path}/subnets/s"
    asked = {"name": "c", "properties": {"privateLinkServiceId": cluster.id, "groupIds": ["management"]}}
    ended = cluster.put(ENDPOINT, subnet={"id": subnet}, manualPrivateLinkServiceConnections=[asked])
    assert ended["status"] == "Succeeded", ended
    address, machine, node = cluster.address(ENDPOINT), cluster.machine(path, "10.224.0.10"), cluster.node
    (connection,) = [
        each
        for each in cluster.on.arm("GET", f"{cluster.path}/privateEndpointConnections").json()["value"]
        if not each["name"].startswith("kube-apiserver")
    ]
    try:
        assert connection["properties"]["privateLinkServiceConnectionState"]["status"] == "Pending"
        assert not cluster.answers(address, inside=machine)
        for status in ("Approved", "Rejected", "Approved"):
            state = {"status": status, "description": "so be it"}
            cluster.put(connection["id"], location=None, privateLinkServiceConnectionState=state)
            eventually(status, lambda s=status: cluster.answers(address, inside=machine) is (s == "Approved"))
        cluster.on.kill()
        assert cluster.answers(address, inside=machine), "while sorairo is not there"
        assert cluster.answers(own, inside=node)
        cluster.on.start()
        assert cluster.answers(address, inside=machine)
        used = cluster.on.arm("DELETE", subnet)
        assert used.json()["error"]["code"] == "InUseSubnetCannotBeDeleted"
        interface = cluster.on.arm("DELETE", cluster.get(ENDPOINT)["networkInterfaces"][0]["id"])
        assert interface.json()["error"]["code"] == "NicInUseWithPrivateEndpoint"
        cluster.delete(connection["id"])
        eventually("it is cut", lambda: not cluster.answers(address, inside=machine))
        eventually("it says so", lambda: cluster.state(ENDPOINT) == "Disconnected")
    finally:
        cluster.take(machine)
    assert cluster.delete(ENDPOINT)["status"] == "Succeeded"
    assert cluster.delete(path)["status"] == "Succeeded"
    assert cluster.answers(own, inside=cluster.node)


def test_deleting_leaves_nothing(cluster: Cluster) -> None:
    assert cluster.delete(cluster.path)["status"] == "Succeeded"
    assert cluster.on.arm("GET", NODES).status_code == 404
    assert cluster.on.arm("DELETE", f"resourceGroups/{GROUP}").is_success
    eventually("the group is gone", lambda: cluster.on.arm("GET", f"resourceGroups/{GROUP}").status_code == 404)
    assert not cluster.on.state.fabric.run_dir.exists()
