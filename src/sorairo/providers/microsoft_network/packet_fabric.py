"""What stands on the host, and what a network does with a packet by it: pure.

As in the kernel, a table of routes goes before what a network routes itself; a mark does not cross a peering, so a hub
has its spokes' tables for what comes from their subnets (`drivers.routing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from sorairo.drivers.protocols import LinkState, Nic
from sorairo.drivers.routing import Hop as RouteHop
from sorairo.drivers.routing import Peering, RouteTable
from sorairo.drivers.traffic import BalancerRule, BalancerState, Firewall, Outbound, PublicAddress
from sorairo.drivers.verdicts import Packet
from sorairo.engine.ids import parse_id


@dataclass(frozen=True, slots=True)
class Place:
    """Where a packet is: in a network, where it came by a machine's link or by a peering; or outside of all ('')."""

    network: str = ""
    sender: Nic | None = None
    peer: str = ""
    """The network it came from."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a table of routes says of a packet, where that is not what the network would do itself."""

    table: RouteTable
    hop: RouteHop
    way: Literal["out", "nowhere", "appliance", "peer"]
    appliance: Nic | None = None
    """Whose machine gets it; of `nowhere`, one that may not forward it."""
    network: str = ""
    """Of `peer`: where the appliance is."""


@dataclass(frozen=True, slots=True)
class Fabric:
    """What stands, at one moment."""

    links: LinkState
    firewalls: Sequence[Firewall] = ()
    balancers: Sequence[BalancerState] = ()
    publics: Sequence[PublicAddress] = ()
    outbounds: Sequence[Outbound] = ()
    peerings: Sequence[Peering] = ()
    tables: Sequence[RouteTable] = ()

    def nic_at(self, address: str, network: str) -> Nic | None:
        """Whose address it is, in one network; '' for any."""
        return next(
            (
                nic
                for nic in self.links.nics.values()
                if network in ("", nic.network) and (nic.address == address or _within(address, nic.secondary))
            ),
            None,
        )

    def balanced(
        self, packet: Packet, network: str, *, public: bool = True
    ) -> list[tuple[BalancerState, BalancerRule]]:
        """The rule of a balancer that takes a packet: of one port before one of all. `network`: where it is; private
        frontends (not `public`) are of one network."""
        found = [
            (state, rule)
            for state in self.balancers
            for rule in state.spec.rules
            if rule.frontend == packet.destination
            and (public or state.spec.network == network)
            and (not rule.port or (rule.protocol, rule.port) == (packet.protocol, packet.destination_port))
        ]
        near = [each for each in found if each[0].spec.network == network] or found
        return sorted(near, key=lambda each: not each[1].port)[:1]

    def public(self, address: str) -> PublicAddress | None:
        """Whose own public address it is."""
        return next((each for each in self.publics if each.public_address == address), None)

    def translated(self, packet: Packet, network: str) -> bool:
        """Whether a network gives it another destination before it routes it."""
        own = self.public(packet.destination)
        return (own is not None and own.network == network) or any(
            state.spec.network == network and not rule.floating for state, rule in self.balanced(packet, network)
        )

    def leaves_as(self, nic: Nic, source: str) -> tuple[str, ...]:
        """The addresses, one of which a machine's connections have beyond the edge; none: nothing leaves."""
        if nic.overlay and _within(source, [nic.overlay]):
            source = nic.address
        ways: dict[int, tuple[str, ...]] = {}
        for each in self.outbounds:
            for way in each.ways:
                if each.network == nic.network and _within(source, way.sources):
                    ways.setdefault(each.precedence, way.addresses)
        own = [each.public_address for each in self.publics if (each.network, each.address) == (nic.network, source)]
        network = self.links.networks.get(nic.network)
        default = (network.snat,) if network and network.snat and not _within(source, network.private) else ()
        return ways.get(0) or tuple(own) or ways.get(1) or default

    # --- routes ----------------------------------------------------------------------------------------

    def prefixes(self, network: str) -> tuple[str, ...]:
        found = self.links.networks.get(network)
        return found.prefixes if found else ()

    def peers(self, network: str) -> list[str]:
        """Networks with which both halves of a peering stand."""
        there = {(each.network, each.remote) for each in self.peerings}
        return [each.remote for each in self.peerings if each.network == network and (each.remote, network) in there]

    def half(self, network: str, remote: str) -> Peering | None:
        return next((each for each in self.peerings if (each.network, each.remote) == (network, remote)), None)

    def peer_with(self, address: str, network: str) -> str | None:
        """The peer of a network that has an address in its prefixes."""
        return next((each for each in self.peers(network) if _within(address, self.prefixes(each))), None)

    def turn(self, place: Place, packet: Packet) -> Turn | None:
        """None: nothing but the network's own routes."""
        table = self._table(place, packet)
        if table is None:
            return None
        home = place.peer or place.network
        system = [*self.prefixes(home), *(prefix for peer in self.peers(home) for prefix in self.prefixes(peer))]
        if not place.peer:
            system += [nic.overlay for nic in self.links.nics.values() if nic.network == home and nic.overlay]
        hop = _longest(table.hops, system, packet.destination)
        if hop is None or hop.to == "network" or (hop.to == "edge" and place.peer):
            return None
        if hop.to in ("edge", "nowhere"):
            return Turn(table, hop, "out" if hop.to == "edge" else "nowhere")
        appliance = self.nic_at(hop.to, place.network)
        if appliance is not None and _within(packet.destination, appliance.secondary):
            return None  # Its own guest's: no station on the way.
        if appliance is not None and appliance.forwarding:
            return Turn(table, hop, "appliance", appliance)
        if appliance is None and not place.peer and (peer := self.peer_with(hop.to, place.network)):
            return Turn(table, hop, "peer", network=peer)
        if place.peer and appliance is None and not _within(hop.to, self.prefixes(place.network)):
            return None
        # What is for a machine that does not forward still reaches it.
        return None if packet.destination == hop.to else Turn(table, hop, "nowhere", appliance)

    def _table(self, place: Place, packet: Packet) -> RouteTable | None:
        """That of the subnet of who sent it."""
        home = place.peer or place.network
        source = packet.source if place.peer else place.sender.address if place.sender else None
        if source is None:
            return None
        return next(
            (each for each in self.tables if each.network == home and each.hops and _within(source, each.subnets)), None
        )


