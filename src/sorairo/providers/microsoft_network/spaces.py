"""What "the virtual network" is to one: its own prefixes and those it is joined to."""

from __future__ import annotations

import ipaddress

from sorairo.engine.types import Reader, Resource
from sorairo.providers.microsoft_network.peerings import peers, prefixes
from sorairo.providers.microsoft_network.service_tags import OURS, Space
from sorairo.providers.microsoft_network.virtual_networks import NIC_TYPES
from sorairo.providers.overlays import overlay_of


class Spaces:
    def __init__(self, public_addresses: tuple[str, ...]) -> None:
        """`public_addresses`: those to be had, which follow on the fabric's own."""
        first = ipaddress.IPv4Address(public_addresses[0])
        self._services = str(ipaddress.IPv4Network((int(first) - OURS, 28)))

    async def of(self, reader: Reader, network: Resource) -> Space:
        """https://learn.microsoft.com/azure/virtual-network/service-tags-overview#available-service-tags"""
        joined = [
            prefix
            for peering, remote in await peers(reader, network)
            if peering["properties"].get("allowVirtualNetworkAccess")
            for prefix in prefixes(remote)
        ]
        nics = [nic for type in NIC_TYPES for nic in await reader.naming(network.id, type=type)]
        # What runs on its machines is of the network, by whatever addresses these know each other.
        overlays = {overlay["cidr"] for nic in nics if (overlay := overlay_of(nic))}
        return Space((*prefixes(network), *sorted(joined), *sorted(overlays)), self._services)
