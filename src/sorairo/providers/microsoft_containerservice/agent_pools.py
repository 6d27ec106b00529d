"""Agent pools on their way in: what AKS fills in, and what it refuses.

https://learn.microsoft.com/rest/api/aks/agent-pools/create-or-update
"""

from __future__ import annotations

import copy
import ipaddress
import re
from typing import Any

from sorairo.engine.errors import ArmError, not_implemented
from sorairo.engine.ids import ResourceId, parse_id
from sorairo.engine.types import Admission, Document, Reader
from sorairo.providers.microsoft_containerservice import names, node_settings, unbuilt, versions

POOL_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")
DEFAULT_SIZE = "Standard_D2s_v3"
DEFAULTS: Document = {
    "count": 1, "mode": "User", "osType": "Linux", "osSKU": "Ubuntu", "type": "VirtualMachineScaleSets",
    "enableAutoScaling": False, "enableNodePublicIP": False, "osDiskSizeGB": 128,
    "osDiskType": "Managed", "kubeletDiskType": "OS", "scaleDownMode": "Delete",
    "upgradeSettings": {"maxSurge": "10%"},
}  # fmt: skip
ZONES = ("1", "2", "3")
FIXED = ("vmSize", "maxPods", "osDiskSizeGB", "osDiskType", "vnetSubnetID", "availabilityZones", "osType", "type")
"""What a pool keeps for as long as it lives."""
_UNSHOWN = ("provisioningState", "powerState", "nodeImageVersion", "eTag", "status")

Sizes = dict[str, tuple[int, int]]


async def admit(admission: Admission, version: str, sizes: Sizes) -> None:
    """Complete and check all pools of a cluster whose control plane is to have `version`. Raises ArmError."""
    given = names.pools(admission.body)
    if not given:
        raise invalid("agentPoolProfiles", "there must be at least one agent pool", target="agentPoolProfiles")
    old = {p["name"]: p for p in names.pools(admission.existing)} if admission.existing else {}
    seen = set()
    for pool in given:
        name = str(pool.get("name", ""))
        if not POOL_NAME.fullmatch(name):
            raise invalid("name", f"'{name}' must be 1 to 12 lower-case letters and digits, beginning with a letter")
        if name in seen:
            raise ArmError("InvalidParameter", f"There are two agent pools '{name}'.", target="agentPoolProfiles")
        seen.add(name)
        max_pods = _most_pods(admission)
        _pool(admission.body["location"], pool, old.get(name), version, sizes, max_pods)
    if not any(p["mode"] == "System" for p in given):
        raise ArmError(
            "OperationNotAllowed" if admission.existing else "InvalidParameter",
            "There has to be at least one System agent pool with at least one node: https://aka.ms/aks/system-pool",
            target="agentPoolProfiles",
        )
    await _subnet_room(admission)
    if admission.existing:
        admission.private[node_settings.FORMER] = node_settings.former(admission.existing, given)


def _most_pods(admission: Admission) -> int:
    """What AKS fills in. https://learn.microsoft.com/azure/aks/quotas-skus-regions#service-quotas-and-limits"""
    profile = admission.body["properties"].get("networkProfile") or {}
    if profile.get("networkPlugin") == "kubenet":
        return 110
    return 250 if profile.get("networkPluginMode") == "overlay" else 30


def _overlaid(admission: Admission) -> bool:
    """Whether pods have no addresses of the nodes' subnet."""
    profile = admission.body["properties"].get("networkProfile") or {}
    return bool(profile.get("networkPluginMode") == "overlay" or profile.get("networkPlugin") == "kubenet")


def _pool(location: str, pool: Document, old: Document | None, version: str, sizes: Sizes, max_pods: int) -> None:
    for key in _UNSHOWN:
        pool.pop(key, None)
    for key, value in (old or {}).items():
        pool.setdefault(key, copy.deepcopy(value))
    for key, value in {**DEFAULTS, "maxPods": max_pods}.items():
        if pool.get(key) in (None, ""):
            pool[key] = copy.deepcopy(value)
    pool["vmSize"] = pool.get("vmSize") or DEFAULT_SIZE
    unbuilt.refuse_pool(pool)
    _size(location, pool, sizes)
    for key in FIXED if old else ():
        if _plain(old.get(key)) != _plain(pool.get(key)):  # type: ignore[union-attr]
            raise ArmError(
                "PropertyChangeNotAllowed",
                f"Changing property 'properties.{key}' is not allowed.",
                target=f"properties.{key}",
            )
    least = 1 if pool["mode"] == "System" else 0
    if not least <= pool["count"] <= 1000:
        raise invalid(
            "count",
            f"Agent pool count was {pool['count']}. It must be greater or equal to minCount:{least} and less than or "
            "equal to maxCount:1000",
        )
    if not 10 <= pool["maxPods"] <= 250:
        raise invalid("maxPods", f"{pool['maxPods']} is not 10 to 250")
    if unknown := [z for z in pool.get("availabilityZones") or [] if z not in ZONES]:
        raise ArmError(
            "AvailabilityZoneNotSupported",
            f"The zone(s) '{', '.join(unknown)}' for resource '{pool['name']}' is not supported. The supported zones "
            f"for location '{location}' are '{','.join(ZONES)}'",
            target="agentPoolProfile.availabilityZones",
        )
    node_settings.check(pool)
    _version(location, pool, old, version)


