"""`az aks`, unmodified, on the hollow substrate: clusters, pools, credentials, commands, from create to delete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from azure_cli import Az
from flows_shared import CLUSTER, GROUP
from installation import Installation

pytestmark = [pytest.mark.az, pytest.mark.engine, pytest.mark.timeout(1200)]

THIS = ("--resource-group", GROUP, "--name", CLUSTER)
POOL = ("--resource-group", GROUP, "--cluster-name", CLUSTER, "--name")


def create(name: str, *more: str) -> tuple[str, ...]:
    return ("aks", "create", "--resource-group", GROUP, "--name", name, "--no-ssh-key", "--node-count", "1", *more)


def row(table: str, number: int = 0) -> dict[str, str]:
    """A row of az's table output, by column."""
    head, line, *rows = table.rstrip().splitlines()
    found = {}
    at = 0
    for dashes in line.split():
        start = line.index(dashes, at)
        at = start + len(dashes)
        found[head[start:at].strip()] = rows[number][start:at].strip()
    return found


def nodes(hollow: Installation, name: str = CLUSTER) -> dict[str, Any]:
    listed = json.loads(hollow.kubectl(hollow.kubeconfig(GROUP, name), "get", "nodes", "-o", "json"))
    return {n["metadata"]["name"]: n for n in listed["items"]}


def test_what_is_shown(az: Az, cluster: str) -> None:
    shown = row(az.text("aks", "show", *THIS, "--output", "table"))
    assert shown["Name"] == CLUSTER
    assert shown["ProvisioningState"] == "Succeeded"
    assert shown["CurrentKubernetesVersion"].startswith(f"{shown['KubernetesVersion']}.")
    assert shown["Fqdn"].endswith(".hcp.westeurope.azmk8s.sorairo.internal")
    assert CLUSTER in az.text("aks", "list", "--output", "table")
    versions = az.text("aks", "get-versions", "--location", "westeurope", "--output", "table")
    newest, before = row(versions), row(versions, 1)
    assert newest["KubernetesVersion"] == shown["CurrentKubernetesVersion"]
    assert before["Upgrades"] == newest["KubernetesVersion"]
    upgrades = row(az.text("aks", "get-upgrades", *THIS, "--output", "table"))
    assert upgrades["MasterVersion"] == newest["KubernetesVersion"]
    pool = row(az.text("aks", "nodepool", "list", *POOL[:4], "--output", "table"))
    assert (pool["Name"], pool["Count"], pool["MaxPods"], pool["Mode"]) == ("nodepool1", "1", "30", "System")


def test_credentials_open_the_cluster(az: Az, hollow: Installation, cluster: str, tmp_path: Path) -> None:
    file = tmp_path / "config"
    az("aks", "get-credentials", *THIS, "--file", str(file))
    az("aks", "get-credentials", *THIS, "--file", str(file), "--admin")
    config = yaml.safe_load(file.read_text())
    assert [c["name"] for c in config["contexts"]] == [CLUSTER, f"{CLUSTER}-admin"]
    assert hollow.kubectl(file, "--context", CLUSTER, "get", "nodes", "-o", "name").startswith("node/aks-nodepool1-")


def test_pools_come_change_and_go(az: Az, hollow: Installation, cluster: str) -> None:
    added = az(
        "aks", "nodepool", "add", *POOL, "blue", "--node-count", "2", "--node-vm-size", "Standard_D4s_v3",
        "--labels", "team=blue", "tier=web", "--node-taints", "gpu=yes:NoSchedule", "--max-pods", "20",
        "--zones", "1", "2", "--tags", "cost=42", "--mode", "User",
    )  # fmt: skip
    assert (added["provisioningState"], added["count"], added["maxPods"]) == ("Succeeded", 2, 20)
    blue = {n: o for n, o in nodes(hollow).items() if n.startswith("aks-blue-")}
    assert len(blue) == 2
    for node in blue.values():
        labels = node["metadata"]["labels"]
        assert (labels["team"], labels["tier"], labels["agentpool"]) == ("blue", "web", "blue")
        assert labels["node.kubernetes.io/instance-type"] == "Standard_D4s_v3"
        assert node["spec"]["taints"] == [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]
        assert node["status"]["capacity"]["pods"] == "20"
        assert node["status"]["capacity"]["cpu"] == "4"
    zones = {n["metadata"]["labels"]["topology.kubernetes.io/zone"] for n in blue.values()}
    assert zones == {"westeurope-1", "westeurope-2"}

    az("aks", "nodepool", "update", *POOL, "blue", "--labels", "team=red", "--node-taints", "spot=no:PreferNoSchedule")
    for name, node in nodes(hollow).items():
        labels = node["metadata"]["labels"]
        if name in blue:
            assert (labels["team"], "tier" in labels) == ("red", False)
            assert node["spec"]["taints"] == [{"key": "spot", "value": "no", "effect": "PreferNoSchedule"}]
        else:
            assert "team" not in labels

    assert az("aks", "nodepool", "scale", *POOL, "blue", "--node-count", "1")["count"] == 1
    assert [n for n in nodes(hollow) if n.startswith("aks-blue-")] == [min(blue)]
    machine = az("aks", "machine", "list", *POOL[:4], "--nodepool-name", "blue")
    assert [m["name"] for m in machine] == [min(blue)]
    az("aks", "nodepool", "delete", *POOL, "blue")
    assert not [n for n in nodes(hollow) if n.startswith("aks-blue-")]
    last = az.refused("aks", "nodepool", "delete", *POOL, "nodepool1")
    assert last.code == "OperationNotAllowed"


