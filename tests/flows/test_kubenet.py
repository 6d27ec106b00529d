"""Network plugin kubenet on the linux substrate, with real packets.

Given a cluster of two nodes; when pods, their nodes, machines and the API server speak to each other; then what is said
goes by a bridge on each node and by the routes that the cloud controller writes into the cluster's route table.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from flows_shared import Kubectl, eventually
from installation import Installation

pytestmark = [
    pytest.mark.root,
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, control groups, links"),
]

WEB = "mcr.sorairo.internal/sorairo/web:1"
BUSYBOX = "docker.io/library/busybox:1"
GROUP, CLUSTER = "flat", "k1"
PODS = "10.250.0.0/16"


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    it = Installation(tmp_path_factory.mktemp("sorairo"), "linux")
    try:
        yield it.start()
    finally:
        it.purge()


class Cluster(Kubectl):
    """Two nodes; `web` on one, on the other `box`, and on either a neighbour."""

    def __init__(self, on: Installation) -> None:
        super().__init__(on, GROUP, CLUSTER)
        self.path = on.cluster_path(GROUP, CLUSTER)
        self.there, self.here = sorted(n["metadata"]["name"] for n in self.get("nodes")["items"])
        for name, image, node in (
            ("web", WEB, self.there), ("box", BUSYBOX, self.here), ("near", BUSYBOX, self.there),
        ):  # fmt: skip
            self.run(name, image, node)
        service = {"selector": {"app": "web"}, "ports": [{"port": 80}], "type": "LoadBalancer"}
        self.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": service})
        self.kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s")

    def run(self, name: str, image: str, node: str, **spec: Any) -> None:
        container: dict[str, Any] = {"name": "c", "image": image, "imagePullPolicy": "IfNotPresent"}
        if image == BUSYBOX:
            container["command"] = ["sleep", "100000"]
        spec = {"containers": [container], "nodeName": node, "terminationGracePeriodSeconds": 0, **spec}
        metadata = {"name": name, "labels": {"app": name}}
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def address(self, what: str) -> str:
        return str(self.get(f"pod/{what}")["status"]["podIP"])

    def node_address(self, node: str) -> str:
        return str(self.get(f"node/{node}")["status"]["addresses"][0]["address"])

    def page(self, pod: str, target: str) -> str:
        """What a pod gets from the sample; empty for no answer within two seconds."""
        return self.kubectl("exec", pod, "--", "timeout", "2", "wget", "-qO-", f"http://{target}", check=False)

    def routes(self) -> dict[str, dict[str, Any]]:
        """Of the cluster's route table, by name."""
        group = f"resourceGroups/MC_{GROUP}_{CLUSTER}_westeurope/providers/Microsoft.Network/routeTables"
        (table,) = self.on.arm("GET", group).json()["value"]
        assert table["name"].startswith("aks-agentpool-")
        assert table["name"].endswith("-routetable")
        return {each["name"]: each["properties"] for each in table["properties"]["routes"]}


@pytest.fixture(scope="module")
def cluster(installation: Installation) -> Cluster:
    installation.group(GROUP)
    profile = {"networkPlugin": "kubenet", "podCidr": PODS}
    pool = {"name": "nodepool1", "mode": "System", "count": 2}
    properties = {"agentPoolProfiles": [pool], "networkProfile": profile}
    body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": properties}
    ended = installation.wait(installation.arm("PUT", installation.cluster_path(GROUP, CLUSTER), body))
    assert ended["status"] == "Succeeded", ended
    return Cluster(installation)


