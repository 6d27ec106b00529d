"""Who a cluster is to its cloud, and what its programs are told of it.

https://learn.microsoft.com/azure/aks/concepts-identity#aks-identities
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from sorairo.cluster import azure_json
from sorairo.cluster.azure_json import CloudConfig
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Document, Reader, Resource
from sorairo.providers.microsoft_containerservice.names import names, pools

CONTRIBUTOR = "b24988ac-6180-42a0-ab88-20f7382dd24c"
ROLE_ASSIGNMENTS = "Microsoft.Authorization/roleAssignments"
DENY_ASSIGNMENTS = "Microsoft.Authorization/denyAssignments"
EVERYBODY = {"id": "00000000-0000-0000-0000-000000000000", "type": "SystemDefined"}
Permits = Callable[[str, str, str], bool]
"""Whether an object id may do an RBAC action at a scope."""
RESOURCE_MANAGER = "https://management.sorairo.internal"
LOGIN = "https://login.sorairo.internal"
GRAPH = "https://graph.sorairo.internal"
"""Where the resource manager, the token service and the directory are for those inside a virtual network."""
PLATFORM = "168.63.129.16"
"""The address of all three there."""
AUDIENCE = "https://management.azure.com/"
"""What tokens for the resource manager are for, wherever it is."""


def identity_id(cluster: Resource) -> str | None:
    """The id of the resource whose managed identity a cluster goes by: a user assigned identity's, or its own. None:
    it is a service principal."""
    client = (cluster.properties.get("servicePrincipalProfile") or {}).get("clientId", "msi")
    if client.lower() != "msi":
        return None
    assigned = (cluster.body.get("identity") or {}).get("userAssignedIdentities") or {}
    return str(next(iter(assigned), cluster.id))


async def object_id(reader: Reader, cluster: Resource) -> str | None:
    """Of the cluster's principal. None: not known yet."""
    identity = identity_id(cluster)
    if identity is None:
        found = cluster.private.get("servicePrincipal")
    elif identity == cluster.id:
        found = (cluster.private.get("identity") or {}).get("principalId")
    else:
        assigned = await reader.get(identity)
        found = assigned.status.get("principalId") if assigned else None
    return str(found) if found else None


async def role_assignment(reader: Reader, cluster: Resource) -> tuple[str, Document] | None:
    """What lets the cluster make load balancers and disks in its node resource group, which AKS grants it: Contributor
    there. None: it is unknown who the cluster is, or somebody has granted it already."""
    principal, group = await object_id(reader, cluster), names(cluster).group
    if principal is None:
        return None
    id = f"{group}/providers/{ROLE_ASSIGNMENTS}/{uuid.uuid5(uuid.NAMESPACE_URL, f'{group} {principal}'.lower())}"
    for other in await reader.list(type=ROLE_ASSIGNMENTS, under=group):
        at = other.rid.parent.lower() == group.lower() and other.key != id.lower()
        same = other.properties.get("principalId", "").lower() == principal.lower()
        if at and same and other.properties.get("roleDefinitionId", "").lower().endswith(CONTRIBUTOR):
            return None
    scope = f"/subscriptions/{cluster.rid.subscription}"
    properties = {
        "roleDefinitionId": f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{CONTRIBUTOR}",
        "principalId": principal,
        "principalType": "ServicePrincipal",
    }
    return id, {"properties": properties}


async def deny_assignment(reader: Reader, cluster: Resource) -> tuple[str, Document] | None:
    """What keeps users from changing the node resource group: everybody but the cluster's own principal only reads.

    https://learn.microsoft.com/azure/aks/node-resource-group-lockdown"""
    profile = cluster.properties.get("nodeResourceGroupProfile") or {}
    if profile.get("restrictionLevel") != "ReadOnly":
        return None
    principal, group = await object_id(reader, cluster), names(cluster).group
    id = uuid.uuid5(uuid.NAMESPACE_URL, f"{group} nrg-lockdown".lower())
    properties = {
        "denyAssignmentName": f"kubernetes.azure.com/{cluster.rid.subscription}/{id}: node resource group deny "
        "assignment created by Azure Kubernetes Services for nrg-lockdown, see: https://aka.ms/aks/nrg_lockdown",
        "description": "Only the cluster changes its node resource group.",
        "permissions": [{"actions": ["*"], "notActions": ["*/read"], "dataActions": [], "notDataActions": []}],
        "doNotApplyToChildScopes": False,
        "principals": [EVERYBODY],
        "excludePrincipals": [{"id": principal, "type": "ServicePrincipal"}] if principal else [],
    }
    return f"{group}/providers/{DENY_ASSIGNMENTS}/{id}", {"properties": properties}


def config(cluster: Resource, *, tenant_id: str, resource_manager: str) -> CloudConfig:
    """What the control plane's cloud controller is told; no client secret where the cluster has a managed identity."""
    it = names(cluster)
    subnet, network = parse_id(it.subnet), parse_id(it.network)
    profile = cluster.properties.get("servicePrincipalProfile") or {}
    client = {} if identity_id(cluster) else {"client_id": profile["clientId"], "client_secret": _secret(cluster)}
    outbound = cluster.properties.get("networkProfile", {}).get("outboundType", "loadBalancer")
    return CloudConfig(
        tenant_id=tenant_id,
        subscription_id=cluster.rid.subscription or "",
        resource_group=parse_id(it.group).name,
        location=cluster.body["location"],
        resource_manager=resource_manager,
        security_group=parse_id(it.security_group).name,
        vnet=network.name,
        vnet_group=network.resource_group or "",
        subnet=subnet.name,
        route_table=parse_id(it.route_table).name,
        route_table_group=parse_id(it.route_table).resource_group or "",
        scale_set=parse_id(it.scale_set(pools(cluster)[0]["name"])).name,
        tags={"aks-managed-cluster-name": cluster.rid.name, "aks-managed-cluster-rg": cluster.rid.resource_group or ""},
        outbound_rule=outbound == "loadBalancer",
        **client,
    )


def node_config(cluster: Resource, *, tenant_id: str) -> CloudConfig:
    """What nodes are told: as `config`, but with the kubelet's identity, where there are managed ones."""
    found = config(cluster, tenant_id=tenant_id, resource_manager=RESOURCE_MANAGER)
    if not found.managed:
        return found
    return replace(found, identity=str((cluster.private.get("kubeletIdentity") or {}).get("clientId", "")))


def node_files() -> dict[str, tuple[str, str]]:
    """What every node has of this from its first start to its end: content and mode by path."""
    where = azure_json.environment(RESOURCE_MANAGER, LOGIN, AUDIENCE)
    names = " ".join(urlsplit(each).netloc for each in (RESOURCE_MANAGER, LOGIN, GRAPH))
    hosts = (
        "127.0.0.1 localhost\n127.0.1.1 {{ v1.local_hostname }}\n::1 localhost ip6-localhost ip6-loopback\n"
        f"{PLATFORM} {names}\n"
    )
    return {azure_json.ENVIRONMENT_PATH: (json.dumps(where, indent=4) + "\n", "0644"), "/etc/hosts": (hosts, "0644")}


def credentials(cluster: Resource, *, tenant_id: str) -> Document:
    """The file of a node's with who it is to the cloud, as `write_files` has it. It changes with the cluster's
    principal; who reads it reads it each time, so no service is restarted for it."""
    content = node_config(cluster, tenant_id=tenant_id).text()
    return {"path": azure_json.PATH, "content": content, "permissions": "0600", "restarts": []}


def _secret(cluster: Resource) -> str:
    return str(cluster.private.get("secret", ""))
