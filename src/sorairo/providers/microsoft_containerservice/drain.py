"""Empty a node before it goes: cordon it, then evict its pods, as `kubectl drain --ignore-daemonsets` does.

https://kubernetes.io/docs/tasks/administer-cluster/safely-drain-node/
"""

from __future__ import annotations

import asyncio
import json
import time

from sorairo.drivers.kubernetes import Access, KubernetesApi, Object
from sorairo.drivers.protocols import DriverError
from sorairo.engine.errors import ArmError

SECONDS = 120.0
"""How long a disruption budget may hold a node back before the operation fails and says which pod it was."""


async def drain(api: KubernetesApi, at: Access, node: str) -> None:
    """Idempotent; a node that is not there is empty. Raises ArmError `PodDrainFailure`."""
    if await api.get(at, f"/api/v1/nodes/{node}") is None:
        return
    await _cordon(api, at, node)
    deadline = time.monotonic() + SECONDS
    refused = ""
    while pods := await _to_evict(api, at, node):
        for pod in pods:
            if "deletionTimestamp" not in pod["metadata"]:
                refused = await _evict(api, at, pod) or refused
        if time.monotonic() > deadline:
            name = f"{pods[0]['metadata']['namespace']}/{pods[0]['metadata']['name']}"
            raise ArmError(
                "PodDrainFailure",
                f"Drain of node {node} did not complete within {SECONDS:.0f} s: pod {name} is still there. "
                f"{refused or 'It has been asked to end and has not.'} See https://aka.ms/aks/debugdrainfailures",
                status=409,
                target=node,
            )
        await asyncio.sleep(0.1)  # Between looks; evictions are refused for as long as a budget says so.


async def end_pods(api: KubernetesApi, at: Access, node: str) -> None:
    """Of a node whose machine has gone: its pods have ended, too. Until the garbage collector finds that out, a minute
    later, they would count as running, and nothing take their place. Before the node goes: afterwards KWOK does not
    take addresses back."""
    await _cordon(api, at, node)
    listed = await api.get(at, "/api/v1/pods", fieldSelector=f"spec.nodeName={node}") or {"items": []}
    for pod in listed["items"]:
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        response = await api.request(at, "DELETE", path, params={"gracePeriodSeconds": "0"})
        if response.status_code not in (200, 202, 404):
            raise DriverError(f"{path}: {response.text}")


async def _cordon(api: KubernetesApi, at: Access, node: str) -> None:
    response = await api.request(
        at,
        "PATCH",
        f"/api/v1/nodes/{node}",
        content=json.dumps({"spec": {"unschedulable": True}}),
        headers={"Content-Type": "application/merge-patch+json"},
    )
    if response.status_code not in (200, 404):
        raise DriverError(f"cordon {node}: {response.text}")


async def _to_evict(api: KubernetesApi, at: Access, node: str) -> list[Object]:
    listed = await api.get(at, "/api/v1/pods", fieldSelector=f"spec.nodeName={node}") or {"items": []}
    return [p for p in listed["items"] if _evictable(p)]


def _evictable(pod: Object) -> bool:
    """Not what a daemon set or the kubelet itself keeps, and not what has ended (and is not just being taken away)."""
    owners = {o["kind"] for o in pod["metadata"].get("ownerReferences", [])}
    mirrored = "kubernetes.io/config.mirror" in pod["metadata"].get("annotations", {})
    ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return "DaemonSet" not in owners and not mirrored and (not ended or "deletionTimestamp" in pod["metadata"])


async def _evict(api: KubernetesApi, at: Access, pod: Object) -> str:
    """What the API server said against it, if anything."""
    meta = pod["metadata"]
    response = await api.request(
        at,
        "POST",
        f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/eviction",
        json={
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
        },
    )
    if response.status_code in (200, 201, 404):
        return ""
    if response.status_code == 429:
        return str(response.json().get("message", "refused"))
    raise DriverError(f"eviction of {meta['namespace']}/{meta['name']}: {response.text}")
