"""Microsoft.Network/virtualNetworks and its subnets: a namespace that routes.

https://learn.microsoft.com/rest/api/virtualnetwork/virtual-networks
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from sorairo.drivers.naming import Names, NameSpec, View
from sorairo.drivers.protocols import DriverError, Links, Network
from sorairo.drivers.routing import Peering, Peerings
from sorairo.engine.errors import ArmError, Retry
from sorairo.engine.ids import host_name
from sorairo.engine.types import Admission, Context, Document, Inline, Reader, Resource, ResourceType, Step, named
from sorairo.providers.microsoft_network.addresses import number, parse_prefix
from sorairo.providers.microsoft_network.peerings import VIRTUAL_NETWORK as VIRTUAL_NETWORK
from sorairo.providers.microsoft_network.peerings import admit_peerings, states, wanted_halves
from sorairo.providers.microsoft_network.record_sets import PRIVATE, RECORD_TYPES
from sorairo.providers.microsoft_network.references import check_there
from sorairo.providers.microsoft_network.resolver import LINK, linked_to, network_of, view
from sorairo.providers.microsoft_network.subnet_services import (
    check_one_network,
    check_services,
    delegated_in_use,
    delegated_to,
    render_parts,
)
from sorairo.providers.microsoft_network.versions import API_VERSIONS

PUBLIC_POOL = "public addresses"
NAMED_BY_SUBNETS = ("networkSecurityGroup", "routeTable", "natGateway")
LOAD_BALANCER = "Microsoft.Network/loadBalancers"
PRIVATE_ENDPOINT = "Microsoft.Network/privateEndpoints"
NIC_TYPES = (
    "Microsoft.Network/networkInterfaces",
    "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/networkInterfaces",
)


def subnet_prefix(subnet: Document) -> str:
    properties = subnet.get("properties", {})
    return str(properties.get("addressPrefix") or (properties.get("addressPrefixes") or [""])[0])


async def users_in(reader: Reader, scope: str, *types: str) -> list[tuple[str, str]]:
    """(subnet id, user's id) of every NIC, load balancer and private endpoint in a virtual network or subnet (its id,
    any case)."""
    found = []
    below = scope.lower().rstrip("/") + "/"
    for type in types or (*NIC_TYPES, LOAD_BALANCER, PRIVATE_ENDPOINT):
        for user in await reader.naming(scope, type=type):
            parts = user.properties.get("ipConfigurations") or user.properties.get("frontendIPConfigurations") or []
            parts = [user.body] if type == PRIVATE_ENDPOINT else parts
            subnets = (str(part.get("properties", {}).get("subnet", {}).get("id", "")) for part in parts)
            found += [(subnet, user.id) for subnet in subnets if (subnet.lower() + "/").startswith(below)][:1]
    return found


async def subnets_naming(reader: Reader, id: str, key: str) -> list[tuple[str, str, str]]:
    """Id, CIDR and virtual network of every subnet whose `key` (`routeTable`, `natGateway` …) is `id`."""
    return [
        (f"{network.id}/subnets/{subnet['name']}", subnet_prefix(subnet), network.id)
        for network in await reader.naming(id, type=VIRTUAL_NETWORK)
        for subnet in network.properties.get("subnets", [])
        if str((subnet["properties"].get(key) or {}).get("id", "")).lower() == id.lower()
    ]


async def admit(admission: Admission) -> None:
    """Prefixes parse, subnets lie inside and apart, and none that is in use goes."""
    properties = admission.body["properties"]
    prefixes = (properties.get("addressSpace") or {}).get("addressPrefixes") or []
    if not prefixes:
        raise ArmError(
            "InvalidRequestFormat",
            f"Virtual network '{admission.id.name}' needs at least one address prefix in "
            "properties.addressSpace.addressPrefixes.",
            target="addressSpace",
        )
    spaces = [parse_prefix(p, admission.id.text) for p in prefixes]
    for n, space in enumerate(spaces):
        for other in spaces[n + 1 :]:
            if space.overlaps(other):
                raise ArmError(
                    "AddressSpacesOverlap", f"Address prefixes {space} and {other} of '{admission.id.name}' overlap."
                )
    subnets = properties.setdefault("subnets", [])
    known: set[str] = set()
    seen: list[tuple[str, object]] = []
    for subnet in subnets:
        name = subnet.get("name")
        network = parse_prefix(subnet_prefix(subnet), f"{admission.id.text}/subnets/{name}")
        if not any(network.subnet_of(space) for space in spaces):
            raise ArmError(
                "NetcfgInvalidSubnet",
                f"Subnet '{name}' is not valid because its IP address range is outside the IP address range of virtual "
                f"network '{admission.id.name}'.",
                target=name,
            )
        for other_name, other_net in seen:
            if network.overlaps(other_net):  # type: ignore[arg-type]
                raise ArmError(
                    "NetcfgSubnetRangesOverlap",
                    f"Subnet '{name}' is not valid because its IP address range overlaps with that of an existing "
                    f"subnet '{other_name}' in virtual network '{admission.id.name}'.",
                    target=name,
                )
        if network.num_addresses < 8:
            raise ArmError(
                "NetcfgInvalidSubnet", f"Subnet '{name}' is too small: the smallest Azure allows is /29.", target=name
            )
        seen.append((name, network))
        for key in ("id", "type", "etag"):
            subnet.pop(key, None)
        subnet["properties"] = {
            "privateEndpointNetworkPolicies": "Disabled",
            "privateLinkServiceNetworkPolicies": "Enabled",
            "delegations": [],
            **{
                k: v
                for k, v in subnet.get("properties", {}).items()
                if k not in ("provisioningState", "ipConfigurations")
            },
        }
        for key in NAMED_BY_SUBNETS:
            id = str((subnet["properties"].get(key) or {}).get("id", ""))
            if id and id not in known:
                await check_there(admission.reader, id, f"{admission.id.text}/subnets/{name}")
                known.add(id)
                if key == "natGateway":
                    await check_one_network(admission.reader, id, admission.id.text)
        await check_services(admission, subnet)
    properties.setdefault("enableDdosProtection", False)
    check_dns_servers((properties.get("dhcpOptions") or {}).get("dnsServers"))
    await admit_peerings(admission)
    if admission.existing:
        await _keep_used(admission, {str(s.get("name", "")).lower(): s for s in subnets})


def check_dns_servers(servers: object) -> None:
    """Of a network or a NIC: addresses, in the order they are asked. Raises ArmError."""
    for server in servers if isinstance(servers, list) else []:
        number(server)


async def _keep_used(admission: Admission, wanted: dict[str, Document]) -> None:
    assert admission.existing
    for subnet in admission.existing.properties.get("subnets", []):
        name = str(subnet["name"])
        id, after = f"{admission.id.text}/subnets/{name}", wanted.get(name.lower())
        stays = after is not None and subnet_prefix(after) == subnet_prefix(subnet)
        before, then = delegated_to(subnet), delegated_to(after) if after else []
        if stays and before == then:
            continue
        users = await users_in(admission.reader, id)
        if users and stays:
            raise delegated_in_use(id, before, then, users[0][1])
        if users:
            raise in_use(name, users[0][1])


def in_use(subnet: str, nic: str) -> ArmError:
    return ArmError(
        "InUseSubnetCannotBeDeleted",
        f"Subnet {subnet} is in use by {nic} and cannot be deleted or changed. In order to do so, delete all the "
        "resources within the subnet. See aka.ms/deletesubnet.",
        target=subnet,
    )


async def admit_delete(admission: Admission) -> None:
    users = await users_in(admission.reader, admission.id.text)
    if users:
        raise in_use(users[0][0].rsplit("/", 1)[-1], users[0][1])


async def admit_subnet_delete(admission: Admission) -> None:
    users = await users_in(admission.reader, admission.id.text)
    if users:
        raise in_use(admission.id.name, users[0][1])


@dataclass(frozen=True, slots=True)
class Actual:
    network: Network | None
    outbound: str | None
    users: tuple[str, ...]
    """NICs that are in it."""
    legs: tuple[str, ...] = ()
    """Control planes that still reach into it."""
    partial: bool = False
    """Something of it stands, though not all."""
    told: NameSpec | str | None = None
    """What its machines are told of names; an owner, if that stands only in part."""
    to_tell: View | None = None
    dns_links: tuple[str, ...] = ()
    """Links of private DNS zones to it, if it is to go."""
    halves: tuple[Peering, ...] = ()
    """Of peerings that stand."""
    wanted_halves: tuple[Peering, ...] = ()
    partial_halves: tuple[str, ...] = ()
    peerings: Document = field(default_factory=dict)
    """What is to be noted of them."""


class VirtualNetworkReconciler:
    """A network stands when its namespace routes its prefixes and connections out of it have an address to come from:
    Azure's default outbound access, https://learn.microsoft.com/azure/virtual-network/ip-services/default-outbound-access
    """

    def __init__(
        self, links: Links, peerings: Peerings, public_addresses: tuple[str, ...], names: Names | None = None
    ) -> None:
        """`names` None: where no packet moves, nobody is told anything."""
        self._links = links
        self._peerings = peerings
        self._public = public_addresses
        self._names = names

    async def observe(self, ctx: Context, resource: Resource) -> Actual:
        state = await self._links.observe_links()
        claimed = resource.private.get("claims", {}).get(PUBLIC_POOL, [None])
        users = await users_in(ctx, resource.id, *NIC_TYPES, PRIVATE_ENDPOINT) if resource.deleting else []
        id = host_name(resource.id)
        legs = tuple(leg.owner for leg in state.legs.values() if leg.network == id)
        told, to_tell = await self._views(ctx, resource)
        here = Actual(
            state.networks.get(id),
            claimed[0],
            tuple(nic for _, nic in users),
            legs,
            id in state.partial,
            told,
            to_tell,
            tuple(each.id for each in await ctx.naming(resource.id, type=LINK)) if resource.deleting else (),
        )
        if resource.deleting:
            return here
        found = await self._peerings.observe_peerings()
        noted = await states(ctx, resource)
        return replace(
            here,
            halves=tuple(half for half in found.whole.values() if half.owner.lower() == resource.key),
            partial_halves=tuple(i for i, owner in found.partial.items() if owner.lower() == resource.key),
            wanted_halves=wanted_halves(resource, noted),
            peerings=noted,
        )

    async def _views(self, ctx: Context, resource: Resource) -> tuple[NameSpec | str | None, View | None]:
        if self._names is None:
            return None, None
        state, id = await self._names.observe_names(), host_name(resource.id)
        told = state.whole.get(id) or state.partial.get(id)
        if resource.deleting:
            return told, None
        nics = [nic for type in NIC_TYPES for nic in await ctx.naming(resource.id, type=type)]
        return told, await view(ctx, resource, nics)

    @property
    def tells(self) -> bool:
        return self._names is not None

    def desired(self, resource: Resource, outbound: str | None) -> Network:
        private = [
            subnet_prefix(subnet)
            for subnet in resource.properties.get("subnets", [])
            if subnet["properties"].get("defaultOutboundAccess") is False
        ]
        prefixes = tuple(resource.properties["addressSpace"]["addressPrefixes"])
        return Network(host_name(resource.id), resource.id, prefixes, outbound, tuple(sorted(private)))

    def plan(self, resource: Resource, actual: Actual) -> list[Step]:
        if resource.deleting:
            if actual.users or actual.legs:
                return [Step("wait for users", self.wait, (actual.users, actual.legs))]
            if actual.told or actual.dns_links:
                plan = [Step("tell nobody", self.untell)] if actual.told else []
                return [*plan, *([Step("unlink zones", self.unlink, (actual.dns_links,))] if actual.dns_links else [])]
            return [Step("remove network", self.remove)] if actual.network or actual.partial else []
        if actual.outbound is None:
            return [Step("claim outbound address", self.claim)]
        desired = self.desired(resource, actual.outbound)
        plan = [] if actual.network == desired else [Step("ensure network", self.ensure, (desired,))]
        needs = tuple(step.name for step in plan)
        if actual.peerings != resource.private.get("peerings", {}):
            plan.append(Step("note peerings", self.note, (actual.peerings,)))
        wanted = {half.id: half for half in actual.wanted_halves}
        gone = [half.id for half in actual.halves if half.id not in wanted]
        for id in (*gone, *(i for i in actual.partial_halves if i not in wanted)):
            plan.append(Step(f"part {id}", self.part, (id,)))
        for half in actual.wanted_halves:
            if half not in actual.halves:
                plan.append(Step(f"join {half.id}", self.join, (half,), needs))
        if plan or actual.told == actual.to_tell:
            return plan
        return [
            Step("tell names", self.tell, (actual.to_tell,)) if actual.to_tell else Step("tell nobody", self.untell)
        ]

    def status(self, resource: Resource, actual: Actual) -> Document:
        return {"resourceGuid": str(resource.private.get("guid", ""))} if resource.private.get("guid") else {}

    async def claim(self, ctx: Context, resource: Resource) -> None:
        await ctx.claim(PUBLIC_POOL, self._public)

    async def note(self, ctx: Context, resource: Resource, peerings: Document) -> None:
        await ctx.save(resource, private={"peerings": peerings})

    async def join(self, ctx: Context, resource: Resource, half: Peering) -> None:
        try:
            await self._peerings.ensure_peering(half)
        except DriverError as e:  # One of another name, that is about to go.
            raise (Retry(0.05, str(e)) if "has a peering with" in str(e) else e) from e

    async def part(self, ctx: Context, resource: Resource, id: str) -> None:
        await self._peerings.remove_peering(id)

    async def ensure(self, ctx: Context, resource: Resource, desired: Network) -> None:
        await self._links.ensure_network(desired)

    async def tell(self, ctx: Context, resource: Resource, to_tell: View) -> None:
        assert self._names
        await self._names.ensure_names(to_tell)

    async def untell(self, ctx: Context, resource: Resource) -> None:
        assert self._names
        await self._names.remove_names(host_name(resource.id))

    async def unlink(self, ctx: Context, resource: Resource, links: tuple[str, ...]) -> None:
        """As Azure does with a network's links when it goes."""
        for each in links:
            await ctx.delete(each)
        for each in links:
            if await ctx.settled(each, timeout=30) is not None:
                raise Retry(0.1, f"{each} is still there")

    async def remove(self, ctx: Context, resource: Resource) -> None:
        await self._links.remove_network(host_name(resource.id), with_rules=True)

    async def wait(self, ctx: Context, resource: Resource, users: tuple[str, ...], legs: tuple[str, ...]) -> None:
        for nic in users:
            if await ctx.settled(nic, timeout=30) is not None:
                raise Retry(0.2, f"{nic} still uses it")
        if legs:
            raise Retry(0.05, f"{legs[0]} still reaches into it")