def test_scaling_and_tags(az: Az, hollow: Installation, cluster: str) -> None:
    assert az("aks", "scale", *THIS, "--node-count", "3")["agentPoolProfiles"][0]["count"] == 3
    assert len(nodes(hollow)) == 3
    assert az("aks", "update", *THIS, "--tags", "a=b")["tags"] == {"a": "b"}
    az("aks", "scale", *THIS, "--node-count", "1")
    assert len(nodes(hollow)) == 1


def test_authorized_ranges_and_network_policy_are_turned_on_and_off(az: Az, cluster: str) -> None:
    ranges = "73.140.245.0/24,8.8.8.8"
    on = az("aks", "update", *THIS, "--api-server-authorized-ip-ranges", ranges, "--network-policy", "azure")
    assert on["apiServerAccessProfile"]["authorizedIpRanges"] == ["73.140.245.0/24", "8.8.8.8/32"]
    assert on["networkProfile"]["networkPolicy"] == "azure"
    assert az.refused("aks", "update", *THIS, "--network-policy", "calico").code == "NotImplemented"
    off = az("aks", "update", *THIS, "--api-server-authorized-ip-ranges", "", "--network-policy", "none")
    assert not off["apiServerAccessProfile"]["authorizedIpRanges"]
    assert off["networkProfile"]["networkPolicy"] == "none"


def test_commands_run_in_the_cluster(az: Az, hollow: Installation, cluster: str, tmp_path: Path) -> None:
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "sent"}, "data": {"a": "b"}}
    (tmp_path / "map.json").write_text(json.dumps(manifest))
    this = (*THIS, "--output", "json")
    apply = "kubectl apply -f map.json && kubectl get configmap sent -o jsonpath={.data.a}"
    ran = az("aks", "command", "invoke", *this, "--file", "map.json", "--command", apply, folder=tmp_path)
    assert (ran["exitCode"], ran["provisioningState"]) == (0, "Succeeded")
    assert ran["logs"].splitlines() == ["configmap/sent created", "b"]
    failed = az("aks", "command", "invoke", *this, "--command", "echo to stderr >&2; exit 7")
    assert (failed["exitCode"], failed["logs"]) == (7, "to stderr\n")
    again = az("aks", "command", "result", *this, "--command-id", failed["id"])
    assert again["exitCode"] == 7
    shown = az.text("aks", "command", "invoke", *THIS, "--command", "kubectl get nodes")
    assert "exitcode=0" in shown
    assert "aks-nodepool1-" in shown
    commands = [m for m in _machines(hollow) if "/commandresults/" in m["resourceId"].lower()]
    assert commands == []


def _machines(hollow: Installation) -> list[dict[str, Any]]:
    status = hollow.arm("GET", "/providers/Microsoft.Sorairo/status/default").json()
    return list(status["properties"]["machines"])


