"""Probes of real machines in a real network: who is ill gets no new connections, who is well again does."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sorairo.drivers.linux.links import LinuxLinks
from sorairo.drivers.linux.traffic import LinuxBalancers
from sorairo.drivers.probing import SOURCE, Prober
from sorairo.drivers.protocols import DriverError, Network, Nic
from sorairo.drivers.traffic import Backend, Balancer, BalancerRule, Check, Watched
from wire import Wire

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

A, B = "10.224.0.4", "10.224.0.5"
NICS = [
    Nic("nica", "/owner/nica", "net1", "nodea", A, "10.224.0.1", 24),
    Nic("nicb", "/owner/nicb", "net1", "nodeb", B, "10.224.0.1", 24),
]
PATIENT = 5.0


class World:
    """A balancer of two nodes, and a prober that a test can end and begin again."""

    def __init__(self, wire: Wire, links: LinuxLinks) -> None:
        self.wire, self.links = wire, links
        self.balancers = LinuxBalancers(links)
        self.prober = Prober(links, self.balancers)
        self._running: asyncio.Task[None] | None = None
        self.frontend = wire.public(30)
        self.asked: list[bytes] = []

    async def begin(self, *checks: Check, known: bool = False) -> None:
        """One rule for each check, at ports from 80."""
        rules = tuple(
            BalancerRule(f"r{n}", self.frontend, "tcp", 80 + n, (Backend(A), Backend(B))) for n in range(len(checks))
        )
        await self.balancers.ensure_balancer(Balancer("lb1", "/owner/lb1", "net1", rules))
        state = (await self.balancers.observe_balancers()).whole["lb1"]
        names = [rule.name for rule in rules]
        spec = Watched("lb1", "net1", dict(zip(names, checks, strict=True)), dict.fromkeys(names, (A, B)))
        self.prober.watch(spec, state.down, frozenset(names) if known else frozenset())
        if self._running is None:
            self._running = asyncio.create_task(self.prober.run())
        await self.prober.first_answers("lb1")

    async def end(self) -> None:
        if self._running:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None

    async def restart(self, *checks: Check) -> None:
        await self.end()
        self.prober = Prober(self.links, self.balancers)
        await self.begin(*checks, known=True)

    async def down(self, rule: str = "r0") -> set[str]:
        """As the rules in the kernel have it."""
        while (state := (await self.balancers.observe_balancers()).whole.get("lb1")) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.002)  # It is being changed.
        return set(state.down.get(rule, ()))

    async def until_down(self, *addresses: str, rule: str = "r0") -> float:
        began = time.monotonic()
        async with asyncio.timeout(PATIENT):
            while await self.down(rule) != set(addresses):  # noqa: ASYNC110 (the kernel tells nobody)
                await asyncio.sleep(0.005)
        return time.monotonic() - began

    async def serve(self, namespace: str, port: int, answer: Callable[[], bytes], tls: ssl.SSLContext | None = None):  # type: ignore[no-untyped-def]
        async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer())
            writer.close()

        sock = self.wire.listen(namespace, port)
        sock.setblocking(False)
        return await asyncio.start_server(one, sock=sock, ssl=tls)


@pytest.fixture
async def world(wire: Wire) -> AsyncIterator[World]:
    links = wire.links()
    await links.ensure_network(Network("net1", "/owner/net1", ("10.224.0.0/16",)))
    for nic in NICS:
        await links.ensure_nic(nic)
    it = World(wire, links)
    yield it
    await it.end()
    await it.balancers.remove_balancer("lb1")
    for nic in NICS:
        await links.remove_nic(nic.id)
    await links.remove_network("net1")


def tcp(port: int = 8080, **more: float) -> Check:
    return Check("tcp", port, **{"interval": 5.0, "threshold": 2, **more})  # type: ignore[arg-type]


async def test_who_does_not_accept_is_out_before_anybody_is_told_of_the_balancer(world: World) -> None:
    with world.wire.listen("nodeb", 8080), world.wire.listen("nodeb", 80):
        await world.begin(tcp())
        assert await world.down() == {A}
        for _ in range(8):
            world.wire.connect(None, world.frontend, 80).close()
        health = world.prober.health("lb1")["r0"]
        assert (health[A].up, health[B].up) == (False, True)
        assert "refused" in health[A].reason


async def test_what_comes_up_is_in_at_once_not_at_the_next_full_interval(world: World) -> None:
    await world.begin(tcp(interval=60))
    assert await world.down() == {A, B}
    with world.wire.listen("nodea", 8080):
        assert await world.until_down(B) < 1.0


async def test_who_dies_is_out_within_its_threshold(world: World) -> None:
    check = tcp(interval=0.15, threshold=3)
    with world.wire.listen("nodeb", 8080):
        with world.wire.listen("nodea", 8080):
            await world.begin(check)
            assert await world.down() == set()
        took = await world.until_down(A)
    assert 0.25 <= took < 1.0


async def test_a_machine_that_is_gone_is_out_too(world: World) -> None:
    with world.wire.listen("nodea", 8080), world.wire.listen("nodeb", 8080):
        await world.begin(tcp(interval=0.15))
        await world.links.remove_nic("nicb")
        await world.until_down(B)


async def test_one_bad_answer_is_no_illness(world: World) -> None:
    good = True

    def answer() -> bytes:
        return b"HTTP/1.1 200 OK\r\n\r\n" if good else b"HTTP/1.1 500 Oh\r\n\r\n"

    async with await world.serve("nodea", 8080, answer), await world.serve("nodeb", 8080, answer):
        await world.begin(Check("http", 8080, interval=0.1, threshold=50))
        good = False
        world.asked.clear()
        await asyncio.sleep(0.5)
        assert len(world.asked) > 4
        assert await world.down() == set()


async def test_http_must_say_200(world: World) -> None:
    async with (
        await world.serve("nodea", 8080, lambda: b"HTTP/1.1 200 OK\r\n\r\nfine"),
        await world.serve("nodeb", 8080, lambda: b"HTTP/1.1 503 Service Unavailable\r\n\r\n"),
    ):
        await world.begin(Check("http", 8080, interval=5, path="/healthz?deep=1"))
        assert await world.down() == {B}
        assert world.prober.health("lb1")["r0"][B].reason == "answers 503 Service Unavailable"
    head = world.asked[0].decode().splitlines()
    assert head[0] == "GET /healthz?deep=1 HTTP/1.1"
    assert "User-Agent: Load Balancer Agent" in head


@pytest.fixture
def certificate(tmp_path: Path) -> ssl.SSLContext:
    """Of a name that nobody here has, by nobody."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=somebody.else", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


