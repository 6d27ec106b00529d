"""Golden image stores: container images imported and unpacked once, and then in every node within milliseconds.

    <state>/images/<digest>/    a /var/lib/containerd, as a containerd of its own left it

A node gets a copy in which the layers and their unpacked files are hard links: containerd never changes those (a layer
is a name for its content, and what a container writes goes to an overlay's upper folder), so they are on disk once and,
what counts more, once in memory. Databases and whatever else there is are copied.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sorairo.drivers.protocols import DriverError

NAMESPACE = "k8s.io"
"""containerd's namespace for what kubelet may see."""
BUILD_SECONDS = 300.0
_LINKED = ("io.containerd.content.v1.content/blobs", "io.containerd.snapshotter.v1.overlayfs/snapshots")
_LEFT_OUT = ("io.containerd.grpc.v1.introspection",)
"""containerd's own identity, which it makes anew."""

# The socket is where nobody else sees it, and by a short name: the kernel takes 108 bytes, whatever the state's path.
_BUILD = """\
set -e
umask 022
exec 3<&0 </dev/null
mount -t tmpfs tmpfs /dev/shm
containerd --config {work}/config.toml >{work}/log 2>&1 3<&- &
containerd=$!
trap 'kill -9 $containerd' EXIT
until [ -S /dev/shm/socket ]; do kill -0 $containerd; sleep 0.02; done
for archive in {archives}; do
  ctr --address /dev/shm/socket --namespace {namespace} \\
    images import --snapshotter overlayfs "$archive" >>{work}/log 2>&1
done
trap - EXIT
kill $containerd
wait $containerd || true
sync -f {work}/root
mv -T {work}/root {golden}
rm -rf {work}
"""
_CONFIG = """\
version = 3
root = "{work}/root"
state = "{work}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.nri.v1.nri"]
[grpc]
  address = "/dev/shm/socket"
"""


@dataclass(frozen=True, slots=True)
class ImageStores:
    """`archives`: by name, what may be in a store (OCI layouts or `docker save`, as tar files). `programs`: the folder
    of containerd and ctr."""

    folder: Path
    archives: Mapping[str, Path]
    programs: Path

    def golden(self, names: tuple[str, ...]) -> Path:
        """The store that holds exactly these images, built on first use (a second or two). Raises DriverError."""
        golden = self.folder / self._digest(names)
        if golden.is_dir():
            return golden
        self.folder.mkdir(parents=True, exist_ok=True)
        work = self.folder / f".{golden.name}"
        lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not golden.is_dir():
                self._build(names, work, golden, lock)
        finally:
            os.close(lock)
        return golden

    def _build(self, names: tuple[str, ...], work: Path, golden: Path, lock: int) -> None:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        (work / "config.toml").write_text(_CONFIG.format(work=work))
        script = _BUILD.format(
            work=shlex.quote(str(work)),
            golden=shlex.quote(str(golden)),
            archives=shlex.join(str(self.archives[name]) for name in names),
            namespace=NAMESPACE,
        )
        # Mounts and processes end with the script whatever happens, and the script ends by itself: it holds the lock,
        # so that a successor of ours waits for it. (containerd mounts each layer to unpack it.)
        walls = ("unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc")
        built = subprocess.run(
            (*walls, "/bin/sh", "-c", script),
            stdin=lock,
            capture_output=True,
            text=True,
            env={"PATH": f"{self.programs}:{os.environ.get('PATH', os.defpath)}"},
            start_new_session=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
        if built.returncode != 0:
            log = work / "log"
            told = log.read_text(errors="replace").splitlines()[-5:] if log.exists() else []
            raise DriverError(f"images {', '.join(names)}: {built.stderr.strip()} {' '.join(told)}")

    def lay(self, names: tuple[str, ...], target: Path) -> None:
        """Make `target`, a node's /var/lib/containerd, start with these images. What is there is left alone."""
        if not names or target.exists():
            return
        golden = self.golden(names)
        new = target.with_name(f".{target.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy(golden, new, "--link")
        for folder, folders, files in os.walk(new):
            relative = os.path.relpath(folder, new)
            folders[:] = [each for each in folders if os.path.normpath(f"{relative}/{each}") not in _LINKED]
            for name in files:
                ours = os.path.join(folder, name)
                theirs = golden / os.path.relpath(ours, new)
                os.unlink(ours)
                shutil.copy2(theirs, ours, follow_symlinks=False)
        for name in _LEFT_OUT:
            shutil.rmtree(new / name, ignore_errors=True)
        new.rename(target)

    def _digest(self, names: tuple[str, ...]) -> str:
        seen = hashlib.sha256()
        for name in names:
            if name not in self.archives:
                raise DriverError(f"no image store {name!r}; there are: {', '.join(sorted(self.archives)) or 'none'}")
        try:
            for path in (self.programs / "containerd", *(self.archives[name] for name in names)):
                stat = path.stat()
                seen.update(f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
        except FileNotFoundError as error:
            raise DriverError(str(error)) from error
        return seen.hexdigest()[:16]


def _copy(source: Path, target: Path, *flags: str) -> None:
    copied = subprocess.run(["cp", "-a", *flags, source, target], capture_output=True, text=True, check=False)
    if copied.returncode != 0:
        raise DriverError(copied.stderr.strip())
