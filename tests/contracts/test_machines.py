"""What every Machines driver promises, whoever keeps the promise.

The first half holds for each of them; the second needs processes that really run.
"""

# A test may block its own loop.
# ruff: noqa: ASYNC110

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sorairo.drivers.hollow.machines import HollowMachines
from sorairo.drivers.linux.machines import LinuxMachines
from sorairo.drivers.processes import ProcessMachines
from sorairo.drivers.protocols import DriverError, File, Machine, Machines, MachineState, Process, Service, digest

SLEEP = ("sleep", "1000")
A = Service("a", SLEEP)
B = Service("b", SLEEP)
M = Machine("m1", "/owner/of/m1", (A, B))

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
needs_runit = pytest.mark.skipif(shutil.which("runsvdir") is None, reason="needs runit")

REAL = [
    pytest.param("processes", marks=needs_runit),
    pytest.param("linux", marks=[needs_runit, needs_root, pytest.mark.root]),
]


def driver(kind: str, state: Path) -> Machines:
    """A driver on this state folder, as sorairo makes one each time it starts."""
    if kind == "processes":
        return ProcessMachines(state, {})
    if kind == "linux":
        return LinuxMachines(state, {})
    return HollowMachines()


@pytest.fixture
async def made(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[str, Machines, Path]]:
    kind = request.param
    machines = driver(kind, tmp_path)
    yield kind, machines, tmp_path
    for machine_id in await machines.observe_machines():
        await machines.remove_machine(machine_id)


@pytest.fixture
def machines(made: tuple[str, Machines, Path]) -> Machines:
    return made[1]


@pytest.fixture
def again(made: tuple[str, Machines, Path]) -> Iterator[Callable[[], Machines]]:
    """Another driver on the same host and state: sorairo after a restart."""
    return lambda: driver(made[0], made[2])


everyone = pytest.mark.parametrize("made", ["hollow", *REAL], indirect=True)
real = pytest.mark.parametrize("made", REAL, indirect=True)


async def state(machines: Machines, machine_id: str = "m1") -> MachineState:
    return (await machines.observe_machines())[machine_id]


async def process(machines: Machines, service: str, machine_id: str = "m1") -> Process:
    return next(p for p in (await state(machines, machine_id)).processes if p.service == service)


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come in time"
        await asyncio.sleep(0.005)


async def until_running(machines: Machines, machine_id: str = "m1", seconds: float = 5.0) -> MachineState:
    deadline = time.monotonic() + seconds
    while not (now := await state(machines, machine_id)).running:
        assert time.monotonic() < deadline, f"does not run: {now}"
        await asyncio.sleep(0.005)
    return now


# --- everyone --------------------------------------------------------------------------------------------


@everyone
async def test_a_new_machine_runs_its_services_and_says_whose_it_is(machines: Machines) -> None:
    await machines.ensure_machine(M)
    now = await until_running(machines)
    assert now.owner == "/owner/of/m1"
    assert now.digest == digest(M)
    assert [(p.service, p.restarts) for p in now.processes] == [("a", 0), ("b", 0)]
    assert len({p.pid for p in now.processes}) == 2


@everyone
async def test_ensuring_the_same_changes_nothing(machines: Machines) -> None:
    await machines.ensure_machine(M)
    before = await until_running(machines)
    await machines.ensure_machine(M)
    assert await state(machines) == before


@everyone
async def test_only_a_changed_service_is_started_anew(machines: Machines) -> None:
    await machines.ensure_machine(M)
    before = await until_running(machines)
    changed = replace(M, services=(A, replace(B, argv=("sleep", "2000"))))
    await machines.ensure_machine(changed)
    after = await until_running(machines)
    assert after.digest == digest(changed) != before.digest
    assert after.processes[0] == before.processes[0]
    assert after.processes[1].pid != before.processes[1].pid


@everyone
async def test_a_changed_file_restarts_who_read_it(machines: Machines) -> None:
    spec = replace(M, files={"conf/one": File(b"1")})
    await machines.ensure_machine(spec)
    before = await until_running(machines)
    await machines.ensure_machine(replace(spec, files={"conf/one": File(b"2")}))
    after = await until_running(machines)
    assert all(p.pid != q.pid for p, q in zip(after.processes, before.processes, strict=True))


