"""From documents to packets: networks as clients write them, on the real fabric, and machines' sockets in them.

Given ARM with the Linux drivers in this process and machines that are namespaces alone; when peerings, routes, NAT
gateways and public addresses are written, then packets go that way, and nothing ever goes out of the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sorairo.drivers.linux.links import LinuxLinks
from sorairo.drivers.linux.traffic import linux_traffic
from sorairo.drivers.protocols import Leg
from sorairo.drivers.verdicts import Packet
from sorairo.engine.control import AsyncReader, Control
from sorairo.engine.ids import host_name, parse_id
from sorairo.engine.registry import Registry
from sorairo.engine.types import Document, Resource
from sorairo.providers import microsoft_network, microsoft_resources, schemas
from sorairo.providers.microsoft_network.packet_paths import Hop, Paths
from sorairo.store import Store
from wire import Wire, outward

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="needs root"), pytest.mark.root]

GROUP = "/subscriptions/0b1f6471-1bf0-4dda-aec3-111111111111/resourceGroups/g"
NETWORK = f"{GROUP}/providers/Microsoft.Network"


class World:
    def __init__(self, control: Control, wire: Wire, paths: Paths) -> None:
        self.control, self.wire, self.paths = control, wire, paths
        self.outside = wire.public(9)
        """Address of a server beyond the edge, in namespace `server`."""

    async def put(self, path: str, body: Document) -> Document:
        """Below Microsoft.Network; what is shown when it is done."""
        id = f"{NETWORK}/{path}"
        sent = body if "/virtualNetworkPeerings/" in path else {"location": "westeurope", **body}
        accepted = await self.control.put(parse_id(id), sent, principal="me")
        await self._ended(accepted.resource.id)
        return self.control.show(parse_id(id))

    async def delete(self, path: str) -> None:
        id = parse_id(f"{NETWORK}/{path}")
        await self.control.delete(id, principal="me")
        await self._ended(id.text)

    async def _ended(self, id: str) -> None:
        async with asyncio.timeout(20):
            while (found := self.control.store.get(id)) and not found.settled:
                await self.control.loop.wait_change(id.lower(), 0.05)
        assert found is None or found.error is None, found.error

    async def told(self, source: str, destination: str) -> list[str]:
        """The stations of a packet's way, as `sorairo trace packet` tells them; the last with `!` where it ends."""

        async def leave(*_: Any) -> None:
            return None

        async def arrive(*_: Any) -> tuple[Hop, ...]:
            return ()

        packet = Packet("tcp", source, destination, 40000, 80)
        hop = await self.paths.follow(AsyncReader(self.control.store), packet, "me", leave, arrive)
        found = []
        while hop:
            found.append(f"{hop.kind} {hop.name}" + "!" * hop.refused)
            (hop,) = hop.next or (None,)  # type: ignore[assignment]
        return found

    async def quiet(self) -> None:
        async with asyncio.timeout(20):
            loop = self.control.loop
            while work := [*loop._workers.values(), *loop._watching._tasks]:
                await asyncio.wait(work)

    async def network(self, name: str, prefix: str, **subnet: str) -> None:
        named = {key: {"id": f"{NETWORK}/{path}"} for key, path in subnet.items()}
        inner = {"addressPrefix": prefix.replace("/16", "/24"), **named}
        properties = {"addressSpace": {"addressPrefixes": [prefix]}, "subnets": [{"name": "s", "properties": inner}]}
        await self.put(f"virtualNetworks/{name}", {"properties": properties})

    async def machine(self, name: str, network: str, **properties: Any) -> str:
        """A NIC in a machine of its own, whose namespace is returned. `ip` goes into its configuration."""
        machine = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/{name}"
        ip = {"subnet": {"id": f"{NETWORK}/virtualNetworks/{network}/subnets/s"}, **properties.pop("ip", {})}
        body = {"properties": {"ipConfigurations": [{"name": "ip", "properties": ip}], **properties}}
        nics = [{"id": f"{NETWORK}/networkInterfaces/{name}"}]
        row = Resource(machine, {"properties": {"networkProfile": {"networkInterfaces": nics}}}, observed_generation=1)
        await self.control.store.transact(lambda tx: tx.put(row))
        await self.put(f"networkInterfaces/{name}", body)
        return host_name(machine)

    async def peer(self, near: str, far: str, **flags: bool) -> Document:
        remote = {"id": f"{NETWORK}/virtualNetworks/{far}"}
        path = f"virtualNetworks/{near}/virtualNetworkPeerings/to-{far}"
        return await self.put(path, {"properties": {"remoteVirtualNetwork": remote, **flags}})


def ref(path: str) -> Document:
    return {"id": f"{NETWORK}/{path}"}


