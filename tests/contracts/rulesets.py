"""Security rules and packets at random, and who may pass by the plainest reading of Azure's words.

The oracle shares nothing with what it judges: it reads the documents anew for each packet, from the top, as people do.
https://learn.microsoft.com/azure/virtual-network/network-security-groups-overview
"""

from __future__ import annotations

import ipaddress
import random
import socket
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any

from sorairo.drivers.verdicts import Packet
from wire import Wire

VIRTUAL = "10.224.0.0/16"
HERE, THERE = "10.224.64.0/18", "10.224.128.0/18"
"""Where packets come from, and where they go."""
_PLACES = (HERE, THERE, "10.224.64.0/20", "10.224.65.0/24", "10.224.65.7/32", "10.224.128.0/20", "10.224.129.0/24",
           "10.224.129.9/32", "10.224.129.10/31", "10.0.0.0/8", "192.0.2.0/24")  # fmt: skip
_TAGS = ("*", "VirtualNetwork", "Internet", "AzureLoadBalancer", "0.0.0.0/0")
_PORTS = ("*", "80", "82", "443", "80-90", "92-99", "0-1023", "1024-65535", "8080", "85-443", "0-65535")
_NUMBERS = (0, 79, 80, 81, 85, 90, 91, 443, 444, 1023, 1024, 8080, 40000, 65535)
NUMBERS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "icmp": socket.IPPROTO_ICMP}


def rules(chance: random.Random, most: int = 12) -> list[dict[str, Any]]:
    """Documents of a group's rules, no two of one priority."""
    count = chance.randint(0, most)
    return [_rule(chance, priority) for priority in chance.sample(range(100, 4097), count)]


def _rule(chance: random.Random, priority: int) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "priority": priority,
        "direction": chance.choice(("Inbound", "Outbound")),
        "access": chance.choice(("Allow", "Deny")),
        "protocol": chance.choice(("Tcp", "Udp", "Icmp", "*", "tcp")),
    }
    for end in ("source", "destination"):
        for one, many, known in (
            (f"{end}AddressPrefix", f"{end}AddressPrefixes", _PLACES),
            (f"{end}PortRange", f"{end}PortRanges", _PORTS),
        ):
            if chance.random() < 0.3:
                properties[many] = chance.sample(known, chance.randint(1, 3))
            else:
                everywhere = _TAGS if known is _PLACES else ("*",)
                properties[one] = chance.choice(known if chance.random() < 0.5 else everywhere)
    return {"name": f"r{priority}", "properties": properties}


def packets(chance: random.Random, count: int) -> list[Packet]:
    found = []
    for _ in range(count):
        protocol = chance.choice(("tcp", "tcp", "udp", "udp", "icmp"))
        ports = (chance.choice(_NUMBERS), chance.choice(_NUMBERS)) if protocol != "icmp" else (None, None)
        found.append(Packet(protocol, _address(chance, HERE), _address(chance, THERE), *ports))
    return found


def _address(chance: random.Random, within: str) -> str:
    """At an edge of one of the places, or anywhere."""
    outer = ipaddress.IPv4Network(within)
    inner = [n for place in _PLACES if (n := ipaddress.IPv4Network(place)).subnet_of(outer)]
    network = chance.choice(inner)
    at = chance.choice((0, 1, network.num_addresses - 1, network.num_addresses, chance.randrange(outer.num_addresses)))
    address = network.network_address + at
    return str(address if address in outer else outer.network_address + 5)


# --- the oracle ------------------------------------------------------------------------------------------

_DEFAULTS = (
    ("AllowVnetInBound", "Inbound", "Allow", "VirtualNetwork", "VirtualNetwork"),
    ("AllowAzureLoadBalancerInBound", "Inbound", "Allow", "AzureLoadBalancer", "*"),
    ("DenyAllInBound", "Inbound", "Deny", "*", "*"),
    ("AllowVnetOutBound", "Outbound", "Allow", "VirtualNetwork", "VirtualNetwork"),
    ("AllowInternetOutBound", "Outbound", "Allow", "*", "Internet"),
    ("DenyAllOutBound", "Outbound", "Deny", "*", "*"),
)


