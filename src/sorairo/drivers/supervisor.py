"""Process supervision, which is runit's: `runsvdir` keeps a `runsv` for each service, and a `svlogd` for its log.

This file only writes what they read and reads what they write. One machine is one `runsvdir` on one folder:

    sv/<service>/run            a few lines of sh: note the start, wait for the paths, exec
    sv/<service>/log/run        svlogd
    sv/<service>/started        "<digest> waiting" or "<digest> executed": the definition the running process has
    sv/<service>/starts         one byte for each execution
    sv/<service>/supervise/     runsv's own: `status` (20 bytes), `control` and `ok` (fifos), `lock`
    log/<service>/current       the log; older parts beside it as `@<TAI64N>.s`

A running process bears the digest of the definition it was started with, so nothing has to be remembered about which
of them must be started anew: what is written is compared with what runs.

Two traits of runsvdir are worked around. It looks at its folder every 5 s, and sleeps a second first if the folder
changed within the current one: so the folder's mtime is kept in the past (a counter, in effect), and a byte into the
pipe that runsvdir reads its children's complaints from ends its sleep at once. It is the price of not needing a
supervisor of our own, and it costs 5 ms instead of 5 s.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shlex
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from sorairo.drivers.protocols import DriverError, Process, Service

PROGRAMS = ("runsvdir", "runsv", "svlogd")
LOG_BYTES = 10_000_000
LOG_PARTS = 4
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*\Z")

_RUN = """\
#!/bin/sh
exec 2>&1 </dev/null
echo '{digest} waiting' >started
{wait}printf . >>starts
echo '{digest} executed' >started
cd {cwd} || exit 111
{exports}exec {argv}
"""
_WAIT = "while :; do [ -e {path} ] && break; sleep 0.03; done\n"
# Asking the kernel costs the listener nothing; a connection that says nothing would be noise in its log. Where there
# is no /proc there is no waiting, and the service tries for itself.
_WAIT_TCP = """\
while [ -r /proc/net/tcp ]; do grep -q ' {local} 00000000:0000 0A ' /proc/net/tcp && break; sleep 0.03; done
"""
# A connection to another namespace can only be tried. bash and timeout are on every Debian and Ubuntu.
_WAIT_CONNECT = """\
while command -v bash >/dev/null; do
  timeout 1 bash -c '</dev/tcp/{address}/{port}' 2>/dev/null && break; sleep 0.03
done
"""
_LOG_RUN = """\
#!/bin/sh
exec svlogd {folder}
"""


class Supervision:
    """One machine's services. `services` and `logs` are host folders; `inside` maps a host path to what the machine's
    own processes call it (the identity, unless the machine has its own root file system)."""

    def __init__(self, services: Path, logs: Path, inside: Callable[[Path], str] = str) -> None:
        self.services = services
        self.logs = logs
        self.inside = inside

    # --- what is written -------------------------------------------------------------------------------

    def lay(self, services: Iterable[tuple[Service, str]], *, env: Mapping[str, str], cwd: str) -> dict[str, str]:
        """Write the folder of each service and set those no longer named aside, for `end_leftovers`.

        Each service comes with a digest of whatever else, its files, it must be started anew for.
        Returns the digest of each service's definition, by name.
        """
        self.services.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)  # A machine may have no services yet: one to run commands in.
        wanted = {}
        for service, files in services:
            if not _NAME.match(service.name):
                raise DriverError(f"service name {service.name!r}: letters, digits, '-', '_' and '.' only")
            wanted[service.name] = self._lay_one(service, files, env, cwd)
        for folder in self._folders():
            if folder.name not in wanted:
                self._set_aside(folder)
        return wanted

    def _lay_one(self, service: Service, files: str, env: Mapping[str, str], cwd: str) -> str:
        exports = "".join(f"export {k}={shlex.quote(v)}\n" for k, v in sorted({**env, **service.env}.items()))
        # What is waited for is relative to `cwd`; `started` and `starts` are where runsv starts it.
        wait = "".join(_wait(each, cwd) for each in service.wait_for)
        parts = {"wait": wait, "exports": exports, "argv": shlex.join(service.argv), "cwd": shlex.quote(cwd)}
        digest = hashlib.sha256(repr((sorted(parts.items()), files)).encode()).hexdigest()[:32]
        run = _RUN.format(digest=digest, **parts)
        folder = self.services / service.name
        log = self.logs / service.name
        if not folder.is_dir():
            log.mkdir(parents=True, exist_ok=True)
            (log / "config").write_text(f"s{LOG_BYTES}\nn{LOG_PARTS}\n")
            # A name with a dot is not runsvdir's: it must not see the folder before it is whole.
            new = self.services / f".new-{service.name}"
            shutil.rmtree(new, ignore_errors=True)
            (new / "log").mkdir(parents=True)
            _write(new / "run", run)
            _write(new / "log" / "run", _LOG_RUN.format(folder=shlex.quote(self.inside(log))))
            new.rename(folder)
        elif _read(folder / "run") != run:
            _write(folder / "run", run)
        return digest

    def _set_aside(self, folder: Path) -> None:
        gone = self.services / f".gone-{folder.name}"
        if gone.exists():
            self._end(gone)
        folder.rename(gone)

    def backdate(self) -> None:
        """Give the folder an mtime it never had, in the past: runsvdir then rescans without sleeping first."""
        second = int(self.services.stat().st_mtime)
        if second >= 1_500_000_000:
            second = int(time.time()) - 1_000_000_000
        os.utime(self.services, (second + 1, second + 1))

    def wake(self, runsvdir: int) -> None:
        """Have the runsvdir of that process id rescan now."""
        self.backdate()
        try:
            pipe = os.open(f"/proc/{runsvdir}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return  # No /proc, or not ours to write to: it rescans within 5 s.
        try:
            os.write(pipe, b".")
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EPIPE):
                raise
        finally:
            os.close(pipe)

    # --- what runs -------------------------------------------------------------------------------------

    def supervised(self, name: str) -> bool:
        """Whether a runsv tends the service: it alone has the read end of this fifo open."""
        return _listening(self.services / name)

    def started(self, name: str) -> str | None:
        """Digest of the definition that the service's process has now; None before its first start."""
        text = _read(self.services / name / "started")
        return text.split()[0] if text else None

    def restart(self, name: str) -> None:
        """End the service's process (SIGTERM): runsv starts it anew."""
        self.control(name, b"t")

    def kill(self, name: str) -> None:
        self.control(name, b"k")

    def control(self, name: str, letter: bytes) -> None:
        """Give runsv a command of `sv(8)`: t(erm), k(ill), d(own), u(p), x (exit). Nothing happens if it has gone."""
        _control(self.services / name, letter)

    def want(self, *, up: bool) -> None:
        """Have every service run, or end and stay so."""
        for folder in self._folders():
            _control(folder, b"u" if up else b"d")

    def process(self, name: str) -> Process:
        """The service as it is. Its pid is as its runsv sees it, so in the machine's own pid namespace."""
        folder = self.services / name
        started = _read(folder / "started") or ""  # Before `starts`, which is written first.
        try:
            restarts = (folder / "starts").stat().st_size - 1
        except FileNotFoundError:
            restarts = -1
        pid = _status_pid(folder) if started.endswith("executed\n") and _listening(folder) else None
        return Process(service=name, pid=pid, running=pid is not None, restarts=restarts)

    def names(self) -> list[str]:
        return sorted(folder.name for folder in self._folders())

    def end_leftovers(self) -> None:
        """Finish the services that `lay` set aside (runsvdir has sent their runsv a SIGTERM), and their logs."""
        for folder in list(self.services.glob(".gone-*")):
            self._end(folder)

    def _end(self, folder: Path) -> None:
        _control(folder, b"x")
        begun = time.monotonic()
        while _listening(folder):
            if time.monotonic() - begun > 5:
                _control(folder, b"k")
            if time.monotonic() - begun > 10:
                raise DriverError(f"{folder.name.removeprefix('.gone-')} does not end")
            time.sleep(0.01)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(self.logs / folder.name.removeprefix(".gone-"), ignore_errors=True)

    def _folders(self) -> list[Path]:
        try:
            return [entry for entry in self.services.iterdir() if not entry.name.startswith(".")]
        except FileNotFoundError:
            return []


