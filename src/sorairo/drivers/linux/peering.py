"""Two networks joined by a link: routes to each other's prefixes, and rules for what comes by it."""

from __future__ import annotations

from sorairo.drivers.linux.fabric import EDGE, PEER, mac, peer_hops, peer_link
from sorairo.drivers.linux.iproute import Route, route, route_lines
from sorairo.drivers.linux.nft import Piece, chain, collection
from sorairo.drivers.linux.world import Peer, World

_MAP = "peers"
FORWARD = (
    'iifname "p*" oifname "p*" drop comment "peers of peers"',
    f'iifname "p*" oifname "{EDGE}" drop comment "a peer leaves by its own edge"',
    f"iifname vmap @{_MAP}",
)


def name(half_id: str) -> str:
    """The chain of what comes from a peer."""
    return f"peer-{half_id}"


def empty() -> str:
    return collection("map", _MAP, "type ifname : verdict;")


def pieces(world: World) -> list[Piece]:
    made, elements = [], []
    for peer in world.peers:
        chain_name = name(peer.half.id)
        own = [f"ip saddr {{ {', '.join(peer.prefixes)} }} return"] if peer.prefixes else []
        rules = [] if peer.half.forwarded else [*own, 'counter drop comment "forwarded"']
        made.append(Piece(chain_name, chain(chain_name, *rules), chain=True))
        elements.append(f'"{peer_link(peer.half.id)}" : jump {chain_name}')
    return [*made, Piece("peering", collection("map", _MAP, "type ifname : verdict;", elements))]


def lines(peer: Peer, now: set[Route]) -> list[str]:
    """`ip` lines inside a network for its link to a peer. `now`: routes that are there."""
    link, other = peer_link(peer.half.id), peer_link(peer.other.id)
    stale = [f"route del {each.words()}" for each in now - wanted(peer) if each.link == link]
    setup = [
        f"link set {link} address {mac(link)}",
        f"link set {link} addrgenmode none up",
        f"neigh replace {PEER} lladdr {mac(other)} dev {link} nud permanent",
    ]
    return [*stale, *setup, *route_lines(peer_hops(peer), link)]


def wanted(peer: Peer) -> set[Route]:
    return {route(to, peer_link(peer.half.id), via) for to, via in peer_hops(peer)}
