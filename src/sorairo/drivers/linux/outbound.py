"""Source addresses of what leaves: a chain for each way, and maps that lead to it from the address that asks.

What has several addresses spreads its machines over them; a machine keeps its one, for servers that know it by that.
"""

from __future__ import annotations

import ipaddress

from sorairo.drivers.linux.nft import Piece, chain, collection
from sorairo.drivers.linux.world import World
from sorairo.drivers.traffic import Outbound

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
            made.append(Piece(name, chain(name, _translate(way.addresses)), chain=True))
            merged = [str(each) for each in ipaddress.collapse_addresses(map(ipaddress.IPv4Network, way.sources))]
            sources += merged
            dispatch["out_rest" if spec.precedence else "out_first"] += [f"{each} : goto {name}" for each in merged]
    maps = "".join(collection("map", name, typed, dispatch[name]) for name, typed in MAPS.items())
    return [*made, Piece("outbound", collection("set", SOURCES, _SET, sources) + maps)]


def _translate(addresses: tuple[str, ...]) -> str:
    if len(addresses) == 1:
        return f"snat to {addresses[0]}"
    choices = ", ".join(f"{n} : {each}" for n, each in enumerate(addresses))
    return f"snat to jhash ip saddr mod {len(addresses)} seed {_SEED:#x} map {{ {choices} }}"
