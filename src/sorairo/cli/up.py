"""`sorairo up`: state directory, certificates, daemon. Safe to repeat, and to run twice at once."""

from __future__ import annotations

import os
from typing import Any

import click

from sorairo import __version__
from sorairo.cli import daemon as daemons
from sorairo.cli import links, show
from sorairo.cli.app import options, show_json
from sorairo.cli.client import answers
from sorairo.cli.problem import Problem
from sorairo.state import Config, Daemon, State


@click.command("up")
@options
@click.option(
    "--substrate",
    type=click.Choice(["linux", "hollow"]),
    help="linux: real nodes, needs root. hollow: a real API server with simulated nodes, needs nothing. "
    "[linux for root, else hollow; kept from before]",
)
@click.option("--port", type=click.IntRange(1, 65535), help="Where ARM answers. [8443 or the next free; kept]")
def command(state: State, as_json: bool, substrate: str | None, port: int | None) -> None:
    """Start sorairo and wait until ARM answers. When it is already running, say where.

    What was running before a reboot (or `sorairo down --keep-state`) comes back with its data.
    """
    _check_directory(state)
    root = os.geteuid() == 0
    if substrate == "linux" and not root:
        raise Problem(
            "the linux substrate makes namespaces and networks, which needs root",
            "run: sudo sorairo up   (or stay yourself with: sorairo up --substrate hollow)",
        )
    state.make()
    with state.alone():
        kept = state.config()
        wanted = substrate or (kept.substrate if kept else "linux" if root else "hollow")
        running = state.daemon()
        started = False
        if running is not None and kept is not None:
            _check_running(kept, wanted, port)
            if running.version != __version__ or not answers(state, kept, timeout=10.0):
                # A newer sorairo, or one that hangs: clusters go on while it is replaced.
                daemons.stop(running)
                running = None
        if running is None or kept is None:
            config, running = _start(state, wanted, port, quiet=as_json)
            started = True
        else:
            config = kept
        links.write_links(state)
    _tell(state, config, running, started=started, as_json=as_json, root=root)


def _start(state: State, substrate: str, port: int | None, *, quiet: bool) -> tuple[Config, Daemon]:
    # Imported here: cryptography alone takes longer than saying "already running" does.
    from sorairo.tls import ensure_certificates, write_bundle

    host = "127.0.0.1"
    config = Config(daemons.choose_port(state, port, host), substrate, host, state.choose_public_range())
    ensure_certificates(state)
    state.write_config(config)
    process = daemons.spawn(state)
    with show.busy("starting sorairo", quiet=quiet):
        write_bundle(state)
        return config, daemons.ready(state, config, process)


def _check_directory(state: State) -> None:
    """A directory with other people's files in it must not become ours: `down` removes what is there."""
    known = ("config.json", "tls", "logs", "up.lock")
    try:
        there = {p.name for p in state.root.iterdir()}
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise Problem(f"{state.root} is not a directory", "name another with --state") from None
    if there and not there & set(known):
        raise Problem(f"{state.root} has other files in it", "name an empty or new directory with --state")


def _check_running(kept: Config, substrate: str, port: int | None) -> None:
    if substrate != kept.substrate:
        raise Problem(
            f"sorairo is running on the {kept.substrate} substrate, not {substrate}",
            "clusters cannot move between them: sorairo down first, or use another --state",
        )
    if port is not None and port != kept.port:
        raise Problem(
            f"sorairo is running on port {kept.port}", "to move it: sorairo down --keep-state, then up --port"
        )


def _tell(state: State, config: Config, daemon: Daemon, *, started: bool, as_json: bool, root: bool) -> None:
    from sorairo.identity.bootstrap import Credentials

    credentials = Credentials.read(state.credentials)
    document: dict[str, Any] = {
        "started": started,
        "pid": daemon.pid,
        "version": daemon.version,
        "substrate": config.substrate,
        "state": str(state.root),
        "endpoints": {"resourceManager": config.endpoint, "login": config.endpoint},
        "tenantId": credentials.tenantId if credentials else None,
        "subscriptionId": credentials.subscriptionId if credentials else None,
    }
    if as_json:
        show_json(document)
        return
    console = show.out()
    verb = "is up" if started else "is already running"
    console.print(f"[green]✓[/] sorairo {verb} (pid {daemon.pid}, {config.substrate} substrate)")
    console.print(f"  Azure Resource Manager and sign-in   [bold]{config.endpoint}[/]")
    if credentials:
        console.print(f"  subscription                         {credentials.subscriptionId}")
    console.print(f"  state                                {state.root}")
    if config.substrate == "hollow" and not root:
        console.print("  [yellow]hollow[/]: the API server is real, the nodes are simulated: pods are scheduled but")
        console.print("  run nothing. For real nodes: sudo sorairo up")
    console.print()
    console.print("Next, in this shell:")
    console.print(f'  [cyan]eval "$({show.call(state, "env")})"[/]')
    console.print("  [cyan]az group create -n demo -l westeurope[/]")
    console.print("  [cyan]az aks create -g demo -n aks --node-count 1[/]")
    console.print("  [cyan]az aks get-credentials -g demo -n aks && kubectl get nodes[/]")
    console.print(f"or let sorairo show you:  [cyan]{show.call(state, 'demo')}[/]")
