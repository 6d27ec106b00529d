"""Microsoft.ContainerService/managedClusters and its agentPools.

https://learn.microsoft.com/rest/api/aks/managed-clusters
"""

from __future__ import annotations

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Action, Admission, Document, Inline, Resource, ResourceType
from sorairo.providers.microsoft_containerservice import principal
from sorairo.providers.microsoft_containerservice.admission import CLUSTER, ClusterAdmission
from sorairo.providers.microsoft_containerservice.composition import nat_addresses
from sorairo.providers.microsoft_containerservice.credentials import Credentials
from sorairo.providers.microsoft_containerservice.names import (
    COMMAND_RESULTS,
    NODE_IMAGE,
    names,
    outbound_type,
    pools,
)
from sorairo.providers.microsoft_containerservice.observe import Actual
from sorairo.providers.microsoft_containerservice.private_cluster import PRIVATE_ENDPOINT_CONNECTIONS
from sorairo.providers.microsoft_containerservice.reconcile import ClusterReconciler
from sorairo.providers.microsoft_containerservice.run_command import Commands
from sorairo.providers.microsoft_containerservice.versions import API_VERSIONS
from sorairo.providers.principals import Principals


def render(resource: Resource, document: Document) -> Document:
    properties = document["properties"]
    code = properties.get("powerState", {"code": "Running"})
    properties.setdefault("powerState", code)
    for pool in properties.get("agentPoolProfiles", []):
        pool["provisioningState"] = resource.provisioning_state
        pool["powerState"] = code
        pool["nodeImageVersion"] = NODE_IMAGE
        pool["eTag"] = resource.etag
    profile = properties.get("networkProfile")
    if profile is not None and outbound_type(resource) == "managedNATGateway":
        profile["natGatewayProfile"]["effectiveOutboundIPs"] = [{"id": id} for id in nat_addresses(resource)]
    if profile is not None and outbound_type(resource) == "loadBalancer":
        profile["loadBalancerProfile"] = {
            "managedOutboundIPs": {"count": 1},
            "backendPoolType": "NodeIPConfiguration",
            **(profile.get("loadBalancerProfile") or {}),
            "effectiveOutboundIPs": [{"id": names(resource).public_ip}],
        }
    if identity := resource.private.get("identity"):
        document["identity"] = {**document.get("identity", {}), **identity}
    if assigned := resource.private.get("assignedIdentities"):
        document["identity"] = {**document.get("identity", {}), "userAssignedIdentities": assigned}
    document.pop("etag", None)
    document["eTag"] = resource.etag
    return document


def _running(wanted: bool) -> object:
    def change(resource: Resource, body: Document) -> None:
        if not resource.settled:
            raise ArmError(
                "OperationNotAllowed",
                f"Operation is not allowed because there's an in progress operation on the managed cluster "
                f"{resource.rid.name}. Please wait for it to finish before starting a new operation.",
                status=409,
            )
        resource.private["stopped"] = not wanted

    return change


async def admit_pool_delete(admission: Admission) -> None:
    """The parent's rules (a System pool must stay) are checked when it is put."""
    parent = admission.existing
    if parent and not parent.settled:
        raise ArmError(
            "OperationNotAllowed",
            "Operation is not allowed because there's an in progress operation on the managed cluster.",
            status=409,
        )
    if parent and len(pools(parent)) == 1:
        raise ArmError(
            "OperationNotAllowed", "The last agent pool of a cluster cannot be deleted.", status=400, target="agentPool"
        )


def cluster_types(
    admit: ClusterAdmission,
    reconciler: ClusterReconciler,
    commands: Commands,
    credentials: Credentials,
    principals: Principals,
) -> tuple[ResourceType[Actual], ResourceType[None], ResourceType[None]]:
    clusters = ResourceType(
        CLUSTER,
        API_VERSIONS,
        reconciler=reconciler,
        admit=admit,
        render=render,
        schema="managedClusters",
        moves="no",
        actions=(
            Action("listClusterAdminCredential", f"{CLUSTER}/listClusterAdminCredential/action", run=credentials.admin),
            Action("listClusterUserCredential", f"{CLUSTER}/listClusterUserCredential/action", run=credentials.user),
            Action(
                "runCommand",
                f"{CLUSTER}/runCommand/action",
                run=commands.run,
                lro=True,
                results=COMMAND_RESULTS,
            ),
            Action("stop", f"{CLUSTER}/stop/action", change=_running(False)),  # type: ignore[arg-type]
            Action("start", f"{CLUSTER}/start/action", change=_running(True)),  # type: ignore[arg-type]
            Action(
                "resetServicePrincipalProfile",
                f"{CLUSTER}/resetServicePrincipalProfile/action",
                change=principal.reset(principals),
            ),
            Action("resetAADProfile", f"{CLUSTER}/resetAADProfile/action", change=principal.reset_aad),
        ),
    )
    agent_pools: ResourceType[None] = ResourceType(
        f"{CLUSTER}/agentPools",
        API_VERSIONS,
        inline=Inline("agentPoolProfiles", flat=True),
        schema="agentPools",
        located=False,
        tracked=False,
        admit_delete=admit_pool_delete,
    )
    return clusters, agent_pools, PRIVATE_ENDPOINT_CONNECTIONS
