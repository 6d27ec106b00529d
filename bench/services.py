"""How soon an exposed Service answers: from its making to a connection that gets a page.

    python bench/services.py [--runs 15] [--nodes 1] [--among 0] [--json]      (root, the engine)

Makes an installation of its own, a cluster and a Deployment; then, `--runs` times, a Service of type LoadBalancer,
and connects to its address until it answers. `--among` makes as many Services first, of another Deployment, and says
how long they took together. Besides the whole, the times are of: the address in the Service's status, the first
connection that is accepted (the balancer's rule, the firewall's, the node's), the page.

Targets: median at most 1.0 s; among 500 Services on 3 nodes, one more at most 1.5 s.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import socket
import ssl
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from installation import Installation
from sorairo.state import Config

ROOM = "198.18.128.0/22"
WEB = "mcr.sorairo.internal/sorairo/web:1"
PATIENCE = 120.0


class Api:
    """The cluster's API server, as its administrator."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile() as pem:
            pem.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
            pem.flush()
            self._tls.load_cert_chain(pem.name)
        self._at = urlsplit(cluster["server"])
        self._connection = self._connect()

    def _connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            self._at.hostname or "", self._at.port or 443, context=self._tls, timeout=PATIENCE
        )

    def call(self, method: str, path: str, body: Any = None) -> Any:
        self._connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        found = json.loads(answer.read())
        assert answer.status < 300, found
        return found

    def address(self, name: str) -> str:
        """Once it is in the Service's status: watched for."""
        watching = self._connect()
        query = f"watch=true&fieldSelector=metadata.name%3D{name}&timeoutSeconds={PATIENCE:.0f}"
        watching.request("GET", f"/api/v1/namespaces/default/services?{query}")
        answer = watching.getresponse()
        for line in answer:
            found = json.loads(line)["object"]["status"].get("loadBalancer", {}).get("ingress")
            if found:
                watching.close()
                return str(found[0]["ip"])
        raise TimeoutError(name)

    def addresses(self, count: int) -> list[str]:
        """Of all Services of type LoadBalancer, once so many have one."""
        until = time.monotonic() + PATIENCE + count
        while True:
            listed = self.call("GET", "/api/v1/namespaces/default/services")["items"]
            places = [s["status"].get("loadBalancer", {}).get("ingress") for s in listed]
            found = [str(place[0]["ip"]) for place in places if place]
            if len(found) >= count:
                return found
            assert time.monotonic() < until, f"{len(found)} of {count} have an address"
            time.sleep(1)

    def ready(self, deployment: str, replicas: int) -> None:
        path = f"/apis/apps/v1/namespaces/default/deployments/{deployment}"
        until = time.monotonic() + PATIENCE
        while self.call("GET", path)["status"].get("readyReplicas") != replicas:
            assert time.monotonic() < until, f"{deployment} does not become ready"
            time.sleep(0.1)


def deployment(name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "web", "image": WEB, "imagePullPolicy": "IfNotPresent"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}


def service(name: str, app: str, **spec: Any) -> dict[str, Any]:
    ports = [{"port": 80}]
    return {
        "metadata": {"name": name},
        "spec": {"type": "LoadBalancer", "selector": {"app": app}, "ports": ports, **spec},
    }


def page(address: str) -> tuple[float, float]:
    """When a connection was accepted, and when it had brought a page. A first packet that is lost is not waited for:
    the kernel would send the next one after a second."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with socket.socket() as sock:
            sock.settimeout(0.05)
            try:
                sock.connect((address, 80))
                accepted = time.monotonic()
                sock.settimeout(1)
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                if sock.recv(64).startswith(b"HTTP/1."):
                    return accepted, time.monotonic()
            except OSError:
                time.sleep(0.005)
    raise TimeoutError(address)


def balanced(on: Installation) -> int:
    """How many rules the cluster's load balancer has."""
    found = on.arm("GET", "resourceGroups/MC_bench_c_westeurope/providers/Microsoft.Network/loadBalancers/kubernetes")
    return len(found.json()["properties"]["loadBalancingRules"])


def roomy(on: Installation) -> None:
    """An installation beside others has 239 public addresses. This one's range is of the default one's, beyond the
    thousand that that gives away."""
    on.state.make()
    on.state.write_config(Config(on.port, on.substrate, public_range=ROOM))


def measure(options: argparse.Namespace, on: Installation) -> dict[str, Any]:
    on.group("bench")
    made = on.create_cluster("bench", "c", count=options.nodes)
    assert made["status"] == "Succeeded", made
    api = Api(on.kubeconfig("bench", "c"))
    api.call("POST", "/apis/apps/v1/namespaces/default/deployments", deployment("web", 2 * options.nodes))
    api.ready("web", 2 * options.nodes)
    results: dict[str, Any] = {"nodes": options.nodes, "among": options.among}
    if options.among:
        began = time.monotonic()
        for n in range(options.among):
            api.call("POST", "/api/v1/namespaces/default/services", service(f"many{n}", "web"))
        for address in api.addresses(options.among):
            page(address)
        results["all of them"] = round(time.monotonic() - began, 2)
        results["rules of the balancer"] = balanced(on)
    return results | one_more(options, api)


def one_more(options: argparse.Namespace, api: Api) -> dict[str, Any]:
    """Seconds until one Service more has an address, takes a connection and gives a page."""
    results: dict[str, Any] = {}
    times: list[tuple[float, float, float]] = []
    for n in range(options.runs + 1):
        name = f"one{n}"
        began = time.monotonic()
        api.call("POST", "/api/v1/namespaces/default/services", service(name, "web"))
        address = api.address(name)
        addressed = time.monotonic()
        accepted, answered = page(address)
        times.append((addressed - began, accepted - began, answered - began))
        time.sleep(options.pause)
    for word, values in zip(("address", "accepted", "page"), zip(*times[1:], strict=True), strict=True):
        results[word] = {
            "median": round(statistics.median(values), 3),
            "least": round(min(values), 3),
            "most": round(max(values), 3),
        }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--among", type=int, default=0)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sorairo-bench-") as folder:
        on = Installation(Path(folder) / "state", "linux")
        try:
            if options.among > 200:
                roomy(on)
            results = measure(options, on.start())
        finally:
            on.purge()
    if options.json:
        print(json.dumps(results, indent=2))
        return
    print(f"{options.nodes} node(s), among {options.among} Services")
    for word, value in results.items():
        print(f"  {word:12} {value}")


if __name__ == "__main__":
    main()
