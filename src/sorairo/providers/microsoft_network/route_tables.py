"""Microsoft.Network/routeTables: user-defined routes, in each virtual network where a subnet names the table.

https://learn.microsoft.com/azure/virtual-network/virtual-networks-udr-overview
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from sorairo.drivers.protocols import DriverError
from sorairo.drivers.routing import Hop, RouteTable, RouteTables
from sorairo.engine.errors import ArmError, Retry
from sorairo.engine.ids import host_name
from sorairo.engine.types import Admission, Context, Document, Inline, Resource, ResourceType, Step, named
from sorairo.providers.microsoft_network import service_tags
from sorairo.providers.microsoft_network.addresses import number, parse_prefix
from sorairo.providers.microsoft_network.service_tags import Space
from sorairo.providers.microsoft_network.spaces import Spaces
from sorairo.providers.microsoft_network.versions import API_VERSIONS
from sorairo.providers.microsoft_network.virtual_networks import VIRTUAL_NETWORK, subnets_naming
from sorairo.providers.overlays import table_name

ROUTE_TABLE = "Microsoft.Network/routeTables"
HOPS = {"vnetlocal": "network", "internet": "edge", "none": "nowhere", "virtualnetworkgateway": "nowhere"}
"""A virtual network without gateway drops what is for one, as on Azure; and none here has one yet."""


async def admit(admission: Admission) -> None:
    properties = admission.body["properties"]
    properties.pop("subnets", None)
    properties.setdefault("disableBgpRoutePropagation", False)
    by_prefix: dict[str, str] = {}
    routes = properties["routes"] = properties.get("routes") or []
    for route in routes:
        id = f"{admission.id.text}/routes/{route.get('name')}"
        for key in ("id", "type", "etag"):
            route.pop(key, None)
        inner = route.setdefault("properties", {})
        for shown in ("provisioningState", "hasBgpOverride"):
            inner.pop(shown, None)
        _check(id, inner)
        prefix = str(inner["addressPrefix"]).lower()
        if other := by_prefix.get(prefix):
            raise ArmError(
                "RouteConflict",
                f"Route: {route.get('name')} conflicts with Route: {other}. Routes cannot have the same AddressPrefix.",
                target=id,
            )
        by_prefix[prefix] = str(route.get("name"))


def _check(id: str, route: Document) -> None:
    prefix = str(route.get("addressPrefix") or "")
    if not service_tags.is_tag(prefix):
        parse_prefix(prefix, id)
    kind, hop = str(route.get("nextHopType") or "").lower(), route.get("nextHopIpAddress")
    if kind == "virtualapplianceecmp":
        raise ArmError(
            "NotImplemented", f"sorairo does not implement routes with several next hops yet ({id}).", status=501
        )
    if kind == "virtualappliance":
        if not hop:
            raise ArmError(
                "MissingNextHopIpAddress",
                f"NextHopIpAddress cannot be Null or Empty in route {id} when NextHopType is VirtualAppliance.",
                target=id,
            )
        number(hop)
    elif kind not in HOPS:
        raise ArmError("InvalidNextHopType", f"Route {id} has no valid NextHopType.", target=id)
    elif hop:
        raise ArmError(
            "NextHopIpAddressNotAllowed",
            f"NextHopIpAddress can only be specified in route {id} when NextHopType is VirtualAppliance.",
            target=id,
        )


async def admit_delete(admission: Admission) -> None:
    if await subnets_naming(admission.reader, admission.id.text, "routeTable"):
        raise ArmError(
            "InUseRouteTableCannotBeDeleted",
            f"Route table {admission.id.name} is in use and cannot be deleted.",
            target=admission.id.text,
        )


def hops(table: Resource, space: Space) -> tuple[Hop, ...]:
    """In order of prefix. A route for a prefix goes before one for a service whose addresses it is."""
    found: dict[str, str] = {}
    for route in sorted(
        table.properties["routes"], key=lambda r: not service_tags.is_tag(r["properties"]["addressPrefix"])
    ):
        properties = route["properties"]
        text = str(properties["addressPrefix"])
        to = HOPS.get(str(properties["nextHopType"]).lower()) or str(properties["nextHopIpAddress"])
        for prefix in service_tags.addresses(text, space) if service_tags.is_tag(text) else (text,):
            found[str(ipaddress.IPv4Network(prefix))] = to
    return tuple(Hop(prefix, found[prefix]) for prefix in sorted(found, key=ipaddress.IPv4Network))


@dataclass(frozen=True, slots=True)
class Actual:
    wanted: tuple[RouteTable, ...] = ()
    standing: dict[str, RouteTable] = field(default_factory=dict)
    """This table's, by id."""
    partial: tuple[str, ...] = ()
    leaving: frozenset[str] = frozenset()
    """Host names of networks that are going, and take their tables along."""
    subnets: tuple[str, ...] = ()


