"""Nodes of the hollow substrate: objects that KWOK keeps alive, hundreds a second.

https://kwok.sigs.k8s.io/docs/user/kwok-manage-nodes-and-pods/
"""

from __future__ import annotations

import asyncio

from sorairo.drivers.kubernetes import Access, KubernetesApi, Object
from sorairo.drivers.protocols import DriverError
from sorairo.engine.types import Resource
from sorairo.providers.microsoft_containerservice import bootstrap
from sorairo.providers.microsoft_containerservice.names import pools
from sorairo.providers.microsoft_containerservice.observe import Node

PARALLEL = 32


def node_object(cluster: Resource, node: Node, cpus: int, memory_bytes: int) -> Object:
    pool = next(p for p in pools(cluster) if p["name"] == node.pool)
    capacity = {"cpu": str(cpus), "memory": str(memory_bytes), "pods": str(pool["maxPods"])}
    labels = {k: v for k, v in bootstrap.node_labels(cluster, pool).items() if "{{" not in v}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.name,
            "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
            "labels": {
                **labels,
                "kubernetes.io/hostname": node.name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "type": "kwok",
            },
        },
        "spec": {
            "providerID": f"azure://{node.instance}",
            "taints": bootstrap.taints(pool),
        },
        "status": {"allocatable": capacity, "capacity": capacity},
    }


async def ensure(
    api: KubernetesApi,
    at: Access,
    cluster: Resource,
    nodes: tuple[Node, ...],
    sizes: dict[str, tuple[int, int]],
) -> None:
    """Create the Node objects that are missing, `PARALLEL` at a time."""
    listed = await api.get(at, "/api/v1/nodes", resourceVersion="0") or {"items": []}
    there = {n["metadata"]["name"] for n in listed["items"]}
    slots = asyncio.Semaphore(PARALLEL)

    async def create(node: Node) -> None:
        async with slots:
            cpus, memory = sizes[next(p["vmSize"] for p in pools(cluster) if p["name"] == node.pool).lower()]
            response = await api.request(at, "POST", "/api/v1/nodes", json=node_object(cluster, node, cpus, memory))
            if response.status_code not in (201, 409):
                raise DriverError(f"node {node.name}: {response.text}")

    async with asyncio.TaskGroup() as group:
        for node in nodes:
            if node.name not in there:
                group.create_task(create(node))
