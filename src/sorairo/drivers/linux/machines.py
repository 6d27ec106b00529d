"""Machines on Linux, as root: processes in a network namespace and a control group, or whole nodes."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from sorairo.drivers import procs
from sorairo.drivers.home import Home, Record
from sorairo.drivers.linux import cgroups
from sorairo.drivers.linux.cgroups import Cgroup
from sorairo.drivers.protocols import DriverError, Machine
from sorairo.drivers.supervised import SupervisedMachines
from sorairo.drivers.supervisor import runsvdir_argv

NAMESPACES = Path("/run/sorairo/netns")
"""Where Links binds the network namespaces it makes, by name."""


class LinuxMachines(SupervisedMachines):
    """`protocols.Machines` with either isolation."""

    def _walls(self, spec: Machine) -> tuple[object, ...]:
        return (spec.hostname, spec.cpus, spec.memory_bytes)

    def _raise_walls(self, home: Home, spec: Machine) -> None:
        if spec.namespace is not None and not (NAMESPACES / spec.namespace).exists():
            raise DriverError(f"no network namespace {spec.namespace}")
        self._cgroup(home).make(delegate=False)

    def _launch_script(self, home: Home, spec: Machine) -> str:
        supervisor = shlex.join((*_nsenter(spec), *runsvdir_argv(str(home.services))))
        return (
            f"exec 3<&0 </dev/null\n"
            f"set -e\n"
            f"{self._cgroup(home).entrance()}"
            f"ulimit -n 1048576 2>/dev/null || ulimit -n $(ulimit -H -n)\n"
            f"{supervisor} 3<&- >/dev/null &\n"
        )

    def _fall_walls(self, home: Home, record: Record) -> None:
        self._cgroup(home).remove()

    def _left(self, home: Home) -> bool:
        return any(folder.exists() for folder in self._cgroup(home).folders())

    def _all_pids(self) -> dict[str, set[int]]:
        return cgroups.machines(self.mark) if cgroups.version() else procs.owned(self.mark)

    def _pids(self, machine_id: str) -> set[int]:
        return Cgroup(self.mark, machine_id).pids() if cgroups.version() else super()._pids(machine_id)

    def _inside(self, record: Record | Machine, home: Home) -> Callable[[Path], str]:
        return str

    def _enter(self, home: Home, record: Record, supervisor: int, argv: tuple[str, ...]) -> tuple[str, ...]:
        script = f'{self._cgroup(home).entrance()}exec "$@"'
        return ("/bin/sh", "-ec", script, "run", *_nsenter(record), *argv)

    def _cgroup(self, home: Home) -> Cgroup:
        return Cgroup(self.mark, home.id)


def _nsenter(machine: Machine | Record) -> tuple[str, ...]:
    """Not `ip netns exec`, which remounts /sys and so hides the control groups."""
    return ("nsenter", f"--net={NAMESPACES / machine.namespace}") if machine.namespace else ()