class RouteTableReconciler:
    def __init__(self, tables: RouteTables, spaces: Spaces) -> None:
        self._tables = tables
        self._spaces = spaces

    async def observe(self, ctx: Context, resource: Resource) -> Actual:
        found = await self._tables.observe_route_tables()
        standing = {i: each for i, each in found.whole.items() if each.owner.lower() == resource.key}
        partial = tuple(i for i, owner in found.partial.items() if owner.lower() == resource.key)
        if resource.deleting:
            return Actual((), standing, partial)
        users = await subnets_naming(ctx, resource.id, "routeTable")
        wanted = []
        for key in sorted({network.lower() for _, _, network in users}) if resource.properties.get("routes") else ():
            network = await ctx.get(key)
            if network and not network.deleting:
                prefixes = tuple(sorted(prefix for _, prefix, at in users if at.lower() == key))
                way = hops(resource, await self._spaces.of(ctx, network))
                id = table_name(resource.id, key)
                wanted.append(RouteTable(id, resource.id, host_name(key), prefixes, way))
        networks = {each.network for each in standing.values()}
        listed = await ctx.list(type=VIRTUAL_NETWORK) if networks else []
        leaving = frozenset(host_name(n.id) for n in listed if n.deleting) & networks
        return Actual(tuple(wanted), standing, partial, leaving, tuple(sorted(id for id, _, _ in users)))

    def plan(self, resource: Resource, actual: Actual) -> list[Step]:
        plan = []
        for table in actual.wanted:
            if actual.standing.get(table.id) != table:
                plan.append(Step(f"route {table.id}", self.ensure, (table,)))
        wanted = {table.id for table in actual.wanted}
        stale = [i for i, each in actual.standing.items() if i not in wanted and each.network not in actual.leaving]
        for id in (*stale, *(i for i in actual.partial if i not in wanted)):
            plan.append(Step(f"stop routing {id}", self.remove, (id,)))
        return plan

    def status(self, resource: Resource, actual: Actual) -> Document:
        return {"subnets": [{"id": id} for id in actual.subnets]} if actual.subnets else {}

    async def ensure(self, ctx: Context, resource: Resource, table: RouteTable) -> None:
        try:
            await self._tables.ensure_route_table(table)
        except DriverError as e:
            # Another table that is about to let go of the subnet; or after a reboot, a network that is still to come.
            if "routed by table" in str(e) or f"network {table.network} is not there" in str(e):
                raise Retry(0.05, str(e)) from e
            raise

    async def remove(self, ctx: Context, resource: Resource, id: str) -> None:
        await self._tables.remove_route_table(id)


def route_table_types(reconciler: RouteTableReconciler) -> tuple[ResourceType[Actual] | ResourceType[None], ...]:
    tables = ResourceType(
        ROUTE_TABLE,
        API_VERSIONS,
        reconciler=reconciler,
        admit=admit,
        admit_delete=admit_delete,
        linked=f"{ROUTE_TABLE}/join/action",
        schema="routeTables",
        watches={VIRTUAL_NETWORK: named},
    )
    routes: ResourceType[None] = ResourceType(
        f"{ROUTE_TABLE}/routes",
        API_VERSIONS,
        inline=Inline("routes"),
        schema="routes",
        located=False,
        tracked=False,
    )
    return tables, routes
