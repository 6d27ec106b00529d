"""Record sets of private and public DNS zones: documents below their zone, one type for each record type.

https://learn.microsoft.com/rest/api/dns/privatedns/record-sets, https://learn.microsoft.com/rest/api/dns/record-sets
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sorairo.engine.errors import ArmError, not_implemented
from sorairo.engine.ids import ResourceId, parse_id
from sorairo.engine.types import Admission, Document, Reader, Resource, ResourceType
from sorairo.providers.microsoft_network.dns_records import KINDS, Kind, bad, check, full_name, zone_name

PRIVATE = "Microsoft.Network/privateDnsZones"
PUBLIC = "Microsoft.Network/dnsZones"
PRIVATE_VERSIONS = ("2024-06-01", "2020-06-01", "2020-01-01", "2018-09-01")
PUBLIC_VERSIONS = ("2023-07-01-preview", "2018-05-01", "2018-03-01-preview", "2017-10-01", "2017-09-01", "2016-04-01")
PRIVATE_KINDS = tuple(kind for kind in KINDS.values() if kind.private)
PUBLIC_KINDS = tuple(KINDS.values())
RECORD_TYPES = {
    zone: tuple(f"{zone}/{kind.name}" for kind in kinds)
    for zone, kinds in ((PRIVATE, PRIVATE_KINDS), (PUBLIC, PUBLIC_KINDS))
}
AUTOMATIC = "registered"
"""In the private part of a set that a link keeps for a virtual machine."""


def _private(id: ResourceId) -> bool:
    return id.type.lower().startswith(PRIVATE.lower())


def kind_of(id: ResourceId) -> Kind:
    return KINDS[id.type.rsplit("/", 1)[1].upper()]


async def record_sets(reader: Reader, zone: str, zone_type: str) -> list[Resource]:
    """All of a zone's, in an order of their own."""
    known = {each.lower() for each in RECORD_TYPES[zone_type]}
    found = [each for each in await reader.list(under=zone) if each.rid.type.lower() in known]
    return sorted(found, key=lambda each: each.key)


async def admit(admission: Admission) -> None:
    id, properties, existing = admission.id, admission.body["properties"], admission.existing
    kind, private = kind_of(id), _private(admission.id)
    zone_id = parse_id(id.parent)
    full_name(id.name, zone_name(zone_id.name))
    if admission.managed_by is None:
        if existing and existing.private.get(AUTOMATIC):
            raise bad(
                f"The record set '{id.name}' of type {kind.name} is registered automatically and cannot be changed."
            )
        if kind.name == "SOA" and not existing:
            raise bad("A zone's SOA record set is made with the zone, and it has no other.")
    if (
        admission.existing is not None
    ):  # az leaves out what it does not change of an SOA, and PATCHes mean what they say
        kept = admission.existing.properties
        ttl = "ttl" if private else "TTL"
        if not any(key.lower() == "ttl" for key in properties) and ttl in kept:
            properties[ttl] = kept[ttl]
    check(kind, properties, private)
    if kind.name == "CNAME" and id.name == "@":
        raise bad("A CNAME record set cannot be at a zone's apex ('@'): the SOA record set is there.", "name")
    if not private:
        await _check_alias(admission, kind)
    if kind.name in ("SOA", "NS") and id.name == "@" and existing and admission.managed_by is None:
        _keep_own(kind, existing.properties, properties, private)
    if admission.managed_by is None:
        await _check_company(admission.reader, id, kind)


def _keep_own(kind: Kind, before: Document, now: Document, private: bool) -> None:
    """What of a zone's own records is Azure's to say."""
    field = kind.field(private)
    if kind.name == "NS":
        now[field] = [*before[field], *(each for each in now[field] if each not in before[field])]
    elif not now.get(field):
        now[field] = before[field]
    else:
        now[field]["host"] = before[field]["host"]
    check(kind, now, private)


async def _check_company(reader: Reader, id: ResourceId, kind: Kind) -> None:
    """A CNAME is alone at its name. https://learn.microsoft.com/azure/dns/dns-zones-records#cname-records"""
    zone_type = PRIVATE if _private(id) else PUBLIC
    for other in await record_sets(reader, id.parent, zone_type):
        if other.rid.name.lower() != id.name.lower() or other.key == id.key:
            continue
        if kind.name == "CNAME":
            raise ArmError(
                "Conflict",
                "The CNAME record could not be created because another record with the same name already exists in "
                "this zone.",
                status=409,
            )
        if kind_of(other.rid).name == "CNAME":
            raise ArmError(
                "Conflict",
                "The record could not be created because a CNAME record with the same name already exists in this "
                "zone.",
                status=409,
            )


