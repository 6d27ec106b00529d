"""What this host can do, found by looking or by trying, never by its name or version.

`probe()` is cheap (some milliseconds) and changes nothing. Its answer decides a few settings (`restrict_oom_score_adj`,
how a share is mounted), and `doctor` shows it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sorairo.drivers.linux import cgroups

# linux/capability.h, in its order
_NAMES = """
chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service
net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin
sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override
mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore
"""
_CAPABILITIES = _NAMES.split()
PROGRAMS = ("unshare", "nsenter", "mount", "umount", "pivot_root", "ip", "nft", "cp", "runsvdir", "runsv", "svlogd")
"""Without one of these there is no node. (Those of the engine are found on its own folder.)"""
_NEEDED = ("sys_admin", "net_admin", "sys_chroot", "mknod", "setuid", "setgid", "chown", "dac_override", "sys_ptrace")


@dataclass(frozen=True, slots=True)
class Host:
    root: bool
    kernel: str
    """Its release, for people to read."""
    cgroup_version: int
    """1, 2, or 0 for none that can be used."""
    controllers: frozenset[str]
    capabilities: frozenset[str]
    """Effective ones, lower case without `cap_`."""
    filesystems: frozenset[str]
    """That the kernel can mount now, or has a module for."""
    link_kinds: frozenset[str]
    """Of `veth bridge dummy vxlan ipvlan vrf wireguard`: those that can be made here (root only)."""
    programs: frozenset[str]
    """Of `PROGRAMS`, those found."""
    devices: frozenset[str]
    """Of `fuse loop-control kmsg net/tun kvm`, those in /dev."""
    swap: bool

    @property
    def restrict_oom_score_adj(self) -> bool:
        """containerd's setting: without CAP_SYS_RESOURCE nobody may lower an oom_score_adj, and runc fails trying."""
        return "sys_resource" not in self.capabilities

    @property
    def missing(self) -> list[str]:
        """Why no node can be made here, in words; empty if one can."""
        reasons = [] if self.root else ["not root"]
        reasons += [f"no {name}" for name in PROGRAMS if name not in self.programs]
        reasons += [f"no CAP_{name.upper()}" for name in _NEEDED if name not in self.capabilities]
        reasons += [] if self.cgroup_version else ["no control groups that may be written at /sys/fs/cgroup"]
        reasons += [
            f"no {name} controller among the control groups"
            for name in ("cpu", "cpuset", "memory", "pids")
            if self.cgroup_version and name not in self.controllers
        ]
        reasons += [f"the kernel has no {name}" for name in ("overlay", "tmpfs") if name not in self.filesystems]
        if self.root and "veth" not in self.link_kinds:
            reasons.append("the kernel has no veth links")
        return reasons


def probe(path: str | None = None) -> Host:
    """Look at the host. `path`: where programs are looked for, in the form of `PATH` (default: the process's)."""
    found = cgroups.hierarchies()
    return Host(
        root=os.geteuid() == 0,
        kernel=os.uname().release,
        cgroup_version=cgroups.version(),
        controllers=frozenset(name for each in found for name in each.controllers if not name.startswith("name=")),
        capabilities=_capabilities(),
        filesystems=_filesystems(),
        link_kinds=_link_kinds(),
        programs=frozenset(name for name in PROGRAMS if shutil.which(name, path=path)),
        devices=frozenset(
            name for name in ("fuse", "loop-control", "kmsg", "net/tun", "kvm") if os.path.exists(f"/dev/{name}")
        ),
        swap=len(Path("/proc/swaps").read_text().splitlines()) > 1,
    )


def _capabilities() -> frozenset[str]:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            bits = int(line.split()[1], 16)
            return frozenset(name for number, name in enumerate(_CAPABILITIES) if bits >> number & 1)
    return frozenset()


def _filesystems() -> frozenset[str]:
    known = {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()}
    modules = Path("/lib/modules", os.uname().release, "kernel/fs")
    for name in ("overlay", "cifs", "nfs", "fuse", "xfs", "ext4", "btrfs", "erofs", "squashfs"):
        folder = {"overlay": "overlayfs", "cifs": "smb/client"}.get(name, name)
        if (modules / folder).is_dir():
            known.add(name)
    return frozenset(known)


def _link_kinds() -> frozenset[str]:
    """Tried in a network namespace of a child's own, which ends with it."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"):
        return frozenset()
    kinds = {
        "veth": "veth peer name p",
        "bridge": "bridge",
        "dummy": "dummy",
        "vxlan": "vxlan id 1 dstport 4789",
        "vrf": "vrf table 10",
        "wireguard": "wireguard",
    }
    script = "".join(
        f"ip link add {kind[:6]}0 type {words} 2>/dev/null && echo {kind}\n" for kind, words in kinds.items()
    )
    tried = subprocess.run(
        ["unshare", "--net", "sh", "-c", script], capture_output=True, text=True, check=False, timeout=10
    )
    return frozenset(tried.stdout.split())
