"""How soon a large hollow cluster stands: from its API server's being up to the last of its nodes being Ready.

    python bench/hollow.py [--nodes 1000] [--runs 5] [--port 9700] [--json]

Each run starts sorairo on a fresh state directory and asks ARM for a cluster of `--nodes` nodes, once; then, beside a
cluster of one node, the floor: as many Node objects made by a bare client, eight connections and nothing else to do,
for the same KWOK to make Ready. Medians in seconds; the engine is needed, root is not. Everything is removed.

Target: 1,000 nodes in at most 30 s.
"""

from __future__ import annotations

import argparse
import base64
import concurrent.futures
import contextlib
import http.client
import json
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from sorairo.cli.client import CLUSTERS, RESOURCES, Answer, Client
from sorairo.state import State

TARGET = 30.0
CONNECTIONS = 8
CLI = [sys.executable, "-c", "from sorairo.cli import main; main()"]


# --- sorairo -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def installation(port: int) -> Iterator[Client]:
    root = Path(tempfile.mkdtemp(prefix="sorairo-bench-")) / "state"
    where = ["--state", str(root), "--json"]
    try:
        up = [*CLI, "up", *where, "--substrate", "hollow", "--port", str(port)]
        subprocess.run(up, check=True, stdout=subprocess.DEVNULL)
        client = Client(State(root))
        client.checked("PUT", f"{client.subscription}/resourceGroups/bench", RESOURCES, {"location": "westeurope"})
        yield client
    finally:
        subprocess.run([*CLI, "down", *where, "--yes"], check=False, stdout=subprocess.DEVNULL)
        shutil.rmtree(root.parent, ignore_errors=True)


def cluster_path(client: Client, name: str) -> str:
    return f"{client.subscription}/resourceGroups/bench/providers/Microsoft.ContainerService/managedClusters/{name}"


def create(client: Client, name: str, nodes: int) -> Answer:
    pool = {"name": "np", "count": nodes, "vmSize": "Standard_D2s_v3", "mode": "System", "maxPods": 30}
    body = {"location": "westeurope", "properties": {"dnsPrefix": name, "agentPoolProfiles": [pool]}}
    answer = client.checked("PUT", cluster_path(client, name), CLUSTERS, body)
    client.wait(answer)
    return answer


def spans(client: Client, answer: Answer) -> dict[str, tuple[float, float]]:
    """Begin and end of each of the cluster's own steps, the last of a name, in seconds."""
    operation = urlsplit(answer.headers["azure-asyncoperation"]).path.rsplit("/", 1)[1]
    document = client.get(f"/providers/Microsoft.Sorairo/traces/{operation}")
    return {
        s["name"]: (_seconds(s["startTime"]), _seconds(s["endTime"]))
        for s in document["properties"]["spans"]
        if s["endTime"] and s["kind"] in ("step", "operation")
    }


def _seconds(timestamp: str) -> float:
    import datetime

    return datetime.datetime.fromisoformat(timestamp).timestamp()


def daemon_cpu(client: Client) -> float:
    """Seconds of CPU that sorairo itself has used."""
    pid = client.get("/providers/Microsoft.Sorairo/status/default")["properties"]["pid"]
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- the floor ---------------------------------------------------------------------------------------------


