"""Machines without root: groups of supervised processes on the host's own network and file system.

For the hollow substrate, where a cluster is a real control plane with made-up nodes. Nothing walls the machines off
from one another, so two of them must not ask for the same port. Works wherever runit does.
"""

from __future__ import annotations

import shlex

from sorairo.drivers import procs
from sorairo.drivers.home import Home, Record
from sorairo.drivers.protocols import DriverError, Machine
from sorairo.drivers.supervised import SupervisedMachines
from sorairo.drivers.supervisor import runsvdir_argv


class ProcessMachines(SupervisedMachines):
    """`protocols.Machines` for `isolation="process"`, any user. Raises DriverError for a node or a namespace."""

    def _walls(self, spec: Machine) -> tuple[object, ...]:
        return ()

    def _raise_walls(self, home: Home, spec: Machine) -> None:
        if spec.isolation != "process":
            raise DriverError("a node needs root and Linux: this host makes processes only")
        if spec.namespace is not None:
            raise DriverError("a network namespace needs root and Linux: this host makes processes only")

    def _launch_script(self, home: Home, spec: Machine) -> str:
        supervisor = shlex.join(runsvdir_argv(str(home.services)))
        return f"umask 022\nexec 3<&0 </dev/null\n{supervisor} 3<&- >/dev/null 2>&1 &\n"

    def _fall_walls(self, home: Home, record: Record) -> None:
        return

    def _all_pids(self) -> dict[str, set[int]]:
        return procs.owned(self.mark)

    def _enter(self, home: Home, record: Record, supervisor: int, argv: tuple[str, ...]) -> tuple[str, ...]:
        return argv
