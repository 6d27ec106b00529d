"""A cluster's network on the linux substrate, with real packets: who may call its API server, which addresses its pods
have, and which of them reach which.

Given a cluster of two nodes, with an overlay, whose API server takes calls of this host alone; when its ranges or its
policies change; then a client sees what one of AKS would.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flows_shared import Kubectl
from installation import Installation

pytestmark = [
    pytest.mark.root,
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, control groups, links"),
]

WEB = "mcr.sorairo.internal/sorairo/web:1"
BUSYBOX = "docker.io/library/busybox:1"
GROUP, CLUSTER = "demo", "c1"
HOST = "198.16.0.0/14"
"""A range that clients on this host are in, and that `az` takes: addresses of 198.18.0.0/15 it holds for reserved."""


class Cluster(Kubectl):
    def __init__(self, on: Installation) -> None:
        super().__init__(on, GROUP, CLUSTER)
        self.path = on.cluster_path(GROUP, CLUSTER)

    def answers(self) -> bool:
        """Whether the API server answers this host."""
        return "default" in self.kubectl("get", "namespaces", "--request-timeout=1s", check=False)

    def change(self, **properties: Any) -> dict[str, Any]:
        """PUT the cluster with other properties; the operation as it ended."""
        body = self.on.arm("GET", self.path).json()
        body["properties"] |= properties
        return self.on.wait(self.on.arm("PUT", self.path, body))

    def invoke(self, command: str) -> str:
        """What `az aks command invoke` shows."""
        answer = self.on.arm("POST", f"{self.path}/runCommand", {"command": command})
        return str(self.on.wait(answer)["properties"]["properties"]["logs"])


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    it = Installation(tmp_path_factory.mktemp("sorairo"), "linux")
    try:
        yield it.start()
    finally:
        it.purge()


@pytest.fixture(scope="module")
def cluster(installation: Installation) -> Cluster:
    installation.group(GROUP)
    pool = {"name": "nodepool1", "mode": "System", "count": 2}
    properties = {
        "agentPoolProfiles": [pool],
        "apiServerAccessProfile": {"authorizedIPRanges": [HOST]},
        "networkProfile": {"networkPluginMode": "overlay"},
    }
    body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": properties}
    ended = installation.wait(installation.arm("PUT", installation.cluster_path(GROUP, CLUSTER), body))
    assert ended["status"] == "Succeeded", ended
    return Cluster(installation)


# --- who may call the API server ------------------------------------------------------------------------------


def test_who_is_not_authorized_gets_no_answer(cluster: Cluster) -> None:
    """Neither does the cluster lose its nodes, nor sorairo its cluster."""
    assert cluster.answers()
    try:
        assert cluster.change(apiServerAccessProfile={"authorizedIPRanges": ["0.0.0.0/32"]})["status"] == "Succeeded"
        assert not cluster.answers()
        assert cluster.invoke("kubectl get nodes --no-headers").count(" Ready ") == 2
        # Every connection anew: what was there before the change would go on in any case.
        cluster.on.kill()
        cluster.on.start()
        shown = cluster.on.arm("GET", cluster.path).json()["properties"]
        assert shown["apiServerAccessProfile"]["authorizedIPRanges"] == ["0.0.0.0/32"]
        path = f"{cluster.path}/agentPools/nodepool1"
        pool = cluster.on.arm("GET", path).json()
        pool["properties"]["count"] = 3
        assert cluster.on.wait(cluster.on.arm("PUT", path, pool))["status"] == "Succeeded", "a new node joins"
        assert not cluster.answers()
        pool["properties"]["count"] = 2
        assert cluster.on.wait(cluster.on.arm("PUT", path, pool))["status"] == "Succeeded"
    finally:
        cleared = cluster.change(apiServerAccessProfile={"authorizedIPRanges": []})
    assert cleared["status"] == "Succeeded"
    assert cluster.answers()


# --- what is in it --------------------------------------------------------------------------------------------


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def pod(space: str, name: str, image: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": image, "imagePullPolicy": "IfNotPresent", **spec.pop("container", {})}
    metadata = {"name": name, "namespace": space, "labels": {"app": name}}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def policy(name: str, selector: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """In namespace `shop`, about pods with these labels or all."""
    spec = {"podSelector": {"matchLabels": selector} if selector else {}, **spec}
    metadata = {"name": name, "namespace": "shop"}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


DENY = policy("default-deny", policyTypes=["Ingress"])


class Shop:
    """Namespace `shop` with `web` on one node, and on the other `box` in it and `box` in `office`."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        there, here = sorted(n["metadata"]["name"] for n in cluster.get("nodes")["items"])
        self.there, self.here = there, here
        box = {"container": {"command": ["sleep", "100000"]}}
        ports = {"container": {"ports": [{"name": "http", "containerPort": 80}]}}
        cluster.apply(namespace("shop"), namespace("office", team="office"))
        service = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        cluster.apply(
            pod("shop", "web", WEB, nodeName=there, **ports),
            pod("shop", "box", BUSYBOX, nodeName=here, **box),
            pod("office", "box", BUSYBOX, nodeName=here, **box),
            pod("shop", "near", BUSYBOX, nodeName=there, **box),
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"}, "spec": service},
        )
        for each in ("shop", "office"):
            cluster.kubectl("wait", "pod", "--all", "-n", each, "--for=condition=Ready", "--timeout=60s")
        self.address = cluster.get("pod/web", "-n", "shop")["status"]["podIP"]

    def reaches(self, space: str, name: str, target: str = "") -> bool:
        """Whether a pod gets the sample's page, by the pod's address unless another is given."""
        return "pod: web" in self.page(space, name, target or self.address)

    def page(self, space: str, name: str, target: str) -> str:
        """What a pod gets from the sample; empty for no answer within a second."""
        get = ("timeout", "1", "wget", "-qO-", f"http://{target}")
        return self.cluster.kubectl("exec", "-n", space, name, "--", *get, check=False)

    def becomes(self, wanted: bool, space: str, name: str, target: str = "") -> bool:
        """Whether it does within two seconds: the agent hears of a policy a moment after kubectl has made it."""
        deadline = time.monotonic() + 2
        while self.reaches(space, name, target) != wanted:
            if time.monotonic() > deadline:
                return False
        return True

    def traced(self, space: str, name: str) -> tuple[str, str]:
        """What `sorairo trace packet` says of a packet from a pod to the sample's: how it ends, and all of the way."""
        asked = {"api-version": "2026-12-01", "from": f"{space}/{name}", "to": f"{self.address}:80"}
        answer = self.cluster.on.http.get("/providers/Microsoft.Sorairo/packets/default", params=asked)
        found = answer.json()["properties"]
        return found["outcome"], json.dumps(found["path"])

    def only(self, *policies: dict[str, Any]) -> None:
        """These are the policies there are."""
        self.cluster.kubectl("delete", "networkpolicy", "--all", "-n", "shop")
        if policies:
            self.cluster.apply(*policies)


