"""What a node of the Linux driver is: its own machine, as far as anyone inside can tell."""

# A test may block its own loop.
# ruff: noqa: ASYNC110, ASYNC220, ASYNC240

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sorairo.drivers.linux.cgroups import Cgroup, hierarchies, version
from sorairo.drivers.linux.machines import LinuxMachines
from sorairo.drivers.linux.size import Size, cpu_names, cpuinfo, meminfo, write_size
from sorairo.drivers.protocols import DriverError, File, Machine, Service

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("runsvdir") is None, reason="needs runit"),
]

N = Machine(
    "n1",
    "/owner/of/n1",
    (Service("a", ("sleep", "1000")),),
    {"/etc/kubernetes/azure.json": File(b"{}")},
    isolation="node",
    hostname="aks-nodepool1-1-vmss000000",
    cpus=3,
    memory_bytes=7 << 30,
)


@pytest.fixture
async def machines(tmp_path: Path) -> AsyncIterator[LinuxMachines]:
    machines = LinuxMachines(tmp_path, {})
    yield machines
    for machine_id in await machines.observe_machines():
        await machines.remove_machine(machine_id)


async def sh(machines: LinuxMachines, script: str, machine_id: str = "n1") -> str:
    ran = await machines.run(machine_id, ("sh", "-c", script))
    assert ran.exit_code == 0, ran.stderr
    return ran.stdout.decode().strip()


async def test_it_has_a_name_and_identity_of_its_own(machines: LinuxMachines) -> None:
    await machines.ensure_machine(N)
    await machines.ensure_machine(replace(N, id="n2", owner="/owner/of/n2", hostname="other"))
    assert await sh(machines, "hostname; cat /etc/hostname") == "\n".join([N.hostname or ""] * 2)
    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        seen = {
            await sh(machines, f"cat {path}"),
            await sh(machines, f"cat {path}", "n2"),
            Path(path).read_text().strip(),
        }
        assert len(seen) == 3


async def test_it_shows_the_size_that_was_asked_for(machines: LinuxMachines) -> None:
    await machines.ensure_machine(N)
    assert await sh(machines, "grep MemTotal /proc/meminfo") == f"MemTotal:        {7 << 20} kB"
    assert (
        await sh(machines, "grep -c ^processor /proc/cpuinfo; ls -d /sys/devices/system/cpu/cpu[0-9]* | wc -l")
        == "3\n3"
    )
    if Path("/sys/devices/system/node").exists():
        names = (await sh(machines, "cd /sys/devices/system/node/node0; ls -d cpu[0-9]*")).split()
        assert len(names) == 3
        # What kubelet holds pods to; the kernel refuses the number of a CPU that it does not have.
        assert {int(name.removeprefix("cpu")) for name in names} <= os.sched_getaffinity(0)


async def test_it_is_held_to_its_memory(machines: LinuxMachines) -> None:
    await machines.ensure_machine(replace(N, memory_bytes=64 << 20))
    ran = await machines.run("n1", ("sh", "-c", "head -c 200M /dev/zero | tail -c 150M | wc -c"))
    assert ran.stdout.strip() != b"157286400"
    assert (await machines.observe_machines())["n1"].processes[0].running


async def test_its_groups_are_the_whole_tree_to_it(machines: LinuxMachines) -> None:
    await machines.ensure_machine(N)
    inside = "/init" if version() == 2 else "/"
    groups = [line.split(":") for line in (await sh(machines, "cat /proc/self/cgroup")).splitlines()]
    assert {path for number, _, path in groups if version() == 2 or number != "0"} == {inside}
    tops = "/sys/fs/cgroup" if version() == 2 else "/sys/fs/cgroup/*/"
    await sh(machines, f"for top in {tops}; do mkdir -p $top/kubepods/pod; done")
    below = hierarchies()[-1].mount
    assert list(below.glob("sorairo/*/n1/kubepods/pod"))
    await machines.remove_machine("n1")
    assert not list(below.glob("sorairo/*/n1"))


