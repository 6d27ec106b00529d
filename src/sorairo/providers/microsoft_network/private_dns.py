"""Microsoft.Network/privateDnsZones and their links to virtual networks; `resolver` says what is answered.

https://learn.microsoft.com/azure/dns/private-dns-overview, https://learn.microsoft.com/rest/api/dns/privatedns
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sorairo.engine.errors import ArmError, Retry, not_implemented
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Admission, Context, Document, Reader, Resource, ResourceType, Step
from sorairo.providers.microsoft_network.dns_records import bad, zone_name
from sorairo.providers.microsoft_network.record_sets import (
    AUTOMATIC,
    PRIVATE,
    PRIVATE_VERSIONS,
    RECORD_TYPES,
    record_sets,
)
from sorairo.providers.microsoft_network.resolver import LINK, hosts, linked_to, links_of, network_of
from sorairo.providers.microsoft_network.virtual_networks import NIC_TYPES

NETWORK = "Microsoft.Network/virtualNetworks"
SOA: Document = {
    "properties": {
        "ttl": 3600,
        "soaRecord": {
            "host": "azureprivatedns.net",
            "email": "azureprivatedns-host.microsoft.com",
            "serialNumber": 1,
            "refreshTime": 3600,
            "retryTime": 300,
            "expireTime": 2419200,
            "minimumTtl": 10,
        },
    }
}


async def parent(reader: Reader, resource: Resource) -> Iterable[str]:
    """A Watch: of zones over what is in them."""
    return (resource.rid.parent,)


# --- zones ----------------------------------------------------------------------------------------------


async def admit(admission: Admission) -> None:
    zone_name(admission.id.name)


async def admit_delete(admission: Admission) -> None:
    if links := await admission.reader.list(type=LINK, under=admission.id.text):
        nested = f"{LINK.rsplit('/', 1)[0]}/{admission.id.name}/{LINK.rsplit('/', 1)[1]}/{links[0].rid.name}"
        raise ArmError(
            "CannotDeleteResource",
            "Cannot delete resource while nested resources exist. Some existing nested resource IDs include: "
            f"'{nested}'. Please delete all nested resources before deleting this resource.",
            status=409,
        )


@dataclass(frozen=True, slots=True)
class Actual:
    soa: bool
    records: tuple[str, ...]
    links: tuple[str, ...]
    registering: int


class PrivateZoneReconciler:
    """A zone is what is in it, and its SOA record."""

    async def observe(self, ctx: Context, resource: Resource) -> Actual:
        records = await record_sets(ctx, resource.id, PRIVATE)
        links = await ctx.list(type=LINK, under=resource.id)
        return Actual(
            any(each.rid.type.endswith("/SOA") for each in records),
            tuple(each.id for each in records),
            tuple(each.id for each in links),
            sum(bool(each.properties.get("registrationEnabled")) for each in links),
        )

    def plan(self, resource: Resource, actual: Actual) -> list[Step]:
        if resource.deleting:
            if actual.links:
                return [Step("delete links", self.delete, (actual.links,))]
            return [Step("delete records", self.delete, (actual.records,))] if actual.records else []
        return [] if actual.soa else [Step("start of authority", self.begin)]

    def status(self, resource: Resource, actual: Actual) -> Document:
        return {
            "maxNumberOfRecordSets": 25000,
            "maxNumberOfVirtualNetworkLinks": 1000,
            "maxNumberOfVirtualNetworkLinksWithRegistration": 100,
            "numberOfRecordSets": len(actual.records),
            "numberOfVirtualNetworkLinks": len(actual.links),
            "numberOfVirtualNetworkLinksWithRegistration": actual.registering,
        }

    async def begin(self, ctx: Context, resource: Resource) -> None:
        await ctx.put(f"{resource.id}/SOA/@", SOA)

    async def delete(self, ctx: Context, resource: Resource, ids: tuple[str, ...]) -> None:
        await asyncio.gather(*(ctx.delete(each) for each in ids))
        for each in ids:
            if await ctx.settled(each, timeout=30) is not None:
                raise Retry(0.1, f"{each} is still there")


# --- links ----------------------------------------------------------------------------------------------


async def admit_link(admission: Admission) -> None:
    properties, id = admission.body["properties"], admission.id
    network = str((properties.get("virtualNetwork") or {}).get("id") or "")
    if not network and admission.existing:
        network = str(admission.existing.properties["virtualNetwork"]["id"])
    if not network:
        raise bad("The link's 'properties.virtualNetwork.id' is missing.", "virtualNetwork")
    if admission.existing and linked_to(admission.existing) != network.lower():
        raise bad("The virtual network of a virtual network link cannot be changed.", "virtualNetwork")
    properties["virtualNetwork"] = {"id": network}
    found = await admission.reader.get(network)
    if found is None or found.rid.type != NETWORK:
        raise bad(f"The virtual network '{network}' of link '{id.name}' was not found.", "virtualNetwork")
    if not isinstance(properties.setdefault("registrationEnabled", False), bool):
        raise bad("'registrationEnabled' is true or false.", "registrationEnabled")
    if properties.setdefault("resolutionPolicy", "Default") != "Default":
        raise not_implemented(f"private DNS links with resolutionPolicy {properties['resolutionPolicy']}")
    zone = parse_id(id.parent)
    for other in await links_of(admission.reader, network):
        if other.key == id.key:
            continue
        theirs = parse_id(other.rid.parent)
        if theirs.key == zone.key:
            raise ArmError(
                "Conflict",
                f"The virtual network '{network}' is already linked to Private DNS zone '{zone.name}' by the virtual "
                f"network link '{other.rid.name}'. A virtual network can only be linked to a zone once.",
                status=409,
            )
        if zone_name(theirs.name) == zone_name(zone.name):
            raise bad(
                "A virtual network cannot be linked to multiple zones with overlapping namespaces. You tried to link "
                f"virtual network with '{zone.name}' and '{theirs.name}' zones."
            )
        if properties["registrationEnabled"] and other.properties.get("registrationEnabled"):
            raise ArmError(
                "Conflict",
                "A virtual network can only be linked to 1 Private DNS zone(s) with auto-registration enabled; "
                f"conflicting Private DNS zone is '{theirs.name}'.",
                status=409,
            )


@dataclass(frozen=True, slots=True)
class Registered:
    """Addresses by name."""

    wanted: Mapping[str, tuple[str, ...]]
    there: Mapping[str, tuple[str, ...]]


class LinkReconciler:
    """With registration, a link keeps an A record set for each machine of its network.

    https://learn.microsoft.com/azure/dns/private-dns-autoregistration"""

    async def observe(self, ctx: Context, resource: Resource) -> Registered:
        there = {
            each.rid.name: tuple(record["ipv4Address"] for record in each.properties["aRecords"])
            for each in await ctx.list(type=f"{PRIVATE}/A", under=resource.rid.parent)
            if str(each.private.get(AUTOMATIC, "")).lower() == resource.key
        }
        wanted: defaultdict[str, list[str]] = defaultdict(list)
        if resource.properties.get("registrationEnabled") and not resource.deleting:
            network = linked_to(resource)
            nics = [nic for type in NIC_TYPES for nic in await ctx.naming(network, type=type)]
            for host in await hosts(ctx, nics):
                wanted[host.name].append(host.address)
        return Registered({name: tuple(each) for name, each in wanted.items()}, there)

    def plan(self, resource: Resource, actual: Registered) -> list[Step]:
        plan = [
            Step(f"register {name}", self.register, (name, addresses))
            for name, addresses in actual.wanted.items()
            if actual.there.get(name) != addresses
        ]
        gone = sorted(actual.there.keys() - actual.wanted.keys())
        return [*plan, *(Step(f"forget {name}", self.forget, (name,)) for name in gone)]

    def status(self, resource: Resource, actual: Registered) -> Document:
        return {"virtualNetworkLinkState": "Completed"}

    async def register(self, ctx: Context, resource: Resource, name: str, addresses: tuple[str, ...]) -> None:
        body: Document = {"properties": {"ttl": 10, "aRecords": [{"ipv4Address": each} for each in addresses]}}
        await ctx.put(f"{resource.rid.parent}/A/{name}", body, private={AUTOMATIC: resource.id})

    async def forget(self, ctx: Context, resource: Resource, name: str) -> None:
        await ctx.delete(f"{resource.rid.parent}/A/{name}")


async def registering(reader: Reader, nic: Resource) -> Iterable[str]:
    """A Watch: the links that keep a record set for the machine of a NIC."""
    network = network_of(nic)
    links = await links_of(reader, network) if network else []
    return [each.id for each in links if each.properties.get("registrationEnabled")]


def private_dns_types() -> tuple[ResourceType[Actual], ResourceType[Registered]]:
    return (
        ResourceType(
            PRIVATE,
            PRIVATE_VERSIONS,
            reconciler=PrivateZoneReconciler(),
            admit=admit,
            admit_delete=admit_delete,
            watches=dict.fromkeys((*RECORD_TYPES[PRIVATE], LINK), parent),
            everywhere=True,
        ),
        ResourceType(
            LINK,
            PRIVATE_VERSIONS,
            reconciler=LinkReconciler(),
            admit=admit_link,
            watches=dict.fromkeys(NIC_TYPES, registering),
            everywhere=True,
        ),
    )
