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
from sorairo.providers.microsoft_network.public_ip_prefixes import addresses_of
from sorairo.providers.microsoft_network.public_ip_users import NAT_GATEWAY, PUBLIC_IP_TYPE, of_new_users, user
from sorairo.providers.microsoft_network.references import missing
from sorairo.providers.microsoft_network.versions import API_VERSIONS
from sorairo.providers.microsoft_network.virtual_networks import LOAD_BALANCER, NIC_TYPES, PUBLIC_POOL

DOMAIN = "cloudapp.sorairo.internal"
_PREFIX_POOL = "public IP prefix "
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
    for key in ("ipConfiguration", "natGateway"):
        properties.pop(key, None)
    await _prefix(admission, properties)
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


async def _prefix(admission: Admission, properties: Document) -> None:
    """An address of a prefix may be asked for by itself; others are chosen."""
    id = str((properties.get("publicIPPrefix") or {}).get("id") or "")
    before = ((admission.existing.properties.get("publicIPPrefix") or {}).get("id") or "") if admission.existing else id
    if str(before).lower() != id.lower():
        raise ArmError(
            "PublicIPPrefixOfPublicIPAddressCannotBeChanged",
            f"The public IP prefix of public IP address {admission.id.text} cannot be changed.",
            target="publicIPPrefix",
        )
    wanted = properties.pop("ipAddress", None)
    if not id:
        return
    prefix = await admission.reader.get(id)
    if prefix is None or prefix.rid.type.lower() != "microsoft.network/publicipprefixes":
        raise missing(id, admission.id.text)
    if admission.body["sku"]["name"] != prefix.body["sku"]["name"]:
        raise ArmError(
            "PublicIPAddressAndPublicIPPrefixSkuMismatch",
            f"Public IP address {admission.id.text} and public IP prefix {id} must have the same SKU.",
            target="publicIPPrefix",
        )
    if wanted and wanted not in (there := addresses_of(prefix)) and there:
        raise ArmError(
            "PublicIPAddressNotInPublicIPPrefix",
            f"IP address {wanted} of public IP address {admission.id.text} is not one of public IP prefix {id}.",
            target="ipAddress",
        )
    if wanted:
        properties["ipAddress"] = wanted


async def admit_delete(admission: Admission) -> None:
    if holder := await user(admission.reader, admission.id.text):
        raise ArmError(
            "PublicIPAddressCannotBeDeleted",
            f"Public IP address {admission.id.text} can not be deleted since it is still allocated to resource "
            f"{holder}. In order to delete the public IP, disassociate/detach the Public IP address from the resource. "
            "To learn how to do this, see aka.ms/deletepublicip.",
            target=admission.id.text,
        )


def address_of(pip: Resource) -> str | None:
    """None: it has none yet."""
    for pool, held in pip.private.get("claims", {}).items():
        if held and (pool == PUBLIC_POOL or pool.startswith(_PREFIX_POOL)):
            return str(held[0])
    return None


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
    holder: str | None = None
    """Id of the IP configuration or NAT gateway that has it."""


class PublicIPReconciler:
    """`names` None: where no packet moves, nobody is told."""

    def __init__(self, public_addresses: tuple[str, ...], names: Names | None = None) -> None:
        self._public = public_addresses
        self._names = names

    async def observe(self, ctx: Context, resource: Resource) -> Actual:
        address, holder = address_of(resource), await user(ctx, resource.id)
        if self._names is None or address is None:
            return Actual(address, holder=holder)
        state, id = await self._names.observe_names(), _name_id(address)
        told = state.whole.get(id) or state.partial.get(id)
        return Actual(address, told, None if resource.deleting else name_of(resource), holder)

    def plan(self, resource: Resource, actual: Actual) -> list[Step]:
        if not actual.address and not resource.deleting:
            return [Step("claim address", self.claim)]
        if actual.told == actual.to_tell:
            return []
        return [Step("tell name", self.tell, (actual.to_tell,)) if actual.to_tell else Step("tell nobody", self.untell)]

    def status(self, resource: Resource, actual: Actual) -> Document:
        shown: Document = {"ipAddress": actual.address}
        if actual.holder:
            key = "natGateway" if "/natgateways/" in actual.holder.lower() else "ipConfiguration"
            shown[key] = {"id": actual.holder}
        return shown

    async def tell(self, ctx: Context, resource: Resource, to_tell: PublicName) -> None:
        assert self._names
        await self._names.ensure_names(to_tell)

    async def untell(self, ctx: Context, resource: Resource) -> None:
        assert self._names
        if address := address_of(resource):
            await self._names.remove_names(_name_id(address))

    async def claim(self, ctx: Context, resource: Resource) -> None:
        if prefix_id := (resource.properties.get("publicIPPrefix") or {}).get("id"):
            await self._claim_of_prefix(ctx, resource, str(prefix_id))
            return
        try:
            await ctx.claim(PUBLIC_POOL, self._public)
        except ArmError as e:
            raise ArmError(
                "PublicIPCountLimitReached",
                f"Cannot create more than {len(self._public)} public IP addresses for this subscription.",
            ) from e

    async def _claim_of_prefix(self, ctx: Context, resource: Resource, prefix_id: str) -> None:
        prefix = await ctx.settled(prefix_id)
        if prefix is None:
            raise missing(prefix_id, resource.id)
        wanted = resource.properties.get("ipAddress")
        try:
            await ctx.claim(_PREFIX_POOL + prefix.key, (wanted,) if wanted else addresses_of(prefix))
        except ArmError as e:
            if wanted:
                raise ArmError(
                    "PublicIPAddressInPrefixNotAvailable",
                    f"IP address {wanted} of public IP prefix {prefix_id} is already another public IP address's.",
                ) from e
            raise ArmError(
                "PublicIpPrefixOutOfIpAddresses",
                f"Public IP prefix {prefix_id} has no more IP addresses available for {resource.id}.",
            ) from e


def public_ip_addresses(public_addresses: tuple[str, ...], names: Names | None = None) -> ResourceType[Actual]:
    return ResourceType(
        PUBLIC_IP_TYPE,
        API_VERSIONS,
        reconciler=PublicIPReconciler(public_addresses, names),
        admit=admit,
        admit_delete=admit_delete,
        linked=f"{PUBLIC_IP_TYPE}/join/action",
        schema="publicIPAddresses",
        moves="yes",
        watches=dict.fromkeys((*NIC_TYPES, LOAD_BALANCER, NAT_GATEWAY), of_new_users),
    )
