"""Source addresses of what leaves: a chain for each way, and maps that lead to it from the address that asks.

What has several addresses spreads its machines over them; a machine keeps its one, for servers that know it by that.
Who has ports of its own has them at each address, and a connection gets any.
"""

from __future__ import annotations

import ipaddress

from sorairo.drivers.linux import idle
from sorairo.drivers.linux.nft import Piece, chain, collection
from sorairo.drivers.linux.world import World
from sorairo.drivers.traffic import Outbound, Way

_MAP = "type ipv4_addr : verdict; flags interval;"
MAPS = {"out_first": _MAP, "out_rest": _MAP}
"""By precedence."""
SOURCES = "out_sources"
_SET = "type ipv4_addr; flags interval; auto-merge;"
_SEED = 0x50524149


def names(spec: Outbound) -> tuple[str, ...]:
    """The chain of each way."""
    return tuple(f"out-{spec.id}.{n}" for n in range(len(spec.ways)))


def empty() -> str:
    """Text of the maps and the set, whose contents stay."""
    return collection("set", SOURCES, _SET) + "".join(collection("map", name, typed) for name, typed in MAPS.items())


def pieces(world: World) -> list[Piece]:
    made: list[Piece] = []
    sources: list[str] = []
    dispatch: dict[str, list[str]] = {name: [] for name in MAPS}
    for spec in world.outbounds.values():
        for name, way in zip(names(spec), spec.ways, strict=True):
            made.append(Piece(name, chain(name, *_forgotten(way), *_translate(way)), chain=True))
            merged = [str(each) for each in ipaddress.collapse_addresses(map(ipaddress.IPv4Network, way.sources))]
            sources += merged
            dispatch["out_rest" if spec.precedence else "out_first"] += [f"{each} : goto {name}" for each in merged]
    maps = "".join(collection("map", name, typed, dispatch[name]) for name, typed in MAPS.items())
    return [*made, Piece("outbound", collection("set", SOURCES, _SET, sources) + maps)]


def _forgotten(way: Way) -> list[str]:
    return [f"{idle.MIDWAY} counter drop", idle.given(way.idle)] if way.idle else []


def _translate(way: Way) -> list[str]:
    by_source = f"snat to {_chosen(way.addresses, 'ip saddr')}"
    if way.ports is None:
        return [by_source]
    first, last = way.ports
    each = _chosen(way.addresses, "ip saddr . ip daddr . th sport . th dport")
    return [f"meta l4proto {{ tcp, udp }} snat to {each}:{first}-{last}", by_source]


def _chosen(addresses: tuple[str, ...], by: str) -> str:
    if len(addresses) == 1:
        return addresses[0]
    choices = ", ".join(f"{n} : {each}" for n, each in enumerate(addresses))
    return f"jhash {by} mod {len(addresses)} seed {_SEED:#x} map {{ {choices} }}"
