"""Address arithmetic of virtual networks, and Azure's words when it does not work out."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
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


def usable(network: IPv4) -> range:
    """The addresses a NIC may have, as numbers."""
    return range(int(network.network_address) + RESERVED, int(network.broadcast_address))


def usable_count(network: IPv4) -> int:
    return len(usable(network))


def number(address: Any) -> int:
    """Raises ArmError when it is not an IPv4 address."""
    try:
        return int(ipaddress.IPv4Address(address))
    except ValueError as e:
        raise ArmError("InvalidIPAddressFormat", f"IP address {address} is not formatted correctly: {e}.") from None


def address(number: int) -> str:
    return str(ipaddress.IPv4Address(number))


def gateway(network: IPv4) -> str:
    return str(network.network_address + 1)


def collapsed(addresses: Iterable[str]) -> tuple[str, ...]:
    """As the fewest CIDRs. For tens of thousands of single addresses: the standard library takes a second for them."""
    numbers = sorted({int.from_bytes(socket.inet_aton(each)) for each in addresses})
    found: list[str] = []
    first = last = -2
    for n in [*numbers, -1]:
        if n == last + 1:
            last = n
            continue
        if first >= 0:
            run = ipaddress.summarize_address_range(ipaddress.IPv4Address(first), ipaddress.IPv4Address(last))
            found += map(str, run)
        first = last = n
    return tuple(found)
