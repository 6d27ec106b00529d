"""What a cluster and its pools could be upgraded to: `az aks get-upgrades`, `az aks nodepool get-upgrades`.

https://learn.microsoft.com/rest/api/aks/managed-clusters/get-upgrade-profile
"""

from __future__ import annotations

from typing import Any

from sorairo.engine.errors import not_found
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Document, Reader, Resource
from sorairo.providers.microsoft_containerservice.names import NODE_IMAGE, pools
from sorairo.providers.microsoft_containerservice.versions import installed, later_than

_CLUSTERS = "Microsoft.ContainerService/managedClusters"


async def cluster_and_pool(reader: Reader, id: str) -> tuple[Resource, Document]:
    """The cluster a pool's id belongs to, and the pool; `{}` for a cluster's own id. Raises ArmError 404."""
    rid = parse_id(id)
    is_pool = rid.type.lower() == f"{_CLUSTERS}/agentPools".lower()
    cluster = await reader.get(rid.parent if is_pool else rid.text)
    if cluster is None:
        raise not_found(rid.parent if is_pool else rid.text)
    if not is_pool:
        return cluster, {}
    pool = next((p for p in pools(cluster) if p["name"].lower() == rid.name.lower()), None)
    if pool is None:
        raise not_found(rid.text)
    return cluster, pool


def _upgrades(version: str) -> list[Document]:
    return [{"kubernetesVersion": v, "isPreview": False} for v in later_than(version)]


async def of_cluster(*, scope: str, reader: Reader, **_: Any) -> Document:
    cluster, _pool = await cluster_and_pool(reader, parse_id(scope).parent)
    version = cluster.properties["currentKubernetesVersion"]
    return _document(
        scope,
        {
            "controlPlaneProfile": {"kubernetesVersion": version, "osType": "Linux", "upgrades": _upgrades(version)},
            "agentPoolProfiles": [
                {
                    "name": p["name"],
                    "kubernetesVersion": p["currentOrchestratorVersion"],
                    "osType": p["osType"],
                    "upgrades": _upgrades(p["currentOrchestratorVersion"]),
                }
                for p in pools(cluster)
            ],
        },
    )


async def of_pool(*, scope: str, reader: Reader, **_: Any) -> Document:
    """A pool is never newer than its control plane."""
    cluster, pool = await cluster_and_pool(reader, parse_id(scope).parent)
    allowed = {cluster.properties["currentKubernetesVersion"], *later_than(pool["currentOrchestratorVersion"])}
    allowed -= {pool["currentOrchestratorVersion"], *later_than(cluster.properties["currentKubernetesVersion"])}
    return _document(
        scope,
        {
            "kubernetesVersion": pool["currentOrchestratorVersion"],
            "osType": pool["osType"],
            "upgrades": [{"kubernetesVersion": v, "isPreview": False} for v in sorted(allowed)],
            "latestNodeImageVersion": NODE_IMAGE,
        },
    )


async def pool_versions(*, scope: str, reader: Reader, **_: Any) -> Document:
    """What a new pool may be: the control plane's version, and those before it.

    https://learn.microsoft.com/rest/api/aks/agent-pools/get-available-agent-pool-versions"""
    cluster, _pool = await cluster_and_pool(reader, scope)
    current = cluster.properties["currentKubernetesVersion"]
    newer = later_than(current)
    return _document(
        f"{scope}/availableAgentPoolVersions/default",
        {
            "agentPoolVersions": [
                {"kubernetesVersion": v, "default": v == current, "isPreview": False}
                for v in installed().values()
                if v not in newer
            ]
        },
    )


def _document(id: str, properties: Document) -> Document:
    rid = parse_id(id)
    return {"id": rid.text, "name": rid.name, "type": rid.type, "properties": properties}


ROUTES = (
    ("GET", "managedClusters/{cluster}/upgradeProfiles/default", of_cluster),
    ("GET", "managedClusters/{cluster}/agentPools/{pool}/upgradeProfiles/default", of_pool),
    ("GET", "managedClusters/{cluster}/availableAgentPoolVersions", pool_versions),
)
