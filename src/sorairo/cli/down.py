"""`sorairo down`: leave nothing, or stop and keep everything."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import click

from sorairo.cli import daemon as daemons
from sorairo.cli import show
from sorairo.cli.app import options, show_json
from sorairo.cli.client import CLUSTERS, Client, answers
from sorairo.cli.problem import Problem
from sorairo.state import State


@click.command("down")
@options
@click.option("--yes", "-y", is_flag=True, help="Do not ask before removing clusters and their data.")
@click.option("--keep-state", is_flag=True, help="End every process but keep all data; `sorairo up` brings it back.")
def command(state: State, as_json: bool, yes: bool, keep_state: bool) -> None:
    """Remove every cluster with its data, then everything else of sorairo's: no process, namespace, mount, rule or
    file stays. Asks first on a terminal.

    With --keep-state nothing is removed: processes end, and the next `sorairo up` brings clusters back with their
    data, as after a reboot.
    """
    if not state.root.exists():
        return _done(as_json, "nothing to remove", [], removed=False)
    if state.config() is None and not (state.root / "up.lock").exists():
        raise Problem(f"{state.root} is not a state directory of sorairo's", "name it with --state")
    clusters = _clusters(state)
    if not keep_state and not yes and not as_json and sys.stdin.isatty():
        _ask(state, clusters)
    with state.alone():
        daemon = state.daemon()
        if daemon is not None:
            with show.busy("stopping sorairo", quiet=as_json):
                daemons.stop(daemon)
        if state.config() is not None:
            what = "ending the processes of clusters" if keep_state else "removing clusters"
            with show.busy(what, quiet=as_json):
                daemons.finish(state, "--stop" if keep_state else "--purge")
        if keep_state:
            return _done(as_json, f"stopped; everything is kept in {state.root}", clusters, removed=False)
        _remove(state.root)
    return _done(as_json, "everything is removed", clusters, removed=True)


def _clusters(state: State) -> list[str]:
    """Names of the clusters that will go; none when nobody can be asked."""
    config = state.config()
    if config is None or state.daemon() is None or not answers(state, config):
        return []
    try:
        client = Client(state)
        found: dict[str, Any] = client.get(
            f"{client.subscription}/providers/Microsoft.ContainerService/managedClusters", CLUSTERS
        )
    except Problem:
        return []
    return [c["name"] for c in found.get("value", [])]


def _ask(state: State, clusters: list[str]) -> None:
    named = f" with the clusters {', '.join(clusters)}" if clusters else ""
    click.confirm(f"Remove {state.root}{named} and all data in it?", abort=True)


def _remove(root: Path) -> None:
    """The directory, unless something is still mounted below it: removing files through a mount is no tidying."""
    with open("/proc/self/mountinfo") as table:
        mounted = [m for line in table if Path(m := line.split()[4]).is_relative_to(root) and Path(m) != root]
    if mounted:
        raise Problem(f"{len(mounted)} mounts are still below {root}, such as {mounted[0]}", "unmount them, then again")
    shutil.rmtree(root)


def _done(as_json: bool, message: str, clusters: list[str], *, removed: bool) -> None:
    if as_json:
        show_json({"message": message, "removed": removed, "clusters": clusters})
    else:
        show.out().print(f"[green]✓[/] {message}")
