"""What every RouteTables driver promises; then which way packets take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.hollow.traffic import HollowRouteTables
from sorairo.drivers.linux.links import LinuxLinks
from sorairo.drivers.linux.routing import LinuxPeerings, LinuxRouteTables
from sorairo.drivers.linux.traffic import LinuxBalancers, LinuxFirewalls
from sorairo.drivers.protocols import DriverError, Leg, Links, Network, Nic
from sorairo.drivers.routing import Hop, Peering, RouteTable, RouteTables
from sorairo.drivers.traffic import Backend, Balancer, BalancerRule, Firewall, FirewallRule, Standing
from wire import Wire, linux

everyone = pytest.mark.parametrize("links", ["hollow", linux], indirect=True)
real = pytest.mark.parametrize("links", [linux], indirect=True)

A = Nic("nica", "/owner/nica", "net1", "nodea", "10.1.1.4", "10.1.1.1", 24)
B = Nic("nicb", "/owner/nicb", "net1", "nodeb", "10.1.2.4", "10.1.2.1", 24)
F = Nic("nicf", "/owner/nicf", "net1", "nodef", "10.1.9.4", "10.1.9.1", 24, forwarding=True)
"""An appliance in a subnet of its own."""
S = Nic("nics", "/owner/nics", "net2", "nodes", "10.2.1.4", "10.2.1.1", 24)
"""A machine in a spoke."""
T = Nic("nict", "/owner/nict", "net3", "nodet", "10.3.1.4", "10.3.1.1", 24)
NICS = (A, B, F, S, T)


@pytest.fixture
async def links(request: pytest.FixtureRequest, wire: Wire) -> AsyncIterator[Links]:
    links: Links = HollowLinks() if request.param == "hollow" else wire.links()
    for n in (1, 2, 3):
        await links.ensure_network(Network(f"net{n}", f"/owner/net{n}", (f"10.{n}.0.0/16",), wire.public(10 + n)))
    for nic in NICS:
        await links.ensure_nic(nic)
    await links.ensure_leg(Leg("leg1", "/owner/leg1", "cp1", wire.public(20), "net1"))
    yield links
    await links.remove_leg("leg1")
    for nic in NICS:
        await links.remove_nic(nic.id)
    for n in (1, 2, 3):
        await links.remove_network(f"net{n}", with_rules=True)
    assert not wire.run_dir.exists()


@pytest.fixture
def tables(links: Links) -> RouteTables:
    return HollowRouteTables(links) if isinstance(links, HollowLinks) else LinuxRouteTables(links)  # type: ignore[arg-type]


def table(*hops: tuple[str, str], subnet: str = "10.1.1.0/24", id: str = "rt1", network: str = "net1") -> RouteTable:
    return RouteTable(id, f"/owner/{id}", network, (subnet,), tuple(Hop(*each) for each in hops))


class Passed:
    """How many packets a machine has forwarded."""

    def __init__(self, wire: Wire, namespace: str) -> None:
        self._wire, self._namespace = wire, namespace
        self._before = self._now()

    def _now(self) -> int:
        with self._wire.inside(self._namespace):
            names, values = Path("/proc/thread-self/net/snmp").read_text().splitlines()[:2]
        return int(dict(zip(names.split(), values.split(), strict=True))["ForwDatagrams"])

    def __bool__(self) -> bool:
        now = self._now()
        moved, self._before = now != self._before, now
        return moved


@everyone
async def test_what_was_ensured_stands_until_it_is_removed(tables: RouteTables) -> None:
    other = table(("10.1.0.0/16", "nowhere"), subnet="10.1.2.0/24", id="rt2")
    await tables.ensure_route_table(other)
    for spec in (
        table(),
        table(("10.1.2.0/24", "10.1.9.4"), ("0.0.0.0/0", "edge")),
        table(("10.1.2.0/24", "nowhere"), ("10.1.0.0/16", "network"), ("172.16.0.0/12", "10.1.9.77")),
    ):
        for _ in range(2):
            await tables.ensure_route_table(spec)
            assert await tables.observe_route_tables() == Standing({"rt1": spec, "rt2": other})
    for _ in range(2):
        await tables.remove_route_table("rt1")
        assert await tables.observe_route_tables() == Standing({"rt2": other})


@everyone
async def test_a_subnet_has_one_table(tables: RouteTables) -> None:
    await tables.ensure_route_table(table())
    with pytest.raises(DriverError, match="rt1"):
        await tables.ensure_route_table(table(id="rt2"))
    with pytest.raises(DriverError, match="net9"):
        await tables.ensure_route_table(table(id="rt2", network="net9"))


@real
async def test_packets_go_by_the_appliance_and_only_those(tables: RouteTables, wire: Wire) -> None:
    with wire.listen("nodeb", 80) as server:
        passed = Passed(wire, "nodef")
        assert wire.seen(server, "nodea", B.address) == A.address
        assert not passed
        await tables.ensure_route_table(table(("10.1.2.0/24", F.address)))
        assert wire.seen(server, "nodea", B.address) == A.address
        assert passed
        assert wire.reaches("nodea", F.address, 81)
        assert wire.reaches("nodef", B.address, 81)
        assert not passed
        # Both ways, and a refusal comes back too.
        await tables.ensure_route_table(table(("10.1.1.0/24", F.address), subnet="10.1.2.0/24", id="rt2"))
        assert wire.seen(server, "nodea", B.address) == A.address
        assert wire.reaches("nodea", B.address, 81)
        assert passed
        await tables.remove_route_table("rt1")
        await tables.remove_route_table("rt2")
        assert wire.seen(server, "nodea", B.address) == A.address
        assert not passed


@real
async def test_who_may_not_forward_gets_its_own_and_nothing_else(
    links: LinuxLinks, tables: RouteTables, wire: Wire
) -> None:
    await links.ensure_nic(replace(F, forwarding=False))
    await tables.ensure_route_table(table(("10.1.0.0/16", F.address)))
    with wire.listen("nodeb", 80), wire.listen("nodef", 80):
        assert not wire.reaches("nodea", B.address, 80)
        assert wire.reaches("nodea", F.address, 80)
        await links.ensure_nic(F)
        assert wire.reaches("nodea", B.address, 80)


@real
async def test_a_source_of_anothers_is_not_passed_on(links: LinuxLinks, tables: RouteTables, wire: Wire) -> None:
    wire.pod("nodea", "10.1.1.99")
    with wire.listen("nodeb", 80):
        assert wire.reaches("nodea", B.address, 80)
        assert not wire.reaches("nodea", B.address, 80, source="10.1.1.99")
        await links.ensure_nic(replace(A, secondary=("10.1.1.99",)))
        assert wire.reaches("nodea", B.address, 80, source="10.1.1.99")


@real
async def test_the_longest_prefix_wins_and_a_hop_over_the_networks_own(tables: RouteTables, wire: Wire) -> None:
    for hops, inside, out in (
        ([("0.0.0.0/0", "nowhere")], True, False),
        ([("10.0.0.0/8", "nowhere")], True, True),
        ([("10.1.0.0/16", "nowhere")], False, True),
        ([("10.1.0.0/16", "nowhere"), ("10.1.2.0/24", "network")], True, True),
        ([("10.1.2.4/32", "nowhere"), ("10.1.2.0/24", "network")], False, True),
        ([("10.1.2.0/24", "edge")], False, True),
        ([("0.0.0.0/0", "nowhere"), (f"{wire.prefix}.0/24", "edge")], True, True),
        ([("0.0.0.0/0", F.address), (f"{wire.public(20)}/32", "nowhere")], True, False),
    ):
        await tables.ensure_route_table(table(*hops))
        assert wire.reaches("nodea", B.address, 80) is inside, hops
        assert wire.reaches("nodea", wire.public(20), 80) is out, hops
    await tables.remove_route_table("rt1")
    with wire.listen("cp1", 80) as outside:
        assert wire.seen(outside, "nodea", wire.public(20)) == wire.public(11)


@real
async def test_control_planes_and_the_networks_services_are_always_answered(
    links: LinuxLinks, tables: RouteTables, wire: Wire
) -> None:
    await tables.ensure_route_table(table(("0.0.0.0/0", "nowhere")))
    with wire.listen("nodea", 10250) as node:
        assert wire.seen(node, "cp1", A.address).startswith("169.254.")
    with links.socket("net1") as server:
        server.bind(("168.63.129.16", 53))
        server.listen()
        server.settimeout(1)
        assert wire.seen(server, "nodea", "168.63.129.16") == A.address


@real
async def test_a_hub_with_an_appliance_joins_its_spokes(links: LinuxLinks, tables: RouteTables, wire: Wire) -> None:
    """What spokes say to each other and to the world passes the hub's appliance; what they say to the hub does not."""
    peerings = LinuxPeerings(links)
    for near, far in ((1, 2), (2, 1), (1, 3), (3, 1)):
        await peerings.ensure_peering(
            Peering(f"h{near}{far}", "/owner/h", f"net{near}", f"net{far}", forwarded=near != 1)
        )
    assert not wire.reaches("nodes", T.address, 80)
    for n, nic in ((2, S), (3, T)):
        spec = table(("0.0.0.0/0", F.address), subnet=f"10.{n}.1.0/24", id=f"rt{n}", network=f"net{n}")
        await tables.ensure_route_table(spec)
        del nic
    assert not (await tables.observe_route_tables()).partial
    passed = Passed(wire, "nodef")
    with wire.listen("nodet", 80) as server, wire.listen("nodeb", 80) as hub, wire.listen("cp1", 443) as outside:
        assert wire.seen(server, "nodes", T.address) == S.address
        assert passed
        assert wire.seen(hub, "nodes", B.address) == S.address
        assert not passed
        # As on Azure, the appliance has to give its own address to what goes out.
        assert not wire.reaches("nodes", wire.public(20), 443)
        wire.nft(
            "nodef",
            "add table ip nat\nadd chain ip nat post { type nat hook postrouting priority srcnat; }\n"
            f"add rule ip nat post ip daddr {wire.prefix}.0/24 masquerade",
        )
        assert wire.seen(outside, "nodes", wire.public(20)) == wire.public(11)
        assert passed
        # The appliance goes: nobody passes any more; it comes back.
        await links.ensure_nic(replace(F, forwarding=False))
        assert not wire.reaches("nodes", T.address, 80)
        assert not (await tables.observe_route_tables()).partial
        await links.ensure_nic(F)
        assert wire.reaches("nodes", T.address, 80)
        await peerings.ensure_peering(Peering("h31", "/owner/h", "net3", "net1", forwarded=False))
        assert not wire.reaches("nodes", T.address, 80)


