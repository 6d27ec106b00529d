"""What every driver of real machines has in common: a home, a supervisor, and the order in which things happen.

Everything here is done by threads of the driver's own, with plain blocking calls; the event loop only waits for them.
A driver says what its walls are by the methods that raise `NotImplementedError`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, TypeVar

from sorairo.drivers import procs
from sorairo.drivers.follow import follow_log
from sorairo.drivers.home import Home, Record, files_digest
from sorairo.drivers.protocols import DriverError, Machine, MachineState, Process, Ran, digest
from sorairo.drivers.supervisor import Supervision, end_processes, find_programs, runsvdir_argv

START_SECONDS = 15.0
"""A service's `run` is executed within milliseconds; this is for a machine that is out of breath."""
GRACE_SECONDS = 5.0
"""What a process gets between SIGTERM and SIGKILL."""
ENGINE = "/opt/sorairo"
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

P = ParamSpec("P")
T = TypeVar("T")


class SupervisedMachines:
    """Machines whose processes runit keeps. See `protocols.Machines` for what each method promises.

    `state` is sorairo's state folder. `engine` maps the name of each of the engine's folders (`bin`, `cni`,
    `kubernetes-1.37`) to where it is on this host; machines know it as `/opt/sorairo/<name>`.
    """

    def __init__(self, state: Path, engine: Mapping[str, Path]) -> None:
        self.state = state.resolve()
        self.mark = procs.state_mark(self.state)
        self.engine = dict(engine)
        self._machines = self.state / "machines"
        self._threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="machines")

    # --- walls: for the drivers to fill in -------------------------------------------------------------

    def _walls(self, spec: Machine) -> tuple[object, ...]:
        """What of the spec is settled when the machine starts: a change of it ends the machine and starts it anew."""
        raise NotImplementedError

    def _raise_walls(self, home: Home, spec: Machine) -> None:
        """Make what the machine needs before files are written and the supervisor starts. Idempotent."""
        raise NotImplementedError

    def _launch_script(self, home: Home, spec: Machine) -> str:
        """An sh script which ends by executing the supervisor, in its walls, in the background (`… 3<&- &`)."""
        raise NotImplementedError

    def _fall_walls(self, home: Home, record: Record) -> None:
        """Take away what is outside the home and has no process any more. Idempotent."""
        raise NotImplementedError

    def _left(self, home: Home) -> bool:
        """Whether there is anything of the machine outside its home."""
        return bool(self._pids(home.id))

    def _all_pids(self) -> dict[str, set[int]]:
        """Every live process of every machine, as the host numbers them."""
        raise NotImplementedError

    def _pids(self, machine_id: str) -> set[int]:
        return self._all_pids().get(machine_id, set())

    def _host_pids(self, record: Record, pids: set[int]) -> dict[int, int]:
        """Host's number of each process, by the machine's own number of it."""
        return {pid: pid for pid in pids}

    def _inside(self, record: Record | Machine, home: Home) -> Callable[[Path], str]:
        """What the machine calls a host path in its home."""
        return str

    def _working_folder(self, record: Record | Machine, home: Home) -> str:
        return str(home.root)

    def _enter(self, home: Home, record: Record, supervisor: int, argv: tuple[str, ...]) -> tuple[str, ...]:
        """The command line that executes `argv` inside the machine."""
        raise NotImplementedError

    # --- the protocol ----------------------------------------------------------------------------------

    def root(self, machine_id: str) -> Path:
        return self._home(machine_id).root

    async def ensure_machine(self, spec: Machine) -> None:
        await self._thread(self._ensure, spec)

    async def touch(self, machine_id: str, path: str) -> None:
        await self._thread((self.root(machine_id) / path).touch)

    async def stop_machine(self, machine_id: str) -> None:
        await self._thread(self._stop, machine_id)

    async def remove_machine(self, machine_id: str) -> None:
        await self._thread(self._remove, machine_id)

    async def observe_machines(self) -> dict[str, MachineState]:
        return await self._thread(self._observe)

    async def run(self, machine_id: str, argv: tuple[str, ...], *, stdin: bytes = b"", timeout: float = 90.0) -> Ran:
        """Raises DriverError if the machine does not run, or the command not end within `timeout` seconds."""
        return await self._thread(self._run, machine_id, argv, stdin, timeout)

    def logs(self, machine_id: str, service: str, *, follow: bool = False, lines: int = 100) -> AsyncIterator[str]:
        return follow_log(self._home(machine_id).logs / service, follow=follow, lines=lines)

    # --- how -------------------------------------------------------------------------------------------

    async def _thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: call(*args, **kwargs))
        except OSError as error:
            raise DriverError(str(error)) from error

    def _ensure(self, spec: Machine) -> None:
        find_programs(self._path())
        home = self._home(spec.id)
        while True:
            home.make()
            try:
                with home.lock() as lock:
                    self._ensure_locked(home, spec, lock)
                return
            except FileNotFoundError:
                if home.folder.exists():
                    raise
                # Removed by another between the two steps: make it anew.

    def _ensure_locked(self, home: Home, spec: Machine, lock: int) -> None:
        record = home.load() or Record(id=home.id, owner=spec.owner)
        walls = self._walls_digest(spec)
        if record.walls != walls:
            self._end(home, record)
        ours = digest(spec)
        record = home.save(
            replace(
                record,
                owner=spec.owner,
                isolation=spec.isolation,
                namespace=spec.namespace,
                walls=walls,
                digest=record.digest if record.digest == ours else "",
            )
        )
        home.root.mkdir(exist_ok=True)
        supervisor = self._supervisor(home)
        if supervisor is None:
            self._end(home, record)  # What an earlier life left: processes, and version 2's groups as they were.
            self._raise_walls(home, spec)
        record = home.write_files(record, spec.files)
        supervision = Supervision(home.services, home.logs, self._inside(spec, home))
        wanted = supervision.lay(
            [(replace(each, argv=self._program(each.argv, spec)), files_digest(each, spec)) for each in spec.services],
            env=self._environment(spec.id, spec, home),
            cwd=self._working_folder(spec, home),
        )
        if supervisor is None:
            for name in wanted:  # What a process of an earlier life said of itself.
                (home.services / name / "started").unlink(missing_ok=True)
            supervision.end_leftovers()
            supervision.backdate()
            self._launch(home, spec, lock)
        else:
            supervision.want(up=True)  # A stop may have been cut short.
            if any(not supervision.supervised(name) for name in wanted) or list(home.services.glob(".gone-*")):
                supervision.wake(supervisor)
                supervision.end_leftovers()
        self._settle(home, supervision, wanted)
        home.save(replace(record, digest=ours))

    def _settle(self, home: Home, supervision: Supervision, wanted: Mapping[str, str]) -> None:
        """Wait until each service's process is of the wanted definition, and start those anew that are not; until
        commands can be run in a machine without services."""
        begun = time.monotonic()
        asked: set[str] = set()
        killed: set[str] = set()
        checked = begun
        while True:
            runs = {name: supervision.started(name) for name in wanted}
            waiting = [name for name in wanted if runs[name] != wanted[name]]
            if not waiting and (wanted or self._supervisor(home) is not None):
                return
            now = time.monotonic()
            for name in waiting:
                if name not in asked and runs[name] is not None and supervision.supervised(name):
                    asked.add(name)
                    supervision.restart(name)
                elif name in asked and name not in killed and now - begun > GRACE_SECONDS:
                    killed.add(name)
                    supervision.kill(name)
            if now - checked > 0.2:
                checked = now
                if not self._pids(home.id):
                    raise DriverError(f"machine {home.id} ended while starting: {self._complaint(home)}")
            if now - begun > START_SECONDS:
                names = ", ".join(waiting) or "the supervisor"
                raise DriverError(f"{names} of machine {home.id} did not start: {self._complaint(home)}")
            time.sleep(0.002)

    def _launch(self, home: Home, spec: Machine, lock: int) -> None:
        script = home.folder / "launch"
        script.write_text(self._launch_script(home, spec))
        with open(home.boot_log, "wb") as complaints:
            # The lock goes along as standard input: see Home.lock.
            launched = subprocess.run(
                ["/bin/sh", str(script)],
                stdin=lock,
                stdout=complaints,
                stderr=complaints,
                cwd="/",
                env=self._environment(spec.id, spec, home),
                start_new_session=True,
                timeout=START_SECONDS,
                check=False,
            )
        if launched.returncode != 0:
            raise DriverError(f"machine {home.id} did not start: {self._complaint(home)}")

    def _stop(self, machine_id: str) -> None:
        home = self._home(machine_id)
        with contextlib.suppress(FileNotFoundError), home.lock():
            record = home.load()
            if record is None:
                return
            supervision = Supervision(home.services, home.logs)
            supervision.want(up=False)
            deadline = time.monotonic() + GRACE_SECONDS
            while time.monotonic() < deadline and any(
                supervision.supervised(name) and supervision.process(name).pid for name in supervision.names()
            ):
                time.sleep(0.01)
            self._end(home, record)

    def _remove(self, machine_id: str) -> None:
        home = self._home(machine_id)
        while home.folder.exists() or self._left(home):
            # A living machine's folder may have been deleted under it. Locks need one.
            home.make()
            with contextlib.suppress(FileNotFoundError), home.lock():
                record = home.load() or Record(id=home.id, owner="")
                self._end(home, record)
                self._delete(home)

    def _delete(self, home: Home) -> None:
        """Delete the home, the record last, so that a removal cut short is still seen, and done again."""
        # `rm`, which is many times faster than shutil.rmtree with a node's tens of thousands of files. It follows
        # no link, and on Linux no mount.
        entries = [str(entry) for entry in home.folder.iterdir() if entry.name != "machine.json"]
        flags = ("-rf", "--one-file-system") if sys.platform.startswith("linux") else ("-rf",)
        deleted = subprocess.run(["rm", *flags, "--", *entries], capture_output=True, text=True, check=False)
        if deleted.returncode != 0:
            raise DriverError(deleted.stderr.strip())
        (home.folder / "machine.json").unlink(missing_ok=True)
        home.folder.rmdir()

    def _end(self, home: Home, record: Record) -> None:
        supervisor = self._supervisor(home)
        if supervisor is not None:  # First, or it would start anew what we end next. A node ends with it.
            end_processes(lambda: self._pids(home.id) & {supervisor})
        end_processes(lambda: self._pids(home.id))
        self._fall_walls(home, record)

    def _observe(self) -> dict[str, MachineState]:
        running = self._all_pids()
        try:
            ids = {entry.name for entry in self._machines.iterdir() if entry.is_dir()}
        except FileNotFoundError:
            ids = set()
        return {each: self._state(each, running.get(each, set())) for each in sorted(ids | running.keys())}

    def _state(self, machine_id: str, pids: set[int]) -> MachineState:
        home = self._home(machine_id)
        record = home.load() or Record(id=machine_id, owner="")
        supervision = Supervision(home.services, home.logs)
        numbers = self._host_pids(record, pids)
        processes = []
        for name in supervision.names():
            process = supervision.process(name)
            pid = numbers.get(process.pid) if process.pid is not None else None
            processes.append(Process(name, pid, pid is not None, process.restarts))
        return MachineState(machine_id, record.owner, record.digest, tuple(processes))

    def _run(self, machine_id: str, argv: tuple[str, ...], stdin: bytes, timeout: float) -> Ran:
        home = self._home(machine_id)
        record = home.load()
        supervisor = self._supervisor(home) if record is not None else None
        if record is None or supervisor is None:
            raise DriverError(f"machine {machine_id} is not running")
        command = self._enter(home, record, supervisor, self._program(argv, record))
        folder = self._working_folder(record, home)
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment(machine_id, record, home),
            cwd=folder,
            start_new_session=True,
        ) as process:
            try:
                stdout, stderr = process.communicate(stdin, timeout)
            except subprocess.TimeoutExpired as error:
                os.killpg(process.pid, signal.SIGKILL)
                raise DriverError(f"{argv[0]} did not end within {timeout:g} s") from error
        return Ran(process.returncode, stdout, stderr)

    def _home(self, machine_id: str) -> Home:
        return Home(self._machines / machine_id)

    # --- small things ----------------------------------------------------------------------------------

    def _supervisor(self, home: Home) -> int | None:
        """Host pid of the machine's runsvdir, found among its processes."""
        wanted = list(runsvdir_argv(self._inside(home.load() or Record(home.id, ""), home)(home.services)))
        return next((pid for pid in self._pids(home.id) if procs.command(pid) == wanted), None)

    def _environment(self, machine_id: str, spec: Machine | Record, home: Home) -> dict[str, str]:
        return {
            "PATH": self._path(),
            "HOME": str(home.root),
            "LANG": "C.UTF-8",
            procs.OWNER: machine_id,
            procs.STATE: self.mark,
        }

    def _path(self) -> str:
        """The engine's programs first, then the host's."""
        folders = [str(path) for name, path in sorted(self.engine.items()) if name == "bin"]
        return ":".join([*folders, os.environ.get("PATH", _DEFAULT_PATH), "/usr/sbin", "/sbin"])

    def _program(self, argv: tuple[str, ...], spec: Machine | Record) -> tuple[str, ...]:
        """`argv` with engine programs' paths as this host has them (in a node they are what they are)."""
        return tuple(self._host_path(word) if word.startswith(f"{ENGINE}/") else word for word in argv)

    def _host_path(self, program: str) -> str:
        folder, _, rest = program.removeprefix(f"{ENGINE}/").partition("/")
        if folder not in self.engine:
            raise DriverError(f"{program}: the engine has no folder {folder!r}")
        return str(self.engine[folder] / rest)

    def _walls_digest(self, spec: Machine) -> str:
        parts = (spec.isolation, spec.namespace, sorted(map(str, self.engine.items())), *self._walls(spec))
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]

    def _complaint(self, home: Home) -> str:
        try:
            text = home.boot_log.read_text(errors="replace").strip()
        except FileNotFoundError:
            text = ""
        return text[-2000:] or "it says nothing"
