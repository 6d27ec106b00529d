"""What network policies say of a packet, as `nft` shows a node's screen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sorairo.drivers.verdicts import Packet
from sorairo.screened import Screened, chain_name, screened

WEB, BOX = "10.244.0.5", "10.244.1.7"
SETS = {("g-office", BOX), ("s-tcp-http", f"{WEB} . 80"), ("in-guests", WEB)}
CHAINS = {
    "in.both": ["jump in-deny", "jump in-office", "counter packets 1 bytes 60 drop"],
    "in-deny": [],
    "in-office": [
        "ip saddr @g-office tcp dport { 80, 443-450 } counter packets 0 bytes 0 accept",
        "ip saddr { 203.0.113.0/24, 198.51.100.1-198.51.100.9 } counter packets 0 bytes 0 accept",
        "ip saddr @g-office udp dport 53 counter packets 0 bytes 0 accept",
        "ip saddr 192.0.2.1 ip daddr . tcp dport @s-tcp-http counter packets 0 bytes 0 accept",
    ],
}


async def nft(words: str) -> str | None:
    if words.startswith("list"):
        chain = words.rsplit(" ", 1)[1]
        rules = "\n".join(f"\t\t{rule}" for rule in CHAINS[chain])
        return f"table ip sorairo-screen {{\n\tchain {chain} {{\n{rules}\n\t}}\n}}\n"
    name, _, element = words.removeprefix("get element ip sorairo-screen ").partition(" ")
    element = element.strip("{} ")
    return f"elements = {{ {element} : goto in.both }}" if (name, element) in SETS else None


ASKED = Packet("tcp", BOX, WEB, 40000, 80)
OPEN, SHUT = Screened(("deny", "office"), "office"), Screened(("deny", "office"), "")


@pytest.mark.parametrize(
    ("reason", "packet", "wanted"),
    [
        ("of the group, one of the ports", ASKED, OPEN),
        ("in a range of ports", replace(ASKED, destination_port=445), OPEN),
        ("another port", replace(ASKED, destination_port=81), SHUT),
        ("the same port of another protocol", replace(ASKED, protocol="udp"), SHUT),
        ("another protocol's port", replace(ASKED, protocol="udp", destination_port=53), OPEN),
        ("of no group", replace(ASKED, source="10.244.1.8"), SHUT),
        ("of a block, any port", replace(ASKED, source="203.0.113.9", destination_port=7), OPEN),
        ("of a range", replace(ASKED, source="198.51.100.5", protocol="udp"), OPEN),
        ("a named port", replace(ASKED, source="192.0.2.1"), OPEN),
        ("not the named port", replace(ASKED, source="192.0.2.1", destination_port=81), SHUT),
        ("to itself", replace(ASKED, source=WEB), None),
    ],
)
async def test_what_policies_say(reason: str, packet: Packet, wanted: Screened | None) -> None:
    assert await screened(nft, "in", packet.destination, packet) == wanted, reason


async def test_a_pod_that_no_policy_is_about_is_open() -> None:
    assert await screened(nft, "in", BOX, ASKED.to(BOX, 80)) is None


def test_chains_are_called_as_the_agent_calls_them() -> None:
    from sorairo.cluster.policy.compiled import _part, _World
    from sorairo.cluster.policy.objects import Policy

    policy = Policy.__new__(Policy)
    for key, value in (("namespace", "shop"), ("name", "deny")):
        object.__setattr__(policy, key, value)
    assert _part(_World({}, {}), policy, ()).name == chain_name("shop", "deny")
