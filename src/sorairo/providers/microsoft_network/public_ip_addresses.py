"""Microsoft.Network/publicIPAddresses: an address of the public range, kept until the resource goes.

https://learn.microsoft.com/rest/api/virtualnetwork/public-ip-addresses
"""

from __future__ import annotations

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Admission, Context, Document, Resource, ResourceType, Step
from sorairo.providers.microsoft_network.versions import API_VERSIONS
from sorairo.providers.microsoft_network.virtual_networks import PUBLIC_POOL

DOMAIN = "cloudapp.sorairo.internal"


async def admit(admission: Admission) -> None:
    properties = admission.body["properties"]
    sku = admission.body.setdefault("sku", {})
    sku.setdefault("name", "Standard")
    sku.setdefault("tier", "Regional")
    properties.setdefault("publicIPAllocationMethod", "Static" if sku["name"] == "Standard" else "Dynamic")
    if sku["name"] == "Standard" and properties["publicIPAllocationMethod"] == "Dynamic":
        raise ArmError(
            "PublicIPAddressAllocationMethodInvalid",
            f"Standard SKU public IP address {admission.id.text} must use the Static allocation method.",
            target="publicIPAllocationMethod",
        )
    properties.setdefault("publicIPAddressVersion", "IPv4")
    properties.setdefault("idleTimeoutInMinutes", 4)
    for key in ("ipAddress", "ipConfiguration"):
        properties.pop(key, None)
    label = (properties.get("dnsSettings") or {}).get("domainNameLabel")
    if label:
        for other in await admission.reader.list(type=PUBLIC_IP_TYPE):
            used = (other.properties.get("dnsSettings") or {}).get("domainNameLabel", "")
            if used.lower() == label.lower() and other.key != admission.id.key:
                raise ArmError(
                    "DnsRecordInUse",
                    f"DNS record {label}.{admission.body.get('location')}.{DOMAIN} is already used.",
                )
        properties["dnsSettings"]["fqdn"] = f"{label}.{admission.body.get('location')}.{DOMAIN}"


def address_of(pip: Resource) -> str | None:
    """None: it has none yet."""
    held = pip.private.get("claims", {}).get(PUBLIC_POOL)
    return str(held[0]) if held else None


class PublicIPReconciler:
    def __init__(self, public_addresses: tuple[str, ...]) -> None:
        self._public = public_addresses

    async def observe(self, ctx: Context, resource: Resource) -> str | None:
        return address_of(resource)

    def plan(self, resource: Resource, actual: str | None) -> list[Step]:
        return [] if actual or resource.deleting else [Step("claim address", self.claim)]

    def status(self, resource: Resource, actual: str | None) -> Document:
        return {"ipAddress": actual}

    async def claim(self, ctx: Context, resource: Resource) -> None:
        try:
            await ctx.claim(PUBLIC_POOL, self._public)
        except ArmError as e:
            raise ArmError(
                "PublicIPCountLimitReached",
                f"Cannot create more than {len(self._public)} public IP addresses for this subscription.",
            ) from e


PUBLIC_IP_TYPE = "Microsoft.Network/publicIPAddresses"


def public_ip_addresses(public_addresses: tuple[str, ...]) -> ResourceType[str | None]:
    return ResourceType(
        PUBLIC_IP_TYPE,
        API_VERSIONS,
        reconciler=PublicIPReconciler(public_addresses),
        admit=admit,
        schema="publicIPAddresses",
        moves="yes",
    )
