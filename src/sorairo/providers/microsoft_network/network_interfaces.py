"""Network interfaces, of virtual machines and of scale set instances: a veth into the machine's namespace.

https://learn.microsoft.com/rest/api/virtualnetwork/network-interfaces
The second type lives under Microsoft.Compute's path and is served by Microsoft.Network, as on Azure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sorairo.drivers.protocols import DriverError, Links, Nic
from sorairo.drivers.traffic import PublicAddress, PublicAddresses
from sorairo.engine.errors import ArmError, Retry
from sorairo.engine.ids import host_name, parse_id
from sorairo.engine.types import Action, Context, Document, Reader, Resource, ResourceType, Step, named
from sorairo.providers.microsoft_network.addresses import address, gateway, number, parse_prefix, usable, usable_count
from sorairo.providers.microsoft_network.interface_admission import admit, admit_delete, endpoint_of, find_subnet
from sorairo.providers.microsoft_network.public_ip_addresses import address_of
from sorairo.providers.microsoft_network.references import missing
from sorairo.providers.microsoft_network.resolver import VIRTUAL_MACHINE, machine_of, servers, suffix, wanted_by
from sorairo.providers.microsoft_network.versions import API_VERSIONS, OF_INSTANCES
from sorairo.providers.microsoft_network.virtual_networks import NIC_TYPES, VIRTUAL_NETWORK, subnet_prefix
from sorairo.providers.overlays import block_of, blocks_of, overlay_of, pool_name


def configurations(nic: Resource) -> list[Document]:
    return nic.properties.get("ipConfigurations") or []


def subnet_of(nic: Resource) -> str:
    return str(configurations(nic)[0]["properties"]["subnet"]["id"])


@dataclass(frozen=True, slots=True)
class Actual:
    nic: Nic | None
    desired: Nic | None
    """None while it has no addresses yet, or no machine to be in."""
    addresses: tuple[str, ...]
    """One for each ipConfiguration, in order; empty until all that it needs is claimed."""
    partial: bool = False
    """Something of it stands, though not all."""
    machine: str | None = None
    """Id of the virtual machine it is to be in."""
    dns: Document = field(default_factory=dict)
    """What its `dnsSettings` show besides what was asked for."""
    publics: dict[str, PublicAddress] = field(default_factory=dict)
    """Of its public addresses, those that stand, by id."""
    wanted_publics: dict[str, PublicAddress] = field(default_factory=dict)
    partial_publics: tuple[str, ...] = ()
    unaddressed: tuple[str, ...] = ()
    """Public IPs it names that have no address yet."""


class NicReconciler:
    """Addresses are claimed durably, then the veth is made in the machine's namespace.

    `blocks`: several addresses of one NIC make a network prefix where one is free, for those who can only say them so.
    """

    def __init__(self, links: Links, publics: PublicAddresses, *, blocks: bool = False) -> None:
        self._links = links
        self._publics = publics
        self._blocks = blocks

    async def observe(self, ctx: Context, resource: Resource) -> Actual:
        state = await self._links.observe_links()
        id = host_name(resource.id)
        machine = None if resource.deleting else await wanted_by(ctx, resource)
        desired = await self._desired(ctx, resource, machine) if machine else None
        told = await _dns(ctx, resource)
        here = Actual(state.nics.get(id), desired, claimed(resource), id in state.partial, machine, told)
        wanted, unaddressed = ({}, ()) if resource.deleting else await self._wanted_publics(ctx, resource)
        if not wanted and not unaddressed and not resource.private.get("public"):
            return here
        found = await self._publics.observe_public_addresses()
        return replace(
            here,
            publics={i: each for i, each in found.whole.items() if each.owner.lower() == resource.key},
            partial_publics=tuple(i for i, owner in found.partial.items() if owner.lower() == resource.key),
            wanted_publics=wanted,
            unaddressed=unaddressed,
        )

    async def _wanted_publics(
        self, ctx: Context, resource: Resource
    ) -> tuple[dict[str, PublicAddress], tuple[str, ...]]:
        """And whose addresses are not known yet."""
        found, unaddressed = {}, []
        for ip, own in zip(configurations(resource), claimed(resource), strict=False):
            if pip_id := (ip["properties"].get("publicIPAddress") or {}).get("id"):
                pip = await ctx.get(pip_id)
                public = address_of(pip) if pip else None
                if pip is None or public is None:
                    unaddressed.append(str(pip_id))
                    continue
                id = host_name(f"{resource.id}/ipConfigurations/{ip['name']}".lower())
                network = host_name(parse_id(ip["properties"]["subnet"]["id"]).parent)
                closed = pip.body["sku"]["name"] == "Standard" and not await self._guarded(ctx, resource, ip)
                found[id] = PublicAddress(id, resource.id, network, public, own, inbound=not closed)
        return found, tuple(unaddressed)

    async def _guarded(self, ctx: Context, resource: Resource, ip: Document) -> bool:
        """Whether a security group says who may come. Standard public IPs let nobody in without one.

        https://learn.microsoft.com/azure/virtual-network/ip-services/public-ip-addresses#sku"""
        if resource.properties.get("networkSecurityGroup"):
            return True
        subnet = await find_subnet(ctx, ip["properties"]["subnet"]["id"], resource.id)
        return bool(subnet["properties"].get("networkSecurityGroup"))

    async def _desired(self, ctx: Context, resource: Resource, machine: str) -> Nic | None:
        addresses = claimed(resource)
        if not addresses:
            return None
        network = parse_prefix(subnet_prefix(await find_subnet(ctx, subnet_of(resource), resource.id)), resource.id)
        return Nic(
            id=host_name(resource.id),
            owner=resource.id,
            network=host_name(parse_id(subnet_of(resource)).parent),
            namespace=host_name(machine),
            address=addresses[0],
            gateway=gateway(network),
            prefix_length=network.prefixlen,
            secondary=(*addresses[1:], *([block] if (block := block_of(resource)) else [])),
            mac=mac_address(resource.id),
            guarded=bool(resource.properties.get("networkSecurityGroup")),
            overlay=(overlay_of(resource) or {}).get("cidr"),
            forwarding=bool(resource.properties.get("enableIPForwarding")),
        )

    def plan(self, resource: Resource, actual: Actual) -> list[Step]:
        gone = sorted({*actual.publics, *actual.partial_publics} - actual.wanted_publics.keys())
        parted = [Step(f"withdraw {id}", self.withdraw, (id,)) for id in gone]
        if resource.deleting:
            return parted + ([Step("remove link", self.remove)] if actual.nic or actual.partial else [])
        plan = [] if actual.addresses else [Step("claim addresses", self.claim)]
        if actual.machine and (plan or actual.nic != actual.desired):
            plan.append(Step("ensure link", self.ensure, (actual.desired,), tuple(s.name for s in plan)))
        elif actual.machine is None and (actual.nic or actual.partial):
            plan.append(Step("remove link", self.remove))
        if plan:
            return plan + parted
        if actual.unaddressed:
            return [*parted, Step("wait for public addresses", self.wait, actual.unaddressed)]
        for id, wanted in actual.wanted_publics.items():
            if actual.publics.get(id) != wanted:
                parted.append(Step(f"publish {id}", self.publish, (wanted,), tuple(s.name for s in parted)))
        return parted

    def status(self, resource: Resource, actual: Actual) -> Document:
        shown = {**(resource.properties.get("dnsSettings") or {}), **actual.dns}
        found: Document = {"macAddress": mac_address(resource.id).replace(":", "-").upper(), "dnsSettings": shown}
        return found | ({"virtualMachine": {"id": actual.machine}} if actual.machine else {})

    async def claim(self, ctx: Context, resource: Resource) -> None:
        if overlay := blocks_of(resource):
            await self._claim_block(ctx, resource, overlay)
        subnet_id = subnet_of(resource)
        network = parse_prefix(subnet_prefix(await find_subnet(ctx, subnet_id, resource.id)), subnet_id)
        ips = configurations(resource)
        static = [ip["properties"].get("privateIPAddress") for ip in ips]

        def addresses(dynamic: tuple[int, ...]) -> Document:
            free = iter(dynamic)
            return {"addresses": [a or address(next(free)) for a in static], "prefix": str(network)}

        try:
            await ctx.claim_numbers(
                f"subnet {subnet_id.lower()}",
                usable(network),
                static.count(None),
                exactly=[number(a) for a in static if a],
                blocks=self._blocks,
                then=addresses,
            )
        except ArmError as e:
            if e.code != "PoolExhausted":
                raise
            raise ArmError(
                "SubnetIsFull",
                f"Subnet {parse_id(subnet_id).name} with address prefix {network} does not have enough capacity for "
                f"{len(ips)} IP addresses ({usable_count(network)} are usable in all).",
                target=subnet_id,
            ) from e

    async def _claim_block(self, ctx: Context, resource: Resource, overlay: Document) -> None:
        """Of an overlay, a /24 for what runs on the machine."""
        cidr = overlay["cidr"]
        blocks = (str(each) for each in parse_prefix(cidr, resource.id).subnets(new_prefix=24))
        try:
            await ctx.claim(pool_name(overlay), blocks)
        except ArmError as e:
            if e.code != "PoolExhausted":
                raise
            raise ArmError("SubnetIsFull", f"Pod CIDR {cidr} has no /24 left for another node.", target=cidr) from e

    async def ensure(self, ctx: Context, resource: Resource, desired: Nic | None) -> None:
        """`desired` None: it was not known when this was planned."""
        await ctx.settled(parse_id(subnet_of(resource)).parent)
        if desired is None and (machine := await wanted_by(ctx, resource)):
            desired = await self._desired(ctx, resource, machine)
        if desired is None:
            raise Retry(0, "the machine it was to be in has gone")
        if resource.rid.type.lower() == NIC_TYPES[0].lower():  # An instance's is never exchanged.
            there = (await self._links.observe_links()).nics.values()
            if other := next((n for n in there if n.namespace == desired.namespace and n.id != desired.id), None):
                raise Retry(0.05, f"{other.owner} has not left the machine yet")  # It takes its namespace with it.
        await self._links.ensure_nic(desired)

    async def wait(self, ctx: Context, resource: Resource, *ids: str) -> None:
        for id in ids:
            if await ctx.settled(id) is None:
                raise missing(id, resource.id)

    async def publish(self, ctx: Context, resource: Resource, wanted: PublicAddress) -> None:
        await ctx.save(resource, private={"public": True})  # That there may be some is known before there is one.
        await ctx.settled(parse_id(subnet_of(resource)).parent)
        try:
            await self._publics.ensure_public_address(wanted)
        except DriverError as e:  # Another NIC is about to let go of it.
            raise (Retry(0.05, str(e)) if "has it already" in str(e) else e) from e

    async def withdraw(self, ctx: Context, resource: Resource, id: str) -> None:
        await self._publics.remove_public_address(id)

    async def remove(self, ctx: Context, resource: Resource) -> None:
        await self._links.remove_nic(host_name(resource.id))


