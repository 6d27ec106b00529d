"""Ways between and around the links of networks, as small protocols: peerings of two networks, and tables of routes
that stand before a network's own.

They follow the rules of `protocols`: specs carry `id` and `owner`, `ensure_*` and `remove_*` are idempotent and may be
killed half-way, failures raise `DriverError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sorairo.drivers.traffic import Standing


@dataclass(frozen=True, slots=True)
class Peering:
    """One network's half of a peering. Packets pass while both halves stand, to the other network's prefixes, and no
    further: neither to what that one is joined to, nor out through its edge. A half alone is kept for when the other
    comes."""

    id: str
    owner: str
    network: str
    remote: str
    """The other network, there or not."""
    forwarded: bool = False
    """`network` also takes what comes from there with a source that is not of `remote`'s prefixes."""


class Peerings(Protocol):
    async def ensure_peering(self, spec: Peering) -> None:
        """DriverError when `network` is not there, or has another half to the same `remote`."""
        ...

    async def remove_peering(self, peering_id: str) -> None:
        """The other half stays, alone."""
        ...

    async def observe_peerings(self) -> Standing[Peering]: ...


@dataclass(frozen=True, slots=True)
class Hop:
    """Where packets for a prefix go."""

    prefix: str
    to: str
    """An address, whose machine gets them (of the network, or of one it is peered with; dropped while nobody has it);
    or `network`: as without the table; `edge`: out; `nowhere`: dropped."""


@dataclass(frozen=True, slots=True)
class RouteTable:
    """What machines of some subnets send goes by these hops. The longest prefix wins among hops and what the network
    routes itself (its own prefixes and its peers'); a hop wins over one of the network's of the same length. Answers to
    control planes, and what is said to the network's own services, always find their way."""

    id: str
    owner: str
    network: str
    subnets: tuple[str, ...]
    """CIDRs: it is for each NIC whose own address is within."""
    hops: tuple[Hop, ...]


class RouteTables(Protocol):
    """A change takes effect for the next packet."""

    async def ensure_route_table(self, spec: RouteTable) -> None:
        """DriverError when its network is not there, or another table has one of its subnets."""
        ...

    async def remove_route_table(self, table_id: str) -> None: ...
    async def observe_route_tables(self) -> Standing[RouteTable]: ...