@real
async def test_firewalls_judge_each_part_of_the_way(links: LinuxLinks, tables: RouteTables, wire: Wire) -> None:
    await tables.ensure_route_table(table(("10.1.2.0/24", F.address)))
    deny = FirewallRule(100, "inbound", False, "tcp", destinations=(B.address,), destination_ports=((80, 80),))
    guard = Firewall("fw1", "/owner/fw1", "net1", (deny,), nics=("nicf",))
    with wire.listen("nodeb", 80), wire.listen("nodeb", 81):
        await LinuxFirewalls(links).ensure_firewall(guard)
        assert not wire.reaches("nodea", B.address, 80)
        assert wire.reaches("nodea", B.address, 81)
        await LinuxFirewalls(links).ensure_firewall(replace(guard, nics=("nicb",)))
        assert not wire.reaches("nodea", B.address, 80)


@real
async def test_balanced_connections_keep_their_way(links: LinuxLinks, tables: RouteTables, wire: Wire) -> None:
    """Routing by mark is a balancer's too: the two do not get into each other's way."""
    rule = BalancerRule("r", wire.public(40), "tcp", 80, (Backend(B.address),), floating=True)
    await LinuxBalancers(links).ensure_balancer(Balancer("lb1", "/owner/lb1", "net1", (rule,)))
    await tables.ensure_route_table(table(("10.1.2.0/24", F.address)))
    wire.pod("nodeb", wire.public(40))
    with wire.listen("nodeb", 80) as server:
        assert wire.seen(server, None, wire.public(40)) == wire.host
        assert wire.seen(server, "nodea", wire.public(40)) == A.address
        await tables.ensure_route_table(table(("0.0.0.0/0", "nowhere")))
        assert wire.seen(server, None, wire.public(40)) == wire.host
        assert not wire.reaches("nodea", wire.public(40), 80)
    assert not (await LinuxBalancers(links).observe_balancers()).partial


