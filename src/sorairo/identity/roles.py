"""Azure's built-in roles that clusters and their users meet, with their real ids and actions.

https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any


@dataclass(frozen=True, slots=True)
class Permissions:
    """What one entry of a role grants: actions less notActions, for the control and the data plane.

    `*` stands for anything, slashes included; case does not count.
    """

    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    not_data_actions: tuple[str, ...] = ()

    def grants(self, action: str, *, data: bool = False) -> bool:
        """`action` in lower case."""
        granted, taken = (self.data_actions, self.not_data_actions) if data else (self.actions, self.not_actions)
        return _matches(granted, action) and not _matches(taken, action)


@dataclass(frozen=True, slots=True)
class RoleDefinition:
    id: str
    """The GUID; the resource id is `{scope}/providers/Microsoft.Authorization/roleDefinitions/{id}`."""
    name: str
    description: str
    permissions: tuple[Permissions, ...]
    assignable: tuple[str, ...] = ("/",)
    """Scopes, in lower case, at or below which it can be assigned."""

    def grants(self, action: str, *, data: bool = False) -> bool:
        return any(p.grants(action, data=data) for p in self.permissions)

    def properties(self) -> dict[str, Any]:
        """As a roleDefinitions document's `properties`."""
        return {
            "roleName": self.name,
            "type": "BuiltInRole",
            "description": self.description,
            "assignableScopes": ["/"],
            "permissions": [
                {
                    "actions": list(p.actions),
                    "notActions": list(p.not_actions),
                    "dataActions": list(p.data_actions),
                    "notDataActions": list(p.not_data_actions),
                }
                for p in self.permissions
            ],
            "createdOn": "2015-02-02T21:55:09.8806423Z",
            "updatedOn": "2021-11-11T20:13:28.6061853Z",
            "createdBy": None,
            "updatedBy": None,
        }


@lru_cache(maxsize=1024)
def _pattern(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(".*".join(map(re.escape, p.lower().split("*"))) for p in patterns), re.DOTALL)


def _matches(patterns: tuple[str, ...], action: str) -> bool:
    return bool(patterns) and _pattern(patterns).fullmatch(action) is not None


def _role(
    id: str,
    name: str,
    description: str,
    actions: Iterable[str] = (),
    less: Iterable[str] = (),
    data: Iterable[str] = (),
    data_less: Iterable[str] = (),
) -> RoleDefinition:
    return RoleDefinition(
        id, name, description, (Permissions(tuple(actions), tuple(less), tuple(data), tuple(data_less)),)
    )


def _under(prefix: str, names: str) -> list[str]:
    return [f"{prefix}/{n}" for n in names.split()]


_AKS = "Microsoft.ContainerService/managedClusters"
_READ_ROLES = "Microsoft.Authorization/*/read"
_ALERTS = "Microsoft.Insights/alertRules/*"
_DEPLOY = "Microsoft.Resources/deployments/*"
_READ_GROUPS = "Microsoft.Resources/subscriptions/resourceGroups/read"
_SUPPORT = "Microsoft.Support/*"
_HEALTH = "Microsoft.ResourceHealth/availabilityStatuses/read"
_USUAL = (_READ_ROLES, _ALERTS, _HEALTH, _DEPLOY, _READ_GROUPS, _SUPPORT)
_IN_CLUSTER = (
    _READ_ROLES,
    "Microsoft.Resources/subscriptions/operationresults/read",
    "Microsoft.Resources/subscriptions/read",
    _READ_GROUPS,
)
_USER_CREDENTIAL = f"{_AKS}/listClusterUserCredential/action"
_READ_IN_CLUSTER = _under(
    _AKS,
    "apps/controllerrevisions/read apps/daemonsets/read apps/deployments/read apps/replicasets/read "
    "apps/statefulsets/read autoscaling/horizontalpodautoscalers/read batch/cronjobs/read batch/jobs/read "
    "configmaps/read discovery.k8s.io/endpointslices/read endpoints/read events.k8s.io/events/read events/read "
    "extensions/daemonsets/read extensions/deployments/read extensions/ingresses/read "
    "extensions/networkpolicies/read extensions/replicasets/read limitranges/read metrics.k8s.io/pods/read "
    "metrics.k8s.io/nodes/read namespaces/read networking.k8s.io/ingresses/read "
    "networking.k8s.io/networkpolicies/read persistentvolumeclaims/read pods/read "
    "policy/poddisruptionbudgets/read replicationcontrollers/read resourcequotas/read serviceaccounts/read "
    "services/read",
)
_WRITE_IN_CLUSTER = _under(
    _AKS,
    "apps/controllerrevisions/read apps/daemonsets/* apps/deployments/* apps/replicasets/* apps/statefulsets/* "
    "autoscaling/horizontalpodautoscalers/* batch/cronjobs/* coordination.k8s.io/leases/read "
    "coordination.k8s.io/leases/write coordination.k8s.io/leases/delete discovery.k8s.io/endpointslices/read "
    "batch/jobs/* configmaps/* endpoints/* events.k8s.io/events/read events/* extensions/daemonsets/* "
    "extensions/deployments/* extensions/ingresses/* extensions/networkpolicies/* extensions/replicasets/* "
    "limitranges/read metrics.k8s.io/pods/read metrics.k8s.io/nodes/read namespaces/read "
    "networking.k8s.io/ingresses/* networking.k8s.io/networkpolicies/* persistentvolumeclaims/* pods/* "
    "policy/poddisruptionbudgets/* replicationcontrollers/* resourcequotas/read secrets/* serviceaccounts/* "
    "services/*",
)

