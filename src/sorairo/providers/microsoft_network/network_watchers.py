"""Microsoft.Network/networkWatchers: questions about what the network does, answered from what stands on the host.

https://learn.microsoft.com/rest/api/network-watcher/network-watchers
Azure makes one in each region, `NetworkWatcher_<region>` of the group `NetworkWatcherRG`. So here, without storing any:
there is nothing about one that could be set.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from sorairo.drivers.verdicts import Direction, Packet, judge
from sorairo.engine.errors import ArmError, not_found
from sorairo.engine.ids import ResourceId, parse_id
from sorairo.engine.types import Document, Reader, Resource, ResourceType
from sorairo.providers.microsoft_network.effective import Effective, best, rule_name
from sorairo.providers.microsoft_network.network_interfaces import claimed
from sorairo.providers.microsoft_network.references import missing
from sorairo.providers.microsoft_network.resolver import machine_of
from sorairo.providers.microsoft_network.topology import topology
from sorairo.providers.microsoft_network.versions import API_VERSIONS
from sorairo.providers.microsoft_network.virtual_networks import NIC_TYPES, VIRTUAL_NETWORK

NETWORK_WATCHER = "Microsoft.Network/networkWatchers"
GROUP = "NetworkWatcherRG"
_PREFIX = "networkwatcher_"
May = Callable[[str, str], bool]
"""RBAC action, scope."""


def find(id: ResourceId) -> Resource | None:
    region = id.name.lower().removeprefix(_PREFIX)
    if (id.resource_group or "").lower() != GROUP.lower() or region == id.name.lower() or not region.isalnum():
        return None
    text = watcher_id(id.subscription or "", region)
    etag = str(uuid.uuid5(uuid.NAMESPACE_URL, text.lower()))
    body = {"location": region, "properties": {}}
    return Resource(text, body, observed_generation=1, provisioning_state="Succeeded", etag=etag)


def watcher_id(subscription: str, region: str) -> str:
    return f"/subscriptions/{subscription}/resourceGroups/{GROUP}/providers/{NETWORK_WATCHER}/NetworkWatcher_{region}"


NETWORK_WATCHERS: ResourceType[None] = ResourceType(
    NETWORK_WATCHER, API_VERSIONS, find=find, writable=False, tracked=False
)


class Watchers:
    """The answers. Who asks must be allowed to ask the watcher (`scope`), and to read what is asked about."""

    def __init__(self, effective: Effective) -> None:
        self._effective = effective

    @property
    def routes(self) -> tuple[tuple[str, str, Callable[..., Awaitable[Any]]], ...]:
        one = "networkWatchers/{watcher}"
        return (
            ("GET", "networkWatchers", self.listed),
            ("POST", f"{one}/ipFlowVerify", self.verify_ip_flow),
            ("POST", f"{one}/nextHop", self.next_hop),
            ("POST", f"{one}/topology", self.topology),
        )

    async def listed(self, *, scope: str, reader: Reader, show: Callable[[str], Document], **_: Any) -> Document:
        """Of the regions that have a virtual network: where Azure makes one by itself."""
        here = parse_id(scope.partition("/providers/")[0])
        if here.resource_group and here.resource_group.lower() != GROUP.lower():
            return {"value": []}
        subscription = here.subscription or ""
        networks = await reader.list(type=VIRTUAL_NETWORK, under=f"/subscriptions/{subscription}")
        regions = {str(n.body["location"]).lower().replace(" ", "") for n in networks}
        return {"value": [show(watcher_id(subscription, region)) for region in sorted(regions)]}

    async def verify_ip_flow(
        self, *, scope: str, body: Document, reader: Reader, show: Callable[[str], Document], may: May, **_: Any
    ) -> Document:
        """`az network watcher test-ip-flow`."""
        show(scope)
        direction: Direction = _one_of(body, "direction", ("inbound", "outbound"))
        protocol = _one_of(body, "protocol", ("tcp", "udp"))
        local, remote = _address(body, "localIPAddress"), _address(body, "remoteIPAddress")
        # Only the port that the packet comes from may be any.
        local_port = _port(body, "localPort", any_port=direction == "outbound")
        remote_port = _port(body, "remotePort", any_port=direction == "inbound")
        resource = await self._target(reader, body, may, local)
        nic = await self._effective.standing(resource)
        packet = (
            Packet(protocol, remote, local, remote_port, local_port)
            if direction == "inbound"
            else Packet(protocol, local, remote, local_port, remote_port)
        )
        verdicts = judge(await self._effective.firewalls(), nic, direction, packet)
        decisive = verdicts[-1] if verdicts else None
        return {
            "access": "Allow" if decisive is None or decisive.allow else "Deny",
            "ruleName": rule_name(decisive.rule) if decisive and decisive.rule else "",
        }

    async def next_hop(
        self, *, scope: str, body: Document, reader: Reader, show: Callable[[str], Document], may: May, **_: Any
    ) -> Document:
        """`az network watcher show-next-hop`."""
        show(scope)
        source, destination = _address(body, "sourceIPAddress"), _address(body, "destinationIPAddress")
        resource = await self._target(reader, body, may, source)
        await self._effective.standing(resource)
        route = best(await self._effective.routes(reader, resource), destination)
        addresses = route["nextHopIpAddress"] if route else []
        found: Document = {
            "nextHopType": route["nextHopType"] if route else "None",
            "routeTableId": (route or {}).get("routeTableId") or "System Route",
        }
        return found | ({"nextHopIpAddress": addresses[0]} if addresses else {})

    async def topology(
        self, *, scope: str, body: Document, reader: Reader, show: Callable[[str], Document], may: May, **_: Any
    ) -> Document:
        """`az network watcher show-topology`: of a resource group, a virtual network or a subnet."""
        watcher = show(scope)
        network = str((body.get("targetVirtualNetwork") or {}).get("id") or "")
        subnet = str((body.get("targetSubnet") or {}).get("id") or "")
        group = str(body.get("targetResourceGroupName") or "")
        if not (network or subnet or group):
            raise _invalid("targetResourceGroupName", "a resource group, a virtual network or a subnet is expected")
        at = subnet or network
        subscription = parse_id(scope).subscription
        under = f"/subscriptions/{subscription}/resourceGroups/{parse_id(at).resource_group if at else group}"
        if await reader.get(under) is None:
            raise ArmError(
                "ResourceGroupNotFound", f"Resource group '{parse_id(under).name}' could not be found.", status=404
            )
        found = await topology(reader, under, at, str(watcher["location"]))
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        return {
            "id": str(uuid.uuid4()),
            "createdDateTime": now,
            "lastModified": now,
            "resources": [each for each in found if may(f"{parse_id(each['id']).type}/read", each["id"])],
        }

    async def _target(self, reader: Reader, body: Document, may: May, address: str) -> Resource:
        """The interface meant: one of the machine's, which has the address."""
        id = str(body.get("targetResourceId") or "")
        try:
            rid = parse_id(id)
        except ValueError:
            raise _invalid("targetResourceId", f"'{id}' is not a resource id") from None
        if not may(f"{rid.type}/read", rid.text):
            raise _unauthorized(rid)
        if await reader.get(rid.text) is None:
            raise not_found(rid.text)
        nics = await interfaces_of(reader, rid.text)
        if wanted := str(body.get("targetNicResourceId") or ""):
            nics = [nic for nic in nics if nic.key == wanted.lower()]
            if not nics:
                raise missing(wanted, rid.text)
        found = next((nic for nic in nics if address in claimed(nic)), None)
        if found is None:
            raise _invalid("localIPAddress", f"{address} is not an address of {rid.text}")
        return found