def test_each_node_has_a_block_and_a_route_leads_to_it(cluster: Cluster) -> None:
    shown = cluster.on.arm("GET", cluster.path).json()["properties"]
    profile = shown["networkProfile"]
    assert (profile["networkPlugin"], profile["podCidr"], profile["podCidrs"]) == ("kubenet", PODS, [PODS])
    assert "networkPluginMode" not in profile
    assert shown["agentPoolProfiles"][0]["maxPods"] == 110
    nodes = cluster.get("nodes")["items"]
    blocks = {n["metadata"]["name"]: n["spec"]["podCIDR"] for n in nodes}
    assert len({*blocks.values()}) == 2
    assert all(block.startswith("10.250.") and block.endswith("/24") for block in blocks.values())
    routes = eventually("both routes", lambda: found if len(found := cluster.routes()) == 2 else None)
    for name, block in blocks.items():
        route = routes[f"{name}____{block.replace('.', '').replace('/', '')}"]
        hop = ("VirtualAppliance", cluster.node_address(name))
        assert (route["addressPrefix"], (route["nextHopType"], route["nextHopIpAddress"])) == (block, hop)
    conditions = {n["metadata"]["name"]: n["status"]["conditions"] for n in cluster.get("nodes")["items"]}
    for each in conditions.values():
        assert ("NetworkUnavailable", "False", "RouteCreated") in [(c["type"], c["status"], c["reason"]) for c in each]
    for name, node in (("web", cluster.there), ("box", cluster.here)):
        assert cluster.address(name).rsplit(".", 1)[0] == blocks[node].rsplit(".", 1)[0]


def test_pods_see_each_other_and_others_see_their_nodes(cluster: Cluster) -> None:
    web, box, near = (cluster.address(name) for name in ("web", "box", "near"))
    assert f"client: {box}" in cluster.page("box", web), "across nodes"
    assert f"client: {near}" in cluster.page("near", web), "by the bridge of one"
    for pod in ("box", "near"):
        assert "pod: web" in cluster.page(pod, "web.default.svc.cluster.local"), "by its Service's name"
    # The sample on its node's own network: nobody beyond the pods' addresses knows these.
    cluster.run("host-web", WEB, cluster.there, hostNetwork=True)
    cluster.kubectl("wait", "pod/host-web", "--for=condition=Ready", "--timeout=60s")
    there, here = cluster.node_address(cluster.there), cluster.node_address(cluster.here)
    assert f"client: {here}" in cluster.page("box", f"{there}:8080")
    cluster.kubectl("delete", "pod/host-web", "--wait=false")


def test_the_api_server_and_clients_outside_reach_pods(cluster: Cluster) -> None:
    """The first goes by the cluster's route table, too; the others by the load balancer and a node."""
    raw = "/api/v1/namespaces/default/pods/web:80/proxy/"
    assert '"pod":"web"' in cluster.kubectl("get", "--raw", raw)

    def balanced() -> str:
        ingress = cluster.get("service/web")["status"]["loadBalancer"].get("ingress") or [{}]
        return str(ingress[0].get("ip", ""))

    address = eventually("an address", balanced)
    asked = {"api-version": "2026-12-01", "from": "default/box", "to": f"{cluster.address('web')}:80"}
    traced = cluster.on.http.get("/providers/Microsoft.Sorairo/packets/default", params=asked).json()["properties"]
    assert (traced["outcome"], '"default/web"' in json.dumps(traced["path"])) == ("delivered", True), traced
    for pod in ("box", "near"):
        assert "pod: web" in eventually("the page", lambda pod=pod: cluster.page(pod, address))  # type: ignore[misc]


def test_pods_find_each_other_while_sorairo_is_killed(cluster: Cluster) -> None:
    web = cluster.address("web")
    cluster.on.kill()
    try:
        assert "pod: web" in cluster.page("box", web)
    finally:
        cluster.on.start()
    assert "pod: web" in cluster.page("box", web)


def test_a_node_that_goes_takes_its_route_along(cluster: Cluster) -> None:
    path = f"{cluster.path}/agentPools/nodepool1"
    pool = cluster.on.arm("GET", path).json()
    pool["properties"]["count"] = 1
    assert cluster.on.wait(cluster.on.arm("PUT", path, pool))["status"] == "Succeeded"
    routes = eventually("one route", lambda: found if len(found := cluster.routes()) == 1 else None)
    (left,) = (n["metadata"]["name"] for n in cluster.get("nodes")["items"])
    assert next(iter(routes)).startswith(f"{left}____")
