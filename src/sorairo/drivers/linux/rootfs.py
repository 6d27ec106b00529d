"""A node's root file system: the host's programs read-only, everything else its own.

    /usr, and /bin /lib … where the host has not merged them     the host's, read-only
    /opt/sorairo/<folder>                                        the engine's, read-only
    /etc /var /opt /root /home …                                 folders of the node's home, kept when it stops
    /run /tmp /dev                                               in memory
    /proc /sys /sys/fs/cgroup                                    of the node's own namespaces, its size as asked for

Nothing of it is mounted in the host's namespace: `boot_script` is run by what becomes process 1 of the node's own,
so all of it goes when the node does. One `mount --all` with a table of our own does the mounting (a few milliseconds),
and whoever wants to know what a node is made of reads that table: `<home>/fstab`.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sorairo.drivers.home import Home
from sorairo.drivers.linux import cgroups
from sorairo.drivers.linux.size import Size, write_size
from sorairo.drivers.protocols import DriverError, Machine
from sorairo.drivers.supervisor import runsvdir_argv

SERVICES = "/run/sv"
LOGS = "/var/log/services"
ENGINE = "/opt/sorairo"
PATH = f"{ENGINE}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix", "gnu")
"""Links into /usr on most hosts; where they are folders, they are laid in as /usr is."""
_OWN = (
    "etc",
    "var/lib",
    "var/log/services",
    "var/tmp",
    "var/cache",
    "opt/sorairo",
    "root",
    "home",
    "srv",
    "mnt",
    "media",
)
_MOUNT_POINTS = ("usr", "run", "tmp", "dev", "proc", "sys")
_ETC = ("ld.so.cache", "ld.so.conf", "localtime", "nsswitch.conf", "protocols", "services", "shells", "ssl/openssl.cnf")
"""Files a node gets of the host's /etc, copied."""
_ETC_FOLDERS = (
    "alternatives",
    "ld.so.conf.d",
    "ssl/certs",
    "pki/tls/certs",
    "pki/ca-trust/extracted",
    "crypto-policies",
)
"""Folders of it that are laid in read-only: how programs are found, and whom to trust. Nowhere near a private key."""
_BUNDLES = ("etc/ssl/certs/ca-certificates.crt", "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem")
"""Files of those with all whom to trust: what OpenSSL, GnuTLS and Go read."""
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "fuse", "kmsg", "loop-control", "net/tun")
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
# What kubelet insists on (pkg/kubelet/cm, setupKernelTunables) and would otherwise set for the whole host.
_TUNABLES = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
_GROUP = "root:x:0:\ntty:x:5:\ndisk:x:6:\nnogroup:x:65534:\n"


