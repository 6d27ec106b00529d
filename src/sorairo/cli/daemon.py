"""Starting and stopping the daemon: the one thing the command line does behind ARM's back."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from sorairo.cli.client import answers
from sorairo.cli.problem import Problem
from sorairo.state import PORT, Config, Daemon, State

STARTS_WITHIN = 60.0
"""Seconds a start may take on a slow, busy machine."""
STOPS_WITHIN = 20.0
DOCTOR = "see what this machine lacks with: sorairo doctor"


def main_of(state: State, *more: str) -> list[str]:
    return [sys.executable, "-m", "sorairo.main", "--state", str(state.root), *more]


def spawn(state: State) -> subprocess.Popen[bytes]:
    """Start the daemon, in a session of its own."""
    with contextlib.suppress(FileNotFoundError):
        state.output.replace(state.output.with_suffix(".out.1"))
    with state.output.open("wb") as output:
        return subprocess.Popen(
            main_of(state),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
            umask=0o077,
        )


def ready(state: State, config: Config, process: subprocess.Popen[bytes]) -> Daemon:
    """Wait until ARM answers. Raises Problem with the end of the log."""
    began = time.time()
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Problem(
                f"sorairo ended while starting (exit code {process.returncode}); its log is {state.log}",
                DOCTOR,
                details=last_lines(state, began),
            )
        daemon = state.daemon()
        # Nothing listens for the first second, and a refused connection costs less than a TLS context.
        if daemon is not None and daemon.pid and _listens(config) and answers(state, config):
            return daemon
        time.sleep(0.02)
    process.kill()
    process.wait()
    raise Problem(
        f"sorairo did not answer within {STARTS_WITHIN:.0f} s; its log is {state.log}",
        DOCTOR,
        details=last_lines(state, began),
    )


def stop(daemon: Daemon) -> None:
    """End the daemon; clusters go on. It loses nothing when it has to be killed: acknowledged is on disk."""
    try:
        handle = os.pidfd_open(daemon.pid)
    except ProcessLookupError:
        return
    try:
        for last in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, last)
            if select.select([handle], [], [], STOPS_WITHIN)[0]:
                return
    finally:
        os.close(handle)
    raise Problem(f"the daemon (pid {daemon.pid}) does not end", "it may hang in the kernel: look at dmesg")


def finish(state: State, how: str, timeout: float = 600.0) -> None:
    """Run the daemon's program once with `--stop` or `--purge`. Raises Problem when something is left."""
    began = time.time()
    with state.output.open("wb") as output:
        done = subprocess.run(
            main_of(state, how), stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", timeout=timeout
        )
    if done.returncode != 0:
        raise Problem(
            f"not everything could be ended (exit code {done.returncode}); {state.root} is kept",
            "try again; what is left is named above and in " + str(state.log),
            details=last_lines(state, began),
        )


def choose_port(state: State, asked: int | None, host: str) -> int:
    """The port asked for, the one kept from before, or the first free one from 8443 on.

    Clients remember it, so a kept one that someone else has taken is a Problem, not a reason for another.
    """
    kept = state.config()
    if asked is None and kept is None:
        for port in range(PORT, PORT + 50):
            if is_free(host, port):
                return port
        raise Problem(f"ports {PORT} to {PORT + 49} are all taken", "name a free one with --port")
    port = asked if asked is not None else kept.port if kept else PORT
    if not is_free(host, port):
        raise Problem(
            f"port {port} is in use by another program",
            "end that program, or take another port with: sorairo up --port N "
            "(shells and kubeconfigs that know the old one need a fresh `sorairo env`)",
        )
    return port


def is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        # As servers do it: addresses in TIME_WAIT do not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _listens(config: Config) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((config.host, config.port)) == 0


def last_lines(state: State, since: float, count: int = 12) -> list[str]:
    """The end of what the daemon wrote since it was started: what it printed, then its log, in plain words."""
    lines: deque[str] = deque(maxlen=count)
    for path in (state.log, state.output):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime >= since - 1:
                lines.extend(_plain(path))
    return list(lines)


def _plain(path: Path) -> Sequence[str]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 16384))
        raw = file.read().decode("utf-8", "replace").splitlines()
    plain = []
    for line in raw[-40:]:
        try:
            record = json.loads(line)
            more = " ".join(
                f"{k}={v}" for k, v in record.items() if k not in ("event", "level", "logger", "timestamp", "exception")
            )
            plain.append(f"{record.get('level', '')}: {record.get('event', '')} {more}".strip())
            plain += str(record.get("exception", "")).splitlines()[-1:]
        except (ValueError, AttributeError):
            plain.append(line)
    return plain
