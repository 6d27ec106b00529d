"""Private links: an address in a network behind which a control plane is, wherever that is itself.

They follow the rules of `protocols`: specs carry `id` and `owner`, `ensure_*` and `remove_*` are idempotent and may be
killed half-way, failures raise `DriverError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sorairo.drivers.traffic import Standing


@dataclass(frozen=True, slots=True)
class PrivateLink:
    """Connections to `address`, from within `network` and from its peers, reach what listens at the leg's public
    address, at the same port; the leg sees them come from a link-local address, so that networks with the same
    prefixes may have links to one leg. By this way the leg reaches nobody, and whom it takes connections from
    (`Leg.allowed`) is about other ways. No firewall judges them on their way in, only where they leave a machine."""

    id: str
    owner: str
    network: str
    address: str
    leg: str


class PrivateLinks(Protocol):
    """A link goes in part with its leg, and whole with its network."""

    async def ensure_private_link(self, spec: PrivateLink) -> None:
        """DriverError when its network or its leg is not there, or another link of the network has the address."""
        ...

    async def remove_private_link(self, link_id: str) -> None: ...
    async def observe_private_links(self) -> Standing[PrivateLink]: ...
