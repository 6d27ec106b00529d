"""Firewalls as chains: one for each direction of each, and maps that say whose link leads to which.

Both a NIC's own firewall and its subnet's must let a connection pass, so "allow" returns to the caller, and only
"deny" ends things. On its way out a connection meets the NIC's first, on its way in the subnet's.
"""

from __future__ import annotations

import ipaddress
import re

from sorairo.drivers.linux.fabric import nic_link
from sorairo.drivers.linux.nft import Piece, chain, collection
from sorairo.drivers.linux.world import World
from sorairo.drivers.traffic import Firewall, FirewallRule

MAPS = ("nic_out", "subnet_out", "subnet_in", "nic_in")
JUDGE = ("iifname vmap @nic_out", "iifname vmap @subnet_out", "oifname vmap @subnet_in", "oifname vmap @nic_in")
_UNSHOWN = re.compile(r"[^A-Za-z0-9_. -]")


def pieces(world: World) -> list[Piece]:
    return [*(_firewall(each) for each in world.firewalls.values()), _bindings(world)]


def rule_text(rule: FirewallRule) -> str:
    """One rule in nft's language, with a counter."""
    ports = rule.source_ports or rule.destination_ports
    words: list[str] = []
    if rule.protocol != "any":
        words.append(f"ip protocol {rule.protocol}")
    elif ports:
        words.append("meta l4proto { tcp, udp }")
    words += _prefixes("saddr", rule.sources) + _prefixes("daddr", rule.destinations)
    words += _ports("sport", rule.source_ports) + _ports("dport", rule.destination_ports)
    name = _UNSHOWN.sub("", rule.name)[:100]
    words.append(f'counter {"return" if rule.allow else "drop"} comment "{rule.priority} {name}"')
    return " ".join(words)


def _firewall(spec: Firewall) -> Piece:
    text, chains = "", []
    for direction, suffix in (("inbound", "in"), ("outbound", "out")):
        rules = sorted((r for r in spec.rules if r.direction == direction), key=lambda r: r.priority)
        chains.append(f"fw-{spec.id}.{suffix}")
        text += chain(chains[-1], *(rule_text(rule) for rule in rules))
    return Piece(f"fw-{spec.id}", text, tuple(chains))


def _bindings(world: World) -> Piece:
    elements: dict[str, list[str]] = {name: [] for name in MAPS}
    subnets = [(ipaddress.IPv4Network(prefix), each.id) for each in world.firewalls.values() for prefix in each.subnets]
    by_nic = {nic: each.id for each in world.firewalls.values() for nic in each.nics}
    for nic_id, record in world.nics.items():
        address = ipaddress.IPv4Address(record.spec.address)
        by_subnet = next((firewall for prefix, firewall in subnets if address in prefix), None)
        for level, firewall in (("nic", by_nic.get(nic_id)), ("subnet", by_subnet)):
            if firewall is not None:
                for way in ("in", "out"):
                    elements[f"{level}_{way}"].append(f'"{nic_link(nic_id)}" : jump fw-{firewall}.{way}')
    return Piece(
        "bindings", "".join(collection("map", name, "type ifname : verdict;", each) for name, each in elements.items())
    )


def _prefixes(field: str, prefixes: tuple[str, ...]) -> list[str]:
    merged = [str(each) for each in ipaddress.collapse_addresses(map(ipaddress.IPv4Network, prefixes))]
    return [] if not prefixes or merged == ["0.0.0.0/0"] else [f"ip {field} {_set(merged)}"]


def _ports(field: str, ranges: tuple[tuple[int, int], ...]) -> list[str]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    if not merged:
        return []
    return [f"th {field} {_set([str(first) if first == last else f'{first}-{last}' for first, last in merged])}"]


def _set(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{{ {', '.join(items)} }}"