async def _dns(reader: Reader, nic: Resource) -> Document:
    network = await reader.get(parse_id(subnet_of(nic)).parent)
    if network is None:
        return {}
    domain, label = suffix(network.id), (nic.properties.get("dnsSettings") or {}).get("internalDnsNameLabel")
    found: Document = {"appliedDnsServers": servers(network, nic.properties), "internalDomainNameSuffix": domain}
    return found | ({"internalFqdn": f"{label}.{domain}"} if label else {})


def claimed(nic: Resource) -> tuple[str, ...]:
    """One address for each ipConfiguration, in order; empty until all are claimed."""
    addresses = tuple(nic.private.get("addresses", ()))
    if blocks_of(nic) and not block_of(nic):
        return ()
    return addresses if len(addresses) >= len(configurations(nic)) else ()


def mac_address(resource_id: str) -> str:
    """Azure's own vendor prefix (00:0D:3A, Microsoft) and three bytes of the id's hash."""
    tail = hashlib.sha256(resource_id.lower().encode()).digest()[:3]
    return "00:0d:3a:" + ":".join(f"{b:02x}" for b in tail)


def _render(resource: Resource, document: Document) -> Document:
    addresses: list[Any] = resource.private.get("addresses", [])
    for n, ip in enumerate(document["properties"].get("ipConfigurations", [])):
        ip["id"] = f"{resource.id}/ipConfigurations/{ip['name']}"
        ip["etag"] = document["etag"]
        ip["properties"]["provisioningState"] = resource.provisioning_state
        if n < len(addresses):
            ip["properties"]["privateIPAddress"] = addresses[n]
    if machine := machine_of(resource):
        document["properties"] |= {"virtualMachine": {"id": machine}, "primary": True}
    if endpoint := endpoint_of(resource):
        document["properties"] |= {"privateEndpoint": {"id": endpoint}, "primary": True}
    return document


