"""What `doctor` looks at. Each check only looks: nothing is made, mounted or changed."""

from __future__ import annotations

import ipaddress
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from sorairo.cli import daemon as daemons
from sorairo.cli import links
from sorairo.cli.show import size
from sorairo.state import PORT, State

Verdict = Literal["ok", "warn", "fail"]

PUBLIC_RANGE = "198.18.0.0/15"
"""Where public addresses of the fabric come from."""
CLUSTER_MEMORY = 550 << 20
"""Bytes a one-node cluster takes."""
PACKAGES = {
    "nft": "nftables",
    "ip": "iproute2",
    "mount": "mount",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}
"""Programs the linux substrate calls, and the Debian packages they are in."""


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    verdict: Verdict
    found: str
    means: str = ""
    """For the user, where it is not as it should be."""
    fix: str = ""
    """A command, or what to change."""


def all_checks(state: State, substrate: str) -> Iterator[Check]:
    """Every check, in reading order. On the hollow substrate what only linux needs is a warning at most."""
    looks: list[Callable[[], Check]] = [python, lambda: engine(), memory, lambda: disk(state), lambda: port(state)]
    if sys.platform == "linux":
        looks += [root, programs, cgroups, cgroup_controllers, capabilities, namespaces, overlay]
        looks += [lambda: state_file_system(state), nftables, addresses, inotify, cifs, kvm]
    looks += [lambda: azure_cli(state)]
    only_linux = {c.__name__ for c in (root, programs, cgroups, cgroup_controllers, namespaces, nftables)}
    for look in looks:
        try:
            check = look()
        except OSError as refused:
            check = Check(look.__name__, "warn", f"could not look: {refused}")
        if substrate == "hollow" and check.verdict == "fail" and look.__name__ in only_linux:
            check = Check(check.name, "warn", check.found, check.means, check.fix)
        yield check


def python() -> Check:
    return Check("python", "ok", platform.python_version())


def engine() -> Check:
    minors = list(links.minors())
    if not minors or links.programs() is None:
        lacking = "Kubernetes" if not minors else "the programs around it (etcd, containerd, …)"
        return Check(
            "engine", "fail", f"{lacking} not installed", "no cluster can be made", "python3 engine/build.py --install "
            + sys.executable,
        )  # fmt: skip
    return Check("engine", "ok", "Kubernetes " + ", ".join(minors))