class Bare:
    """An API server, and nothing between it and us but JSON."""

    def __init__(self, kubeconfig: bytes, scratch: Path) -> None:
        document = yaml.safe_load(kubeconfig)
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        found = urlsplit(cluster["server"])
        self.host, self.port = str(found.hostname), int(found.port or 443)
        ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self.tls = ssl.create_default_context(cadata=ca)
        pair = scratch / "client.pem"
        pair.touch(0o600)
        pair.write_bytes(
            base64.b64decode(user["client-certificate-data"]) + b"\n" + base64.b64decode(user["client-key-data"])
        )
        self.tls.load_cert_chain(pair)

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self.host, self.port, context=self.tls, timeout=120)

    def get(self, path: str) -> Any:
        connection = self.connect()
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())

    def make(self, bodies: list[bytes]) -> None:
        connection = self.connect()
        for body in bodies:
            connection.request("POST", "/api/v1/nodes", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 201:
                raise RuntimeError(text.decode())

    def wait_ready(self, names: set[str], begun: float) -> None:
        connection = self.connect()
        connection.request("GET", "/api/v1/nodes?watch=1")
        waiting = set(names)
        answer = connection.getresponse()
        while waiting:
            line = answer.readline()
            if not line:
                return self.wait_ready(names, begun)
            node = json.loads(line)["object"]
            if _ready(node):
                waiting.discard(node["metadata"]["name"])
        return None


def _ready(node: Any) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def floor(client: Client, nodes: int, scratch: Path) -> float:
    create(client, "floor", 1)
    answer = client.checked("POST", cluster_path(client, "floor") + "/listClusterAdminCredential", CLUSTERS, {})
    bare = Bare(base64.b64decode(answer.body["kubeconfigs"][0]["value"]), scratch)
    pattern = bare.get("/api/v1/nodes")["items"][0]
    pattern = {"apiVersion": "v1", "kind": "Node", **pattern}
    pattern["spec"].pop("podCIDR", None)
    pattern["spec"].pop("podCIDRs", None)
    pattern["status"].pop("conditions", None)
    bodies, names = [], set()
    for n in range(nodes):
        name = f"bare-{n:06d}"
        labels = {**pattern["metadata"]["labels"], "kubernetes.io/hostname": name}
        pattern["metadata"] = {"name": name, "labels": labels, "annotations": pattern["metadata"]["annotations"]}
        pattern["spec"]["providerID"] = f"bare://{n}"
        bodies.append(json.dumps(pattern).encode())
        names.add(name)
    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS + 1) as pool:
        watching = pool.submit(bare.wait_ready, names, begun)
        for done in [pool.submit(bare.make, bodies[c::CONNECTIONS]) for c in range(CONNECTIONS)]:
            done.result()
        watching.result()
    return time.monotonic() - begun


# --- one run after another -----------------------------------------------------------------------------------


def run(nodes: int, port: int) -> dict[str, float]:
    found: dict[str, float] = {}
    with installation(port) as client:
        before = daemon_cpu(client)
        answer = create(client, "large", nodes)
        found["sorairo's CPU"] = daemon_cpu(client) - before
        steps = spans(client, answer)
        up = steps["API server"][1]
        found["API server up to nodes Ready"] = steps["nodes"][1] - up
        operation = steps["PUT managedClusters/large"] if "PUT managedClusters/large" in steps else None
        if operation is None:
            operation = next(v for k, v in steps.items() if k.startswith("PUT ") and k.endswith("/large"))
        found["whole operation"] = operation[1] - operation[0]
        began = time.monotonic()
        client.wait(client.checked("DELETE", cluster_path(client, "large"), CLUSTERS))
        found["delete"] = time.monotonic() - began
        with tempfile.TemporaryDirectory() as scratch:
            found["floor"] = floor(client, nodes, Path(scratch))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--port", type=int, default=9700)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rounds = []
    for n in range(options.runs):
        rounds.append(run(options.nodes, options.port))
        print(f"run {n + 1}: " + ", ".join(f"{k} {v:.2f}" for k, v in rounds[-1].items()), file=sys.stderr)
    medians = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
    ready = medians["API server up to nodes Ready"]
    if options.json:
        print(json.dumps({"nodes": options.nodes, "runs": rounds, "medians": medians, "target": TARGET}))
        return
    print(f"{options.nodes} hollow nodes, medians of {options.runs}, in seconds")
    for key, value in medians.items():
        print(f"  {key:30} {value:8.2f}")
    print(f"  {'ratio to the floor':30} {ready / medians['floor']:8.2f}")
    print(f"  target: {TARGET:g} s for 1,000: {'met' if ready <= TARGET * options.nodes / 1000 else 'MISSED'}")


if __name__ == "__main__":
    main()
