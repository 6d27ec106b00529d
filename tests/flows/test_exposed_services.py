"""`kubectl expose --type LoadBalancer` on a real API server: what ARM holds then, and what is left afterwards.

Given a hollow cluster with its cloud controller; when Services come, change and go, rights and addresses are missing,
and the daemon is killed; then the node resource group says what AKS's would.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from installation import Installation
from sorairo.cluster.azure_json import CloudConfig

pytestmark = pytest.mark.engine

GROUP, CLUSTER = "flow", "expose"
MC = f"resourceGroups/MC_{GROUP}_{CLUSTER}_westeurope"
NETWORK = f"{MC}/providers/Microsoft.Network"
BETA = "service.beta.kubernetes.io/azure-"


class Exposed:
    """A cluster whose Services are exposed."""

    def __init__(self, on: Installation) -> None:
        self.on = on
        self.config: Path = on.kubeconfig(GROUP, CLUSTER)

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        return self.on.kubectl(self.config, *arguments, stdin=stdin, check=check)

    def service(self, name: str, annotations: dict[str, str] | None = None, **spec: Any) -> None:
        ports = spec.pop("ports", [{"name": "http", "port": 80}])
        self.kubectl(
            "apply",
            "-f",
            "-",
            stdin=json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": {"name": name, "annotations": {BETA + k: v for k, v in (annotations or {}).items()}},
                    "spec": {"type": "LoadBalancer", "selector": {"app": name}, "ports": ports, **spec},
                }
            ),
        )

    def address(self, name: str, seconds: int = 30) -> str:
        self.kubectl(
            "wait", f"service/{name}", "--for=jsonpath={.status.loadBalancer.ingress[0].ip}", f"--timeout={seconds}s"
        )
        return self.kubectl("get", f"service/{name}", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")

    def prefix(self, name: str) -> str:
        uid = self.kubectl("get", f"service/{name}", "-o", "jsonpath={.metadata.uid}")
        return ("a" + uid.replace("-", ""))[:32]

    def delete(self, *names: str) -> None:
        self.kubectl("delete", "service", *names, "--timeout=60s")

    def events(self, name: str) -> list[dict[str, Any]]:
        listed = self.kubectl("get", "events", f"--field-selector=involvedObject.name={name}", "-o", "json")
        return json.loads(listed)["items"]  # type: ignore[no-any-return]

    def failure(self, name: str, word: str) -> str:
        """The message of a warning that has `word` in it."""
        found: list[str] = []

        def look() -> bool:
            found[:] = [e["message"] for e in self.events(name) if e["reason"] == "SyncLoadBalancerFailed"]
            return any(word in m for m in found)

        eventually(f"an event with {word}", look)
        return next(m for m in found if word in m)

    # --- ARM -----------------------------------------------------------------------------------------

    def show(self, path: str) -> dict[str, Any] | None:
        answer = self.on.arm("GET", f"{NETWORK}/{path}")
        return answer.json() if answer.status_code == 200 else None

    def balancer(self, name: str = "kubernetes") -> dict[str, Any]:
        found = self.show(f"loadBalancers/{name}")
        assert found
        return found["properties"]  # type: ignore[no-any-return]

    def rules(self, name: str = "kubernetes") -> list[str]:
        return [r["name"] for r in self.balancer(name)["loadBalancingRules"]]

    def security(self) -> list[dict[str, Any]]:
        (group,) = self.on.arm("GET", f"{NETWORK}/networkSecurityGroups").json()["value"]
        return [r["properties"] for r in group["properties"]["securityRules"]]

    def public_ips(self) -> dict[str, str]:
        listed = self.on.arm("GET", f"{NETWORK}/publicIPAddresses").json()["value"]
        return {p["name"]: p["properties"].get("ipAddress", "") for p in listed}

    def pools_of_nodes(self) -> set[str]:
        """Load balancers (and pools) that the nodes' NICs are in."""
        compute = f"{MC}/providers/Microsoft.Compute/virtualMachineScaleSets"
        (scale_set,) = self.on.arm("GET", compute).json()["value"]
        found = set()
        for instance in self.on.arm("GET", f"{scale_set['id']}/virtualMachines").json()["value"]:
            (nic,) = instance["properties"]["networkProfile"]["networkInterfaces"]
            shown = self.on.http.get(nic["id"], params={"api-version": "2025-07-01"}).json()
            for ip in shown["properties"]["ipConfigurations"]:
                for pool in ip["properties"].get("loadBalancerBackendAddressPools", []):
                    found.add("/".join(pool["id"].split("/")[-3::2]))
        return found


