"""Microsoft.Network/natGateways: what leaves their subnets comes from their addresses, before anything else has a say.

https://learn.microsoft.com/azure/nat-gateway/nat-overview
"""

from __future__ import annotations

from dataclasses import dataclass

from sorairo.drivers.protocols import DriverError
from sorairo.drivers.traffic import Outbound, Outbounds, Way
from sorairo.engine.errors import ArmError, Retry, not_implemented
from sorairo.engine.ids import host_name
from sorairo.engine.types import Admission, Context, Document, Resource, ResourceType, Step, named
from sorairo.providers.microsoft_network.public_ip_addresses import address_of
from sorairo.providers.microsoft_network.public_ip_prefixes import addresses_of
from sorairo.providers.microsoft_network.public_ip_users import NAT_GATEWAY, check_free
from sorairo.providers.microsoft_network.references import missing
from sorairo.providers.microsoft_network.versions import API_VERSIONS
from sorairo.providers.microsoft_network.virtual_networks import VIRTUAL_NETWORK, subnets_naming

_IPV6 = ("publicIpAddressesV6", "publicIpPrefixesV6")


async def admit(admission: Admission) -> None:
    properties = admission.body["properties"]
    properties.pop("subnets", None)
    admission.body.setdefault("sku", {}).setdefault("name", "Standard")
    properties.setdefault("idleTimeoutInMinutes", 4)
    if any(properties.get(key) for key in _IPV6):
        raise not_implemented("IPv6 NAT gateways")
    if properties.get("sourceVirtualNetwork"):
        raise not_implemented("NAT gateways of a whole virtual network; name it in its subnets")
    for key in ("publicIpAddresses", "publicIpPrefixes"):
        for reference in properties.get(key) or []:
            id = str(reference.get("id", ""))
            named_one = await admission.reader.get(id)
            if named_one is None:
                raise missing(id, admission.id.text)
            sku = named_one.body.get("sku", {}).get("name", "Basic")
            if sku == "Basic":
                raise ArmError(
                    "NatGatewayReferencesNonStandardPublicIp",
                    f"NAT gateway {admission.id.text} can only have public IPs of SKU Standard; {id} is {sku}.",
                    target=id,
                )
            if key == "publicIpAddresses":
                await check_free(admission.reader, admission.id.text, id)
            else:
                await _check_prefix_free(admission, id)


async def _check_prefix_free(admission: Admission, prefix: str) -> None:
    for other in await admission.reader.naming(prefix, type=NAT_GATEWAY):
        if other.key != admission.id.key:
            raise ArmError(
                "PublicIPPrefixInUse",
                f"Resource {admission.id.text} is referencing public IP prefix {prefix} that is already allocated to "
                f"resource {other.id}.",
                target=prefix,
            )


async def admit_delete(admission: Admission) -> None:
    if users := await subnets_naming(admission.reader, admission.id.text, "natGateway"):
        count = f"{len(users)} subnet{'s' if len(users) > 1 else ''}"
        raise ArmError(
            "CannotDeleteNatGatewayAssociatedToSubnet",
            f"NAT Gateway {admission.id.text} is still configured on {count}. Remove NAT Gateway from all referenced "
            "subnets and then delete NAT Gateway.",
            target=admission.id.text,
        )


@dataclass(frozen=True, slots=True)
class Actual:
    wanted: Outbound | None = None
    standing: Outbound | None = None
    partial: bool = False
    leaving: bool = False
    """The network it stands in is going, and takes it along."""
    unaddressed: tuple[str, ...] = ()
    """Public IPs and prefixes that have no addresses yet."""
    subnets: tuple[str, ...] = ()


class NatGatewayReconciler:
    def __init__(self, outbounds: Outbounds) -> None:
        self._outbounds = outbounds

    async def observe(self, ctx: Context, resource: Resource) -> Actual:
        found = await self._outbounds.observe_outbounds()
        id = host_name(resource.id)
        standing, partial = found.whole.get(id), id in found.partial
        if resource.deleting:
            return Actual(None, standing, partial)
        users = await subnets_naming(ctx, resource.id, "natGateway")
        addresses: list[str] = []
        unaddressed = []
        for reference in resource.properties.get("publicIpAddresses") or []:
            pip = await ctx.get(reference["id"])
            if pip and (address := address_of(pip)):
                addresses.append(address)
            else:
                unaddressed.append(str(reference["id"]))
        for reference in resource.properties.get("publicIpPrefixes") or []:
            prefix = await ctx.get(reference["id"])
            addresses += (held := addresses_of(prefix) if prefix else ())
            unaddressed += [] if held else [str(reference["id"])]
        networks = await ctx.list(type=VIRTUAL_NETWORK) if users or standing else []
        leaving = {host_name(n.id) for n in networks if n.deleting}
        there = {host_name(network): network for _, _, network in users}
        at = min(there.keys() - leaving, default=None)
        sources = tuple(sorted(prefix for _, prefix, network in users if host_name(network) == at))
        idle = 60 * int(resource.properties.get("idleTimeoutInMinutes") or 4)
        way = Way(sources, tuple(addresses), idle=idle, reset=True)
        wanted = Outbound(id, resource.id, at, (way,), 0) if at and addresses else None
        return Actual(
            wanted,
            standing,
            partial,
            bool(standing and standing.network in leaving),
            tuple(unaddressed),
            tuple(sorted(id for id, _, _ in users)),
        )

    def plan(self, resource: Resource, actual: Actual) -> list[Step]:
        if actual.unaddressed and not resource.deleting:
            return [Step("wait for public addresses", self.wait, actual.unaddressed)]
        if actual.wanted:
            return [] if actual.wanted == actual.standing else [Step("translate", self.ensure, (actual.wanted,))]
        there = (actual.standing and not actual.leaving) or actual.partial
        return [Step("stop translating", self.remove)] if there else []

    def status(self, resource: Resource, actual: Actual) -> Document:
        return {"subnets": [{"id": id} for id in actual.subnets]} if actual.subnets else {}

    async def wait(self, ctx: Context, resource: Resource, *ids: str) -> None:
        for id in ids:
            if await ctx.settled(id) is None:
                raise ArmError("InvalidResourceReference", f"Resource {id} referenced by {resource.id} has gone.")

    async def ensure(self, ctx: Context, resource: Resource, wanted: Outbound) -> None:
        try:
            await self._outbounds.ensure_outbound(wanted)
        except DriverError as e:
            # Another gateway that is about to let go of the subnet; or after a reboot, a network still to come.
            if "has it already" in str(e) or f"network {wanted.network} is not there" in str(e):
                raise Retry(0.05, str(e)) from e
            raise

    async def remove(self, ctx: Context, resource: Resource) -> None:
        await self._outbounds.remove_outbound(host_name(resource.id))


def nat_gateways(reconciler: NatGatewayReconciler) -> ResourceType[Actual]:
    return ResourceType(
        NAT_GATEWAY,
        API_VERSIONS,
        reconciler=reconciler,
        admit=admit,
        admit_delete=admit_delete,
        linked=f"{NAT_GATEWAY}/join/action",
        schema="natGateways",
        watches={VIRTUAL_NETWORK: named},
    )
