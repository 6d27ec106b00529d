"""What Network Watcher says of a cluster's nodes, by the SDK and by `az`: on documents' side. That packets agree is
`test_security_groups.py`'s and `tests/contracts/test_verdicts.py`'s."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from azure_cli import Az
from flows_shared import CLUSTER, GROUP
from installation import Installation

from .test_sdk import Clients

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

NODES = f"MC_{GROUP}_{CLUSTER}_westeurope"
NETWORK = f"resourceGroups/{NODES}/providers/Microsoft.Network"
WATCHER = ("NetworkWatcherRG", "NetworkWatcher_westeurope")


@pytest.fixture(scope="module")
def clients(hollow: Installation, cluster: str) -> Iterator[Clients]:
    it = Clients(hollow)
    yield it
    for client in (it.aks, it.network, it.compute, it.resources, it.credential):
        client.close()


@pytest.fixture(scope="module")
def node(clients: Clients) -> tuple[str, str]:
    """Id and address of the cluster's one machine."""
    [scale_set] = clients.compute.virtual_machine_scale_sets.list(NODES)
    [instance] = clients.compute.virtual_machine_scale_set_vms.list(NODES, scale_set.name)
    [nic] = clients.network.network_interfaces.list_virtual_machine_scale_set_vm_network_interfaces(
        NODES, scale_set.name, instance.instance_id
    )
    return str(instance.id), str(nic.ip_configurations[0].private_ip_address)


def flow(node: tuple[str, str], **changes: str) -> dict[str, str]:
    asked = {"targetResourceId": node[0], "direction": "Inbound", "protocol": "TCP", "localIPAddress": node[1],
             "localPort": "80", "remoteIPAddress": "203.0.113.9", "remotePort": "40000"}  # fmt: skip
    return asked | changes


