"""Through which load balancers a machine is reached and leaves: `/metadata/loadbalancer`.

https://learn.microsoft.com/azure/load-balancer/howto-load-balancer-imds
"""

from __future__ import annotations

from collections.abc import Iterator

from sorairo.engine.ids import parse_id
from sorairo.engine.types import Document, Resource
from sorairo.imds.machine import Machine, Reads
from sorairo.providers.microsoft_network.network_interfaces import claimed, configurations
from sorairo.providers.microsoft_network.public_ip_addresses import address_of

POOLS = "loadBalancerBackendAddressPools"
RULES = "loadBalancerInboundNatRules"


def document(reads: Reads, machine: Machine) -> Document | None:
    """None: the machine is in no pool."""
    publics: list[Document] = []
    inbound: list[Document] = []
    outbound: list[Document] = []
    found = False
    for address, configuration in zip(claimed(machine.nic), configurations(machine.nic), strict=False):
        if public := public_address(reads, configuration):
            publics.append({"frontendIpAddress": public, "privateIpAddress": address})
        for balancer, parts in _balancers(reads, configuration):
            found = True
            inbound += _inbound(reads, balancer, parts, address)
            outbound += _outbound(reads, balancer, parts, address)
    if not found and not publics:
        return None
    return {"loadbalancer": {"publicIpAddresses": publics, "inboundRules": inbound, "outboundRules": outbound}}


def public_address(reads: Reads, configuration: Document) -> str:
    """A NIC's own public address at one of its configurations, or ''."""
    return _public(reads, configuration["properties"])


def _public(reads: Reads, properties: Document) -> str:
    id = (properties.get("publicIPAddress") or {}).get("id")
    resource = reads.get(str(id)) if id else None
    return (address_of(resource) if resource else None) or ""


def _balancers(reads: Reads, configuration: Document) -> Iterator[tuple[Resource, set[str]]]:
    """Load balancers, and the keys of the pools and inbound NAT rules of theirs that a configuration is in."""
    parts: dict[str, set[str]] = {}
    for kind in (POOLS, RULES):
        for each in configuration["properties"].get(kind) or []:
            id = str(each.get("id", ""))
            parts.setdefault(parse_id(id).parent.lower(), set()).add(id.lower())
    for key, mine in parts.items():
        if balancer := reads.get(key):
            yield balancer, mine


def _inbound(reads: Reads, balancer: Resource, parts: set[str], address: str) -> Iterator[Document]:
    for kind in ("loadBalancingRules", "inboundNatRules"):
        for rule in balancer.properties.get(kind) or []:
            properties = rule["properties"]
            pools = [properties.get("backendAddressPool"), *(properties.get("backendAddressPools") or [])]
            names = {str(p["id"]).lower() for p in pools if p and p.get("id")}
            names.add(f"{balancer.key}/{kind}/{rule['name']}".lower())
            if names & parts:
                yield {
                    "frontendIpAddress": _frontend(reads, balancer, properties.get("frontendIPConfiguration")),
                    "protocol": str(properties.get("protocol", "")).lower(),
                    "frontendPort": properties.get("frontendPort"),
                    "backendPort": properties.get("backendPort"),
                    "privateIpAddress": address,
                }


def _outbound(reads: Reads, balancer: Resource, parts: set[str], address: str) -> Iterator[Document]:
    for rule in balancer.properties.get("outboundRules") or []:
        properties = rule["properties"]
        if str((properties.get("backendAddressPool") or {}).get("id", "")).lower() in parts:
            for frontend in properties.get("frontendIPConfigurations") or []:
                yield {
                    "frontendIpAddress": _frontend(reads, balancer, frontend),
                    "privateIpAddress": address,
                }


def _frontend(reads: Reads, balancer: Resource, reference: Document | None) -> str:
    name = str((reference or {}).get("id", "")).rsplit("/", 1)[-1]
    for frontend in balancer.properties.get("frontendIPConfigurations") or []:
        if frontend["name"].lower() == name.lower():
            return _public(reads, frontend["properties"]) or str(
                balancer.private.get("frontends", {}).get(frontend["name"], "")
            )
    return ""
