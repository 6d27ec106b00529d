"""Machines on Linux, as root: processes in a network namespace and a control group, or whole nodes."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from sorairo.drivers import procs
from sorairo.drivers.home import Home, Record
from sorairo.drivers.linux import cgroups
from sorairo.drivers.linux.cgroups import Cgroup
from sorairo.drivers.linux.images import ImageStores
from sorairo.drivers.linux.rootfs import LOGS, PATH, SERVICES, NodeRoot
from sorairo.drivers.protocols import DriverError, Machine
from sorairo.drivers.supervised import SupervisedMachines
from sorairo.drivers.supervisor import runsvdir_argv

NAMESPACES = Path("/run/sorairo/netns")
"""Where Links binds the network namespaces it makes, by name, unless told otherwise."""


class LinuxMachines(SupervisedMachines):
    """`protocols.Machines` with either isolation. `images`: the archive that each name in `Machine.images` means;
    `authority`: a certificate that nodes trust besides those that the host trusts."""

    def __init__(
        self,
        state: Path,
        engine: Mapping[str, Path],
        images: Mapping[str, Path] | None = None,
        *,
        namespaces: Path = NAMESPACES,
        authority: Path | None = None,
    ) -> None:
        super().__init__(state, engine)
        self._authority = authority
        self._namespaces = namespaces
        programs = self.engine.get("bin", Path("/usr/bin"))
        self._images = ImageStores(self.state / "images", dict(images or {}), programs)

    async def prepare_images(self, names: tuple[str, ...]) -> None:
        """Build the image store that nodes with these `Machine.images` start from, if it has not been built."""
        await self._thread(self._images.golden, names)

    def _walls(self, spec: Machine) -> tuple[object, ...]:
        return (spec.hostname, spec.cpus, spec.memory_bytes)

    def _raise_walls(self, home: Home, spec: Machine) -> None:
        if spec.namespace is not None and not (self._namespaces / spec.namespace).exists():
            raise DriverError(f"no network namespace {spec.namespace}")
        if spec.isolation == "process":
            self._cgroup(home).make(delegate=False)
            return
        self._cgroup(home).make(delegate=True, cpus=spec.cpus, memory_bytes=spec.memory_bytes)
        self._node(home, spec).prepare()
        self._images.lay(spec.images, home.root / "var/lib/containerd")

    def _node(self, home: Home, spec: Machine) -> NodeRoot:
        return NodeRoot(home, spec, self.engine, self._authority)

    def _launch_script(self, home: Home, spec: Machine) -> str:
        if spec.isolation == "node":
            return self._node(home, spec).launch_script(self._cgroup(home).entrance(), self._nsenter(spec))
        supervisor = shlex.join((*self._nsenter(spec), *runsvdir_argv(str(home.services))))
        return (
            f"umask 022\nexec 3<&0 </dev/null\n"
            f"set -e\n"
            f"{self._cgroup(home).entrance()}"
            f'ulimit -n 1048576 2>/dev/null || ulimit -n "$(ulimit -H -n)"\n'
            f"{supervisor} 3<&- >/dev/null &\n"
        )

    def _fall_walls(self, home: Home, record: Record) -> None:
        self._cgroup(home).remove()
        _unmount_below(home.folder)

    def _left(self, home: Home) -> bool:
        return any(folder.exists() for folder in self._cgroup(home).folders())

    def _all_pids(self) -> dict[str, set[int]]:
        return cgroups.machines(self.mark) if cgroups.version() else procs.owned(self.mark)

    def _pids(self, machine_id: str) -> set[int]:
        return Cgroup(self.mark, machine_id).pids() if cgroups.version() else super()._pids(machine_id)

    def _supervisor(self, home: Home) -> int | None:
        record = home.load()
        if record is None or record.isolation != "node":
            return super()._supervisor(home)
        wanted = list(runsvdir_argv(SERVICES))
        own = self._cgroup(home).own_pids()
        return next((pid for pid in own if procs.command(pid) == wanted and procs.namespace_pid(pid) == 1), None)

    def _host_pids(self, record: Record, pids: set[int]) -> dict[int, int]:
        if record.isolation != "node":
            return super()._host_pids(record, pids)
        own = Cgroup(self.mark, record.id).own_pids()
        return {inside: pid for pid in own if (inside := procs.namespace_pid(pid)) is not None}

    def _inside(self, record: Record | Machine, home: Home) -> Callable[[Path], str]:
        if record.isolation != "node":
            return str
        places = {home.services: SERVICES, home.logs: LOGS}

        def inside(path: Path) -> str:
            for host, place in places.items():
                if path == host or host in path.parents:
                    return str(Path(place) / path.relative_to(host))
            raise DriverError(f"{path} is not seen inside the node")

        return inside

    def _working_folder(self, record: Record | Machine, home: Home) -> str:
        return "/" if record.isolation == "node" else super()._working_folder(record, home)

    def _environment(self, machine_id: str, spec: Machine | Record, home: Home) -> dict[str, str]:
        environment = super()._environment(machine_id, spec, home)
        return {**environment, "PATH": PATH, "HOME": "/root"} if spec.isolation == "node" else environment

    def _program(self, argv: tuple[str, ...], spec: Machine | Record) -> tuple[str, ...]:
        return argv if spec.isolation == "node" else super()._program(argv, spec)

    def _enter(self, home: Home, record: Record, supervisor: int, argv: tuple[str, ...]) -> tuple[str, ...]:
        node = record.isolation == "node"
        script = f'{self._cgroup(home).entrance(leaf=node)}exec "$@"'
        walls = self._nsenter(record)
        if node:
            kinds = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
            walls = ("nsenter", f"--target={supervisor}", *kinds, "--")
        return ("/bin/sh", "-ec", script, "run", *walls, *argv)

    def _cgroup(self, home: Home) -> Cgroup:
        return Cgroup(self.mark, home.id)

    def _nsenter(self, machine: Machine | Record) -> tuple[str, ...]:
        """Not `ip netns exec`, which remounts /sys and so hides the control groups."""
        return ("nsenter", f"--net={self._namespaces / machine.namespace}") if machine.namespace else ()


def _unmount_below(folder: Path) -> None:
    """Nothing of ours is ever mounted in the host's namespace, but what is deleted next must not be someone's disk."""
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        mounted = [line.split()[4].encode().decode("unicode_escape") for line in table]
    for target in sorted((each for each in mounted if each.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", target], check=False, capture_output=True)
