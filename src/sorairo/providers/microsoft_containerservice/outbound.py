"""How what nodes and pods send leaves the virtual network.

https://learn.microsoft.com/azure/aks/egress-outboundtype
"""

from __future__ import annotations

from sorairo.engine.errors import ArmError, not_implemented
from sorairo.engine.types import Admission, Document
from sorairo.providers.microsoft_containerservice import agent_pools, names

TYPES = {
    kind.lower(): kind for kind in ("loadBalancer", "userDefinedRouting", "managedNATGateway", "userAssignedNATGateway")
}
PORTS = 64000
"""That the one outbound IP has for all nodes."""


async def admit(admission: Admission, profile: Document, old: Document) -> None:
    """Fill in the outbound type and what belongs to it. `old`: the profile there was. Raises ArmError."""
    asked = str(profile.get("outboundType") or "loadBalancer")
    kind = TYPES.get(asked.lower())
    if kind is None:
        raise not_implemented(f"outboundType '{asked}'")
    if old and old.get("outboundType", "loadBalancer") != kind:
        raise not_implemented(f"changing outboundType from '{old['outboundType']}' to '{kind}'")
    profile["outboundType"] = kind
    subnets = {str(pool.get("vnetSubnetID") or "") for pool in names.pools(admission.body)}
    if kind == "managedNATGateway":
        if subnets != {""}:
            raise _invalid(
                f"outboundType {kind} needs a virtual network that AKS makes; with a subnet of your own, "
                "userAssignedNATGateway goes by the subnet's NAT gateway"
            )
        gateway = dict(profile.get("natGatewayProfile") or {})
        gateway.pop("effectiveOutboundIPs", None)
        gateway["managedOutboundIPProfile"] = {"count": 1, **(gateway.get("managedOutboundIPProfile") or {})}
        gateway.setdefault("idleTimeoutInMinutes", 4)
        before = ((old.get("natGatewayProfile") or {}).get("managedOutboundIPProfile") or {}).get("count", 0)
        if gateway["managedOutboundIPProfile"]["count"] < before:
            raise not_implemented("fewer outbound IPs of a managed NAT gateway than before")
        profile["natGatewayProfile"] = gateway
    elif kind != "loadBalancer":
        await _own_way(admission, kind, subnets)
    if kind == "loadBalancer":
        _enough_ports(profile, names.pools(admission.body))
    else:
        profile.pop("loadBalancerProfile", None)


def _enough_ports(profile: Document, pools: list[Document]) -> None:
    """https://learn.microsoft.com/azure/aks/load-balancer-standard#configure-the-allocated-outbound-ports"""
    ports = int((profile.get("loadBalancerProfile") or {}).get("allocatedOutboundPorts") or 0)
    nodes = sum(int(pool.get("maxCount") or pool.get("count") or 0) for pool in pools)
    wrong = ""
    if ports % 8:
        wrong = "is not a multiple of 8."
    elif ports * nodes > PORTS:
        wrong = (
            f"is not in an allowable range given the number of nodes and IPs provisioned. Total node count {nodes} "
            f"requires {ports * nodes} ports but only {PORTS} ports are available given 1 outbound public IPs. Refer "
            "to https://aka.ms/aks/slb-ports for more details."
        )
    if wrong:
        raise ArmError(
            "InvalidLoadBalancerProfileAllocatedOutboundPorts",
            f"Load balancer profile allocated ports {ports} {wrong}",
            target="networkProfile.loadBalancerProfile.allocatedOutboundPorts",
        )


async def _own_way(admission: Admission, kind: str, subnets: set[str]) -> None:
    """Subnets that have what leads out already."""
    if "" in subnets:
        raise _invalid(f"outboundType {kind} needs a subnet of your own (vnetSubnetID) for every agent pool")
    for id in sorted(subnets):
        subnet = await agent_pools.subnet_of(admission.reader, id)
        if kind == "userDefinedRouting" and not subnet["properties"].get("routeTable"):
            raise ArmError(
                "ExistingRouteTableNotAssociatedWithSubnet",
                f"An existing route table has not been associated with subnet {id}. Please associate one that has a "
                "route out, see https://aka.ms/aks/outboundtype.",
                target="networkProfile.outboundType",
            )
        if kind == "userAssignedNATGateway" and not subnet["properties"].get("natGateway"):
            raise ArmError(
                "ExistingNATGatewayNotAssociatedWithSubnet",
                f"An existing NAT gateway has not been associated with subnet {id}, see "
                "https://aka.ms/aks/outboundtype.",
                target="networkProfile.outboundType",
            )


def _invalid(details: str) -> ArmError:
    return ArmError(
        "InvalidParameter",
        f"The value of parameter networkProfile.outboundType is invalid. Error details: {details}. Please see "
        "https://aka.ms/aks/outboundtype for more details.",
        target="networkProfile.outboundType",
    )
