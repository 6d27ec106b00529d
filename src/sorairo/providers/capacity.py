"""How much memory may be promised to machines: clusters' nodes and virtual machines share what this host has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Reader, Resource

CLUSTER = "Microsoft.ContainerService/managedClusters"
VIRTUAL_MACHINE = "Microsoft.Compute/virtualMachines"
Sizes = Mapping[str, tuple[int, int]]
"""Of virtual machine sizes, (CPUs, bytes of memory) by lower-case name."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What this machine can carry. `memory_bytes` None: machines are hollow and cost next to nothing."""

    memory_bytes: int | None
    overcommit: float = 4.0
    """Sum of machines' memory over the host's: a VM's memory is a limit, and an idle one uses little of it."""
    nodes: int = 1000
    upstream: bool = False
    """Upstream's cloud controller manager is installed."""

    async def check(
        self, reader: Reader, sizes: Sizes, resource: str, before: Resource | None, after: Resource, target: str
    ) -> None:
        """Raises ArmError `AllocationFailed` when a resource (by key) asks for more than before, and that is more than
        there is."""
        if self.memory_bytes is None:
            return
        mine = promised(after, sizes)
        if mine <= (promised(before, sizes) if before else 0):
            return
        others = [each for type in (CLUSTER, VIRTUAL_MACHINE) for each in await reader.list(type=type)]
        taken = sum(promised(each, sizes) for each in others if each.key != resource)
        limit = int(self.memory_bytes * self.overcommit)
        if mine + taken > limit:
            raise ArmError(
                "AllocationFailed",
                f"We do not have sufficient capacity for the requested VM sizes: nodes and virtual machines would have "
                f"{(mine + taken) / 2**30:.0f} GiB of memory, and this machine's {self.memory_bytes / 2**30:.0f} GiB "
                f"may be promised {self.overcommit:g} times ({limit / 2**30:.0f} GiB; {taken / 2**30:.0f} GiB is). "
                "Choose fewer nodes or a smaller VM size, or delete a cluster or a virtual machine; "
                "SORAIRO_MEMORY_OVERCOMMIT changes the factor.",
                status=409,
                target=target,
            )


def promised(resource: Resource, sizes: Sizes) -> int:
    """Bytes of memory of a cluster's nodes, or of a virtual machine. One that is deallocated has it promised, too."""
    if resource.rid.type.lower() == VIRTUAL_MACHINE.lower():
        return sizes[str(resource.properties["hardwareProfile"]["vmSize"]).lower()][1]
    pools = resource.properties.get("agentPoolProfiles") or []
    return sum(pool["count"] * sizes[pool["vmSize"].lower()][1] for pool in pools)