def memory() -> Check:
    found = {}
    with open("/proc/meminfo") as table:
        for line in table:
            name, _, value = line.partition(":")
            found[name] = int(value.split()[0]) * 1024
    free = found["MemAvailable"]
    clusters = int(free // CLUSTER_MEMORY)
    told = f"{size(free)} free of {size(found['MemTotal'])}: room for about {clusters} one-node clusters"
    if clusters < 1:
        return Check("memory", "fail", told, "a cluster takes 550 MB before your pods", "end other programs")
    return Check("memory", "warn" if clusters < 2 else "ok", told)


def disk(state: State) -> Check:
    at = next(p for p in (state.root, *state.root.parents) if p.exists())
    free = shutil.disk_usage(at).free
    told = f"{size(free)} free in {at}"
    if free < 1 << 30:
        return Check("disk", "fail", told, "etcd and images need 1 GB at least", "free some, or use --state elsewhere")
    return Check("disk", "warn" if free < 5 << 30 else "ok", told)


def port(state: State) -> Check:
    config = state.config() if state.root.exists() else None
    if config is not None and state.daemon() is not None:
        return Check("port", "ok", f"{config.port}, sorairo's own")
    wanted = config.port if config else PORT
    if daemons.is_free("127.0.0.1", wanted):
        return Check("port", "ok", f"{wanted} is free")
    if config is None:
        return Check("port", "ok", f"{wanted} is taken, the next free one will be used")
    return Check("port", "fail", f"{wanted} is taken", "clients remember this port", "sorairo up --port N")


def root() -> Check:
    if os.geteuid() == 0:
        return Check("root", "ok", "yes: both substrates")
    return Check(
        "root", "warn", "no", "only the hollow substrate: nodes are simulated, pods run nothing", "sudo sorairo up"
    )


def programs() -> Check:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    lacking = {package for name, package in PACKAGES.items() if shutil.which(name, path=path) is None}
    if lacking:
        named = " ".join(sorted(lacking))
        return Check(
            "programs", "fail", f"missing: {named}", "the linux substrate calls them", f"apt-get install -y {named}"
        )
    return Check("programs", "ok", ", ".join(sorted(PACKAGES)))


def cgroups() -> Check:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return Check("cgroup", "ok", "version 2")
    if Path("/sys/fs/cgroup/memory").is_dir():
        return Check("cgroup", "ok", "version 1 (works; deprecated by Kubernetes)")
    return Check(
        "cgroup", "fail", "no hierarchy mounted", "nodes have no limits to give to pods", "mount /sys/fs/cgroup"
    )


def cgroup_controllers() -> Check:
    needed = {"cpu", "cpuset", "memory", "pids"}
    unified = Path("/sys/fs/cgroup/cgroup.controllers")
    if unified.exists():
        found = set(unified.read_text().split())
    else:
        found = {n for line in _mounts() if line[2] == "cgroup" for n in line[3].split(",")}
    lacking = needed - found
    if lacking:
        named = ", ".join(sorted(lacking))
        return Check("controllers", "fail", f"missing: {named}", "kubelet will not start", "enable them at boot")
    readonly = [line for line in _mounts() if line[2].startswith("cgroup") and "ro" in line[3].split(",")]
    if readonly:
        return Check(
            "controllers", "fail", "mounted read-only", "nodes cannot be made (a container without privilege?)"
        )
    return Check("controllers", "ok", ", ".join(sorted(needed)))


CAPABILITIES = {"SYS_ADMIN": 21, "NET_ADMIN": 12, "SYS_PTRACE": 19, "SYS_CHROOT": 18, "MKNOD": 27, "SYS_RESOURCE": 24}


def capabilities() -> Check:
    told = Path("/proc/self/status").read_text().splitlines()
    bits = next(int(line.split()[1], 16) for line in told if line.startswith("CapEff"))
    if os.geteuid() != 0:
        return Check("capabilities", "ok", "not root: none needed by the hollow substrate")
    lacking = [name for name, bit in CAPABILITIES.items() if not bits >> bit & 1]
    if lacking == ["SYS_RESOURCE"]:
        means = "where memory runs out the kernel picks by size alone: pods' oom_score_adj cannot be lowered"
        return Check("capabilities", "warn", "no CAP_SYS_RESOURCE", means)
    if lacking:
        named = ", ".join(f"CAP_{n}" for n in lacking)
        return Check(
            "capabilities",
            "fail",
            f"missing: {named}",
            "nodes cannot be made",
            "run outside this container, or privileged",
        )
    return Check("capabilities", "ok", "all that are needed")


def namespaces() -> Check:
    if os.geteuid() != 0:
        return Check("namespaces", "ok", "not looked at without root")
    tried = _try(
        "unshare", "--net", "--mount", "--pid", "--fork", "ip", "link", "add", "sr0", "type", "veth", "peer", "sr1"
    )
    if tried:
        return Check("namespaces", "fail", tried, "networks and nodes are made of namespaces and veth pairs")
    return Check("namespaces", "ok", "net, mount, pid, veth")


def overlay() -> Check:
    if "overlay" in _file_systems() or not _try("modprobe", "-n", "overlay"):
        return Check("overlayfs", "ok", "present")
    return Check("overlayfs", "warn", "missing", "images are copied instead: slower, and more disk")


def state_file_system(state: State) -> Check:
    at = next(p for p in (state.root, *state.root.parents) if p.exists())
    kind = next((m[2] for m in sorted(_mounts(), key=lambda m: -len(m[1])) if at.is_relative_to(m[1])), "?")
    if kind in ("overlay", "tmpfs"):
        why = "an overlay cannot lie on an overlay" if kind == "overlay" else "gone after a reboot, and takes memory"
        return Check("state directory", "warn", f"{at} is on {kind}", why, "use --state on a disk of the machine's own")
    return Check("state directory", "ok", f"{at} on {kind}")


def nftables() -> Check:
    if os.geteuid() != 0:
        return Check("nftables", "ok", "not looked at without root")
    tried = _try("unshare", "--net", "nft", "add", "table", "inet", "sorairo-doctor")
    if tried:
        return Check(
            "nftables",
            "fail",
            tried,
            "security groups and load balancers are nftables rules",
            "apt-get install -y nftables",
        )
    return Check("nftables", "ok", "works")


def addresses() -> Check:
    """Somebody else's route into our public range would be taken over by ours."""
    ours = ipaddress.ip_network(PUBLIC_RANGE)
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        device, to, _, _, _, _, _, mask = line.split()[:8]
        network = ipaddress.ip_network(
            (int.from_bytes(bytes.fromhex(to), "little"), bin(int(mask, 16)).count("1")), strict=False
        )
        if network.prefixlen and network.overlaps(ours) and not device.startswith("sr"):
            return Check(
                "addresses",
                "warn",
                f"{network} is routed to {device}",
                f"public addresses are taken from {PUBLIC_RANGE}",
            )
    return Check("addresses", "ok", f"{PUBLIC_RANGE} is free")


def inotify() -> Check:
    instances = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    if instances < 512:
        return Check("inotify", "warn", f"max_user_instances is {instances}", "runs out with some ten nodes",
                     "sysctl fs.inotify.max_user_instances=8192")  # fmt: skip
    return Check("inotify", "ok", f"max_user_instances {instances}")


def cifs() -> Check:
    if "cifs" in _file_systems() or not _try("modprobe", "-n", "cifs"):
        return Check("cifs", "ok", "the kernel mounts SMB shares")
    return Check("cifs", "warn", "not in this kernel", "Azure Files shares are mounted through FUSE: slower")


def kvm() -> Check:
    return Check(
        "kvm", "ok", "present" if os.access("/dev/kvm", os.W_OK) else "absent; not needed: nodes are namespaces"
    )


def azure_cli(state: State) -> Check:
    found = links.find_az(state)
    if found is not None:
        return Check("az", "ok", str(found))
    means = "the Azure CLI is how most people drive sorairo"
    return Check("az", "warn", "not found", means, f"{sys.executable} -m pip install '{_azure_cli_package()}'")


def _azure_cli_package() -> str:
    """The version that sorairo is tested with."""
    extras = [r.partition(";") for r in metadata.requires("sorairo") or []]
    return next(
        (name.strip() for name, _, marker in extras if "extra" in marker and marker.rstrip(" '\"").endswith("az")),
        "azure-cli",
    )


def _mounts() -> list[list[str]]:
    """Device, place, type, options."""
    with open("/proc/self/mounts") as table:
        return [line.split()[:4] for line in table]


def _file_systems() -> set[str]:
    return {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()}


def _try(*argv: str) -> str:
    """The complaint of a command, '' when it went well."""
    environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=10, env=environment, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        return f"{argv[0]} is not installed"
    except subprocess.TimeoutExpired:
        return f"{argv[0]} hangs"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
