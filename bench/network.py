"""What the routed fabric costs: to make it, and to send packets through it.

    python bench/network.py [--rounds 15] [--seconds 0.2] [--json]      (root; makes and removes namespaces of its own)

Packets: the time of a connection (handshake and one byte), the time of a request and its response by an open
connection, and bits a second of one stream; one client process, one server process. Beside the fabric's ways stand
two floors measured in the same run, in turns: one bare veth with a route, and three of them with routes between, as
many as lie between host and node. Figures are the best of the rounds, for what else runs on a machine only slows;
of the making, the median stands beside it.

Targets: a network, a NIC with 31 further addresses and a control plane's leg, from nothing, within 60 ms; a connection
through the balancer within 1.5 times what it takes through as many bare veths.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from sorairo.drivers.linux.links import LinuxLinks
from sorairo.drivers.linux.netns import Namespaces, write_sysctls
from sorairo.drivers.linux.traffic import LinuxBalancers, LinuxFirewalls
from sorairo.drivers.protocols import Leg, Network, Nic
from sorairo.drivers.traffic import Backend, Balancer, BalancerRule, Firewall, FirewallRule

RANGE = "198.19.255"
FLOATING, REWRITTEN, CROWDED = f"{RANGE}.50", f"{RANGE}.51", f"{RANGE}.52"
NET = Network("bnet", "/bench/net", ("10.224.0.0/16",), f"{RANGE}.10")
LEG = Leg("bleg", "/bench/leg", "bcp", f"{RANGE}.20", "bnet")
PORTS = RATE, ECHO, SINK = 7001, 7002, 7003
SERVED, GUARDED, CLIENT = 4, 5, 6
"""Nodes: behind the balancers, behind a firewall too, and one that asks."""


def nic(number: int, addresses: int = 0) -> Nic:
    more = tuple(f"10.224.{number}.{n}" for n in range(1, addresses + 1))
    return Nic(f"bnic{number}", f"/b/{number}", "bnet", f"bnode{number}", f"10.224.0.{number}", "10.224.0.1", 16, more)


def rules(count: int) -> tuple[FirewallRule, ...]:
    """As many that do not match, and one that does."""
    none = (FirewallRule(n, "inbound", False, "udp", (f"10.{n % 250}.0.0/16",), name=f"r{n}") for n in range(count - 1))
    return (*none, FirewallRule(4096, "inbound", True))


def balanced(name: str, address: str, node: int, *, floating: bool, more: int = 0) -> Balancer:
    backends = (Backend(f"10.224.0.{node}"),)
    ports = [*PORTS, *range(10000, 10000 + more)]
    own = (BalancerRule(f"p{port}", address, "tcp", port, backends, floating=floating, idle=240) for port in ports)
    return Balancer(name, f"/b/{name}", "bnet", tuple(own))


# --- packets ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """From a namespace (None: the host) to an address."""

    name: str
    client: str | None
    address: str


WAYS = [
    Way("one bare veth", None, f"{RANGE}.129"),
    Way("three bare veths", None, f"{RANGE}.130"),
    Way("host to control plane", None, LEG.public_address),
    Way("node to node", f"bnode{CLIENT}", f"10.224.0.{SERVED}"),
    Way("node to control plane", f"bnode{CLIENT}", LEG.public_address),
    Way("balanced, floating", None, FLOATING),
    Way("balanced, rewritten", None, REWRITTEN),
    Way("floating, among 1000 rules, firewall of 1000", None, CROWDED),
]


class Server:
    """Three processes that answer on the ports of a namespace."""

    def __init__(self, ns: Namespaces, namespace: str) -> None:
        fork = multiprocessing.get_context("fork")
        with ns.enter(namespace):
            sockets = [socket.create_server(("0.0.0.0", port), backlog=1024) for port in PORTS]
        works = (self._rate, self._echo, self._sink)
        self.processes: list[BaseProcess] = [
            fork.Process(target=work, args=(sock,), daemon=True) for work, sock in zip(works, sockets, strict=True)
        ]
        for process, sock in zip(self.processes, sockets, strict=True):
            process.start()
            sock.close()

    def stop(self) -> None:
        for each in self.processes:
            each.terminate()
            each.join()

    @staticmethod
    def _rate(listening: socket.socket) -> None:
        while True:
            peer, _ = listening.accept()
            with contextlib.suppress(ConnectionError):
                peer.send(b".")
            peer.close()

    @staticmethod
    def _echo(listening: socket.socket) -> None:
        while True:
            peer, _ = listening.accept()
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(ConnectionError):
                while data := peer.recv(256):
                    peer.send(data)
            peer.close()

    @staticmethod
    def _sink(listening: socket.socket) -> None:
        buffer = bytearray(1 << 20)
        while True:
            peer, _ = listening.accept()
            with contextlib.suppress(ConnectionError):
                while peer.recv_into(buffer):
                    pass
            peer.close()


def connect(address: str, port: int) -> socket.socket:
    sock = socket.create_connection((address, port), timeout=5)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset: no TIME_WAIT piles up
    return sock


def connection(address: str, seconds: float) -> float:
    """Microseconds to connect and get a byte: the tenth percentile, which is what it costs when nobody interferes."""
    times: list[float] = []
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until or len(times) < 20:
        with connect(address, RATE) as sock:
            sock.recv(1)
            times.append(time.perf_counter() - began)
    return statistics.quantiles(times, n=10)[0] * 1e6


def exchange(address: str, seconds: float) -> float:
    """Microseconds of a request and its response by an open connection, likewise."""
    times: list[float] = []
    with connect(address, ECHO) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        until = time.perf_counter() + seconds
        while (began := time.perf_counter()) < until or len(times) < 20:
            sock.send(b"x" * 64)
            sock.recv(256)
            times.append(time.perf_counter() - began)
    return statistics.quantiles(times, n=10)[0] * 1e6


def stream(address: str, seconds: float) -> float:
    """Gigabits a second."""
    block, count = bytes(1 << 18), 0
    with connect(address, SINK) as sock:
        began = time.perf_counter()
        while (spent := time.perf_counter() - began) < seconds:
            sock.sendall(block)
            count += len(block)
    return count * 8 / spent / 1e9


def measure(ns: Namespaces, rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, list[float]]] = {way.name: defaultdict(list) for way in WAYS}
    for _ in range(rounds):
        for work in (connection, exchange, stream):
            for way in WAYS:
                with ns.enter(way.client) if way.client else contextlib.nullcontext():
                    found[way.name][work.__name__].append(work(way.address, seconds))
    best = {"connection": min, "exchange": min, "stream": max}
    return {name: {what: best[what](each) for what, each in values.items()} for name, values in found.items()}


def ip(ns: Namespaces, namespace: str | None, lines: str) -> None:
    with ns.enter(namespace) if namespace else contextlib.nullcontext():
        subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)


@contextlib.contextmanager
def bare(ns: Namespaces) -> Iterator[None]:
    """The floors: namespaces, veths and routes, nothing else."""

    names = ("bare", "mid1", "mid2", "far")
    for each in names:
        ns.create(each)
        with ns.enter(each):
            write_sysctls({"ipv4/ip_forward": "1", "ipv4/conf/all/rp_filter": "0"})
    try:
        host, one, three = f"{RANGE}.1/32", f"{RANGE}.129/32", f"{RANGE}.130/32"
        for namespace, link, below in ((None, "bnch0", "bare"), (None, "bnch1", "mid1"), ("mid1", "bnch2", "mid2"),
                                       ("mid2", "bnch3", "far")):  # fmt: skip
            ip(ns, namespace, f"link add {link} type veth peer name above netns {ns.path(below)}\nlink set {link} up\n")
            ip(ns, below, "link set lo up\nlink set above up\n")
        for namespace, lines in (
            (None, f"route add {one} dev bnch0 src {RANGE}.1\n"),
            ("bare", f"addr add {one} dev above\nroute add {host} dev above\n"),
            (None, f"route add {three} via 169.254.9.2 dev bnch1 onlink src {RANGE}.1\n"),
            ("mid1", f"addr add 169.254.9.2/32 dev above\nroute add {host} dev above\n"),
            ("mid1", f"addr add 169.254.9.3/32 dev bnch2\nroute add {three} via 169.254.9.4 dev bnch2 onlink\n"),
            ("mid2", f"addr add 169.254.9.4/32 dev above\nroute add {host} via 169.254.9.3 dev above onlink\n"),
            ("mid2", f"addr add 169.254.9.5/32 dev bnch3\nroute add {three} dev bnch3\n"),
            ("far", f"addr add {three} dev above\nroute add {host} via 169.254.9.5 dev above onlink\n"),
        ):
            ip(ns, namespace, lines)
        yield
    finally:
        for link in ("bnch0", "bnch1"):
            subprocess.run(["ip", "link", "del", link], check=False)
        for each in names:
            ns.delete(each)


# --- making ----------------------------------------------------------------------------------------------


async def make(run_dir: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds."""
    links = LinuxLinks(run_dir, f"{RANGE}.0/24", "bnch")
    firewalls, balancers = LinuxFirewalls(links), LinuxBalancers(links)
    found: dict[str, list[float]] = defaultdict(list)

    async def timed(name: str, *works: Awaitable[object]) -> None:
        began = time.perf_counter()
        for each in works:
            await each
        found[name].append((time.perf_counter() - began) * 1e3)

    first = nic(SERVED, 31)
    for _ in range(rounds):
        await timed("network, NIC of 31 addresses and leg, from nothing",
                    links.ensure_network(NET), links.ensure_nic(first), links.ensure_leg(LEG))  # fmt: skip
        await timed("the same again", links.ensure_network(NET), links.ensure_nic(first), links.ensure_leg(LEG))
        await timed("NIC of 250 addresses", links.ensure_nic(nic(GUARDED, 250)))
        await timed(
            "ten NICs of 31 addresses at once", asyncio.gather(*(links.ensure_nic(nic(n, 31)) for n in range(10, 20)))
        )
        for count in (100, 1000):
            spec = Firewall("bfw", "/b/fw", "bnet", rules(count), (first.id,))
            await timed(f"firewall of {count} rules", firewalls.ensure_firewall(spec))
        for count in (10, 1000):
            spec_lb = balanced("blb", FLOATING, SERVED, floating=True, more=count - 3)
            await timed(f"balancer of {count} rules", balancers.ensure_balancer(spec_lb))
        await timed("a backend down in 1000 rules", balancers.set_down("blb", {"p10000": frozenset({first.address})}))
        await timed("observe 12 NICs and all of this", links.observe_links(), firewalls.observe_firewalls(),
                    balancers.observe_balancers())  # fmt: skip
        await balancers.remove_balancer("blb")
        await firewalls.remove_firewall("bfw")
        await timed("remove ten NICs at once", asyncio.gather(*(links.remove_nic(f"bnic{n}") for n in range(10, 20))))
        await timed("remove leg, two NICs and network", links.remove_leg("bleg"), links.remove_nic(first.id),
                    links.remove_nic(f"bnic{GUARDED}"), links.remove_network("bnet"))  # fmt: skip
    return {name: {"best": min(each), "median": statistics.median(each)} for name, each in found.items()}


