"""Balancing in the kernel: a hash picks the backend of a new connection, conntrack keeps it.

Floating rules leave the packet as it is: the hash gives the connection a mark, the number of a NIC within its network,
and a routing table for each mark leads to that NIC. Marks hold for the way there only; answers take the ordinary
way, and either way the client's address is seen. Other rules rewrite the destination.

Each rule has a chain; maps lead from frontend to chain, so that a packet's cost does not grow with the rules.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable
from functools import lru_cache

from sorairo.drivers.linux import idle
from sorairo.drivers.linux.fabric import nic_link
from sorairo.drivers.linux.netlink import rule_preferences, table_links
from sorairo.drivers.linux.nft import Filled, Piece, chain, filled
from sorairo.drivers.linux.world import NicRecord, World
from sorairo.drivers.traffic import Balancer, BalancerRule

_PORT = "ipv4_addr . inet_proto . inet_service"
MAPS = {"lb_steer": _PORT, "lb_steer_all": "ipv4_addr", "lb_target": _PORT, "lb_target_all": "ipv4_addr"}
STEER = (
    "ct state new ip daddr . ip protocol . th dport vmap @lb_steer",
    "ct state new ip daddr vmap @lb_steer_all",
    "ct direction original ct mark != 0 meta mark set ct mark",
)
TARGET = ("ip daddr . ip protocol . th dport vmap @lb_target", "ip daddr vmap @lb_target_all")

_SEED = 0x50524149
_FIRST = 950
"""Preference of the routing rule by which unmarked packets pass the others over. Before it come `steering`'s."""
_TABLES = 1000
"""Routing table, and preference of its rule, for mark 0; the next for mark 1, and so on."""
_LAST = 30000
"""Preference of the rule that ends packets whose mark leads nowhere any more. The main table's is 32766."""
_MASK = 0x3FFF
MARKS = range(1, _MASK)


# --- rules ----------------------------------------------------------------------------------------------


def names(spec: Balancer) -> dict[str, str]:
    """The chain of each rule, by the rule's name."""
    return {rule.name: f"lb-{spec.id}.{hashlib.sha256(rule.name.encode()).hexdigest()[:12]}" for rule in spec.rules}


def pieces(world: World) -> list[Piece]:
    find = finder(world)
    dispatch: dict[str, list[str]] = {name: [] for name in MAPS}
    made = []
    for record in world.balancers.values():
        chains = names(record.spec)
        for rule in record.spec.rules:
            name = chains[rule.name]
            made.append(_piece(name, rule, _up(rule, record.down.get(rule.name, frozenset()), find)))
            key = f"{rule.frontend} . {rule.protocol} . {rule.port}" if rule.port else rule.frontend
            where = ("lb_steer" if rule.floating else "lb_target") + ("" if rule.port else "_all")
            dispatch[where].append(f"{key} : goto {name}")
    maps = (Filled("map", name, f"type {key} : verdict;", tuple(dispatch[name])) for name, key in MAPS.items())
    return [*made, filled("balancing", *maps)]


Up = tuple[tuple[str, int, int], ...]
"""Address, port and NIC's slot of each backend that gets connections."""


def _up(rule: BalancerRule, down: frozenset[str], find: Callable[[str], NicRecord | None]) -> Up:
    """Sorted, so that rules with the same backends and an affinity to clients send a client to the same of them."""
    up = sorted({(each.address, each.port) for each in rule.backends if each.address not in down})
    return tuple((address, port, nic.slot) for address, port in up if (nic := find(address)))


@lru_cache(maxsize=4096)
def _piece(name: str, rule: BalancerRule, up: Up) -> Piece:
    """Of hundreds of rules, one changes at a time."""
    return Piece(name, chain(name, *_choice(rule, up)), chain=True)


