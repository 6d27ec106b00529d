"""What of a host can be left changed, as a value to compare: before and after."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

SYSCTLS = (
    *(f"kernel/{name}" for name in ("panic", "panic_on_oops", "keys/root_maxkeys", "keys/root_maxbytes")),
    *(f"vm/{name}" for name in ("overcommit_memory", "panic_on_oom")),
    *(
        f"net/ipv4/{name}"
        for name in ("ip_forward", "conf/all/rp_filter", "conf/all/proxy_arp", "conf/default/rp_filter")
    ),
    "net/netfilter/nf_conntrack_max",
    "net/bridge/bridge-nf-call-iptables",
)


@dataclass(frozen=True)
class Host:
    links: frozenset[str]
    routes: frozenset[str]
    tables: frozenset[str]
    """nftables of the host's own network namespace."""
    mounts: frozenset[str]
    processes: frozenset[str]
    """Those that say they are sorairo's, by pid and name."""
    cgroups: frozenset[str]
    loops: frozenset[str]
    run: frozenset[str]
    """Files of sorairo under /run."""
    sysctls: tuple[str, ...]

    @classmethod
    def now(cls) -> Host:
        return cls(
            links=frozenset(os.listdir("/sys/class/net")),
            routes=frozenset(_lines("ip", "route", "show", "table", "all")),
            tables=frozenset(_tables()),
            mounts=frozenset(line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()),
            processes=frozenset(_processes()),
            cgroups=frozenset(_cgroups()),
            loops=frozenset(_lines("losetup", "--noheadings", "--output", "NAME,BACK-FILE")),
            run=frozenset(str(p) for p in Path("/run").glob("sorairo*/**/*")),
            sysctls=tuple(_read(Path("/proc/sys") / name) for name in SYSCTLS),
        )

    def difference(self, before: Host, about: Sequence[str]) -> dict[str, object]:
        """What is there now and was not, by kind, of an installation (`Installation.marks`): others come and go."""
        found: dict[str, object] = {}
        for field in fields(self):
            now, then = getattr(self, field.name), getattr(before, field.name)
            if field.name == "sysctls":
                changed = {n: (a, b) for n, a, b in zip(SYSCTLS, then, now, strict=True) if a != b}
                if changed:
                    found["sysctls"] = changed
            elif extra := {e for e in now - then if field.name == "tables" or any(mark in e for mark in about)}:
                found[field.name] = sorted(extra)
        return found


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _lines(*command: str) -> list[str]:
    return [line.strip() for line in subprocess.run(command, capture_output=True, text=True).stdout.splitlines()]


def _tables() -> list[str]:
    listed = subprocess.run(["nft", "-j", "list", "ruleset"], capture_output=True, text=True).stdout
    return [json.dumps(each, sort_keys=True) for each in json.loads(listed or "{}").get("nftables", [])]


def _processes() -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
            mark = next((each for each in environment if each.startswith("SORAIRO_STATE=")), "")
            if any(each.startswith("SORAIRO_OWNER=") for each in environment):
                found.append(f"{folder.name} {(folder / 'comm').read_text().strip()} {mark}")
        except OSError:
            continue
    return found


def _cgroups() -> list[str]:
    return [str(p) for top in Path("/sys/fs/cgroup").glob("**/sorairo") for p in top.glob("**/") if p != top]
