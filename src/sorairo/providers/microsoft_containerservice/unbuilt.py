"""What AKS can and sorairo cannot yet: refused by name rather than taken and not done.

https://learn.microsoft.com/rest/api/aks/managed-clusters/create-or-update#request-body
"""

from __future__ import annotations

from typing import Any

from sorairo.engine.errors import not_implemented
from sorairo.engine.types import Document

CLUSTER = (
    "addonProfiles.*.enabled", "aiToolchainOperatorProfile.enabled",
    "apiServerAccessProfile.enableVnetIntegration", "autoUpgradeProfile.upgradeChannel", "azureMonitorProfile",
    "diskEncryptionSetID", "enableFIPS", "httpProxyConfig", "ingressProfile",
    "metricsProfile.costAnalysis.enabled", "networkProfile.loadBalancerProfile.outboundIPPrefixes",
    "networkProfile.loadBalancerProfile.outboundIPs", "podIdentityProfile.enabled",
    "securityProfile.azureKeyVaultKms.enabled", "securityProfile.customCATrustCertificates",
    "securityProfile.defender", "securityProfile.imageCleaner.enabled", "securityProfile.workloadIdentity.enabled",
    "serviceMeshProfile.istio", "windowsProfile", "workloadAutoScalerProfile",
)  # fmt: skip
"""Paths below `properties` that must be absent, false or empty; `*` is any member."""
POOL = (
    "capacityReservationGroupID", "creationData", "enableAutoScaling", "enableEncryptionAtHost", "enableFIPS",
    "enableNodePublicIP", "enableUltraSSD", "gatewayProfile", "gpuInstanceProfile", "hostGroupID", "kubeletConfig",
    "linuxOSConfig", "localDNSProfile", "messageOfTheDay", "networkProfile", "nodePublicIPPrefixID", "podSubnetID",
    "proximityPlacementGroupID", "securityProfile.enableSecureBoot", "securityProfile.enableVTPM",
    "virtualMachinesProfile", "windowsProfile",
)  # fmt: skip
CHOICES = {
    "type": ("VirtualMachineScaleSets",),
    "osType": ("Linux",),
    "scaleSetPriority": ("Regular", ""),
    "workloadRuntime": ("OCIContainer", ""),
    "osSKU": ("Ubuntu", "Ubuntu2204", "Ubuntu2404"),
}
"""Of a pool: what there is to choose from so far."""
CLUSTER_CHOICES = {
    "networkProfile.ipFamilies": (["IPv4"], []),
    "networkProfile.loadBalancerProfile.managedOutboundIPs.count": (1,),
    "networkProfile.loadBalancerProfile.backendPoolType": ("NodeIPConfiguration",),
    "nodeProvisioningProfile.mode": ("Manual", ""),
    "bootstrapProfile.artifactSource": ("Direct", ""),
    "publicNetworkAccess": ("Enabled", ""),
}


def refuse(body: Document) -> None:
    """Raises ArmError 501 `NotImplemented` for a cluster's body, its pools aside."""
    properties = body["properties"]
    for path in CLUSTER:
        if any(_set(value) for value in _at(properties, path.split("."))):
            raise not_implemented(path)
    for path, known in CLUSTER_CHOICES.items():
        for value in _at(properties, path.split(".")):
            if value not in known:
                raise not_implemented(f"{path} '{value}'")
    if (body.get("sku") or {}).get("name") == "Automatic":
        raise not_implemented("sku 'Automatic'")


def refuse_pool(pool: Document) -> None:
    """Raises ArmError 501 `NotImplemented`."""
    for path in POOL:
        if any(_set(value) for value in _at(pool, path.split("."))):
            raise not_implemented(f"agentPoolProfile.{path}")
    for key, known in CHOICES.items():
        if key in pool and pool[key] not in known:
            raise not_implemented(f"agentPoolProfile.{key} '{pool[key]}'")


def _at(value: Any, path: list[str]) -> list[Any]:
    if not path:
        return [value]
    if not isinstance(value, dict):
        return []
    if path[0] == "*":
        return [found for inner in value.values() for found in _at(inner, path[1:])]
    return _at(value[path[0]], path[1:]) if path[0] in value else []


def _set(value: Any) -> bool:
    """Whether anything in it is not nothing: true, a number, a text other than `none` (a channel's off)."""
    if isinstance(value, dict):
        return any(_set(v) for v in value.values())
    if isinstance(value, str):
        return value.lower() not in ("", "none")
    return bool(value)
