"""`sorairo demo`: from nothing to a page that answers, by plain ARM and kubectl."""

from __future__ import annotations

import base64
import json
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sorairo.cli import progress, show
from sorairo.cli.app import options, show_json
from sorairo.cli.client import CLUSTERS, RESOURCES, Client
from sorairo.cli.problem import Problem, not_running
from sorairo.files import write_private
from sorairo.state import State

LOCATION = "westeurope"
SAMPLE = Path(__file__).with_name("sample.yaml")
ANSWERS_WITHIN = 90.0
"""Seconds the sample's pods may take to be ready on a busy machine."""


@click.command("demo")
@options
@click.option("--group", "-g", default="demo", show_default=True, help="Resource group, made when missing.")
@click.option("--name", "-n", default="aks", show_default=True, help="Cluster, made when missing.")
@click.option("--nodes", default=1, show_default=True, type=click.IntRange(1, 100), help="Nodes of a new cluster.")
def command(state: State, as_json: bool, group: str, name: str, nodes: int) -> None:
    """Make a resource group and a cluster, deploy a sample app, and show how to reach it. Safe to repeat.

    Everything is asked for as any Azure client would; `sorairo trace` shows what came of it.
    """
    if state.daemon() is None:
        raise not_running(state.root)
    client = Client(state)
    began = time.monotonic()
    cluster = (
        f"{client.subscription}/resourceGroups/{group}/providers/Microsoft.ContainerService/managedClusters/{name}"
    )
    steps = progress.make(quiet=as_json)
    with steps:
        with steps.step(f"resource group {group}"):
            client.checked("PUT", f"{client.subscription}/resourceGroups/{group}", RESOURCES, {"location": LOCATION})
        _cluster(client, cluster, nodes, steps)
        kubeconfig = state.root / "demo" / f"{group}-{name}.kubeconfig"
        with steps.step("credentials"):
            _credentials(client, cluster, kubeconfig)
        kubectl = _kubectl(state, kubeconfig)
        with steps.step("sample app: 2 pods, 1 service"):
            kubectl("apply", "-f", str(SAMPLE))
        with steps.step("public address"):
            site = f"http://{_address(kubectl)}"
        answered = ""
        if client.config.substrate == "linux":
            with steps.step("pods ready"):
                kubectl("rollout", "status", "deployment/hello", f"--timeout={ANSWERS_WITHIN:.0f}s")
            with steps.step(f"{site} answers"):
                answered = _page(site)
    _tell(state, client, group, name, kubeconfig, site, answered, time.monotonic() - began, as_json)


def _cluster(client: Client, cluster: str, nodes: int, steps: progress.Steps) -> None:
    found = client.call("GET", cluster, CLUSTERS)
    if found.status == 200 and found.body["properties"].get("provisioningState") == "Succeeded":
        steps.already(f"cluster {cluster.rpartition('/')[2]}")
        return
    name = cluster.rpartition("/")[2]
    body = {
        "location": LOCATION,
        "identity": {"type": "SystemAssigned"},
        "properties": {
            "dnsPrefix": name,
            "agentPoolProfiles": [
                {"name": "nodepool1", "mode": "System", "count": nodes, "vmSize": "", "osType": "Linux"}
            ],
        },
    }
    with steps.step(f"cluster {name}"):
        answer = client.checked("PUT", cluster, CLUSTERS, body)
        operation = answer.headers.get("azure-asyncoperation", "").split("?")[0].rpartition("/")[2]

        def tell(document: dict[str, Any]) -> None:
            traced = client.call("GET", f"/providers/Microsoft.Sorairo/traces/{operation}", "2026-12-01")
            if traced.status == 200:
                steps.below(parts(traced.body["properties"]))

        client.wait(answer, tell)


def parts(trace: dict[str, Any]) -> list[progress.Part]:
    """The steps that the cluster itself is made of, in the order they began."""
    spans = {s["spanId"]: s for s in trace["spans"]}
    operation = (trace.get("operation") or {}).get("spanId", "")

    def owner(span: dict[str, Any]) -> str:
        """The operation (the cluster's, or that of one of its parts) in whose course a span was."""
        above = spans.get(span["parentSpanId"])
        while above is not None and above["kind"] != "operation":
            above = spans.get(above["parentSpanId"])
        return str(above["spanId"]) if above else operation  # a reconcile that is not over is not recorded yet

    found: dict[str, progress.Part] = {}
    for span in sorted(trace["spans"], key=lambda s: str(s["startTime"])):
        if span["kind"] == "step" and owner(span) == operation and span["name"] != "decide":
            seconds = None
            if span["endTime"] and span["status"] == "ok":
                seconds = progress.seconds_between(span["startTime"], span["endTime"])
            found[span["name"]] = progress.Part(span["name"], seconds)
    return list(found.values())