@real
@pytest.mark.parametrize(
    "damage", ["rule del pref 11", "route flush table 40001", "route del 10.1.2.0/24 table 40001", "link del inicf"]
)
async def test_damage_is_seen_and_mended(links: LinuxLinks, tables: RouteTables, wire: Wire, damage: str) -> None:
    spec = table(("10.1.2.0/24", F.address))
    await tables.ensure_route_table(spec)
    wire.ip("net1", *damage.split())
    assert (await tables.observe_route_tables()).partial == {"rt1": "/owner/rt1"}
    await links.ensure_nic(F)
    await tables.ensure_route_table(spec)
    assert await tables.observe_route_tables() == Standing({"rt1": spec})
    assert wire.reaches("nodea", B.address, 80)


@real
async def test_a_leg_goes_by_the_table_it_is_to_go_by(links: Links, tables: RouteTables, wire: Wire) -> None:
    """As a control plane reaches pods that only a table of routes leads to; whichever of the two comes first."""
    guest = "10.244.7.4"
    wire.pod("nodef", guest)
    leg = Leg("leg1", "/owner/leg1", "cp1", wire.public(20), "net1", ("10.244.0.0/16",))
    by = replace(leg, table="rt1")
    hops = table(("10.244.7.0/24", F.address), ("10.1.2.0/24", "nowhere"), subnet="10.1.9.0/24")
    await links.ensure_leg(leg)
    await tables.ensure_route_table(hops)
    assert not wire.reaches("cp1", guest, 81)
    for _ in range(2):
        await links.ensure_leg(by)
        assert (await links.observe_links()).legs["leg1"] == by
        assert await tables.observe_route_tables() == Standing({"rt1": hops})
        assert wire.reaches("cp1", guest, 81)
        assert wire.reaches("cp1", B.address, 81), "what is the network's own is not the table's to lead away"
        await tables.remove_route_table("rt1")
        assert not wire.reaches("cp1", guest, 81)
        await tables.ensure_route_table(hops)
        assert wire.reaches("cp1", guest, 81)
    await links.remove_leg("leg1")
    assert await tables.observe_route_tables() == Standing({"rt1": hops})