@pytest.fixture(scope="module")
def shop(cluster: Cluster) -> Shop:
    return Shop(cluster)


# --- an overlay -----------------------------------------------------------------------------------------------


def test_pods_have_addresses_of_their_nodes_block(shop: Shop) -> None:
    """Across nodes they see each other's; whoever is no pod sees the node's, in the network and beyond."""
    shop.only()
    cluster = shop.cluster
    shown = cluster.on.arm("GET", cluster.path).json()["properties"]
    assert (shown["networkProfile"]["podCidr"], shown["networkProfile"]["networkPolicy"]) == ("10.244.0.0/16", "none")
    assert shown["agentPoolProfiles"][0]["maxPods"] == 250
    box = cluster.get("pod/box", "-n", "shop")["status"]
    blocks = {address.rsplit(".", 1)[0] for address in (shop.address, box["podIP"])}
    assert len(blocks) == 2, "each node has its own"
    assert all(block.startswith("10.244.") for block in blocks)
    group = f"resourceGroups/MC_{GROUP}_{CLUSTER}_westeurope/providers/Microsoft.Compute/virtualMachineScaleSets"
    scale_set = cluster.on.arm("GET", group).json()["value"][0]["properties"]["virtualMachineProfile"]
    (nic,) = scale_set["networkProfile"]["networkInterfaceConfigurations"]
    assert len(nic["properties"]["ipConfigurations"]) == 1
    assert f"client: {box['podIP']}" in shop.page("shop", "box", shop.address)
    # The sample on its node's own network, where it may not have port 80.
    there = cluster.get(f"node/{shop.there}")["status"]["addresses"][0]["address"]
    here = cluster.get(f"node/{shop.here}")["status"]["addresses"][0]["address"]
    host_web = pod("shop", "host-web", WEB, nodeName=shop.there, hostNetwork=True)
    cluster.apply(host_web)
    cluster.kubectl("wait", "pod/host-web", "-n", "shop", "--for=condition=Ready", "--timeout=60s")
    assert f"client: {here}" in shop.page("shop", "box", f"{there}:8080")
    cluster.kubectl("delete", "pod/host-web", "-n", "shop", "--wait=false")


# --- network policy -------------------------------------------------------------------------------------------


def test_a_policy_means_nothing_where_none_are_enforced_until_the_cluster_is_updated(shop: Shop) -> None:
    shop.only(DENY)
    assert not shop.becomes(False, "office", "box")
    profile = shop.cluster.on.arm("GET", shop.cluster.path).json()["properties"]["networkProfile"]
    assert profile["networkPolicy"] == "none"
    assert shop.cluster.change(networkProfile={**profile, "networkPolicy": "azure"})["status"] == "Succeeded"
    assert shop.becomes(False, "office", "box")
    assert not shop.reaches("shop", "near"), "of the same node too"
    shop.only()
    assert shop.becomes(True, "office", "box")