async def interfaces_of(reader: Reader, machine: str) -> list[Resource]:
    """Network interfaces of a virtual machine or a scale set's instance; of an interface, itself."""
    if parse_id(machine).type.lower() in (type.lower() for type in NIC_TYPES):
        nic = await reader.get(machine)
        return [nic] if nic else []
    inside = await reader.list(type=NIC_TYPES[1], under=machine)
    attached = [nic for nic in await reader.list(type=NIC_TYPES[0]) if machine_of(nic)]
    return [nic for nic in (*inside, *attached) if (machine_of(nic) or "").lower() == machine.lower()]


def _unauthorized(id: ResourceId) -> ArmError:
    return ArmError(
        "LinkedAuthorizationFailed",
        f"The client has permission to perform the action, but does not have permission to perform action "
        f"'{id.type}/read' on the linked scope '{id.text}'.",
        status=403,
    )


def _invalid(target: str, why: str) -> ArmError:
    return ArmError("InvalidRequestParameter", f"The value of parameter {target} is invalid: {why}.", target=target)


def _address(body: Document, key: str) -> str:
    text = str(body.get(key) or "")
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise _invalid(key, f"'{text}' is not an IPv4 address") from None


def _one_of(body: Document, key: str, known: tuple[Any, ...]) -> Any:
    text = str(body.get(key) or "").lower()
    if text not in known:
        raise _invalid(key, f"'{body.get(key)}' is not one of {', '.join(known)}")
    return text


def _port(body: Document, key: str, *, any_port: bool) -> int | None:
    text = str(body.get(key) or "")
    if text == "*" and any_port:
        return None
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise _invalid(key, f"'{text}' is not a port from 0 to 65535" + (" or *" if any_port else ""))
    return int(text)
