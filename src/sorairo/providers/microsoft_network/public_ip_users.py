"""Who has a public IP address: one IP configuration, or one NAT gateway."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Document, Reader, Resource

PUBLIC_IP_TYPE = "Microsoft.Network/publicIPAddresses"
PREFIX_TYPE = "Microsoft.Network/publicIPPrefixes"
NAT_GATEWAY = "Microsoft.Network/natGateways"


def held(id: str, body: Document) -> Iterator[tuple[str, str]]:
    """Public IP addresses that a document has, in lower case, and what of it has each: ids of IP configurations, or the
    document's own."""
    properties = body.get("properties", {})
    for part in ("frontendIPConfigurations", "ipConfigurations"):
        for item in properties.get(part) or []:
            if named := (item.get("properties", {}).get("publicIPAddress") or {}).get("id", ""):
                yield str(named).lower(), f"{id}/{part}/{item['name']}"
    for item in properties.get("publicIpAddresses") or []:
        yield str(item.get("id", "")).lower(), id


def uses(id: str, body: Document, public_ip: str) -> Iterator[str]:
    """What of a document has one public IP address."""
    return (user for named, user in held(id, body) if named == public_ip.lower())


def shown(resource: Resource) -> str | None:
    """Who has a public IP address, as its own document says."""
    properties = resource.status
    return ((properties.get("ipConfiguration") or properties.get("natGateway") or {}).get("id")) or None


async def of_new_users(reader: Reader, resource: Resource) -> Iterable[str]:
    """A Watch: those that a document no longer has, or that do not say yet that it has them. A load balancer has
    hundreds, and a change is about one of them."""
    now = await reader.get(resource.id)
    there = dict(held(now.id, now.body)) if now and not now.deleting else {}
    found = []
    for named, _ in held(resource.id, resource.body):
        if named in there:
            public_ip = await reader.get(named)
            if public_ip is None or shown(public_ip) == there[named]:
                continue
        found.append(named)
    return found


async def user(reader: Reader, public_ip: str) -> str | None:
    """Who has it."""
    found = [u for each in await reader.naming(public_ip) for u in uses(each.id, each.body, public_ip)]
    return min(found, default=None)


async def check_free(reader: Reader, id: str, public_ip: str) -> None:
    """Raise ArmError when a public IP is another's than the configuration's or gateway's of this id."""
    for each in await reader.naming(public_ip):
        for other in uses(each.id, each.body, public_ip):
            if other.lower() != id.lower():
                raise ArmError(
                    "PublicIPAddressInUse",
                    f"Resource {id} is referencing public IP address {public_ip} that is already allocated to resource "
                    f"{other}.",
                    target=public_ip,
                )
