"""Microsoft.Network/loadBalancers: frontends and their addresses, pools, probes and rules.

https://learn.microsoft.com/rest/api/load-balancer/load-balancers
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Admission, Context, Document, Inline, Resource, ResourceType, Step
from sorairo.providers.microsoft_network.addresses import address, number, parse_prefix, usable, usable_count
from sorairo.providers.microsoft_network.network_interfaces import find_subnet
from sorairo.providers.microsoft_network.versions import API_VERSIONS
from sorairo.providers.microsoft_network.virtual_networks import subnet_prefix

PARTS = ("frontendIPConfigurations", "backendAddressPools", "loadBalancingRules", "probes", "inboundNatRules",
         "outboundRules", "inboundNatPools")  # fmt: skip


def frontends(resource: Resource) -> list[Document]:
    return resource.properties.get("frontendIPConfigurations") or []


async def admit(admission: Admission) -> None:
    admission.body.setdefault("sku", {"name": "Standard", "tier": "Regional"})
    for part in PARTS:
        for item in admission.body["properties"].setdefault(part, []):
            for key in ("id", "type", "etag"):
                item.pop(key, None)
            item.setdefault("properties", {}).pop("provisioningState", None)
    for frontend in admission.body["properties"]["frontendIPConfigurations"]:
        await _admit_frontend(admission, frontend)


async def _admit_frontend(admission: Admission, frontend: Document) -> None:
    properties = frontend["properties"]
    properties.setdefault("privateIPAllocationMethod", "Dynamic")
    subnet_id = (properties.get("subnet") or {}).get("id")
    if subnet_id is None:
        await _check_public_ip(admission, properties)
        return
    # Clients send a subnet back as they got it, whole; what counts is which.
    properties["subnet"] = {"id": subnet_id}
    subnet = await find_subnet(admission.reader, subnet_id, admission.id.text)
    properties.setdefault("privateIPAddressVersion", "IPv4")
    wanted = properties.get("privateIPAddress")
    if properties["privateIPAllocationMethod"] != "Static":
        properties.pop("privateIPAddress", None)
    elif not wanted or number(wanted) not in usable(parse_prefix(subnet_prefix(subnet), subnet_id)):
        raise ArmError(
            "PrivateIPAddressNotInSubnet",
            f"Private static IP address {wanted} does not belong to the range of subnet prefix "
            f"{subnet_prefix(subnet)}.",
            target=frontend.get("name"),
        )


async def _check_public_ip(admission: Admission, properties: Document) -> None:
    public_ip = (properties.get("publicIPAddress") or {}).get("id")
    if public_ip is None:
        return
    properties["publicIPAddress"] = {"id": public_ip}
    if await admission.reader.get(public_ip) is None:
        raise ArmError(
            "InvalidResourceReference",
            f"Resource {public_ip} referenced by resource {admission.id.text} was not found. Please make sure that the "
            "referenced resource exists, and that both resources are in the same region.",
            target=public_ip,
        )


@dataclass(frozen=True, slots=True)
class Actual:
    addresses: dict[str, str]
    """Private addresses by the frontend's name, as far as they have been taken."""


class LoadBalancerReconciler:
    """An internal frontend has an address of its subnet before anything is made of it. An address that a frontend
    gives up stays with the load balancer, for its next one."""

    async def observe(self, ctx: Context, resource: Resource) -> Actual:
        return Actual(dict(resource.private.get("frontends", {})))

    def plan(self, resource: Resource, actual: Actual) -> list[Step]:
        if resource.deleting or _right(resource, actual.addresses):
            return []
        return [Step("claim addresses", self.claim)]

    def status(self, resource: Resource, actual: Actual) -> Document:
        return {}

    async def claim(self, ctx: Context, resource: Resource) -> None:
        by_subnet: dict[str, list[Document]] = defaultdict(list)
        for frontend in frontends(resource):
            if subnet_id := (frontend["properties"].get("subnet") or {}).get("id"):
                by_subnet[subnet_id.lower()].append(frontend)
        known: dict[str, str] = resource.private.get("frontends", {})
        names = {f["name"] for inside in by_subnet.values() for f in inside}
        await ctx.save(resource, private={"frontends": {n: a for n, a in known.items() if n in names}})
        for subnet_id, inside in by_subnet.items():
            await self._claim(ctx, resource, subnet_id, inside)

    async def _claim(self, ctx: Context, resource: Resource, subnet_id: str, inside: list[Document]) -> None:
        network = parse_prefix(subnet_prefix(await find_subnet(ctx, subnet_id, resource.id)), subnet_id)
        known: dict[str, str] = dict(resource.private.get("frontends", {}))
        static = {f["name"]: f["properties"].get("privateIPAddress") for f in inside}
        kept = {
            name: known[name]
            for name, wanted in static.items()
            if name in known and wanted is None and number(known[name]) in usable(network)
        }

        def assigned(numbers: tuple[int, ...]) -> Document:
            free = iter(sorted({address(n) for n in numbers} - set(kept.values()), key=number))
            found = {name: wanted or kept.get(name) or next(free) for name, wanted in static.items()}
            return {"frontends": {**known, **found}}

        try:
            await ctx.claim_numbers(
                f"subnet {subnet_id}",
                usable(network),
                list(static.values()).count(None),
                exactly=[number(a) for a in static.values() if a],
                then=assigned,
            )
        except ArmError as e:
            if e.code != "PoolExhausted":
                raise
            taken = next((a for a in static.values() if a), None)
            if taken and "is taken" in e.message:
                raise ArmError(
                    "PrivateIPAddressInUse", f"IP configuration's private IP address {taken} is already in use."
                ) from e
            raise ArmError(
                "SubnetIsFull",
                f"Subnet {parse_id(subnet_id).name} with address prefix {network} does not have enough capacity for "
                f"{len(inside)} IP addresses ({usable_count(network)} are usable in all).",
                target=subnet_id,
            ) from e


def _right(resource: Resource, addresses: dict[str, str]) -> bool:
    internal = {f["name"]: f["properties"] for f in frontends(resource) if f["properties"].get("subnet")}
    return addresses.keys() == internal.keys() and all(
        p.get("privateIPAddress") in (None, addresses[name]) for name, p in internal.items()
    )


def _render(resource: Resource, document: Document) -> Document:
    addresses: dict[str, str] = resource.private.get("frontends", {})
    for part in PARTS:
        for item in document["properties"].get(part, []):
            item["id"] = f"{resource.id}/{part}/{item['name']}"
            item["etag"] = document["etag"]
            item["properties"]["provisioningState"] = resource.provisioning_state
    for frontend in document["properties"].get("frontendIPConfigurations", []):
        if found := addresses.get(frontend["name"]):
            frontend["properties"]["privateIPAddress"] = found
    return document


def load_balancer_types(reconciler: LoadBalancerReconciler) -> tuple[ResourceType[Actual], ResourceType[None]]:
    balancers = ResourceType(
        "Microsoft.Network/loadBalancers",
        API_VERSIONS,
        reconciler=reconciler,
        admit=admit,
        render=_render,
        schema="loadBalancers",
    )
    pools: ResourceType[None] = ResourceType(
        "Microsoft.Network/loadBalancers/backendAddressPools",
        API_VERSIONS,
        inline=Inline("backendAddressPools"),
        schema="backendAddressPools",
        located=False,
        tracked=False,
    )
    return balancers, pools