def azure_json(cluster: Exposed) -> str:
    """As nodes have it, with the administrator for the cluster's principal."""
    who = cluster.on.credentials
    (security,) = cluster.on.arm("GET", f"{NETWORK}/networkSecurityGroups").json()["value"]
    (vnet,) = cluster.on.arm("GET", f"{NETWORK}/virtualNetworks").json()["value"]
    return CloudConfig(
        tenant_id=who["tenantId"],
        subscription_id=who["subscriptionId"],
        resource_group=MC.rpartition("/")[2],
        location="westeurope",
        resource_manager=cluster.on.base,
        security_group=security["name"],
        vnet=vnet["name"],
        vnet_group=MC.rpartition("/")[2],
        subnet="aks-subnet",
        route_table="",
        client_id=who["clientId"],
        client_secret=who["clientSecret"],
    ).text()


def eventually(what: str, check: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    it = Installation(tmp_path_factory.mktemp("sorairo"), "hollow")
    try:
        it.start()
        it.group(GROUP)
        assert it.create_cluster(GROUP, CLUSTER, count=2)["status"] == "Succeeded"
        yield it
    finally:
        it.purge()


@pytest.fixture
def cluster(installation: Installation) -> Iterator[Exposed]:
    """Each test leaves nothing of its own: what is left over is a failure."""
    it = Exposed(installation)
    before = it.public_ips()
    yield it
    kept = [n for n in it.kubectl("get", "services", "-o", "name").split() if n != "service/kubernetes"]
    if kept:
        it.delete(*(n.removeprefix("service/") for n in kept))
    assert it.public_ips() == before
    assert it.rules() == []
    assert it.security() == []
    assert it.show("loadBalancers/kubernetes-internal") is None


def test_expose_change_and_delete(cluster: Exposed) -> None:
    cluster.kubectl("create", "deployment", "app", "--image=mcr.sorairo.internal/sorairo/web:1")
    cluster.kubectl("expose", "deployment", "app", "--port=80", "--type=LoadBalancer")
    assert cluster.address("app")
    cluster.kubectl("delete", "deployment/app", "service/app")
    cluster.service("web")
    address, p = cluster.address("web"), cluster.prefix("web")
    assert cluster.public_ips()[f"kubernetes-{p}"] == address
    assert cluster.rules() == [f"{p}-TCP-80"]
    (rule,) = cluster.balancer()["loadBalancingRules"]
    assert rule["properties"]["enableFloatingIP"] is True
    assert rule["properties"]["backendAddressPool"]["id"].endswith(
        "/loadBalancers/kubernetes/backendAddressPools/kubernetes"
    )
    (allowed,) = cluster.security()
    assert (allowed["sourceAddressPrefix"], allowed["destinationAddressPrefix"]) == ("Internet", address)
    assert allowed["priority"] == 500
    assert {"EnsuringLoadBalancer", "EnsuredLoadBalancer"} <= {e["reason"] for e in cluster.events("web")}

    cluster.service("web", ports=[{"name": "a", "port": 8080}, {"name": "b", "port": 53, "protocol": "UDP"}])
    eventually("the new ports", lambda: cluster.rules() == [f"{p}-TCP-8080", f"{p}-UDP-53"])
    eventually("their rules", lambda: [r["destinationPortRanges"] for r in cluster.security()] == [["8080"], ["53"]])
    cluster.service("web", loadBalancerSourceRanges=["10.1.0.0/16", "10.2.0.0/16"])
    eventually(
        "the source ranges",
        lambda: [r.get("sourceAddressPrefixes") for r in cluster.security()] == [["10.1.0.0/16", "10.2.0.0/16"]],
    )
    assert cluster.address("web") == address

    cluster.delete("web")
    assert f"kubernetes-{p}" not in cluster.public_ips()
    frontends = [f["name"] for f in cluster.balancer()["frontendIPConfigurations"]]
    assert p not in frontends
    assert len(frontends) == 1  # The outbound rule's.


def test_local_traffic_affinity_and_probes(cluster: Exposed) -> None:
    cluster.service("local", externalTrafficPolicy="Local", sessionAffinity="ClientIP")
    cluster.address("local")
    port = cluster.kubectl("get", "service/local", "-o", "jsonpath={.spec.healthCheckNodePort}")
    (probe,) = cluster.balancer()["probes"]
    assert probe["name"] == f"{cluster.prefix('local')}-TCP-{port}"
    assert probe["properties"]["requestPath"] == "/healthz"
    (rule,) = cluster.balancer()["loadBalancingRules"]
    assert rule["properties"]["loadDistribution"] == "SourceIP"
    assert rule["properties"]["probe"]["id"].endswith(probe["name"])


def test_internal_then_public_then_gone(cluster: Exposed) -> None:
    assert cluster.pools_of_nodes() == {"kubernetes/kubernetes", "kubernetes/aksOutboundBackendPool"}
    cluster.service("inside", {"load-balancer-internal": "true"})
    assert cluster.address("inside").startswith("10.224.")
    assert "kubernetes-internal/kubernetes" in cluster.pools_of_nodes()
    assert cluster.security() == []
    # A node that comes later joins, and the cluster's own changes leave the Services' rules alone.
    path = f"{cluster.on.cluster_path(GROUP, CLUSTER)}/agentPools/nodepool1"
    pool = cluster.on.arm("GET", path).json()
    pool["properties"]["count"] = 3
    assert cluster.on.wait(cluster.on.arm("PUT", path, pool))["status"] == "Succeeded"
    assert len(cluster.rules("kubernetes-internal")) == 1
    assert "kubernetes-internal/kubernetes" in cluster.pools_of_nodes()

    cluster.service("inside")
    eventually("a public address", lambda: cluster.address("inside").startswith("198.1"))
    assert cluster.show("loadBalancers/kubernetes-internal") is None
    assert cluster.pools_of_nodes() == {"kubernetes/kubernetes", "kubernetes/aksOutboundBackendPool"}
    pool["properties"]["count"] = 2
    assert cluster.on.wait(cluster.on.arm("PUT", path, pool))["status"] == "Succeeded"
    assert len(cluster.rules()) == 1

    cluster.kubectl("patch", "service", "inside", "-p", '{"spec":{"type":"ClusterIP"}}')
    eventually("it all given back", lambda: cluster.rules() == [] and len(cluster.public_ips()) == 1)


def test_an_excluded_node_is_in_no_pool_of_ours(cluster: Exposed) -> None:
    cluster.service("web")
    cluster.address("web")
    label = "node.kubernetes.io/exclude-from-external-load-balancers"
    cluster.kubectl("label", "nodes", "--all", f"{label}=true")
    eventually("all left", lambda: cluster.pools_of_nodes() == {"kubernetes/aksOutboundBackendPool"})
    cluster.kubectl("label", "nodes", "--all", f"{label}-")
    eventually("all back", lambda: "kubernetes/kubernetes" in cluster.pools_of_nodes())


def test_services_share_an_address_and_a_users_own_is_kept(cluster: Exposed) -> None:
    body = {"location": "westeurope", "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}
    assert cluster.on.wait(cluster.on.arm("PUT", f"{NETWORK}/publicIPAddresses/mine", body))["status"] == "Succeeded"
    mine = cluster.public_ips()["mine"]
    cluster.service("one", {"pip-name": "mine"})
    cluster.service("two", loadBalancerIP=mine, ports=[{"name": "s", "port": 443}])
    cluster.service("three", loadBalancerIP=mine)
    assert {cluster.address("one"), cluster.address("two")} == {mine}
    assert "port 80 which is being referenced by an existing loadBalancing rule" in cluster.failure("three", "port 80")
    assert len(cluster.rules()) == 2
    cluster.delete("one")
    assert cluster.address("three") == mine  # The port is free now; found by itself.
    cluster.delete("two", "three")
    assert cluster.public_ips()["mine"] == mine
    cluster.on.wait(cluster.on.arm("DELETE", f"{NETWORK}/publicIPAddresses/mine"))


def test_a_dns_label_is_one_services(cluster: Exposed) -> None:
    cluster.service("first", {"dns-label-name": "shop"})
    cluster.address("first")
    pip = cluster.show(f"publicIPAddresses/kubernetes-{cluster.prefix('first')}")
    assert pip
    assert pip["properties"]["dnsSettings"]["fqdn"] == "shop.westeurope.cloudapp.sorairo.internal"
    cluster.service("second", {"dns-label-name": "shop"})
    assert "is already used" in cluster.failure("second", "DnsRecordInUse")


def test_without_the_role_assignment_it_is_told_and_with_it_again_mended(cluster: Exposed) -> None:
    assignments = cluster.on.arm(
        "GET", f"{MC}/providers/Microsoft.Authorization/roleAssignments", **{"accept": "application/json"}
    ).json()["value"]
    (ours,) = [a for a in assignments if a["properties"]["scope"].lower().endswith(MC.lower())]
    assert ours["properties"]["roleDefinitionId"].endswith("b24988ac-6180-42a0-ab88-20f7382dd24c")
    cluster.on.arm("DELETE", ours["id"]).raise_for_status()
    cluster.service("denied")
    message = cluster.failure("denied", "AuthorizationFailed")
    assert message.startswith("Error syncing load balancer: failed to ensure load balancer: ")
    assert "does not have authorization to perform action 'Microsoft.Network/" in message
    properties = {k: ours["properties"][k] for k in ("roleDefinitionId", "principalId", "principalType")}
    cluster.on.arm("PUT", ours["id"], {"properties": properties}).raise_for_status()
    cluster.address("denied", seconds=60)


def test_without_addresses_it_is_told_and_with_one_again_mended(cluster: Exposed) -> None:
    body = {"location": "westeurope", "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}
    cluster.on.group("many")
    many = "resourceGroups/many/providers/Microsoft.Network/publicIPAddresses"
    count = 0
    while cluster.on.wait(cluster.on.arm("PUT", f"{many}/ip{count}", body))["status"] == "Succeeded":
        count += 1
    cluster.service("late")
    assert "Cannot create more than" in cluster.failure("late", "PublicIPCountLimitReached")
    cluster.on.wait(cluster.on.arm("DELETE", f"{many}/ip0"))
    cluster.address("late", seconds=60)
    cluster.on.wait(cluster.on.arm("DELETE", "resourceGroups/many"))


def test_a_daemon_that_is_killed_takes_up_where_it_was(cluster: Exposed) -> None:
    for n in range(4):
        cluster.service(f"web{n}")
    cluster.kubectl("delete", "service", "web0", "--wait=false")
    cluster.on.kill()
    cluster.kubectl("delete", "service", "web1", "--wait=false")
    cluster.service("web2", ports=[{"name": "http", "port": 81}])
    cluster.on.start()
    eventually("the deleted ones gone", lambda: cluster.kubectl("get", "services", "-o", "name").count("web") == 2)
    for name in ("web2", "web3"):
        cluster.address(name)
    wanted = {f"{cluster.prefix('web2')}-TCP-81", f"{cluster.prefix('web3')}-TCP-80"}
    eventually("just their rules", lambda: set(cluster.rules()) == wanted)
    eventually("just their addresses", lambda: len(cluster.public_ips()) == 3)
    # Another start changes nothing, and tells nobody.
    before, told = cluster.balancer(), cluster.events("web3")
    cluster.on.stop()
    cluster.on.start()
    cluster.service("web4")
    cluster.address("web4")
    cluster.delete("web4")
    assert set(cluster.rules()) == wanted
    assert [r["name"] for r in before["loadBalancingRules"]] == cluster.rules()
    assert cluster.events("web3") == told


def test_it_runs_as_a_program_of_its_own(cluster: Exposed, tmp_path: Path) -> None:
    """As one does with upstream's: none in the daemon, and a program with azure.json and a kubeconfig."""
    file = tmp_path / "azure.json"
    file.write_text(azure_json(cluster))
    cluster.on.stop()
    cluster.on.start(SORAIRO_CLOUD_CONTROLLER="none")
    cluster.service("web")
    program = subprocess.Popen(
        [
            *(sys.executable, "-m", "sorairo.cluster.cloud", "--cloud-config", str(file)),
            *("--kubeconfig", str(cluster.config), "--login", cluster.on.base, "--ca", str(cluster.on.state.ca)),
        ]
    )
    try:
        cluster.address("web")
        assert cluster.rules() == [f"{cluster.prefix('web')}-TCP-80"]
        cluster.delete("web")
    finally:
        program.terminate()
        program.wait(timeout=10)
        cluster.on.stop()
        cluster.on.start()