def _choice(rule: BalancerRule, found: Up) -> list[str]:
    """What the chain of one rule does."""
    if not found:
        return ["counter drop"]
    begin = ["counter", "" if rule.protocol == "udp" else idle.given(rule.idle)]
    if rule.floating:
        marks = _numbered([str(slot) for *_, slot in found])
        chosen = [f"{packets} ct mark set {key} map {marks}" for packets, key in _keys(rule, len(found))]
        return [*begin, *chosen, "meta mark set ct mark"]
    places = _numbered([f"{address} . {port or rule.port}" if rule.port else address for address, port, _ in found])
    return [*begin, *(f"{packets} dnat ip to {key} map {places}" for packets, key in _keys(rule, len(found)))]


def _numbered(choices: list[str]) -> str:
    return f"{{ {', '.join(f'{n} : {each}' for n, each in enumerate(choices))} }}"


def _keys(rule: BalancerRule, count: int) -> list[tuple[str, str]]:
    """(which packets, what is hashed of them): the latter without ports for protocols that have none."""

    def hashed(*fields: str) -> str:
        return f"jhash {' . '.join(('ip saddr', 'ip daddr', *fields))} mod {count} seed {_SEED:#x}"

    which = f"meta l4proto {rule.protocol}" if rule.protocol != "any" else ""
    if rule.affinity == "client":
        return [(which, hashed())]
    if rule.affinity == "client-protocol":
        return [(which, hashed("ip protocol"))]
    if rule.protocol != "any":
        ports = (f"{rule.protocol} sport", f"{rule.protocol} dport")
        return [(which, hashed("ip protocol", *ports))]
    return [
        ("meta l4proto { tcp, udp }", hashed("ip protocol", "th sport", "th dport")),
        ("meta l4proto != { tcp, udp }", hashed("ip protocol")),
    ]


def finder(world: World) -> Callable[[str], NicRecord | None]:
    """Which NIC has an address, or is routed it."""
    single: dict[str, NicRecord] = {}
    wide: list[tuple[ipaddress.IPv4Network, NicRecord]] = []
    for nic in world.nics.values():
        single[nic.spec.address] = nic
        for each in nic.spec.secondary:
            if "/" in each:
                wide.append((ipaddress.IPv4Network(each), nic))
            else:
                single[each] = nic

    def find(address: str) -> NicRecord | None:
        parsed = ipaddress.IPv4Address(address)
        return single.get(address) or next((nic for prefix, nic in wide if parsed in prefix), None)

    return find


# --- routes by mark -------------------------------------------------------------------------------------


def _rules(world: World) -> dict[int, str]:
    """Routing rules by preference: one for every NIC while anything floats, for a connection outlives its rule."""
    if not any(rule.floating for each in world.balancers.values() for rule in each.spec.rules):
        return {}
    marks = {
        _TABLES + nic.slot: f"fwmark {nic.slot}/{_MASK:#x} lookup {_TABLES + nic.slot}" for nic in world.nics.values()
    }
    unmarked = f"fwmark 0/{_MASK:#x}"
    return {_FIRST: f"{unmarked} lookup main", **marks, _LAST: f"not {unmarked} blackhole"}


def route_lines(world: World) -> list[str]:
    """`ip` lines that bring routing by mark in line in the namespace the thread is in."""
    wanted, now = _rules(world), _preferences()
    lines = [f"rule del pref {each}" for each in sorted(now - wanted.keys())]
    lines += [f"rule add pref {each} {wanted[each]}" for each in sorted(wanted.keys() - now)]
    if wanted:
        for nic in world.nics.values():
            way = f"via {nic.spec.address} dev {nic_link(nic.spec.id)}"
            lines.append(f"route replace default {way} onlink table {_TABLES + nic.slot}")
    return lines


def routes_stand(world: World) -> bool:
    """Whether routing by mark is as it should be, of the namespace the thread is in."""
    wanted = _rules(world)
    if wanted.keys() != _preferences():
        return False
    if not wanted:
        return True
    return table_links() >= {(_TABLES + nic.slot, nic_link(nic.spec.id)) for nic in world.nics.values()}


def _preferences() -> set[int]:
    return {each for each in rule_preferences() if _FIRST <= each < 32766}
