"""Packets for the tests of real networks: sockets made inside a namespace, used from the outside.

A socket belongs for life to the namespace it was made in, so one test thread can hold both ends of a connection, and
no program need run anywhere. What is filtered shows as a timeout, what nobody listens to as a refusal.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sorairo.drivers.linux.links import LinuxLinks
from sorairo.drivers.linux.netns import Namespaces
from sorairo.state import State

linux = pytest.param("linux", marks=[pytest.mark.skipif(os.geteuid() != 0, reason="needs root"), pytest.mark.root])
"""The parameter of tests that need real networks."""
PATIENCE = 0.4
"""Seconds after which a packet is taken for dropped; one that is not takes far less than a millisecond."""


class Wire:
    """Two installations never share these three: run folder, public range, tag."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.prefix = State(run_dir).choose_public_range().removesuffix(".0/24")
        self.tag = f"{os.getpid() & 0xFFFF:04x}"
        self.ns = Namespaces(run_dir / "netns")

    def links(self) -> LinuxLinks:
        """A driver as sorairo makes one each time it starts."""
        return LinuxLinks(self.run_dir, f"{self.prefix}.0/24", self.tag)

    def wipe(self) -> None:
        """Take away what a failed test has left."""
        if self.ns.folder.exists():
            for each in list(self.ns.folder.iterdir()):
                self.ns.delete(each.name)
        subprocess.run(["ip", "link", "del", f"sorairo-{self.tag}"], check=False, stderr=subprocess.DEVNULL)

    def public(self, last: int) -> str:
        return f"{self.prefix}.{last}"

    @property
    def host(self) -> str:
        """The host's own address on its link."""
        return self.public(1)

    @contextlib.contextmanager
    def inside(self, namespace: str | None) -> Iterator[None]:
        with self.ns.enter(namespace) if namespace else contextlib.nullcontext():
            yield

    def ip(self, namespace: str | None, *words: str) -> str:
        with self.inside(namespace):
            return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout

    def sysctl(self, namespace: str | None, key: str) -> str:
        with self.inside(namespace):
            return Path("/proc/sys/net", key).read_text().strip()

    def nft(self, namespace: str | None, text: str) -> None:
        with self.inside(namespace):
            subprocess.run(["nft", "-f", "-"], input=text, check=True, text=True)

    def listen(self, namespace: str | None, port: int, address: str = "0.0.0.0") -> socket.socket:
        with self.inside(namespace):
            sock = socket.create_server((address, port), backlog=64)
        sock.settimeout(PATIENCE)
        return sock

    def connect(self, namespace: str | None, address: str, port: int, source: str | None = None) -> socket.socket:
        """A TCP connection. Raises TimeoutError when filtered, OSError otherwise."""
        with self.inside(namespace):
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(PATIENCE)
        if source:
            sock.bind((source, 0))
        try:
            sock.connect((address, port))
        except OSError:
            sock.close()
            raise
        return sock

    def reaches(self, namespace: str | None, address: str, port: int, source: str | None = None) -> bool:
        """Whether somebody answers, be it with a refusal."""
        try:
            self.connect(namespace, address, port, source).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return True

    def seen(self, server: socket.socket, namespace: str | None, address: str, source: str | None = None) -> str:
        """The address a listening server sees a client come from."""
        client = self.connect(namespace, address, server.getsockname()[1], source)
        with client, server.accept()[0] as answer:
            answer.sendall(b"hello")
            assert client.recv(5) == b"hello"
            peer: str = answer.getpeername()[0]
            return peer

    def datagram(self, namespace: str | None, port: int = 0, address: str = "0.0.0.0") -> socket.socket:
        with self.inside(namespace):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(PATIENCE)
        sock.bind((address, port))
        return sock

    def forgotten(self, network: str) -> None:
        """Waits until the kernel holds no TCP connection of a network for established any more."""
        deadline = time.monotonic() + 5
        with self.inside(network):
            words = ["conntrack", "-L", "-p", "tcp", "--state", "ESTABLISHED"]
            while subprocess.run(words, check=True, capture_output=True, text=True).stdout:
                assert time.monotonic() < deadline

    def pod(self, namespace: str, address: str) -> None:
        """An address within a node, as its pods have (without a namespace of their own)."""
        self.ip(namespace, "addr", "add", f"{address}/32", "dev", "lo")


# --- what goes out of the machine --------------------------------------------------------------------------

EVERY_PROTOCOL = 0x0003
OUTGOING = 4
CONTROL = "198.51.100.99"


@contextlib.contextmanager
def outward() -> Iterator[list[tuple[str, str]]]:
    """Addresses (source, destination) of IPv4 packets that go out by any link of the host's own, but loopback and
    links of sorairo's; complete when the block ends. That they would be seen is shown by one that the host sends."""
    found: list[tuple[str, str]] = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(EVERY_PROTOCOL)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        yield found
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.sendto(b"control", (CONTROL, 9))
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                data, (link, protocol, kind, *_) = sock.recvfrom(65535)
                if kind == OUTGOING and protocol == 0x0800 and link != "lo" and not link.startswith("sorairo-"):
                    found.append((socket.inet_ntoa(data[12:16]), socket.inet_ntoa(data[16:20])))
    routes = Path("/proc/net/route").read_text().splitlines()[1:]
    if any(line.split()[1] == "00000000" for line in routes):
        assert any(destination == CONTROL for _, destination in found)
