"""How the resources of a network hang together: what contains what, what is associated with what.

https://learn.microsoft.com/rest/api/network-watcher/network-watchers/get-topology
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sorairo.engine.ids import lineage, parse_id
from sorairo.engine.types import Document, Reader, Resource
from sorairo.providers.microsoft_network.balancing import items, reference
from sorairo.providers.microsoft_network.network_interfaces import configurations, subnet_of
from sorairo.providers.microsoft_network.resolver import machine_of
from sorairo.providers.microsoft_network.virtual_networks import (
    LOAD_BALANCER,
    NAMED_BY_SUBNETS,
    NIC_TYPES,
    VIRTUAL_NETWORK,
)

RULES = {
    "Microsoft.Network/networkSecurityGroups": "securityRules",
    "Microsoft.Network/routeTables": "routes",
}
"""Types that are a list of parts."""


@dataclass
class _Picture:
    found: dict[str, Document] = field(default_factory=dict)
    """By key."""

    def add(self, id: str, location: str) -> None:
        fresh: Document = {"name": parse_id(id).name, "id": id, "location": location, "associations": []}
        self.found.setdefault(id.lower(), fresh)

    def join(self, id: str, to: str, kind: str = "Associated") -> None:
        each = {"name": parse_id(to).name, "resourceId": to, "associationType": kind}
        if each not in self.found[id.lower()]["associations"]:
            self.found[id.lower()]["associations"].append(each)


async def topology(reader: Reader, group: str, at: str, region: str) -> list[Document]:
    """Of a resource group (an id), in one region; with `at`, of a virtual network or subnet alone, and of what is in
    it wherever that is kept."""
    picture = _Picture()

    def meant(network: Resource) -> bool:
        return network.key in lineage(at) if at else network.key.startswith(f"{group.lower()}/")

    networks = [n for n in await reader.list(type=VIRTUAL_NETWORK) if meant(n) and _in(n, region)]
    for network in networks:
        _network(picture, network, at if at.lower() != network.key else "")
    for nic in [nic for type in NIC_TYPES for nic in await reader.list(type=type)]:
        subnet = subnet_of(nic)
        if subnet.lower() in picture.found or (not at and nic.key.startswith(f"{group.lower()}/") and _in(nic, region)):
            await _interface(picture, reader, nic)
    for type in (LOAD_BALANCER, "Microsoft.Network/publicIPAddresses", *RULES):
        for each in await reader.list(type=type):
            if each.key in picture.found or (not at and each.key.startswith(f"{group.lower()}/") and _in(each, region)):
                _other(picture, each, RULES.get(type))
    return list(picture.found.values())


def _in(resource: Resource, region: str) -> bool:
    return str(resource.body.get("location", region)).lower().replace(" ", "") == region.lower()


def _network(picture: _Picture, network: Resource, only: str) -> None:
    location = str(network.body["location"])
    picture.add(network.id, location)
    for subnet in network.properties.get("subnets") or []:
        id = f"{network.id}/subnets/{subnet['name']}"
        if only and id.lower() != only.lower():
            continue
        picture.add(id, location)
        picture.join(network.id, id, "Contains")
        for key in NAMED_BY_SUBNETS:
            if named := reference(subnet["properties"], key):
                picture.add(named, location)
                picture.join(id, named)


async def _interface(picture: _Picture, reader: Reader, nic: Resource) -> None:
    location = str(nic.body.get("location", ""))
    picture.add(nic.id, location)
    machine = machine_of(nic)
    if machine and await reader.get(machine):
        picture.add(machine, location)
        picture.join(machine, nic.id, "Contains")
    for named in _named(nic):
        picture.join(nic.id, named)
        if parse_id(named).type.lower() in (t.lower() for t in RULES):
            picture.add(named, location)


def _named(nic: Resource) -> Iterator[str]:
    if group := reference(nic.properties, "networkSecurityGroup"):
        yield group
    for configuration in configurations(nic):
        properties = configuration["properties"]
        if subnet := reference(properties, "subnet"):
            yield subnet
        if public := reference(properties, "publicIPAddress"):
            yield public
        for pool in properties.get("loadBalancerBackendAddressPools") or []:
            yield parse_id(str(pool["id"])).parent


def _other(picture: _Picture, resource: Resource, parts: str | None) -> None:
    location = str(resource.body.get("location", ""))
    picture.add(resource.id, location)
    for part in items(resource, parts) if parts else []:
        id = f"{resource.id}/{parts}/{part['name']}"
        picture.add(id, location)
        picture.join(resource.id, id, "Contains")
    for frontend in items(resource, "frontendIPConfigurations"):
        for key in ("publicIPAddress", "subnet"):
            if named := reference(frontend["properties"], key):
                picture.join(resource.id, named)