async def _of_network(reader: Reader, network: Resource) -> Iterable[str]:
    """NICs in a virtual network with public addresses, since whether they let anybody in depends on their subnets; and
    those that show other DNS servers than it has now."""

    def concerned(nic: Resource) -> bool:
        shown = (nic.status.get("dnsSettings") or {}).get("appliedDnsServers")
        public = any(ip["properties"].get("publicIPAddress") for ip in configurations(nic))
        return public or shown not in (None, servers(network, nic.properties))

    nics = [nic for type in NIC_TYPES for nic in await reader.naming(network.id, type=type)]
    return [nic.id for nic in nics if concerned(nic)]


def network_interface_types(
    reconciler: NicReconciler, actions: Callable[[str], Sequence[Action]] = lambda type: ()
) -> tuple[ResourceType[Actual], ...]:
    """`actions`: those of a type, by its name."""
    return (
        ResourceType(
            NIC_TYPES[0],
            API_VERSIONS,
            reconciler=reconciler,
            admit=admit,
            admit_delete=admit_delete,
            render=_render,
            schema="networkInterfaces",
            actions=actions(NIC_TYPES[0]),
            watches={VIRTUAL_NETWORK: _of_network, VIRTUAL_MACHINE: named},
            linked=f"{NIC_TYPES[0]}/join/action",
        ),
        ResourceType(
            NIC_TYPES[1],
            (*API_VERSIONS, OF_INSTANCES),
            reconciler=reconciler,
            admit=admit,
            render=_render,
            located=False,
            tracked=False,
            writable=False,
            actions=actions(NIC_TYPES[1]),
            watches={VIRTUAL_NETWORK: _of_network},
        ),
    )
