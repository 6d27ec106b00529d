"""The command line. Everything but starting and stopping the daemon goes over public ARM, as any client's would."""

from __future__ import annotations


def main() -> None:
    """The console script `sorairo`."""
    from sorairo.cli.app import run

    run()
