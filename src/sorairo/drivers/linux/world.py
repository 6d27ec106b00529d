"""Everything one network's rules and routes are made from: its records, read together."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from sorairo.drivers.naming import View
from sorairo.drivers.private_links import PrivateLink
from sorairo.drivers.protocols import Leg, Network, Nic
from sorairo.drivers.routing import Peering, RouteTable
from sorairo.drivers.traffic import Balancer, Firewall, Outbound, PublicAddress

LEGS = ipaddress.IPv4Network("169.254.192.0/18")
"""A /30 each for the legs of one network. Clear of 169.254.169.254 and of the 169.254.1.1 that CNI plugins like."""
LEG_SLOTS = LEGS.num_addresses // 4
_VIEWS = ipaddress.IPv4Network("169.254.128.0/19")
"""A /30 each for the name server's links to networks."""
VIEW_SLOTS = _VIEWS.num_addresses // 4
_PRIVATE = ipaddress.IPv4Network("169.254.160.0/20")
"""A /30 each for private links, of the whole installation: a leg may have several, and each network too."""
PRIVATE_SLOTS = range(_PRIVATE.num_addresses // 4)


@dataclass(frozen=True, slots=True)
class NicRecord:
    """`slot`: the NIC's number within its network, from 1; what a balanced connection's mark names it by."""

    spec: Nic
    slot: int


@dataclass(frozen=True, slots=True)
class LegRecord:
    """`slot`: which /30 the leg has in its network, from 0; -1 without network."""

    spec: Leg
    slot: int

    @property
    def near(self) -> str:
        """The network's address on the leg's link."""
        return str(LEGS[self.slot * 4 + 1])

    @property
    def own(self) -> str:
        """The leg's address there: what the network's machines see it come from."""
        return str(LEGS[self.slot * 4 + 2])


@dataclass(frozen=True, slots=True)
class BalancerRecord:
    spec: Balancer
    down: dict[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ViewRecord:
    """`slot`: which /30 the network has at the name server, from 0."""

    spec: View
    slot: int

    @property
    def near(self) -> str:
        """The network's address on their link."""
        return str(_VIEWS[self.slot * 4 + 1])

    @property
    def server(self) -> str:
        """Where the name server answers this network alone."""
        return str(_VIEWS[self.slot * 4 + 2])


@dataclass(frozen=True, slots=True)
class PrivateRecord:
    """`slot`: which /30 the link has, from 0."""

    spec: PrivateLink
    slot: int

    @property
    def near(self) -> str:
        """The network's address on it: what the leg sees connections come from."""
        return str(_PRIVATE[self.slot * 4 + 1])

    @property
    def far(self) -> str:
        """The leg's."""
        return str(_PRIVATE[self.slot * 4 + 2])


@dataclass(frozen=True, slots=True)
class RouteRecord:
    """`slot`: the table's number within the installation, from 1."""

    spec: RouteTable
    slot: int


@dataclass(frozen=True, slots=True)
class Peer:
    """A network that this one is joined to."""

    half: Peering
    """This one's."""
    other: Peering
    prefixes: tuple[str, ...]
    tables: Mapping[str, RouteRecord] = field(default_factory=dict)
    """The peer's, whose hops may be machines here."""
    beyond: tuple[str, ...] = ()
    """Prefixes of all that the peer is joined to."""
    private: tuple[str, ...] = ()
    """Addresses of the peer that private links have."""


@dataclass(frozen=True, slots=True)
class World:
    network: Network
    public_range: ipaddress.IPv4Network
    published: tuple[tuple[str, int], ...] = ()
    """Protocol and port of what machines may reach of the host."""
    nics: Mapping[str, NicRecord] = field(default_factory=dict)
    firewalls: Mapping[str, Firewall] = field(default_factory=dict)
    balancers: Mapping[str, BalancerRecord] = field(default_factory=dict)
    publics: Mapping[str, PublicAddress] = field(default_factory=dict)
    outbounds: Mapping[str, Outbound] = field(default_factory=dict)
    tables: Mapping[str, RouteRecord] = field(default_factory=dict)
    peers: tuple[Peer, ...] = ()
    legs: tuple[Leg, ...] = ()
    """That go by a table of routes."""
    view: ViewRecord | None = None
    private: tuple[str, ...] = ()
    """Addresses that private links have."""

    @property
    def routed(self) -> bool:
        """Whether anything but its own routes decides where packets go."""
        return bool(self.balancers or self.tables or any(peer.tables for peer in self.peers))

    @property
    def host(self) -> str:
        """The host's own address in the public range."""
        return str(self.public_range[1])

    def public_addresses(self) -> list[str]:
        """Those the edge routes to this network."""
        found = {self.network.snat} if self.network.snat else set()
        found |= {rule.frontend for each in self.balancers.values() for rule in each.spec.rules}
        found |= {each.public_address for each in self.publics.values()}
        found |= {address for each in self.outbounds.values() for way in each.ways for address in way.addresses}
        return sorted(each for each in found if ipaddress.IPv4Address(each) in self.public_range)
