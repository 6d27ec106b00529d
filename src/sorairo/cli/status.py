"""`sorairo status`: what is running. `GET /providers/Microsoft.Sorairo/status/default` with a face."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sorairo.cli import show
from sorairo.cli.app import options, show_json
from sorairo.cli.client import Client
from sorairo.cli.problem import NOT_RUNNING
from sorairo.state import Config, Daemon, State


@click.command("status")
@options
@click.option("--processes", "-p", is_flag=True, help="Every process of every cluster.")
def command(state: State, as_json: bool, processes: bool) -> None:
    """Show the daemon, its endpoints, and the clusters with their processes. Exit code 3: not running."""
    config, daemon = state.config() if state.root.exists() else None, state.daemon()
    if config is None or daemon is None:
        if as_json:
            show_json({"running": False, "state": str(state.root), "pid": None, "endpoints": {}, "clusters": []})
        else:
            show.out().print(f"sorairo is not running ({state.root}). Start it with: [cyan]sorairo up[/]")
        raise SystemExit(NOT_RUNNING)
    found = Client(state).get("/providers/Microsoft.Sorairo/status/default")["properties"]
    document = describe(state, config, daemon, found)
    if as_json:
        show_json(document)
    else:
        show.out().print(render(document, processes=processes))


def describe(state: State, config: Config, daemon: Daemon, found: dict[str, Any]) -> dict[str, Any]:
    """What ARM says, with what only this machine knows."""
    return {
        "running": True,
        "version": daemon.version,
        "substrate": config.substrate,
        "endpoints": {"resourceManager": config.endpoint, "login": config.endpoint},
        "clusters": [],
        **found,
        "pid": daemon.pid,
        "state": str(state.root),
    }


def render(document: dict[str, Any], *, processes: bool) -> RenderableType:
    since = show.span(float(document.get("uptimeSeconds", 0)))
    head = Text.assemble(
        ("● ", "green"),
        f"sorairo {document['version']}, {document['substrate']} substrate, up {since} (pid {document['pid']})\n",
        "  ",
        (document["endpoints"]["resourceManager"], "bold"),
        f"   state {document['state']}\n",
        *((f"  names: dig @{names} NAME\n",) if (names := document["endpoints"].get("names")) else ()),
    )
    shown: list[RenderableType] = [head]
    for operation in document.get("operationsInProgress", []):
        what = f"  ⟳ {operation['action']} {operation['resourceId'].rpartition('/')[2]}"
        shown.append(Text(f"{what}: {operation.get('message') or 'at work'}\n", style="yellow"))
    clusters: list[dict[str, Any]] = document["clusters"]
    if not clusters:
        return Group(*shown, Text("  no clusters yet: az aks create, or sorairo demo", style="dim"))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 1))
    for heading in ("CLUSTER", "GROUP", "KUBERNETES", "STATE", "MACHINES", "PROCESSES"):
        table.add_column(heading, no_wrap=True, overflow="ellipsis")
    for cluster in clusters:
        machines: list[dict[str, Any]] = cluster.get("machines", [])
        every = [p for m in machines for p in m["processes"]]
        running = sum(bool(p["running"]) for p in every)
        table.add_row(
            cluster["name"],
            cluster.get("resourceGroup") or "",
            cluster.get("kubernetesVersion") or "",
            _standing(cluster),
            str(len(machines)),
            Text(f"{running}/{len(every)}", style="" if running == len(every) else "red"),
        )
        if processes:
            for machine in machines:
                for process in machine["processes"]:
                    table.add_row(*_process(machine, process))
    return Group(*shown, table)


def _process(machine: dict[str, Any], process: dict[str, Any]) -> tuple[str | Text, ...]:
    alive, restarts = bool(process["running"]), process.get("restarts") or 0
    return (
        "",
        Text(_machine_name(machine["resourceId"]), style="dim"),
        Text(process["name"], style="dim"),
        Text("running" if alive else "stopped", style="dim" if alive else "red"),
        Text(f"pid {process.get('pid') or '-'}", style="dim"),
        Text(f"{restarts} restarts" if restarts > 0 else "", style="yellow"),
    )


def _machine_name(id: str) -> str:
    """A cluster's own name for its control plane, `SCALESET_INSTANCE` for a node."""
    parts = id.split("/")
    return f"{parts[-3]}_{parts[-1]}" if parts[-2].lower() == "virtualmachines" and len(parts) > 9 else parts[-1]


def _standing(cluster: dict[str, Any]) -> Text:
    settled = cluster.get("provisioningState") or ""
    if settled == "Succeeded":
        power = cluster.get("powerState") or settled
        return Text(power, style="green" if power == "Running" else "yellow")
    return Text(settled, style="red" if settled == "Failed" else "yellow")
