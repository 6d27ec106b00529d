"""Microsoft.Compute: machines."""

from __future__ import annotations

from typing import Any

from sorairo.drivers.protocols import Machines
from sorairo.engine.types import Provider
from sorairo.providers.microsoft_compute import run_command, views
from sorairo.providers.microsoft_compute.instances import InstanceReconciler, instances
from sorairo.providers.microsoft_compute.run_command import Commands
from sorairo.providers.microsoft_compute.scale_sets import ScaleSetReconciler, scale_sets
from sorairo.providers.microsoft_compute.sizes import SIZES
from sorairo.providers.principals import Principals


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


async def _none(**_: Any) -> Any:
    """Machines by themselves: there are none yet, and who asks is told so."""
    return {"value": []}


def provider(machines: Machines, principals: Principals) -> Provider:
    return Provider(
        "Microsoft.Compute",
        (scale_sets(ScaleSetReconciler(principals)), instances(InstanceReconciler(machines), Commands(machines))),
        depends_on=("Microsoft.Network",),
        routes=(
            ("GET", "locations/{location}/vmSizes", list_sizes),
            ("GET", "virtualMachines", _none),
            *run_command.ROUTES,
            *views.ROUTES,
        ),
    )
