"""TCP connections that were idle for too long: the kernel forgets them, and nothing takes them up again.

A rule gives its new connections a time of their own (`ct timeout`). What comes of a connection that conntrack has
forgotten looks like a new one that begins midway, without SYN: conntrack would take that up, and the same hash find the
same backend. So what begins midway at an end of a rule with such a time is dropped, or answered with a reset.

A reset goes back where the packet came from by that link's mark, for a floating frontend is no machine's address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from sorairo.drivers.linux.fabric import EDGE, nic_link
from sorairo.drivers.linux.nft import Filled, Piece, chain, collection, filled
from sorairo.drivers.linux.world import World

_PORTS, _HOSTS = "midway", "midway_all"
_SOURCES, _ADDRESSES, _SLOTS = "idle_sources", "idle_addresses", "slots"
_FORGOTTEN, _REFUSED, _TO, _FROM = "forgotten", "refused", "midway-to", "midway-from"
_Kind = Literal["set", "map"]
_COLLECTIONS: dict[str, tuple[_Kind, str, str]] = {
    _PORTS: ("map", _PORTS, "type ipv4_addr . inet_service : verdict;"),
    _HOSTS: ("map", _HOSTS, "type ipv4_addr : verdict;"),
    _SOURCES: ("set", _SOURCES, "type ipv4_addr; flags interval; auto-merge;"),
    _ADDRESSES: ("set", _ADDRESSES, "type ipv4_addr;"),
    _SLOTS: ("map", _SLOTS, "type ifname : mark;"),
}
PIECES = ("times", "ends", "idle")
MIDWAY = "ct state new tcp flags & (syn | rst) == 0"
STEER = f"{MIDWAY} jump {_TO}"
"""Before routing, for there may be no route to a frontend."""
FORWARD = f"{MIDWAY} jump {_FROM}"
"""After routing, for a reset sent before that needs a route to whom it answers, and that may be a frontend."""
ANSWERS = "meta l4proto icmp meta mark set 0"
"""Answers of the network's own have the mark of what they answer; errors about a packet go to who sent it."""


def base() -> str:
    """Text of what the rules of every network mention."""
    return (
        "".join(collection(*each) for each in _COLLECTIONS.values())
        + chain(_FORGOTTEN, "counter drop")
        + chain(_REFUSED, f"meta mark set iifname map @{_SLOTS}", "counter reject with tcp reset")
        + chain(
            _TO,
            f"ip daddr . tcp dport vmap @{_PORTS}",
            f"ip daddr vmap @{_HOSTS}",
            f"ip daddr @{_ADDRESSES} goto {_REFUSED}",
        )
        + chain(
            _FROM,
            f"ip saddr . tcp sport vmap @{_PORTS}",
            f"ip saddr vmap @{_HOSTS}",
            f'oifname "{EDGE}" ip saddr @{_SOURCES} goto {_REFUSED}',
        )
    )


def times(world: World) -> Piece:
    """A timeout of each length that is asked for. They stay: connections have them that outlive their rules."""
    found = {rule.idle for each in world.balancers.values() for rule in each.spec.rules}
    found |= {way.idle for each in world.outbounds.values() for way in each.ways}
    lines = (
        f"add ct timeout ip sorairo idle-{each} {{ protocol tcp; l3proto ip; policy = {{ established : {each} }}; }}\n"
        for each in sorted(found - {0})
    )
    return Piece("times", "".join(lines))


def given(seconds: int) -> str:
    """A rule's text that gives a new connection its time; empty for the kernel's own."""
    return f'meta l4proto tcp ct timeout set "idle-{seconds}"' if seconds else ""


def ends(world: World) -> list[Piece]:
    """Whose packets are of a forgotten connection if they begin midway."""
    ports: dict[str, str] = {}
    hosts: dict[str, str] = {}
    for record in world.balancers.values():
        for rule in record.spec.rules:
            if not rule.idle or rule.protocol == "udp":
                continue
            verdict = _REFUSED if rule.reset else _FORGOTTEN
            places = [(rule.frontend, rule.port)]
            if not rule.floating:
                places += [(each.address, each.port or rule.port) for each in rule.backends]
            for address, port in places:
                into, key = (ports, f"{address} . {port}") if port else (hosts, address)
                if into.get(key) != _REFUSED:
                    into[key] = verdict
    ways = [way for each in world.outbounds.values() for way in each.ways if way.idle and way.reset]
    slots = [f'"{nic_link(i)}" : {nic.slot}' for i, nic in world.nics.items()]
    sources = sorted({source for way in ways for source in way.sources})
    return [
        filled(
            "ends",
            _all(_PORTS, _verdicts(ports)),
            _all(_HOSTS, _verdicts(hosts)),
            _all(_ADDRESSES, sorted({address for way in ways for address in way.addresses})),
            _all(_SLOTS, slots if ports or hosts else []),
        ),
        Piece("idle", collection(*_COLLECTIONS[_SOURCES], sources)),
    ]


def _all(name: str, elements: Iterable[str]) -> Filled:
    kind, _, typed = _COLLECTIONS[name]
    return Filled(kind, name, typed, tuple(elements))


def _verdicts(found: Mapping[str, str]) -> list[str]:
    return [f"{key} : goto {verdict}" for key, verdict in found.items()]