async def test_it_sees_no_file_of_the_hosts_but_programs(machines: LinuxMachines, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    await machines.ensure_machine(N)
    ran = await machines.run("n1", ("cat", str(tmp_path / "secret")))
    assert ran.exit_code != 0
    assert (await machines.run("n1", ("touch", "/usr/bin/evil"))).exit_code != 0
    devices = set((await sh(machines, "find /dev -type b -o -type c")).split())
    assert not {device for device in devices if device.startswith(("/dev/vd", "/dev/sd", "/dev/nvme"))}
    assert await sh(machines, "cat /etc/kubernetes/azure.json") == "{}"


async def test_kubelets_tunables_are_not_the_hosts(machines: LinuxMachines) -> None:
    panic = Path("/proc/sys/kernel/panic").read_text()
    await machines.ensure_machine(N)
    assert await sh(machines, "cat /proc/sys/kernel/panic") == "10"
    await sh(machines, "echo 11 >/proc/sys/kernel/panic")
    assert Path("/proc/sys/kernel/panic").read_text() == panic


async def test_its_data_outlives_a_stop_and_its_runtime_files_do_not(machines: LinuxMachines) -> None:
    await machines.ensure_machine(N)
    await sh(machines, "echo kept >/var/lib/data; echo lost >/run/data")
    boot = await sh(machines, "cat /proc/sys/kernel/random/boot_id")
    await machines.stop_machine("n1")
    await machines.ensure_machine(N)
    assert await sh(machines, "cat /var/lib/data; ls /run") == "kept\nsv\nwhole"
    assert await sh(machines, "cat /proc/sys/kernel/random/boot_id") != boot


async def test_mounts_made_inside_stay_inside_and_vanish(machines: LinuxMachines, tmp_path: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    await machines.ensure_machine(N)
    await sh(machines, f"mkdir -p /mnt/x; mount -t tmpfs x /mnt/x; echo {tmp_path} >/mnt/x/file")
    assert Path("/proc/self/mountinfo").read_text() == before
    await machines.remove_machine("n1")
    assert Path("/proc/self/mountinfo").read_text() == before
    assert not (tmp_path / "machines" / "n1").exists()


async def test_ending_process_1_ends_the_node_and_the_next_ensure_starts_it(machines: LinuxMachines) -> None:
    await machines.ensure_machine(
        replace(N, services=(*N.services, Service("b", ("sh", "-c", "setsid sleep 9 & wait"))))
    )
    supervisor = machines._supervisor(machines._home("n1"))
    assert supervisor is not None
    os.kill(supervisor, 9)
    deadline = time.monotonic() + 5
    while machines._pids("n1"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert not any(p.running for p in (await machines.observe_machines())["n1"].processes)
    await machines.ensure_machine(N)
    assert await sh(machines, "echo back") == "back"


async def test_a_new_size_is_a_new_start_with_the_same_data(machines: LinuxMachines) -> None:
    await machines.ensure_machine(N)
    await sh(machines, "echo kept >/var/lib/data")
    await machines.ensure_machine(replace(N, cpus=5))
    assert await sh(machines, "cat /var/lib/data; grep -c ^processor /proc/cpuinfo") == "kept\n5"


async def test_what_failed_half_way_is_told_finished_and_removed(machines: LinuxMachines, tmp_path: Path) -> None:
    broken = LinuxMachines(tmp_path, {"bin": tmp_path / "not-there"})
    with pytest.raises(DriverError, match="not-there"):
        await broken.ensure_machine(N)
    assert (await machines.observe_machines())["n1"].owner == N.owner
    await machines.ensure_machine(N)
    assert await sh(machines, "echo whole") == "whole"


async def test_a_launch_cut_off_is_not_launched_twice(machines: LinuxMachines, tmp_path: Path) -> None:
    """sorairo is killed at any point of starting a node: a successor ends with one node, and nothing else."""
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from tests.contracts.test_nodes import LinuxMachines, N\n"
        "print('go', flush=True)\n"
        "asyncio.run(LinuxMachines(Path(sys.argv[1]), {}).ensure_machine(N))\n"
    )
    for milliseconds in (0, 5, 10, 15, 20, 30, 40, 50, 60, 80):
        child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        await asyncio.to_thread(child.stdout.readline)
        await asyncio.sleep(milliseconds / 1000)
        child.kill()
        child.wait()
        child.stdout.close()
        if milliseconds % 20:
            await machines.ensure_machine(N)
            assert await sh(machines, "echo whole") == "whole"
            assert len([pid for pid in Cgroup(machines.mark, "n1").own_pids() if _is_supervisor(pid)]) == 1
        await machines.remove_machine("n1")
        assert await machines.observe_machines() == {}
        assert not list(hierarchies()[-1].mount.glob(f"sorairo/{machines.mark}"))


def _is_supervisor(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"runsvdir\0")


# --- images ----------------------------------------------------------------------------------------------


@pytest.fixture
def engine() -> tuple[dict[str, Path], dict[str, Path]]:
    binaries = pytest.importorskip("sorairo_engine")
    images = pytest.importorskip("sorairo_images")
    return {"bin": binaries.BIN, "cni": binaries.CNI}, {path.stem: path for path in images.IMAGES.glob("*.tar")}


@pytest.mark.engine
async def test_a_node_has_its_images_at_once_and_to_itself(
    tmp_path: Path, engine: tuple[dict[str, Path], dict[str, Path]]
) -> None:
    programs, archives = engine
    machines = LinuxMachines(tmp_path, programs, archives)
    await machines.prepare_images(("busybox", "pause"))
    config = b"version = 3\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n"
    containerd = Service("containerd", ("/opt/sorairo/bin/containerd", "--config=/etc/containerd.toml"))
    probe = Service("probe", ("sleep", "1000"), wait_for=("/run/containerd/containerd.sock",))
    files = {"/etc/containerd.toml": File(config)}
    spec = replace(N, services=(containerd, probe), files=files, images=("busybox", "pause"))
    names = ("n1", "n2")
    try:
        await asyncio.gather(*(machines.ensure_machine(replace(spec, id=name)) for name in names))
        for name in names:
            while not (await machines.observe_machines())[name].running:
                await asyncio.sleep(0.01)
            assert "busybox:1" in await sh(machines, "ctr -n k8s.io images ls -q", name)
        run = "ctr -n k8s.io run --rm --net-host docker.io/library/busybox:1 c /bin/sh -c {!r}"
        change = run.format("rm /bin/ls; chmod 500 /bin/busybox; stat -c %a /bin/busybox")
        assert await sh(machines, change, "n1") == "500"
        for name in names:  # Neither the other node, nor the store, nor another container of the same has seen it.
            assert await sh(machines, run.format("stat -c %a /bin/busybox; ls /bin/ls"), name) == "755\n/bin/ls"
        unpacked = list(tmp_path.glob("images/*/*overlayfs/snapshots/*/fs/bin/busybox"))
        assert len({path.stat().st_size for path in unpacked}) == 1
        assert all(path.stat().st_nlink >= 3 for path in unpacked)
    finally:
        for name in names:
            await machines.remove_machine(name)


async def test_an_unknown_image_is_an_error(machines: LinuxMachines) -> None:
    with pytest.raises(DriverError, match="no image store 'nosuch'"):
        await machines.ensure_machine(replace(N, images=("nosuch",)))


# --- the files of a size ---------------------------------------------------------------------------------


def test_cpus_are_some_of_the_hosts_and_the_same_ones_again_where_it_has_too_few() -> None:
    assert cpu_names(2, range(8), 0) == ["cpu0", "cpu1"]
    assert cpu_names(2, range(8), 15) == ["cpu7", "cpu0"]
    assert cpu_names(3, [4, 6, 9], 1) == ["cpu6", "cpu9", "cpu4"]
    assert cpu_names(5, [0, 1], 7) == ["cpu1", "cpu0", "cpu01", "cpu00", "cpu001"]


def test_all_cpus_of_a_size_are_online(tmp_path: Path) -> None:
    for host, first, online in ((range(8), 6, "0,6-7"), ([0, 1], 0, "0-2"), ([4, 5], 1, "0,4-5")):
        folder = tmp_path / str(first)
        folder.mkdir()
        write_size(folder, Size(3, None), host, first)
        assert (folder / "cpu/online").read_text() == f"{online}\n"
        names = [each.name for each in (folder / "node/node0").iterdir() if re.fullmatch(r"cpu\d+", each.name)]
        cores = {(folder / "node/node0" / name / "topology/core_id").read_text() for name in names}
        assert len(names) == len(cores) == 3


def test_meminfo_has_the_lines_that_are_read() -> None:
    lines = dict(line.split(":") for line in meminfo(4 << 30).splitlines())
    assert lines["MemTotal"].split() == ["4194304", "kB"]
    assert lines["SwapTotal"].split() == ["0", "kB"]


def test_cpuinfo_repeats_the_first_processor() -> None:
    host = "processor\t: 0\ncore id\t\t: 0\ncpu MHz\t\t: 2445.4\ncpu cores\t: 2\n\nprocessor\t: 1\n\n"
    assert cpuinfo(host, 2) == (
        "processor\t: 0\ncore id\t\t: 0\ncpu MHz\t\t: 2445.4\ncpu cores\t: 2\n\n"
        "processor\t: 1\ncore id\t\t: 1\ncpu MHz\t\t: 2445.4\ncpu cores\t: 2\n\n"
    )


def test_cpuinfo_tells_a_clock_speed_where_the_host_does_not() -> None:
    assert "cpu MHz\t\t: 2000.000\n" in cpuinfo("processor\t: 0\nvendor_id\t: X\n\n", 1)
    assert "MHz" not in cpuinfo("processor\t: 0\nCPU implementer\t: 0x41\n\n", 1)
