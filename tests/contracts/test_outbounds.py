"""What every Outbounds driver promises; then whom servers outside see."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.hollow.traffic import HollowOutbounds
from sorairo.drivers.linux.links import LinuxLinks
from sorairo.drivers.linux.traffic import LinuxOutbounds, LinuxPublicAddresses
from sorairo.drivers.protocols import DriverError, Leg, Links, Network, Nic
from sorairo.drivers.traffic import Outbound, Outbounds, PublicAddress, Standing, Way
from wire import PATIENCE, Wire, linux

everyone = pytest.mark.parametrize("links", ["hollow", linux], indirect=True)
real = pytest.mark.parametrize("links", [linux], indirect=True)

NICS = [
    Nic(f"nic{n}", f"/owner/nic{n}", "net1", f"node{n}", f"10.224.{n // 4}.{n + 4}", f"10.224.{n // 4}.1", 24)
    for n in range(6)
]
"""Four in one subnet, two in another."""


@pytest.fixture
async def links(request: pytest.FixtureRequest, wire: Wire) -> AsyncIterator[Links]:
    links: Links = HollowLinks() if request.param == "hollow" else wire.links()
    await links.ensure_network(Network("net1", "/owner/net1", ("10.224.0.0/16",), wire.public(10)))
    for nic in NICS:
        await links.ensure_nic(nic)
    await links.ensure_leg(Leg("leg1", "/owner/leg1", "server", wire.public(20)))
    yield links
    for each in ("out1", "out2"):
        await outbounds_of(links).remove_outbound(each)
    if isinstance(links, LinuxLinks):
        await LinuxPublicAddresses(links).remove_public_address("pip1")
    for nic in NICS:
        await links.remove_nic(nic.id)
    await links.remove_leg("leg1")
    await links.remove_network("net1")
    assert not wire.run_dir.exists()


def outbounds_of(links: Links) -> Outbounds:
    return HollowOutbounds(links) if isinstance(links, HollowLinks) else LinuxOutbounds(links)  # type: ignore[arg-type]


@pytest.fixture
def outbounds(links: Links) -> Outbounds:
    return outbounds_of(links)


def one(wire: Wire, *sources: str, last: int = 30) -> Outbound:
    return Outbound("out1", "/owner/out1", "net1", (Way(sources, (wire.public(last),)),))


@everyone
async def test_what_was_ensured_stands_until_it_is_removed(outbounds: Outbounds, wire: Wire) -> None:
    both = Way(("10.224.0.0/24",), (wire.public(30), wire.public(31)))
    for spec in (
        one(wire, "10.224.0.4"),
        one(wire, "10.224.0.4", "10.224.0.5"),
        Outbound("out1", "/owner/out1", "net1", (both,), precedence=0),
    ):
        for _ in range(2):
            await outbounds.ensure_outbound(spec)
            assert await outbounds.observe_outbounds() == Standing({"out1": spec})
    for _ in range(2):
        await outbounds.remove_outbound("out1")
        assert await outbounds.observe_outbounds() == Standing()


@everyone
async def test_a_source_has_one_way_of_a_precedence(outbounds: Outbounds, wire: Wire) -> None:
    await outbounds.ensure_outbound(one(wire, "10.224.0.4"))
    other = replace(one(wire, "10.224.0.4", last=31), id="out2")
    with pytest.raises(DriverError, match="out1"):
        await outbounds.ensure_outbound(other)
    await outbounds.ensure_outbound(replace(other, precedence=0))
    with pytest.raises(DriverError, match="net9"):
        await outbounds.ensure_outbound(replace(other, network="net9"))


@real
async def test_who_is_named_comes_from_there_and_nobody_else(outbounds: Outbounds, wire: Wire) -> None:
    with wire.listen("server", 80) as server:
        await outbounds.ensure_outbound(one(wire, "10.224.0.4", "10.224.1.0/24"))
        seen = {node: wire.seen(server, f"node{node}", wire.public(20)) for node in (0, 1, 4, 5)}
        assert seen == {0: wire.public(30), 1: wire.public(10), 4: wire.public(30), 5: wire.public(30)}
        await outbounds.remove_outbound("out1")
        assert wire.seen(server, "node0", wire.public(20)) == wire.public(10)


@real
async def test_machines_are_spread_and_keep_their_address(outbounds: Outbounds, wire: Wire) -> None:
    three = tuple(wire.public(n) for n in (30, 31, 32))
    await outbounds.ensure_outbound(Outbound("out1", "/owner/out1", "net1", (Way(("10.224.0.0/16",), three),)))
    with wire.listen("server", 80) as server:
        rounds = [[wire.seen(server, nic.namespace, wire.public(20)) for nic in NICS] for _ in range(3)]
    assert rounds[0] == rounds[1] == rounds[2]
    assert {*rounds[0]} <= {*three}
    assert len({*rounds[0]}) > 1


@real
async def test_what_goes_before_what(links: LinuxLinks, outbounds: Outbounds, wire: Wire) -> None:
    """A subnet's gateway, a machine's own address, a balancer's rule, the network's own: in this order."""
    with wire.listen("server", 80) as server:
        await outbounds.ensure_outbound(one(wire, "10.224.0.4"))
        await LinuxPublicAddresses(links).ensure_public_address(
            PublicAddress("pip1", "/owner/pip1", "net1", wire.public(60), "10.224.0.4")
        )
        assert wire.seen(server, "node0", wire.public(20)) == wire.public(60)
        gateway = Outbound("out2", "/owner/out2", "net1", (Way(("10.224.0.0/24",), (wire.public(40),)),), precedence=0)
        await outbounds.ensure_outbound(gateway)
        assert wire.seen(server, "node0", wire.public(20)) == wire.public(40)
        assert wire.seen(server, "node5", wire.public(20)) == wire.public(10)


@real
async def test_without_an_address_nothing_leaves(links: LinuxLinks, outbounds: Outbounds, wire: Wire) -> None:
    await links.ensure_network(Network("net1", "/owner/net1", ("10.224.0.0/16",)))
    await outbounds.ensure_outbound(one(wire, "10.224.0.4"))
    with wire.listen("server", 80) as server:
        assert wire.seen(server, "node0", wire.public(20)) == wire.public(30)
        assert not wire.reaches("node1", wire.public(20), 80)


@real
async def test_what_is_connected_keeps_its_address_while_that_is_the_networks(outbounds: Outbounds, wire: Wire) -> None:
    await outbounds.ensure_outbound(one(wire, "10.224.0.4"))
    with wire.listen("server", 80) as server, wire.connect("node0", wire.public(20), 80) as client:
        answer, (source, _) = server.accept()
        swapped = (Way(("10.224.0.4",), (wire.public(31),)), Way(("10.224.0.5",), (wire.public(30),)))
        await outbounds.ensure_outbound(Outbound("out1", "/owner/out1", "net1", swapped))
        with answer:
            answer.sendall(b"still")
            assert client.recv(5) == b"still"
            assert source == wire.public(30)
            client.sendall(b"there")
            assert answer.recv(5) == b"there"
        assert wire.seen(server, "node0", wire.public(20)) == wire.public(31)


def with_ports(wire: Wire, *lasts: int, **changes: object) -> Outbound:
    """Machine 0 has eight ports of each address, and machine 1 the next eight."""
    addresses = tuple(wire.public(last) for last in lasts)
    ways = (Way(("10.224.0.4",), addresses, (1024, 1031)), Way(("10.224.0.5",), addresses, (1032, 1039)))
    return Outbound("out1", "/owner/out1", "net1", tuple(replace(way, **changes) for way in ways))  # type: ignore[arg-type]


@everyone
async def test_ports_and_times_stand_too(outbounds: Outbounds, wire: Wire) -> None:
    for spec in (with_ports(wire, 30), with_ports(wire, 30, 31), with_ports(wire, 30, idle=240, reset=True)):
        await outbounds.ensure_outbound(spec)
        assert await outbounds.observe_outbounds() == Standing({"out1": spec})


@real
async def test_a_machine_has_its_ports_and_no_more(outbounds: Outbounds, wire: Wire) -> None:
    """Towards one server's port: to another's, they are there again. UDP has its own."""
    await outbounds.ensure_outbound(with_ports(wire, 30))
    with wire.listen("server", 80) as server, wire.listen("server", 81), wire.datagram("server", 53) as names:
        for node, first in (("node0", 1024), ("node1", 1032)):
            held = [wire.connect(node, wire.public(20), 80) for _ in range(8)]
            seen = {server.accept()[1] for _ in held}
            assert seen == {(wire.public(30), port) for port in range(first, first + 8)}
            assert not wire.reaches(node, wire.public(20), 80)
            assert wire.reaches(node, wire.public(20), 81)
            with wire.datagram(node) as client:
                client.sendto(b"ask", (wire.public(20), 53))
                assert names.recvfrom(9)[1][1] in range(first, first + 8)
            for each in held:
                each.close()


@real
async def test_a_machine_has_ports_of_every_address(outbounds: Outbounds, wire: Wire) -> None:
    await outbounds.ensure_outbound(with_ports(wire, 30, 31))
    with wire.listen("server", 80) as server:
        held = []
        for _ in range(9):
            with contextlib.suppress(TimeoutError):  # Each gets any address, and that has eight.
                held.append(wire.connect("node0", wire.public(20), 80))
        seen = {server.accept()[1] for _ in held}
        assert {address for address, _ in seen} == {wire.public(30), wire.public(31)}
        assert {port for _, port in seen} <= {*range(1024, 1032)}
        for each in held:
            each.close()


@real
@pytest.mark.parametrize("reset", [True, False])
async def test_what_left_and_was_idle_too_long_ends(outbounds: Outbounds, wire: Wire, reset: bool) -> None:
    await outbounds.ensure_outbound(with_ports(wire, 30, idle=1, reset=reset))
    with wire.listen("server", 80) as server:
        held = []
        for _ in range(2):
            near = wire.connect("node0", wire.public(20), 80)
            far = server.accept()[0]
            far.sendall(b"hello")
            assert near.recv(5) == b"hello"
            far.settimeout(PATIENCE)
            held.append((near, far))
        wire.forgotten("net1")
        (near, _), (_, far) = held
        for each in (near, far):
            each.sendall(b"anyone?")
            with pytest.raises(ConnectionResetError if reset else TimeoutError):
                each.recv(1)
        assert wire.seen(server, "node0", wire.public(20)) == wire.public(30)


@real
async def test_private_subnets_leave_only_by_what_was_made_for_them(
    links: Links, outbounds: Outbounds, wire: Wire
) -> None:
    network = Network("net1", "/owner/net1", ("10.224.0.0/16",), wire.public(10))
    with wire.listen("server", 80) as server:
        assert wire.seen(server, "node0", wire.public(20)) == wire.public(10)
        private = replace(network, private=("10.224.0.0/24",))
        await links.ensure_network(private)
        assert (await links.observe_links()).networks["net1"] == private
        assert not wire.reaches("node0", wire.public(20), 80)
        assert wire.reaches("node0", "10.224.1.8", 81), "within the network nothing is changed"
        assert wire.seen(server, "node4", wire.public(20)) == wire.public(10), "another subnet's"
        await outbounds.ensure_outbound(one(wire, "10.224.0.4"))
        assert wire.seen(server, "node0", wire.public(20)) == wire.public(30)
        assert not wire.reaches("node1", wire.public(20), 80)
        await links.ensure_network(network)
        assert wire.seen(server, "node1", wire.public(20)) == wire.public(10)
