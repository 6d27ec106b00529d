"""What services a subnet may be delegated to, and have endpoints of.

https://learn.microsoft.com/rest/api/virtualnetwork/available-delegations/list
https://learn.microsoft.com/rest/api/virtualnetwork/available-endpoint-services/list
"""

from __future__ import annotations

from typing import Any

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Admission, Document, Reader, Resource
from sorairo.providers.microsoft_network.peerings import VIRTUAL_NETWORK, render_peerings

_JOIN = "Microsoft.Network/virtualNetworks/subnets/join/action"
_ACTION = "Microsoft.Network/virtualNetworks/subnets/action"
DELEGATIONS: dict[str, tuple[str, ...]] = {
    "Microsoft.ApiManagement/service": (_JOIN,),
    "Microsoft.App/environments": (_JOIN,),
    "Microsoft.AzureCosmosDB/clusters": (_JOIN,),
    "Microsoft.Batch/batchAccounts": (_ACTION,),
    "Microsoft.ContainerInstance/containerGroups": (_ACTION,),
    "Microsoft.ContainerService/managedClusters": (_JOIN,),
    "Microsoft.DBforMySQL/flexibleServers": (_JOIN,),
    "Microsoft.DBforPostgreSQL/flexibleServers": (_JOIN,),
    "Microsoft.DBforPostgreSQL/serversv2": (_JOIN,),
    "Microsoft.Databricks/workspaces": (
        _JOIN,
        "Microsoft.Network/virtualNetworks/subnets/prepareNetworkPolicies/action",
        "Microsoft.Network/virtualNetworks/subnets/unprepareNetworkPolicies/action",
    ),
    "Microsoft.DevCenter/networkConnection": (_JOIN,),
    "Microsoft.Kusto/clusters": (_JOIN,),
    "Microsoft.Logic/integrationServiceEnvironments": (_ACTION,),
    "Microsoft.MachineLearningServices/workspaces": (_JOIN,),
    "Microsoft.Netapp/volumes": ("Microsoft.Network/networkinterfaces/*", _JOIN),
    "Microsoft.Network/applicationGateways": (_JOIN,),
    "Microsoft.Network/dnsResolvers": (_JOIN,),
    "Microsoft.Network/managedResolvers": (_JOIN,),
    "Microsoft.Network/virtualNetworkGateways": (_JOIN,),
    "Microsoft.PowerPlatform/enterprisePolicies": (_JOIN,),
    "Microsoft.ServiceFabricMesh/networks": (_ACTION,),
    "Microsoft.ServiceNetworking/trafficControllers": (_JOIN,),
    "Microsoft.Sql/managedInstances": (
        _JOIN,
        "Microsoft.Network/virtualNetworks/subnets/prepareNetworkPolicies/action",
        "Microsoft.Network/virtualNetworks/subnets/unprepareNetworkPolicies/action",
    ),
    "Microsoft.StoragePool/diskPools": (_JOIN,),
    "Microsoft.StreamAnalytics/streamingJobs": (_JOIN,),
    "Microsoft.Synapse/workspaces": (_JOIN,),
    "Microsoft.Web/hostingEnvironments": (_ACTION,),
    "Microsoft.Web/serverFarms": (_ACTION,),
}
"""Service → what it may do to the subnet."""
ENDPOINTS = (
    "Microsoft.AzureActiveDirectory", "Microsoft.AzureCosmosDB", "Microsoft.CognitiveServices",
    "Microsoft.ContainerRegistry", "Microsoft.EventHub", "Microsoft.KeyVault", "Microsoft.ServiceBus", "Microsoft.Sql",
    "Microsoft.Storage", "Microsoft.Storage.Global", "Microsoft.Web",
)  # fmt: skip
_DELEGATIONS = {name.lower(): name for name in DELEGATIONS}
_ENDPOINTS = {name.lower(): name for name in ENDPOINTS}