async def lay(run_dir: Path) -> LinuxLinks:
    """The fabric that packets are sent through."""
    links = LinuxLinks(run_dir, f"{RANGE}.0/24", "bnch")
    await links.ensure_network(NET)
    for number in (SERVED, GUARDED, CLIENT):
        await links.ensure_nic(nic(number))
    await links.ensure_leg(LEG)
    await LinuxFirewalls(links).ensure_firewall(Firewall("bfw", "/b/fw", "bnet", rules(1000), (f"bnic{GUARDED}",)))
    balancers = LinuxBalancers(links)
    await balancers.ensure_balancer(balanced("blb1", FLOATING, SERVED, floating=True))
    await balancers.ensure_balancer(balanced("blb2", REWRITTEN, SERVED, floating=False))
    await balancers.ensure_balancer(balanced("blb3", CROWDED, GUARDED, floating=True, more=997))
    return links


async def clear(links: LinuxLinks) -> None:
    for each in ("blb1", "blb2", "blb3"):
        await LinuxBalancers(links).remove_balancer(each)
    await LinuxFirewalls(links).remove_firewall("bfw")
    await links.remove_leg("bleg")
    for number in (SERVED, GUARDED, CLIENT):
        await links.remove_nic(f"bnic{number}")
    await links.remove_network("bnet")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        making = asyncio.run(make(run_dir, max(3, arguments.rounds // 2)))
        links = asyncio.run(lay(run_dir))
        ns = Namespaces(run_dir / "netns")
        for number, address in ((SERVED, FLOATING), (GUARDED, CROWDED)):
            ip(ns, f"bnode{number}", f"addr add {address}/32 dev lo\n")
        servers: list[Server] = []
        try:
            with bare(ns):
                servers = [Server(ns, each) for each in ("bare", "far", "bcp", f"bnode{SERVED}", f"bnode{GUARDED}")]
                packets = measure(ns, arguments.rounds, arguments.seconds)
                for server in servers:
                    server.stop()
        finally:
            asyncio.run(clear(links))
    if arguments.json:
        print(json.dumps({"making": making, "packets": packets}, indent=2))
        return
    print(f"{'milliseconds':52} {'best':>8} {'median':>8}")
    for name, figures in making.items():
        print(f"{name:52} {figures['best']:8.1f} {figures['median']:8.1f}")
    print(f"\n{'':46} {'connection µs':>14} {'of three bare':>14} {'exchange µs':>12} {'Gbit/s':>8}")
    floor = packets["three bare veths"]["connection"]
    for name, each in packets.items():
        share = f"{each['connection'] / floor:.2f}"
        print(f"{name:46} {each['connection']:14.1f} {share:>14} {each['exchange']:12.1f} {each['stream']:8.1f}")


if __name__ == "__main__":
    main()
