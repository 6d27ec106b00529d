"""Death before and after each step of what is asked of networks: no link, rule or route without a resource is left, and
all that was asked for stands.

As `test_every_step` does of clusters, with `world`'s host in memory. What is asked for is a landscape: two virtual
networks with a peering, a route table, a NAT gateway with an address and a prefix, a security group, a NIC with a
public address, a load balancer with a frontend of its own. The requests are sent one after the other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sorairo.engine.types import Document, Operation

from .world import GROUP, Life, World, everywhere, quickly

NETWORK = f"{GROUP}/providers/Microsoft.Network"
HUB, SPOKE = (f"{NETWORK}/virtualNetworks/{name}" for name in ("hub", "spoke"))
TO_SPOKE, TO_HUB = f"{HUB}/virtualNetworkPeerings/to-spoke", f"{SPOKE}/virtualNetworkPeerings/to-hub"
TABLE, GUARD = f"{NETWORK}/routeTables/rt", f"{NETWORK}/networkSecurityGroups/nsg"
GATEWAY, PREFIX = f"{NETWORK}/natGateways/nat", f"{NETWORK}/publicIPPrefixes/prefix"
OUT, IN, FRONT = (f"{NETWORK}/publicIPAddresses/{name}" for name in ("out", "in", "front"))
NIC, BALANCER = f"{NETWORK}/networkInterfaces/nic", f"{NETWORK}/loadBalancers/lb"

Request = tuple[str, Document | str | None]
"""Id and body of a PUT; a name: of a POST action; None: DELETE."""


def body(**properties: Any) -> Document:
    return {"location": "westeurope", "properties": properties}


def standard(**properties: Any) -> Document:
    return {**body(**properties), "sku": {"name": "Standard"}}


def ref(id: str) -> Document:
    return {"id": id}


def subnet(prefix: str, **named: str) -> Document:
    properties = {"addressPrefix": prefix, **{key: ref(id) for key, id in named.items()}}
    return {"name": "s", "properties": properties}


def network(prefix: str, *subnets: Document) -> Document:
    return body(addressSpace={"addressPrefixes": [prefix]}, subnets=list(subnets))


def nic(public: str | None) -> Document:
    ip = {"subnet": ref(f"{HUB}/subnets/s"), **({"publicIPAddress": ref(public)} if public else {})}
    pools = [ref(f"{BALANCER}/backendAddressPools/pool")]
    configuration = {"name": "ip", "properties": {**ip, "loadBalancerBackendAddressPools": pools}}
    return body(ipConfigurations=[configuration], networkSecurityGroup=ref(GUARD), enableIPForwarding=True)


def balancer() -> Document:
    frontend = {"name": "front", "properties": {"publicIPAddress": ref(FRONT)}}
    rule = {
        "name": "web",
        "properties": {
            "frontendIPConfiguration": ref(f"{BALANCER}/frontendIPConfigurations/front"),
            "backendAddressPool": ref(f"{BALANCER}/backendAddressPools/pool"),
            "protocol": "Tcp",
            "frontendPort": 80,
            "backendPort": 80,
        },
    }
    return standard(
        frontendIPConfigurations=[frontend],
        backendAddressPools=[{"name": "pool", "properties": {}}],
        loadBalancingRules=[rule],
    )


def routes(*prefixes: str) -> Document:
    hop = {"nextHopType": "VirtualAppliance", "nextHopIpAddress": "10.1.0.4"}
    return body(routes=[{"name": f"r{n}", "properties": {"addressPrefix": p, **hop}} for n, p in enumerate(prefixes)])


def half(remote: str, **flags: bool) -> Document:
    return {"properties": {"remoteVirtualNetwork": ref(remote), **flags}}


HUB_BODY = network("10.1.0.0/16", subnet("10.1.0.0/24", natGateway=GATEWAY, networkSecurityGroup=GUARD))
SPOKE_BODY = network("10.2.0.0/16", subnet("10.2.0.0/24", routeTable=TABLE))
CREATE: list[Request] = [
    (PREFIX, standard(prefixLength=30)),
    (OUT, standard()),
    (IN, standard(publicIPPrefix=ref(PREFIX))),
    (FRONT, standard()),
    (GUARD, body()),
    (TABLE, routes("0.0.0.0/0")),
    (GATEWAY, standard(publicIpAddresses=[ref(OUT)])),
    (HUB, HUB_BODY),
    (SPOKE, SPOKE_BODY),
    (TO_SPOKE, half(SPOKE)),
    (TO_HUB, half(HUB, allowForwardedTraffic=True)),
    (BALANCER, balancer()),
    (NIC, nic(IN)),
]
CHANGE: list[Request] = [
    (TABLE, routes("10.1.0.0/16", "0.0.0.0/0")),
    (GATEWAY, standard(publicIpAddresses=[ref(OUT)], publicIpPrefixes=[ref(PREFIX)])),
    (TO_SPOKE, half(SPOKE, allowForwardedTraffic=True)),
    (NIC, nic(None)),
    (SPOKE, network("10.2.0.0/16", subnet("10.2.0.0/25"))),
    (HUB, network("10.1.0.0/16", subnet("10.1.0.0/24"))),
]
DELETE: list[Request] = [
    (id, None) for id in (NIC, BALANCER, TO_SPOKE, TO_HUB, SPOKE, HUB, GATEWAY, TABLE, GUARD, FRONT, IN, OUT, PREFIX)
]
RUNS: dict[str, tuple[list[Request], list[Request]]] = {
    "create": ([], CREATE),
    "change": (CREATE, CHANGE),
    "delete": (CREATE, DELETE),
    "delete what was changed": ([*CREATE, *CHANGE], DELETE),
}
"""What is there before, and what is asked."""
WANTED = {
    "create": {
        "Network": 2,
        "Peering": 2,
        "RouteTable": 1,
        "Outbound": 2,
        "PublicAddress": 1,
        "Firewall": 1,
        "Balancer": 1,
    },
    "change": {"Network": 2, "Peering": 2, "Firewall": 1, "Balancer": 1, "Outbound": 1},
    "delete": {},
    "delete what was changed": {},
}
"""How many of what stand in the end. A load balancer has an Outbound too."""


async def send(life: Life, request: Request) -> Operation | None:
    id, body = request
    if isinstance(body, str):
        return await life.act(id, body)
    return await (life.delete(id) if body is None else life.put(id, body))


async def play(life: Life, requests: Sequence[Request]) -> None:
    for request in requests:
        operation = await send(life, request)
        if operation and operation.id:
            ended = await life.ended(operation)
            assert (ended.status, ended.error) == ("Succeeded", None), request[0]
    await life.quiet()


def counts(life: Life) -> dict[str, int]:
    traffic, found = life.host.traffic, {"Network": len(life.host.links.networks)}
    for name, kept in (
        ("Peering", traffic.peerings), ("RouteTable", traffic.tables), ("Outbound", traffic.outbounds),
        ("PublicAddress", traffic.publics), ("Firewall", traffic.firewalls), ("Balancer", traffic.balancers),
    ):  # fmt: skip
        found[name] = len(kept.whole)  # type: ignore[attr-defined]
    return {name: count for name, count in found.items() if count}


async def check(life: Life, what: str) -> None:
    await life.check_all()
    assert counts(life) == WANTED[what]
    if WANTED[what] == {}:
        assert life.host.objects == {}
        assert [str(note) for note in life.store.notes("claim public addresses")] == []


@pytest.mark.parametrize("what", RUNS)
async def test_killed_at_any_step_of_a_network_it_ends_as_if_it_had_not_been(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch)
    before, asked = RUNS[what]
    await killed_everywhere(before, asked, lambda life: check(life, what), tmp_path)


async def killed_everywhere(
    before: Sequence[Request],
    asked: Sequence[Request],
    check: Callable[[Life], Awaitable[None]],
    folder: Path,
    *,
    surely: bool = True,
    among: Callable[[Sequence[str]], list[str]] = list,
) -> None:
    """Play `asked` after `before`, undisturbed and with a death at each step `among` those passed; `check` holds in
    the end. Not `surely`: steps are not the same each time."""
    start = World("linux", folder / "given")
    async with start.life() as life:
        await play(life, before)
    undisturbed = start.copy(folder / "undisturbed")
    async with undisturbed.life() as life:
        await life.quiet()
        life.points.clear()
        await play(life, asked)
        await check(life)
        points = among(list(dict.fromkeys(life.points)))
    assert len(points) > 1

    async def die(world: World, point: str) -> None:
        armed = False
        async with world.life(lambda passed: armed and passed == point) as life:
            await life.quiet()
            armed = True
            done = await until_dead(life, asked, surely=surely)
        async with world.life() as life:
            await life.quiet()
            await play(life, asked[done:])
            await check(life)

    await everywhere(start, points, folder, die)


async def until_dead(life: Life, requests: Sequence[Request], *, surely: bool = True) -> int:
    """How many of the requests were acknowledged. Not `surely`: the point may not be passed this time."""
    import asyncio

    async def all_of_them() -> int:
        nonlocal done
        for request in requests:
            operation = await send(life, request)
            done += 1
            if operation and operation.id:
                await life.ended(operation)
        await life.quiet()
        return done

    done = 0
    work = asyncio.create_task(all_of_them())
    dead = asyncio.create_task(life.dead.wait())
    await asyncio.wait({work, dead}, return_when=asyncio.FIRST_COMPLETED)
    assert life.dead.is_set() or not surely
    for task in (work, dead):
        task.cancel()
    await asyncio.gather(work, dead, return_exceptions=True)
    return done
