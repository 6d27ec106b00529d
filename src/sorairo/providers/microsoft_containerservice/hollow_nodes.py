"""Nodes of the hollow substrate: objects that say of a scale set's instance what its kubelet would, kept alive by KWOK.

https://kubernetes.io/docs/reference/node/node-status/
"""

from __future__ import annotations

import asyncio
import ipaddress
import uuid
from collections.abc import Sequence

from sorairo.drivers.kubernetes import Access, KubernetesApi, Object
from sorairo.engine.errors import Retry
from sorairo.engine.types import Context, Document, Resource
from sorairo.providers.microsoft_containerservice import bootstrap, kubenet, kwok
from sorairo.providers.microsoft_containerservice.names import pools
from sorairo.providers.microsoft_containerservice.observe import Node
from sorairo.providers.overlays import block_of

OS_IMAGE = "sorairo hollow node"


def node_object(
    cluster: Resource,
    pool: Document,
    instance: Resource,
    addresses: Sequence[str],
    cpus: int,
    memory_bytes: int,
    block: str | None = None,
) -> Object:
    """`addresses`: of the instance's NIC, the machine's own first, then its pods'; `block`: theirs, in an overlay."""
    name = instance.properties["osProfile"]["computerName"]
    zone = (instance.body.get("zones") or ["0"])[0]
    labels = {k: v.replace("{{ ds.meta_data.zone }}", zone) for k, v in bootstrap.node_labels(cluster, pool).items()}
    spec: Object = {"providerID": f"azure://{instance.id}", "taints": bootstrap.taints(pool)}
    # With kubenet the controller manager says which.
    if kubenet.pods(cluster) is None and (cidr := block or pod_cidr(addresses)) is not None:
        spec["podCIDR"], spec["podCIDRs"] = cidr, [cidr]
    identity = str(uuid.uuid5(uuid.NAMESPACE_URL, instance.key))
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {kwok.ANNOTATION: "fake"},
            "labels": {
                **labels,
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                # The controller manager would add these, with a request of its own for each node.
                "beta.kubernetes.io/os": "linux",
                "beta.kubernetes.io/arch": "amd64",
                "type": "kwok",
            },
        },
        "spec": spec,
        "status": {
            **_resources(pool, cpus, memory_bytes),
            "addresses": [
                {"type": "InternalIP", "address": addresses[0]},
                {"type": "Hostname", "address": name},
            ],
            "nodeInfo": {
                "architecture": "amd64",
                "operatingSystem": "linux",
                "osImage": OS_IMAGE,
                "kernelVersion": "none",
                "containerRuntimeVersion": "kwok://",
                "kubeletVersion": f"v{pool['currentOrchestratorVersion']}",
                "kubeProxyVersion": "",
                "machineID": identity.replace("-", ""),
                "systemUUID": identity,
                "bootID": identity,
            },
        },
    }


def _resources(pool: Document, cpus: int, memory_bytes: int) -> Object:
    """As the kubelet of an AKS node reckons: what the size has, less what is reserved and the eviction threshold."""
    disk = int(pool["osDiskSizeGB"]) * 2**30
    reserved = bootstrap.kube_reserved_memory(pool["maxPods"], memory_bytes) + 100
    common = {"pods": str(pool["maxPods"]), "hugepages-1Gi": "0", "hugepages-2Mi": "0"}
    return {
        "capacity": {
            **common,
            "cpu": str(cpus),
            "memory": f"{memory_bytes // 1024}Ki",
            "ephemeral-storage": f"{disk // 1024}Ki",
        },
        "allocatable": {
            **common,
            "cpu": f"{cpus * 1000 - bootstrap.kube_reserved_cpu(cpus)}m",
            "memory": f"{memory_bytes // 1024 - reserved * 1024}Ki",
            "ephemeral-storage": str(disk * 9 // 10),
        },
    }


def pod_cidr(addresses: Sequence[str]) -> str | None:
    """Where KWOK takes pods' addresses from, so that they are the NIC's: the prefix that begins with the machine's own
    address (KWOK leaves out the first). None if the addresses do not follow one another from where a prefix begins."""
    numbers = [int(ipaddress.IPv4Address(a)) for a in addresses]
    bits = (len(numbers) - 1).bit_length()
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))) or numbers[0] % (1 << bits):
        return None
    return f"{addresses[0]}/{32 - bits}"


async def ensure(
    api: KubernetesApi,
    at: Access,
    ctx: Context,
    cluster: Resource,
    nodes: tuple[Node, ...],
    sizes: dict[str, tuple[int, int]],
) -> None:
    """Create the Node objects that are missing."""
    listed = await api.get(at, "/api/v1/nodes", resourceVersion="0") or {"items": []}
    there = {n["metadata"]["name"] for n in listed["items"]}
    by_name = {p["name"]: p for p in pools(cluster)}
    missing: list[Object] = []
    for node in nodes:
        if node.name in there:
            continue
        instance = await ctx.get(node.instance)
        nic = await ctx.get(f"{node.instance}/networkInterfaces/{node.scale_set}")
        addresses = nic.private.get("addresses") if nic else None
        if instance is None or not addresses:
            raise Retry(0.1, f"waiting for the addresses of {node.name}")
        pool = by_name[node.pool]
        cpus, memory = sizes[pool["vmSize"].lower()]
        missing.append(node_object(cluster, pool, instance, addresses, cpus, memory, block_of(nic)))
        await asyncio.sleep(0)  # A thousand of these take as long as many requests do.
    await api.create_all(at, "/api/v1/nodes", missing)
