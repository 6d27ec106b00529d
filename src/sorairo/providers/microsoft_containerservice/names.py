"""The names AKS gives to what a cluster is composed of, all derived from the cluster's own id and body."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from sorairo.engine.ids import ResourceId, group_id
from sorairo.engine.types import Document, Resource

NODE_IMAGE = "AKSUbuntu-sorairo-1"
"""The version of what nodes boot from; there is one."""

COMMAND_RESULTS = "commandResults"
"""Where a client finds what a command gave (`az aks command invoke`), and what its machine stands for."""


def is_command(owner: str, cluster: Resource) -> bool:
    """Whether a machine's owner is a command of this cluster."""
    return owner.lower().startswith(f"{cluster.key}/{COMMAND_RESULTS}/".lower())


def suffix(cluster: ResourceId) -> str:
    """The eight digits that AKS puts in names, here from the cluster's id."""
    return f"{int.from_bytes(hashlib.sha256(cluster.key.encode()).digest()[:8], 'big') % 10**8:08d}"


def node_group_name(cluster: ResourceId, location: str) -> str:
    """https://learn.microsoft.com/azure/aks/faq#can-i-provide-my-own-name-for-the-aks-node-resource-group-"""
    return f"MC_{cluster.resource_group}_{cluster.name}_{location}"[:80]


@dataclass(frozen=True, slots=True)
class Names:
    """Ids of a cluster's parts."""

    cluster: str
    group: str
    network: str
    subnet: str
    security_group: str
    route_table: str
    """Its own, or with kubenet the one that its subnets had before it."""
    public_ip: str
    load_balancer: str
    kubelet_identity: str
    nat_gateway: str
    """With outbound type managedNATGateway."""

    def nat_address(self, number: int) -> str:
        """Of a managed NAT gateway's public IPs, from 1."""
        return f"{self.nat_gateway.replace('/natGateways/', '/publicIPAddresses/')}-ip-{number}"

    def scale_set(self, pool: str) -> str:
        digits = self.security_group.rsplit("-", 2)[-2]
        return f"{self.group}/providers/Microsoft.Compute/virtualMachineScaleSets/aks-{pool}-{digits}-vmss"


def names(cluster: Resource) -> Names:
    rid, properties = cluster.rid, cluster.properties
    digits = suffix(rid)
    group = group_id(rid.subscription or "", properties["nodeResourceGroup"])
    network = f"{group}/providers/Microsoft.Network"
    own = f"{network}/virtualNetworks/aks-vnet-{digits}"
    subnet = next((p["vnetSubnetID"] for p in properties["agentPoolProfiles"] if p.get("vnetSubnetID")), None)
    subnet = subnet or f"{own}/subnets/aks-subnet"
    return Names(
        cluster=rid.text,
        group=group,
        network=subnet.rsplit("/subnets/", 1)[0],
        subnet=subnet,
        security_group=f"{network}/networkSecurityGroups/aks-agentpool-{digits}-nsg",
        route_table=cluster.private.get("routeTable") or f"{network}/routeTables/aks-agentpool-{digits}-routetable",
        public_ip=f"{network}/publicIPAddresses/{hashlib.md5(rid.key.encode(), usedforsecurity=False).hexdigest()}",
        load_balancer=f"{network}/loadBalancers/kubernetes",
        nat_gateway=f"{network}/natGateways/aks-natgateway-{digits}",
        kubelet_identity=(f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{rid.name}-agentpool"),
    )


def fqdn(dns_prefix: str, cluster: ResourceId, location: str) -> str:
    digest = hashlib.sha256(cluster.key.encode()).hexdigest()[:8]
    return f"{dns_prefix}-{digest}.hcp.{location}.azmk8s.sorairo.internal"


def outbound_type(cluster: Resource) -> str:
    return str(cluster.properties.get("networkProfile", {}).get("outboundType") or "loadBalancer")


def pools(cluster: Resource | Document) -> list[dict[str, Any]]:
    properties = cluster.properties if isinstance(cluster, Resource) else cluster["properties"]
    return properties.get("agentPoolProfiles") or []
