"""Address arithmetic of virtual networks, and Azure's words when it does not work out."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from sorairo.engine.errors import ArmError

IPv4 = ipaddress.IPv4Network
RESERVED = 4
"""Azure keeps the network address and the first three hosts (gateway, two for DNS); and the last one, broadcast.
https://learn.microsoft.com/azure/virtual-network/virtual-networks-faq"""


def parse_prefix(text: Any, target: str) -> IPv4:
    """A CIDR as Azure takes it: host bits must be zero. Raises ArmError `InvalidAddressPrefixFormat`."""
    try:
        network = ipaddress.ip_network(str(text), strict=True)
    except ValueError as e:
        raise ArmError(
            "InvalidAddressPrefixFormat",
            f"Address prefix {text} of resource {target} is not formatted correctly: {e}. It should follow CIDR "
            "notation, for example 10.0.0.0/24.",
            target=target,
        ) from None
    if not isinstance(network, ipaddress.IPv4Network):
        raise ArmError(
            "NotImplemented",
            f"sorairo does not implement IPv6 address prefixes yet ({text}).",
            status=501,
            target=target,
        )
    return network


def usable(network: IPv4) -> Iterator[str]:
    """The addresses a NIC may have, in order."""
    first = int(network.network_address) + RESERVED
    last = int(network.broadcast_address) - 1
    return (str(ipaddress.IPv4Address(n)) for n in range(first, last + 1))


def usable_count(network: IPv4) -> int:
    return max(0, network.num_addresses - RESERVED - 1)


def gateway(network: IPv4) -> str:
    return str(network.network_address + 1)
