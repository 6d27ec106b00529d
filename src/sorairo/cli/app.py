"""The commands, each imported when it is called: `sorairo status` does not wait for what `up` needs."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sorairo import __version__
from sorairo.cli.problem import Problem
from sorairo.state import State, default_state

F = TypeVar("F", bound=Callable[..., Any])

COMMANDS = {
    "up": "Start sorairo, or say where it is.",
    "down": "Remove every cluster and stop (--keep-state: stop, and keep everything).",
    "status": "What is running: endpoints, clusters, their processes.",
    "doctor": "What this machine can and cannot do, and what to install.",
    "env": 'Settings for a shell: eval "$(sorairo env)".',
    "trace": "What an operation did, step by step, with timings.",
    "logs": "The logs of a cluster's control plane and nodes.",
    "demo": "Make a cluster with a sample app in it, and show how to reach it.",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"sorairo.cli.{cmd_name}"), "command")  # noqa: B009
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="sorairo", message="%(prog)s %(version)s")
def cli() -> None:
    """AKS on your own machine: an Azure Resource Manager that makes real Kubernetes clusters."""


def _state(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> State:
    return State((value or default_state()).absolute())


def options(function: F) -> F:
    """`--state` (passed as a State) and `--json` (passed as `as_json`), which every command takes."""
    function = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(function)
    return click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        callback=_state,
        help="State directory. [$SORAIRO_STATE; /var/lib/sorairo for root, else ~/.local/state/sorairo]",
    )(function)


def run(arguments: list[str] | None = None) -> None:
    """Run a command line; ends the process. A Problem is printed in one line with what to do next."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        cli.main(given, prog_name="sorairo", standalone_mode=False)
    except Problem as problem:
        report(problem, as_json="--json" in given)
        sys.exit(problem.code)
    except click.ClickException as refused:
        refused.show()
        sys.exit(refused.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:  # the reader (head, less) has seen enough
        sys.stderr.close()
        sys.exit(141)
    except PermissionError as refused:
        report(
            Problem(
                f"no permission for {refused.filename or refused}",
                "run as the user that ran `sorairo up`, or name another --state",
            ),
            as_json="--json" in given,
        )
        sys.exit(1)


def report(problem: Problem, *, as_json: bool) -> None:
    if as_json:
        body = {"message": problem.message, "next": problem.next, "details": problem.details}
        click.echo(json.dumps({"error": body}))
        return
    for line in problem.details:
        click.echo(click.style("  │ ", dim=True) + line, err=True)
    click.echo(click.style("✗ ", fg="red") + problem.message, err=True)
    if problem.next:
        click.echo(click.style("  → ", fg="cyan") + problem.next, err=True)


def show_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