def _size(location: str, pool: Document, sizes: Sizes) -> None:
    size = sizes.get(pool["vmSize"].lower())
    if size is None:
        raise ArmError(
            "BadRequest",
            f"The VM size of {pool['vmSize']} is not allowed in your subscription in location '{location}'. "
            "`az vm list-sizes` lists those that are. For more details, please visit https://aka.ms/cpu-quota",
            target="agentPoolProfile.vmSize",
        )
    if size[0] < 2 and pool["mode"] == "System":
        raise ArmError(
            "SystemPoolSkuTooLow",
            f"The VM SKU chosen for this system pool '{pool['vmSize']}' does not have enough CPUs: at least 2.",
            target="agentPoolProfile.vmSize",
        )


def _version(location: str, pool: Document, old: Document | None, control_plane: str) -> None:
    asked = str(pool.get("orchestratorVersion") or "")
    if old and asked == old.get("orchestratorVersion"):
        pool["currentOrchestratorVersion"] = old["currentOrchestratorVersion"]
        return
    version = versions.resolve(asked, location) if asked else control_plane
    if old and version != old["currentOrchestratorVersion"]:
        raise not_implemented("upgrading an agent pool's Kubernetes version")
    if version in versions.later_than(control_plane):
        raise ArmError(
            "NodePoolMcVersionIncompatible",
            f"Node pool version {version} and control plane version {control_plane} are incompatible. Version of node "
            "pool cannot be newer than that of the control plane. For more information, please check "
            "https://aka.ms/aks/UpgradeVersionRules",
            target="agentPoolProfile.orchestratorVersion",
        )
    pool["currentOrchestratorVersion"] = version
    pool["orchestratorVersion"] = asked or ".".join(version.split(".")[:2])


async def _subnet_room(admission: Admission) -> None:
    """Every node takes its own address and, unless its pods have those of an overlay, one for each pod it may run."""
    need: dict[str, int] = {}
    for pool in names.pools(admission.body):
        if subnet_id := pool.get("vnetSubnetID"):
            each = 1 if _overlaid(admission) else 1 + int(pool["maxPods"])
            need[subnet_id] = need.get(subnet_id, 0) + pool["count"] * each
    for subnet_id, count in need.items():
        subnet = await subnet_of(admission.reader, subnet_id)
        if subnet["properties"].get("delegations"):
            raise ArmError(
                "SubnetIsDelegated",
                f"AgentPoolProfile.VnetSubnetID {subnet_id} cannot be used as it's a delegated subnet. Please check "
                "https://aka.ms/adv-network-prerequest for more details.",
                target="agentPoolProfile.vnetSubnetID",
            )
        prefix = await subnet_prefix(admission.reader, subnet_id)
        if prefix.num_addresses - 5 < count:
            raise ArmError(
                "InsufficientSubnetSize",
                f"Pre-allocated IPs {count} exceeds IPs available {prefix.num_addresses - 5} in Subnet Cidr "
                f"{prefix}, Subnet Name {parse_id(subnet_id).name}. With Azure CNI they are "
                "(maxPods + 1) for each node: http://aka.ms/aks/insufficientsubnetsize",
                target="networkProfile.serviceCIDR",
            )


async def subnet_prefix(reader: Reader, subnet_id: str) -> ipaddress.IPv4Network:
    """Raises AKS's errors when the subnet is not there."""
    properties = (await subnet_of(reader, subnet_id))["properties"]
    return ipaddress.IPv4Network(properties.get("addressPrefix") or properties["addressPrefixes"][0])


async def subnet_of(reader: Reader, subnet_id: str) -> Document:
    """As `subnet_prefix`: its document."""
    try:
        rid: ResourceId = parse_id(subnet_id)
    except ValueError as e:
        raise ArmError("InvalidParameter", f"vnetSubnetID: {e}", target="agentPoolProfile.vnetSubnetID") from None
    network = await reader.get(rid.parent)
    for subnet in network.properties.get("subnets", []) if network else []:
        if subnet["name"].lower() == rid.name.lower():
            return dict(subnet)
    raise ArmError(
        "VnetSubnetNotFound" if network else "VirtualNetworkNotFound",
        f"The subnet '{subnet_id}' is not found. Create it first, with `az network vnet subnet create`.",
        target="agentPoolProfile.vnetSubnetID",
    )


def invalid(parameter: str, details: str, *, target: str = "") -> ArmError:
    """As AKS words it."""
    return ArmError(
        "InvalidParameter",
        f"The value of parameter agentPoolProfile.{parameter} is invalid. Error details: {details}. Please see "
        "https://aka.ms/aks-naming-rules for more details.",
        target=target or f"agentPoolProfile.{parameter}",
    )


def _plain(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value or None
