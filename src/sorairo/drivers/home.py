"""A machine's folder on the host: its record, its lock, its files.

    <state>/machines/<id>/
        machine.json    the record: written before anything else is made, removed after everything else is gone
        root/           what `Machines.root` shows
        sv/ log/        supervision (see `supervisor.py`)
        boot.log        complaints of the last launch

Only root, or whoever runs sorairo, may enter it: it holds private keys.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath

from sorairo.drivers.protocols import DriverError, File, Machine, Service

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")


@dataclass(frozen=True, slots=True)
class Record:
    """What has to be known of a machine to run a command in it, tell whose it is, and take it away."""

    id: str
    owner: str
    isolation: str = "process"
    namespace: str | None = None
    digest: str = ""
    """Of the spec, once ensured to its end."""
    walls: str = ""
    """Of the part of the spec that only a new start of the whole machine can change."""
    files: tuple[str, ...] = ()
    """Those the spec named, so that one no longer named can be told from the machine's own."""


@dataclass(frozen=True)
class Home:
    """Paths and plain file work of one machine. Nothing here blocks for longer than the disk does, but `lock`."""

    folder: Path
    id: str = field(init=False)

    def __post_init__(self) -> None:
        if not _ID.match(self.folder.name):
            raise DriverError(f"machine id {self.folder.name!r}: letters, digits, '-', '_' and '.' only")
        object.__setattr__(self, "id", self.folder.name)

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def services(self) -> Path:
        return self.folder / "sv"

    @property
    def logs(self) -> Path:
        return self.folder / "log"

    @property
    def boot_log(self) -> Path:
        return self.folder / "boot.log"

    def make(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)

    @contextlib.contextmanager
    def lock(self, timeout: float = 60.0) -> Iterator[int]:
        """Hold the machine for oneself. Yields the lock's file descriptor: a child that inherits it keeps the machine
        locked until it closes it, so a launch whose parent was killed half-way is not started a second time.

        Raises FileNotFoundError if there is no such machine, DriverError when it stays locked for `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Another may have removed the folder, and even made it anew, since it was opened.
                if self._is(handle):
                    yield handle
                    return
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                if time.monotonic() > deadline:
                    raise DriverError(f"machine {self.id} is busy") from error
                time.sleep(0.005)
            finally:
                os.close(handle)

    def _is(self, handle: int) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), os.stat(self.folder))
        except FileNotFoundError:
            return False

    # --- record ----------------------------------------------------------------------------------------

    def load(self) -> Record | None:
        """The record; None if there is none. One that cannot be read (a torn disk) counts as nobody's machine."""
        try:
            document = json.loads((self.folder / "machine.json").read_text())
            return Record(**{**document, "files": tuple(document["files"])})
        except FileNotFoundError:
            return Record(id=self.id, owner="") if self.folder.is_dir() else None
        except (ValueError, TypeError, KeyError):
            return Record(id=self.id, owner="")

    def save(self, record: Record) -> Record:
        new = self.folder / ".machine.json"
        new.write_text(json.dumps(asdict(record), indent=1) + "\n")
        new.rename(self.folder / "machine.json")
        return record

    # --- files -----------------------------------------------------------------------------------------

    def write_files(self, record: Record, files: Mapping[str, File]) -> Record:
        """Make the root hold `files`, and no longer those that the record has and `files` has not.

        Paths are walked without following links: what a machine's processes put there must not lead out of it.
        """
        named = {_relative(path): file for path, file in files.items()}
        if not set(named) <= set(record.files):
            record = self.save(replace(record, files=tuple(sorted({*named, *record.files}))))
        for path, file in named.items():
            with self._parent(path, make=True) as (parent, name):
                _write(parent, name, file, path)
        for path in set(record.files) - set(named):
            with contextlib.suppress(FileNotFoundError), self._parent(path, make=False) as (parent, name):
                os.unlink(name, dir_fd=parent)
        return replace(record, files=tuple(sorted(named)))

    @contextlib.contextmanager
    def _parent(self, path: str, *, make: bool) -> Iterator[tuple[int, str]]:
        *folders, name = PurePosixPath(path).parts
        handle = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for folder in folders:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(folder, 0o755, dir_fd=handle)
                try:
                    below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
                except NotADirectoryError as error:
                    raise DriverError(f"{path}: {folder} is not a folder of machine {self.id}") from error
                os.close(handle)
                handle = below
            yield handle, name
        finally:
            os.close(handle)


def _write(parent: int, name: str, file: File, path: str) -> None:
    try:
        there = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        pass
    else:
        if stat.S_ISDIR(there.st_mode):
            raise DriverError(f"{path} is a folder")
        if stat.S_ISREG(there.st_mode) and stat.S_IMODE(there.st_mode) == file.mode:
            with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=parent), "rb") as old:
                if old.read() == file.content:
                    return
    new = f".{name}.sorairo"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new, dir_fd=parent)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=parent), "wb") as handle:
        handle.write(file.content)
        os.fchmod(handle.fileno(), file.mode)
    os.rename(new, name, src_dir_fd=parent, dst_dir_fd=parent)


def _relative(path: str) -> str:
    parts = PurePosixPath(path.lstrip("/")).parts
    if not parts or ".." in parts:
        raise DriverError(f"not a file's path: {path!r}")
    return "/".join(parts)


def files_digest(service: Service, spec: Machine) -> str:
    """Digest of the files that `service` reads only at its start (see `File.restarts`)."""
    seen = hashlib.sha256()
    words = " ".join((*service.argv, *service.env.values()))
    everything = " ".join(word for each in spec.services for word in (*each.argv, *each.env.values()))
    for path, file in sorted(spec.files.items()):
        if file.restarts is not None:
            concerned = service.name in file.restarts
        else:
            concerned = _named(path, words) or not _named(path, everything)
        if concerned:
            seen.update(f"{path}\0{file.mode}\0{hashlib.sha256(file.content).hexdigest()}\0".encode())
    return seen.hexdigest()


def _named(path: str, words: str) -> bool:
    folder = os.path.dirname(path)
    return path in words or (len(folder.strip("/")) > 0 and folder in words)
