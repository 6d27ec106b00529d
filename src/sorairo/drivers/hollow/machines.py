"""Machines in memory: nothing runs, everything can be made to fail. For tests of what stands above the drivers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

from sorairo.drivers.protocols import DriverError, Machine, MachineState, Process, Ran, digest

Command = Callable[[str, tuple[str, ...], bytes], Ran]
"""Answers `run`: machine id, argv, stdin."""


class HollowMachines:
    """`protocols.Machines` in memory.

    `fail` makes coming calls fail: `machines.fail["ensure_machine", "m1"] = DriverError("disk full")` until deleted;
    an id of `"*"` stands for every machine, as does the method `observe_machines`, which names none. With `half` set,
    a failing `ensure_machine` leaves a half-made machine behind, as a kill would. `crash` ends a process without its
    being started anew, until `revive` or the next `ensure_machine`. `calls` holds each call's method and machine.
    """

    def __init__(self, command: Command | None = None) -> None:
        self.specs: dict[str, Machine] = {}
        self.states: dict[str, MachineState] = {}
        self.lines: dict[tuple[str, str], list[str]] = {}
        self.fail: dict[tuple[str, str], Exception] = {}
        self.half = False
        self.calls: list[tuple[str, str]] = []
        self._command = command or (lambda machine, argv, stdin: Ran(0, b"", b""))
        self._pid = 100
        self._running: dict[tuple[str, str], str] = {}

    def root(self, machine_id: str) -> Path:
        """A path that does not exist: what a spec's `files` hold is in `specs`."""
        return Path("/nonexistent/machines") / machine_id / "root"

    async def ensure_machine(self, spec: Machine) -> None:
        try:
            self._call("ensure_machine", spec.id)
        except DriverError:
            if self.half:
                self.states[spec.id] = MachineState(spec.id, spec.owner, "", ())
            raise
        walls_changed = spec.id in self.specs and _walls(spec) != _walls(self.specs[spec.id])
        before = self.states.get(spec.id)
        was = {each.service: each for each in before.processes} if before else {}
        processes = []
        for service in spec.services:
            definition = repr((service, sorted(spec.files.items())))
            old = was.get(service.name, Process(service.name, None, False, -1))
            if walls_changed or not old.running or self._running.get((spec.id, service.name)) != definition:
                old = self._start(old)
            self._running[spec.id, service.name] = definition
            self.lines.setdefault((spec.id, service.name), [])
            processes.append(old)
        self.specs[spec.id] = spec
        self.states[spec.id] = MachineState(spec.id, spec.owner, digest(spec), tuple(processes))

    async def touch(self, machine_id: str, path: str) -> None:
        self._call("touch", machine_id)

    async def stop_machine(self, machine_id: str) -> None:
        self._call("stop_machine", machine_id)
        if machine_id in self.states:
            self._change(machine_id, lambda process: replace(process, pid=None, running=False))

    async def remove_machine(self, machine_id: str) -> None:
        self._call("remove_machine", machine_id)
        self.states.pop(machine_id, None)
        self.specs.pop(machine_id, None)
        for key in [key for key in self._running if key[0] == machine_id]:
            del self._running[key]
        for key in [key for key in self.lines if key[0] == machine_id]:
            del self.lines[key]

    async def observe_machines(self) -> dict[str, MachineState]:
        self._call("observe_machines", "*")
        return dict(self.states)

    async def run(self, machine_id: str, argv: tuple[str, ...], *, stdin: bytes = b"", timeout: float = 90.0) -> Ran:
        self._call("run", machine_id)
        if machine_id not in self.states or not any(p.running for p in self.states[machine_id].processes):
            raise DriverError(f"machine {machine_id} is not running")
        return self._command(machine_id, argv, stdin)

    async def logs(
        self, machine_id: str, service: str, *, follow: bool = False, lines: int = 100
    ) -> AsyncIterator[str]:
        for line in self.lines.get((machine_id, service), [])[-lines:]:
            yield line

    # --- what a test does to them ----------------------------------------------------------------------

    def crash(self, machine_id: str, service: str) -> None:
        """The process has ended, and its supervisor with it."""
        self._change(machine_id, lambda process: replace(process, pid=None, running=False), service)

    def revive(self, machine_id: str, service: str) -> None:
        self._change(machine_id, self._start, service)

    def lose(self, machine_id: str) -> None:
        """The host was booted: no process is left, what is on disk is."""
        self._change(machine_id, lambda process: replace(process, pid=None, running=False))

    def _change(self, machine_id: str, change: Callable[[Process], Process], service: str | None = None) -> None:
        state = self.states[machine_id]
        changed = tuple(change(each) if service in (None, each.service) else each for each in state.processes)
        self.states[machine_id] = replace(state, processes=changed)

    def _start(self, process: Process) -> Process:
        self._pid += 1
        return Process(process.service, self._pid, True, process.restarts + 1)

    def _call(self, method: str, machine_id: str) -> None:
        self.calls.append((method, machine_id))
        for key in ((method, machine_id), (method, "*")):
            if key in self.fail:
                raise self.fail[key]


def _walls(spec: Machine) -> tuple[object, ...]:
    return (spec.isolation, spec.namespace, spec.hostname, spec.cpus, spec.memory_bytes)
