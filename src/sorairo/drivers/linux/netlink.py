"""Reading tables of the kernel by netlink: dumps alone, without a process.

A look at a network asks for its rules' digests and its routing rules. `nft` and `ip` answer in 5 ms each on an idle
machine and in 50 on a busy one, since they are programs to be started; the kernel itself in a tenth of one. What is
written is written by them all the same: there the cost is the kernel's. https://docs.kernel.org/userspace-api/netlink/intro.html
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from sorairo.drivers.protocols import DriverError

ROUTE, NETFILTER = 0, 12
"""Families: NETLINK_ROUTE, NETLINK_NETFILTER."""

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_REQUEST, _DUMP, _DUMP_INTERRUPTED = 0x1, 0x300, 0x10
_ERROR, _DONE = 2, 3
_TYPE_MASK = 0x3FFF
_TRIES = 8


def dump(family: int, kind: int, body: bytes) -> list[bytes]:
    """Payloads of the answer to a dump request, in the network namespace the thread is in. Empty when the table asked
    about is not there. Raises DriverError."""
    for _ in range(_TRIES):
        try:
            return _dump(family, kind, body)
        except InterruptedError:  # It was changed while it was being read.
            continue
    raise DriverError("netlink: what is to be read is being changed all the time")


def _dump(family: int, kind: int, body: bytes) -> list[bytes]:
    found: list[bytes] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family) as sock:
        sock.bind((0, 0))
        sock.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | _DUMP, 1, 0) + body)
        while True:
            data = sock.recv(1 << 16)
            at = 0
            while at < len(data):
                length, type, flags, _, _ = _HEADER.unpack_from(data, at)
                payload = data[at + _HEADER.size : at + length]
                if flags & _DUMP_INTERRUPTED:
                    raise InterruptedError
                if type in (_DONE, _ERROR):
                    code = -struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
                    if code and code != 2:  # ENOENT: there is no such table.
                        raise DriverError(f"netlink: {os.strerror(code)}")
                    return found
                found.append(payload)
                at += (length + 3) & ~3


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and value of each attribute in a row of them."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, type = _ATTRIBUTE.unpack_from(data, at)
        yield type & _TYPE_MASK, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def text(number: int, value: str) -> bytes:
    """An attribute that is a string."""
    raw = value.encode() + b"\0"
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(raw), number) + raw + b"\0" * (-len(raw) % 4)


# --- tables ----------------------------------------------------------------------------------------------


def set_elements(table: str, name: str) -> Iterator[tuple[bytes, str]]:
    """Key and comment of each element of an nftables set of an `ip` table."""
    body = struct.pack("=BBH", socket.AF_INET, 0, 0) + text(1, table) + text(2, name)
    for payload in dump(NETFILTER, 10 << 8 | 13, body):  # NFT_MSG_GETSETELEM
        for number, value in attributes(payload[4:]):
            if number == 3:  # NFTA_SET_ELEM_LIST_ELEMENTS
                for _, element in attributes(value):
                    yield _element(element)


def _element(data: bytes) -> tuple[bytes, str]:
    key, comment = b"", ""
    for number, value in attributes(data):
        if number == 1:  # NFTA_SET_ELEM_KEY, in it NFTA_DATA_VALUE
            key = next((inner for n, inner in attributes(value) if n == 1), b"")
        elif number == 6 and len(value) > 2 and value[0] == 0:  # NFTA_SET_ELEM_USERDATA: type, length, a comment
            comment = value[2 : 2 + value[1]].rstrip(b"\0").decode()
    return key, comment


def rule_preferences() -> set[int]:
    """Of all IPv4 routing rules."""
    found = set()
    for payload in dump(ROUTE, 34, struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)):  # RTM_GETRULE
        found.add(next((_number(value) for n, value in attributes(payload[12:]) if n == 6), 0))  # FRA_PRIORITY
    return found


class TableRoute(NamedTuple):
    """One IPv4 route of any table: addresses dotted, '' where there is none."""

    table: int
    kind: str
    """`unicast`, `blackhole`, `throw`, or the number of another."""
    prefix: str
    """CIDR."""
    via: str
    link: str


_KINDS = {1: "unicast", 6: "blackhole", 9: "throw"}


def table_routes() -> set[TableRoute]:
    """Every IPv4 route of every table."""
    names: dict[int, str] = dict(socket.if_nameindex())
    found = set()
    for payload in dump(ROUTE, 26, struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)):  # RTM_GETROUTE
        bits, kind = payload[1], payload[7]
        values = dict(attributes(payload[12:]))  # RTA_DST 1, RTA_OIF 4, RTA_GATEWAY 5, RTA_TABLE 15
        found.add(
            TableRoute(
                _number(values[15]) if 15 in values else payload[4],
                _KINDS.get(kind, str(kind)),
                f"{socket.inet_ntoa(values.get(1, bytes(4)))}/{bits}",
                socket.inet_ntoa(values[5]) if 5 in values else "",
                names.get(_number(values[4]), "") if 4 in values else "",
            )
        )
    return found


def table_links() -> set[tuple[int, str]]:
    """Number of a table and name of a link, of every IPv4 route."""
    return {(route.table, route.link) for route in table_routes() if route.link}


def _number(value: bytes) -> int:
    return int(struct.unpack("=I", value)[0])
