"""What AKS fills in, and what it refuses, before anything is stored.

https://learn.microsoft.com/rest/api/aks/managed-clusters/create-or-update
"""

from __future__ import annotations

import re

from sorairo.engine.errors import ArmError, not_implemented
from sorairo.engine.types import Admission, Document, Reader, Resource
from sorairo.providers.capacity import Capacity
from sorairo.providers.microsoft_containerservice import (
    agent_pools,
    api_access,
    entra,
    names,
    network,
    principal,
    private_cluster,
    unbuilt,
    upstream,
    versions,
)
from sorairo.providers.microsoft_containerservice.cloud import Permits
from sorairo.providers.principals import Principals

CLUSTER_NAME = re.compile(r"[a-zA-Z0-9]([-_a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")
CLUSTER = "Microsoft.ContainerService/managedClusters"
UNCHANGEABLE = ("dnsPrefix", "nodeResourceGroup")
IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"


class ClusterAdmission:
    def __init__(
        self,
        principals: Principals,
        sizes: dict[str, tuple[int, int]],
        capacity: Capacity,
        permits: Permits,
    ) -> None:
        self._principals = principals
        self._permits = permits
        self._sizes = sizes
        self._capacity = capacity

    async def __call__(self, admission: Admission) -> None:
        body, properties = admission.body, admission.body["properties"]
        old = admission.existing
        self._busy(admission)
        unbuilt.refuse(admission.body)
        upstream.admit(admission.body, self._capacity.upstream)
        if not CLUSTER_NAME.fullmatch(admission.id.name):
            raise ArmError(
                "InvalidParameter",
                f"The name '{admission.id.name}' of the managed cluster is invalid: 1 to 63 letters, digits, '-' and "
                "'_', beginning and ending with a letter or digit.",
                target="name",
            )
        body["sku"] = {"name": "Base", "tier": "Free", **(body.get("sku") or {})}
        version = versions.resolve(str(properties.get("kubernetesVersion") or ""), body["location"])
        if old and not properties.get("kubernetesVersion"):
            version = old.properties["currentKubernetesVersion"]
        if old and version != old.properties["currentKubernetesVersion"]:
            raise not_implemented("upgrading a cluster's Kubernetes version")
        properties["kubernetesVersion"] = properties.get("kubernetesVersion") or ".".join(version.split(".")[:2])
        properties["currentKubernetesVersion"] = version
        if old:
            properties |= {key: properties.get(key) or old.properties[key] for key in UNCHANGEABLE}
        properties.setdefault("dnsPrefix", admission.id.name.lower())
        properties.setdefault("enableRBAC", True)
        entra.admit(admission, self._principals.tenant_id)
        properties.setdefault("supportPlan", "KubernetesOfficial")
        properties["nodeResourceGroup"] = properties.get("nodeResourceGroup") or names.node_group_name(
            admission.id, body["location"]
        )
        await self._identity(admission)
        self._unchangeable(admission)
        api_access.admit(properties)
        await private_cluster.admit(admission, self._permits)
        await network.admit(admission, self._permits)
        await agent_pools.admit(admission, version, self._sizes)
        await self._group(admission)
        await self._memory(admission)

    def _busy(self, admission: Admission) -> None:
        old = admission.existing
        if old and not old.settled:
            doing = {"Creating": "create", "Updating": "update", "Deleting": "delete"}.get(
                old.provisioning_state, "update"
            )
            raise ArmError(
                "OperationNotAllowed",
                f"Operation is not allowed because there's an in progress {doing} managed cluster operation on the "
                f"managed cluster {old.rid.name} started at {old.changed_at:.0f}. Please wait for it to finish before "
                "starting a new operation. See https://aka.ms/aks-pending-operation for more details",
                status=409,
            )

    async def _identity(self, admission: Admission) -> None:
        body, properties = admission.body, admission.body["properties"]
        profile = properties.get("servicePrincipalProfile") or {}
        client, secret = profile.get("clientId"), profile.pop("secret", None)
        if client and client.lower() != "msi":
            secret = secret or (admission.existing.private.get("secret") if admission.existing else None)
            if not secret:
                raise ArmError(
                    "ServicePrincipalProfileMissingSecret",
                    "servicePrincipalProfile.secret is required when servicePrincipalProfile.clientId is given.",
                    target="servicePrincipalProfile.secret",
                )
            try:
                found = self._principals.check_secret(client, secret)
            except Exception as e:
                raise principal.invalid(e) from None
            admission.private |= {"secret": secret, "servicePrincipal": found.object_id}
            properties["servicePrincipalProfile"] = {"clientId": client}
            return
        identity = body.get("identity") or {"type": "SystemAssigned"}
        if str(identity.get("type", "")).lower() == "none":
            raise ArmError(
                "ServicePrincipalProfileMissing",
                "The cluster needs an identity (SystemAssigned or UserAssigned), or a servicePrincipalProfile.",
                target="identity",
            )
        body["identity"] = {k: v for k, v in identity.items() if k not in ("principalId", "tenantId")}
        admission.private["assignedIdentities"] = await _assigned(admission.reader, body["identity"])
        properties["servicePrincipalProfile"] = {"clientId": "msi"}

    def _unchangeable(self, admission: Admission) -> None:
        if admission.existing is None:
            return
        old, new = admission.existing.properties, admission.body["properties"]
        for key in UNCHANGEABLE:
            if str(old.get(key)).lower() != str(new.get(key)).lower():
                raise ArmError(
                    "PropertyChangeNotAllowed",
                    f"Changing property 'properties.{key}' is not allowed.",
                    target=f"properties.{key}",
                )
            new[key] = old.get(key)

    async def _group(self, admission: Admission) -> None:
        """The node resource group is the cluster's own: nobody else's, and not there before it."""
        name = admission.body["properties"]["nodeResourceGroup"]
        group = await admission.reader.get(f"/subscriptions/{admission.id.subscription}/resourceGroups/{name}")
        if group and (group.managed_by or "").lower() != admission.id.key:
            raise ArmError(
                "NodeResourceGroupAlreadyExists" if not group.deleting else "NodeResourceGroupBeingDeleted",
                f"The node resource group '{name}' already exists and does not belong to this cluster. Choose another "
                "with --node-resource-group, or wait if it is being deleted.",
                status=409,
                target="nodeResourceGroup",
            )

    async def _memory(self, admission: Admission) -> None:
        after = Resource(admission.id.text, admission.body)
        await self._capacity.check(
            admission.reader, self._sizes, admission.id.key, admission.existing, after, "agentPoolProfile.count"
        )


async def _assigned(reader: Reader, identity: Document) -> Document:
    """What to show of the identities assigned to a cluster, by their ids. Raises ArmError for one that is not there."""
    ids = list(identity.get("userAssignedIdentities") or {}) if identity["type"] == "UserAssigned" else []
    if identity["type"] == "UserAssigned" and len(ids) != 1:
        raise ArmError(
            "InvalidParameter",
            f"The value of parameter identity.userAssignedIdentities is invalid. Error details: {len(ids)} identities "
            "were given, and a cluster has one.",
            target="identity.userAssignedIdentities",
        )
    found = {}
    for id in ids:
        resource = await reader.get(id)
        principal = resource.status.get("principalId") if resource else None
        if resource is None or not principal or resource.rid.type.lower() != IDENTITY.lower():
            raise ArmError(
                "FailedIdentityOperation",
                f"Identity operation for the managed cluster failed with error 'Failed to perform resource identity "
                f"operation. Status: 'BadRequest'. Response: 'Resource '{id}' was not found.''.",
                target="identity.userAssignedIdentities",
            )
        found[id] = {"principalId": principal, "clientId": resource.status.get("clientId")}
    return found
