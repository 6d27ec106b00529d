"""Microsoft.Network/privateEndpoints: an address in a subnet behind which another resource is, its interface, and the
connection that the resource's owner approves.

https://learn.microsoft.com/rest/api/virtualnetwork/private-endpoints
https://learn.microsoft.com/azure/private-link/private-endpoint-overview
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sorairo.drivers.private_links import PrivateLink, PrivateLinks
from sorairo.drivers.protocols import DriverError
from sorairo.engine.errors import ArmError, Retry
from sorairo.engine.ids import host_name, parse_id
from sorairo.engine.types import Context, Document, Reader, Resource, ResourceType, Step, named
from sorairo.providers.microsoft_network.network_interfaces import claimed, subnet_of
from sorairo.providers.microsoft_network.private_endpoint_admission import (
    CLUSTER,
    LISTS,
    admit,
    connection_of,
    linking,
    static_address,
    target_of,
)
from sorairo.providers.microsoft_network.versions import API_VERSIONS
from sorairo.providers.microsoft_network.virtual_networks import PRIVATE_ENDPOINT

GROUPS = f"{PRIVATE_ENDPOINT}/privateDnsZoneGroups"
CONNECTION = f"{CLUSTER}/privateEndpointConnections"
APPROVED: Document = {"status": "Approved", "description": "Auto Approved", "actionsRequired": "None"}
PENDING: Document = {"status": "Pending", "description": "Awaiting approval", "actionsRequired": "None"}
GONE: Document = {"status": "Disconnected", "description": "", "actionsRequired": "None"}


@dataclass(frozen=True, slots=True)
class Actual:
    """Everything the plan decides on."""

    guid: str = ""
    """Part of the names of what it makes; '': not chosen yet."""
    interface: bool = False
    """There is its NIC, of some kind."""
    address: str | None = None
    """None while the NIC is not as it should be."""
    state: Document = field(default_factory=dict)
    """Of its connection; none yet if empty."""
    connection: bool = False
    """Its target knows of it."""
    link: PrivateLink | None = None
    partial: bool = False
    wanted: PrivateLink | None = None
    names: tuple[str, ...] = ()
    """What its target is called."""
    groups: tuple[str, ...] = ()
    """Zone groups, if it is to go."""


class PrivateEndpointReconciler:
    """An endpoint stands when its NIC has its address and its target knows of it; packets pass while that approves."""

    def __init__(self, links: PrivateLinks | None) -> None:
        """`links` None: where what is behind endpoints is in no network, they are documents."""
        self._links = links

    async def observe(self, ctx: Context, resource: Resource) -> Actual:
        id, guid = host_name(resource.id), str(resource.private.get("guid", ""))
        found = await self._links.observe_private_links() if self._links else None
        link = found.whole.get(id) if found else None
        partial = bool(found and id in found.partial)
        nic = await ctx.get(interface_id(resource)) if guid else None
        connection = await ctx.get(connection_id(resource)) if guid else None
        if resource.deleting:
            groups = tuple(each.id for each in await ctx.list(type=GROUPS, under=resource.id))
            return Actual(guid, nic is not None, connection=connection is not None, link=link, partial=partial,
                          groups=groups)  # fmt: skip
        target = await ctx.get(target_of(resource))
        standing = target is not None and not target.deleting
        right = nic is not None and nic.settled and not nic.error
        address = next(iter(claimed(nic)), None) if nic and right else None
        state = _state(resource, connection if standing else None)
        wanted = None
        if self._links and address and state.get("status") == "Approved":
            network = host_name(parse_id(subnet_of(nic)).parent) if nic else ""
            wanted = PrivateLink(id, resource.id, network, address, host_name(target_of(resource)))
        names = _names(target) if target else ()
        return Actual(guid, nic is not None, address, state, connection is not None, link, partial, wanted, names)

    def plan(self, resource: Resource, actual: Actual) -> list[Step]:
        cut = [Step("cut link", self.cut)] if actual.link or actual.partial else []
        if resource.deleting:
            plan = [Step(f"delete zone group {parse_id(each).name}", self.drop, (each,)) for each in actual.groups]
            plan += cut
            if actual.connection:
                plan.append(Step("delete connection", self.disconnect))
            if actual.interface:
                plan.append(Step("delete interface", self.delete_interface, needs=tuple(s.name for s in cut)))
            return plan
        if not actual.guid:
            return [Step("name", self.name)]
        plan = [] if actual.address else [Step("interface", self.interface)]
        if not actual.state:
            plan.append(Step("connection", self.connect))
        if plan:
            return plan
        if actual.wanted is None:
            return cut
        return [] if actual.link == actual.wanted else [Step("link", self.link, (actual.wanted,))]

    def status(self, resource: Resource, actual: Actual) -> Document:
        shown: Document = {"networkInterfaces": [{"id": interface_id(resource)}] if actual.interface else []}
        shown["customDnsConfigs"] = [
            {"fqdn": name, "ipAddresses": [actual.address]} for name in actual.names if actual.address
        ]
        return {**shown, "connectionState": actual.state} if actual.state else shown

    # --- steps ----------------------------------------------------------------------------------------

    async def name(self, ctx: Context, resource: Resource) -> None:
        await ctx.save(resource, private={"guid": str(uuid.uuid4())})

    async def interface(self, ctx: Context, resource: Resource) -> None:
        properties = resource.properties
        static = static_address(properties)
        given: Document = next(iter(properties.get("ipConfigurations") or []), {})
        link = connection_of(properties)["properties"]
        configuration: Document = {
            "name": given.get("name") or f"privateEndpointIpConfig.{resource.private['guid']}",
            "properties": {
                "subnet": {"id": properties["subnet"]["id"]},
                "primary": True,
                "privateIPAllocationMethod": "Static" if static else "Dynamic",
                **({"privateIPAddress": static} if static else {}),
                "privateLinkConnectionProperties": {
                    "groupId": link["groupIds"][0],
                    "requiredMemberName": link["groupIds"][0],
                    "fqdns": [],
                },
            },
        }
        body: Document = {
            "location": resource.body["location"],
            "properties": {"ipConfigurations": [configuration]},
        }
        id = interface_id(resource)
        before = await ctx.get(id)
        if before is not None and (before.managed_by or "").lower() != resource.key:
            raise ArmError(
                "NetworkInterfaceAlreadyExists",
                f"Network interface {id} exists already, and is not private endpoint {resource.id}'s.",
                status=409,
                target=id,
            )
        await ctx.put(id, body)
        await ctx.settled(id)

    async def connect(self, ctx: Context, resource: Resource) -> None:
        """Once: whether it then stands is its target's to say."""
        asked = connection_of(resource.properties)
        manual = not resource.properties.get("privateLinkServiceConnections")
        state = {**PENDING, "description": str(asked["properties"].get("requestMessage") or PENDING["description"])}
        properties = {
            "privateEndpoint": {"id": resource.id},
            "privateLinkServiceConnectionState": state if manual else APPROVED,
        }
        if await ctx.get(connection_id(resource)) is None:
            await ctx.put(connection_id(resource), {"properties": properties})
        await ctx.save(resource, private={"connected": True})

    async def link(self, ctx: Context, resource: Resource, wanted: PrivateLink) -> None:
        assert self._links
        await ctx.settled(parse_id(resource.properties["subnet"]["id"]).parent)
        try:
            await self._links.ensure_private_link(wanted)
        except DriverError as e:  # Its target is being made; or another endpoint is about to let go of the address.
            waits = "is not there" in str(e) or "has it already" in str(e)
            raise (Retry(0.1, str(e)) if waits else e) from e

    async def cut(self, ctx: Context, resource: Resource) -> None:
        assert self._links
        await self._links.remove_private_link(host_name(resource.id))

    async def disconnect(self, ctx: Context, resource: Resource) -> None:
        await ctx.delete(connection_id(resource))

    async def drop(self, ctx: Context, resource: Resource, id: str) -> None:
        await ctx.delete(id)
        if await ctx.settled(id, timeout=30) is not None:
            raise Retry(0.1, f"{id} is still there")

    async def delete_interface(self, ctx: Context, resource: Resource) -> None:
        await self.drop(ctx, resource, interface_id(resource))