def decides(documents: Iterable[dict[str, Any]], direction: str, packet: Packet) -> tuple[str, bool]:
    """Name of the rule, and whether the packet may pass."""
    for rule in sorted(documents, key=lambda rule: rule["properties"]["priority"]):
        said = rule["properties"]
        if said["direction"].lower() != direction or said["protocol"].lower() not in ("*", packet.protocol):
            continue
        if all(_says(said, end, packet) for end in ("source", "destination")):
            return rule["name"], said["access"] == "Allow"
    for name, towards, access, source, destination in _DEFAULTS:
        if towards.lower() == direction and _is(source, packet.source) and _is(destination, packet.destination):
            return name, access == "Allow"
    raise AssertionError("the last default matches everything")


def _says(said: dict[str, Any], end: str, packet: Packet) -> bool:
    address, port = getattr(packet, end), getattr(packet, f"{end}_port")
    places = said.get(f"{end}AddressPrefixes") or [said[f"{end}AddressPrefix"]]
    ranges = said.get(f"{end}PortRanges") or [said[f"{end}PortRange"]]
    if not any(_is(place, address) for place in places):
        return False
    if said["protocol"].lower() == "icmp" or any(text in ("*", "0-65535") for text in ranges):
        return True
    return port is not None and any(_has(text, port) for text in ranges)


def _is(place: str, address: str) -> bool:
    virtual = address == "168.63.129.16" or _inside(address, VIRTUAL)
    known = {"*": True, "VirtualNetwork": virtual, "Internet": not virtual,
             "AzureLoadBalancer": address == "168.63.129.16"}  # fmt: skip
    return known[place] if place in known else _inside(address, place)


def _inside(address: str, prefix: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(prefix)


def _has(text: str, port: int) -> bool:
    first, _, last = text.partition("-")
    return int(first) <= port <= int(last or first)


# --- the wire --------------------------------------------------------------------------------------------


class Lane:
    """Packets written by hand into one machine's link, and those that come out at another's. The receiving machine
    answers nothing, so that no connection is ever an established one."""

    SENTINEL = 0xFFFF

    def __init__(self, wire: Wire, sender: str, receiver: str, address: str) -> None:
        """`address`: the receiver's own. UDP from 10.224.65.200 to it, from and to port 9, must be allowed: the last
        packet, which tells that all others have come or never will."""
        self._last = Packet("udp", "10.224.65.200", address, 9, 9)
        chains = "".join(
            f"chain {hook} {{ type filter hook {hook} priority -300; policy drop; }}\n" for hook in ("input", "forward")
        )
        wire.nft(receiver, f"table ip silent {{\n{chains}}}\n")
        with wire.inside(sender):
            self._out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        with wire.inside(receiver):
            self._in = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        self._in.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._in.bind(("eth0", 0x0800))
        self._in.settimeout(1)

    def close(self) -> None:
        self._out.close()
        self._in.close()

    def arrive(self, sent: list[Packet]) -> list[bool]:
        """Which of them come out. Raises AssertionError when not even the last one does."""
        for number, packet in enumerate([*sent, self._last], 1):  # the kernel writes its own for 0
            number = number if packet is not self._last else self.SENTINEL
            self._out.sendto(_bytes(packet, number), (packet.destination, 0))
        seen: set[int] = set()
        until = time.monotonic() + 5
        while self.SENTINEL not in seen:
            assert time.monotonic() < until, "the last packet did not arrive"
            data, sender = self._in.recvfrom(2048)
            if sender[2] != socket.PACKET_OUTGOING:
                seen.add(struct.unpack_from("!H", data, 4)[0])
        return [number in seen for number in range(1, len(sent) + 1)]


def _bytes(packet: Packet, number: int) -> bytes:
    """An IP packet whose identification is `number`; the kernel writes its checksum."""
    ports = (packet.source_port or 0, packet.destination_port or 0)
    addresses = socket.inet_aton(packet.source), socket.inet_aton(packet.destination)
    made: Callable[[int], bytes] = {
        "tcp": lambda sum: struct.pack("!HHIIBBHHH", *ports, number, 0, 5 << 4, 2, 1024, sum, 0),
        "udp": lambda sum: struct.pack("!HHHH", *ports, 8, sum),
        "icmp": lambda sum: struct.pack("!BBHHH", 8, 0, sum, number, 1),
    }[packet.protocol]
    length = len(made(0))
    pseudo = b"" if packet.protocol == "icmp" else b"".join(
        (*addresses, struct.pack("!BBH", 0, NUMBERS[packet.protocol], length))
    )  # fmt: skip
    inner = made(_checksum(pseudo + made(0)))
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, number, 0, 64, NUMBERS[packet.protocol], 0, *addresses)
    return head + inner


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
