"""What every PrivateLinks driver promises; then who reaches a control plane by one, and who does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.hollow.traffic import HollowPrivateLinks
from sorairo.drivers.linux.links import LinuxLinks
from sorairo.drivers.linux.private_links import LinuxPrivateLinks
from sorairo.drivers.linux.routing import LinuxPeerings, LinuxRouteTables
from sorairo.drivers.private_links import PrivateLink, PrivateLinks
from sorairo.drivers.protocols import DriverError, Leg, Links, Network, Nic
from sorairo.drivers.routing import Hop, Peering, RouteTable
from sorairo.drivers.traffic import Standing
from wire import Wire, linux

everyone = pytest.mark.parametrize("links", ["hollow", linux], indirect=True)
real = pytest.mark.parametrize("links", [linux], indirect=True)

NICS = [Nic(f"nic{n}", f"/owner/nic{n}", f"net{n}", f"node{n}", "10.1.0.4", "10.1.0.1", 24) for n in (1, 2)]
"""In networks that have the same prefix."""
NIC3 = Nic("nic3", "/owner/nic3", "net3", "node3", "10.3.0.4", "10.3.0.1", 24)
ADDRESS = "10.1.0.200"


def private(n: int, **changed: object) -> PrivateLink:
    return replace(PrivateLink(f"pe{n}", f"/owner/pe{n}", f"net{n}", ADDRESS, "leg1"), **changed)  # type: ignore[arg-type]


@pytest.fixture
def leg(wire: Wire) -> Leg:
    """Of net1, closed to everybody."""
    return Leg("leg1", "/owner/leg1", "cp1", wire.public(20), "net1", allowed=())


@pytest.fixture
async def links(request: pytest.FixtureRequest, wire: Wire, leg: Leg) -> AsyncIterator[Links]:
    links: Links = HollowLinks() if request.param == "hollow" else wire.links()
    for n, prefix in enumerate(("10.1.0.0/16", "10.1.0.0/16", "10.3.0.0/16"), 1):
        await links.ensure_network(Network(f"net{n}", f"/owner/net{n}", (prefix,), wire.public(10 + n)))
    for nic in (*NICS, NIC3):
        await links.ensure_nic(nic)
    await links.ensure_leg(leg)
    yield links
    await links.remove_leg("leg1")
    for nic in (*NICS, NIC3):
        await links.remove_nic(nic.id)
    for n in (1, 2, 3):
        await links.remove_network(f"net{n}", with_rules=True)
    assert not wire.run_dir.exists()


@pytest.fixture
def private_links(links: Links) -> PrivateLinks:
    return HollowPrivateLinks(links) if isinstance(links, HollowLinks) else LinuxPrivateLinks(links)  # type: ignore[arg-type]


@everyone
async def test_what_was_ensured_stands_until_it_is_removed(private_links: PrivateLinks) -> None:
    for specs in ([private(1)], [private(1), private(2)], [private(1, address="10.1.0.201"), private(2)]):
        for _ in range(2):
            for spec in specs:
                await private_links.ensure_private_link(spec)
            assert await private_links.observe_private_links() == Standing({spec.id: spec for spec in specs})
    for _ in range(2):
        await private_links.remove_private_link("pe1")
        assert await private_links.observe_private_links() == Standing({"pe2": private(2)})
    await private_links.remove_private_link("pe2")
    assert await private_links.observe_private_links() == Standing()


@everyone
async def test_it_needs_a_network_a_leg_and_an_address_of_its_own(private_links: PrivateLinks) -> None:
    await private_links.ensure_private_link(private(1))
    with pytest.raises(DriverError, match="pe1"):
        await private_links.ensure_private_link(private(1, id="other"))
    with pytest.raises(DriverError, match="net9"):
        await private_links.ensure_private_link(private(1, id="other", network="net9"))
    with pytest.raises(DriverError, match="leg9"):
        await private_links.ensure_private_link(private(1, id="other", leg="leg9", address="10.1.0.9"))
    assert await private_links.observe_private_links() == Standing({"pe1": private(1)})


@everyone
async def test_without_its_leg_it_stands_in_part(links: Links, private_links: PrivateLinks, leg: Leg) -> None:
    await private_links.ensure_private_link(private(2))
    await links.remove_leg("leg1")
    assert await private_links.observe_private_links() == Standing({}, {"pe2": "/owner/pe2"})
    await links.ensure_leg(leg)
    await private_links.ensure_private_link(private(2))
    assert await private_links.observe_private_links() == Standing({"pe2": private(2)})
    assert leg.id in (await links.observe_links()).legs


@real
async def test_machines_of_its_networks_reach_the_leg_and_nobody_else_does(
    private_links: PrivateLinks, wire: Wire, leg: Leg
) -> None:
    with wire.listen("cp1", 443, leg.public_address) as server:
        assert not wire.reaches("node1", ADDRESS, 443)
        await private_links.ensure_private_link(private(1))
        assert wire.seen(server, "node1", ADDRESS).startswith("169.254.")
        assert not wire.reaches("node2", ADDRESS, 443)
        await private_links.ensure_private_link(private(2))
        came_from = {wire.seen(server, node, ADDRESS) for node in ("node1", "node2")}
        assert len(came_from) == 2
        for client in (None, "node1", "node3"):
            assert not wire.reaches(client, leg.public_address, 443)
        await private_links.remove_private_link("pe1")
        assert not wire.reaches("node1", ADDRESS, 443)
        assert wire.reaches("node2", ADDRESS, 443)


@real
async def test_only_what_listens_at_the_legs_own_address_is_reached(
    private_links: PrivateLinks, wire: Wire, leg: Leg
) -> None:
    await private_links.ensure_private_link(private(2))
    with wire.listen("cp1", 8443, "127.0.0.1"), wire.listen("node1", 81):
        with pytest.raises(ConnectionRefusedError):
            wire.connect("node2", ADDRESS, 8443)
        # The leg reaches its own network, and nobody by a private link, even if it knows the way.
        assert wire.reaches("cp1", "10.1.0.4", 81)
        wire.ip("cp1", "route", "add", "10.1.0.4/32", "via", "169.254.160.1", "dev", "spe2", "onlink")
        with wire.listen("node2", 81):
            assert not wire.reaches("cp1", "10.1.0.4", 81)


@real
async def test_peers_reach_it(links: LinuxLinks, private_links: PrivateLinks, wire: Wire, leg: Leg) -> None:
    peerings = LinuxPeerings(links)
    await private_links.ensure_private_link(private(1))
    with wire.listen("cp1", 443, leg.public_address) as server:
        assert not wire.reaches("node3", ADDRESS, 443)
        for near, far in ((1, 3), (3, 1)):
            await peerings.ensure_peering(Peering(f"h{near}{far}", "/o", f"net{near}", f"net{far}"))
        assert wire.seen(server, "node3", ADDRESS).startswith("169.254.")


@real
async def test_no_table_of_routes_leads_elsewhere(
    links: LinuxLinks, private_links: PrivateLinks, wire: Wire, leg: Leg
) -> None:
    """Nor does one of a peer: the longest prefix wins, as long as none is as long."""
    tables, peerings = LinuxRouteTables(links), LinuxPeerings(links)
    for near, far in ((1, 3), (3, 1)):
        await peerings.ensure_peering(Peering(f"h{near}{far}", "/o", f"net{near}", f"net{far}"))
    hops = (Hop("10.1.0.0/16", "nowhere"),)
    specs = [RouteTable(f"rt{n}", "/o", f"net{n}", (f"10.{n}.0.0/24",), hops) for n in (1, 3)]
    for spec in specs:
        await tables.ensure_route_table(spec)
    with wire.listen("cp1", 443, leg.public_address):
        await private_links.ensure_private_link(private(1))
        assert await tables.observe_route_tables() == Standing({spec.id: spec for spec in specs})
        assert not wire.reaches("node3", "10.1.0.4", 443)
        assert wire.reaches("node1", ADDRESS, 443)
        assert wire.reaches("node3", ADDRESS, 443)
        await private_links.remove_private_link("pe1")
        assert await tables.observe_route_tables() == Standing({spec.id: spec for spec in specs})


@real
@pytest.mark.parametrize(
    ("where", "damage"),
    [("net1", "link del spe1"), ("cp1", "link set spe1 down"), ("net1", f"route del {ADDRESS}")],
)
async def test_damage_is_seen_and_mended(
    private_links: PrivateLinks, wire: Wire, leg: Leg, where: str, damage: str
) -> None:
    await private_links.ensure_private_link(private(1))
    wire.ip(where, *damage.split())
    assert await private_links.observe_private_links() == Standing({}, {"pe1": "/owner/pe1"})
    await private_links.ensure_private_link(private(1))
    assert await private_links.observe_private_links() == Standing({"pe1": private(1)})
    assert wire.reaches("node1", ADDRESS, 443)
