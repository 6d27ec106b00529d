"""What passes through the links of a network, as small protocols: firewalls, balancers, probes, and the addresses that
what leaves comes from.

They follow the rules of `protocols`: specs carry `id` and `owner`, `ensure_*` and `remove_*` are idempotent and may be
killed half-way, failures raise `DriverError`. Each is about one network, which cannot be removed before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    from sorairo.drivers.private_links import PrivateLinks
    from sorairo.drivers.routing import Peerings, RouteTables

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Standing(Generic[T]):
    """What stands on the host, by id: `whole` as the spec says, `partial` only in part (with its owner)."""

    whole: dict[str, T] = field(default_factory=dict)
    partial: dict[str, str] = field(default_factory=dict)


# --- firewalls: which new connections a network lets through ----------------------------------------------


@dataclass(frozen=True, slots=True)
class FirewallRule:
    """Judges new connections; the lowest `priority` that matches decides. Empty tuples match everything.

    A connection is seen as it travels inside the network: from its private source, to the address it has after
    balancing (the frontend's with `floating`, else the backend's).
    """

    priority: int
    direction: Literal["inbound", "outbound"]
    allow: bool
    protocol: Literal["tcp", "udp", "icmp", "esp", "ah", "any"] = "any"
    sources: tuple[str, ...] = ()
    """IPv4 addresses and CIDRs; names of services have been resolved. So for `destinations`."""
    destinations: tuple[str, ...] = ()
    source_ports: tuple[tuple[int, int], ...] = ()
    """First and last, both included. With protocol `any`, ports match TCP and UDP. So for `destination_ports`."""
    destination_ports: tuple[tuple[int, int], ...] = ()
    name: str = ""
    """Shown beside the rule's counter on the host."""


@dataclass(frozen=True, slots=True)
class Firewall:
    """Rules and what they guard, within one network. What no rule matches passes: a default is a rule of its own.

    A NIC is guarded by at most one firewall as itself and one by its subnet; a connection must pass both, at either
    end. What NICs and subnets do not have yet may be named already. Between pods of one NIC nothing is judged, nor
    what a leg (a control plane) asks of the network; but probes are, as coming from 168.63.129.16.
    """

    id: str
    owner: str
    network: str
    rules: tuple[FirewallRule, ...]
    nics: tuple[str, ...] = ()
    """Ids."""
    subnets: tuple[str, ...] = ()
    """CIDRs: guards each NIC whose own address is within, and all that comes and goes by it."""


class Firewalls(Protocol):
    """Stateful packet filters. A change is atomic and holds for new connections; those there are keep flowing."""

    async def ensure_firewall(self, spec: Firewall) -> None:
        """DriverError when its network is not there, or something it names is guarded by another already."""
        ...

    async def remove_firewall(self, firewall_id: str) -> None: ...
    async def observe_firewalls(self) -> Standing[Firewall]: ...


# --- balancers: one address, many machines ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a rule may send a connection: an address a NIC of the network has or is routed."""

    address: str
    port: int = 0
    """0: the port that was asked for. Of no effect with `floating`."""


@dataclass(frozen=True, slots=True)
class BalancerRule:
    """One frontend port. The client's address is always kept."""

    name: str
    frontend: str
    """From the public range, or an address of the network's that no NIC has."""
    protocol: Literal["tcp", "udp", "any"]
    port: int
    """0 with protocol `any`: every port and protocol."""
    backends: tuple[Backend, ...]
    floating: bool = False
    """The machine gets packets as they came, addressed to the frontend. Otherwise to the backend's address and port."""
    affinity: Literal["connection", "client", "client-protocol"] = "connection"
    """What picks the backend: all five of addresses, ports and protocol; the two addresses; those and the protocol."""
    idle: int = 0
    """Seconds without a packet after which a TCP connection is forgotten, and ends: what comes of it after that is
    dropped. 0: the system's own time, and what comes later may take it up again. A change is for new connections."""
    reset: bool = False
    """What comes of a forgotten connection is answered with a reset, at either end, instead."""


@dataclass(frozen=True, slots=True)
class Balancer:
    """Rules of one balancer. Its public frontends are reached from the host, other networks, legs and the network
    itself; private ones from the network and its legs. A machine does not reach itself by a balancer (nor on Azure)."""

    id: str
    owner: str
    network: str
    rules: tuple[BalancerRule, ...]


@dataclass(frozen=True, slots=True)
class BalancerState:
    spec: Balancer
    down: Mapping[str, frozenset[str]]
    """Rule name to the backend addresses that get no new connections."""


