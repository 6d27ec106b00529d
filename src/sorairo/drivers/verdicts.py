"""What firewalls say of a packet: the rules of `drivers.traffic` as the kernel applies them, without asking it. Pure.

`tests/contracts/test_verdicts.py` holds this to real packets, and to Azure's words as a naive reader takes them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from sorairo.drivers.protocols import Nic
from sorairo.drivers.traffic import Firewall, FirewallRule

Direction = Literal["inbound", "outbound"]
Level = Literal["nic", "subnet"]
WITH_PORTS = ("tcp", "udp")


@dataclass(frozen=True, slots=True)
class Packet:
    """The first of a connection. Ports are of TCP and UDP; None is any, which only rules open to all match."""

    protocol: str
    """As in FirewallRule, but never `any`."""
    source: str
    destination: str
    source_port: int | None = None
    destination_port: int | None = None

    def to(self, destination: str, port: int | None) -> Packet:
        return replace(self, destination=destination, destination_port=port)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one firewall says. `rule`: the one that decided; None when none matched, which lets it pass, or when the
    NIC is closed until its firewall comes."""

    level: Level
    firewall: Firewall | None
    rule: FirewallRule | None
    allow: bool


def guards(firewalls: Iterable[Firewall], nic: Nic) -> dict[Level, Firewall]:
    """Those a NIC has: as itself, and by its subnet."""
    here = [each for each in firewalls if each.network == nic.network]
    address = ipaddress.IPv4Address(nic.address)
    found: dict[Level, Firewall] = {}
    for each in here:
        if nic.id in each.nics:
            found["nic"] = each
        if any(address in ipaddress.IPv4Network(prefix) for prefix in each.subnets):
            found.setdefault("subnet", each)
    return found


def judge(firewalls: Iterable[Firewall], nic: Nic, direction: Direction, packet: Packet) -> list[Verdict]:
    """The verdicts a packet meets, in order, up to the first that refuses it: in, the subnet's is asked first; out,
    the NIC's."""
    found = guards(firewalls, nic)
    order: tuple[Level, ...] = ("subnet", "nic") if direction == "inbound" else ("nic", "subnet")
    verdicts = []
    for level in order:
        firewall = found.get(level)
        if firewall is not None:
            rule = decisive(firewall.rules, direction, packet)
            verdicts.append(Verdict(level, firewall, rule, rule is None or rule.allow))
        elif level == "nic" and nic.guarded:
            verdicts.append(Verdict(level, None, None, False))
        if verdicts and not verdicts[-1].allow:
            break
    return verdicts


def decisive(rules: Iterable[FirewallRule], direction: Direction, packet: Packet) -> FirewallRule | None:
    """The rule of the lowest priority that matches."""
    found = [rule for rule in rules if rule.direction == direction and matches(rule, packet)]
    return min(found, key=lambda rule: rule.priority, default=None)


def matches(rule: FirewallRule, packet: Packet) -> bool:
    if rule.protocol not in ("any", packet.protocol):
        return False
    if (rule.source_ports or rule.destination_ports) and packet.protocol not in WITH_PORTS:
        return False
    return (
        _within(packet.source, rule.sources)
        and _within(packet.destination, rule.destinations)
        and _among(packet.source_port, rule.source_ports)
        and _among(packet.destination_port, rule.destination_ports)
    )


def _within(address: str, prefixes: tuple[str, ...]) -> bool:
    here = ipaddress.IPv4Address(address)
    return not prefixes or any(here in ipaddress.IPv4Network(prefix) for prefix in prefixes)


def _among(port: int | None, ranges: tuple[tuple[int, int], ...]) -> bool:
    return not ranges or (port is not None and any(first <= port <= last for first, last in ranges))
