"""What of the fabric stands: specs compared with the kernel, namespace by namespace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sorairo.drivers.linux import fabric, nft, rules
from sorairo.drivers.linux.ground import Ground
from sorairo.drivers.linux.iproute import Route, route, routes
from sorairo.drivers.linux.netns import Namespaces, address_of, link_up
from sorairo.drivers.linux.world import LegRecord, World
from sorairo.drivers.protocols import LinkState, Network, Nic


def edge_linked(ns: Namespaces, outside: str, host_address: str, edge_address: str, public_range: str) -> bool:
    """Whether host and edge reach each other. Called in the host's namespace."""
    if not ns.exists(fabric.EDGE) or address_of(outside) != host_address or not link_up(outside):
        return False
    if route(public_range, outside, edge_address) not in routes():
        return False
    with ns.enter(fabric.EDGE):
        return address_of(fabric.HOST) == edge_address and route(host_address, fabric.HOST) in routes()


def observe(ground: Ground, *, edge: bool) -> LinkState:
    """Sort the recorded specs into those that stand whole and the others. `edge`: whether it stands; without it only
    NICs can."""
    middle = _View(ground.ns, fabric.EDGE) if edge else None
    networks = ground.networks.all()
    views = {each: _View(ground.ns, each) for each in networks}
    state = LinkState({}, {}, {})
    for each, network in networks.items():
        if middle is not None and ground.ns.exists(each) and _network_stands(ground.world(each), middle, views[each]):
            state.networks[each] = network
        else:
            state.partial[each] = network.owner
    for each, nic in ground.nics.all().items():
        if nic.spec.network in views and _nic_stands(nic.spec, views[nic.spec.network], ground.ns):
            state.nics[each] = nic.spec
        else:
            state.partial[each] = nic.spec.owner
    for each, leg in ground.legs.all().items():
        if middle is not None and _leg_stands(leg, middle, networks, views, ground):
            state.legs[each] = leg.spec
        else:
            state.partial[each] = leg.spec.owner
    return state


class _View:
    """One namespace as it was found: routes and rules read once, links asked for one by one."""

    def __init__(self, ns: Namespaces, name: str) -> None:
        self._ns, self._name = ns, name
        self.routes: set[Route] = set()
        self._standing: dict[str, str] = {}
        if ns.exists(name):
            with ns.enter(name):
                self.routes, self._standing = routes(), nft.standing()

    def has(self, piece: nft.Piece) -> bool:
        return self._standing.get(piece.name) == piece.digest

    def has_link(self, link: str, address: str) -> bool:
        if not self._ns.exists(self._name):
            return False
        with self._ns.enter(self._name):
            return address_of(link) == address and link_up(link)


def _network_stands(world: World, edge: _View, own: _View) -> bool:
    link = fabric.network_link(world.network.id)
    snat = world.network.snat
    return (
        own.routes >= fabric.network_routes(str(world.public_range))
        and (snat is None or route(snat, link, fabric.DOWNLINK) in edge.routes)
        and own.has(rules.base(world))
        and own.has_link(fabric.EDGE, fabric.DOWNLINK)
        and edge.has_link(link, fabric.UPLINK)
    )


def _nic_stands(spec: Nic, network: _View, ns: Namespaces) -> bool:
    if not network.routes >= fabric.nic_routes(spec) or not network.has_link(fabric.nic_link(spec.id), spec.gateway):
        return False
    way = {route("0.0.0.0/0", fabric.INSIDE, spec.gateway)}
    return _inside_stands(ns, spec.namespace, spec.address, way, rules.nic(spec))


def _leg_stands(
    record: LegRecord, edge: _View, networks: Mapping[str, Network], views: Mapping[str, _View], ground: Ground
) -> bool:
    spec, link = record.spec, fabric.leg_link(record.spec.id)
    if route(spec.public_address, link) not in edge.routes or not edge.has_link(link, fabric.UPLINK):
        return False
    inside = {route("0.0.0.0/0", fabric.INSIDE, fabric.UPLINK)}
    if spec.network is not None:
        if spec.network not in networks:
            return False
        view = views[spec.network]
        if route(record.own, link) not in view.routes or not view.has_link(link, record.near):
            return False
        inside |= {route(to, fabric.NETWORK, via) for to, via in fabric.leg_hops(record, networks[spec.network])}
    return _inside_stands(ground.ns, spec.namespace, spec.public_address, inside, ground.leg_rules(record))


def _inside_stands(
    ns: Namespaces, namespace: str, address: str, wanted: set[Route], pieces: Sequence[nft.Piece] = ()
) -> bool:
    """Whether a machine's or leg's own side is as it should be."""
    if not ns.exists(namespace):
        return False
    with ns.enter(namespace):
        linked = address_of(fabric.INSIDE) == address and link_up(fabric.INSIDE) and routes() >= wanted
        return linked and nft.standing() == {piece.name: piece.digest for piece in pieces}