def _credentials(client: Client, cluster: str, file: Path) -> None:
    answer = client.checked("POST", f"{cluster}/listClusterAdminCredential", CLUSTERS)
    write_private(file, base64.b64decode(answer.body["kubeconfigs"][0]["value"]))


def _kubectl(state: State, kubeconfig: Path) -> Callable[..., str]:
    program = state.bin / "kubectl"
    if not program.exists():
        raise Problem("kubectl is not installed", "python3 engine/build.py brings it; see: sorairo doctor")

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [str(program), "--kubeconfig", str(kubeconfig), *arguments],
            capture_output=True,
            text=True,
            timeout=ANSWERS_WITHIN + 30,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise Problem(
                f"kubectl {arguments[0]}: {said}", f"look with: kubectl --kubeconfig {kubeconfig} get pods -A"
            )
        return done.stdout

    return run


def _address(kubectl: Callable[..., str]) -> str:
    """Of the load balancer in front of the sample."""
    where = "jsonpath={.status.loadBalancer.ingress[0].ip}"
    kubectl("wait", "service/hello", f"--for={where}", f"--timeout={ANSWERS_WITHIN:.0f}s")
    return kubectl("get", "service/hello", "-o", where)


def _page(site: str) -> str:
    """What the sample answers at its public address, from this host: public IP, balancer, firewall, node, pod."""
    # Whatever proxy this host's user has knows nothing of our addresses.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    asked = urllib.request.Request(site, headers={"Accept": "application/json"})
    deadline = time.monotonic() + 15
    while True:
        try:
            with opener.open(asked, timeout=2) as answer:
                return str(answer.read().decode())
        except OSError as e:
            if time.monotonic() > deadline:
                raise Problem(f"{site} does not answer: {e}", "look with: kubectl describe service hello") from e
            time.sleep(0.1)


def _said(page: str) -> str:
    """The sample's answer in a line: its greeting, and which pod on which node gave it."""
    try:
        found = json.loads(page)
        return f"“{found['title']}”, pod {found['pod']} on node {found['node']}"
    except (ValueError, KeyError, TypeError):
        return next((line.strip() for line in page.splitlines() if line.strip()), "")


def _tell(
    state: State,
    client: Client,
    group: str,
    name: str,
    kubeconfig: Path,
    site: str,
    answered: str,
    took: float,
    as_json: bool,
) -> None:
    config = json.loads(_kubectl(state, kubeconfig)("config", "view", "-o", "json"))
    server = config["clusters"][0]["cluster"]["server"]
    if as_json:
        show_json(
            {"group": group, "cluster": name, "apiServer": server, "kubeconfig": str(kubeconfig),
             "site": site, "seconds": round(took, 2), "answered": bool(answered)}
        )  # fmt: skip
        return
    console = show.out()
    console.print(
        f"\n[green]✓[/] A cluster with a site in it, in {show.span(took)}. Its API server is at [bold]{server}[/]"
    )
    if answered:
        console.print(f"  The site is at [bold]{site}[/]. It says:", end=" ")
        console.print(_said(answered), markup=False)
    else:
        console.print(
            "  Nodes are simulated on the hollow substrate: the pods are scheduled, but nothing runs in them."
        )
    console.print("\nLook around:")
    console.print(f'  [cyan]eval "$({show.call(state, "env")})"[/]')
    console.print(f"  [cyan]az aks get-credentials -g {group} -n {name}[/]")
    console.print("  [cyan]kubectl get nodes,pods -A -o wide[/]")
    if answered:
        console.print(f"  [cyan]curl {site}[/]   or open it in a browser of this machine")
    console.print(f"  [cyan]{show.call(state, 'trace')}[/]   how it came to be")
    console.print(f"  [cyan]{show.call(state, 'down')}[/]   leaves nothing")