def interface_id(endpoint: Resource) -> str:
    group = endpoint.id.rsplit("/providers/", 1)[0]
    name = (
        endpoint.properties.get("customNetworkInterfaceName") or f"{endpoint.rid.name}.nic.{endpoint.private['guid']}"
    )
    return f"{group}/providers/Microsoft.Network/networkInterfaces/{name}"


def connection_id(endpoint: Resource) -> str:
    """Of the connection, as its target has it."""
    return f"{target_of(endpoint)}/privateEndpointConnections/{endpoint.rid.name}.{endpoint.private['guid']}"


def _state(endpoint: Resource, connection: Resource | None) -> Document:
    if connection is not None:
        return dict(connection.properties["privateLinkServiceConnectionState"])
    return GONE if endpoint.private.get("connected") else {}


def _names(cluster: Resource) -> tuple[str, ...]:
    name = cluster.status.get("privateFQDN") or cluster.status.get("fqdn")
    return (str(name),) if name else ()


def _render(resource: Resource, document: Document) -> Document:
    properties = document["properties"]
    state = resource.status.get("connectionState")
    for key in LISTS:
        for each in properties.get(key) or []:
            each["id"] = f"{resource.id}/{key}/{each['name']}"
            each["type"] = f"{PRIVATE_ENDPOINT}/{key}"
            each["etag"] = document["etag"]
            each["properties"]["provisioningState"] = resource.provisioning_state
            if state:
                each["properties"]["privateLinkServiceConnectionState"] = state
    properties.pop("connectionState", None)
    return document


async def _of_cluster(reader: Reader, cluster: Resource) -> Iterable[str]:
    return [each.id for each in await reader.naming(cluster.id, type=PRIVATE_ENDPOINT)]


def private_endpoints(reconciler: PrivateEndpointReconciler) -> ResourceType[Actual]:
    watches: dict[str, Any] = {CLUSTER: _of_cluster, CONNECTION: named}
    return ResourceType(
        PRIVATE_ENDPOINT,
        API_VERSIONS,
        reconciler=reconciler,
        admit=admit,
        render=_render,
        schema="privateEndpoints",
        watches=watches,
        linking=linking,
    )
