"""`networkProfile`: what AKS fills in of a cluster's network, and what it refuses.

https://learn.microsoft.com/azure/aks/concepts-network and https://learn.microsoft.com/azure/aks/azure-cni-overlay
"""

from __future__ import annotations

import ipaddress
from typing import Any

from sorairo.engine.errors import ArmError, not_implemented
from sorairo.engine.types import Admission, Document, Resource
from sorairo.providers.microsoft_containerservice import agent_pools, kubenet, kubenet_admission, names, outbound
from sorairo.providers.microsoft_containerservice.cloud import Permits

IPv4 = ipaddress.IPv4Network
MANAGED_VNET = IPv4("10.224.0.0/12")
MANAGED_SUBNET = IPv4("10.224.0.0/16")
POD_CIDR = "10.244.0.0/16"
PLUGINS = ("azure", kubenet.KUBENET)
BLOCK = 256
"""Addresses of the pod CIDR that each node takes, whatever its maxPods: a /24."""
MOST_NODES_WITH_POLICY = 250
_ONCE = ("networkPlugin", "networkPluginMode", "podCidr", "serviceCidr", "dnsServiceIP")
"""What stays as it was when the cluster was made."""


def overlay(cluster: Resource) -> str | None:
    """Where pods have addresses that only nodes know: their CIDR."""
    profile = cluster.properties.get("networkProfile") or {}
    return str(profile["podCidr"]) if profile.get("networkPluginMode") == "overlay" else kubenet.pods(cluster)


async def admit(admission: Admission, permits: Permits) -> None:
    properties = admission.body["properties"]
    old = admission.existing.properties["networkProfile"] if admission.existing else {}
    given = {k: v for k, v in (properties.get("networkProfile") or {}).items() if v not in (None, "", [])}
    _unchangeable(old, given)
    profile: Document = {**old, **given}
    _choices(admission.body, profile)
    await outbound.admit(admission, profile, old)
    service = _service(profile)
    subnets = await _subnets(admission)
    for prefix in subnets:
        if service.overlaps(prefix):
            raise ArmError(
                "ServiceCidrOverlapExistingSubnetsCidr",
                f"The specified service CIDR {service} is conflicted with an existing subnet CIDR {prefix}. Please "
                "choose another with --service-cidr.",
                target="networkProfile.serviceCIDR",
            )
    if profile.get("networkPluginMode") == "overlay":
        await _overlay(admission, profile, service)
    elif profile["networkPlugin"] == kubenet.KUBENET:
        await _kubenet(admission, profile, service, subnets, permits)
    elif given.get("podCidr"):
        raise ArmError(
            "InvalidParameter",
            "The value of parameter networkProfile.podCidr is invalid. Error details: a pod CIDR is for network plugin "
            "kubenet and network plugin mode overlay; with Azure CNI pods have addresses of the nodes' subnet.",
            target="networkProfile.podCIDR",
        )
    profile["serviceCidrs"], profile["ipFamilies"] = [str(service)], ["IPv4"]
    properties["networkProfile"] = profile
    _policy(admission, profile)


def _unchangeable(old: Document, given: Document) -> None:
    if old.get("networkPlugin") == kubenet.KUBENET and given.get("networkPluginMode") == "overlay":
        raise not_implemented("moving a cluster from kubenet to Azure CNI overlay")
    for key in _ONCE if old else ():
        if key in given and str(given[key]).lower() != str(old.get(key) or "").lower():
            if key == "networkPluginMode" and not old.get(key):
                raise not_implemented("moving a cluster to network plugin mode overlay")
            raise ArmError(
                "PropertyChangeNotAllowed",
                f"Changing property 'networkProfile.{key}' is not allowed.",
                target=f"networkProfile.{key}",
            )


def _choices(body: Document, profile: Document) -> None:
    plugin = str(profile.setdefault("networkPlugin", "azure")).lower()
    if plugin not in PLUGINS:
        raise not_implemented(f"networkPlugin '{plugin}' ({', '.join(PLUGINS)}: yes)")
    profile["networkPlugin"] = plugin
    profile["networkPolicy"] = str(profile.get("networkPolicy") or "none").lower()
    kubenet_admission.check(body, profile)
    profile.setdefault("networkDataplane", "azure")
    profile.setdefault("loadBalancerSku", "standard")
    for key, known in (
        ("networkPluginMode", ("overlay",)),
        ("networkPolicy", ("none", "azure")),
        ("networkDataplane", ("azure",)),
    ):
        if key in profile and profile[key] not in known:
            raise not_implemented(f"{key} '{profile[key]}' ({', '.join(known)}: yes)")