@everyone
async def test_services_come_and_go(machines: Machines) -> None:
    await machines.ensure_machine(M)
    a = (await until_running(machines)).processes[0]
    await machines.ensure_machine(replace(M, services=(A, Service("c", SLEEP))))
    after = await until_running(machines)
    assert [p.service for p in after.processes] == ["a", "c"]
    assert after.processes[0] == a


@everyone
async def test_a_stopped_machine_is_kept_and_starts_again(machines: Machines) -> None:
    await machines.ensure_machine(M)
    await until_running(machines)
    await machines.stop_machine("m1")
    stopped = await state(machines)
    assert not stopped.running
    assert [p.pid for p in stopped.processes] == [None, None]
    assert stopped.owner == "/owner/of/m1"
    await machines.ensure_machine(M)
    assert [p.restarts for p in (await until_running(machines)).processes] == [1, 1]


@everyone
async def test_removing_leaves_nothing_and_can_be_repeated(machines: Machines) -> None:
    await machines.ensure_machine(M)
    await machines.ensure_machine(replace(M, id="m2"))
    await machines.remove_machine("m1")
    assert set(await machines.observe_machines()) == {"m2"}
    await machines.remove_machine("m1")
    await machines.remove_machine("never-was")
    await machines.stop_machine("never-was")


@everyone
async def test_running_a_command_where_nothing_runs_is_an_error(machines: Machines) -> None:
    with pytest.raises(DriverError, match="m1 is not running"):
        await machines.run("m1", ("true",))


def test_digest_tells_specs_apart() -> None:
    assert digest(M) == digest(replace(M))
    assert len(digest(M)) == 32
    others = [
        replace(M, hostname="h"),
        replace(M, services=(A,)),
        replace(M, files={"f": File(b"1")}),
        replace(M, files={"f": File(b"2")}),
        replace(M, files={"f": File(b"2", mode=0o644)}),
    ]
    assert len({digest(each) for each in (M, *others)}) == 6


# --- what is made to fail, in memory ---------------------------------------------------------------------


async def test_hollow_machines_fail_when_told_to() -> None:
    machines = HollowMachines()
    machines.fail["ensure_machine", "m1"] = DriverError("disk full")
    machines.half = True
    with pytest.raises(DriverError, match="disk full"):
        await machines.ensure_machine(M)
    assert not (await state(machines)).running
    del machines.fail["ensure_machine", "m1"]
    await machines.ensure_machine(M)
    machines.crash("m1", "b")
    assert [p.running for p in (await state(machines)).processes] == [True, False]
    await machines.ensure_machine(M)
    assert (await state(machines)).running


@pytest.fixture
def netns() -> Iterator[Path]:
    """A network namespace as Links makes them."""
    path = Path("/run/sorairo/netns") / f"test-{os.getpid()}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    subprocess.run(["unshare", f"--net={path}", "true"], check=True)
    yield path
    subprocess.run(["umount", str(path)], check=True)
    path.unlink()


@needs_root
@needs_runit
@pytest.mark.root
async def test_a_linux_machine_is_in_its_network_namespace(tmp_path: Path, netns: Path) -> None:
    machines = LinuxMachines(tmp_path, {})
    try:
        await machines.ensure_machine(replace(M, namespace=netns.name))
        pid = (await until_running(machines)).processes[0].pid
        assert os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat(netns).st_ino
        ran = await machines.run("m1", ("readlink", "/proc/self/ns/net"))
        assert ran.stdout.decode() == f"net:[{os.stat(netns).st_ino}]\n"
        with pytest.raises(DriverError, match="no network namespace gone"):
            await machines.ensure_machine(replace(M, namespace="gone"))
    finally:
        await machines.remove_machine("m1")


# --- real processes --------------------------------------------------------------------------------------


@real
async def test_files_are_there_before_services_start(machines: Machines) -> None:
    cat = Service("cat", ("sh", "-c", "cat conf/greeting; exec sleep 1000"))
    spec = replace(M, services=(cat,), files={"conf/greeting": File(b"good morning\n", mode=0o640)})
    await machines.ensure_machine(spec)
    greeting = machines.root("m1") / "conf/greeting"
    assert greeting.read_bytes() == b"good morning\n"
    assert greeting.stat().st_mode & 0o777 == 0o640
    assert await anext(machines.logs("m1", "cat", follow=True)) == "good morning"


