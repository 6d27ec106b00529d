"""What AKS refuses of a cluster with kubenet: its policy, its pod CIDR, and the route table of a subnet of one's own.

https://learn.microsoft.com/azure/aks/configure-kubenet#bring-your-own-subnet-and-route-table-with-kubenet
"""

from __future__ import annotations

from ipaddress import IPv4Network

from sorairo.engine.errors import ArmError, not_implemented
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Admission, Document, Resource
from sorairo.providers.microsoft_containerservice import agent_pools, cloud, names, upstream
from sorairo.providers.microsoft_containerservice.cloud import Permits
from sorairo.providers.microsoft_containerservice.kubenet import KUBENET

ROUTE_TABLE = "routeTable"
"""In a cluster's `private`: the id of the route table that its subnets had when it was made."""
ACTIONS = tuple(f"Microsoft.Network/routeTables/{verb}" for verb in ("read", "write"))
_SEE = "Please see https://aka.ms/aks/customrt for more information"


def check(body: Document, profile: Document) -> None:
    """What goes with kubenet, and what does not. Raises ArmError."""
    if profile.get("networkPlugin") != KUBENET:
        return
    if profile.get("networkPluginMode"):
        raise ArmError(
            "NetworkModeNotSupported",
            f"Network plugin mode {profile['networkPluginMode']} is not supported for network plugin kubenet",
            target="networkProfile.networkPluginMode",
        )
    if upstream.controller(body) == upstream.UPSTREAM:
        raise not_implemented("kubenet with upstream's cloud controller, which would have to write the routes,")
    if profile.get("networkPolicy") == "azure":
        raise ArmError(
            "NetworkPolicyAzureNotSupportedForKubenet",
            "NetworkPolicy azure is not supported for network plugin kubenet",
            target="networkProfile.networkPolicy",
        )


def check_room(body: Document, cidr: IPv4Network) -> None:
    """A /24 for each node, and for one more of each pool while it is upgraded."""
    need = sum(int(pool.get("count") or 1) + 1 for pool in names.pools(body)) * 256
    if need > cidr.num_addresses:
        raise ArmError(
            "InsufficientPodCidr",
            f"Pre-allocated IPs {need} exceeds IPs available {cidr.num_addresses} in Pod Cidr {cidr}",
            target="agentPoolProfile.count",
        )


async def choose_table(admission: Admission, permits: Permits) -> None:
    """Note the route table that the cluster's subnets have already, if they do. Raises ArmError where it cannot be
    used; a cluster keeps the one it was made with."""
    tables: dict[str, str] = {}
    bare = []
    for pool in names.pools(admission.body):
        if id := str(pool.get("vnetSubnetID") or ""):
            subnet = await agent_pools.subnet_of(admission.reader, id)
            table = str((subnet["properties"].get(ROUTE_TABLE) or {}).get("id") or "")
            if table:
                tables[table.lower()] = table
            else:
                bare.append(id)
    if admission.existing:
        _keep(admission.existing, tables, bare)
        return
    if not tables:
        return
    if len(tables) > 1:
        raise ArmError(
            "TooManyCustomRouteTables",
            f"All subnets of a cluster with network plugin kubenet must have the same route table; theirs have "
            f"{', '.join(sorted(tables.values()))}. {_SEE}",
            target="agentPoolProfile.vnetSubnetID",
        )
    if bare:
        raise _bare(bare)
    (table,) = tables.values()
    await _check_rights(admission, table, permits)
    admission.private[ROUTE_TABLE] = table


def _keep(cluster: Resource, tables: dict[str, str], bare: list[str]) -> None:
    """A route table of ours is put on a subnet that has none; another is nobody's to take its place."""
    mine = names.names(cluster).route_table.lower()
    if other := next((table for key, table in tables.items() if key != mine), None):
        raise ArmError(
            "CustomRouteTableInvalidUpdateAttempt",
            f"The route table of a cluster's subnets cannot be changed, and {other} is not the one it was made with. "
            f"{_SEE}",
            target="agentPoolProfile.vnetSubnetID",
        )
    if bare and cluster.private.get(ROUTE_TABLE):
        raise _bare(bare)


def _bare(subnets: list[str]) -> ArmError:
    return ArmError(
        "SubnetMissingRouteTableAssociation",
        f"Subnet(s) {', '.join(subnets)} have no route table, and the cluster's others have one. {_SEE}",
        target="agentPoolProfile.vnetSubnetID",
    )


async def _check_rights(admission: Admission, table: str, permits: Permits) -> None:
    if (parse_id(table).subscription or "").lower() != (admission.id.subscription or "").lower():
        raise ArmError(
            "CustomRouteTableCannotCrossSubscription",
            f"Custom route table {table} is not in the subscription of the cluster. {_SEE}",
        )
    identity = admission.body.get("identity") or {}
    if identity.get("type") == "SystemAssigned":
        raise ArmError(
            "CustomRouteTableWithUnsupportedMSIType",
            "Clusters using managed identity type SystemAssigned do not support bringing your own route table. " + _SEE,
        )
    principal = await cloud.object_id(
        admission.reader, Resource(admission.id.text, admission.body, private=admission.private)
    )
    if principal is None or not all(permits(principal, action, table) for action in ACTIONS):
        raise ArmError(
            "CustomRouteTableMissingPermission",
            "Managed identity or service principle must be given permission to read and write to custom route table "
            f"{table}. {_SEE}",
        )