class Balancers(Protocol):
    """Spreads new connections. One that was made stays with its backend, whatever changes, while that backend has
    a NIC. Whom nobody can serve is dropped."""

    async def ensure_balancer(self, spec: Balancer) -> None:
        """Keeps what is known of backends being down. DriverError when the network is not there, or a frontend port
        is another balancer's."""
        ...

    async def set_down(self, balancer_id: str, down: Mapping[str, frozenset[str]]) -> None:
        """What probes found, all of it: rules or addresses not named are up. DriverError for no such balancer."""
        ...

    async def remove_balancer(self, balancer_id: str) -> None: ...
    async def observe_balancers(self) -> Standing[BalancerState]: ...


# --- probes: which backends are well ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check:
    """How a backend is asked. TCP: it accepts a connection. HTTP and HTTPS: it answers 200; its certificate is not
    looked at."""

    protocol: Literal["tcp", "http", "https"]
    port: int
    interval: float
    """Seconds from one question to the next, and until one without an answer has failed."""
    threshold: int = 1
    """How many answers in a row that differ from what is held of a backend change that."""
    path: str = "/"


@dataclass(frozen=True, slots=True)
class Watched:
    """What of a balancer's backends is asked: `checks` by rule, of that rule's backends. Rules with equal checks share
    the answers."""

    id: str
    """The balancer's."""
    network: str
    checks: Mapping[str, Check]
    addresses: Mapping[str, tuple[str, ...]]
    """By rule."""


@dataclass(frozen=True, slots=True)
class Health:
    up: bool
    reason: str
    """What the last question came to, in words."""


class Probes(Protocol):
    """Asks backends from inside their network, as 168.63.129.16, and tells Balancers who is down. What it does ends
    with the process; what it found last stays in the balancer, and is where it begins again."""

    async def run(self) -> None:
        """Ask, until cancelled."""
        ...

    def watch(self, spec: Watched, down: Mapping[str, frozenset[str]], known: frozenset[str]) -> None:
        """Begin, or do something else from now on. `down`: what the balancer holds to be down, by rule; `known`: the
        rules it has had before, whose other backends are held to be up. Who is new is asked at once, then at growing
        pauses until it is up."""
        ...

    def unwatch(self, balancer_id: str) -> None: ...
    def watched(self, balancer_id: str) -> Watched | None: ...
    def unheard(self, balancer_id: str) -> bool:
        """Whether somebody came a moment ago and has not been asked yet, or Balancers not told. A fifth of a second
        later that is no reason to wait any more."""
        ...

    async def first_answers(self, balancer_id: str) -> None:
        """Until nobody is `unheard`."""
        ...

    def health(self, balancer_id: str) -> dict[str, dict[str, Health]]:
        """By rule and address. Rules without a check are not shown."""
        ...


# --- what leaves -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Way:
    """Connections from `sources` (addresses and CIDRs) come from one of `addresses` (of the public range), each source
    always from the same, unless it has `ports`."""

    sources: tuple[str, ...]
    addresses: tuple[str, ...]
    ports: tuple[int, int] | None = None
    """First and last port, of each of the addresses, that TCP and UDP come from; each connection from any of those.
    While all of them are in use towards one server's port, there are no more connections to that."""
    idle: int = 0
    reset: bool = False
    """Both as a BalancerRule's."""


@dataclass(frozen=True, slots=True)
class Outbound:
    """Where connections that leave a network through the edge come from. What no Outbound names keeps the network's
    `snat`; where several do, the lowest `precedence` wins, and PublicAddress stands between 0 and 1."""

    id: str
    owner: str
    network: str
    ways: tuple[Way, ...]
    precedence: Literal[0, 1] = 1


class Outbounds(Protocol):
    """Source addresses at the network's border. Connections that are there keep theirs."""

    async def ensure_outbound(self, spec: Outbound) -> None:
        """DriverError when its network is not there, or another of the same precedence names one of its sources."""
        ...

    async def remove_outbound(self, outbound_id: str) -> None: ...
    async def observe_outbounds(self) -> Standing[Outbound]: ...


# --- public addresses of machines ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PublicAddress:
    """A machine's own public address: connections to `public_address` reach `address`, and those from it that leave
    the network come from `public_address` (rather than from the network's `snat`)."""

    id: str
    owner: str
    network: str
    public_address: str
    address: str
    inbound: bool = True
    """Whether connections to it are let in at all, before any firewall; those that leave come from it either way."""


class PublicAddresses(Protocol):
    """One to one address translation at the network's border."""

    async def ensure_public_address(self, spec: PublicAddress) -> None:
        """DriverError when its network is not there, or either address has a counterpart already."""
        ...

    async def remove_public_address(self, public_address_id: str) -> None: ...
    async def observe_public_addresses(self) -> Standing[PublicAddress]: ...


@dataclass(frozen=True, slots=True)
class Traffic:
    """The drivers of what passes through one host's networks."""

    firewalls: Firewalls
    balancers: Balancers
    publics: PublicAddresses
    outbounds: Outbounds
    peerings: Peerings
    tables: RouteTables
    private_links: PrivateLinks
    probes: Probes
