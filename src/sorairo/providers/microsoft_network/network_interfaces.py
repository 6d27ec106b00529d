"""Network interfaces, of virtual machines and of scale set instances: a veth into the machine's namespace.

https://learn.microsoft.com/rest/api/virtualnetwork/network-interfaces
The second type lives under Microsoft.Compute's path and is served by Microsoft.Network, as on Azure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sorairo.drivers.protocols import Links, Nic
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import host_name, parse_id
from sorairo.engine.types import Action, Admission, Context, Document, Reader, Resource, ResourceType, Step
from sorairo.providers.microsoft_network.addresses import address, gateway, number, parse_prefix, usable, usable_count
from sorairo.providers.microsoft_network.references import check_there, missing
from sorairo.providers.microsoft_network.resolver import machine_of, servers, suffix
from sorairo.providers.microsoft_network.versions import API_VERSIONS
from sorairo.providers.microsoft_network.virtual_networks import NIC_TYPES, check_dns_servers, subnet_prefix
from sorairo.providers.overlays import block_of, overlay_of, pool_name


async def find_subnet(reader: Reader, subnet_id: str, target: str) -> Document:
    """The subnet's document, or Azure's error that it is not there."""
    rid = parse_id(subnet_id)
    network = await reader.get(rid.parent)
    for subnet in network.properties.get("subnets", []) if network else []:
        if subnet["name"].lower() == rid.name.lower():
            return subnet  # type: ignore[no-any-return]
    raise missing(subnet_id, target)


def configurations(nic: Resource) -> list[Document]:
    return nic.properties.get("ipConfigurations") or []


def subnet_of(nic: Resource) -> str:
    return str(configurations(nic)[0]["properties"]["subnet"]["id"])


async def admit(admission: Admission) -> None:
    properties = admission.body["properties"]
    ips = properties.get("ipConfigurations") or []
    if not ips:
        raise ArmError(
            "InvalidRequestFormat",
            f"Network interface '{admission.id.name}' needs at least one ipConfiguration.",
            target="ipConfigurations",
        )
    subnets: dict[str, Document] = {}
    for n, ip in enumerate(ips):
        for key in ("id", "type", "etag"):
            ip.pop(key, None)
        ip.setdefault("name", f"ipconfig{n + 1}")
        inner = ip.setdefault("properties", {})
        inner.pop("provisioningState", None)
        inner.setdefault("primary", n == 0)
        inner.setdefault("privateIPAllocationMethod", "Dynamic")
        inner.setdefault("privateIPAddressVersion", "IPv4")
        subnet_id = (inner.get("subnet") or {}).get("id") or (ips[0]["properties"].get("subnet") or {}).get(
            "id"
        )  # Azure lets secondary configurations leave it out.
        if not subnet_id:
            raise ArmError(
                "SubnetNotProvided", f"Subnet is not specified in ipConfiguration '{ip['name']}' of "
                f"'{admission.id.name}'.", target=ip["name"],
            )  # fmt: skip
        inner["subnet"] = {"id": subnet_id}
        if subnet_id not in subnets:
            subnets[subnet_id] = await find_subnet(admission.reader, subnet_id, admission.id.text)
        wanted = inner.get("privateIPAddress")
        if inner["privateIPAllocationMethod"] == "Static" and wanted:
            network = parse_prefix(subnet_prefix(subnets[subnet_id]), subnet_id)
            if number(wanted) not in usable(network):
                raise ArmError(
                    "PrivateIPAddressNotInSubnet",
                    f"Private static IP address {wanted} does not belong to the range of subnet prefix {network}.",
                    target=ip["name"],
                )
        else:
            inner.pop("privateIPAddress", None)
    if group := (properties.get("networkSecurityGroup") or {}).get("id"):
        properties["networkSecurityGroup"] = {"id": group}
        await check_there(admission.reader, group, admission.id.text)
    dns = properties.setdefault("dnsSettings", {})
    dns.setdefault("dnsServers", [])
    check_dns_servers(dns["dnsServers"])
    properties.setdefault("enableIPForwarding", False)
    properties.setdefault("enableAcceleratedNetworking", False)


@dataclass(frozen=True, slots=True)
class Actual:
    nic: Nic | None
    desired: Nic | None
    """None while it has no addresses yet, or no machine to be in."""
    addresses: tuple[str, ...]
    """One for each ipConfiguration, in order; empty until all that it needs is claimed."""
    partial: bool = False
    """Something of it stands, though not all."""
    dns: Document = field(default_factory=dict)
    """What its `dnsSettings` show besides what was asked for."""


class NicReconciler:
    """Addresses are claimed durably, then the veth is made in the machine's namespace.

    `blocks`: several addresses of one NIC make a network prefix where one is free, for those who can only say them so.
    """

    def __init__(self, links: Links, *, blocks: bool = False) -> None:
        self._links = links
        self._blocks = blocks

    async def observe(self, ctx: Context, resource: Resource) -> Actual:
        state = await self._links.observe_links()
        id = host_name(resource.id)
        desired = None if resource.deleting else await self._desired(ctx, resource)
        dns = await _dns(ctx, resource)
        return Actual(state.nics.get(id), desired, claimed(resource), id in state.partial, dns)

    async def _desired(self, ctx: Context, resource: Resource) -> Nic | None:
        addresses, machine = claimed(resource), machine_of(resource)
        if not addresses or machine is None:
            return None
        network = parse_prefix(subnet_prefix(await find_subnet(ctx, subnet_of(resource), resource.id)), resource.id)
        return Nic(
            id=host_name(resource.id),
            owner=resource.id,
            network=host_name(parse_id(subnet_of(resource)).parent),
            namespace=host_name(machine),
            address=addresses[0],
            gateway=gateway(network),
            prefix_length=network.prefixlen,
            secondary=(*addresses[1:], *([block] if (block := block_of(resource)) else [])),
            mac=mac_address(resource.id),
            guarded=bool(resource.properties.get("networkSecurityGroup")),
            overlay=(overlay_of(resource) or {}).get("cidr"),
        )

    def plan(self, resource: Resource, actual: Actual) -> list[Step]:
        if resource.deleting:
            return [Step("remove link", self.remove)] if actual.nic or actual.partial else []
        plan = [] if actual.addresses else [Step("claim addresses", self.claim)]
        if machine_of(resource) and (plan or actual.nic != actual.desired):
            plan.append(Step("ensure link", self.ensure, (actual.desired,), tuple(s.name for s in plan)))
        return plan

    def status(self, resource: Resource, actual: Actual) -> Document:
        shown = {**(resource.properties.get("dnsSettings") or {}), **actual.dns}
        return {"macAddress": mac_address(resource.id).replace(":", "-").upper(), "dnsSettings": shown}

    async def claim(self, ctx: Context, resource: Resource) -> None:
        if overlay := overlay_of(resource):
            await self._claim_block(ctx, resource, overlay)
        subnet_id = subnet_of(resource)
        network = parse_prefix(subnet_prefix(await find_subnet(ctx, subnet_id, resource.id)), subnet_id)
        ips = configurations(resource)
        static = [ip["properties"].get("privateIPAddress") for ip in ips]

        def addresses(dynamic: tuple[int, ...]) -> Document:
            free = iter(dynamic)
            return {"addresses": [a or address(next(free)) for a in static], "prefix": str(network)}

        try:
            await ctx.claim_numbers(
                f"subnet {subnet_id.lower()}",
                usable(network),
                static.count(None),
                exactly=[number(a) for a in static if a],
                blocks=self._blocks,
                then=addresses,
            )
        except ArmError as e:
            if e.code != "PoolExhausted":
                raise
            raise ArmError(
                "SubnetIsFull",
                f"Subnet {parse_id(subnet_id).name} with address prefix {network} does not have enough capacity for "
                f"{len(ips)} IP addresses ({usable_count(network)} are usable in all).",
                target=subnet_id,
            ) from e

    async def _claim_block(self, ctx: Context, resource: Resource, overlay: Document) -> None:
        """Of an overlay, a /24 for what runs on the machine."""
        cidr = overlay["cidr"]
        blocks = (str(each) for each in parse_prefix(cidr, resource.id).subnets(new_prefix=24))
        try:
            await ctx.claim(pool_name(overlay), blocks)
        except ArmError as e:
            if e.code != "PoolExhausted":
                raise
            raise ArmError("SubnetIsFull", f"Pod CIDR {cidr} has no /24 left for another node.", target=cidr) from e

    async def ensure(self, ctx: Context, resource: Resource, desired: Nic | None) -> None:
        """`desired` None: it was not known when this was planned."""
        await ctx.settled(parse_id(subnet_of(resource)).parent)
        desired = desired or await self._desired(ctx, resource)
        assert desired
        await self._links.ensure_nic(desired)

    async def remove(self, ctx: Context, resource: Resource) -> None:
        await self._links.remove_nic(host_name(resource.id))


async def _dns(reader: Reader, nic: Resource) -> Document:
    network = await reader.get(parse_id(subnet_of(nic)).parent)
    if network is None:
        return {}
    domain, label = suffix(network.id), (nic.properties.get("dnsSettings") or {}).get("internalDnsNameLabel")
    found: Document = {"appliedDnsServers": servers(network, nic.properties), "internalDomainNameSuffix": domain}
    return found | ({"internalFqdn": f"{label}.{domain}"} if label else {})


def claimed(nic: Resource) -> tuple[str, ...]:
    """One address for each ipConfiguration, in order; empty until all are claimed."""
    addresses = tuple(nic.private.get("addresses", ()))
    if overlay_of(nic) and not block_of(nic):
        return ()
    return addresses if len(addresses) >= len(configurations(nic)) else ()


def mac_address(resource_id: str) -> str:
    """Azure's own vendor prefix (00:0D:3A, Microsoft) and three bytes of the id's hash."""
    tail = hashlib.sha256(resource_id.lower().encode()).digest()[:3]
    return "00:0d:3a:" + ":".join(f"{b:02x}" for b in tail)


def _render(resource: Resource, document: Document) -> Document:
    addresses: list[Any] = resource.private.get("addresses", [])
    for n, ip in enumerate(document["properties"].get("ipConfigurations", [])):
        ip["id"] = f"{resource.id}/ipConfigurations/{ip['name']}"
        ip["etag"] = document["etag"]
        ip["properties"]["provisioningState"] = resource.provisioning_state
        if n < len(addresses):
            ip["properties"]["privateIPAddress"] = addresses[n]
    machine = machine_of(resource)
    if machine:
        document["properties"]["virtualMachine"] = {"id": machine}
    document["properties"]["primary"] = True
    return document


def network_interface_types(
    reconciler: NicReconciler, actions: Callable[[str], Sequence[Action]] = lambda type: ()
) -> tuple[ResourceType[Actual], ...]:
    """`actions`: those of a type, by its name."""
    return (
        ResourceType(
            NIC_TYPES[0],
            API_VERSIONS,
            reconciler=reconciler,
            admit=admit,
            render=_render,
            schema="networkInterfaces",
            actions=actions(NIC_TYPES[0]),
        ),
        ResourceType(
            NIC_TYPES[1],
            API_VERSIONS,
            reconciler=reconciler,
            admit=admit,
            render=_render,
            located=False,
            tracked=False,
            writable=False,
            actions=actions(NIC_TYPES[1]),
        ),
    )
