"""Network Watcher's answers: who may have them, and what they are of a machine whose rules are known."""

from __future__ import annotations

from typing import Any

import pytest

from plans.readers import Documents
from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.hollow.traffic import hollow_traffic
from sorairo.drivers.protocols import Network, Nic
from sorairo.drivers.traffic import Firewall, FirewallRule
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import host_name, parse_id
from sorairo.engine.types import Document, Resource
from sorairo.providers.microsoft_network.effective import Effective, effective_rule
from sorairo.providers.microsoft_network.network_watchers import Watchers, find, watcher_id

SUBSCRIPTION = "0b1f6471-1bf0-4dda-aec3-111111111111"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g"
VNET = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/v"
NSG = f"{GROUP}/providers/Microsoft.Network/networkSecurityGroups/nsg"
MACHINE = f"{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/ss/virtualMachines/0"
NIC = f"{MACHINE}/networkInterfaces/n"
WATCHER = watcher_id(SUBSCRIPTION, "westeurope")
FLOW = {"targetResourceId": MACHINE, "direction": "Inbound", "protocol": "TCP", "localIPAddress": "10.0.0.4",
        "localPort": "80", "remoteIPAddress": "203.0.113.9", "remotePort": "*"}  # fmt: skip
DENY = FirewallRule(300, "inbound", False, "tcp", destination_ports=((80, 90),), name="no")


def show(id: str) -> Document:
    found = find(parse_id(id))
    if found is None:
        raise ArmError("ResourceNotFound", id, status=404)
    return {"id": found.id, **found.body}


async def watchers(*, guarded: bool = True, subnets: tuple[str, ...] = ()) -> tuple[Watchers, Documents]:
    links = HollowLinks()
    traffic = hollow_traffic(links)
    network = host_name(VNET)
    nic = Nic(host_name(NIC), NIC, network, "m", "10.0.0.4", "10.0.0.1", 24, ("10.0.0.40",))
    await links.ensure_network(Network(network, VNET, ("10.0.0.0/16",)))
    await links.ensure_nic(nic)
    if guarded:
        await traffic.firewalls.ensure_firewall(Firewall("fw", NSG, network, (DENY,), (nic.id,), subnets))
    configuration = {"name": "a", "properties": {"subnet": {"id": f"{VNET}/subnets/s"}}}
    there = Documents(
        Resource(MACHINE, {"properties": {}}),
        Resource(NIC, {"properties": {"ipConfigurations": [configuration]}}, private={"addresses": ["10.0.0.4"]}),
        Resource(VNET, {"location": "westeurope", "properties": {"subnets": []}}),
        Resource(GROUP, {"location": "westeurope"}),
    )
    return Watchers(Effective(links, traffic)), there


async def verify(it: Watchers, there: Documents, may: bool = True, **changes: str) -> Any:
    return await it.verify_ip_flow(
        scope=WATCHER, body={**FLOW, **changes}, reader=there, show=show, may=lambda action, scope: may
    )


async def test_who_may_not_read_the_machine_is_told_nothing() -> None:
    it, there = await watchers()
    with pytest.raises(ArmError, match="LinkedAuthorizationFailed") as refused:
        await verify(it, there, may=False)
    assert refused.value.status == 403
    assert f"'{parse_id(MACHINE).type}/read'" in refused.value.message


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, {"access": "Deny", "ruleName": "securityRules/no"}),
        ({"localPort": "91"}, {"access": "Allow", "ruleName": ""}),
        ({"protocol": "udp"}, {"access": "Allow", "ruleName": ""}),
        ({"targetResourceId": NIC}, {"access": "Deny", "ruleName": "securityRules/no"}),
        ({"targetNicResourceId": NIC.upper()}, {"access": "Deny", "ruleName": "securityRules/no"}),
        ({"direction": "Outbound", "localPort": "*", "remotePort": "80"}, {"access": "Allow", "ruleName": ""}),
    ],
)
async def test_a_flow(changes: dict[str, str], wanted: dict[str, str]) -> None:
    it, there = await watchers()
    assert await verify(it, there, **changes) == wanted


async def test_where_no_group_is_all_may_pass() -> None:
    it, there = await watchers(guarded=False)
    assert await verify(it, there) == {"access": "Allow", "ruleName": ""}


async def test_an_interface_that_does_not_stand_has_no_rules() -> None:
    it, there = await watchers()
    it._effective._links.nics.clear()  # type: ignore[attr-defined]
    with pytest.raises(ArmError, match="NicMustBeAttachedToRunningVm"):
        await verify(it, there)


async def test_a_topology_shows_what_one_may_read() -> None:
    it, there = await watchers()

    async def names(may: str) -> list[str]:
        body = {"targetResourceGroupName": "g"}
        found = await it.topology(
            scope=WATCHER, body=body, reader=there, show=show, may=lambda action, scope: may in action
        )
        return [each["name"] for each in found["resources"]]

    assert await names("") == ["v", "n", "0"]
    assert await names("virtualNetworks/") == ["v"]


def test_watchers_are_in_their_group_and_by_region() -> None:
    found = find(parse_id(WATCHER.replace("NetworkWatcher_westeurope", "networkwatcher_WESTEUROPE")))
    assert found is not None
    assert (found.id, found.body["location"]) == (WATCHER, "westeurope")
    assert find(parse_id(WATCHER.replace("NetworkWatcherRG", "g"))) is None
    assert find(parse_id(WATCHER.replace("NetworkWatcher_", ""))) is None


def test_a_rule_is_spelt_as_its_document_and_expanded_as_it_stands() -> None:
    rule = FirewallRule(300, "inbound", True, "any", sources=("10.0.0.0/16",), destination_ports=((80, 80), (443, 450)))
    document = {"name": "", "properties": {"sourceAddressPrefix": "VirtualNetwork", "destinationAddressPrefix": "*"}}
    assert effective_rule(rule, {"securityrules/": document}) == {
        "name": "securityRules/",
        "protocol": "All",
        "access": "Allow",
        "priority": 300,
        "direction": "Inbound",
        "sourceAddressPrefix": "VirtualNetwork",
        "sourceAddressPrefixes": ["VirtualNetwork"],
        "expandedSourceAddressPrefix": ["10.0.0.0/16"],
        "sourcePortRange": "0-65535",
        "sourcePortRanges": ["0-65535"],
        "destinationAddressPrefix": "0.0.0.0/0",
        "destinationAddressPrefixes": ["0.0.0.0/0"],
        "destinationPortRanges": ["80-80", "443-450"],
    }
