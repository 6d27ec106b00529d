"""`sorairo doctor`: what this machine can and cannot do, and what to install."""

from __future__ import annotations

import os
from dataclasses import asdict

import click
from rich.console import Console

from sorairo.cli import show
from sorairo.cli.app import options, show_json
from sorairo.cli.checks import Check, all_checks
from sorairo.state import State

MARKS = {"ok": "[green]✓[/]", "warn": "[yellow]![/]", "fail": "[red]✗[/]"}


@click.command("doctor")
@options
@click.option("--substrate", type=click.Choice(["linux", "hollow"]), help="Judge for this one. [as kept, or by root]")
def command(state: State, as_json: bool, substrate: str | None) -> None:
    """Look at this machine: kernel, programs, room, ports, engine. Changes nothing. Exit code 1 when something that
    is needed is missing."""
    config = state.config() if state.root.exists() else None
    substrate = substrate or (config.substrate if config else "linux" if os.geteuid() == 0 else "hollow")
    checks = []
    for check in all_checks(state, substrate):
        checks.append(check)
        if not as_json:
            _print(check)
    failed = [c for c in checks if c.verdict == "fail"]
    if as_json:
        show_json({"substrate": substrate, "ok": not failed, "checks": [asdict(c) for c in checks]})
    else:
        _conclude(checks, substrate)
    raise SystemExit(1 if failed else 0)


def _print(check: Check) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{MARKS[check.verdict]} {check.name:<16} ", end="")
    console.print(check.found, markup=False)
    if check.means:
        console.print(f"  {'':<16} {check.means}", style="dim", markup=False)
    if check.fix:
        console.print(f"  {'':<16} → {check.fix}", style="cyan", markup=False)


def _conclude(checks: list[Check], substrate: str) -> None:
    failed = sum(c.verdict == "fail" for c in checks)
    warned = sum(c.verdict == "warn" for c in checks)
    console = show.out()
    if failed:
        console.print(f"\n[red]{failed} of these must be put right[/] for the {substrate} substrate.")
    elif warned:
        console.print(f"\n[green]Good[/] for the {substrate} substrate, with {warned} things to know.")
    else:
        console.print(f"\n[green]Good[/] for the {substrate} substrate.")
