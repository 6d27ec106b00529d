"""The size a node shows: files that are laid over those of /proc and /sys which tell of the whole host.

Read by kubelet (cAdvisor, lib/machine and lib/utils/sysinfo): memory from /proc/meminfo, CPUs by counting
`node<N>/cpu<N>` folders (`cpu<N>` where there are no NUMA nodes), their cores and sockets from `topology/`, the clock
from the first "cpu MHz" of /proc/cpuinfo. `free`, `lscpu` and `nproc --all` read the same files.

The numbers of `node<N>/cpu<N>` are those of CPUs that the host has: kubelet (getCgroupConfig) holds all pods to them.
Were they 0, 1 ... on every node, all nodes would work on the host's first CPUs; and where there are more than the host
has, the kernel refuses. A size of more CPUs than the host's has some of them again, as cpu00, cpu01 ...
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Size:
    """None: the host's own is shown."""

    cpus: float | None
    memory_bytes: int | None


def write_size(folder: Path, size: Size, host: Sequence[int], first: int) -> None:
    """Write `meminfo`, `cpuinfo`, `cpu/` and `node/` into the folder, or those of them that the size asks for. `host`
    are numbers of CPUs, of which this one has those from the `first` on, any number, counted round."""
    if size.memory_bytes is not None:
        (folder / "meminfo").write_text(meminfo(size.memory_bytes))
    if size.cpus is not None:
        count = max(1, math.ceil(size.cpus))
        (folder / "cpuinfo").write_text(cpuinfo(Path("/proc/cpuinfo").read_text(), count))
        _write_topology(folder, cpu_names(count, host, first), size.memory_bytes)


def meminfo(total: int) -> str:
    """/proc/meminfo of a machine with `total` bytes, all free: what is used is told by the control group."""
    kib = total // 1024
    lines = {"MemTotal": kib, "MemFree": kib, "MemAvailable": kib, "Buffers": 0, "Cached": 0, "SwapCached": 0}
    lines |= {"Active": 0, "Inactive": 0, "SwapTotal": 0, "SwapFree": 0, "Dirty": 0, "Writeback": 0, "AnonPages": 0}
    lines |= {"Mapped": 0, "Shmem": 0, "Slab": 0, "SReclaimable": 0, "SUnreclaim": 0, "CommitLimit": kib}
    return "".join(f"{name + ':':<16}{value:>8} kB\n" for name, value in lines.items())


def cpuinfo(host: str, count: int) -> str:
    """/proc/cpuinfo with `count` processors like the host's first, each a core of one socket."""
    first = host.split("\n\n")[0].rstrip()
    if "vendor_id" in first and "cpu MHz" not in first:
        first += "\ncpu MHz\t\t: 2000.000"  # Some hypervisors do not tell; kubelet does not start without.
    told = {"siblings": count, "cpu cores": count, "physical id": 0}
    blocks = []
    for number in range(count):
        values = {**told, "processor": number, "core id": number, "apicid": number, "initial apicid": number}
        block = []
        for line in first.splitlines():
            name = line.partition(":")[0].strip()
            block.append(f"{line.partition(':')[0]}: {values[name]}" if name in values else line)
        blocks.append("\n".join(block) + "\n\n")
    return "".join(blocks)


def cpu_names(count: int, host: Sequence[int], first: int) -> list[str]:
    """What `count` CPUs are called, each a number of the host's; with one more leading zero each time round."""
    return [f"cpu{'0' * (n // len(host))}{host[(first + n) % len(host)]}" for n in range(count)]


def _write_topology(folder: Path, names: Sequence[str], memory_bytes: int | None) -> None:
    count = len(names)
    every = "0" if count == 1 else f"0-{count - 1}"
    shown = {int(name.removeprefix("cpu")) for name in names}
    shown |= set(itertools.islice((n for n in itertools.count() if n not in shown), count - len(shown)))
    cpu = folder / "cpu"
    node = folder / "node" / "node0"
    node.mkdir(parents=True)
    for number, (name, own) in enumerate(zip(names, sorted(shown), strict=True)):
        topology = cpu / f"cpu{own}" / "topology"
        topology.mkdir(parents=True)
        for file, text in {
            "core_id": f"{number}",
            "physical_package_id": "0",
            "thread_siblings": _mask(1 << number, count),
            "thread_siblings_list": f"{number}",
            "core_siblings": _mask((1 << count) - 1, count),
            "core_siblings_list": every,
        }.items():
            (topology / file).write_text(f"{text}\n")
        (node / name).symlink_to(f"../../cpu/cpu{own}")
    for name in ("online", "possible", "present"):
        (cpu / name).write_text(f"{_ranges(sorted(shown))}\n")
        (folder / "node" / name).write_text("0\n")
    for name in ("has_cpu", "has_memory", "has_normal_memory"):
        (folder / "node" / name).write_text("0\n")
    (cpu / "kernel_max").write_text(f"{count - 1}\n")
    (cpu / "offline").write_text("\n")
    (node / "cpulist").write_text(f"{every}\n")
    (node / "cpumap").write_text(f"{_mask((1 << count) - 1, count)}\n")
    (node / "distance").write_text("10\n")
    if memory_bytes is None:
        (node / "meminfo").symlink_to("/proc/meminfo")
    else:
        (node / "meminfo").write_text("".join(f"Node 0 {line}\n" for line in meminfo(memory_bytes).splitlines()))


def _ranges(numbers: Sequence[int]) -> str:
    """A list of CPUs as the kernel writes it: `0-2,5`."""
    runs = itertools.groupby(enumerate(numbers), lambda each: each[1] - each[0])
    ends = [[number for _, number in run] for _, run in runs]
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in ends)


def _mask(bits: int, count: int) -> str:
    """A mask of `count` CPUs as the kernel writes it: hexadecimal, in groups of 32 from the right."""
    digits = f"{bits:x}".zfill(-(-count // 4))
    digits = digits.zfill(-(-len(digits) // 8) * 8)
    return ",".join(digits[at : at + 8] for at in range(0, len(digits), 8))
