"""What is told of a packet, what the rules' documents say of it, and what becomes of it, are the same."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rulesets import HERE, THERE, VIRTUAL, Lane, decides, packets, rules

from sorairo.drivers.linux.traffic import LinuxFirewalls
from sorairo.drivers.protocols import Network, Nic
from sorairo.drivers.traffic import Firewall, FirewallRule
from sorairo.drivers.verdicts import Packet, decisive, judge
from sorairo.providers.microsoft_network.security_rules import firewall_rules
from sorairo.providers.microsoft_network.service_tags import Space
from wire import Wire

SPACE = Space((VIRTUAL,), "198.18.0.0/28")
GROUP = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/nsg"
A = Nic("nica", "/owner/nica", "net1", "nodea", "10.224.0.4", "10.224.0.1", 24, (HERE,))
B = Nic("nicb", "/owner/nicb", "net1", "nodeb", "10.224.1.5", "10.224.1.1", 24, (THERE,))
LAST = [
    FirewallRule(n, way, True, "udp", ("10.224.65.200",), ("10.224.1.5",), ((9, 9),), ((9, 9),), "the last")
    for n, way in ((1, "inbound"), (2, "outbound"))
]


def firewall(documents: list[dict[str, object]], id: str = "fw1", nics: tuple[str, ...] = ("nicb",)) -> Firewall:
    return Firewall(id, f"/owner/{id}", "net1", (*LAST, *firewall_rules(GROUP, documents, SPACE, {})), nics)


@given(st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_the_rules_decide_as_their_documents_say(chance: random.Random) -> None:
    documents = rules(chance)
    made = firewall_rules(GROUP, documents, SPACE, {})
    for packet in packets(chance, 10):
        for direction in ("inbound", "outbound"):
            rule = decisive(made, direction, packet)  # type: ignore[arg-type]
            assert rule is not None
            assert (rule.name, rule.allow) == decides(documents, direction, packet), (packet, rule)


WEB = Packet("tcp", "10.224.64.9", "10.224.1.5", 40000, 80)
IN = Firewall("fw1", "/o", "net1", (FirewallRule(9, "inbound", False, name="no"),), nics=("nicb",))
SUBNET = Firewall("fw2", "/o", "net1", (FirewallRule(8, "inbound", True, name="yes"),), subnets=("10.224.1.0/24",))


@pytest.mark.parametrize(
    ("reason", "firewalls", "nic", "wanted"),
    [
        ("nobody guards it", [], B, []),
        ("another network's", [replace(IN, network="net2")], B, []),
        ("its own", [IN], B, [("nic", "no", False)]),
        ("in by the subnet's first", [IN, SUBNET], B, [("subnet", "yes", True), ("nic", "no", False)]),
        ("what is refused is not judged again", [replace(SUBNET, rules=IN.rules), IN], B, [("subnet", "no", False)]),
        ("no rule matches", [replace(IN, rules=())], B, [("nic", None, True)]),
        ("closed until its firewall comes", [SUBNET], replace(B, guarded=True), [("subnet", "yes", True),
                                                                              ("nic", None, False)]),
    ],
)  # fmt: skip
def test_who_is_asked(reason: str, firewalls: list[Firewall], nic: Nic, wanted: list[object]) -> None:
    found = judge(firewalls, nic, "inbound", WEB)
    assert [(v.level, v.rule and v.rule.name, v.allow) for v in found] == wanted, reason


def test_out_by_the_nics_first() -> None:
    out = replace(SUBNET, rules=(FirewallRule(8, "outbound", True, name="yes"),))
    own = replace(IN, rules=(FirewallRule(9, "outbound", True, name="own"),))
    assert [v.level for v in judge([out, own], B, "outbound", WEB)] == ["nic", "subnet"]


# --- packets ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LinuxFirewalls, Lane]]:
    wire = Wire(tmp_path_factory.mktemp("wire") / "run")
    links = wire.links()

    async def made() -> None:
        await links.ensure_network(Network("net1", "/owner/net1", (VIRTUAL,)))
        await links.ensure_nic(A)
        await links.ensure_nic(B)

    try:
        asyncio.run(made())
        lane = Lane(wire, "nodea", "nodeb", B.address)
        yield LinuxFirewalls(links), lane
        lane.close()
    finally:
        wire.wipe()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@given(st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_packets_do_as_is_told(lane: tuple[LinuxFirewalls, Lane], chance: random.Random) -> None:
    """Three hundred and more: out by one firewall and in by another."""
    firewalls, wire = lane
    out, into = rules(chance), rules(chance)
    sent = packets(chance, 25)
    guards = [firewall(out, "fw1", ("nica",)), firewall(into, "fw2", ("nicb",))]
    for each in guards:
        asyncio.run(firewalls.ensure_firewall(each))
    told = [all(v.allow for v in (*judge(guards, A, "outbound", p), *judge(guards, B, "inbound", p))) for p in sent]
    assert told == [decides(out, "outbound", p)[1] and decides(into, "inbound", p)[1] for p in sent]
    assert list(zip(sent, wire.arrive(sent), strict=True)) == list(zip(sent, told, strict=True))