async def test_https_does_not_look_at_the_certificate(world: World, certificate: ssl.SSLContext) -> None:
    async with await world.serve("nodea", 8443, lambda: b"HTTP/1.1 200 OK\r\n\r\n", certificate):
        await world.begin(Check("https", 8443, interval=5))
        assert await world.down() == {B}


async def test_questions_come_from_where_azures_come_from(world: World) -> None:
    with world.wire.listen("nodea", 8080) as server, world.wire.listen("nodeb", 8080):
        await world.begin(tcp())
        peer, address = server.accept()
        peer.close()
    assert address[0] == SOURCE == "168.63.129.16"


async def test_rules_with_one_check_share_its_answers(world: World) -> None:
    with world.wire.listen("nodea", 8080) as server, world.wire.listen("nodeb", 8080):
        await world.begin(tcp(interval=60), tcp(interval=60))
        server.accept()[0].close()
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()


async def test_after_a_restart_it_goes_on_from_what_was_found(world: World) -> None:
    """Who was out stays out until he answers, who was in stays until he has failed often enough."""
    with world.wire.listen("nodeb", 8080):
        await world.begin(tcp(interval=60))
        assert await world.down() == {A}
    await world.restart(tcp(interval=60))
    assert await world.down() == {A}
    health = world.prober.health("lb1")["r0"]
    assert (health[A].up, health[B].up) == (False, True)
    assert health[B].reason == "not asked yet"


async def test_a_balancer_that_is_let_go_of_is_not_asked_for(world: World) -> None:
    with world.wire.listen("nodea", 8080) as server, world.wire.listen("nodeb", 8080):
        await world.begin(tcp(interval=0.05))
        world.prober.unwatch("lb1")
        await asyncio.sleep(0.1)
        _drain(server)
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()
    assert world.prober.health("lb1") == {}


async def test_many_questions_leave_time_for_everything_else() -> None:
    """Five hundred are due at once, and each takes a millisecond to begin."""

    class Slow:
        def socket(self, namespace: str) -> socket.socket:
            until = time.perf_counter() + 0.001
            while time.perf_counter() < until:
                pass
            raise DriverError("nobody is there")

        async def set_down(self, *_: object) -> None:
            return

    slow = Slow()
    prober = Prober(slow, slow)  # type: ignore[arg-type]
    addresses = tuple(f"10.0.{n // 250}.{n % 250}" for n in range(500))
    prober.watch(Watched("lb", "net", {"r": Check("tcp", 80, 5.0)}, {"r": addresses}), {}, frozenset())
    running = asyncio.create_task(prober.run())
    turns = 0
    async with asyncio.timeout(20):
        while any(h.reason == "not asked yet" for h in prober.health("lb")["r"].values()):
            turns += 1
            await asyncio.sleep(0)
    running.cancel()
    assert turns > 20  # Not one for all of them.


def _drain(server: socket.socket) -> None:
    server.settimeout(0.01)
    try:
        while True:
            server.accept()[0].close()
    except TimeoutError:
        return