BUILT_IN: Sequence[RoleDefinition] = (
    _role(
        "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
        "Owner",
        "Grants full access to manage all resources, including the ability to assign roles in Azure RBAC.",
        ("*",),
    ),
    _role(
        "b24988ac-6180-42a0-ab88-20f7382dd24c",
        "Contributor",
        "Grants full access to manage all resources, but does not allow you to assign roles in Azure RBAC, manage "
        "assignments in Azure Blueprints, or share image galleries.",
        ("*",),
        (
            "Microsoft.Authorization/*/Delete",
            "Microsoft.Authorization/*/Write",
            "Microsoft.Authorization/elevateAccess/Action",
            "Microsoft.Blueprint/blueprintAssignments/write",
            "Microsoft.Blueprint/blueprintAssignments/delete",
            "Microsoft.Compute/galleries/share/action",
            "Microsoft.Purview/consents/write",
            "Microsoft.Purview/consents/delete",
            "Microsoft.Resources/deploymentStacks/manageDenySetting/action",
            "Microsoft.Subscription/cancel/action",
            "Microsoft.Subscription/enable/action",
        ),
    ),
    _role(
        "acdd72a7-3385-48ef-bd42-f606fba81ae7",
        "Reader",
        "View all resources, but does not allow you to make any changes.",
        ("*/read",),
    ),
    _role(
        "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
        "User Access Administrator",
        "Lets you manage user access to Azure resources.",
        ("*/read", "Microsoft.Authorization/*", _SUPPORT),
    ),
    _role(
        "f58310d9-a9f6-439a-9e8d-f62e7b41a168",
        "Role Based Access Control Administrator",
        "Manage access to Azure resources by assigning roles using Azure RBAC. This role does not allow you to manage "
        "access using other ways, such as Azure Policy.",
        (
            "Microsoft.Authorization/roleAssignments/write",
            "Microsoft.Authorization/roleAssignments/delete",
            "*/read",
            _SUPPORT,
        ),
    ),
    _role(
        "4d97b98b-1d4f-4787-a291-c67834d212e7",
        "Network Contributor",
        "Lets you manage networks, but not access to them.",
        (_READ_ROLES, _ALERTS, "Microsoft.Network/*", _HEALTH, _DEPLOY, _READ_GROUPS, _SUPPORT),
    ),
    _role(
        "befefa01-2a29-4197-83a8-272ff33ce314",
        "DNS Zone Contributor",
        "Lets you manage DNS zones and record sets in Azure DNS, but does not let you control who has access to them.",
        (_READ_ROLES, _ALERTS, "Microsoft.Network/dnsZones/*", _HEALTH, _DEPLOY, _READ_GROUPS, _SUPPORT),
    ),
    _role(
        "b12aa53e-6015-4669-85d0-8515ebb3ae7f",
        "Private DNS Zone Contributor",
        "Lets you manage private DNS zone resources, but not the virtual networks they are linked to.",
        (
            *(_READ_ROLES, _ALERTS, _DEPLOY, _READ_GROUPS, _SUPPORT),
            *_under(
                "Microsoft.Network",
                "privateDnsZones/* privateDnsOperationResults/* "
                "privateDnsOperationStatuses/* virtualNetworks/read virtualNetworks/join/action",
            ),
        ),
    ),
    _role(
        "9980e02c-c2be-4d73-94e8-173b1dc7cf3c",
        "Virtual Machine Contributor",
        "Lets you manage virtual machines, but not access to them, and not the virtual network or storage account "
        "they're connected to.",
        (
            *_USUAL,
            *_under(
                "Microsoft.Compute",
                "availabilitySets/* locations/* virtualMachines/* virtualMachineScaleSets/* cloudServices/* "
                "disks/write disks/read disks/delete",
            ),
            "Microsoft.DevTestLab/schedules/*",
            *_under(
                "Microsoft.Network",
                "applicationGateways/backendAddressPools/join/action loadBalancers/backendAddressPools/join/action "
                "loadBalancers/inboundNatPools/join/action loadBalancers/inboundNatRules/join/action "
                "loadBalancers/probes/join/action loadBalancers/read locations/* networkInterfaces/* "
                "networkSecurityGroups/join/action networkSecurityGroups/read publicIPAddresses/join/action "
                "publicIPAddresses/read virtualNetworks/read virtualNetworks/subnets/join/action",
            ),
            *_under(
                "Microsoft.RecoveryServices",
                "locations/* Vaults/backupFabrics/backupProtectionIntent/write "
                "Vaults/backupFabrics/protectionContainers/protectedItems/*/read "
                "Vaults/backupFabrics/protectionContainers/protectedItems/read "
                "Vaults/backupFabrics/protectionContainers/protectedItems/write Vaults/backupPolicies/read "
                "Vaults/backupPolicies/write Vaults/read Vaults/usages/read Vaults/write",
            ),
            "Microsoft.SerialConsole/serialPorts/connect/action",
            "Microsoft.SqlVirtualMachine/*",
            "Microsoft.Storage/storageAccounts/listKeys/action",
            "Microsoft.Storage/storageAccounts/read",
        ),
    ),
    _role(
        "17d1049b-9a84-46fb-8f53-869881c3d3ab",
        "Storage Account Contributor",
        "Lets you manage storage accounts, including accessing storage account keys which provide full access to "
        "storage account data.",
        (
            *_USUAL,
            "Microsoft.Insights/diagnosticSettings/*",
            "Microsoft.Network/virtualNetworks/subnets/joinViaServiceEndpoint/action",
            "Microsoft.Storage/storageAccounts/*",
        ),
    ),
    _role(
        "f1a07417-d97a-45cb-824c-7a7467783830",
        "Managed Identity Operator",
        "Read and Assign User Assigned Identity",
        (
            "Microsoft.ManagedIdentity/userAssignedIdentities/*/read",
            "Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action",
            _READ_ROLES,
            _ALERTS,
            _READ_GROUPS,
            _DEPLOY,
            _SUPPORT,
        ),
    ),
    _role(
        "e40ec5ca-96e0-45a2-b4ff-59039f2c2b59",
        "Managed Identity Contributor",
        "Create, Read, Update, and Delete User Assigned Identity",
        (
            *_under(
                "Microsoft.ManagedIdentity/userAssignedIdentities",
                "read write delete federatedIdentityCredentials/read federatedIdentityCredentials/write "
                "federatedIdentityCredentials/delete revokeTokens/action",
            ),
            _READ_ROLES,
            _ALERTS,
            _READ_GROUPS,
            _DEPLOY,
            _SUPPORT,
        ),
    ),
    _role(
        "7f951dda-4ed3-4680-a7ca-43fe172d538d",
        "AcrPull",
        "acr pull",
        ("Microsoft.ContainerRegistry/registries/pull/read",),
    ),
    _role(
        "8311e382-0749-4cb8-b61a-304f252e45ec",
        "AcrPush",
        "acr push",
        ("Microsoft.ContainerRegistry/registries/pull/read", "Microsoft.ContainerRegistry/registries/push/write"),
    ),
    _role(
        "c2f4ef07-c644-48eb-af81-4b1b4947fb11",
        "AcrDelete",
        "acr delete",
        ("Microsoft.ContainerRegistry/registries/artifacts/delete",),
    ),
    _role(
        "0ab0b1a8-8aac-4efd-b8c2-3ee1fb270be8",
        "Azure Kubernetes Service Cluster Admin Role",
        "List cluster admin credential action.",
        _under(_AKS, "listClusterAdminCredential/action accessProfiles/listCredential/action read runcommand/action"),
    ),
    _role(
        "4abbcc35-e782-43d8-92c5-2d3f1bd2253f",
        "Azure Kubernetes Service Cluster User Role",
        "List cluster user credential action.",
        (_USER_CREDENTIAL, f"{_AKS}/read"),
    ),
    _role(
        "ed7f3fbd-7b88-4dd4-9017-9adb7ce333f8",
        "Azure Kubernetes Service Contributor Role",
        "Grants access to read and write Azure Kubernetes Service clusters",
        (
            _READ_ROLES,
            *_under(
                "Microsoft.ContainerService", "locations/* managedClusters/* managedclustersnapshots/* snapshots/*"
            ),
            _ALERTS,
            _DEPLOY,
            _READ_GROUPS,
        ),
    ),
    _role(
        "3498e952-d568-435e-9b2c-8d77e338d7f7",
        "Azure Kubernetes Service RBAC Admin",
        "Lets you manage all resources under cluster/namespace, except update or delete resource quotas and "
        "namespaces.",
        (*_IN_CLUSTER, _USER_CREDENTIAL),
        (),
        (f"{_AKS}/*",),
        _under(_AKS, "resourcequotas/write resourcequotas/delete namespaces/write namespaces/delete"),
    ),
    _role(
        "b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b",
        "Azure Kubernetes Service RBAC Cluster Admin",
        "Lets you manage all resources in the cluster.",
        (*_IN_CLUSTER, _USER_CREDENTIAL),
        (),
        (f"{_AKS}/*",),
    ),
    _role(
        "7f6c6a51-bcf8-42ba-9220-52d62157d7db",
        "Azure Kubernetes Service RBAC Reader",
        "Allows read-only access to see most objects in a namespace. It does not allow viewing roles or role bindings. "
        "This role does not allow viewing Secrets, since reading the contents of Secrets enables access to "
        "ServiceAccount credentials in the namespace, which would allow API access as any ServiceAccount in the "
        "namespace (a form of privilege escalation). Applying this role at cluster scope will give access across all "
        "namespaces.",
        _IN_CLUSTER,
        (),
        _READ_IN_CLUSTER,
    ),
    _role(
        "a7ffa36f-339b-4b5c-8bdf-e2c188b2c0eb",
        "Azure Kubernetes Service RBAC Writer",
        "Allows read/write access to most objects in a namespace.This role does not allow viewing or modifying roles "
        "or role bindings. However, this role allows accessing Secrets and running Pods as any ServiceAccount in the "
        "namespace, so it can be used to gain the API access levels of any ServiceAccount in the namespace. Applying "
        "this role at cluster scope will give access across all namespaces.",
        _IN_CLUSTER,
        (),
        _WRITE_IN_CLUSTER,
    ),
)

BY_ID = {r.id: r for r in BUILT_IN}


def find_role(role_definition_id: str) -> RoleDefinition | None:
    """By GUID or by a resource id of any scope."""
    return BY_ID.get(role_definition_id.rstrip("/").rpartition("/")[2].lower())


def permissions_of(properties: dict[str, Any]) -> tuple[Permissions, ...]:
    """Of a document's `properties.permissions`."""
    names = ("actions", "notActions", "dataActions", "notDataActions")
    return tuple(Permissions(*(tuple(p.get(n) or ()) for n in names)) for p in properties.get("permissions") or ())


def custom_role(id: str, properties: dict[str, Any]) -> RoleDefinition:
    """Of a stored roleDefinitions document's `properties`; `id`: its GUID."""
    return RoleDefinition(
        id.lower(),
        properties["roleName"],
        properties.get("description") or "",
        permissions_of(properties),
        tuple(s.lower().rstrip("/") for s in properties.get("assignableScopes") or ()),
    )
