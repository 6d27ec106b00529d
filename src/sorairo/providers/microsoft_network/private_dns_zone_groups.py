"""Microsoft.Network/privateEndpoints/privateDnsZoneGroups: names of what is behind an endpoint, in private zones.

https://learn.microsoft.com/rest/api/virtualnetwork/private-dns-zone-groups
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sorairo.engine.errors import ArmError, Retry
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Admission, Context, Document, Reader, Resource, ResourceType, Step, ids_in
from sorairo.providers.microsoft_network.dns_records import zone_name
from sorairo.providers.microsoft_network.private_endpoints import GROUPS
from sorairo.providers.microsoft_network.record_sets import PRIVATE
from sorairo.providers.microsoft_network.references import missing
from sorairo.providers.microsoft_network.versions import API_VERSIONS
from sorairo.providers.microsoft_network.virtual_networks import PRIVATE_ENDPOINT

MOST = 5
"""Zones of a group. https://learn.microsoft.com/azure/private-link/private-endpoint-dns"""
TTL = 10
JOIN = "Microsoft.Network/privateDnsZones/join/action"


async def admit(admission: Admission) -> None:
    properties, id = admission.body["properties"], admission.id
    configs = properties.setdefault("privateDnsZoneConfigs", [])
    if len(configs) > MOST:
        raise ArmError(
            "PrivateDnsZoneGroupHasTooManyZones", f"Private DNS zone group {id.text} has more than {MOST} zones."
        )
    seen: set[str] = set()
    for config in configs:
        inner = config.setdefault("properties", {})
        inner.pop("recordSets", None)
        zone = str(inner.get("privateDnsZoneId") or "")
        try:
            right = parse_id(zone).type.lower() == PRIVATE.lower()
        except ValueError:
            right = False
        if not right or await admission.reader.get(zone) is None:
            raise missing(zone, id.text)
        name = zone_name(parse_id(zone).name)
        config.setdefault("name", name.replace(".", "-"))
        if name in seen:
            raise ArmError(
                "PrivateDnsZoneGroupHasDuplicateZones",
                f"Private DNS zone group {id.text} has two zones called {name}.",
                target=id.text,
            )
        seen.add(name)
    for other in await admission.reader.list(type=GROUPS, under=id.parent):
        if other.key != id.key:
            raise ArmError(
                "PrivateEndpointCannotHaveMoreThanOnePrivateDnsZoneGroup",
                f"Private endpoint {id.parent} has private DNS zone group {other.rid.name} already; it can have one.",
                target=id.text,
            )


def linking(body: Document) -> dict[str, str]:
    return dict.fromkeys(ids_in(body), JOIN)


@dataclass(frozen=True, slots=True)
class Records:
    """Addresses by record set's id."""

    wanted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    there: dict[str, tuple[str, ...]] = field(default_factory=dict)


class ZoneGroupReconciler:
    async def observe(self, ctx: Context, resource: Resource) -> Records:
        there = {
            each.id: tuple(str(record["ipv4Address"]) for record in each.properties.get("aRecords") or [])
            for each in await ctx.list(type=f"{PRIVATE}/A")
            if (each.managed_by or "").lower() == resource.key
        }
        endpoint = await ctx.get(resource.rid.parent)
        if resource.deleting or endpoint is None or endpoint.deleting:
            return Records({}, there)
        wanted = {}
        for config in resource.properties["privateDnsZoneConfigs"]:
            zone = config["properties"]["privateDnsZoneId"]
            if await ctx.get(zone) is None:
                continue
            for name, addresses in _names(endpoint):
                if label := _label(name, zone_name(parse_id(zone).name)):
                    wanted[f"{zone}/A/{label}"] = addresses
        return Records(wanted, there)

    def plan(self, resource: Resource, actual: Records) -> list[Step]:
        there = {id.lower(): addresses for id, addresses in actual.there.items()}
        wanted = {id.lower() for id in actual.wanted}
        plan = [
            Step(f"record {parse_id(id).name}", self.record, (id, addresses))
            for id, addresses in actual.wanted.items()
            if there.get(id.lower()) != addresses
        ]
        gone = [id for id in actual.there if id.lower() not in wanted]
        return [*plan, *(Step(f"forget {parse_id(id).name}", self.forget, (id,)) for id in gone)]

    def status(self, resource: Resource, actual: Records) -> Document:
        return {"records": {id: list(addresses) for id, addresses in actual.there.items()}}

    async def record(self, ctx: Context, resource: Resource, id: str, addresses: tuple[str, ...]) -> None:
        before = await ctx.get(id)
        if before is not None and (before.managed_by or "").lower() != resource.key:
            raise ArmError(
                "Conflict",
                f"Record set {id} exists already, and is not private DNS zone group {resource.id}'s.",
                status=409,
                target=id,
            )
        await ctx.put(id, {"properties": {"ttl": TTL, "aRecords": [{"ipv4Address": each} for each in addresses]}})

    async def forget(self, ctx: Context, resource: Resource, id: str) -> None:
        await ctx.delete(id)
        if await ctx.settled(id, timeout=30) is not None:
            raise Retry(0.1, f"{id} is still there")


def _names(endpoint: Resource) -> list[tuple[str, tuple[str, ...]]]:
    """What is behind an endpoint is called, and where it is."""
    configs = endpoint.status.get("customDnsConfigs") or []
    return [(str(each["fqdn"]), tuple(each["ipAddresses"])) for each in configs]


def _label(name: str, zone: str) -> str:
    """What of a name is a record's in a zone; '' if it is not below it."""
    return name.lower().removesuffix(f".{zone}") if name.lower().endswith(f".{zone}") else ""


def _render(resource: Resource, document: Document) -> Document:
    properties = document["properties"]
    records: dict[str, list[str]] = properties.pop("records", {})
    for config in properties.get("privateDnsZoneConfigs", []):
        zone = config["properties"]["privateDnsZoneId"]
        config["id"] = f"{resource.id}/privateDnsZoneConfigs/{config['name']}"
        config["type"] = f"{GROUPS}/privateDnsZoneConfigs"
        config["etag"] = document["etag"]
        config["properties"]["provisioningState"] = resource.provisioning_state
        config["properties"]["recordSets"] = [
            {
                "recordType": "A",
                "recordSetName": parse_id(id).name,
                "fqdn": f"{parse_id(id).name}.{parse_id(zone).name}",
                "ttl": TTL,
                "ipAddresses": addresses,
                "provisioningState": "Succeeded",
            }
            for id, addresses in records.items()
            if id.lower().startswith(f"{zone}/".lower())
        ]
    return document


async def _of_endpoint(reader: Reader, endpoint: Resource) -> Iterable[str]:
    return [each.id for each in await reader.list(type=GROUPS, under=endpoint.id)]


ZONE_GROUPS: ResourceType[Records] = ResourceType(
    GROUPS,
    API_VERSIONS,
    reconciler=ZoneGroupReconciler(),
    admit=admit,
    render=_render,
    schema="privateDnsZoneGroups",
    located=False,
    tracked=False,
    watches={PRIVATE_ENDPOINT: _of_endpoint},
    linking=linking,
)
