"""Upstream's cloud controller manager in place of ours: same azure.json, same contract, real packets.

Given a cluster tagged `sorairo-cloud-controller: upstream` that is a service principal; when a node comes and Services
are exposed, changed and deleted; then it does what ours does, and what is left is nothing.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from flows.test_linux_identity import Application
from flows.test_reach_a_pod import WEB, curl
from flows_shared import Kubectl, eventually
from installation import Installation
from sorairo.cluster.azure_json import CloudConfig
from sorairo.engine.ids import host_name

pytestmark = [
    pytest.mark.root,
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, control groups, links"),
    pytest.mark.skipif(
        importlib.util.find_spec("sorairo_cloud_provider") is None,
        reason="the cloud controller manager is not built: engine/build.py --with cloud-provider --install PYTHON",
    ),
]

GROUP, CLUSTER = "theirs", "c1"
MC = f"resourceGroups/MC_{GROUP}_{CLUSTER}_westeurope"
NETWORK = f"{MC}/providers/Microsoft.Network"
TAG = "sorairo-cloud-controller"
UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"


class Cluster(Kubectl):
    def __init__(self, on: Installation, name: str = CLUSTER) -> None:
        super().__init__(on, GROUP, name)

    def names(self, kind: str) -> list[str]:
        return sorted(each["name"] for each in self.on.arm("GET", f"{NETWORK}/{kind}").json()["value"])

    def rules(self) -> list[str]:
        found = self.on.arm("GET", f"{NETWORK}/loadBalancers/kubernetes").json()["properties"]
        return sorted(rule["name"] for rule in found["loadBalancingRules"])

    def security(self) -> list[dict[str, Any]]:
        (group,) = self.on.arm("GET", f"{NETWORK}/networkSecurityGroups").json()["value"]
        return [rule["properties"] for rule in group["properties"]["securityRules"]]


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("sorairo"), "linux").start()
    try:
        installation.group(GROUP)
        yield installation
    finally:
        installation.purge()


@pytest.fixture(scope="module")
def cluster(on: Installation) -> Cluster:
    application = Application(on, "theirs").make()
    body = {
        "location": "westeurope",
        "tags": {TAG: "upstream"},
        "properties": {
            "agentPoolProfiles": [
                {"name": "nodepool1", "mode": "System", "count": 1, "availabilityZones": ["2"]},
            ],
            "servicePrincipalProfile": {"clientId": application.client_id, "secret": application.secret()},
        },
    }
    ended = on.wait(on.arm("PUT", on.cluster_path(GROUP, CLUSTER), body))
    assert ended["status"] == "Succeeded", ended
    it = Cluster(on)
    container = {"name": "web", "image": WEB, "imagePullPolicy": "IfNotPresent"}
    it.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {"containers": [container]},
        }
    )
    it.kubectl("wait", "pod/web", "--for=condition=Ready", "--timeout=90s")
    return it


def test_a_node_is_initialized(cluster: Cluster) -> None:
    (node,) = cluster.get("nodes")["items"]
    assert UNINITIALIZED not in [taint["key"] for taint in node["spec"].get("taints", [])]
    (scale_set,) = cluster.on.arm("GET", f"{MC}/providers/Microsoft.Compute/virtualMachineScaleSets").json()["value"]
    expected = f"azure://{scale_set['id']}/virtualMachines/0".lower()
    assert node["spec"]["providerID"].lower() == expected
    addresses = {a["type"]: a["address"] for a in node["status"]["addresses"]}
    assert addresses == {"Hostname": node["metadata"]["name"], "InternalIP": "10.224.0.4"}
    labels = node["metadata"]["labels"]
    assert labels["topology.kubernetes.io/zone"] == "westeurope-2"
    assert labels["topology.kubernetes.io/region"] == "westeurope"
    assert labels["node.kubernetes.io/instance-type"].lower() == scale_set["sku"]["name"].lower()
    # Kubelets that are told of an external cloud say so; nobody else removes the taint they come with.
    annotations = node["metadata"]["annotations"]
    assert annotations["alpha.kubernetes.io/provided-node-ip"] == "10.224.0.4"


def test_it_is_told_of_its_cloud_as_ours_is(cluster: Cluster) -> None:
    machine = (
        cluster.on.state.root
        / "machines"
        / host_name(f"{cluster.on.subscription}/{cluster.on.cluster_path(GROUP, CLUSTER)}")
    )
    file = next(machine.rglob("cloud-controller-manager/azure.json"))
    assert file.stat().st_mode & 0o777 == 0o600
    config = CloudConfig.parse(file.read_text())
    assert config.text() == file.read_text()
    assert not config.managed
    assert config.client_secret


def test_exposed_changed_and_deleted(cluster: Cluster) -> None:
    before = cluster.names("publicIPAddresses"), cluster.rules(), cluster.security()
    address = cluster.expose("web")
    eventually("an answer", lambda: bool(curl(address, 1)), 15)
    uid = cluster.get("service/web")["metadata"]["uid"]
    prefix = ("a" + uid.replace("-", ""))[:32]
    assert cluster.rules() == [f"{prefix}-TCP-80"]
    assert f"kubernetes-{prefix}" in cluster.names("publicIPAddresses")
    (allowed,) = cluster.security()
    assert (allowed["sourceAddressPrefix"], allowed["destinationAddressPrefix"]) == ("Internet", address)

    ports = [{"name": "web", "port": 80}, {"name": "also", "port": 8081, "targetPort": 80}]
    assert cluster.expose("web", ports=ports) == address
    eventually("the other port", lambda: bool(curl(f"{address}:8081", 1)), 30)
    cluster.expose("web", loadBalancerSourceRanges=["203.0.113.0/24"])
    eventually("nobody else gets in", lambda: curl(address, 1) == {}, 30)

    cluster.kubectl("delete", "service/web", "--timeout=90s")
    assert (cluster.names("publicIPAddresses"), cluster.rules(), cluster.security()) == before


def test_an_internal_one_is_for_the_network_alone(cluster: Cluster) -> None:
    address = cluster.expose("inside", {"load-balancer-internal": "true"})
    assert address.startswith("10.224.")
    assert "kubernetes-internal" in cluster.names("loadBalancers")
    assert curl(address, 1) == {}
    cluster.kubectl("delete", "service/inside", "--timeout=90s")
    assert cluster.names("loadBalancers") == ["kubernetes"]


def test_a_new_secret_reaches_it(cluster: Cluster) -> None:
    """Its credentials are replaced (`az aks update-credentials`), the old ones end: Services go on being made."""
    application = Application(cluster.on, "another").make()
    body = {"clientId": application.client_id, "secret": application.secret()}
    path = f"{cluster.on.cluster_path(GROUP, CLUSTER)}/resetServicePrincipalProfile"
    assert cluster.on.wait(cluster.on.arm("POST", path, body))["status"] == "Succeeded"
    address = cluster.expose("again")
    eventually("an answer", lambda: bool(curl(address, 1)), 15)
    cluster.kubectl("delete", "service/again", "--timeout=90s")


def test_a_managed_identity_is_enough(on: Installation) -> None:
    """It asks 169.254.169.254 for its tokens, within the control plane's own network namespace."""
    body = {
        "location": "westeurope",
        "tags": {TAG: "upstream"},
        "identity": {"type": "SystemAssigned"},
        "properties": {"agentPoolProfiles": [{"name": "nodepool1", "mode": "System", "count": 1}]},
    }
    path = on.cluster_path(GROUP, "managed")
    assert on.wait(on.arm("PUT", path, body))["status"] == "Succeeded"
    cluster = Cluster(on, "managed")
    assert cluster.expose("web")

    def initialized() -> bool:
        (node,) = cluster.get("nodes")["items"]
        return UNINITIALIZED not in [taint["key"] for taint in node["spec"].get("taints", [])]

    eventually("its node initialized", initialized, 90)
    on.wait(on.arm("DELETE", path))


def test_another_value_is_refused(on: Installation) -> None:
    body = {
        "location": "westeurope",
        "tags": {TAG: "mine"},
        "properties": {"agentPoolProfiles": [{"name": "nodepool1", "mode": "System", "count": 1}]},
    }
    refused = on.arm("PUT", on.cluster_path(GROUP, "refused"), body)
    assert refused.status_code == 400
    assert json.loads(refused.text)["error"]["code"] == "InvalidParameter"