async def _of_nic(reader: Reader, nic: Resource) -> Iterable[str]:
    network = network_of(nic)
    return [network] if network else []


async def _of_link(reader: Reader, link: Resource) -> Iterable[str]:
    return [linked_to(link)]


async def _of_zone(reader: Reader, zone: Resource) -> Iterable[str]:
    return [linked_to(link) for link in await reader.list(type=LINK, under=zone.id)]


async def _of_record(reader: Reader, record: Resource) -> Iterable[str]:
    return [linked_to(link) for link in await reader.list(type=LINK, under=record.rid.parent)]


_WATCHES = {
    **dict.fromkeys(NIC_TYPES, _of_nic),
    LINK: _of_link,
    PRIVATE: _of_zone,
    **dict.fromkeys(RECORD_TYPES[PRIVATE], _of_record),
}
"""Whose changes are told to a network's machines."""


def virtual_networks(reconciler: VirtualNetworkReconciler) -> ResourceType[Actual]:
    return ResourceType(
        VIRTUAL_NETWORK,
        API_VERSIONS,
        reconciler=reconciler,
        admit=admit,
        admit_delete=admit_delete,
        render=render_parts,
        schema="virtualNetworks",
        watches={VIRTUAL_NETWORK: named, **(_WATCHES if reconciler.tells else {})},
    )


SUBNETS: ResourceType[None] = ResourceType(
    "Microsoft.Network/virtualNetworks/subnets",
    API_VERSIONS,
    inline=Inline("subnets"),
    schema="subnets",
    located=False,
    tracked=False,
    admit_delete=admit_subnet_delete,
    linked="Microsoft.Network/virtualNetworks/subnets/join/action",
)
