"""What every Links driver promises; then what real packets do in the one that has some."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.linux import iproute, nft
from sorairo.drivers.linux import links as linux_links
from sorairo.drivers.linux.links import LinuxLinks
from sorairo.drivers.linux.netns import Namespaces, write_sysctls
from sorairo.drivers.linux.trial import shortcomings
from sorairo.drivers.protocols import DriverError, Leg, Links, LinkState, Network, Nic
from wire import PATIENCE, Wire

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
everyone = pytest.mark.parametrize(
    "links", ["hollow", pytest.param("linux", marks=[needs_root, pytest.mark.root])], indirect=True
)
real = pytest.mark.parametrize("links", [pytest.param("linux", marks=[needs_root, pytest.mark.root])], indirect=True)


@pytest.fixture
async def links(request: pytest.FixtureRequest, wire: Wire) -> AsyncIterator[Links]:
    links: Links = HollowLinks() if request.param == "hollow" else wire.links()
    yield links
    await clear(links)


async def clear(links: Links) -> None:
    left = await links.observe_links()
    for each in [*left.nics, *left.partial]:
        await links.remove_nic(each)
    for each in [*left.legs, *left.partial]:
        await links.remove_leg(each)
    for each in [*left.networks, *left.partial]:
        await links.remove_network(each)


@pytest.fixture
def net(wire: Wire) -> Network:
    return Network("net1", "/owner/net1", ("10.224.0.0/16",), snat=wire.public(10))


@pytest.fixture
def leg(wire: Wire) -> Leg:
    return Leg("leg1", "/owner/leg1", "cp1", wire.public(20), "net1")


A = Nic("nica", "/owner/nica", "net1", "nodea", "10.224.0.4", "10.224.0.1", 24, ("10.224.0.16/28", "10.224.0.40"))
B = Nic("nicb", "/owner/nicb", "net1", "nodeb", "10.224.0.5", "10.224.0.1", 24, ("10.224.0.50",))


async def state(links: Links) -> LinkState:
    return await links.observe_links()


NOTHING = LinkState({}, {}, {})

# --- everyone --------------------------------------------------------------------------------------------


@everyone
async def test_what_was_ensured_stands_and_says_whose_it_is(links: Links, net: Network, leg: Leg) -> None:
    assert await state(links) == NOTHING
    await links.ensure_network(net)
    await links.ensure_nic(A)
    await links.ensure_leg(leg)
    assert await state(links) == LinkState({"net1": net}, {"nica": A}, {"leg1": leg})


@everyone
async def test_ensuring_again_changes_nothing(links: Links, net: Network, leg: Leg) -> None:
    for _ in range(2):
        await links.ensure_network(net)
        await links.ensure_nic(A)
        await links.ensure_leg(leg)
        assert await state(links) == LinkState({"net1": net}, {"nica": A}, {"leg1": leg})


@everyone
async def test_what_was_removed_is_gone_and_may_be_removed_again(links: Links, net: Network, leg: Leg) -> None:
    await links.ensure_network(net)
    await links.ensure_nic(A)
    await links.ensure_leg(leg)
    for _ in range(2):
        await links.remove_leg("leg1")
        await links.remove_nic("nica")
        await links.remove_network("net1")
    assert await state(links) == NOTHING


@everyone
async def test_a_changed_spec_takes_the_place_of_the_old(links: Links, wire: Wire, net: Network, leg: Leg) -> None:
    await links.ensure_network(net)
    await links.ensure_nic(A)
    await links.ensure_leg(leg)
    net = replace(net, prefixes=("10.224.0.0/16", "10.230.0.0/16"), snat=None)
    a = replace(A, address="10.224.0.9", prefix_length=16, secondary=("10.224.0.40", "10.224.0.41"))
    leg = replace(leg, public_address=wire.public(21), reach=("10.244.0.0/16",))
    await links.ensure_network(net)
    await links.ensure_nic(a)
    await links.ensure_leg(leg)
    assert await state(links) == LinkState({"net1": net}, {"nica": a}, {"leg1": leg})


@everyone
async def test_nothing_is_put_into_a_network_that_is_not_there(links: Links, leg: Leg) -> None:
    with pytest.raises(DriverError, match="net1"):
        await links.ensure_nic(A)
    with pytest.raises(DriverError, match="net1"):
        await links.ensure_leg(leg)
    assert await state(links) == NOTHING


@everyone
async def test_a_network_is_not_taken_from_under_what_is_in_it(links: Links, net: Network, leg: Leg) -> None:
    await links.ensure_network(net)
    await links.ensure_nic(A)
    await links.ensure_leg(leg)
    with pytest.raises(DriverError, match="in use by nic nica, leg leg1"):
        await links.remove_network("net1")
    assert await state(links) == LinkState({"net1": net}, {"nica": A}, {"leg1": leg})


@everyone
async def test_a_nic_moves_to_another_network(links: Links, net: Network) -> None:
    other = Network("net2", "/owner/net2", ("10.224.0.0/16",))
    await links.ensure_network(net)
    await links.ensure_network(other)
    await links.ensure_nic(A)
    moved = replace(A, network="net2")
    await links.ensure_nic(moved)
    assert await state(links) == LinkState({"net1": net, "net2": other}, {"nica": moved}, {})
    await links.remove_network("net1")


@everyone
async def test_a_leg_needs_no_network(links: Links, leg: Leg) -> None:
    leg = replace(leg, network=None)
    await links.ensure_leg(leg)
    assert (await state(links)).legs == {"leg1": leg}


@everyone
async def test_different_things_at_once(links: Links, wire: Wire) -> None:
    networks = [Network(f"net{n}", f"/owner/{n}", ("10.0.0.0/8",), wire.public(10 + n)) for n in range(3)]
    nics = [
        Nic(f"nic{n}{m}", f"/owner/{n}{m}", f"net{n}", f"node{n}{m}", f"10.0.0.{4 + m}", "10.0.0.1", 24)
        for n in range(3)
        for m in range(3)
    ]
    legs = [Leg(f"leg{n}", f"/owner/l{n}", f"cp{n}", wire.public(20 + n), "net0") for n in range(3)]
    await asyncio.gather(*(links.ensure_network(each) for each in networks))
    await asyncio.gather(*(links.ensure_nic(each) for each in nics), *(links.ensure_leg(each) for each in legs))
    assert await state(links) == LinkState(
        {each.id: each for each in networks}, {each.id: each for each in nics}, {each.id: each for each in legs}
    )
    await asyncio.gather(*(links.remove_nic(each.id) for each in nics), *(links.remove_leg(each.id) for each in legs))
    await asyncio.gather(*(links.remove_network(each.id) for each in networks))
    assert await state(links) == NOTHING


@everyone
async def test_a_socket_can_be_had_inside_and_only_where_there_is_an_inside(links: Links, net: Network) -> None:
    with pytest.raises(DriverError, match="net1"):
        links.socket("net1")
    await links.ensure_network(net)
    links.socket("net1").close()


async def test_the_hollow_one_fails_as_told() -> None:
    links = HollowLinks()
    net = Network("net1", "/owner/net1", ("10.224.0.0/16",))
    links.fail["ensure_network", "net1"] = DriverError("no memory")
    links.half = True
    with pytest.raises(DriverError, match="no memory"):
        await links.ensure_network(net)
    assert await state(links) == LinkState({}, {}, {}, {"net1": "/owner/net1"})
    links.fail.clear()
    await links.ensure_network(net)
    assert await state(links) == LinkState({"net1": net}, {}, {})


@needs_root
@pytest.mark.root
def test_whether_a_host_can_do_it_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shortcomings() is None
    monkeypatch.setenv("PATH", "/nonexistent")
    assert shortcomings() == "ip is not installed"


# --- crashes and damage ----------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for a kill: nothing after it is done."""