def _wait(what: str, cwd: str) -> str:
    if what.startswith("connect:"):
        address, _, port = what.removeprefix("connect:").rpartition(":")
        return _WAIT_CONNECT.format(address=socket.inet_ntoa(socket.inet_aton(address)), port=int(port))
    if not what.startswith("tcp:"):
        return _WAIT.format(path=shlex.quote(os.path.join(cwd, what)))
    address, _, port = what.removeprefix("tcp:").rpartition(":")
    # As the kernel prints it: the address as one number in the machine's own byte order.
    number = int.from_bytes(socket.inet_aton(address), sys.byteorder)
    return _WAIT_TCP.format(local=f"{number:08X}:{int(port):04X}")


def runsvdir_argv(services: str) -> tuple[str, ...]:
    """`-P`: each runsv in a session of its own. The placeholder turns on the pipe that `Supervision.wake` writes to;
    it also keeps the last complaints of the supervisors where `ps` shows them."""
    return ("runsvdir", "-P", services, "log: " + "." * 200)


def find_programs(path: str) -> None:
    """Raise DriverError unless runit's programs are on `path` (a `PATH`)."""
    for program in PROGRAMS:
        if shutil.which(program, path=path) is None:
            raise DriverError(f"{program} (of runit) is not on PATH {path}")


def end_processes(pids: Callable[[], set[int]], timeout: float = 10.0) -> None:
    """SIGKILL all of `pids()`, asked again until it is empty: a process may fork while we look.

    Raises DriverError naming what is left after `timeout` seconds (a process in the kernel, on a dead file server).
    """
    deadline = time.monotonic() + timeout
    while left := pids():
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise DriverError("processes do not end: " + ", ".join(f"{p} {_name(p)}" for p in sorted(left)))
        time.sleep(0.004)


def _name(pid: int) -> str:
    return (_read(Path(f"/proc/{pid}/comm")) or "?").strip()


def _control(folder: Path, letter: bytes) -> None:
    try:
        fifo = os.open(folder / "supervise" / "control", os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return
        raise
    try:
        os.write(fifo, letter)
    finally:
        os.close(fifo)


def _listening(folder: Path) -> bool:
    try:
        os.close(os.open(folder / "supervise" / "ok", os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return False
        raise
    return True


def _status_pid(folder: Path) -> int | None:
    try:
        status = (folder / "supervise" / "status").read_bytes()
    except FileNotFoundError:
        return None
    # TAI64N of the last change (12 bytes), pid (4, little endian), paused, wanted, got TERM, state (1: it runs)
    if len(status) != 20 or status[19] != 1:
        return None
    return int.from_bytes(status[12:16], "little") or None


def _write(path: Path, text: str) -> None:
    """Replace, never overwrite: a shell may be reading it."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.chmod(0o755)
    new.rename(path)


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
