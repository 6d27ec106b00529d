"""Overlays: addresses of what runs on machines that only these machines know (a cluster's pods).

Who makes machines says of which overlay they are, in the private part of scale set, instance and NIC: `overlay`, its
`cidr` and the `pool` that its blocks are counted in. The NIC claims a block of it; without a pool none, since somebody
else says which machine has what of it (a route table, with kubenet).
"""

from __future__ import annotations

from sorairo.engine.ids import host_name
from sorairo.engine.types import Document, Resource

KEY = "overlay"


def overlay_of(resource: Resource) -> Document | None:
    """`{"cidr", "pool"}` of the overlay that a resource is in; no pool: nobody claims blocks of it."""
    return resource.private.get(KEY)


def pool_name(overlay: Document) -> str:
    return f"overlay {overlay['pool'].lower()}"


def blocks_of(resource: Resource) -> Document | None:
    """The overlay that a machine claims a block of."""
    overlay = overlay_of(resource)
    return overlay if overlay and overlay.get("pool") else None


def block_of(nic: Resource | None) -> str | None:
    """The CIDR that a NIC's machine has of its overlay; None: it is in none, or has none yet."""
    overlay = blocks_of(nic) if nic else None
    if nic is None or overlay is None:
        return None
    return next(iter(nic.private.get("claims", {}).get(pool_name(overlay), ())), None)


def table_name(route_table: str, network: str) -> str:
    """What stands on the host for a route table in one of the virtual networks where a subnet names it (ids)."""
    return host_name(f"{route_table.lower()}|{network.lower()}")
