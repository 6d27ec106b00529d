"""What every Peerings driver promises; then who reaches whom in two networks, and in three."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.hollow.traffic import HollowPeerings
from sorairo.drivers.linux.links import LinuxLinks
from sorairo.drivers.linux.routing import LinuxPeerings
from sorairo.drivers.protocols import DriverError, Links, Network, Nic
from sorairo.drivers.routing import Peering, Peerings
from sorairo.drivers.traffic import Standing
from wire import Wire, linux

everyone = pytest.mark.parametrize("links", ["hollow", linux], indirect=True)
real = pytest.mark.parametrize("links", [linux], indirect=True)

NICS = [Nic(f"nic{n}", f"/owner/nic{n}", f"net{n}", f"node{n}", f"10.{n}.0.4", f"10.{n}.0.1", 24) for n in (1, 2, 3)]


def half(near: int, far: int, **changed: object) -> Peering:
    return replace(Peering(f"h{near}{far}", f"/owner/h{near}{far}", f"net{near}", f"net{far}"), **changed)  # type: ignore[arg-type]


def network(wire: Wire, n: int, *more: str) -> Network:
    return Network(f"net{n}", f"/owner/net{n}", (f"10.{n}.0.0/16", *more), wire.public(10 + n))


@pytest.fixture
async def links(request: pytest.FixtureRequest, wire: Wire) -> AsyncIterator[Links]:
    links: Links = HollowLinks() if request.param == "hollow" else wire.links()
    for n, nic in enumerate(NICS, 1):
        await links.ensure_network(network(wire, n))
        await links.ensure_nic(nic)
    yield links
    for nic in NICS:
        await links.remove_nic(nic.id)
    for n in (1, 2, 3):
        await links.remove_network(f"net{n}", with_rules=True)
    assert not wire.run_dir.exists()


@pytest.fixture
def peerings(links: Links) -> Peerings:
    return HollowPeerings(links) if isinstance(links, HollowLinks) else LinuxPeerings(links)  # type: ignore[arg-type]


@everyone
async def test_what_was_ensured_stands_until_it_is_removed(peerings: Peerings) -> None:
    one, two = half(1, 2), half(2, 1)
    for specs in ([one], [one, two], [replace(one, forwarded=True), two]):
        for _ in range(2):
            for spec in specs:
                await peerings.ensure_peering(spec)
            assert await peerings.observe_peerings() == Standing({spec.id: spec for spec in specs})
    for _ in range(2):
        await peerings.remove_peering("h12")
        assert await peerings.observe_peerings() == Standing({"h21": two})
    await peerings.remove_peering("h21")
    assert await peerings.observe_peerings() == Standing()


@everyone
async def test_a_network_has_one_half_to_another(peerings: Peerings) -> None:
    await peerings.ensure_peering(half(1, 2))
    with pytest.raises(DriverError, match="h12"):
        await peerings.ensure_peering(half(1, 2, id="other"))
    with pytest.raises(DriverError, match="net9"):
        await peerings.ensure_peering(half(1, 2, id="other", network="net9"))
    await peerings.ensure_peering(half(1, 2, id="other", remote="net9"))


@real
async def test_packets_flow_while_both_halves_stand(peerings: Peerings, wire: Wire) -> None:
    with wire.listen("node2", 80) as two, wire.listen("node1", 80) as one:
        await peerings.ensure_peering(half(1, 2))
        assert not wire.reaches("node1", "10.2.0.4", 80)
        await peerings.ensure_peering(half(2, 1))
        assert wire.seen(two, "node1", "10.2.0.4") == "10.1.0.4"
        assert wire.seen(one, "node2", "10.1.0.4") == "10.2.0.4"
        await peerings.remove_peering("h12")
        assert not wire.reaches("node1", "10.2.0.4", 80)
        assert not wire.reaches("node2", "10.1.0.4", 80)
        assert "p" not in {line[0] for line in wire.ip("net2", "-br", "link").splitlines()}


@real
async def test_a_peer_of_a_peer_is_none(peerings: Peerings, wire: Wire) -> None:
    for near, far in ((1, 2), (2, 1), (2, 3), (3, 2)):
        await peerings.ensure_peering(half(near, far, forwarded=True))
    with wire.listen("node3", 80):
        assert wire.reaches("node1", "10.2.0.4", 80)
        assert wire.reaches("node2", "10.3.0.4", 80)
        assert not wire.reaches("node1", "10.3.0.4", 80)
        # Not even when it knows the way.
        wire.ip("net1", "route", "add", "10.3.0.0/16", "via", "169.254.191.5", "dev", "ph12", "onlink")
        wire.ip("net3", "route", "add", "10.1.0.0/16", "via", "169.254.191.5", "dev", "ph32", "onlink")
        assert not wire.reaches("node1", "10.3.0.4", 80)


@real
async def test_a_prefix_that_is_gained_is_reached_and_one_that_is_lost_is_not(
    links: LinuxLinks, peerings: Peerings, wire: Wire
) -> None:
    for spec in (half(1, 2), half(2, 1)):
        await peerings.ensure_peering(spec)
    await links.ensure_network(network(wire, 2, "10.9.0.0/16"))
    await links.ensure_nic(replace(NICS[1], address="10.9.0.4", gateway="10.9.0.1"))
    assert await peerings.observe_peerings() == Standing({"h12": half(1, 2), "h21": half(2, 1)})
    with wire.listen("node2", 80) as server:
        assert wire.seen(server, "node1", "10.9.0.4") == "10.1.0.4"
        await links.ensure_network(network(wire, 2))
        assert not wire.reaches("node1", "10.9.0.4", 80)


@real
async def test_what_is_forwarded_there_is_taken_only_if_allowed(
    links: LinuxLinks, peerings: Peerings, wire: Wire
) -> None:
    """Machine 1 passes on what comes from an address that is not of its network."""
    await links.ensure_nic(replace(NICS[0], forwarding=True))
    wire.pod("node1", "192.168.7.7")
    wire.ip("net1", "route", "add", "192.168.7.7", "dev", "inic1")
    for spec in (half(1, 2), half(2, 1)):
        await peerings.ensure_peering(spec)
    wire.ip("net2", "route", "add", "192.168.7.7", "via", "169.254.191.5", "dev", "ph21", "onlink")
    with wire.listen("node2", 80) as server:
        assert wire.seen(server, "node1", "10.2.0.4") == "10.1.0.4"
        assert not wire.reaches("node1", "10.2.0.4", 80, source="192.168.7.7")
        wire.ip("net2", "route", "del", "192.168.7.7")
        await peerings.ensure_peering(half(2, 1, forwarded=True))
        wire.ip("net2", "route", "add", "192.168.7.7", "via", "169.254.191.5", "dev", "ph21", "onlink")
        assert wire.seen(server, "node1", "10.2.0.4", source="192.168.7.7") == "192.168.7.7"


@real
async def test_a_peer_does_not_leave_by_anothers_edge(peerings: Peerings, wire: Wire) -> None:
    for spec in (half(1, 2), half(2, 1)):
        await peerings.ensure_peering(spec)
    wire.ip("net1", "route", "replace", f"{wire.prefix}.0/24", "via", "169.254.191.5", "dev", "ph12", "onlink")
    assert not wire.reaches("node1", wire.public(13), 80)
    listed = wire.ip("edge", "-s", "-j", "link", "show", "nnet2")
    assert '"rx":{"bytes":0' in listed.replace(" ", "")


@real
@pytest.mark.parametrize(
    ("where", "damage"),
    [("net1", "link del ph12"), ("net2", "link set ph21 down"), ("net1", "route del 10.2.0.0/16")],
)
async def test_damage_is_seen_and_mended(peerings: Peerings, wire: Wire, where: str, damage: str) -> None:
    for spec in (half(1, 2), half(2, 1)):
        await peerings.ensure_peering(spec)
    wire.ip(where, *damage.split())
    seen = await peerings.observe_peerings()
    assert seen.partial
    for spec in (half(1, 2), half(2, 1)):
        if spec.id in seen.partial:
            await peerings.ensure_peering(spec)
    assert await peerings.observe_peerings() == Standing({"h12": half(1, 2), "h21": half(2, 1)})
    assert wire.reaches("node1", "10.2.0.4", 80)


@real
async def test_a_network_that_goes_takes_its_half_along(links: LinuxLinks, peerings: Peerings, wire: Wire) -> None:
    for spec in (half(1, 2), half(2, 1)):
        await peerings.ensure_peering(spec)
    await links.remove_nic("nic1")
    await links.remove_network("net1", with_rules=True)
    assert await peerings.observe_peerings() == Standing({"h21": half(2, 1)})
    assert "ph21" not in wire.ip("net2", "-br", "link")