async def check_services(admission: Admission, subnet: Document) -> None:
    """A subnet's delegations and service endpoints as Azure stores them. Raises ArmError."""
    properties = subnet["properties"]
    id = f"{admission.id.text}/subnets/{subnet.get('name')}"
    delegations = properties.get("delegations") or []
    if len(delegations) > 1:
        raise ArmError(
            "SubnetDelegationsCannotExceedOne", f"Subnet {id} can be delegated to one service only.", target=id
        )
    for delegation in delegations:
        for key in ("id", "type", "etag"):
            delegation.pop(key, None)
        inner = delegation.setdefault("properties", {})
        name = str(inner.get("serviceName") or "")
        known = _DELEGATIONS.get(name.lower())
        if known is None:
            raise ArmError(
                "InvalidServiceNameOnDelegation",
                f"The service name {name} specified on delegation {id}/delegations/{delegation.get('name')} is not "
                f"valid. Valid value(s) are: {','.join(DELEGATIONS)}.",
                target=id,
            )
        delegation["properties"] = {"serviceName": known, "actions": list(DELEGATIONS[known])}
        delegation.setdefault("name", "0")
    endpoints = properties.get("serviceEndpoints")
    if endpoints is None:
        return
    location = str(admission.body.get("location") or "")
    seen: set[str] = set()
    for endpoint in endpoints:
        name = str(endpoint.get("service") or "")
        known = _ENDPOINTS.get(name.lower())
        if known is None:
            raise ArmError(
                "SubnetHasInvalidServiceEndpoint",
                f"Service endpoint {name!r} of subnet {id} is not one; see `az network vnet list-endpoint-services`.",
                target=id,
            )
        if known in seen:
            raise ArmError(
                "SubnetHasDuplicateServiceEndpoints", f"Subnet {id} has service endpoint {known} twice.", target=id
            )
        seen.add(known)
        locations = ["*"] if known != "Microsoft.Storage" and known != "Microsoft.Sql" else [location]
        endpoint["service"] = known
        endpoint.pop("provisioningState", None)
        endpoint["locations"] = endpoint.get("locations") or locations
    if {"Microsoft.Storage", "Microsoft.Storage.Global"} <= seen:
        raise ArmError(
            "SubnetHasConflictingServiceEndpoints",
            f"Subnet {id} can have a service endpoint of Microsoft.Storage or of Microsoft.Storage.Global, not both.",
            target=id,
        )


def delegated_to(subnet: Document) -> list[str]:
    return [str(each["properties"]["serviceName"]) for each in subnet["properties"].get("delegations") or []]


def delegated_in_use(subnet_id: str, before: list[str], after: list[str], user: str) -> ArmError:
    return ArmError(
        "SubnetDelegationsCannotChangeWhenSubnetUsedByResource",
        f"Delegations of subnet {subnet_id} cannot be changed from [{', '.join(before)}] to [{', '.join(after)}] "
        f"because it is being used by the resource {user}.",
        target=subnet_id,
    )


def check_delegation(subnet: Document, subnet_id: str, type: str) -> None:
    """Raise ArmError for a resource of a subnet that is a service's own."""
    if services := delegated_to(subnet):
        raise ArmError(
            "ResourceNotPermittedOnDelegatedSubnet",
            f"Resource of type '{type}' is not permitted on subnet {subnet_id}, which is delegated to "
            f"{', '.join(services)}.",
            target=subnet_id,
        )


async def check_one_network(reader: Reader, gateway: str, network: str) -> None:
    """Raise ArmError when subnets of another virtual network name the NAT gateway."""
    for other in await reader.naming(gateway, type=VIRTUAL_NETWORK):
        if other.key != network.lower():
            raise ArmError(
                "NatGatewayCannotBeUsedBySubnetsBelongingToDifferentVirtualNetworks",
                f"NAT Gateway cannot be configured on multiple virtual networks. NAT Gateway {gateway} is currently "
                f"used on virtual network {other.id} and cannot be added to virtual network {network}.",
                target=gateway,
            )


def render_parts(resource: Resource, document: Document) -> Document:
    """A virtual network as it is shown: states of its subnets' parts, and its peerings."""
    for subnet in document["properties"].get("subnets", []):
        properties = subnet["properties"]
        for endpoint in properties.get("serviceEndpoints") or []:
            endpoint["provisioningState"] = "Succeeded"
        for delegation in properties.get("delegations", []):
            delegation["id"] = f"{resource.id}/subnets/{subnet['name']}/delegations/{delegation['name']}"
            delegation["properties"]["provisioningState"] = "Succeeded"
            delegation["type"] = "Microsoft.Network/virtualNetworks/subnets/delegations"
    return render_peerings(resource, document)


async def available_delegations(scope: str, **_: Any) -> Document:
    """`az network vnet subnet list-available-delegations`."""
    kind = "Microsoft.Network/availableDelegations"
    return {
        "value": [
            _shown(scope, kind, name) | {"serviceName": name, "actions": [*DELEGATIONS[name]]} for name in DELEGATIONS
        ]
    }


async def available_endpoint_services(scope: str, **_: Any) -> Document:
    """`az network vnet list-endpoint-services`."""
    kind = "Microsoft.Network/virtualNetworkEndpointServices"
    return {"value": [_shown(scope, kind, name) for name in ENDPOINTS]}


def _shown(scope: str, kind: str, service: str) -> Document:
    name = service.replace("/", ".")
    return {"id": f"{scope}/providers/{kind}/{name}", "name": name, "type": kind}
