"""The probe tells what is, and why something is missing."""

from __future__ import annotations

import os
from dataclasses import replace

from sorairo.drivers.linux.probe import PROGRAMS, Host, probe

WHOLE = Host(
    root=True,
    kernel="6.1.0",
    cgroup_version=2,
    controllers=frozenset({"cpu", "cpuset", "io", "memory", "pids"}),
    capabilities=frozenset(
        "sys_admin net_admin sys_chroot mknod setuid setgid chown dac_override sys_ptrace sys_resource".split()  # noqa: SIM905
    ),
    filesystems=frozenset({"overlay", "tmpfs"}),
    link_kinds=frozenset({"veth"}),
    programs=frozenset(PROGRAMS),
    devices=frozenset(),
    swap=False,
)


def test_a_whole_host_misses_nothing() -> None:
    assert WHOLE.missing == []
    assert not WHOLE.restrict_oom_score_adj


def test_what_is_missing_is_said_in_words() -> None:
    less = replace(
        WHOLE,
        root=False,
        capabilities=WHOLE.capabilities - {"sys_resource", "sys_admin"},
        programs=WHOLE.programs - {"nft"},
        controllers=WHOLE.controllers - {"memory"},
        filesystems=frozenset({"tmpfs"}),
    )
    assert less.restrict_oom_score_adj
    assert less.missing == [
        "not root",
        "no nft",
        "no CAP_SYS_ADMIN",
        "no memory controller among the control groups",
        "the kernel has no overlay",
    ]


def test_this_host_is_looked_at() -> None:
    host = probe()
    assert host.root == (os.geteuid() == 0)
    assert "tmpfs" in host.filesystems
    assert host.kernel == os.uname().release
