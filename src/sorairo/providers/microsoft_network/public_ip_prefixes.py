"""Microsoft.Network/publicIPPrefixes: addresses that follow one another, for public IPs and NAT gateways.

https://learn.microsoft.com/azure/virtual-network/ip-services/public-ip-address-prefix
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from sorairo.engine.errors import ArmError, not_implemented
from sorairo.engine.types import Admission, Context, Document, Resource, ResourceType, Step, named
from sorairo.providers.microsoft_network.public_ip_users import NAT_GATEWAY, PREFIX_TYPE, PUBLIC_IP_TYPE
from sorairo.providers.microsoft_network.references import in_use
from sorairo.providers.microsoft_network.versions import API_VERSIONS
from sorairo.providers.microsoft_network.virtual_networks import PUBLIC_POOL

LENGTHS = range(24, 32)


async def admit(admission: Admission) -> None:
    properties = admission.body["properties"]
    sku = admission.body.setdefault("sku", {})
    sku.setdefault("name", "Standard")
    sku.setdefault("tier", "Regional")
    properties.setdefault("publicIPAddressVersion", "IPv4")
    length = properties.setdefault("prefixLength", 28)
    if properties["publicIPAddressVersion"] != "IPv4":
        raise not_implemented("IPv6 public IP prefixes")
    if properties.get("customIPPrefix"):
        raise not_implemented("custom IP prefixes")
    if length not in LENGTHS:
        raise ArmError(
            "InvalidPublicIpPrefixLength",
            f"Prefix length {length} of public IP prefix {admission.id.text} is not valid: it is one from "
            f"{LENGTHS.start} to {LENGTHS.stop - 1}.",
            target="prefixLength",
        )
    if admission.existing and admission.existing.properties["prefixLength"] != length:
        raise ArmError(
            "PublicIpPrefixLengthCannotBeChanged",
            f"Prefix length of public IP prefix {admission.id.text} cannot be changed from "
            f"{admission.existing.properties['prefixLength']} to {length}.",
            target="prefixLength",
        )


async def admit_delete(admission: Admission) -> None:
    users = [
        u.id for t in (PUBLIC_IP_TYPE, NAT_GATEWAY) for u in await admission.reader.naming(admission.id.text, type=t)
    ]
    if users:
        raise in_use("InUsePublicIpPrefixCannotBeDeleted", "Public IP prefix", admission.id.text, sorted(users))


def addresses_of(prefix: Resource) -> tuple[str, ...]:
    """In order; none: it has none yet."""
    return tuple(prefix.private.get("claims", {}).get(PUBLIC_POOL, ()))


@dataclass(frozen=True, slots=True)
class Actual:
    addresses: tuple[str, ...]
    public_ips: tuple[str, ...]
    gateway: str | None


class PublicIPPrefixReconciler:
    def __init__(self, public_addresses: tuple[str, ...]) -> None:
        self._public = public_addresses

    async def observe(self, ctx: Context, resource: Resource) -> Actual:
        public_ips = tuple(sorted(each.id for each in await ctx.naming(resource.id, type=PUBLIC_IP_TYPE)))
        gateways = [each.id for each in await ctx.naming(resource.id, type=NAT_GATEWAY)]
        return Actual(addresses_of(resource), public_ips, min(gateways, default=None))

    def plan(self, resource: Resource, actual: Actual) -> list[Step]:
        return [] if actual.addresses or resource.deleting else [Step("claim addresses", self.claim)]

    def status(self, resource: Resource, actual: Actual) -> Document:
        if not actual.addresses:
            return {}
        shown: Document = {"ipPrefix": f"{actual.addresses[0]}/{resource.properties['prefixLength']}"}
        if actual.public_ips:
            shown["publicIPAddresses"] = [{"id": id} for id in actual.public_ips]
        return shown | ({"natGateway": {"id": actual.gateway}} if actual.gateway else {})

    async def claim(self, ctx: Context, resource: Resource) -> None:
        size = 1 << (32 - int(resource.properties["prefixLength"]))
        for block in self._blocks(size):
            try:
                await ctx.claim(PUBLIC_POOL, block, size)
                return
            except ArmError as e:
                if e.code != "PoolExhausted":
                    raise
        raise ArmError(
            "PublicIPCountLimitReached",
            f"Cannot create a public IP prefix of {size} addresses: there are no more that follow one another among "
            f"the {len(self._public)} of this subscription.",
        )

    def _blocks(self, size: int) -> Iterator[tuple[str, ...]]:
        """Where such a prefix can be. The last first: single addresses are taken from the beginning."""
        at = len(self._public)
        while at >= size:
            block = self._public[at - size : at]
            if int(ipaddress.IPv4Address(block[0])) % size == 0:
                yield block
                at -= size
            else:
                at -= 1


def public_ip_prefixes(public_addresses: tuple[str, ...]) -> ResourceType[Actual]:
    return ResourceType(
        PREFIX_TYPE,
        API_VERSIONS,
        reconciler=PublicIPPrefixReconciler(public_addresses),
        admit=admit,
        admit_delete=admit_delete,
        linked=f"{PREFIX_TYPE}/join/action",
        schema="publicIPPrefixes",
        moves="yes",
        watches={PUBLIC_IP_TYPE: named, NAT_GATEWAY: named},
    )
