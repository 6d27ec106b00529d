"""`sorairo trace`: the tree of what a request led to, with timings."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sorairo.cli import packet, show
from sorairo.cli.app import options, show_json
from sorairo.cli.client import Client
from sorairo.cli.problem import Problem
from sorairo.state import State

BAR = 24
"""Characters of the bar that stands for the whole trace."""


@click.command("trace")
@options
@click.argument("what", default="latest")
@click.option("--to", default="", metavar="ADDRESS:PORT", help="Of a packet: where it goes.")
@click.option(
    "--from", "source", default="host", help="Of a packet: host, an address or NAMESPACE/POD.", show_default=True
)
@click.option("--protocol", type=click.Choice(["tcp", "udp"]), default="tcp", help="Of a packet.", show_default=True)
def command(state: State, as_json: bool, what: str, to: str, source: str, protocol: str) -> None:
    """Show WHAT as a tree of steps: an operation's id (or its Azure-AsyncOperation URL), a trace id, a resource id
    (its latest operation), or `latest`.

    With `packet`, show the way of a packet by the rules that stand now: route table, peering, public
    address, load balancer, security groups, node, kube-proxy, pod. One that is refused says by what:
    sorairo trace packet --to 198.18.0.20:80"""
    if (what == "packet") != bool(to):
        raise click.UsageError("`packet` and `--to ADDRESS:PORT` go together.")
    client = Client(state)
    if to:
        packet.show_path(packet.ask(client, source, to, protocol), as_json)
        return
    id = identify(what)
    if what == "latest" or (what.startswith("/subscriptions/") and "/operations/" not in what.lower()):
        about = {} if what == "latest" else {"resourceId": what}
        operations = client.get("/providers/Microsoft.Sorairo/operations", **about, **{"$top": "1"})["value"]
        if not operations:
            raise Problem(f"no operation of '{what}' is recorded", "see the latest with: sorairo trace")
        id = identify(operations[0]["id"])
    found: dict[str, Any] = client.get(f"/providers/Microsoft.Sorairo/traces/{id}")["properties"]
    if not found.get("spans"):
        raise Problem(f"nothing was recorded for '{what}'", "see the latest with: sorairo trace")
    if as_json:
        show_json(found)
    else:
        console = show.out()
        console.print(render(found, console.width))


def identify(what: str) -> str:
    """The last segment of an operation's URL, without its query."""
    return what.split("?", 1)[0].rstrip("/").rpartition("/")[2]


def render(trace: dict[str, Any], width: int) -> RenderableType:
    """One row a span, children under their parent in the order they began, each with its place in time."""
    operation = trace.get("operation") or {}
    spans = [_timed(s) for s in trace["spans"]]
    began = min(s["startedAt"] for s in spans)
    now = max(s["endedAt"] or s["startedAt"] for s in spans)
    whole = max(now - began, 1e-6)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=False)
    table.add_column(overflow="ellipsis", no_wrap=True, max_width=max(20, width - BAR - 14))
    table.add_column(justify="right", no_wrap=True, width=10)
    table.add_column(no_wrap=True, width=BAR)
    errors: dict[str, str] = {}
    for prefix, span in _walk(spans, operation.get("spanId", "")):
        ended = span["endedAt"]
        took = (ended or now) - span["startedAt"]
        name = Text(prefix, style="dim") + Text(_short(span["name"]), style=_style(span))
        if span["kind"] in ("step", "reconcile") and (resource := _resource(span)):
            name += Text(f"  {resource}", style="dim")
        if error := str(span.get("attributes", {}).get("error", "")):
            errors.setdefault(error, _short(span["name"]))
        table.add_row(
            name,
            Text(show.span(took) if ended else "…", style="" if ended else "yellow"),
            _bar(span["startedAt"] - began, took, whole, span),
        )
    head = Text(f"trace {trace.get('traceId', '')}  {show.span(now - began)} in all, {len(spans)} spans", style="bold")
    if operation.get("status") == "InProgress" and operation.get("message"):
        head += Text(f"\nwaiting: {operation['message']}", style="yellow")
    failed = [Text(f"{where}: {error}", style="red") for error, where in errors.items()]
    return Group(head, table, *failed)


def _short(name: str) -> str:
    """A request's or operation's name with the last two segments of what it is about: the rest is the same for all."""
    verb, _, path = name.partition(" ")
    parts = path.split("/")
    return f"{verb} {'/'.join(parts[-2:])}" if verb.isupper() and len(parts) > 2 else name


def _timed(span: dict[str, Any]) -> dict[str, Any]:
    """With `startedAt` and `endedAt` in seconds."""
    ended = span.get("endTime")
    return {**span, "startedAt": _seconds(span["startTime"]), "endedAt": _seconds(ended) if ended else None}


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _walk(spans: list[dict[str, Any]], operation: str) -> list[tuple[str, dict[str, Any]]]:
    """Spans with the branches to draw before each. A parent that is still at work is not recorded yet: its children
    hang on the operation so long."""
    ids = {s["spanId"] for s in spans}
    stand_in = operation if operation in ids else ""
    children: dict[str, list[dict[str, Any]]] = {}
    for span in sorted(spans, key=lambda s: float(s["startedAt"])):
        parent = span.get("parentSpanId") or ""
        children.setdefault(parent if parent in ids else stand_in if parent else "", []).append(span)
    rows: list[tuple[str, dict[str, Any]]] = []

    def visit(span: dict[str, Any], prefix: str, branch: str, below: str) -> None:
        rows.append((prefix + branch, span))
        own = children.get(span["spanId"], [])
        for index, child in enumerate(own):
            last = index == len(own) - 1
            visit(child, prefix + below, "└─ " if last else "├─ ", "   " if last else "│  ")

    for root in children.get("", []):
        visit(root, "", "", "")
    return rows


def _bar(offset: float, took: float, whole: float, span: dict[str, Any]) -> Text:
    start = min(BAR - 1, int(offset / whole * BAR))
    length = max(1, min(BAR - start, round(took / whole * BAR)))
    colour = {"error": "red", "retry": "yellow"}.get(span.get("status", ""), "green")
    return Text("·" * start, style="dim") + Text("█" * length, style=colour)


def _style(span: dict[str, Any]) -> str:
    if span.get("status") == "error":
        return "red"
    return {"request": "bold cyan", "operation": "bold", "reconcile": ""}.get(span["kind"], "")


def _resource(span: dict[str, Any]) -> str:
    return str(span.get("attributes", {}).get("resource", "")).rpartition("/")[2]