@dataclass(frozen=True, slots=True)
class NodeRoot:
    """The root of one node. `engine`: folder names below /opt/sorairo, and where they are on the host; `authority`: a
    certificate (PEM) to be trusted in it besides those that the host trusts."""

    home: Home
    spec: Machine
    engine: Mapping[str, Path]
    authority: Path | None = None

    @property
    def fakes(self) -> Path:
        """Files that stand in for the kernel's, which tell of the whole host."""
        return self.home.folder / "size"

    def prepare(self) -> None:
        """Lay out the folders and the files that are not in the spec. Idempotent; what the node changed is kept."""
        root = self.home.root
        root.chmod(0o755)
        for name in (*_OWN, *_MOUNT_POINTS, *(f"opt/sorairo/{each}" for each in self.engine)):
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "var/tmp").chmod(0o1777)
        _link(root / "var/run", "/run")
        for name in _MERGED:
            host = Path("/", name)
            if host.is_symlink():
                _link(root / name, os.readlink(host))
            elif host.is_dir():
                (root / name).mkdir(exist_ok=True)
        self._prepare_etc(root / "etc")
        links = self.home.folder / "dev"
        links.mkdir(exist_ok=True)
        for name, target in _DEVICE_LINKS.items():
            _link(links / name, target)
        shutil.rmtree(self.fakes, ignore_errors=True)
        self.fakes.mkdir()
        for name, value in _TUNABLES.items():
            (self.fakes / name.replace("/", ".")).write_text(f"{value}\n")
        (self.fakes / "boot_id").write_text(f"{uuid.uuid4()}\n")
        (self.fakes / "product_uuid").write_text(f"{uuid.UUID(hex=self._machine_id())}\n")
        (self.fakes / "swaps").write_text("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")
        size = Size(cpus=self.spec.cpus, memory_bytes=self.spec.memory_bytes)
        write_size(self.fakes, size, sorted(os.sched_getaffinity(0)), int(self._machine_id(), 16))
        (self.home.folder / "fstab").write_text(
            "".join(f"{' '.join(map(_escape, line))} 0 0\n" for line in self.mounts())
        )

    def _machine_id(self) -> str:
        return hashlib.sha256(f"{self.home.folder}\0{self.spec.owner}".encode()).hexdigest()[:32]

    def _prepare_etc(self, etc: Path) -> None:
        hostname = self.spec.hostname or self.spec.id
        ours = {
            "hostname": f"{hostname}\n",
            "hosts": f"127.0.0.1 localhost\n127.0.1.1 {hostname}\n::1 localhost ip6-localhost ip6-loopback\n",
            "machine-id": f"{self._machine_id()}\n",
            "passwd": _PASSWD,
            "group": _GROUP,
            "resolv.conf": "",
        }
        for name, text in ours.items():
            if not os.path.lexists(etc / name):
                (etc / name).write_text(text)
        _link(etc / "mtab", "/proc/self/mounts")
        _link(etc / "os-release", "/usr/lib/os-release")
        for name in _ETC:
            host = Path("/etc", name)
            if os.path.lexists(host) and not os.path.lexists(etc / name):
                (etc / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(host, etc / name, follow_symlinks=False)
        for name in _etc_folders():
            (etc / name).mkdir(parents=True, exist_ok=True)
        self._prepare_trust(etc.parent)

    def _prepare_trust(self, root: Path) -> None:
        """The host's bundle and the authority beside it, to be laid over the bundle; where the host has none, ours."""
        own = self.authority.read_bytes() if self.authority and self.authority.exists() else b""
        for number, name in enumerate(_BUNDLES):
            host = Path("/", name)
            if own and host.is_file():
                (self.home.folder / f"trusted-{number}").write_bytes(host.read_bytes().rstrip(b"\n") + b"\n" + own)
        if own and not any(Path("/", name).parent.is_dir() for name in _BUNDLES):
            (root / _BUNDLES[0]).parent.mkdir(parents=True, exist_ok=True)
            (root / _BUNDLES[0]).write_bytes(own)

    # --- mounts ----------------------------------------------------------------------------------------

    def mounts(self) -> list[tuple[str, str, str, str]]:
        """Source, target, type, options, in order."""
        root = str(self.home.root)
        lines = [(root, root, "none", "bind"), ("/usr", f"{root}/usr", "none", "bind,ro")]
        lines += [
            (f"/{name}", f"{root}/{name}", "none", "bind,ro")
            for name in _MERGED
            if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}")
        ]
        lines += [
            (str(path), f"{root}{ENGINE}/{name}", "none", "bind,ro") for name, path in sorted(self.engine.items())
        ]
        lines += [(f"/etc/{name}", f"{root}/etc/{name}", "none", "bind,ro") for name in _etc_folders()]
        trusted = {name: self.home.folder / f"trusted-{number}" for number, name in enumerate(_BUNDLES)}
        lines += [(str(file), f"{root}/{name}", "none", "bind,ro") for name, file in trusted.items() if file.exists()]
        lines += [
            ("tmpfs", f"{root}/run", "tmpfs", "mode=755"),
            (str(self.home.services), f"{root}{SERVICES}", "none", "bind,X-mount.mkdir"),
            (str(self.home.logs), f"{root}{LOGS}", "none", "bind"),
            ("tmpfs", f"{root}/tmp", "tmpfs", "mode=1777"),
            ("tmpfs", f"{root}/dev", "tmpfs", "mode=755"),
            ("devpts", f"{root}/dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=620,gid=5,X-mount.mkdir"),
            ("tmpfs", f"{root}/dev/shm", "tmpfs", "mode=1777,X-mount.mkdir"),
            ("mqueue", f"{root}/dev/mqueue", "mqueue", "X-mount.mkdir"),
            # The kernel lets a pod with a user namespace of its own mount /proc and /sys only while its node has them
            # somewhere whole, with nothing laid over. (Not below /dev: containerd walks that for privileged pods.)
            ("proc", f"{root}/run/whole/proc", "proc", "X-mount.mkdir"),
            ("sysfs", f"{root}/run/whole/sys", "sysfs", "X-mount.mkdir"),
            ("proc", f"{root}/proc", "proc", "nosuid,nodev,noexec"),
            ("sysfs", f"{root}/sys", "sysfs", "nosuid,nodev,noexec"),
            *self._fake_mounts(root),
            *_cgroup_mounts(f"{root}/sys/fs/cgroup"),
        ]
        return lines

    def _fake_mounts(self, root: str) -> list[tuple[str, str, str, str]]:
        over = {
            "boot_id": "proc/sys/kernel/random/boot_id",
            "swaps": "proc/swaps",
            "product_uuid": "sys/devices/virtual/dmi/id/product_uuid",
            "meminfo": "proc/meminfo",
            "cpuinfo": "proc/cpuinfo",
            "cpu": "sys/devices/system/cpu",
            "node": "sys/devices/system/node",
            **{name.replace("/", "."): f"proc/sys/{name}" for name in _TUNABLES},
        }
        return [
            (str(self.fakes / name), f"{root}/{target}", "none", "bind")
            for name, target in over.items()
            if (self.fakes / name).exists() and os.path.exists(f"/{target}")
        ]

    # --- boot ------------------------------------------------------------------------------------------

    def boot_script(self) -> str:
        """What process 1 of the node does before it becomes the supervisor. Complaints go to its standard error."""
        root = shlex.quote(str(self.home.root))
        home = shlex.quote(str(self.home.folder))
        devices = " ".join(name for name in _DEVICES if os.path.exists(f"/dev/{name}"))
        hostname = shlex.quote(self.spec.hostname or self.spec.id)
        return f"""\
set -e
mount --all --fstab {home}/fstab
cd /dev
cp -a --parents {devices} {root}/dev/
cp -a {home}/dev/. {root}/dev/
cd {root}
pivot_root . .
umount --lazy .
cd /
mount --make-rshared /
echo {hostname} >/proc/sys/kernel/hostname
{_delegate()}ulimit -n 1048576 2>/dev/null || ulimit -n "$(ulimit -H -n)"
exec {shlex.join(runsvdir_argv(SERVICES))} >/dev/null 3<&-
"""

    def launch_script(self, entrance: str, nsenter: tuple[str, ...]) -> str:
        """What the host does: join the groups, leave its namespaces, and have the first child boot.

        `unshare --fork` would leave a process behind that waits for the node.
        """
        boot = self.home.folder / "boot"
        boot.write_text(self.boot_script())
        unshare = ("unshare", "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--propagation", "private")
        first = f"/bin/sh {shlex.quote(str(boot))} &"
        walls = shlex.join((*nsenter, *unshare, "/bin/sh", "-c", first))
        return f"umask 022\nexec 3<&0 </dev/null\nset -e\n{entrance}exec {walls}\n"


