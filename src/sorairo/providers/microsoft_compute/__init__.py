"""Microsoft.Compute: machines."""

from __future__ import annotations

from sorairo.drivers.protocols import Machines
from sorairo.engine.types import Provider
from sorairo.providers.capacity import Capacity
from sorairo.providers.microsoft_compute import images, run_command, views
from sorairo.providers.microsoft_compute.instances import InstanceReconciler, instances
from sorairo.providers.microsoft_compute.machine_admission import MachineAdmission
from sorairo.providers.microsoft_compute.run_command import Commands
from sorairo.providers.microsoft_compute.scale_sets import ScaleSetReconciler, scale_sets
from sorairo.providers.microsoft_compute.virtual_machines import MachineReconciler, virtual_machines
from sorairo.providers.principals import Principals


def provider(machines: Machines, principals: Principals, capacity: Capacity) -> Provider:
    commands = Commands(machines)
    return Provider(
        "Microsoft.Compute",
        (
            scale_sets(ScaleSetReconciler(principals)),
            instances(InstanceReconciler(machines), commands),
            virtual_machines(MachineReconciler(machines, principals), MachineAdmission(capacity), commands),
        ),
        depends_on=("Microsoft.Network",),
        routes=(*run_command.ROUTES, *views.ROUTES, *images.ROUTES),
    )
