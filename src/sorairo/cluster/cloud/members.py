"""Who is in the load balancers' backend pools: the primary IP configuration of each node's NIC.

As with AKS's pools of type `nodeIPConfiguration`: a scale set's model names the pools that its new instances join,
and each instance says for itself. Nodes labelled `node.kubernetes.io/exclude-from-external-load-balancers` are in none.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Collection, Mapping
from typing import Any

from sorairo.cluster.azure_json import CloudConfig
from sorairo.cluster.cloud import names
from sorairo.cluster.cloud.arm import COMPUTE, Arm, ArmFailure

Document = dict[str, Any]

SCALE_SETS = "Microsoft.Compute/virtualMachineScaleSets"
AT_ONCE = 8


class Members:
    def __init__(self, config: CloudConfig, arm: Arm, nodes: Callable[[], Mapping[str, bool]]) -> None:
        """`nodes`: of each by name, whether load balancers may use it."""
        self._config = config
        self._arm = arm
        self._nodes = nodes
        self._limit = asyncio.Semaphore(AT_ONCE)
        self._known: tuple[frozenset[str], frozenset[str]] | None = None
        """What was right last: load balancers, and the nodes kept out of them."""

    async def join(self, balancers: Collection[str], *, thorough: bool) -> None:
        """Let each node be in the pool of each of these load balancers (ids), or in none if it is excluded.
        `thorough`: look even if nothing speaks for a difference."""
        nodes = self._nodes()
        excluded = frozenset(name for name, usable in nodes.items() if not usable)
        now = (frozenset(b.lower() for b in balancers), excluded)
        usual = all(b.endswith(f"/{names.PUBLIC}") for b in now[0]) and not excluded and self._known is None
        # What scale sets are made with has their instances in the public one.
        if now == self._known or not balancers or (usual and not thorough):
            self._known = now
            return
        self._known = None
        pools = [_pool(b) for b in balancers]
        await self._set(pools, lambda name: pools if name not in excluded else [])
        self._known = now

    async def leave(self, balancer: str) -> None:
        """Take all nodes out of a load balancer, which is about to go."""
        self._known = None
        await self._set([_pool(balancer)], lambda name: [])

    async def _set(self, pools: list[str], of: Callable[[str], list[str]]) -> None:
        """Let each instance be in just those of `pools` that `of` its host name gives; the models in those for ''."""
        path = self._config.id(SCALE_SETS, "").rstrip("/")
        for scale_set in await self._arm.list(path, COMPUTE):
            profile = scale_set["properties"]["virtualMachineProfile"].get("networkProfile") or {}
            model = _with(profile, pools, of(""))
            if model != profile:
                patch = {"properties": {"virtualMachineProfile": {"networkProfile": model}}}
                await self._arm.patch(scale_set["id"], patch, COMPUTE)
            instances = await self._arm.list(f"{scale_set['id']}/virtualMachines", COMPUTE)
            await asyncio.gather(*(self._instance(i, pools, of) for i in instances))

    async def _instance(self, instance: Document, pools: list[str], of: Callable[[str], list[str]]) -> None:
        properties = instance["properties"]
        profile = properties.get("networkProfileConfiguration") or {}
        wanted = _with(profile, pools, of(str(properties.get("osProfile", {}).get("computerName", ""))))
        if wanted == profile:
            return
        body = {"location": instance["location"], "properties": {"networkProfileConfiguration": wanted}}
        async with self._limit:
            try:
                await self._arm.put(_id(instance), body, COMPUTE, read=False)
            except ArmFailure as e:
                # It is going, or has gone.
                if e.status != 404 and await self._arm.get(_id(instance), COMPUTE) is not None:
                    raise


def _pool(balancer: str) -> str:
    return f"{balancer}/backendAddressPools/{names.POOL}"


def _id(instance: Document) -> str:
    return str(instance["id"])


def _with(profile: Document, pools: list[str], wanted: list[str]) -> Document:
    """A network profile whose primary IP configuration is in just those of `pools` that are wanted, and in others as
    before. The same object when it is so already."""
    nics = profile.get("networkInterfaceConfigurations") or []
    at = next((n for n, nic in enumerate(nics) if _primary(nic)), 0 if nics else None)
    if at is None:
        return profile
    ips = nics[at]["properties"].get("ipConfigurations") or []
    ip = next((n for n, c in enumerate(ips) if _primary(c)), 0 if ips else None)
    if ip is None:
        return profile
    there = ips[ip]["properties"].get("loadBalancerBackendAddressPools") or []
    ours = {p.lower() for p in pools}
    should = {p.lower(): p for p in wanted}
    kept = [r for r in there if r["id"].lower() not in ours or r["id"].lower() in should]
    missing = [p for k, p in should.items() if k not in {r["id"].lower() for r in there}]
    if len(kept) == len(there) and not missing:
        return profile
    result = copy.deepcopy(profile)
    result["networkInterfaceConfigurations"][at]["properties"]["ipConfigurations"][ip]["properties"][
        "loadBalancerBackendAddressPools"
    ] = [*kept, *({"id": p} for p in missing)]
    return result


def _primary(item: Document) -> bool:
    return bool(item["properties"].get("primary"))