def test_from_create_to_delete(az: Az, hollow: Installation) -> None:
    made = az(*create("brief", "--kubernetes-version", "1.36", "--tags", "x=y", "--nodepool-labels", "l=m"))
    assert made["provisioningState"] == "Succeeded"
    assert made["currentKubernetesVersion"].startswith("1.36.")
    assert made["identity"]["type"] == "SystemAssigned"
    assert made["identity"]["principalId"]
    assert made["servicePrincipalProfile"] == {"clientId": "msi", "secret": None}
    assert made["agentPoolProfiles"][0]["nodeLabels"] == {"l": "m"}
    [node] = nodes(hollow, "brief").values()
    assert node["status"]["nodeInfo"]["kubeletVersion"].startswith("v1.36.")
    group = made["nodeResourceGroup"]
    this = ("--resource-group", GROUP, "--name", "brief")
    az("aks", "stop", *this)
    assert az("aks", "show", *this)["powerState"]["code"] == "Stopped"
    assert az("vmss", "list", "--resource-group", group)[0]["sku"]["capacity"] == 0
    az("aks", "start", *this)
    assert len(nodes(hollow, "brief")) == 1
    az("aks", "delete", *this, "--yes")
    assert az("group", "exists", "--name", group) is False
    assert "brief" not in [c["name"] for c in az("aks", "list")]
    assert not [m for m in _machines(hollow) if "/brief" in m["resourceId"].lower() or group.lower() in m["resourceId"]]


def test_identities_and_a_subnet_of_ones_own(az: Az, hollow: Installation) -> None:
    network = az(
        "network", "vnet", "create", "--resource-group", GROUP, "--name", "own", "--address-prefixes", "10.80.0.0/16",
        "--subnet-name", "nodes", "--subnet-prefixes", "10.80.0.0/22",
    )["newVNet"]  # fmt: skip
    subnet = network["subnets"][0]["id"]
    identity = az("identity", "create", "--resource-group", GROUP, "--name", "own")
    made = az(
        *create(
            "assigned", "--assign-identity", identity["id"], "--vnet-subnet-id", subnet, "--max-pods", "50",
            "--service-cidr", "172.20.0.0/16", "--dns-service-ip", "172.20.0.10", "--zones", "1",
        )
    )  # fmt: skip
    assert made["identity"]["type"] == "UserAssigned"
    [assigned] = made["identity"]["userAssignedIdentities"].values()
    assert assigned["principalId"] == identity["principalId"]
    assert made["networkProfile"]["serviceCidr"] == "172.20.0.0/16"
    [node] = nodes(hollow, "assigned").values()
    address = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
    assert address.startswith("10.80.")
    # az gives the cluster's identity its rights on a subnet that is not the cluster's own.
    roles = hollow.arm("GET", f"{subnet}/providers/Microsoft.Authorization/roleAssignments").json()["value"]
    assert identity["principalId"] in {r["properties"]["principalId"] for r in roles}
    busy = az.refused("network", "vnet", "delete", "--resource-group", GROUP, "--name", "own")
    assert busy.code == "InUseSubnetCannotBeDeleted"
    group = made["nodeResourceGroup"]
    assert not [r for r in az("resource", "list", "--resource-group", group) if r["type"].endswith("virtualNetworks")]

    who = hollow.credentials
    principal = az(*create("principal", "--service-principal", who["clientId"], "--client-secret", who["clientSecret"]))
    assert principal["servicePrincipalProfile"]["clientId"] == who["clientId"]
    assert principal["identity"] is None
    assert who["clientSecret"] not in json.dumps(principal)
    for name in ("principal", "assigned"):
        az("aks", "delete", "--resource-group", GROUP, "--name", name, "--yes", "--no-wait")
    for name in ("principal", "assigned"):
        az("aks", "wait", "--resource-group", GROUP, "--name", name, "--deleted", "--interval", "1")
    az("network", "vnet", "delete", "--resource-group", GROUP, "--name", "own")


def test_its_scale_set_and_what_belongs_to_it(az: Az, hollow: Installation, cluster: str) -> None:
    group = hollow.arm("GET", cluster).json()["properties"]["nodeResourceGroup"]
    [scale_set] = az("vmss", "list", "--resource-group", group)
    this = ("--resource-group", group, "--name", scale_set["name"])
    assert scale_set["name"].startswith("aks-nodepool1-")
    assert scale_set["tags"]["aks-managed-poolName"] == "nodepool1"
    shown = row(az.text("vmss", "list-instances", *this, "--output", "table"))
    assert (shown["Name"], shown["ProvisioningState"]) == (f"{scale_set['name']}_0", "Succeeded")
    summary = az("vmss", "get-instance-view", *this)["virtualMachine"]["statusesSummary"]
    assert [(s["code"], s["count"]) for s in summary] == [("ProvisioningState/succeeded", 1)]
    [nic] = az("vmss", "nic", "list", "--resource-group", group, "--vmss-name", scale_set["name"])
    assert len(nic["ipConfigurations"]) == 31
    [node] = nodes(hollow).values()
    address = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
    assert nic["ipConfigurations"][0]["privateIPAddress"] == address
