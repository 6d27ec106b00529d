"""Links, addresses and routes of the namespace the calling thread is in: written with `ip -batch`, read from /proc.

One `ip -batch` carries any number of changes in 2 to 3 ms; netlink in Python takes about 0.5 ms for each, and a node
has up to 250 addresses. A failure then also says what iproute2 says.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from sorairo.drivers.linux import programs
from sorairo.drivers.protocols import DriverError


class Route(NamedTuple):
    """A unicast route of the main table, in the words of `/proc/net/route`: addresses are hexadecimal u32 in host
    order of network-order bytes, so that comparing needs no parsing."""

    link: str
    destination: str
    mask: str
    gateway: str

    def words(self) -> str:
        """As iproute2 names it."""
        bits = bin(int(self.mask, 16)).count("1")
        return f"{_dotted(self.destination)}/{bits} dev {self.link}"


@lru_cache(maxsize=16384)
def route(destination: str, link: str, via: str | None = None) -> Route:
    """The route to an address or CIDR as `routes()` would show it."""
    network = ipaddress.IPv4Network(destination)
    return Route(
        link,
        _hex(network.network_address.packed),
        _hex(network.netmask.packed),
        _hex(socket.inet_aton(via)) if via else "00000000",
    )


def routes() -> set[Route]:
    """Every unicast route of the main table of the namespace the thread is in."""
    found = set()
    for line in Path("/proc/thread-self/net/route").read_text().splitlines()[1:]:
        parts = line.split()
        found.add(Route(parts[0], parts[1], parts[7], parts[2]))
    return found


def batch(lines: Sequence[str]) -> None:
    """Apply `ip` commands in order, in one process. Raises DriverError with iproute2's words and the line at fault."""
    if not lines:
        return
    ran = programs.run(["ip", "-batch", "-"], "\n".join(lines) + "\n")
    if ran.returncode:
        said = ran.stderr.strip().splitlines()
        at = next((int(s.rpartition(":")[2]) for s in said if s.startswith("Command failed")), 0)
        raise DriverError(f"ip {lines[at - 1] if at else ''}: {said[0] if said else ran.returncode}")


def route_lines(wanted: Iterable[tuple[str, str | None]], link: str) -> list[str]:
    """`ip` lines for (destination, via) pairs by `link`. The next hop is taken at its word (`onlink`): links of the
    fabric carry single addresses, so no gateway is ever 'near'."""
    return [
        f"route replace {to} via {via} dev {link} onlink" if via else f"route replace {to} dev {link} scope link"
        for to, via in wanted
    ]


def _hex(packed: bytes) -> str:
    return f"{int.from_bytes(packed, sys.byteorder):08X}"


def _dotted(word: str) -> str:
    return socket.inet_ntoa(int(word, 16).to_bytes(4, sys.byteorder))
