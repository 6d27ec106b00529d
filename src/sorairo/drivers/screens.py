"""What passes to and from the guests of a machine (a node's pods), as a small protocol.

It follows the rules of `protocols`. A screen stands inside a machine's own namespace, where all its guests' packets
pass; firewalls of the network stand outside of it, and a connection must pass both.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Protocol = Literal["tcp", "udp", "sctp"]


@dataclass(frozen=True, slots=True)
class Opening:
    """Connections that pass: by who is at the other end, and by the port that is asked for."""

    group: str | None = None
    """Name of a group of addresses at the other end."""
    blocks: tuple[str, ...] = ()
    """CIDRs at the other end, besides."""
    anybody: bool = False
    """Whoever is at the other end."""
    ports: tuple[tuple[Protocol, int, int], ...] = ()
    """Protocol, first and last, both included."""
    services: tuple[tuple[Protocol, str], ...] = ()
    """Names of services: addresses with a port each, one of which must be what is asked for."""
    any_port: bool = False
    """Whatever is asked for, of every protocol."""


@dataclass(frozen=True, slots=True)
class Side:
    """What comes to guests, or what goes from them."""

    policies: Mapping[str, tuple[Opening, ...]] = field(default_factory=dict)
    """By name: letters, digits and `-`, at most 32."""
    guests: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By address: names of the policies about a guest. A connection passes if one of them has an opening for it.
    Guests that are not named here are open to all."""
    hold: bool = False
    """Let nothing pass of a guest that is not `known`: one is coming that a policy is about."""


@dataclass(frozen=True, slots=True)
class Screen:
    """Of one machine, whose namespace is its `id`. A guest always reaches itself, and its machine; replies pass, and
    so does what belongs to a connection that is there."""

    id: str
    owner: str
    inbound: Side = Side()
    outbound: Side = Side()
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Addresses by name."""
    services: Mapping[str, frozenset[tuple[str, int]]] = field(default_factory=dict)
    """Addresses, each with a port, by name."""
    known: frozenset[str] = frozenset()
    """Addresses of guests, while something is held."""


class Screens(typing.Protocol):
    """A change is atomic, costs what is changed, and holds for new connections. Screens stay while sorairo is not
    there, and go with their machine's namespace."""

    async def ensure_screen(self, spec: Screen) -> None:
        """An empty one takes it away. DriverError when there is no such namespace."""
        ...
