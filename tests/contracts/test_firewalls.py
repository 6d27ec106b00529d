"""What every Firewalls driver promises; then what it does to real packets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.hollow.traffic import HollowFirewalls
from sorairo.drivers.linux.firewall import rule_text
from sorairo.drivers.linux.traffic import LinuxFirewalls
from sorairo.drivers.protocols import DriverError, Leg, Links, Network, Nic
from sorairo.drivers.traffic import Firewall, FirewallRule, Firewalls, Standing
from wire import Wire, linux

everyone = pytest.mark.parametrize("links", ["hollow", linux], indirect=True)
real = pytest.mark.parametrize("links", [linux], indirect=True)

A = Nic("nica", "/owner/nica", "net1", "nodea", "10.224.0.4", "10.224.0.1", 24, ("10.224.0.40",))
B = Nic("nicb", "/owner/nicb", "net1", "nodeb", "10.224.1.5", "10.224.1.1", 24)
HTTP = FirewallRule(100, "inbound", True, "tcp", destination_ports=((80, 80),), name="http")
NOTHING_IN = FirewallRule(4096, "inbound", False, name="DenyAll")
FW = Firewall("fw1", "/owner/fw1", "net1", (NOTHING_IN, HTTP), nics=("nicb",))


@pytest.fixture
async def links(request: pytest.FixtureRequest, wire: Wire) -> AsyncIterator[Links]:
    """Network net1, nodes a and b in different subnets of it, and its control plane cp1."""
    links: Links = HollowLinks() if request.param == "hollow" else wire.links()
    await links.ensure_network(Network("net1", "/owner/net1", ("10.224.0.0/16",), wire.public(10)))
    await links.ensure_nic(A)
    await links.ensure_nic(B)
    await links.ensure_leg(Leg("leg1", "/owner/leg1", "cp1", wire.public(20), "net1"))
    yield links
    for firewall in ("fw1", "fw2"):
        await firewalls_of(links).remove_firewall(firewall)
    for nic in ("nica", "nicb", "nicc"):
        await links.remove_nic(nic)
    await links.remove_leg("leg1")
    await links.remove_network("net1")


def firewalls_of(links: Links) -> Firewalls:
    return HollowFirewalls(links) if isinstance(links, HollowLinks) else LinuxFirewalls(links)  # type: ignore[arg-type]


@pytest.fixture
def firewalls(links: Links) -> Firewalls:
    return firewalls_of(links)


# --- everyone --------------------------------------------------------------------------------------------


@everyone
async def test_what_was_ensured_stands_until_it_is_removed(firewalls: Firewalls) -> None:
    for _ in range(2):
        await firewalls.ensure_firewall(FW)
        assert await firewalls.observe_firewalls() == Standing({"fw1": FW})
    changed = replace(FW, rules=(NOTHING_IN,), subnets=("10.224.0.0/24",))
    await firewalls.ensure_firewall(changed)
    assert await firewalls.observe_firewalls() == Standing({"fw1": changed})
    for _ in range(2):
        await firewalls.remove_firewall("fw1")
        assert await firewalls.observe_firewalls() == Standing()


@everyone
async def test_a_firewall_needs_its_network_and_holds_it(links: Links, firewalls: Firewalls) -> None:
    with pytest.raises(DriverError, match="net9"):
        await firewalls.ensure_firewall(replace(FW, network="net9"))
    await firewalls.ensure_firewall(FW)
    for nic in ("nica", "nicb"):
        await links.remove_nic(nic)
    await links.remove_leg("leg1")
    with pytest.raises(DriverError, match="fw1"):
        await links.remove_network("net1")


@everyone
async def test_nothing_has_two_guards_of_a_kind(firewalls: Firewalls) -> None:
    await firewalls.ensure_firewall(FW)
    with pytest.raises(DriverError, match="nicb: guarded by firewall fw1"):
        await firewalls.ensure_firewall(replace(FW, id="fw2"))
    assert await firewalls.observe_firewalls() == Standing({"fw1": FW})


# --- rules as text ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (FirewallRule(4096, "inbound", False), 'counter drop comment "4096 "'),
        (HTTP, 'ip protocol tcp th dport 80 counter return comment "100 http"'),
        (
            FirewallRule(
                9, "outbound", True, "any", destination_ports=((80, 90), (85, 99), (443, 443)), name='x" drop'
            ),
            'meta l4proto { tcp, udp } th dport { 80-99, 443 } counter return comment "9 x drop"',
        ),
        (
            FirewallRule(9, "inbound", True, "icmp", sources=("10.0.0.0/8", "10.1.0.0/16", "1.1.1.1")),
            'ip protocol icmp ip saddr { 1.1.1.1/32, 10.0.0.0/8 } counter return comment "9 "',
        ),
        (
            FirewallRule(9, "inbound", True, "udp", ("0.0.0.0/0",), ("10.0.0.4",), ((53, 53),)),
            'ip protocol udp ip daddr 10.0.0.4/32 th sport 53 counter return comment "9 "',
        ),
    ],
)
def test_a_rule_as_nft_reads_it(rule: FirewallRule, text: str) -> None:
    assert rule_text(rule) == text


# --- packets ---------------------------------------------------------------------------------------------


@real
async def test_a_nics_firewall_lets_in_what_it_allows(firewalls: Firewalls, wire: Wire) -> None:
    await firewalls.ensure_firewall(FW)
    assert wire.reaches("nodea", B.address, 80)
    assert not wire.reaches("nodea", B.address, 81)
    assert wire.reaches("nodeb", A.address, 81)  # and what it asks for itself comes back
    await firewalls.remove_firewall("fw1")
    assert wire.reaches("nodea", B.address, 81)


@real
async def test_the_lowest_priority_decides(firewalls: Firewalls, wire: Wire) -> None:
    deny = FirewallRule(50, "inbound", False, "tcp", sources=("10.224.0.40",), destination_ports=((80, 80),))
    await firewalls.ensure_firewall(replace(FW, rules=(NOTHING_IN, HTTP, deny)))
    wire.pod("nodea", "10.224.0.40")
    assert wire.reaches("nodea", B.address, 80)
    assert not wire.reaches("nodea", B.address, 80, source="10.224.0.40")


@real
async def test_out_is_judged_as_well_as_in(firewalls: Firewalls, wire: Wire) -> None:
    rule = FirewallRule(100, "outbound", False, "tcp", destinations=("10.224.0.0/16",), destination_ports=((80, 80),))
    await firewalls.ensure_firewall(replace(FW, rules=(rule,), nics=("nica",)))
    assert not wire.reaches("nodea", B.address, 80)
    assert wire.reaches("nodea", B.address, 81)
    assert wire.reaches("nodeb", A.address, 80)


@real
async def test_a_subnets_firewall_holds_for_every_nic_in_it_new_ones_too(
    links: Links, firewalls: Firewalls, wire: Wire
) -> None:
    await firewalls.ensure_firewall(replace(FW, nics=(), subnets=("10.224.1.0/24",)))
    assert not wire.reaches("nodea", B.address, 81)
    await links.ensure_nic(replace(B, id="nicc", namespace="nodec", address="10.224.1.6"))
    assert not wire.reaches("nodea", "10.224.1.6", 81)
    assert not wire.reaches("nodeb", "10.224.1.6", 81)  # within the subnet too
    assert wire.reaches("nodea", "10.224.1.6", 80)


@real
async def test_both_nic_and_subnet_must_allow(firewalls: Firewalls, wire: Wire) -> None:
    both = FirewallRule(100, "inbound", True, "tcp", destination_ports=((80, 81),))
    await firewalls.ensure_firewall(FW)
    await firewalls.ensure_firewall(
        replace(FW, id="fw2", nics=(), subnets=("10.224.1.0/24",), rules=(both, NOTHING_IN))
    )
    assert wire.reaches("nodea", B.address, 80)
    assert not wire.reaches("nodea", B.address, 81)
    await firewalls.ensure_firewall(replace(FW, rules=(both, NOTHING_IN)))
    assert wire.reaches("nodea", B.address, 81)
    await firewalls.ensure_firewall(
        replace(FW, id="fw2", nics=(), subnets=("10.224.1.0/24",), rules=(HTTP, NOTHING_IN))
    )
    assert not wire.reaches("nodea", B.address, 81)


@real
async def test_pods_are_guarded_with_their_node(firewalls: Firewalls, wire: Wire) -> None:
    await firewalls.ensure_firewall(replace(FW, nics=("nica",)))
    wire.pod("nodea", "10.224.0.40")
    assert wire.reaches("nodeb", "10.224.0.40", 80)
    assert not wire.reaches("nodeb", "10.224.0.40", 81)


@real
async def test_connections_outlive_a_change_that_would_refuse_them(firewalls: Firewalls, wire: Wire) -> None:
    with (
        wire.listen("nodeb", 80) as server,
        wire.connect("nodea", B.address, 80) as client,
        server.accept()[0] as answer,
    ):
        await firewalls.ensure_firewall(replace(FW, rules=(NOTHING_IN,)))
        assert not wire.reaches("nodea", B.address, 80)
        client.sendall(b"still")
        assert answer.recv(5) == b"still"
        answer.sendall(b"here")
        assert client.recv(4) == b"here"


@real
async def test_udp_is_stateful_too(firewalls: Firewalls, wire: Wire) -> None:
    await firewalls.ensure_firewall(FW)
    with wire.datagram("nodeb", 53) as b, wire.datagram("nodea", 53) as a:
        a.sendto(b"in", (B.address, 53))
        with pytest.raises(TimeoutError):
            b.recv(9)
        b.sendto(b"out", (A.address, 53))
        data, sender = a.recvfrom(9)
        a.sendto(b"back", sender)
        assert (data, b.recv(9)) == (b"out", b"back")


@real
async def test_the_control_plane_is_not_judged(firewalls: Firewalls, wire: Wire) -> None:
    await firewalls.ensure_firewall(replace(FW, rules=(NOTHING_IN,)))
    assert wire.reaches("cp1", B.address, 10250)


@real
async def test_the_way_out_is_judged_by_the_address_asked_for(firewalls: Firewalls, wire: Wire) -> None:
    await firewalls.ensure_firewall(
        replace(FW, nics=("nica",), rules=(FirewallRule(100, "outbound", False, destinations=(wire.public(20),)),))
    )
    assert not wire.reaches("nodea", wire.public(20), 443)
    assert wire.reaches("nodeb", wire.public(20), 443)


@real
async def test_what_the_kernel_refuses_does_not_stand_in_the_way_of_the_rest(
    links: Links, firewalls: Firewalls, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    await firewalls.ensure_firewall(FW)
    with monkeypatch.context() as patched:
        patched.setattr("sorairo.drivers.linux.firewall.rule_text", lambda rule: "no such words")
        with pytest.raises(DriverError, match="syntax error"):
            await firewalls.ensure_firewall(replace(FW, rules=(HTTP,)))
    await links.ensure_nic(replace(B, id="nicc", namespace="nodec", address="10.224.1.6"))
    assert await firewalls.observe_firewalls() == Standing({"fw1": FW})


@real
async def test_lost_rules_are_seen_and_mended(firewalls: Firewalls, wire: Wire) -> None:
    await firewalls.ensure_firewall(FW)
    wire.nft("net1", "flush ruleset")
    assert await firewalls.observe_firewalls() == Standing({}, {"fw1": "/owner/fw1"})
    await firewalls.ensure_firewall(FW)
    assert await firewalls.observe_firewalls() == Standing({"fw1": FW})
    assert not wire.reaches("nodea", B.address, 81)


@real
async def test_a_thousand_rules_cost_little(firewalls: Firewalls, wire: Wire) -> None:
    rules = tuple(
        FirewallRule(n, "inbound", True, "tcp", (f"10.{n % 250}.0.0/16",), destination_ports=((n, n),), name=f"r{n}")
        for n in range(100, 1100)
    )
    await firewalls.ensure_firewall(replace(FW, rules=(*rules, NOTHING_IN)))
    assert not wire.reaches("nodea", B.address, 81)


@real
async def test_a_nic_that_is_to_be_guarded_is_closed_until_it_is(
    links: Links, firewalls: Firewalls, wire: Wire
) -> None:
    await links.ensure_nic(replace(B, guarded=True))
    assert not wire.reaches("nodea", B.address, 80)
    assert not wire.reaches("nodeb", A.address, 80)
    await firewalls.ensure_firewall(FW)
    assert wire.reaches("nodea", B.address, 80)
    assert not wire.reaches("nodea", B.address, 81)
    await firewalls.ensure_firewall(replace(FW, nics=()))
    assert not wire.reaches("nodea", B.address, 80)
    await links.ensure_nic(B)
    assert wire.reaches("nodea", B.address, 81)


@real
async def test_probes_are_judged(links: Links, firewalls: Firewalls, wire: Wire) -> None:
    """As Azure's, which come from the same address."""
    from_probes = FirewallRule(200, "inbound", True, sources=("168.63.129.16",))
    await firewalls.ensure_firewall(FW)
    assert not wire.reaches("net1", B.address, 81, source="168.63.129.16")
    await firewalls.ensure_firewall(replace(FW, rules=(HTTP, from_probes, NOTHING_IN)))
    assert wire.reaches("net1", B.address, 81, source="168.63.129.16")
    assert not wire.reaches("nodea", B.address, 81)
