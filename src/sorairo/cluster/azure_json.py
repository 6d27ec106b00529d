"""`/etc/kubernetes/azure.json`: how a cluster's programs know their cloud, and who they are to it.

https://cloud-provider-azure.sigs.k8s.io/install/configs/
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

PATH = "/etc/kubernetes/azure.json"
ENVIRONMENT_PATH = "/etc/kubernetes/akscustom.json"
"""Where `AZURE_ENVIRONMENT_FILEPATH` points in AKS's own custom clouds."""
CLOUD = "AzureStackCloud"
"""That of AKS's custom clouds, which take their endpoints from elsewhere."""
MANAGED = "msi"
"""What stands for client id and secret where a managed identity is used instead."""


@dataclass(frozen=True, slots=True)
class CloudConfig:
    """The fields that are read, by their meaning. Names (not ids) of resources are in `resource_group`, unless they
    have a group of their own beside them."""

    tenant_id: str
    subscription_id: str
    resource_group: str
    """The node resource group."""
    location: str
    resource_manager: str
    """`https://HOST[:PORT]`, no slash at the end."""
    security_group: str
    vnet: str
    vnet_group: str
    subnet: str
    route_table: str
    route_table_group: str = ""
    """'': the node resource group."""
    scale_set: str = ""
    """The first pool's; the others are found in the group."""
    client_id: str = MANAGED
    client_secret: str = MANAGED
    identity: str = ""
    """Client id of the user assigned identity to use, where there is no client secret; '' for the machine's own."""
    tags: dict[str, str] = field(default_factory=dict)
    """What every resource made on the cluster's behalf is tagged with."""
    outbound_rule: bool = True
    """Connections of pods leave by the load balancer's outbound rule: Services' rules need not serve them too."""

    @property
    def managed(self) -> bool:
        return self.client_id.lower() in ("", MANAGED)

    def id(self, type: str, name: str, group: str = "") -> str:
        """Of a resource in the node resource group, or another of the same subscription."""
        scope = f"/subscriptions/{self.subscription_id}/resourceGroups/{group or self.resource_group}"
        return f"{scope}/providers/{type}/{name}"

    def subnet_id(self, name: str = "") -> str:
        network = self.id("Microsoft.Network/virtualNetworks", self.vnet, self.vnet_group)
        return f"{network}/subnets/{name or self.subnet}"

    def document(self) -> dict[str, Any]:
        """As the file has it."""
        return {
            "cloud": CLOUD,
            "disableAzureStackCloud": True,
            "tenantId": self.tenant_id,
            "subscriptionId": self.subscription_id,
            "aadClientId": self.client_id,
            "aadClientSecret": self.client_secret,
            "resourceGroup": self.resource_group,
            "location": self.location,
            "vmType": "vmss",
            "subnetName": self.subnet,
            "securityGroupName": self.security_group,
            "vnetName": self.vnet,
            "vnetResourceGroup": self.vnet_group,
            "routeTableName": self.route_table,
            "routeTableResourceGroup": self.route_table_group or self.resource_group,
            "primaryAvailabilitySetName": "",
            "primaryScaleSetName": self.scale_set,
            "cloudProviderBackoffMode": "v2",
            "cloudProviderBackoff": True,
            "cloudProviderBackoffRetries": 6,
            "cloudProviderBackoffDuration": 5,
            "useManagedIdentityExtension": self.managed,
            "userAssignedIdentityID": self.identity,
            "useInstanceMetadata": True,
            "loadBalancerSku": "standard",
            "disableOutboundSNAT": self.outbound_rule,
            "excludeMasterFromStandardLB": True,
            "maximumLoadBalancerRuleCount": 250,
            "tags": ",".join(f"{k}={v}" for k, v in self.tags.items()),
            "resourceManagerEndpoint": self.resource_manager,
        }

    def text(self) -> str:
        return json.dumps(self.document(), indent=4) + "\n"

    @classmethod
    def parse(cls, text: str | bytes) -> CloudConfig:
        """Raises ValueError when something needed is missing."""
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("azure.json is not an object")
        try:
            tags = [pair.split("=", 1) for pair in str(found.get("tags") or "").split(",") if "=" in pair]
            return cls(
                tenant_id=found["tenantId"],
                subscription_id=found["subscriptionId"],
                resource_group=found["resourceGroup"],
                location=found["location"],
                resource_manager=str(found.get("resourceManagerEndpoint") or "https://management.azure.com").rstrip(
                    "/"
                ),
                security_group=found["securityGroupName"],
                vnet=found["vnetName"],
                vnet_group=found.get("vnetResourceGroup") or found["resourceGroup"],
                subnet=found["subnetName"],
                route_table=found.get("routeTableName", ""),
                route_table_group=found.get("routeTableResourceGroup") or found["resourceGroup"],
                scale_set=found.get("primaryScaleSetName", ""),
                client_id=found.get("aadClientId") or MANAGED,
                client_secret=found.get("aadClientSecret") or MANAGED,
                identity=found.get("userAssignedIdentityID", ""),
                tags={k.strip(): v.strip() for k, v in tags},
                outbound_rule=bool(found.get("disableOutboundSNAT", False)),
            )
        except KeyError as e:
            raise ValueError(f"azure.json has no {e.args[0]}") from None


def environment(resource_manager: str, login: str, audience: str, suffix: str = "sorairo.internal") -> dict[str, str]:
    """The file `AZURE_ENVIRONMENT_FILEPATH` names: where a custom cloud's services are.

    `login` and `resource_manager`: `https://HOST[:PORT]`; `audience`: what tokens for the resource manager are for."""
    return {
        "name": CLOUD,
        "managementPortalURL": resource_manager,
        "activeDirectoryEndpoint": f"{login}/",
        "resourceManagerEndpoint": f"{resource_manager}/",
        "serviceManagementEndpoint": audience,
        "tokenAudience": audience,
        "graphEndpoint": f"https://graph.{suffix}/",
        "storageEndpointSuffix": f"core.{suffix}",
        "containerRegistryDNSSuffix": f"azurecr.{suffix}",
        "keyVaultDNSSuffix": f"vault.{suffix}",
        "resourceManagerVMDNSSuffix": f"cloudapp.{suffix}",
    }