STANDARD = {"sku": {"name": "Standard"}, "properties": {}}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    wire = Wire(tmp_path / "run")
    links: LinuxLinks = wire.links()
    store = Store.open(f"sqlite:///{tmp_path}/state.db")
    public = tuple(wire.public(n) for n in range(16, 128))
    traffic = linux_traffic(links)
    providers = [microsoft_resources.PROVIDER, microsoft_network.provider(links, traffic, public)]
    control = Control(store, Registry(providers), schemas.check)
    await control.loop.start()
    try:
        it = World(control, wire, Paths(links, traffic))
        await control.put(parse_id(GROUP), {"location": "westeurope"}, principal="me")
        await links.ensure_leg(Leg("server", "/owner/server", "server", it.outside))
        yield it
        await it.quiet()
        for each in store.list(type="Microsoft.Compute/virtualMachines"):
            await store.transact(lambda tx, id=each.id: tx.delete(id))
        for type in ("networkInterfaces", "loadBalancers", "virtualNetworks"):
            for each in store.list(type=f"Microsoft.Network/{type}"):
                await it.delete(each.id.removeprefix(f"{NETWORK}/"))
        await it.quiet()
        await links.remove_leg("server")
        assert not wire.run_dir.exists()
    finally:
        await control.loop.stop()
        await store.close()
        wire.wipe()


async def test_what_leaves_a_subnet_comes_from_its_gateway(world: World) -> None:
    wire = world.wire
    prefix = await world.put("publicIPPrefixes/x", {"sku": {"name": "Standard"}, "properties": {"prefixLength": 30}})
    await world.put("publicIPAddresses/p", STANDARD)
    gateway = {"sku": {"name": "Standard"}, "properties": {"publicIpAddresses": [ref("publicIPAddresses/p")]}}
    await world.put("natGateways/n", gateway)
    await world.network("v", "10.1.0.0/16")
    machines = [await world.machine(f"m{n}", "v") for n in range(3)]
    own = world.control.show(parse_id(f"{NETWORK}/publicIPAddresses/p"))["properties"]["ipAddress"]
    with wire.listen("server", 443) as server:
        default = wire.seen(server, machines[0], world.outside)
        await world.network("v", "10.1.0.0/16", natGateway="natGateways/n")
        await world.quiet()
        assert {wire.seen(server, m, world.outside) for m in machines} == {own} != {default}
        gateway["properties"] = {"publicIpPrefixes": [ref("publicIPPrefixes/x")]}
        await world.put("natGateways/n", gateway)
        of_prefix = prefix["properties"]["ipPrefix"].rpartition(".")[0]
        seen = {wire.seen(server, m, world.outside) for m in machines}
        assert own not in seen
        assert all(address.startswith(of_prefix) for address in seen)
        await world.network("v", "10.1.0.0/16")
        await world.quiet()
        assert wire.seen(server, machines[0], world.outside) == default
    await world.delete("natGateways/n")


async def test_a_public_address_works_both_ways_and_needs_a_security_group(world: World) -> None:
    wire = world.wire
    pip = await world.put("publicIPAddresses/p", STANDARD)
    address = pip["properties"]["ipAddress"]
    await world.network("v", "10.1.0.0/16")
    machine = await world.machine("m", "v", ip={"publicIPAddress": ref("publicIPAddresses/p")})
    with wire.listen("server", 443) as server, wire.listen(machine, 80) as web:
        assert wire.seen(server, machine, world.outside) == address
        # A Standard address lets nobody in until a security group says who may come.
        assert not wire.reaches(None, address, 80)
        allow = {
            "priority": 100, "direction": "Inbound", "access": "Allow", "protocol": "Tcp", "sourceAddressPrefix": "*",
            "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "80",
        }  # fmt: skip
        rules = [{"name": "web", "properties": allow}]
        await world.put("networkSecurityGroups/g", {"properties": {"securityRules": rules}})
        await world.network("v", "10.1.0.0/16", networkSecurityGroup="networkSecurityGroups/g")
        await world.quiet()
        assert wire.seen(web, None, address) == wire.host
        shown = world.control.show(parse_id(f"{NETWORK}/publicIPAddresses/p"))["properties"]
        assert shown["ipConfiguration"]["id"] == f"{NETWORK}/networkInterfaces/m/ipConfigurations/ip"
        await world.machine("m", "v")
        assert not wire.reaches(None, address, 80)
        assert wire.seen(server, machine, world.outside) != address
    await world.delete("publicIPAddresses/p")


