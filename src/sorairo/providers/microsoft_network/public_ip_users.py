"""Who has a public IP address: one IP configuration, or one NAT gateway."""

from __future__ import annotations

from collections.abc import Iterator

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Document, Reader

PUBLIC_IP_TYPE = "Microsoft.Network/publicIPAddresses"
PREFIX_TYPE = "Microsoft.Network/publicIPPrefixes"
NAT_GATEWAY = "Microsoft.Network/natGateways"


def uses(id: str, body: Document, public_ip: str) -> Iterator[str]:
    """What of a document has a public IP address: ids of IP configurations, or the document's own."""
    properties = body.get("properties", {})
    for part in ("frontendIPConfigurations", "ipConfigurations"):
        for item in properties.get(part) or []:
            named = (item.get("properties", {}).get("publicIPAddress") or {}).get("id", "")
            if str(named).lower() == public_ip.lower():
                yield f"{id}/{part}/{item['name']}"
    for item in properties.get("publicIpAddresses") or []:
        if str(item.get("id", "")).lower() == public_ip.lower():
            yield id


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
