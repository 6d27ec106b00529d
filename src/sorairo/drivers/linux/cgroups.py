"""Control groups: `sorairo/<installation>/<machine>`, in each hierarchy of version 1 or in the one of version 2.

They hold a machine's processes together (whatever these do to their sessions and environments), and a node to its
size. A node's own kubelet and runc make more of them below; to the node its group looks like the whole tree.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sorairo.drivers.protocols import DriverError

BASE = "sorairo"
ENABLED = ("cpu", "cpuset", "io", "memory", "pids", "hugetlb")
"""Controllers a node's kubelet wants to find (version 2)."""
LEAF = "init"
"""Where a node's own processes are (version 2), since a group that hands controllers down may have none itself."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    mount: Path
    controllers: frozenset[str]
    """Version 1: what the mount options name, `name=systemd` among them."""
    version: int


@cache
def hierarchies() -> tuple[Hierarchy, ...]:
    """Those this host has mounted below /sys/fs/cgroup. With version 1's controllers beside a bare version 2
    ("hybrid"), version 1's only. Empty where there are none, or none that may be written."""
    found: dict[Path, Hierarchy] = {}
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            before, _, after = line.partition(" - ")
            mount = Path(before.split()[4])
            kind, _, options = after.split(maxsplit=2)
            if kind == "cgroup":
                controllers = {each for each in options.strip().split(",") if each.startswith("name=")}
                controllers |= set(options.strip().split(",")) & _controllers()
                found[mount] = Hierarchy(mount, frozenset(controllers), 1)
            elif kind == "cgroup2":
                available = (mount / "cgroup.controllers").read_text().split()
                found[mount] = Hierarchy(mount, frozenset(available), 2)
    writable = [each for each in found.values() if os.access(each.mount, os.W_OK)]
    first = [each for each in writable if each.version == 1]
    return tuple(sorted(first or writable[:1], key=lambda each: str(each.mount)))


def _controllers() -> set[str]:
    with open("/proc/cgroups", encoding="utf-8") as table:
        return {line.split()[0] for line in table if not line.startswith("#")}


def version() -> int:
    """1 or 2; 0 where there are no control groups to use."""
    found = hierarchies()
    return found[0].version if found else 0


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One machine's group."""

    mark: str
    machine: str

    def folders(self) -> list[Path]:
        return [each.mount / BASE / self.mark / self.machine for each in hierarchies()]

    def make(self, *, delegate: bool, cpus: float | None = None, memory_bytes: int | None = None) -> None:
        """Make the groups and set their limits. `delegate`: the machine makes groups of its own below."""
        for hierarchy in hierarchies():
            folder = self._make(hierarchy)
            if hierarchy.version == 2:
                if delegate:
                    (folder / LEAF).mkdir(exist_ok=True)
                _write(folder / "memory.max", str(memory_bytes or "max"), optional=memory_bytes is None)
                quota = f"{round(cpus * 100_000)} 100000" if cpus else "max"
                _write(folder / "cpu.max", quota, optional=cpus is None)
            elif "memory" in hierarchy.controllers:
                _write(folder / "memory.limit_in_bytes", str(memory_bytes or -1))
            elif "cpu" in hierarchy.controllers and cpus:
                # A weight and no quota: version 1 refuses a pod a quota greater than its ancestors', and a pod whose
                # limit is more than its node's CPUs is a thing people write.
                _write(folder / "cpu.shares", str(max(2, round(cpus * 1024))))

    def _make(self, hierarchy: Hierarchy) -> Path:
        while True:
            folder = hierarchy.mount
            try:
                for name in (BASE, self.mark, self.machine):
                    if hierarchy.version == 2:
                        _hand_down(folder, hierarchy.controllers)
                    folder = folder / name
                    folder.mkdir(exist_ok=True)
                    if "cpuset" in hierarchy.controllers and hierarchy.version == 1:
                        _copy_down(folder)
                    if "cpu" in hierarchy.controllers and hierarchy.version == 1 and name != self.machine:
                        _weigh(folder)
                return folder
            except FileNotFoundError:
                continue  # The last other machine was just removed, and our parents with it.

    def entrance(self, *, leaf: bool = False) -> str:
        """Lines of sh by which a shell joins the group (with `leaf`, version 2's place for a node's processes)."""
        return "".join(f"echo 0 >'{self._door(folder, leaf)}'\n" for folder in self.folders())

    def _door(self, folder: Path, leaf: bool) -> Path:
        return folder / LEAF / "cgroup.procs" if leaf and version() == 2 else folder / "cgroup.procs"

    def pids(self, *, everywhere: bool = False) -> set[int]:
        """Live processes in the group and below: in one hierarchy, or `everywhere` in any of them."""
        folders = self.folders()
        return {pid for folder in (folders if everywhere else folders[-1:]) for pid in _pids(folder)}

    def own_pids(self) -> set[int]:
        """Those of the machine itself, not of the groups that its kubelet made."""
        folder = self.folders()[-1]
        return {*_procs(folder), *_procs(folder / LEAF)}

    def remove(self, timeout: float = 10.0) -> None:
        """Remove the groups, whose processes have ended. Raises DriverError if some have not."""
        deadline = time.monotonic() + timeout
        for folder in self.folders():
            while True:
                try:
                    _remove(folder)
                    break
                except OSError as error:
                    if error.errno != errno.EBUSY or time.monotonic() > deadline:
                        raise DriverError(f"{folder}: {error.strerror}, {sorted(_pids(folder))}") from error
                    time.sleep(0.005)  # A process that has ended leaves its group a moment later.
        for folder in self.folders():
            for parent in folder.parents[:2]:  # Ours too, when it was the last.
                with contextlib.suppress(OSError):
                    parent.rmdir()


def machines(mark: str) -> dict[str, set[int]]:
    """Live processes of each machine of this installation, by machine."""
    if not hierarchies():
        return {}
    base = hierarchies()[-1].mount / BASE / mark
    try:
        names = [entry.name for entry in os.scandir(base) if entry.is_dir()]
    except FileNotFoundError:
        return {}
    return {name: pids for name in names if (pids := set(_pids(base / name)))}


def _pids(folder: Path) -> Iterator[int]:
    for path, _, _ in os.walk(folder):
        yield from _procs(Path(path))


def _procs(folder: Path) -> list[int]:
    try:
        return [int(line) for line in (folder / "cgroup.procs").read_text().split()]
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return []
        if error.errno == errno.EOPNOTSUPP:  # Version 2, a threaded group: its processes show in the one above.
            return []
        raise


def _remove(folder: Path) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(path)


def _hand_down(folder: Path, controllers: frozenset[str]) -> None:
    for controller in ENABLED:
        if controller in controllers:
            _write(folder / "cgroup.subtree_control", f"+{controller}", optional=True)


def _weigh(folder: Path) -> None:
    """Version 1: a new group weighs as much as one of the processes beside it, which on a host without systemd are
    all the others there are. All machines together should weigh as one busy process on each CPU, or more if told."""
    shares = 1024 * (os.cpu_count() or 1)
    if int((folder / "cpu.shares").read_text()) < shares:
        (folder / "cpu.shares").write_text(str(shares))


def _copy_down(folder: Path) -> None:
    """Version 1: a new cpuset has neither CPUs nor memory nodes, and no process may join it until it has."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not (folder / name).read_text().strip():
            (folder / name).write_text((folder.parent / name).read_text())


def _write(path: Path, text: str, *, optional: bool = False) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        if not optional:
            raise DriverError(f"{path}: {error.strerror}") from error
