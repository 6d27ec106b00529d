"""Microsoft.Network/dnsZones: zones that the installation's public name server answers for.

https://learn.microsoft.com/azure/dns/dns-zones-records, https://learn.microsoft.com/rest/api/dns/zones
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sorairo.drivers.naming import DOMAIN, SERVERS, Names, NameSpec, PublicZone, Zone
from sorairo.engine.documents import copied
from sorairo.engine.errors import ArmError, not_implemented
from sorairo.engine.ids import host_name, parse_id
from sorairo.engine.types import Admission, Context, Document, Reader, Resource, ResourceType, Step
from sorairo.providers.microsoft_network.dns_records import zone_name, zone_text
from sorairo.providers.microsoft_network.private_dns import parent
from sorairo.providers.microsoft_network.public_ip_addresses import address_of
from sorairo.providers.microsoft_network.public_ip_users import PUBLIC_IP_TYPE
from sorairo.providers.microsoft_network.record_sets import PUBLIC, PUBLIC_VERSIONS, RECORD_TYPES, record_sets

_OWN: dict[str, Document] = {
    "SOA": {
        "TTL": 3600,
        "SOARecord": {
            "host": f"{SERVERS[0]}.",
            "email": "azuredns-hostmaster.microsoft.com",
            "serialNumber": 1,
            "refreshTime": 3600,
            "retryTime": 300,
            "expireTime": 2419200,
            "minimumTTL": 300,
        },
    },
    "NS": {"TTL": 172800, "NSRecords": [{"nsdname": f"{server}."} for server in SERVERS]},
}
"""Record sets that a zone has by itself."""


async def admit(admission: Admission) -> None:
    name = zone_name(admission.id.name)
    properties = admission.body["properties"]
    if properties.setdefault("zoneType", "Public") != "Public":
        raise not_implemented(
            "private zones of Microsoft.Network/dnsZones, which Azure has replaced by privateDnsZones"
        )
    if f".{name}".endswith(f".{DOMAIN}"):
        raise ArmError("BadRequest", f"The zone '{name}' is the installation's own and cannot be created.")
    for other in await admission.reader.list(type=PUBLIC):
        if other.key != admission.id.key and zone_name(other.rid.name) == name:
            raise ArmError(
                "Conflict",
                f"The zone '{name}' exists in resource group '{other.rid.resource_group}', and there is one set of "
                "name servers to serve it.",
                status=409,
            )


@dataclass(frozen=True, slots=True)
class Actual:
    served: NameSpec | None
    desired: PublicZone | None
    """None until it has the records of its own."""
    records: tuple[str, ...]
    missing: tuple[str, ...]
    partial: bool = False


class PublicZoneReconciler:
    """`names` None: where no packet moves, nobody is told."""

    def __init__(self, names: Names | None) -> None:
        self._names = names

    async def observe(self, ctx: Context, resource: Resource) -> Actual:
        records = await record_sets(ctx, resource.id, PUBLIC)
        there = {each.rid.type.rsplit("/", 1)[1] for each in records if each.rid.name == "@"}
        missing = tuple(kind for kind in _OWN if kind not in there)
        id, ids = host_name(resource.id), tuple(each.id for each in records)
        if self._names is None:
            return Actual(None, None, ids, missing)
        state = await self._names.observe_names()
        desired = None if missing or resource.deleting else await desired_zone(ctx, resource, records)
        return Actual(state.whole.get(id), desired, ids, missing, id in state.partial)

    def plan(self, resource: Resource, actual: Actual) -> list[Step]:
        if resource.deleting:
            plan = [Step("withdraw", self.withdraw)] if actual.served or actual.partial else []
            return [*plan, *([Step("delete records", self.delete, (actual.records,))] if actual.records else [])]
        if actual.missing:
            return [Step("own records", self.begin, (actual.missing,))]
        return [Step("serve", self.serve, (actual.desired,))] if actual.served != actual.desired else []

    def status(self, resource: Resource, actual: Actual) -> Document:
        return {
            "maxNumberOfRecordSets": 10000,
            "numberOfRecordSets": len(actual.records),
            "nameServers": [f"{server}." for server in SERVERS],
        }

    async def begin(self, ctx: Context, resource: Resource, kinds: tuple[str, ...]) -> None:
        for kind in kinds:
            await ctx.put(f"{resource.id}/{kind}/@", {"properties": copied(_OWN[kind])})

    async def serve(self, ctx: Context, resource: Resource, desired: PublicZone) -> None:
        assert self._names
        await self._names.ensure_names(desired)

    async def withdraw(self, ctx: Context, resource: Resource) -> None:
        assert self._names
        await self._names.remove_names(host_name(resource.id))

    async def delete(self, ctx: Context, resource: Resource, ids: tuple[str, ...]) -> None:
        for each in ids:
            await ctx.delete(each)


async def desired_zone(reader: Reader, resource: Resource, records: list[Resource]) -> PublicZone:
    """With what its alias record sets stand for now."""
    name = zone_name(resource.rid.name)
    by_key = {each.key: each for each in records}
    told = [await _resolved(reader, each, by_key) for each in records]
    return PublicZone(host_name(resource.id), resource.id, Zone(name, zone_text(name, told, private=False)))


async def _resolved(reader: Reader, record: Resource, by_key: dict[str, Resource]) -> Resource:
    """https://learn.microsoft.com/azure/dns/dns-alias"""
    target = str((record.properties.get("targetResource") or {}).get("id") or "").lower()
    if not target:
        return record
    properties: Document = {"TTL": record.properties["TTL"]}
    other = by_key.get(target)
    if other is not None and not (other.properties.get("targetResource") or {}).get("id"):
        properties |= {k: v for k, v in other.properties.items() if k not in ("TTL", "metadata")}
    elif other is None and (pip := await reader.get(target)) is not None and (address := address_of(pip)):
        properties["ARecords"] = [{"ipv4Address": address}]
    return Resource(id=record.id, body={"properties": properties})


async def aliases(reader: Reader, address: Resource) -> Iterable[str]:
    """A Watch: the zones that have an alias of a public IP address."""
    return {parse_id(each.rid.parent).text for each in await reader.naming(address.id, type=f"{PUBLIC}/A")}


def dns_zones(names: Names | None) -> ResourceType[Actual]:
    return ResourceType(
        PUBLIC,
        PUBLIC_VERSIONS,
        reconciler=PublicZoneReconciler(names),
        admit=admit,
        watches={**dict.fromkeys(RECORD_TYPES[PUBLIC], parent), PUBLIC_IP_TYPE: aliases},
        everywhere=True,
        patience=10,
    )
