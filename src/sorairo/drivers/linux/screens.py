"""Screens of machines on Linux: a table of its own in each machine's namespace, whose forward hook all guests' packets
pass, those of two guests of one machine too. kube-proxy has translated destinations by then.

    out, in    two base chains, one after the other, so that letting something out is not yet letting it in
    guests     maps from a guest's address to the chain of the policies about it, which ends in a drop
    policies   a chain for each, of openings that accept
    @g-, @s-   sets of addresses, and of services; when one changes, that set alone is written, and of it what differs
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sorairo.drivers.linux import nft
from sorairo.drivers.linux.fabric import INSIDE
from sorairo.drivers.linux.firewall import matching
from sorairo.drivers.linux.links import LinuxLinks
from sorairo.drivers.linux.nft import Piece
from sorairo.drivers.protocols import DriverError
from sorairo.drivers.screens import Opening, Screen, Side

TABLE = "sorairo-screen"
_NAME = re.compile(r"[A-Za-z0-9-]{1,32}\Z")
_SERVICE = re.compile(r"[A-Za-z0-9_-]{1,80}\Z")
_GUESTS = "type ipv4_addr : verdict;"
_GROUP, _SERVICES = "type ipv4_addr;", "type ipv4_addr . inet_service;"


class LinuxScreens:
    """`Screens` for the machines of `links`."""

    def __init__(self, links: LinuxLinks) -> None:
        self._ground = links.ground
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._written: dict[str, dict[str, frozenset[str]]] = {}
        """By machine and set: the elements it was last given. Of use only while the kernel holds that set's digest."""

    async def ensure_screen(self, spec: Screen) -> None:
        await self._ground.thread(self._ensure, _checked(spec))

    def _ensure(self, spec: Screen) -> None:
        with self._locks[spec.id], self._ground.ns.enter(spec.id):
            sets = _sets(spec)
            nft.sync(_pieces(spec, sets, self._written.get(spec.id, {})), table=TABLE)
            self._written[spec.id] = {name: each.elements for name, each in sets.items()}


@dataclass(frozen=True, slots=True)
class _Set:
    typed: str
    elements: frozenset[str]


def _sets(spec: Screen) -> dict[str, _Set]:
    found = {f"@g-{name}": _Set(_GROUP, members) for name, members in spec.groups.items()}
    for name, services in spec.services.items():
        found[f"@s-{name}"] = _Set(_SERVICES, frozenset(f"{address} . {port}" for address, port in services))
    return found


def pieces(spec: Screen) -> list[Piece]:
    """The whole table of a machine; nothing for an empty screen."""
    return _pieces(spec, _sets(spec), {})


def _pieces(spec: Screen, sets: Mapping[str, _Set], written: Mapping[str, frozenset[str]]) -> list[Piece]:
    sides = {"in": spec.inbound, "out": spec.outbound}
    if not any(side.guests or side.hold for side in sides.values()):
        return []
    found = [_base()]
    found += [_set_piece(name, each, written.get(name)) for name, each in sorted(sets.items())]
    for way, side in sides.items():
        for name, openings in sorted(side.policies.items()):
            rules = (rule for each in openings for rule in opening_rules(way, each))
            found.append(_chain(f"{way}-{name}", *rules))
        for combined in sorted(set(side.guests.values())):
            jumps = (f"jump {way}-{name}" for name in combined)
            found.append(_chain(_combined(way, combined), *jumps, "counter drop"))
    found += [_guests(way, side) for way, side in sides.items()]
    own = sorted({*spec.inbound.guests, *spec.outbound.guests})
    found.append(Piece("own", _collection("set", "own", _SERVICE_OF_ITSELF, [f"{each} . {each}" for each in own])))
    found.append(Piece("known", _collection("set", "known", _GROUP, sorted(spec.known))))
    found += [_held(way, side) for way, side in sides.items()]
    return found


_SERVICE_OF_ITSELF = "type ipv4_addr . ipv4_addr;"


