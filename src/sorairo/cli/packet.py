"""`sorairo trace packet`: the way of a packet to a pod, station by station."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from sorairo.cli import show
from sorairo.cli.app import show_json
from sorairo.cli.client import Client


def ask(client: Client, source: str, to: str, protocol: str) -> dict[str, Any]:
    """The answer's properties. Raises Problem."""
    query = {"from": source, "to": to, "protocol": protocol}
    found: dict[str, Any] = client.get("/providers/Microsoft.Sorairo/packets/default", **query)["properties"]
    return found


def show_path(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(found)
    else:
        show.out().print(render(found))


def render(found: dict[str, Any]) -> RenderableType:
    """One row a station; where there is a choice, each way is a branch."""
    rows: list[Text] = []

    def visit(hop: dict[str, Any], prefix: str, branch: str, below: str) -> None:
        name = Text(hop["name"], style="bold red" if hop["refused"] else "bold")
        rows.append(Text(prefix + branch, style="dim") + Text(f"{hop['kind']} ", style="cyan") + name)
        if hop["text"]:
            rows[-1] += Text(f"  {hop['text']}", style="red" if hop["refused"] else "")
        ways = hop["next"]
        for way in ways:
            last = way is ways[-1]
            # What follows without a choice stays in its column: only branches go to the right.
            if len(ways) == 1:
                visit(way, prefix + below, "↓ ", "")
            else:
                visit(way, prefix + below, "└─ " if last else "├─ ", "   " if last else "│  ")

    visit(found["path"], "", "", "")
    outcome = {"delivered": ("it arrives", "green"), "refused": ("it is refused", "red")}
    word, style = outcome.get(found["outcome"], ("it arrives by some ways, by others it is refused", "yellow"))
    head = Text(f"{found['protocol']} {found['from']} → {found['to']}: ", style="bold") + Text(word, style=style)
    refusals = [Text(f"  {each}", style="red") for each in found["refusedBy"]]
    return Group(head, *refusals, *rows)