@real
async def test_a_file_no_longer_named_goes_and_the_machines_own_stay(machines: Machines) -> None:
    spec = replace(M, files={"conf/one": File(b"1"), "conf/two": File(b"2")})
    await machines.ensure_machine(spec)
    folder = machines.root("m1") / "conf"
    (folder / "data").write_text("written by the machine")
    await machines.ensure_machine(replace(M, files={"conf/two": File(b"2")}))
    assert sorted(os.listdir(folder)) == ["data", "two"]


@real
async def test_only_who_names_a_changed_file_is_started_anew(machines: Machines) -> None:
    reader = Service("b", ("sh", "-c", "cat conf/b >/dev/null; exec sleep 1000"))
    files = {"conf/b": File(b"1"), "watched": File(b"1", restarts=())}
    spec = replace(M, services=(A, reader), files=files)
    await machines.ensure_machine(spec)
    before = await until_running(machines)
    await machines.ensure_machine(replace(spec, files={"conf/b": File(b"2"), "watched": File(b"2", restarts=())}))
    after = await until_running(machines)
    assert [p.pid == q.pid for p, q in zip(after.processes, before.processes, strict=True)] == [True, False]


@real
async def test_files_never_leave_the_machine(machines: Machines, tmp_path: Path) -> None:
    await machines.ensure_machine(M)
    outside = tmp_path / "outside"
    outside.mkdir()
    (machines.root("m1") / "conf").symlink_to(outside)
    with pytest.raises(DriverError):
        await machines.ensure_machine(replace(M, files={"conf/f": File(b"")}))
    with pytest.raises(DriverError):
        await machines.ensure_machine(replace(M, files={"../f": File(b"")}))
    assert os.listdir(outside) == []


@real
async def test_a_service_waits_for_what_it_needs(machines: Machines) -> None:
    waiting = Service("w", SLEEP, wait_for=("run/socket",))
    await machines.ensure_machine(replace(M, services=(A, waiting)))
    while not (await process(machines, "a")).running:
        await asyncio.sleep(0.005)
    assert await process(machines, "w") == Process("w", None, False, -1)
    (machines.root("m1") / "run").mkdir()
    (machines.root("m1") / "run/socket").touch()
    await until_running(machines)


@real
async def test_a_service_waits_for_a_socket_that_listens(machines: Machines) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        waiting = Service("w", SLEEP, wait_for=(f"tcp:127.0.0.1:{listener.getsockname()[1]}",))
        await machines.ensure_machine(replace(M, services=(A, waiting)))
        while not (await process(machines, "a")).running:
            await asyncio.sleep(0.005)
        assert await process(machines, "w") == Process("w", None, False, -1)
        listener.listen()
        await until_running(machines)


