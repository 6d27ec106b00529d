"""Names: what machines are told at 168.63.129.16, and what everybody is told at the installation's public name server.

They follow the rules of `protocols`: specs carry `id` and `owner`, `ensure_names` and `remove_names` are idempotent and
may be killed half-way, failures raise `DriverError`. An id is one spec's alone, whichever kind that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sorairo.drivers.traffic import Standing

DOMAIN = "sorairo.internal"
"""The installation's own zone, which holds `PublicName`s and the name servers."""
SERVERS = tuple(f"ns{n}-01.azure-dns.{DOMAIN}" for n in range(1, 5))
"""Names of the public name server, as many as Azure gives a zone. They are one."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone that is answered for with authority: what is not in it does not exist."""

    name: str
    """In lower case, without a dot at its end."""
    text: str
    """A master file (RFC 1035, section 5), its SOA record first. It is read anew when the SOA's serial changes."""


@dataclass(frozen=True, slots=True)
class View:
    """What only the machines of one network are told. Of two zones the one with the longer name answers; what is in
    none of them they are told as the public is; what nobody here knows does not exist, and they are told so at once."""

    id: str
    """The network's."""
    owner: str
    zones: tuple[Zone, ...]


@dataclass(frozen=True, slots=True)
class PublicZone:
    """Told to everybody: the host, all networks, control planes."""

    id: str
    owner: str
    zone: Zone


@dataclass(frozen=True, slots=True)
class PublicName:
    """One name below `DOMAIN`, told to everybody."""

    id: str
    owner: str
    name: str
    """In full, in lower case, without a dot at its end."""
    address: str


NameSpec = View | PublicZone | PublicName


class Names(Protocol):
    """A name server for the whole installation. It starts with the first spec and goes with the last."""

    @property
    def address(self) -> str:
        """Where it answers the public, on port 53."""
        ...

    async def ensure_names(self, spec: NameSpec) -> None:
        """DriverError when a view's network is not there, or another has the public zone or name already. Answers
        follow within a second or two."""
        ...

    async def remove_names(self, id: str) -> None: ...
    async def observe_names(self) -> Standing[NameSpec]: ...
