"""What real nodes ask of a Linux machine: `doctor`'s view of what the drivers' own probe finds."""

from __future__ import annotations

import ipaddress
import os
import subprocess
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from sorairo.cli import links
from sorairo.cli.checks import Check
from sorairo.drivers.linux.probe import PROGRAMS, Host, probe
from sorairo.state import State

PUBLIC_RANGE = "198.18.0.0/15"
"""Where public addresses of the fabric come from."""
PACKAGES = {
    "ip": "iproute2",
    "nft": "nftables",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "pivot_root": "util-linux",
    "mount": "mount",
    "umount": "mount",
    "cp": "coreutils",
}
"""Debian packages of the programs that nodes are made with; the others come with the engine."""
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")


def looks(state: State) -> list[Callable[[], Check]]:
    """In reading order."""
    return [
        root, programs, cgroups, controllers, capabilities, namespaces, overlay, bridge,
        lambda: state_file_system(state), nftables, addresses, inotify, cifs, nodes,
    ]  # fmt: skip


@lru_cache(maxsize=1)
def host() -> Host:
    return probe(_path())


def _path() -> str:
    """As the drivers look: the engine's own programs, and where an ordinary user's PATH does not go."""
    engine = links.programs()
    return os.pathsep.join([str(engine or ""), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]).lstrip(os.pathsep)


def root() -> Check:
    if host().root:
        return Check("root", "ok", "yes: both substrates")
    return Check(
        "root", "warn", "no", "only the hollow substrate: nodes are simulated, pods run nothing", "sudo sorairo up"
    )


def programs() -> Check:
    lacking = [name for name in PROGRAMS if name not in host().programs]
    if not lacking:
        return Check("programs", "ok", "all that nodes are made with")
    packages = sorted({PACKAGES[name] for name in lacking if name in PACKAGES})
    fix = f"apt-get install -y {' '.join(packages)}" if packages else "python3 engine/build.py"
    return Check("programs", "fail", f"missing: {', '.join(lacking)}", "no node can be made", fix, nodes=True)


def cgroups() -> Check:
    version = host().cgroup_version
    if not version:
        means = "nodes have no limits to give to their pods (a container without privilege?)"
        return Check("cgroup", "fail", "none that may be written at /sys/fs/cgroup", means, nodes=True)
    return Check("cgroup", "ok", "version 2" if version == 2 else "version 1 (works; Kubernetes is leaving it)")


def controllers() -> Check:
    lacking = [name for name in CONTROLLERS if name not in host().controllers]
    if lacking and host().cgroup_version:
        return Check(
            "controllers", "fail", f"missing: {', '.join(lacking)}", "kubelet will not start", "enable them at boot",
            nodes=True,
        )  # fmt: skip
    return Check("controllers", "ok", ", ".join(CONTROLLERS) if not lacking else "not looked at")


def capabilities() -> Check:
    if not host().root:
        return Check("capabilities", "ok", "none are needed without root")
    lacking = [reason.removeprefix("no ") for reason in host().missing if reason.startswith("no CAP_")]
    if lacking:
        fix = "run outside this container, or make it a privileged one"
        return Check("capabilities", "fail", f"missing: {', '.join(lacking)}", "no node can be made", fix, nodes=True)
    if host().restrict_oom_score_adj:
        means = "where memory runs out the kernel picks by size alone: pods' oom_score_adj cannot be lowered"
        return Check("capabilities", "warn", "no CAP_SYS_RESOURCE", means)
    return Check("capabilities", "ok", "all that are needed")


def namespaces() -> Check:
    if not host().root:
        return Check("namespaces", "ok", "not looked at without root")
    if "veth" not in host().link_kinds:
        means = "networks and nodes are made of namespaces and veth pairs"
        return Check("namespaces", "fail", "no veth pair can be made in a new one", means, nodes=True)
    return Check("namespaces", "ok", f"links: {', '.join(sorted(host().link_kinds))}")


