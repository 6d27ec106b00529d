"""The way of a packet through what stands on a host: given these rules, then these stations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plans.readers import Documents
from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.hollow.traffic import hollow_traffic
from sorairo.drivers.protocols import Network, Nic
from sorairo.drivers.traffic import Backend, Balancer, BalancerRule, Firewall, FirewallRule, PublicAddress, Traffic
from sorairo.drivers.verdicts import Packet
from sorairo.engine.types import Resource
from sorairo.providers.microsoft_network.packet_paths import Fabric, Hop, Paths, arrivals, refusals

GROUP = "/subscriptions/s/resourceGroups/g/providers"
SCALE_SET = f"{GROUP}/Microsoft.Compute/virtualMachineScaleSets/vmss/virtualMachines"
LB, NSG = f"{GROUP}/Microsoft.Network/loadBalancers/lb", f"{GROUP}/Microsoft.Network/networkSecurityGroups/nsg"
A = Nic("a", f"{SCALE_SET}/0/networkInterfaces/n", "net", "na", "10.0.0.4", "10.0.0.1", 24, ("10.0.0.40",))
B = Nic("b", f"{SCALE_SET}/1/networkInterfaces/n", "net", "nb", "10.0.0.5", "10.0.0.1", 24, ("10.0.0.50",))
ALL_IN = FirewallRule(300, "inbound", True, "tcp", destination_ports=((80, 80),), name="web")
NOTHING = FirewallRule(65500, "inbound", False, name="DenyAllInBound")
FLOATING = BalancerRule("rule/r", "198.18.0.20", "tcp", 80, (Backend("10.0.0.4"), Backend("10.0.0.5")), floating=True)
PIP = Resource(f"{GROUP}/Microsoft.Network/publicIPAddresses/ip", {"properties": {}},
               private={"claims": {"public addresses": ["198.18.0.20"]}})  # fmt: skip
MACHINE = Resource(f"{SCALE_SET}/0", {"properties": {"osProfile": {"computerName": "node0"}}})
WEB = Packet("tcp", "198.18.0.1", "198.18.0.20", 40000, 80)


async def standing(
    *rules: BalancerRule, firewall: tuple[FirewallRule, ...] = (ALL_IN, NOTHING)
) -> tuple[Paths, Traffic]:
    links = HollowLinks()
    traffic = hollow_traffic(links)
    await links.ensure_network(Network("net", f"{GROUP}/Microsoft.Network/virtualNetworks/v", ("10.0.0.0/16",)))
    await links.ensure_nic(A)
    await links.ensure_nic(B)
    await traffic.firewalls.ensure_firewall(Firewall("fw", NSG, "net", firewall, nics=("a", "b")))
    if rules:
        await traffic.balancers.ensure_balancer(Balancer("lb", LB, "net", rules))
    return Paths(links, traffic), traffic


async def follow(paths: Paths, packet: Packet) -> Hop:
    async def leave(fabric: Fabric, nic: Nic, packet: Packet) -> Hop | None:
        return None

    async def arrive(fabric: Fabric, nic: Nic, packet: Packet) -> tuple[Hop, ...]:
        return (Hop("pod", f"{packet.destination}:{packet.destination_port} from {packet.source}"),)

    return await paths.follow(Documents(PIP, MACHINE), packet, "me", leave, arrive)


def stations(hop: Hop) -> list[str]:
    """Of the first way."""
    return [f"{hop.kind} {hop.name}", *(stations(hop.next[0]) if hop.next else [])]


async def test_from_public_address_to_pod() -> None:
    paths, _ = await standing(FLOATING)
    path = await follow(paths, WEB)
    assert stations(path) == [
        "client me",
        "public address ip",
        "load balancer lb / r",
        "security group nsg",
        "node node0",
        "pod 198.18.0.20:80 from 198.18.0.1",
    ]
    assert len(arrivals(path)) == 2
    assert refusals(path) == []


async def test_without_floating_ip_the_machine_is_addressed() -> None:
    rule = replace(FLOATING, floating=False, backends=(Backend("10.0.0.5", 8080),))
    paths, _ = await standing(rule, firewall=(replace(ALL_IN, destination_ports=((8080, 8080),)), NOTHING))
    assert [each.name for each in arrivals(await follow(paths, WEB))] == ["10.0.0.5:8080 from 198.18.0.1"]


async def test_who_refuses_is_told() -> None:
    paths, _ = await standing(FLOATING, firewall=(NOTHING,))
    path = await follow(paths, WEB)
    assert arrivals(path) == []
    assert [(each.name, each.text) for each in refusals(path)] == [
        ("nsg", "inbound, of the interface: rule defaultSecurityRules/DenyAllInBound (65500) refuses it")
    ] * 2


async def test_who_is_out_of_rotation_is_no_way() -> None:
    paths, traffic = await standing(FLOATING)
    await traffic.balancers.set_down("lb", {"rule/r": frozenset({"10.0.0.4"})})
    path = await follow(paths, WEB)
    assert len(arrivals(path)) == 1
    await traffic.balancers.set_down("lb", {"rule/r": frozenset({"10.0.0.4", "10.0.0.5"})})
    assert [each.kind for each in refusals(await follow(paths, WEB))] == ["load balancer"]


@pytest.mark.parametrize(
    ("packet", "end"),
    [
        (replace(WEB, destination_port=81), "no load balancing rule for tcp 81, and no machine has it"),
        (replace(WEB, destination="10.0.0.40"), "nobody is reached at 10.0.0.40 from outside"),
        (Packet("tcp", "10.0.0.4", "10.0.0.99", 1, 80), "no machine of the network has 10.0.0.99"),
    ],
)
async def test_where_nobody_is(packet: Packet, end: str) -> None:
    paths, _ = await standing(FLOATING)
    assert [each.text for each in refusals(await follow(paths, packet))] == [end]


async def test_a_rule_of_one_port_goes_before_one_of_all() -> None:
    every = replace(FLOATING, name="rule/all", protocol="any", port=0)
    paths, _ = await standing(every, FLOATING)
    assert "load balancer lb / r" in stations(await follow(paths, WEB))
    other = await follow(paths, replace(WEB, destination_port=81))
    assert "load balancer lb / all" in stations(other)


async def test_from_machine_to_machine_both_ends_judge() -> None:
    out = FirewallRule(100, "outbound", False, destinations=("10.0.0.50",), name="no")
    paths, _ = await standing(firewall=(out, ALL_IN))
    sent = Packet("tcp", "10.0.0.40", "10.0.0.5", 1, 80)
    assert stations(await follow(paths, sent))[1:4] == ["security group nsg", "security group nsg", "node 1"]
    assert [each.text for each in refusals(await follow(paths, sent.to("10.0.0.50", 80)))] == [
        "outbound, of the interface: rule securityRules/no (100) refuses it"
    ]


async def test_a_machines_own_public_address() -> None:
    paths, traffic = await standing()
    await traffic.publics.ensure_public_address(PublicAddress("p", "/o", "net", "198.18.0.20", "10.0.0.4"))
    assert stations(await follow(paths, WEB))[-2:] == ["node node0", "pod 10.0.0.4:80 from 198.18.0.1"]