def test_a_flow_is_judged_by_the_rules(clients: Clients, hollow: Installation, node: tuple[str, str]) -> None:
    def verify(**changes: str) -> tuple[str, str]:
        found = clients.network.network_watchers.begin_verify_ip_flow(*WATCHER, flow(node, **changes)).result()
        return found.access, found.rule_name

    assert verify() == ("Deny", "defaultSecurityRules/DenyAllInBound")
    assert verify(remotePort="*") == ("Deny", "defaultSecurityRules/DenyAllInBound")
    assert verify(remoteIPAddress=node[1]) == ("Allow", "defaultSecurityRules/AllowVnetInBound")
    assert verify(direction="Outbound", localPort="*") == ("Allow", "defaultSecurityRules/AllowInternetOutBound")
    [group] = clients.network.network_security_groups.list(NODES)
    rule = {"properties": {"priority": 300, "direction": "Inbound", "access": "Allow", "protocol": "Tcp",
                           "sourceAddressPrefix": "Internet", "sourcePortRange": "*",
                           "destinationAddressPrefix": "*", "destinationPortRanges": ["80", "443"]}}  # fmt: skip
    id = f"{group.id}/securityRules/web"
    hollow.wait(hollow.arm("PUT", id, rule))
    try:
        assert verify() == ("Allow", "securityRules/web")
        assert verify(localPort="81") == ("Deny", "defaultSecurityRules/DenyAllInBound")
        assert verify(protocol="UDP") == ("Deny", "defaultSecurityRules/DenyAllInBound")
    finally:
        hollow.wait(hollow.arm("DELETE", id))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"localPort": "*"}, "InvalidRequestParameter"),
        ({"remotePort": "70000"}, "InvalidRequestParameter"),
        ({"protocol": "ICMP"}, "InvalidRequestParameter"),
        ({"localIPAddress": "10.1.2.3"}, "InvalidRequestParameter"),
        ({"remoteIPAddress": "nobody"}, "InvalidRequestParameter"),
        ({"targetResourceId": "web"}, "InvalidRequestParameter"),
        ({"targetNicResourceId": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n"},
         "InvalidResourceReference"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked(clients: Clients, node: tuple[str, str], changes: dict[str, str], code: str) -> None:
    with pytest.raises(HttpResponseError) as refused:
        clients.network.network_watchers.begin_verify_ip_flow(*WATCHER, flow(node, **changes)).result()
    assert refused.value.error.code == code


def test_of_a_machine_that_is_not_there_nothing_is_said(hollow: Installation, node: tuple[str, str]) -> None:
    missing = node[0].replace(NODES, "nowhere")
    answer = hollow.arm("POST", f"{hollow.subscription}/resourceGroups/{WATCHER[0]}/providers/Microsoft.Network/"
                                f"networkWatchers/{WATCHER[1]}/ipFlowVerify", flow((missing, node[1])))  # fmt: skip
    assert answer.status_code == 404


def test_the_next_hop(clients: Clients, node: tuple[str, str]) -> None:
    def hop(to: str) -> tuple[str, str]:
        asked = {"targetResourceId": node[0], "sourceIPAddress": node[1], "destinationIPAddress": to}
        found = clients.network.network_watchers.begin_get_next_hop(*WATCHER, asked).result()
        return found.next_hop_type, found.route_table_id

    assert hop(node[1]) == ("VnetLocal", "System Route")
    assert hop("203.0.113.9") == ("Internet", "System Route")
    assert hop("192.168.7.7") == ("None", "System Route")


def test_what_holds_for_an_interface(clients: Clients, hollow: Installation, node: tuple[str, str]) -> None:
    def ask(method: str, id: str) -> dict[str, Any]:
        """Of a path that is Microsoft.Compute's, with Microsoft.Network's api-version."""
        return hollow.http.request(method, id, params={"api-version": "2025-07-01"}).json()  # type: ignore[no-any-return]

    [nic] = ask("GET", f"{node[0]}/networkInterfaces")["value"]
    answer = ask("POST", f"{nic['id']}/effectiveNetworkSecurityGroups")["value"]
    [own] = [each for each in answer if "networkInterface" in each["association"]]
    assert own["association"]["networkInterface"]["id"] == nic["id"]
    rules = {rule["name"]: rule for rule in own["effectiveSecurityRules"]}
    vnet = rules["defaultSecurityRules/AllowVnetInBound"]
    assert vnet["sourceAddressPrefix"] == "VirtualNetwork"
    assert vnet["expandedSourceAddressPrefix"] == own["tagMap"]["VirtualNetwork"]
    assert (vnet["protocol"], vnet["destinationPortRange"]) == ("All", "0-65535")
    routes = ask("POST", f"{nic['id']}/effectiveRouteTable")["value"]
    assert ("VnetLocal", "Default") in {(r["nextHopType"], r["source"]) for r in routes}
    loose = {"location": "westeurope", "properties": {"ipConfigurations": [
        {"name": "a", "properties": {"subnet": nic["properties"]["ipConfigurations"][0]["properties"]["subnet"]}}
    ]}}  # fmt: skip
    path = f"{NETWORK}/networkInterfaces/loose"
    hollow.wait(hollow.arm("PUT", path, loose))
    refused = hollow.arm("POST", f"{path}/effectiveNetworkSecurityGroups")
    hollow.wait(hollow.arm("DELETE", path))
    assert refused.json()["error"]["code"] == "NicMustBeAttachedToRunningVm"


def associations(found: dict[str, Any]) -> set[tuple[str, str, str]]:
    """(Name, kind, name) of what a topology says."""
    return {(r["name"], a["associationType"], a["name"]) for r in found["resources"] for a in r["associations"]}


def test_the_topology_of_a_group(az: Az, cluster: str, clients: Clients, node: tuple[str, str]) -> None:
    found = az("network", "watcher", "show-topology", "--resource-group", NODES)
    said = associations(found)
    [network] = clients.network.virtual_networks.list(NODES)
    [group] = clients.network.network_security_groups.list(NODES)
    subnet = network.subnets[0].name
    nic = next(r["name"] for r in found["resources"] if r["id"].startswith(node[0] + "/networkInterfaces/"))
    assert {(network.name, "Contains", subnet), (nic, "Associated", subnet), (nic, "Associated", group.name),
            ("0", "Contains", nic)} <= said  # fmt: skip
    asked = {"targetSubnet": {"id": network.subnets[0].id}}
    only = clients.network.network_watchers.get_topology(*WATCHER, asked)
    names = {r.name for r in only.resources}
    assert {network.name, subnet, nic, "0", group.name} <= names
    assert "kubernetes" not in names
    [watcher] = clients.network.network_watchers.list_all()
    assert watcher.name == WATCHER[1]


def test_a_watcher_elsewhere_is_none(clients: Clients, node: tuple[str, str]) -> None:
    with pytest.raises(ResourceNotFoundError):
        clients.network.network_watchers.get(GROUP, "NetworkWatcher_westeurope")


def test_simulated_nodes_carry_no_packets(hollow: Installation) -> None:
    asked = {"api-version": "2026-12-01", "to": "198.18.0.20:80"}
    answer = hollow.http.get("/providers/Microsoft.Sorairo/packets/default", params=asked)
    assert (answer.status_code, answer.json()["error"]["code"]) == (501, "NotImplemented")
    for wrong in ({"to": "web:80"}, {"to": "198.18.0.20:0"}, {"to": "198.18.0.20:80", "protocol": "icmp"}):
        answer = hollow.http.get("/providers/Microsoft.Sorairo/packets/default", params={**asked, **wrong})
        assert answer.status_code == 400, wrong