def _service(profile: Document) -> IPv4:
    """The addresses of Services, with the DNS server among them."""
    service = _cidr(profile.setdefault("serviceCidr", "10.0.0.0/16"), "networkProfile.serviceCidr")
    if service.prefixlen < 12:
        raise ArmError(
            "InvalidServiceCidr", f"Service CIDR {service} is too large: /12 is the largest.", target="serviceCidr"
        )
    profile.setdefault("dnsServiceIP", str(service.network_address + 10))
    dns = ipaddress.ip_address(profile["dnsServiceIP"])
    if dns not in service or dns == service.network_address + 1:
        raise ArmError(
            "DNSServiceIPNotInServiceCidr",
            f"DNS service IP {dns} must be within the service CIDR {service}, and not its first address.",
            target="networkProfile.dnsServiceIP",
        )
    return service


async def _kubenet(
    admission: Admission, profile: Document, service: IPv4, subnets: list[IPv4], permits: Permits
) -> None:
    pods = _cidr(profile.setdefault("podCidr", POD_CIDR), "networkProfile.podCIDR")
    for prefix in subnets:
        if pods.overlaps(prefix):
            raise ArmError(
                "PodCidrOverlapExistingSubnetsCidr",
                f"The specified pod CIDR {pods} is conflicted with an existing subnet CIDR {prefix}. Please choose "
                "another with --pod-cidr.",
                target="networkProfile.podCIDR",
            )
    _apart(pods, service)
    kubenet_admission.check_room(admission.body, pods)
    await kubenet_admission.choose_table(admission, permits)
    profile["podCidrs"] = [str(pods)]


def _apart(pods: IPv4, service: IPv4) -> None:
    if pods.overlaps(service):
        raise ArmError(
            "PodCidrOverlapServiceCidr",
            f"The specified service CIDR {service} is conflicted with pod CIDR {pods}. Please choose another with "
            "--pod-cidr or --service-cidr.",
            target="networkProfile.serviceCIDR",
        )


async def _overlay(admission: Admission, profile: Document, service: IPv4) -> None:
    """Pods' own addresses are nobody else's, and enough: a /24 for each node, and for one more of each pool while it
    is upgraded."""
    pods = _cidr(profile.setdefault("podCidr", POD_CIDR), "networkProfile.podCIDR")
    for reserved in await _spaces(admission):
        if pods.overlaps(reserved):
            raise ArmError(
                "NetworkProfileCIDROverlapVNET",
                f"NetworkProfile CIDR {pods} overlaps with reserved VNET CIDR {reserved}",
                target="networkProfile.podCIDR",
            )
    _apart(pods, service)
    need = sum(int(pool.get("count") or 1) + 1 for pool in names.pools(admission.body)) * BLOCK
    if need > pods.num_addresses:
        raise ArmError(
            "InsufficientSubnetSize",
            f"Pre-allocated IPs {need} exceeds IPs available {pods.num_addresses} in Subnet Cidr {pods}, Subnet Name "
            "networkProfile.podCIDR. If Autoscaler is enabled, the max-count from each nodepool is counted towards "
            "this total (which means that pre-allocated IPs count represents a theoretical max value, not the actual "
            "number of IPs requested). http://aka.ms/aks/insufficientsubnetsize",
            target="networkProfile.podCIDR",
        )
    profile["podCidrs"] = [str(pods)]


def _policy(admission: Admission, profile: Document) -> None:
    count = sum(int(pool.get("count") or 1) for pool in names.pools(admission.body))
    if profile["networkPolicy"] == "azure" and count > MOST_NODES_WITH_POLICY:
        raise ArmError(
            "InvalidNodeCountForNPM",
            f"Network policy azure is for clusters of at most {MOST_NODES_WITH_POLICY} nodes; there would be {count}.",
            target="networkProfile.networkPolicy",
        )


async def _subnets(admission: Admission) -> list[IPv4]:
    found = [
        await agent_pools.subnet_prefix(admission.reader, pool["vnetSubnetID"])
        for pool in names.pools(admission.body)
        if pool.get("vnetSubnetID")
    ]
    return found or [MANAGED_SUBNET]


async def _spaces(admission: Admission) -> list[IPv4]:
    """Address prefixes of the virtual networks that nodes are in."""
    found: dict[str, list[IPv4]] = {}
    for pool in names.pools(admission.body):
        if subnet := pool.get("vnetSubnetID"):
            network = await admission.reader.get(subnet.rsplit("/subnets/", 1)[0])
            space = network.properties.get("addressSpace", {}).get("addressPrefixes", []) if network else []
            found[subnet.lower()] = [IPv4(each) for each in space]
    return [each for spaces in found.values() for each in spaces] or [MANAGED_VNET]


def _cidr(text: Any, target: str) -> IPv4:
    try:
        return IPv4(text)
    except ValueError as e:
        raise ArmError("InvalidCidr", f"'{text}' is not a valid CIDR: {e}.", target=target) from None