def with_guests(links: LinkState, tables: Iterable[RouteTable]) -> LinkState:
    """Machines with the addresses of an overlay that tables of routes lead to them by, as if they were their own:
    nobody but such tables says whose guests have them (kubenet)."""
    found: dict[tuple[str, str], list[str]] = {}
    for table in tables:
        for hop in table.hops:
            found.setdefault((table.network, hop.to), []).append(hop.prefix)
    nics = {}
    for id, nic in links.nics.items():
        overlay = IPv4Network(nic.overlay) if nic.overlay else None
        led = dict.fromkeys(found.get((nic.network, nic.address), ())) if overlay else {}
        guests = [each for each in led if overlay and IPv4Network(each).subnet_of(overlay)]
        nics[id] = replace(nic, secondary=(*nic.secondary, *guests)) if guests else nic
    return replace(links, nics=nics)


def machine_of(nic: Nic) -> str:
    """Id of what has the interface: an instance of a scale set; of one that stands by itself, its own."""
    parent = parse_id(nic.owner).parent
    return parent if "/providers/" in parent else nic.owner


def _longest(hops: Iterable[RouteHop], system: Iterable[str], destination: str) -> RouteHop | None:
    """None: a network's own, of a longer prefix than any hop's; or none at all."""
    rows = [(IPv4Network(prefix).prefixlen, 0, RouteHop(prefix, "network")) for prefix in system]
    rows += [(IPv4Network(hop.prefix).prefixlen, 1, hop) for hop in hops]
    found = [row for row in rows if IPv4Address(destination) in IPv4Network(row[2].prefix)]
    return max(found, key=lambda row: row[:2])[2] if found else None


def _within(address: str, prefixes: Iterable[str]) -> bool:
    here = IPv4Address(address)
    return any(here in IPv4Network(each) for each in prefixes)
