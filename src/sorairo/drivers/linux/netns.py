"""Named network namespaces, in a folder of our own, entered by single threads.

A namespace is kept alive by a bind mount of it on `<folder>/<name>`, as `ip netns` does in its folder. A thread can
be in another namespace than its process: `enter` moves the calling thread and brings it back, so that a socket made,
a `/proc/sys/net` file written or a program started inside it belongs to that namespace. That is cheaper by a
process each than `nsenter`, and by half a millisecond a request than a netlink socket in Python.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from sorairo.drivers.protocols import DriverError

_CLONE_NEWNET = 0x40000000
_MS_BIND = 4096
_MNT_DETACH = 2
_SIOCGIFFLAGS = 0x8913
_SIOCGIFADDR = 0x8915
_IFF_UP = 0x1
_IFF_RUNNING = 0x40

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *args: object) -> None:
    if getattr(_libc, name)(*args) != 0:
        code = ctypes.get_errno()
        raise DriverError(f"{name}: {os.strerror(code)}")


class Namespaces:
    """The namespaces under `folder`. Methods block, for microseconds; call them from a worker thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where a program finds the namespace (`nsenter --net=PATH`). It need not exist."""
        return self.folder / name

    def exists(self, name: str) -> bool:
        """Whether a namespace is mounted there: an empty file left by a crash or a reboot is none."""
        try:
            return os.stat(self.path(name)).st_dev == os.stat("/proc/thread-self/ns/net").st_dev
        except FileNotFoundError:
            return False

    def create(self, name: str) -> bool:
        """Make the namespace when missing; True if it is new."""
        if self.exists(name):
            return False
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o444)
        with _restored():
            _call("unshare", _CLONE_NEWNET)
            _call("mount", b"/proc/thread-self/ns/net", os.fsencode(path), None, _MS_BIND, None)
        return True

    def delete(self, name: str) -> None:
        """Let go of the namespace. It lives on, unnamed, while processes are in it."""
        path = self.path(name)
        while self.exists(name):
            _call("umount2", os.fsencode(path), _MNT_DETACH)
        path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def enter(self, name: str) -> Iterator[None]:
        """Run the block, and the programs it starts, inside the namespace. Raises DriverError when there is none."""
        if not self.exists(name):
            raise DriverError(f"no network namespace {name}")
        with _restored():
            fd = os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC)
            try:
                _call("setns", fd, _CLONE_NEWNET)
            finally:
                os.close(fd)
            yield


@contextlib.contextmanager
def nameless() -> Iterator[None]:
    """Run the block in a new namespace that is gone after it."""
    with _restored():
        _call("unshare", _CLONE_NEWNET)
        yield


@contextlib.contextmanager
def _restored() -> Iterator[None]:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        # Cannot fail with a namespace's descriptor and the capability that got us here.
        _libc.setns(home, _CLONE_NEWNET)
        os.close(home)


# --- what a thread sees where it stands -----------------------------------------------------------------


def write_sysctls(values: Mapping[str, str]) -> None:
    """Set `net.*` values of the namespace the thread is in (`/proc/sys/net` shows each thread its own).

    A key that this kernel does not have (IPv6 off, for one) is passed over.
    """
    for key, value in values.items():
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/sys/net", key).write_text(value)


def has_link(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def link_up(name: str) -> bool:
    """Whether this end is set up. (Whether it has a carrier the kernel says too, but up to a second later.)"""
    flags = _ioctl(_SIOCGIFFLAGS, name)
    return flags is not None and bool(struct.unpack_from("H", flags, 16)[0] & _IFF_UP)


def await_carrier(name: str, patience: float = 1.0) -> None:
    """Wait until the kernel has noticed that the other end is up too, or for `patience` seconds.

    It does so by a work queue: for a millisecond or, on a busy machine, many of them after `ip link set up` has
    returned, packets are dropped, and the first connection takes a second longer for it.
    """
    until = time.monotonic() + patience
    while time.monotonic() < until:
        flags = _ioctl(_SIOCGIFFLAGS, name)
        if flags is not None and struct.unpack_from("H", flags, 16)[0] & _IFF_RUNNING:
            return
        time.sleep(0.0005)


def address_of(link: str) -> str | None:
    """The link's first IPv4 address, without prefix."""
    answer = _ioctl(_SIOCGIFADDR, link)
    return None if answer is None else socket.inet_ntoa(answer[20:24])


def _ioctl(request: int, link: str) -> bytes | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            return fcntl.ioctl(sock, request, struct.pack("16s24x", link.encode()))
        except OSError:
            return None
