"""Labels and taints of a pool, kept on its nodes: on those that are there as well as on new ones.

https://learn.microsoft.com/azure/aks/use-labels and https://learn.microsoft.com/azure/aks/use-node-taints
A node registers with its pool's; what changes later, or is changed by hand, is put right on the Node object.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from sorairo.drivers.kubernetes import Access, KubernetesApi
from sorairo.engine.errors import ArmError, Retry
from sorairo.engine.types import Document, Resource
from sorairo.providers.microsoft_containerservice import bootstrap
from sorairo.providers.microsoft_containerservice.names import pools

FORMER = "formerSettings"
"""In a cluster's `private`, by pool: labels and taints that its nodes may still have and must lose."""
_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_PREFIX = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
KEY = re.compile(rf"(?P<prefix>(?=.{{1,253}}/){_PREFIX}/)?{_NAME}")
VALUE = re.compile(rf"({_NAME})?")
TAINT = re.compile(r"(?P<key>[^=:]+)(=(?P<value>[^=:]*))?:(?P<effect>NoSchedule|PreferNoSchedule|NoExecute)")
PARALLEL = 16
RESERVED = re.compile(r"(.*\.)?(kubernetes\.io|k8s\.io|kubernetes\.azure\.com)/")


def check(pool: Document) -> None:
    """Raises ArmError for what no node could register with."""
    for key, value in (pool.get("nodeLabels") or {}).items():
        if not KEY.fullmatch(key) or not VALUE.fullmatch(str(value)):
            raise _invalid("nodeLabels", f"'{key}={value}' is not a label that Kubernetes takes")
        if RESERVED.match(key):
            raise _invalid("nodeLabels", f"the prefix of '{key}' is reserved for use by AKS and Kubernetes")
    for text in pool.get("nodeTaints") or []:
        taint = TAINT.fullmatch(text)
        if taint is None or not KEY.fullmatch(taint["key"]) or not VALUE.fullmatch(taint["value"] or ""):
            raise _invalid(
                "nodeTaints", f"Taint '{text}' must be key=value:effect, and the effect NoSchedule, PreferNoSchedule "
                "or NoExecute",
            )  # fmt: skip


def _invalid(parameter: str, details: str) -> ArmError:
    return ArmError(
        "InvalidParameter",
        f"The value of parameter agentPoolProfile.{parameter} is invalid. Error details: {details}. Please see "
        "https://aka.ms/aks/labels for more details.",
        target=f"agentPoolProfile.{parameter}",
    )


def former(existing: Resource, wanted: list[Document]) -> Document:
    """What `private[FORMER]` becomes when pools change from what is stored to `wanted`."""
    before: Document = existing.private.get(FORMER) or {}
    old = {p["name"]: p for p in pools(existing)}
    found = {}
    for pool in wanted:
        name = pool["name"]
        was = before.get(name) or {}
        gone = {}
        for kind, key in (("labels", "nodeLabels"), ("taints", "nodeTaints")):
            gone[kind] = sorted({*was.get(kind, ()), *(old.get(name, {}).get(key) or ())} - {*(pool.get(key) or ())})
        if any(gone.values()):
            found[name] = gone
    return found


async def apply(api: KubernetesApi, at: Access, cluster: Resource, pool_of: Mapping[str, str]) -> None:
    """Put every Node right. `pool_of`: pools' names by nodes'."""
    by_name = {p["name"]: p for p in pools(cluster)}
    slots = asyncio.Semaphore(PARALLEL)

    async def one(node: Document) -> bool:
        name = node["metadata"]["name"]
        pool = by_name.get(pool_of.get(name, ""))
        change = patch(cluster, pool, node) if pool else None
        if change is None:
            return True
        async with slots:
            return await api.merge(at, f"/api/v1/nodes/{name}", change)

    listed = await api.get(at, "/api/v1/nodes") or {"items": []}
    if not all(await asyncio.gather(*(one(n) for n in listed["items"]))):
        raise Retry(0.1, "nodes are changing")


def patch(cluster: Resource, pool: Document, node: Document) -> Document | None:
    """The merge patch that puts a Node right; None when it is. It fails if the node has changed since it was read."""
    gone = (cluster.private.get(FORMER) or {}).get(pool["name"]) or {}
    have = node["metadata"].get("labels") or {}
    # What differs from node to node (its zone) is the node's own to say.
    wanted: dict[str, Any] = {k: v for k, v in bootstrap.node_labels(cluster, pool).items() if "{{" not in v}
    wanted |= {key: None for key in gone.get("labels", ()) if key in have}
    labels = {k: v for k, v in wanted.items() if have.get(k) != v}
    taints = _taints(pool, gone, node["spec"].get("taints") or [])
    if not labels and taints is None:
        return None
    found: Document = {"metadata": {"resourceVersion": node["metadata"]["resourceVersion"]}}
    if labels:
        found["metadata"]["labels"] = labels
    if taints is not None:
        found["spec"] = {"taints": taints}
    return found


def _taints(pool: Document, gone: Document, have: list[Document]) -> list[Document] | None:
    """All taints a node should have: the pool's, and those that others (the node controller) gave it."""
    wanted = {_id(t): t for t in bootstrap.taints(pool)}
    former = {_id(t) for t in bootstrap.taints({"nodeTaints": gone.get("taints", [])})} - wanted.keys()
    others = [t for t in have if _id(t) not in wanted and _id(t) not in former]
    there = {_id(t): t.get("value", "") for t in have}
    if not former & there.keys() and all(there.get(i) == t["value"] for i, t in wanted.items()):
        return None
    return [*others, *wanted.values()]


def _id(taint: Document) -> tuple[str, str]:
    """Two taints with the same key and effect cannot be."""
    return taint["key"], taint["effect"]
