"""What `doctor` looks at. Each check only looks: nothing is made, mounted or changed."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Literal

from sorairo.cli import daemon as daemons
from sorairo.cli import links
from sorairo.cli.show import size
from sorairo.state import PORT, State

Verdict = Literal["ok", "warn", "fail"]

CLUSTER_MEMORY = 550 << 20
"""Bytes a one-node cluster takes."""


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    verdict: Verdict
    found: str
    means: str = ""
    """For the user, where it is not as it should be."""
    fix: str = ""
    """A command, or what to change."""
    nodes: bool = False
    """Only real nodes need it."""


def all_checks(state: State, substrate: str) -> Iterator[Check]:
    """Every check, in reading order. On the hollow substrate what only linux needs is a warning at most."""
    looks: list[Callable[[], Check]] = [python, lambda: engine(), memory, lambda: disk(state), lambda: port(state)]
    if sys.platform == "linux":
        from sorairo.cli import checks_linux

        looks += checks_linux.looks(state)
    looks += [lambda: azure_cli(state)]
    for look in looks:
        try:
            check = look()
        except OSError as refused:
            check = Check(look.__name__, "warn", f"could not look: {refused}")
        if substrate == "hollow" and check.verdict == "fail" and check.nodes:
            check = replace(check, verdict="warn")
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