async def test_spokes_meet_in_their_hubs_appliance(world: World) -> None:
    wire = world.wire
    hop = {"addressPrefix": "0.0.0.0/0", "nextHopType": "VirtualAppliance", "nextHopIpAddress": "10.1.0.4"}
    await world.put("routeTables/rt", {"properties": {"routes": [{"name": "all", "properties": hop}]}})
    await world.network("hub", "10.1.0.0/16")
    for n in (2, 3):
        await world.network(f"spoke{n}", f"10.{n}.0.0/16", routeTable="routeTables/rt")
    await world.machine("fw", "hub", enableIPForwarding=True)
    one, two = [await world.machine(f"m{n}", f"spoke{n}") for n in (2, 3)]
    assert not wire.reaches(one, "10.3.0.4", 80)
    for n in (2, 3):
        assert (await world.peer("hub", f"spoke{n}"))["properties"]["peeringState"] == "Initiated"
        shown = await world.peer(f"spoke{n}", "hub", allowForwardedTraffic=True)
        assert shown["properties"]["peeringState"] == "Connected"
    await world.quiet()
    with wire.listen(two, 80) as server:
        assert wire.seen(server, one, "10.3.0.4") == "10.2.0.4"
        told = await world.told("10.2.0.4", "10.3.0.4")
        assert told == [
            "client me",
            "route table rt",
            "peering spoke2 to hub",
            "route table rt",
            "appliance fw",
            "peering hub to spoke3",
            "node m3",
        ]
        hop["nextHopType"] = "None"
        del hop["nextHopIpAddress"]
        await world.put("routeTables/rt", {"properties": {"routes": [{"name": "all", "properties": hop}]}})
        assert not wire.reaches(one, "10.3.0.4", 80)
        assert await world.told("10.2.0.4", "10.3.0.4") == ["client me", "route table rt!"]
        assert wire.reaches(one, "10.1.0.4", 80)
        assert await world.told("10.2.0.4", "10.1.0.4") == ["client me", "peering spoke2 to hub", "node fw"]
        await world.delete("virtualNetworks/hub/virtualNetworkPeerings/to-spoke2")
        await world.quiet()
        assert not wire.reaches(one, "10.1.0.4", 80)
        half = world.control.show(parse_id(f"{NETWORK}/virtualNetworks/spoke2/virtualNetworkPeerings/to-hub"))
        assert half["properties"]["peeringState"] == "Disconnected"


# --- nothing leaves the machine ----------------------------------------------------------------------------


async def test_nothing_leaves_the_machine(world: World) -> None:
    """Machines with every way out that there is try addresses of the world, and answers to what they forge; the links
    of the host that lead anywhere else see nothing of it. That they would, is seen by what the host itself sends."""
    wire = world.wire
    await world.put("publicIPAddresses/p", STANDARD)
    await world.put("publicIPAddresses/q", STANDARD)
    gateway = {"sku": {"name": "Standard"}, "properties": {"publicIpAddresses": [ref("publicIPAddresses/q")]}}
    await world.put("natGateways/n", gateway)
    hop = {"addressPrefix": "0.0.0.0/0", "nextHopType": "Internet"}
    await world.put("routeTables/rt", {"properties": {"routes": [{"name": "out", "properties": hop}]}})
    await world.network("v", "10.1.0.0/16", routeTable="routeTables/rt")
    await world.network("w", "10.2.0.0/16", natGateway="natGateways/n")
    machines = [
        await world.machine("m", "v", ip={"publicIPAddress": ref("publicIPAddresses/p")}, enableIPForwarding=True),
        await world.machine("n", "w"),
    ]
    await world.quiet()
    targets = ("198.51.100.7", "203.0.113.9", "100.64.9.9", "8.8.8.8")
    with outward() as seen:
        for machine in (*machines, "server"):
            for n, target in enumerate(targets):
                with wire.datagram(machine) as sock, contextlib.suppress(OSError):
                    sock.sendto(b"anybody?", (target, 53))
                with wire.inside(machine):
                    probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                probe.setblocking(False)
                with contextlib.suppress(BlockingIOError, OSError):
                    probe.connect((target, 443 + n))
                probe.close()
        forged = _forged("198.51.100.66", targets[0])
        for machine in machines:
            with wire.inside(machine), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
                raw.sendto(forged, (targets[0], 0))
    assert [each for each in seen if each[1] in targets or each[0].startswith(("10.1.", "10.2.", wire.prefix))] == []
    assert not any(source == "198.51.100.66" for source, _ in seen)


def _forged(source: str, destination: str) -> bytes:
    """A UDP packet with a source of one's choosing."""
    payload = b"forged"
    udp = struct.pack("!HHHH", 4000, 53, 8 + len(payload), 0) + payload
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, socket.inet_aton(source),
        socket.inet_aton(destination),
    )  # fmt: skip
    return header + udp
