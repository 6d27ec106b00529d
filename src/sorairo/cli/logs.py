"""`sorairo logs`: what the processes of a cluster wrote."""

from __future__ import annotations

import click

from sorairo.cli.app import options, show_json
from sorairo.cli.client import Client
from sorairo.state import State


@click.command("logs")
@options
@click.argument("cluster")
@click.argument("component", required=False, default="")
@click.option("--follow", "-f", is_flag=True, help="Go on with new lines as they come.")
@click.option("--lines", "-n", default=100, show_default=True, type=click.IntRange(0), help="Start with the last N.")
def command(state: State, as_json: bool, cluster: str, component: str, follow: bool, lines: int) -> None:
    """Show the logs of CLUSTER (its name, GROUP/NAME or resource id): of every component, or of COMPONENT, such as
    kube-apiserver, or of one node's: NODE/kubelet."""
    found = Client(state).stream(
        "/providers/Microsoft.Sorairo/logs/default",
        cluster=cluster,
        component=component,
        follow="true" if follow else "false",
        lines=str(lines),
    )
    if as_json:
        if follow:
            raise click.UsageError("--json and --follow do not go together.")
        show_json({"cluster": cluster, "component": component, "lines": list(found)})
        return
    for line in found:
        click.echo(line)