@real
async def test_killed_after_any_change_the_next_call_finishes(
    links: Links, wire: Wire, net: Network, leg: Leg, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dies before its k-th change to the host, for every k, making and removing; a new driver then sets it right."""
    left = 0

    def mortal(change):  # type: ignore[no-untyped-def]
        def wrapped(*args, **kwargs):  # type: ignore[no-untyped-def]
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return change(*args, **kwargs)

        return wrapped

    monkeypatch.setattr(linux_links, "batch", mortal(iproute.batch))
    monkeypatch.setattr(nft, "apply", mortal(nft.apply))
    monkeypatch.setattr(Namespaces, "create", mortal(Namespaces.create))
    monkeypatch.setattr(Namespaces, "delete", mortal(Namespaces.delete))

    async def make(driver: LinuxLinks) -> None:
        await driver.ensure_network(net)
        await driver.ensure_nic(A)
        await driver.ensure_leg(leg)

    async def unmake(driver: LinuxLinks) -> None:
        await driver.remove_leg("leg1")
        await driver.remove_nic("nica")
        await driver.remove_network("net1")

    whole = LinkState({"net1": net}, {"nica": A}, {"leg1": leg})
    for work, before, finish, after in ((make, unmake, make, whole), (unmake, make, unmake, NOTHING)):
        for k in range(1, 100):
            left = 0
            await before(wire.links())
            left = k
            try:
                await work(wire.links())
            except Killed:
                left = 0
                # Whatever is there has a record, so that it can be cleared away instead, were the resource gone.
                now = await wire.links().observe_links()
                assert now == NOTHING or now.partial or now.networks, f"at {k}"
                await finish(wire.links())
                assert await wire.links().observe_links() == after, f"{work.__name__} killed at {k}"
            else:
                break
        assert k > 5
    left = 0
    await unmake(wire.links())
    assert not wire.run_dir.exists()


@real
async def test_a_real_kill_leaves_nothing_that_cannot_be_removed(links: Links, wire: Wire, net: Network) -> None:
    code = f"""
        import asyncio
        from pathlib import Path
        from sorairo.drivers.linux.links import LinuxLinks
        from sorairo.drivers.protocols import Network, Nic
        async def main():
            links = LinuxLinks(Path({str(wire.run_dir)!r}), "{wire.prefix}.0/24", "{wire.tag}")
            while True:
                await links.ensure_network({net!r})
                await links.ensure_nic({A!r})
                print("round", flush=True)
                await links.remove_nic("nica")
                await links.remove_network("net1")
        asyncio.run(main())
    """
    for delay in (0.0, 0.03, 0.06, 0.09):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", textwrap.dedent(code), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"round\n"
        await asyncio.sleep(delay)  # anywhere in the middle of things
        process.kill()
        await process.wait()
        await links.ensure_network(net)
        await links.ensure_nic(A)
        assert await state(links) == LinkState({"net1": net}, {"nica": A}, {})
        await links.remove_nic("nica")
        await links.remove_network("net1")
        assert not wire.run_dir.exists()


@real
@pytest.mark.parametrize(
    ("where", "damage", "whose"),
    [
        ("net1", "route del 10.224.0.40", {"nica"}),
        ("net1", "link del inica", {"nica"}),
        ("net1", "link set inica down", {"nica"}),
        ("nodea", "route del default", {"nica"}),
        ("nodea", "addr flush dev eth0", {"nica"}),
        ("net1", "route flush dev edge", {"net1"}),
        ("edge", "link del nnet1", {"net1"}),
        ("cp1", "route del 10.224.0.0/16", {"leg1"}),
        ("edge", "route flush dev cleg1", {"leg1"}),
        (None, "link del sorairo-{tag}", {"net1", "leg1"}),
    ],
)
async def test_damage_is_seen_and_mended(
    links: Links, wire: Wire, net: Network, leg: Leg, where: str | None, damage: str, whose: set[str]
) -> None:
    await links.ensure_network(net)
    await links.ensure_nic(A)
    await links.ensure_leg(leg)
    wire.ip(where, *damage.format(tag=wire.tag).split())
    assert set((await state(links)).partial) == whose
    await links.ensure_network(net)
    await links.ensure_nic(A)
    await links.ensure_leg(leg)
    assert await state(links) == LinkState({"net1": net}, {"nica": A}, {"leg1": leg})
    assert wire.reaches("nodea", leg.public_address, 80)


@real
async def test_lost_rules_are_seen_and_mended(links: Links, wire: Wire, net: Network) -> None:
    await links.ensure_network(net)
    wire.nft("net1", "flush ruleset")
    assert set((await state(links)).partial) == {"net1"}
    await links.ensure_network(net)
    assert not (await state(links)).partial


@real
async def test_a_lost_namespace_is_seen_and_made_anew(links: Links, wire: Wire, net: Network, leg: Leg) -> None:
    await links.ensure_network(net)
    await links.ensure_nic(A)
    await links.ensure_leg(leg)
    for lost, whose in (
        ("edge", {"net1", "leg1"}),
        ("net1", {"net1", "nica", "leg1"}),
        ("nodea", {"nica"}),
        ("cp1", {"leg1"}),
    ):
        wire.ns.delete(lost)
        assert set((await state(links)).partial) >= whose
        await links.ensure_network(net)
        await links.ensure_nic(A)
        await links.ensure_leg(leg)
        assert await state(links) == LinkState({"net1": net}, {"nica": A}, {"leg1": leg})


@real
async def test_nothing_is_left_and_the_host_is_as_before(links: Links, wire: Wire, net: Network, leg: Leg) -> None:
    def host() -> tuple[object, ...]:
        rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, check=True).stdout
        mounts = [m for m in Path("/proc/self/mounts").read_text().splitlines() if str(wire.run_dir) in m]
        sysctls = tuple(
            (Path("/proc/sys/net/ipv4") / each).read_text()
            for each in ("ip_forward", "conf/all/rp_filter", "conf/all/proxy_arp", "conf/default/proxy_arp")
        )
        return wire.ip(None, "-br", "link"), wire.ip(None, "route"), wire.ip(None, "rule"), rules, mounts, sysctls

    before = host()
    await links.ensure_network(net)
    await links.ensure_nic(A)
    await links.ensure_leg(leg)
    during = host()
    assert during[2:4] == before[2:4]
    assert during[5] == before[5]
    added = set(str(during[1]).splitlines()) - set(str(before[1]).splitlines())
    assert len(added) == 1
    await clear(links)
    assert host() == before
    assert not wire.run_dir.exists()


@real
async def test_a_range_that_is_routed_elsewhere_is_left_alone(links: Links, wire: Wire, net: Network) -> None:
    wire.ip(None, "route", "add", f"{wire.prefix}.0/24", "dev", "lo")
    try:
        with pytest.raises(DriverError, match="already routed"):
            await links.ensure_network(net)
    finally:
        wire.ip(None, "route", "del", f"{wire.prefix}.0/24", "dev", "lo")


# --- packets ---------------------------------------------------------------------------------------------


@pytest.fixture
async def fabric(links: Links, net: Network, leg: Leg) -> Links:
    """Network net1 with nodes a and b and the leg cp1."""
    await links.ensure_network(net)
    await links.ensure_nic(A)
    await links.ensure_nic(B)
    await links.ensure_leg(leg)
    return links


@real
async def test_nodes_and_their_pods_reach_each_other_with_their_own_addresses(fabric: Links, wire: Wire) -> None:
    wire.pod("nodea", "10.224.0.17")
    wire.pod("nodeb", "10.224.0.50")
    with wire.listen("nodeb", 80) as server:
        assert wire.seen(server, "nodea", B.address) == A.address
        assert wire.seen(server, "nodea", "10.224.0.50", source="10.224.0.17") == "10.224.0.17"


@real
async def test_an_address_nobody_has_is_not_passed_to_and_fro(fabric: Links, wire: Wire) -> None:
    """A pod's address without its pod: the node sends it back to the network, which must not return it."""

    def received() -> int:
        with wire.inside("nodea"):
            return int(Path("/proc/thread-self/net/dev").read_text().partition("eth0:")[2].split()[1])

    before = received()
    assert not wire.reaches("nodeb", "10.224.0.18", 80)
    assert received() - before < 8


@real
async def test_the_gateway_answers_and_the_first_packet_is_as_quick_as_the_next(fabric: Links, wire: Wire) -> None:
    with wire.listen("nodeb", 80):
        began = time.monotonic()
        wire.connect("nodea", B.address, 80).close()
        assert time.monotonic() - began < PATIENCE / 2
    assert wire.reaches("nodea", A.gateway, 80)


@real
async def test_a_machine_that_asks_for_a_neighbour_is_answered_for_it(fabric: Links, wire: Wire) -> None:
    """A machine with a route of its own to its subnet asks who has the neighbour; nobody is near, the network is."""
    wire.ip("nodea", "route", "add", "10.224.0.0/24", "dev", "eth0")
    with wire.listen("nodeb", 80) as server:
        began = time.monotonic()
        assert wire.seen(server, "nodea", B.address) == A.address
        assert time.monotonic() - began < PATIENCE / 2


@real
async def test_the_host_reaches_public_addresses_and_only_those(fabric: Links, wire: Wire, leg: Leg) -> None:
    with wire.listen("cp1", 443) as server:
        assert wire.seen(server, None, leg.public_address) == wire.host
    assert not wire.reaches(None, wire.public(99), 443)
    assert not wire.reaches(None, wire.public(10), 443)  # only answers go to the address connections come from


@real
async def test_connections_leave_from_the_networks_address(fabric: Links, wire: Wire, leg: Leg) -> None:
    wire.pod("nodea", "10.224.0.17")
    with wire.listen("cp1", 443) as server:
        assert wire.seen(server, "nodea", leg.public_address) == wire.public(10)
        assert wire.seen(server, "nodea", leg.public_address, source="10.224.0.17") == wire.public(10)


@real
async def test_nothing_leaves_without_such_an_address(fabric: Links, wire: Wire, net: Network, leg: Leg) -> None:
    await fabric.ensure_network(replace(net, snat=None))
    assert not wire.reaches("nodea", leg.public_address, 443)
    with wire.listen("nodea", 10250) as server:
        assert wire.seen(server, "cp1", A.address).startswith("169.254.")


@real
async def test_connections_outlive_a_change_of_the_network(fabric: Links, wire: Wire, net: Network, leg: Leg) -> None:
    with (
        wire.listen("cp1", 443) as server,
        wire.connect("nodea", leg.public_address, 443) as client,
        server.accept()[0] as answer,
    ):
        await fabric.ensure_network(replace(net, prefixes=(*net.prefixes, "10.230.0.0/16")))
        answer.sendall(b"still here")
        assert client.recv(10) == b"still here"


@real
async def test_a_network_cannot_reach_the_host(fabric: Links, wire: Wire) -> None:
    with wire.listen(None, 0) as server:
        port = server.getsockname()[1]
        assert not wire.reaches("nodea", wire.host, port)
        own = wire.ip(None, "-4", "-br", "addr").splitlines()
        for address in {line.split()[2].split("/")[0] for line in own} - {"127.0.0.1", wire.host}:
            assert not wire.reaches("nodea", address, port)
        assert wire.reaches("cp1", wire.host, port)


@real
async def test_the_control_plane_reaches_nodes_and_pods_unseen(fabric: Links, wire: Wire, net: Network) -> None:
    wire.pod("nodea", "10.224.0.17")
    with wire.listen("nodea", 10250) as server:
        source = wire.seen(server, "cp1", A.address)
        assert source.startswith("169.254.")
        assert wire.seen(server, "cp1", "10.224.0.17") == source
    with wire.listen("cp1", 2379):
        assert not wire.reaches("nodea", source, 2379)


@real
async def test_a_prefix_the_network_gains_is_reached_by_its_legs(fabric: Links, wire: Wire, net: Network) -> None:
    await fabric.ensure_network(replace(net, prefixes=(*net.prefixes, "10.230.0.0/16")))
    await fabric.ensure_nic(Nic("nicc", "/c", "net1", "nodec", "10.230.0.4", "10.230.0.1", 24))
    with wire.listen("nodec", 10250) as server:
        assert wire.seen(server, "cp1", "10.230.0.4").startswith("169.254.")
    assert not (await state(fabric)).partial


@real
async def test_a_leg_reaches_an_overlay(fabric: Links, wire: Wire, leg: Leg) -> None:
    await fabric.ensure_nic(replace(A, secondary=("10.244.1.0/24",)))
    wire.pod("nodea", "10.244.1.7")
    with wire.listen("nodea", 8443) as server:
        assert not wire.reaches("cp1", "10.244.1.7", 8443)
        await fabric.ensure_leg(replace(leg, reach=("10.244.0.0/16",)))
        assert wire.seen(server, "cp1", "10.244.1.7").startswith("169.254.")


@real
async def test_networks_may_overlap_and_do_not_meet(fabric: Links, wire: Wire, net: Network) -> None:
    """Two networks with the same prefixes, a node of the same address in each, and a control plane for each."""
    await fabric.ensure_network(Network("net2", "/owner/net2", net.prefixes, wire.public(11)))
    await fabric.ensure_nic(replace(A, id="nicz", network="net2", namespace="nodez"))
    await fabric.ensure_leg(Leg("leg2", "/owner/leg2", "cp2", wire.public(21), "net2"))
    with wire.listen("nodea", 10250) as one, wire.listen("nodez", 10250) as two:
        wire.seen(one, "cp1", A.address)
        wire.seen(two, "cp2", A.address)
        assert wire.reaches("nodea", B.address, 80)
        assert not wire.reaches("nodez", B.address, 80)
    with wire.listen("cp2", 443) as server:
        assert wire.seen(server, "nodea", wire.public(21)) == wire.public(10)
        assert wire.seen(server, "nodez", wire.public(21)) == wire.public(11)


@real
async def test_machines_reach_what_the_host_publishes_and_nothing_else(fabric: Links, wire: Wire, net: Network) -> None:
    with wire.listen(None, 0) as open_, wire.listen(None, 0) as shut:
        ports = open_.getsockname()[1], shut.getsockname()[1]
        publishing = LinuxLinks(wire.run_dir, f"{wire.prefix}.0/24", wire.tag, published=[("tcp", ports[0])])
        assert (await state(publishing)).partial
        await publishing.ensure_network(net)
        assert not (await state(publishing)).partial
        assert wire.seen(open_, "nodea", wire.host) == wire.public(10)
        assert not wire.reaches("nodea", wire.host, ports[1])


@real
async def test_services_of_a_network_answer_its_machines_by_their_known_addresses(fabric: Links, wire: Wire) -> None:
    with fabric.socket("net1") as server:
        server.bind(("169.254.169.254", 80))
        server.listen()
        server.settimeout(PATIENCE)
        assert wire.seen(server, "nodea", "169.254.169.254") == A.address
    with wire.listen("nodea", 10256) as node, fabric.socket("net1") as probe:
        probe.bind(("168.63.129.16", 0))
        probe.settimeout(PATIENCE)
        probe.connect((A.address, 10256))
        assert node.accept()[1][0] == "168.63.129.16"


@real
async def test_what_the_host_has_set_for_new_namespaces_does_not_hold_inside(
    links: Links, wire: Wire, net: Network
) -> None:
    """Many hosts filter by reverse path; a namespace copies that, and a link copies its namespace's."""
    await links.ensure_network(net)
    wire.ns.create("nodea")
    with wire.inside("nodea"):
        write_sysctls({f"ipv4/conf/{which}/rp_filter": "1" for which in ("all", "default")})
    await links.ensure_nic(A)
    assert wire.sysctl("nodea", "ipv4/conf/eth0/rp_filter") == "0"


@real
async def test_a_nic_has_the_mac_it_is_given(fabric: Links, wire: Wire) -> None:
    await fabric.ensure_nic(replace(A, mac="00:22:48:aa:bb:cc"))
    assert "00:22:48:aa:bb:cc" in wire.ip("nodea", "link", "show", "eth0")


# --- who may come to a control plane ---------------------------------------------------------------------


@real
async def test_a_leg_lets_in_whom_it_allows(fabric: Links, wire: Wire, leg: Leg) -> None:
    """Its own programs always, others by the address they come from; and who is in stays in."""
    with wire.listen("cp1", 443) as server:
        guest = wire.connect(None, leg.public_address, 443)
        with guest, server.accept()[0] as other:
            nodes = replace(leg, allowed=(f"{wire.public(10)}/32",))
            await fabric.ensure_leg(nodes)
            assert (await state(fabric)).legs == {"leg1": nodes}
            assert not wire.reaches(None, leg.public_address, 443)
            assert wire.reaches("nodea", leg.public_address, 443), "nodes come from their network's address"
            assert wire.reaches("cp1", leg.public_address, 443)
            other.sendall(b"still here")
            assert guest.recv(10) == b"still here"
    with wire.listen("nodea", 10250):
        assert wire.reaches("cp1", A.address, 10250), "what it asks of the network is answered"
    await fabric.ensure_leg(replace(leg, allowed=("198.16.0.0/14", "198.19.0.0/16", "1.1.1.1")))
    assert wire.reaches(None, leg.public_address, 443)
    await fabric.ensure_leg(replace(leg, allowed=()))
    assert not wire.reaches(None, leg.public_address, 443)
    assert not wire.reaches("nodea", leg.public_address, 443)
    assert wire.reaches("cp1", leg.public_address, 443)
    await fabric.ensure_leg(replace(leg, allowed=("0.0.0.0/0",)))
    assert wire.reaches(None, leg.public_address, 443)
    await fabric.ensure_leg(leg)
    assert (await state(fabric)).legs == {"leg1": leg}
    assert wire.reaches(None, leg.public_address, 443)


@real
async def test_a_doors_rules_are_missed_when_someone_takes_them(fabric: Links, wire: Wire, leg: Leg) -> None:
    closed = replace(leg, allowed=())
    await fabric.ensure_leg(closed)
    wire.nft("cp1", "flush ruleset")
    assert "leg1" in (await state(fabric)).partial
    await fabric.ensure_leg(closed)
    assert (await state(fabric)).legs == {"leg1": closed}
    assert not wire.reaches(None, leg.public_address, 443)


@real
async def test_an_overlays_addresses_are_known_to_its_machines_alone(fabric: Links, wire: Wire, leg: Leg) -> None:
    a = replace(A, secondary=("10.244.0.0/24",), overlay="10.244.0.0/16")
    b = replace(B, secondary=("10.244.1.0/24",), overlay="10.244.0.0/16")
    for nic in (a, b):
        await fabric.ensure_nic(nic)
    assert (await state(fabric)).nics == {"nica": a, "nicb": b}
    # A pod by a link of its own: only what is forwarded comes under another address.
    wire.ns.create("pod")
    wire.ip("nodea", "link", "add", "vpod", "type", "veth", "peer", "eth0", "netns", str(wire.ns.path("pod")))
    wire.ip("nodea", "link", "set", "vpod", "up")
    for words in ("link set eth0 up", "addr add 10.244.0.7/32 dev eth0", f"route add {A.address} dev eth0 scope link",
                  f"route add default via {A.address}"):  # fmt: skip
        wire.ip("pod", *words.split())
    wire.ip("nodea", "route", "add", "10.244.0.7", "dev", "vpod")
    wire.pod("nodeb", "10.244.1.7")
    with wire.listen("nodeb", 80) as server:
        assert wire.seen(server, "pod", "10.244.1.7") == "10.244.0.7", "among themselves under their own"
        assert wire.seen(server, "pod", B.address) == A.address, "elsewhere under the machine's"
    with wire.listen("cp1", 443) as server:
        assert wire.seen(server, "pod", leg.public_address) == wire.public(10)
    await fabric.ensure_leg(replace(leg, reach=("10.244.0.0/16",)))
    with wire.listen("pod", 80) as server:
        assert wire.seen(server, "cp1", "10.244.0.7").startswith("169.254.")
    wire.nft("nodea", "flush ruleset")
    assert "nica" in (await state(fabric)).partial
    await fabric.ensure_nic(replace(a, overlay=None))
    assert (await state(fabric)).nics["nica"].overlay is None
    wire.ns.delete("pod")
