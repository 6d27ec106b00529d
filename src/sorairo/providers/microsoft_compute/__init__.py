"""Microsoft.Compute: machines."""

from __future__ import annotations

from typing import Any

from sorairo.drivers.protocols import Machines
from sorairo.engine.types import Provider
from sorairo.providers.microsoft_compute import views
from sorairo.providers.microsoft_compute.instances import InstanceReconciler, instances
from sorairo.providers.microsoft_compute.scale_sets import SCALE_SETS
from sorairo.providers.microsoft_compute.sizes import SIZES


async def list_sizes(**_: Any) -> Any:
    """`az vm list-sizes`."""
    return {
        "value": [
            {
                "name": s.name,
                "numberOfCores": s.cpus,
                "memoryInMB": int(s.memory_gib * 1024),
                "maxDataDiskCount": s.data_disks,
                "osDiskSizeInMB": 1047552,
                "resourceDiskSizeInMB": 0,
            }
            for s in SIZES.values()
        ]
    }


def provider(machines: Machines) -> Provider:
    return Provider(
        "Microsoft.Compute",
        (SCALE_SETS, instances(InstanceReconciler(machines))),
        depends_on=("Microsoft.Network",),
        routes=(("GET", "locations/{location}/vmSizes", list_sizes), *views.ROUTES),
    )
