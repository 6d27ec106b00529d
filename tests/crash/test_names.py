"""Death before and after each step that DNS zones, their links and labels take, beside a cluster, in memory."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sorairo.drivers.naming import PublicName, PublicZone, View
from sorairo.engine.types import Operation

from .world import CLUSTER, GROUP, NODE_GROUP, Life, World, cluster, everywhere, quickly

NETWORK = f"{GROUP}/providers/Microsoft.Network"
PRIVATE, PUBLIC = f"{NETWORK}/privateDnsZones/corp.example", f"{NETWORK}/dnsZones/shop.example"
LINK, LABEL = f"{PRIVATE}/virtualNetworkLinks/l", f"{NETWORK}/publicIPAddresses/p"
MACHINES = f"{NODE_GROUP}/providers/Microsoft.Network/virtualNetworks"


async def make(life: Life) -> None:
    """All of it, as a client that asks again what it has had no answer to."""
    (network,) = life.store.list(type="Microsoft.Network/virtualNetworks")
    anywhere = {"location": "global", "properties": {}}
    label = {"dnsSettings": {"domainNameLabel": "web"}, "publicIPAllocationMethod": "Static"}
    linked = {"virtualNetwork": {"id": network.id}, "registrationEnabled": True}
    for id, body in (
        (PRIVATE, anywhere),
        (LINK, {"location": "global", "properties": linked}),
        (LABEL, {"location": "westeurope", "sku": {"name": "Standard"}, "properties": label}),
        (PUBLIC, anywhere),
        (f"{PUBLIC}/A/www", {"properties": {"TTL": 5, "targetResource": {"id": LABEL}}}),
    ):
        await done(life, await life.put(id, body))


async def remove(life: Life) -> None:
    for id in (PUBLIC, LABEL, LINK, PRIVATE):
        await done(life, await life.delete(id))


async def done(life: Life, operation: Operation | None) -> None:
    if operation and operation.id:
        assert (await life.ended(operation)).status == "Succeeded"


def is_made(life: Life) -> None:
    assert life.host.names
    told = life.host.names.whole.values()
    (view,) = [each for each in told if isinstance(each, View)]
    zones = {zone.name: zone.text for zone in view.zones}
    name = life.instances()[0].properties["osProfile"]["computerName"]
    assert f"{name}.corp.example. 10 IN A 10.224.0.4\n" in zones["corp.example"]
    assert f" IN PTR {name}.corp.example.\n" in zones["in-addr.arpa"]
    (public,) = [each for each in told if isinstance(each, PublicZone)]
    (label,) = [each for each in told if isinstance(each, PublicName)]
    assert f"www.shop.example. 5 IN A {label.address}\n" in public.zone.text
    assert label.name == "web.westeurope.cloudapp.sorairo.internal"


def is_removed(life: Life) -> None:
    assert life.host.names
    (view,) = life.host.names.whole.values()
    assert isinstance(view, View)
    assert not any("corp.example" in zone.text for zone in view.zones)
    assert life.store.list(under=PRIVATE) == life.store.list(under=PUBLIC) == []


async def test_killed_at_any_step_zones_and_labels_end_as_if_they_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch)
    bare = World("linux", tmp_path / "bare")
    async with bare.life() as life:
        await done(life, await life.put(CLUSTER, cluster(one=1)))
        await life.quiet()
    full = bare.copy(tmp_path / "full")
    async with full.life() as life:
        await make(life)
        await life.quiet()
        is_made(life)
    for start, change, check in ((bare, make, is_made), (full, remove, is_removed)):
        calm = start.copy(tmp_path / "calm")
        async with calm.life() as life:
            await life.quiet()
            life.points.clear()
            await change(life)
            await life.quiet()
            points = list(dict.fromkeys(life.points))
        assert len(points) > 10

        async def die(world: World, point: str, change: Any = change, check: Any = check) -> None:
            armed = False
            async with world.life(lambda passed: armed and passed == point) as life:
                await life.quiet()
                armed = True
                asking = asyncio.create_task(change(life))
                await life.dead.wait()
                asking.cancel()
            async with world.life() as life:
                await life.quiet()
                await change(life)
                await life.quiet()
                check(life)
                await life.check_all()

        await everywhere(start, points, tmp_path / f"{start.folder.name}, killed", die)  # Beside it: it is copied.
