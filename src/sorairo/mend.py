"""Drift that nobody asked about: a machine that is down is looked at again, as Azure heals a failed host.

Services that end are restarted by their supervisor; this is for machines that have lost even that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from sorairo.drivers.naming import Names
from sorairo.drivers.protocols import Machines
from sorairo.engine.control import Control
from sorairo.engine.ids import host_name

log = structlog.get_logger(__name__)

EVERY = 5.0
"""Seconds between looks: one reading of the process table each."""
MADE_OF_MACHINES = (
    "Microsoft.ContainerService/managedClusters",
    "Microsoft.Compute/virtualMachineScaleSets/virtualMachines",
    "Microsoft.Compute/virtualMachines",
)


async def mend(control: Control, machines: Iterable[Machines], names: Names | None) -> None:
    """Wake the reconcilers of resources whose machine is missing or has no process, and of those whose names are not
    told; for as long as it runs."""
    kinds = list({id(m): m for m in machines}.values())
    suspects: set[str] = set()
    while True:
        await asyncio.sleep(EVERY)
        try:
            down = await _down(control, kinds)
            down |= {owner.lower() for owner in (await names.observe_names()).partial.values()} if names else set()
        except Exception:
            log.exception("could not look at the machines")
            continue
        for key in down & suspects:  # Twice in a row: not one that is just being started.
            log.warning("a machine is down", resource=key)
            control.loop.wake(key, drift=True)
        suspects = down - suspects


async def _down(control: Control, kinds: list[Machines]) -> set[str]:
    running: set[str] = set()
    for machines in kinds:
        for id, state in (await machines.observe_machines()).items():
            if not state.processes or any(p.pid for p in state.processes):
                running.add(id)
    down = [
        control.store.get(key)
        for type in MADE_OF_MACHINES
        for key in control.store.keys(type=type)
        if host_name(key) not in running
    ]
    return {
        r.key
        for r in down
        if r
        and r.settled
        and r.provisioning_state == "Succeeded"
        and not r.private.get("stopped")
        and not r.private.get("deallocated")
    }