@real
async def test_a_crashed_service_is_back_within_about_a_second(machines: Machines) -> None:
    await machines.ensure_machine(M)
    pid = (await until_running(machines)).processes[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 2.0
    while (now := await process(machines, "a")).restarts == 0 or not now.running:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
    assert now.pid != pid


@real
async def test_a_new_service_starts_at_once(machines: Machines) -> None:
    await machines.ensure_machine(M)
    begun = time.monotonic()
    await machines.ensure_machine(replace(M, services=(A, B, Service("c", SLEEP))))
    await until_running(machines)
    assert time.monotonic() - begun < 2.0


@real
async def test_machines_outlive_sorairo(machines: Machines, again: Callable[[], Machines]) -> None:
    await machines.ensure_machine(M)
    before = await until_running(machines)
    successor = again()
    assert await state(successor) == before
    await successor.ensure_machine(M)
    assert await state(successor) == before
    await successor.remove_machine("m1")
    assert await machines.observe_machines() == {}


@real
async def test_a_machine_without_its_supervisor_is_started_anew(machines: Machines) -> None:
    await machines.ensure_machine(M)
    before = await until_running(machines)
    for pid in _supervisors(machines):
        os.kill(pid, signal.SIGKILL)
    await until(lambda: _supervisors(machines) == [])
    await machines.ensure_machine(M)
    after = await until_running(machines)
    assert {p.pid for p in after.processes}.isdisjoint({p.pid for p in before.processes})
    assert len(_supervisors(machines)) == 1


@real
async def test_two_at_once_make_one_machine(machines: Machines, again: Callable[[], Machines]) -> None:
    successor = again()
    await asyncio.gather(*(each.ensure_machine(M) for each in (machines, successor, machines, successor)))
    await until_running(machines)
    assert len(_supervisors(machines)) == 1
    assert [p.restarts for p in (await state(machines)).processes] == [0, 0]


@real
async def test_ensuring_and_removing_at_once_ends_in_one_of_both(machines: Machines) -> None:
    for _ in range(5):
        await asyncio.gather(machines.ensure_machine(M), machines.remove_machine("m1"), machines.ensure_machine(M))
        assert (await machines.observe_machines()).keys() <= {"m1"}
        await machines.remove_machine("m1")
        assert _supervisors(machines) == []


@real
async def test_children_that_hide_are_found_and_ended(machines: Machines) -> None:
    stray = Service("s", ("sh", "-c", "setsid sleep 4321 & env -i sleep 4321 & exec sleep 1000"))
    await machines.ensure_machine(replace(M, services=(stray,)))
    await until(lambda: len(_with_argument("4321")) >= 2)
    await machines.remove_machine("m1")
    assert _with_argument("4321") == []


@real
async def test_a_service_that_ignores_sigterm_is_ended_all_the_same(machines: Machines) -> None:
    deaf = Service("d", ("sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"))
    await machines.ensure_machine(replace(M, services=(deaf,)))
    assert await anext(machines.logs("m1", "d", follow=True)) == "deaf"
    await machines.remove_machine("m1")
    assert await machines.observe_machines() == {}


@real
async def test_a_machine_whose_folder_was_deleted_is_still_seen_and_removed(made: tuple[str, Machines, Path]) -> None:
    _, machines, folder = made
    await machines.ensure_machine(M)
    await until_running(machines)
    (folder / "machines").rename(folder / "gone")  # A recursive removal would race with runsv, which writes there.
    assert (await state(machines)).owner == ""
    await machines.remove_machine("m1")
    assert await machines.observe_machines() == {}
    assert _supervisors(machines) == []


@real
async def test_two_installations_do_not_see_each_other(made: tuple[str, Machines, Path]) -> None:
    kind, machines, folder = made
    other = driver(kind, folder / "other")
    await machines.ensure_machine(M)
    await other.ensure_machine(M)
    await machines.remove_machine("m1")
    assert (await until_running(other)).running
    await other.remove_machine("m1")


@real
async def test_commands_run_inside(machines: Machines) -> None:
    await machines.ensure_machine(M)
    ran = await machines.run("m1", ("sh", "-c", "cat; echo $SORAIRO_OWNER >&2; exit 3"), stdin=b"\0binary")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (3, b"\0binary", b"m1\n")
    with pytest.raises(DriverError, match=r"did not end within 0.2 s"):
        await machines.run("m1", ("sleep", "4322"), timeout=0.2)
    await until(lambda: _with_argument("4322") == [])


@real
async def test_logs_follow(machines: Machines) -> None:
    count = Service("n", ("sh", "-c", "for i in 1 2 3; do echo $i; done; read x <go; echo $x; exec sleep 1000"))
    await machines.ensure_machine(replace(M, services=(count,)))
    root = machines.root("m1")
    reader = machines.logs("m1", "n", follow=True)
    assert [await anext(reader) for _ in range(3)] == ["1", "2", "3"]
    # The pipe `go` is not there, so the shell goes on with nothing in x: start it anew with one.
    os.mkfifo(root / "go")
    pid = (await until_running(machines)).processes[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while (line := await anext(reader)) != "3":
        assert line in ("", "1", "2") or "go" in line
    fifo = await asyncio.to_thread(os.open, root / "go", os.O_WRONLY)
    os.write(fifo, b"now\n")
    os.close(fifo)
    assert await anext(reader) == "now"
    assert [line async for line in machines.logs("m1", "n", lines=2)] == ["3", "now"]
    assert [line async for line in machines.logs("m1", "none")] == []


def _supervisors(machines: Machines) -> list[int]:
    return _with_argument(str(machines.root("m1").parent / "sv"))


def _with_argument(argument: str) -> list[int]:
    """Host pids of the processes that have this argument."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if argument.encode() in words:
                found.append(int(entry.name))
    return found