def bridge() -> Check:
    """For network plugin kubenet alone: without bridge netfilter, answers of a Service's pod to a pod of its own node
    are not known for such, and dropped."""
    if not host().root:
        return Check("bridges", "ok", "not looked at without root")
    missing = [] if "bridge" in host().link_kinds else ["bridges"]
    missing += [] if Path("/proc/sys/net/bridge").exists() else ["bridge netfilter"]
    if missing:
        means = "clusters with network plugin kubenet need them"
        return Check("bridges", "warn", f"no {', no '.join(missing)}", means, "modprobe br_netfilter")
    return Check("bridges", "ok", "with netfilter")


def overlay() -> Check:
    if "overlay" in host().filesystems:
        return Check("overlayfs", "ok", "present")
    return Check("overlayfs", "fail", "missing", "nodes and containers are layers over a common root", nodes=True)


def state_file_system(state: State) -> Check:
    at = next(p for p in (state.root, *state.root.parents) if p.exists())
    with open("/proc/self/mounts") as table:
        mounts = [line.split()[1:3] for line in table]
    kind = next((m[1] for m in sorted(mounts, key=lambda m: -len(m[0])) if at.is_relative_to(m[0])), "?")
    if kind in ("overlay", "tmpfs"):
        why = "an overlay cannot lie on an overlay" if kind == "overlay" else "gone after a reboot, and takes memory"
        return Check("state directory", "warn", f"{at} is on {kind}", why, "use --state on a disk of the machine's own")
    return Check("state directory", "ok", f"{at} on {kind}")


def nftables() -> Check:
    if not host().root:
        return Check("nftables", "ok", "not looked at without root")
    tried = _try("unshare", "--net", "nft", "add", "table", "inet", "sorairo-doctor")
    if tried:
        means = "security groups and load balancers are nftables rules"
        return Check("nftables", "fail", tried, means, "apt-get install -y nftables", nodes=True)
    return Check("nftables", "ok", "works")


def addresses() -> Check:
    """Somebody else's route into our public range would be taken over by ours."""
    ours = ipaddress.ip_network(PUBLIC_RANGE)
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        device, to, _, _, _, _, _, mask = line.split()[:8]
        network = ipaddress.ip_network((int.from_bytes(bytes.fromhex(to), "little"), int(mask, 16).bit_count()))
        if network.prefixlen and network.overlaps(ours) and not device.startswith("sorairo-"):
            means = f"public addresses are taken from {PUBLIC_RANGE}"
            return Check("addresses", "warn", f"{network} is routed to {device}", means)
    return Check("addresses", "ok", f"{PUBLIC_RANGE} is free")


def inotify() -> Check:
    instances = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    if instances < 512:
        fix = "sysctl fs.inotify.max_user_instances=8192"
        return Check("inotify", "warn", f"max_user_instances is {instances}", "runs out with some ten nodes", fix)
    return Check("inotify", "ok", f"max_user_instances {instances}")


def cifs() -> Check:
    if "cifs" in host().filesystems:
        return Check("cifs", "ok", "the kernel mounts SMB shares")
    if "fuse" in host().devices:
        return Check("cifs", "warn", "not in this kernel", "Azure Files shares will be mounted through FUSE: slower")
    return Check("cifs", "warn", "not in this kernel, and no /dev/fuse", "Azure Files shares cannot be mounted")


def nodes() -> Check:
    """The drivers' own verdict, with whatever has no line of its own above."""
    reasons = [r for r in host().missing if not r.startswith("not root")]
    kvm = "KVM present" if "kvm" in host().devices else "no KVM"
    if not reasons:
        return Check("nodes", "ok", f"can be made here, as namespaces ({kvm}; not needed)")
    return Check("nodes", "fail", "; ".join(reasons), "only the hollow substrate works here", nodes=True)


def _try(*argv: str) -> str:
    """The complaint of a command, '' when it went well."""
    environment = {**os.environ, "PATH": _path(), "LC_ALL": "C"}
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=10, env=environment, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        return f"{argv[0]} is not installed"
    except subprocess.TimeoutExpired:
        return f"{argv[0]} hangs"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