def _base() -> Piece:
    """`own`: a guest that asks a Service and is chosen to answer itself."""
    text = (
        _collection("set", "own", _SERVICE_OF_ITSELF)
        + _collection("set", "known", _GROUP)
        + "".join(_collection("map", f"{way}-guests", _GUESTS) for way in ("out", "in"))
        + "".join(nft.chain(f"{way}.hold", table=TABLE) for way in ("out", "in"))
    )
    for priority, way, link, end in ((-2, "out", "iifname", "saddr"), (-1, "in", "oifname", "daddr")):
        text += nft.chain(
            way,
            "ct state established,related accept",
            f'{link} "{INSIDE}" accept',
            "ip saddr . ip daddr @own accept",
            f"ip {end} vmap @{way}-guests",
            f"jump {way}.hold",
            hook=f"type filter hook forward priority {priority}; policy accept;",
            table=TABLE,
        )
    return Piece("base", text)


def _guests(way: str, side: Side) -> Piece:
    elements = [f"{address} : goto {_combined(way, names)}" for address, names in sorted(side.guests.items())]
    return Piece(f"{way}-guests", _collection("map", f"{way}-guests", _GUESTS, elements))


def _held(way: str, side: Side) -> Piece:
    end = "saddr" if way == "out" else "daddr"
    rules = [f"ip {end} != @known counter drop"] if side.hold else []
    return Piece(f"{way}.hold", nft.chain(f"{way}.hold", *rules, table=TABLE))


def _combined(way: str, names: Iterable[str]) -> str:
    return f"{way}.{hashlib.sha256(' '.join(names).encode()).hexdigest()[:16]}"


def opening_rules(way: str, opening: Opening) -> list[str]:
    """Rules of one opening, in nft's language."""
    far = "saddr" if way == "in" else "daddr"
    peers = [""] if opening.anybody else []
    peers += [f"ip {far} @g-{opening.group}"] if opening.group is not None else []
    peers += [" ".join(matching(far, opening.blocks))] if opening.blocks else []
    ports = [""] if opening.any_port else []
    for protocol in sorted({each for each, *_ in opening.ports}):
        ranges = [
            f"{first}-{last}" if first < last else f"{first}" for p, first, last in opening.ports if p == protocol
        ]
        ports.append(f"meta l4proto {protocol} th dport {{ {', '.join(ranges)} }}")
    ports += [f"meta l4proto {protocol} ip daddr . th dport @s-{name}" for protocol, name in opening.services]
    return [" ".join(filter(None, (peer, port, "counter accept"))) for peer in peers for port in ports]


def _set_piece(name: str, wanted: _Set, written: frozenset[str] | None) -> Piece:
    text = _collection("set", name[1:], wanted.typed, sorted(wanted.elements))
    if written is None:
        return Piece(name, text)
    path = f"ip {TABLE} {name[1:]}"
    less, more = sorted(written - wanted.elements), sorted(wanted.elements - written)
    change = f"delete element {path} {{ {', '.join(less)} }}\n" if less else ""
    change += f"add element {path} {{ {', '.join(more)} }}\n" if more else ""
    before = Piece(name, _collection("set", name[1:], wanted.typed, sorted(written)))
    return Piece(name, text, change=(before.digest, change))


def _chain(name: str, *rules: str) -> Piece:
    return Piece(name, nft.chain(name, *rules, table=TABLE), chain=True)


def _collection(kind: str, name: str, typed: str, elements: list[str] | None = None) -> str:
    return nft.collection(kind, name, typed, elements, table=TABLE)


def _checked(spec: Screen) -> Screen:
    """Names end up in the kernel's; addresses are checked by nft itself."""
    for side in (spec.inbound, spec.outbound):
        for name in (*side.policies, *(each for names in side.guests.values() for each in names)):
            if not _NAME.match(name):
                raise DriverError(f"'{name}' is not a name for a policy")
            if name not in side.policies:
                raise DriverError(f"policy {name} is not there")
    for name in spec.groups:
        if not _NAME.match(name):
            raise DriverError(f"'{name}' is not a name for a group")
    for name in spec.services:
        if not _SERVICE.match(name):
            raise DriverError(f"'{name}' is not a name for a service")
    return spec
