"""Processes of this host, and whose they are: read from the kernel each time, never from a pid file."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

OWNER = "SORAIRO_OWNER"
STATE = "SORAIRO_STATE"


def state_mark(state: Path) -> str:
    """What tells the processes of this state folder's machines from those of another installation: 8 digits."""
    return hashlib.sha256(os.fsencode(state.resolve())).hexdigest()[:8]


def owned(mark: str) -> dict[str, set[int]]:
    """Live processes that bear the mark, by machine: those whose environment says so and those of their sessions.

    A process that clears its environment keeps its session; one that does both is only found by its cgroup.
    """
    if not sys.platform.startswith("linux"):
        return _owned_by_ps(mark)
    machines: dict[str, set[int]] = {}
    sessions: dict[int, str] = {}
    rest: dict[int, int] = {}
    wanted = f"{STATE}={mark}".encode()
    for pid in _pids() - {os.getpid()}:
        session = _session(pid)
        if session is None:
            continue
        machine = _environ(pid, wanted)
        if machine is None:
            rest[pid] = session
        else:
            machines.setdefault(machine, set()).add(pid)
            sessions[session] = machine
    for pid, session in rest.items():
        if session in sessions:
            machines[sessions[session]].add(pid)
    return machines


def command(pid: int) -> list[str]:
    """The process's arguments; empty when it has ended."""
    if not sys.platform.startswith("linux"):
        listed = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return listed.stdout.split()
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


def alive(pids: Iterable[int]) -> set[int]:
    """Those of `pids` that have not ended. A zombie has: whoever should reap it may never do so."""
    return {pid for pid in pids if _session(pid) is not None}


def namespace_pid(pid: int) -> int | None:
    """The process's number in its own pid namespace; None when it has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as status:
            for line in status:
                if line.startswith("NSpid:"):
                    return int(line.split()[-1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None


def _pids() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdecimal()}


def _session(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # After the name in parentheses, which may hold anything: state, ppid, pgrp, session.
    state, _, _, session = text[text.rindex(b")") + 2 :].split()[:4]
    return None if state in (b"Z", b"X") else int(session)


def _environ(pid: int, wanted: bytes) -> str | None:
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # Another user's, or ended meanwhile.
        return None
    if wanted not in entries:
        return None
    prefix = f"{OWNER}=".encode()
    return next((entry[len(prefix) :].decode() for entry in entries if entry.startswith(prefix)), None)


def _owned_by_ps(mark: str) -> dict[str, set[int]]:
    listed = subprocess.run(["ps", "axEww", "-o", "pid=,command="], capture_output=True, text=True, check=False)
    machines: dict[str, set[int]] = {}
    for line in listed.stdout.splitlines():
        pid, _, rest = line.strip().partition(" ")
        words = rest.split()
        if f"{STATE}={mark}" in words:
            owner = next((word.partition("=")[2] for word in words if word.startswith(f"{OWNER}=")), None)
            if owner:
                machines.setdefault(owner, set()).add(int(pid))
    return machines