def test_default_deny_then_allow_from_a_namespace(shop: Shop) -> None:
    office = {"from": [{"namespaceSelector": {"matchLabels": {"team": "office"}}}]}
    shop.only(DENY, policy("from-office", {"app": "web"}, ingress=[office]))
    assert shop.becomes(False, "shop", "box")
    assert shop.reaches("office", "box")
    assert shop.reaches("office", "box", "web.shop"), "by its Service, too"
    outcome, way = shop.traced("shop", "box")
    assert (outcome, "shop/default-deny, shop/from-office" in way) == ("refused", True), way
    outcome, way = shop.traced("office", "box")
    assert (outcome, '"name": "shop/from-office"' in way) == ("delivered", True), way
    shop.cluster.kubectl("label", "namespace", "office", "team=other", "--overwrite")
    assert shop.becomes(False, "office", "box")
    shop.cluster.kubectl("label", "namespace", "office", "team=office", "--overwrite")
    assert shop.becomes(True, "office", "box")


def test_a_named_port_and_a_range(shop: Shop) -> None:
    shop.only(policy("http", {"app": "web"}, ingress=[{"ports": [{"port": "http"}]}]))
    assert shop.becomes(True, "shop", "box")
    shop.only(policy("high", {"app": "web"}, ingress=[{"ports": [{"port": 81, "endPort": 90}]}]))
    assert shop.becomes(False, "shop", "box")
    shop.only(policy("low", {"app": "web"}, ingress=[{"ports": [{"port": 70, "endPort": 90}]}]))
    assert shop.becomes(True, "shop", "box")


def test_blocks_with_exceptions(shop: Shop) -> None:
    box = shop.cluster.get("pod/box", "-n", "office")["status"]["podIP"]
    block = {"cidr": "0.0.0.0/0", "except": [f"{box}/32"]}
    shop.only(policy("all-but", {"app": "web"}, ingress=[{"from": [{"ipBlock": block}]}]))
    assert shop.becomes(False, "office", "box")
    assert shop.reaches("shop", "box")


def test_egress_to_names_alone(shop: Shop) -> None:
    """Default deny of what leaves, but DNS: names resolve, and nothing else does anything."""
    dns = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    ports = [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
    shop.only(policy("names", {"app": "box"}, policyTypes=["Egress"], egress=[{"to": [dns], "ports": ports}]))
    assert shop.becomes(False, "shop", "box", "web.shop")
    looked_up = shop.cluster.kubectl("exec", "-n", "shop", "box", "--", "nslookup", "web.shop.svc.cluster.local")
    assert "10.0." in looked_up.split("Name:")[1]
    assert shop.reaches("office", "box"), "others are not meant"


def test_a_new_pod_is_never_open_before_its_policy(shop: Shop) -> None:
    """It asks for the page from its first moment on, and says so when it has got it."""
    shop.only(policy("shut", {"app": "eager"}, policyTypes=["Egress"]))
    script = f"for i in 1 2 3 4; do timeout 1 wget -qO- http://{shop.address} && exit 0; sleep 0.05; done; exit 1"
    for n in range(3):
        eager = pod("shop", f"eager{n}", BUSYBOX, nodeName=shop.here, restartPolicy="Never",
                    container={"command": ["sh", "-c", script]})  # fmt: skip
        eager["metadata"]["labels"] = {"app": "eager"}
        shop.cluster.apply(eager)
    phase = "--for=jsonpath={.status.phase}=Failed"
    shop.cluster.kubectl("wait", "pod", "-n", "shop", "-l", "app=eager", phase, "--timeout=60s")
    shop.cluster.kubectl("delete", "pod", "-n", "shop", "-l", "app=eager", "--wait=false")


def test_policies_hold_while_sorairo_is_killed_and_what_came_meanwhile_is_found(shop: Shop) -> None:
    shop.only(DENY)
    assert shop.becomes(False, "office", "box")
    shop.cluster.on.kill()
    try:
        assert not shop.reaches("office", "box")
        shop.only()
        assert not shop.becomes(True, "office", "box"), "nobody was there to see it"
    finally:
        shop.cluster.on.start()
    assert shop.becomes(True, "office", "box")


def test_network_policy_is_turned_off_again(shop: Shop) -> None:
    shop.only(DENY)
    assert shop.becomes(False, "office", "box")
    profile = shop.cluster.on.arm("GET", shop.cluster.path).json()["properties"]["networkProfile"]
    assert shop.cluster.change(networkProfile={**profile, "networkPolicy": "none"})["status"] == "Succeeded"
    assert shop.becomes(True, "office", "box")
