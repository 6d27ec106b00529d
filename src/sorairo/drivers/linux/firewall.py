"""Firewalls as chains: one for each direction of each, and maps that say whose link leads to which.

Both a NIC's own firewall and its subnet's must let a connection pass, so "allow" returns to the caller, and only
"deny" ends things. On its way out a connection meets the NIC's first, on its way in the subnet's.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from sorairo.drivers.linux.fabric import nic_link
from sorairo.drivers.linux.nft import Piece, chain, collection
from sorairo.drivers.linux.world import World
from sorairo.drivers.traffic import Firewall, FirewallRule

MAPS = ("nic_out", "subnet_out", "subnet_in", "nic_in")
CLOSED = "closed"
"""Chain of NICs whose firewall has not come yet."""
JUDGE_OWN = ("oifname vmap @subnet_in", "oifname vmap @nic_in")
JUDGE = ("iifname vmap @nic_out", "iifname vmap @subnet_out", "oifname vmap @subnet_in", "oifname vmap @nic_in")
_UNSHOWN = re.compile(r"[^A-Za-z0-9_. -]")


def pieces(world: World) -> list[Piece]:
    return [*(piece for each in world.firewalls.values() for piece in _firewall(each)), _bindings(world)]


def rule_text(rule: FirewallRule) -> str:
    """One rule in nft's language, with a counter."""
    ports = rule.source_ports or rule.destination_ports
    words: list[str] = []
    if rule.protocol != "any":
        words.append(f"ip protocol {rule.protocol}")
    elif ports:
        words.append("meta l4proto { tcp, udp }")
    words += matching("saddr", rule.sources) + matching("daddr", rule.destinations)
    words += _ports("sport", rule.source_ports) + _ports("dport", rule.destination_ports)
    name = _UNSHOWN.sub("", rule.name)[:100]
    words.append(f'counter {"return" if rule.allow else "drop"} comment "{rule.priority} {name}"')
    return " ".join(words)


def names(spec: Firewall) -> tuple[str, str]:
    """Its chains, of what comes in and of what goes out."""
    return f"fw-{spec.id}.in", f"fw-{spec.id}.out"


@lru_cache(maxsize=64)
def _firewall(spec: Firewall) -> list[Piece]:
    made = []
    for direction, name in zip(("inbound", "outbound"), names(spec), strict=True):
        ordered = sorted((rule for rule in spec.rules if rule.direction == direction), key=lambda rule: rule.priority)
        made.append(Piece(name, chain(name, *map(rule_text, ordered)), chain=True))
    return made


def _bindings(world: World) -> Piece:
    elements: dict[str, list[str]] = {name: [] for name in MAPS}
    subnets = [(ipaddress.IPv4Network(prefix), each) for each in world.firewalls.values() for prefix in each.subnets]
    by_nic = {nic: each for each in world.firewalls.values() for nic in each.nics}
    for nic_id, record in world.nics.items():
        address = ipaddress.IPv4Address(record.spec.address)
        by_subnet = next((each for prefix, each in subnets if address in prefix), None)
        guards: dict[str, Firewall | None] = {"nic": by_nic.get(nic_id), "subnet": by_subnet}
        if record.spec.guarded and nic_id not in by_nic:
            for way in ("in", "out"):
                elements[f"nic_{way}"].append(f'"{nic_link(nic_id)}" : jump {CLOSED}')
        for level, guard in guards.items():
            if guard is not None:
                for way, name in zip(("in", "out"), names(guard), strict=True):
                    elements[f"{level}_{way}"].append(f'"{nic_link(nic_id)}" : jump {name}')
    return Piece(
        "bindings", "".join(collection("map", name, "type ifname : verdict;", each) for name, each in elements.items())
    )


def matching(field: str, prefixes: tuple[str, ...]) -> list[str]:
    """What a rule says to match `ip saddr` or `daddr` with any of the prefixes; nothing for all of them, or none."""
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