def _delegate() -> str:
    """Version 2: the node's processes make room for the groups that its kubelet is going to make."""
    if cgroups.version() != 2:
        return ""
    top = "/sys/fs/cgroup"
    return (
        f"for pid in $(cat {top}/cgroup.procs); do echo $pid >{top}/{cgroups.LEAF}/cgroup.procs || true; done\n"
        f"for controller in $(cat {top}/cgroup.controllers); do\n"
        f"  echo +$controller >{top}/cgroup.subtree_control || true\n"
        f"done\n"
    )


def _cgroup_mounts(top: str) -> list[tuple[str, str, str, str]]:
    """The hierarchies, mounted anew inside the node's cgroup namespace, where the machine's group is their root."""
    found = cgroups.hierarchies()
    if not found:
        raise DriverError("a node needs control groups, and this host has none mounted at /sys/fs/cgroup")
    if found[0].version == 2:
        return [("cgroup2", top, "cgroup2", "nosuid,nodev,noexec")]
    lines = [("tmpfs", top, "tmpfs", "mode=755")]
    for each in found:
        options = ",".join(sorted(each.controllers, key=lambda name: (name.startswith("name="), name)))
        if all(name.startswith("name=") for name in each.controllers):
            options = f"none,{options}"
        lines.append(("cgroup", f"{top}/{each.mount.name}", "cgroup", f"{options},X-mount.mkdir"))
        lines += [  # A hierarchy of two controllers is also found by the name of either.
            ("cgroup", f"{top}/{name}", "cgroup", f"{options},X-mount.mkdir")
            for name in sorted(each.controllers)
            if len(each.controllers) > 1 and name != each.mount.name and not name.startswith("name=")
        ]
    return lines


def _link(path: Path, target: str) -> None:
    if not os.path.lexists(path):
        path.symlink_to(target)


def _escape(word: str) -> str:
    return word.replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011").replace("\n", "\\012")


def _etc_folders() -> list[str]:
    return [name for name in _ETC_FOLDERS if os.path.isdir(f"/etc/{name}")]