async def _check_alias(admission: Admission, kind: Kind) -> None:
    """`targetResource`: a public IP address, or a set of the same zone and type."""
    properties = admission.body["properties"]
    if (properties.get("trafficManagementProfile") or {}).get("id"):
        raise not_implemented("DNS record sets with traffic management profiles")
    target = (properties.get("targetResource") or {}).get("id")
    if not target:
        properties.pop("targetResource", None)
        return
    if kind.name not in ("A", "AAAA", "CNAME"):
        raise bad(f"A record set of type {kind.name} cannot be an alias.", "targetResource")
    if kind.records(properties, private=False):
        raise bad("A record set is an alias of a resource or has records, not both.", "targetResource")
    try:
        found = parse_id(str(target))
    except ValueError:
        raise bad(f"'{target}' is not a resource id.", "targetResource") from None
    zone = admission.id.parent.lower()
    own = found.parent.lower() == zone and found.type.lower() == admission.id.type.lower()
    if not own and found.type.lower() != "microsoft.network/publicipaddresses":
        raise not_implemented(f"alias record sets of {found.type}")
    if not own and kind.name != "A":
        raise bad(
            f"A public IP address of version 4 is the target of an A record set, not {kind.name}.", "targetResource"
        )
    if await admission.reader.get(found.text) is None:
        raise bad(f"The target resource '{target}' was not found.", "targetResource")


async def admit_delete(admission: Admission) -> None:
    kind = kind_of(admission.id)
    if kind.name in ("SOA", "NS") and admission.id.name == "@":
        raise bad(f"The record set '@' of type {kind.name} cannot be deleted: it goes with its zone.")
    if admission.existing and admission.existing.private.get(AUTOMATIC):
        raise bad(f"The record set '{admission.id.name}' is registered automatically and cannot be deleted.")


def _render(resource: Resource, document: Document) -> Document:
    private = _private(resource.rid)
    properties = document["properties"]
    properties["fqdn"] = full_name(resource.rid.name, zone_name(parse_id(resource.rid.parent).name)) + "."
    if private:
        del properties["provisioningState"]
        properties.setdefault("metadata", {})  # az's tables need it
        properties["isAutoRegistered"] = bool(resource.private.get(AUTOMATIC))
    else:
        properties.setdefault("targetResource", {})
        properties.setdefault("trafficManagementProfile", {})
    document["etag"] = resource.etag
    return document


async def _list(zone_type: str, parameters: Mapping[str, Any]) -> Document:
    """`…/ALL`, `…/recordsets`: of all types."""
    show: Callable[[str], Document] = parameters["show"]
    zone, query = str(parameters["scope"]), parameters["query"]
    show(zone)
    found = await record_sets(parameters["reader"], zone, zone_type)
    suffix = str(query.get("$recordsetnamesuffix") or "").lower()
    top = int(query["$top"]) if str(query.get("$top", "")).isdigit() else None
    return {"value": [show(each.id) for each in found if each.rid.name.lower().endswith(suffix)][:top]}


async def _list_private(**parameters: Any) -> Document:
    return await _list(PRIVATE, parameters)


async def _list_public(**parameters: Any) -> Document:
    return await _list(PUBLIC, parameters)


async def _references(**parameters: Any) -> Document:
    """Which record sets are aliases of resources.

    https://learn.microsoft.com/rest/api/dns/dns-resource-reference/get-by-target-resources"""
    properties = (parameters["body"] or {}).get("properties") or {}
    asked = properties.get("targetResources") or [] if isinstance(properties, dict) else None
    if not isinstance(asked, list) or not all(isinstance(a, dict) for a in asked):
        raise ArmError("InvalidRequestContent", "The request content was invalid: 'targetResources' is a list of ids.")
    reader: Reader = parameters["reader"]
    found = []
    for target in (str(each.get("id", "")) for each in asked):
        naming = [
            each for kind in ("A", "AAAA", "CNAME") for each in await reader.naming(target, type=f"{PUBLIC}/{kind}")
        ]
        found.append({"dnsResources": [{"id": each.id} for each in naming], "targetResource": {"id": target}})
    return {"properties": {"dnsResourceReferences": found}}


ROUTES: tuple[tuple[str, str, Callable[..., Awaitable[Any]]], ...] = (
    ("GET", "privateDnsZones/{zone}/ALL", _list_private),
    ("GET", "dnsZones/{zone}/recordsets", _list_public),
    ("GET", "dnsZones/{zone}/all", _list_public),
    ("POST", "getDnsResourceReference", _references),
)


def record_set_types() -> tuple[ResourceType[None], ...]:
    return tuple(
        ResourceType(
            name,
            versions,
            admit=admit,
            admit_delete=admit_delete,
            render=_render,
            located=False,
            tracked=False,
            wild=True,
        )
        for zone, versions in ((PRIVATE, PRIVATE_VERSIONS), (PUBLIC, PUBLIC_VERSIONS))
        for name in RECORD_TYPES[zone]
    )
