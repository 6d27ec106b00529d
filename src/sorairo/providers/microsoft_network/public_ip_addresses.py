"""Microsoft.Network/publicIPAddresses: an address of the public range, kept until the resource goes.

https://learn.microsoft.com/rest/api/virtualnetwork/public-ip-addresses
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sorairo.drivers.naming import Names, NameSpec, PublicName
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import host_name
from sorairo.engine.types import Admission, Context, Document, Resource, ResourceType, Step
from sorairo.providers.microsoft_network.versions import API_VERSIONS
from sorairo.providers.microsoft_network.virtual_networks import PUBLIC_POOL

DOMAIN = "cloudapp.sorairo.internal"
_LABEL = re.compile("[a-z][a-z0-9-]{1,61}[a-z0-9]")


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
        if not isinstance(label, str) or not _LABEL.fullmatch(label):
            raise ArmError(
                "InvalidDomainNameLabel",
                f"The domain name label {label} is invalid. It must conform to the following regular expression: "
                f"^{_LABEL.pattern}$.",
                target="dnsSettings.domainNameLabel",
            )
        for other in await admission.reader.list(type=PUBLIC_IP_TYPE):
            used = (other.properties.get("dnsSettings") or {}).get("domainNameLabel")
            here = other.body.get("location") == admission.body.get("location")
            if used == label and here and other.key != admission.id.key:
                raise ArmError(
                    "DnsRecordInUse",
                    f"DNS record {label}.{admission.body.get('location')}.{DOMAIN} is already used.",
                )
        properties["dnsSettings"]["fqdn"] = f"{label}.{admission.body.get('location')}.{DOMAIN}"


def address_of(pip: Resource) -> str | None:
    """None: it has none yet."""
    held = pip.private.get("claims", {}).get(PUBLIC_POOL)
    return str(held[0]) if held else None


def name_of(pip: Resource) -> PublicName | None:
    """What its DNS label makes of its address."""
    name, address = (pip.properties.get("dnsSettings") or {}).get("fqdn"), address_of(pip)
    return PublicName(_name_id(address), pip.id, str(name).lower(), address) if name and address else None


def _name_id(address: str) -> str:
    """Not of the resource's id, which changes when it is moved to another group."""
    return host_name(f"name of {address}")


@dataclass(frozen=True, slots=True)
class Actual:
    address: str | None
    told: NameSpec | str | None = None
    """What everybody is told of its name; an owner, if that stands only in part."""
    to_tell: PublicName | None = None


class PublicIPReconciler:
    """`names` None: where no packet moves, nobody is told."""

    def __init__(self, public_addresses: tuple[str, ...], names: Names | None = None) -> None:
        self._public = public_addresses
        self._names = names

    async def observe(self, ctx: Context, resource: Resource) -> Actual:
        address = address_of(resource)
        if self._names is None or address is None:
            return Actual(address)
        state, id = await self._names.observe_names(), _name_id(address)
        told = state.whole.get(id) or state.partial.get(id)
        return Actual(address, told, None if resource.deleting else name_of(resource))

    def plan(self, resource: Resource, actual: Actual) -> list[Step]:
        if not actual.address and not resource.deleting:
            return [Step("claim address", self.claim)]
        if actual.told == actual.to_tell:
            return []
        return [Step("tell name", self.tell, (actual.to_tell,)) if actual.to_tell else Step("tell nobody", self.untell)]

    def status(self, resource: Resource, actual: Actual) -> Document:
        return {"ipAddress": actual.address}

    async def tell(self, ctx: Context, resource: Resource, to_tell: PublicName) -> None:
        assert self._names
        await self._names.ensure_names(to_tell)

    async def untell(self, ctx: Context, resource: Resource) -> None:
        assert self._names
        if address := address_of(resource):
            await self._names.remove_names(_name_id(address))

    async def claim(self, ctx: Context, resource: Resource) -> None:
        try:
            await ctx.claim(PUBLIC_POOL, self._public)
        except ArmError as e:
            raise ArmError(
                "PublicIPCountLimitReached",
                f"Cannot create more than {len(self._public)} public IP addresses for this subscription.",
            ) from e


PUBLIC_IP_TYPE = "Microsoft.Network/publicIPAddresses"


def public_ip_addresses(public_addresses: tuple[str, ...], names: Names | None = None) -> ResourceType[Actual]:
    return ResourceType(
        PUBLIC_IP_TYPE,
        API_VERSIONS,
        reconciler=PublicIPReconciler(public_addresses, names),
        admit=admit,
        schema="publicIPAddresses",
        moves="yes",
    )
