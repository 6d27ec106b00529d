"""The way of a packet through what stands on a host: given these rules, then these stations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from plans.readers import Documents
from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.hollow.traffic import hollow_traffic
from sorairo.drivers.protocols import Network, Nic
from sorairo.drivers.routing import Hop as RouteHop
from sorairo.drivers.routing import Peering, RouteTable
from sorairo.drivers.traffic import (
    Backend,
    Balancer,
    BalancerRule,
    Firewall,
    FirewallRule,
    Outbound,
    PublicAddress,
    Traffic,
    Way,
)
from sorairo.drivers.verdicts import Packet
from sorairo.engine.types import Resource
from sorairo.providers.microsoft_network.packet_fabric import Fabric
from sorairo.providers.microsoft_network.packet_paths import Hop, Paths, arrivals, refusals

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


# --- peerings and tables of routes -----------------------------------------------------------------------

SPOKE = Nic("s", f"{SCALE_SET}/2/networkInterfaces/n", "spoke", "ns", "10.1.0.4", "10.1.0.1", 24)
FAR = Nic("f", f"{SCALE_SET}/3/networkInterfaces/n", "far", "nf", "10.2.0.4", "10.2.0.1", 24)
V = f"{GROUP}/Microsoft.Network/virtualNetworks"
RT = f"{GROUP}/Microsoft.Network/routeTables/rt"
OVER = Packet("tcp", "10.1.0.4", "10.2.0.4", 1, 80)
"""From spoke to far, which have only the hub between them."""


async def hub(*, to: str = "10.0.0.4", forwards: bool = True, forwarded: bool = True) -> tuple[Paths, Traffic]:
    """Network `net` with `spoke` and `far` around it; what the spoke sends to 10.0.0.0/8 goes `to` there."""
    paths, traffic = await standing(firewall=(replace(ALL_IN, protocol="any", destination_ports=()),))
    links = traffic.firewalls._links  # type: ignore[attr-defined]
    await links.ensure_nic(replace(A, forwarding=forwards))
    for name, prefix, nic in (("spoke", "10.1.0.0/16", SPOKE), ("far", "10.2.0.0/16", FAR)):
        await links.ensure_network(Network(name, f"{V}/{name}", (prefix,)))
        await links.ensure_nic(nic)
        for near, remote in (("net", name), (name, "net")):
            half = Peering(f"{near}-{remote}", f"{V}/{near}", near, remote, forwarded)
            await traffic.peerings.ensure_peering(half)
    table = RouteTable("rt", RT, "spoke", ("10.1.0.0/24",), (RouteHop("10.0.0.0/8", to),))
    await traffic.tables.ensure_route_table(table)
    return paths, traffic


async def test_a_peering_is_crossed_and_the_groups_of_both_ends_judge() -> None:
    paths, traffic = await hub(to="network")
    there = replace(OVER, destination="10.0.0.5")
    assert stations(await follow(paths, there)) == [
        "client me", "peering spoke to v", "security group nsg", "node 1", "pod 10.0.0.5:80 from 10.1.0.4",
    ]  # fmt: skip
    no = FirewallRule(100, "inbound", False, sources=("10.1.0.0/16",), name="no")
    await traffic.firewalls.ensure_firewall(Firewall("fw", NSG, "net", (no,), nics=("a", "b")))
    assert [each.name for each in refusals(await follow(paths, there))] == ["nsg"]
    await traffic.peerings.remove_peering("net-spoke")
    assert [each.text for each in refusals(await follow(paths, there))] == ["no machine of the network has 10.0.0.5"]


async def test_a_table_leads_to_an_appliance_and_that_onward() -> None:
    paths, _ = await hub()
    assert stations(await follow(paths, OVER)) == [
        "client me",
        "route table rt",
        "peering spoke to v",
        "route table rt",
        "security group nsg",
        "appliance node0",
        "security group nsg",
        "peering v to far",
        "node 3",
        "pod 10.2.0.4:80 from 10.1.0.4",
    ]
    # The longest prefix wins: the hub's own is longer than the table's.
    assert "route table rt" not in stations(await follow(paths, replace(OVER, destination="10.0.0.5")))


@pytest.mark.parametrize(
    ("changes", "station", "text"),
    [
        ({"to": "nowhere"}, "rt", "10.0.0.0/8 to nowhere"),
        ({"forwards": False}, "rt", "10.0.0.0/8 to 10.0.0.4, which may not forward"),
        ({"to": "10.0.0.99"}, "rt", "10.0.0.0/8 to 10.0.0.99, which no machine has"),
        ({"to": "network"}, "dropped", "no machine of the network has 10.2.0.4"),
        ({"to": "edge"}, "dropped", "nobody is reached at 10.2.0.4 from outside"),
        (
            {"forwarded": False},
            "v to far",
            "10.1.0.4 is not of v, and far takes no forwarded traffic from there",
        ),
    ],
)
async def test_where_a_route_ends_is_told(changes: dict[str, Any], station: str, text: str) -> None:
    paths, _ = await hub(**changes)
    assert [(each.name, each.text) for each in refusals(await follow(paths, OVER))] == [(station, text)]


async def test_a_table_that_sends_a_packet_round_is_found_out() -> None:
    paths, traffic = await hub()
    back = RouteTable("back", RT, "net", ("10.0.0.0/24",), (RouteHop("10.2.0.0/16", A.address),))
    await traffic.tables.ensure_route_table(back)
    assert [each.text for each in refusals(await follow(paths, OVER))] == ["it goes round in a circle"]


async def test_what_leaves_a_network_is_judged_by_its_public_source() -> None:
    paths, traffic = await hub(to="network")
    await traffic.balancers.ensure_balancer(Balancer("lb", LB, "net", (FLOATING,)))
    web = replace(OVER, destination="198.18.0.20")
    assert [each.text for each in refusals(await follow(paths, web))] == ["10.1.0.4 has no way out"] * 2
    way = Outbound("out", LB, "spoke", (Way(("10.1.0.4/32",), ("198.18.0.30",)),))
    await traffic.outbounds.ensure_outbound(way)
    assert stations(await follow(paths, web)) == [
        "client me", "public address ip", "load balancer lb / r", "outbound 198.18.0.30", "security group nsg",
        "node node0", "pod 198.18.0.20:80 from 198.18.0.30",
    ]  # fmt: skip


async def test_guests_that_only_a_table_of_routes_leads_to() -> None:
    """As with kubenet: their machine is found by the table, and is no station on the way to them."""
    links = HollowLinks()
    traffic = hollow_traffic(links)
    network = Network("net", f"{GROUP}/Microsoft.Network/virtualNetworks/v", ("10.0.0.0/16",), "198.18.0.9")
    await links.ensure_network(network)
    for nic in (A, B):
        await links.ensure_nic(replace(nic, secondary=(), overlay="10.244.0.0/16", forwarding=True))
    hops = (RouteHop("10.244.0.0/24", "10.0.0.4"), RouteHop("10.244.1.0/24", "10.0.0.5"))
    await traffic.tables.ensure_route_table(RouteTable("rt", "/rt", "net", ("10.0.0.0/24",), hops))
    paths = Paths(links, traffic)
    packet = Packet("tcp", "10.244.0.7", "10.244.1.8", 40000, 80)
    assert stations(await follow(paths, packet)) == ["client me", "node 1", "pod 10.244.1.8:80 from 10.244.0.7"]
    fabric = await paths.fabric()
    sender = fabric.nic_at("10.244.0.7", "net")
    assert sender
    assert fabric.leaves_as(sender, "10.244.0.7") == ("198.18.0.9",)
    await links.ensure_network(replace(network, private=("10.0.0.0/24",)))
    assert (await paths.fabric()).leaves_as(sender, "10.244.0.7") == ()
