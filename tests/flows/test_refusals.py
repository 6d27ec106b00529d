"""Bad input gets Azure's error code and a message that helps, and changes nothing: no resource, group or process."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from azure_cli import Az
from flows_shared import CLUSTER, GROUP
from installation import Installation

pytestmark = pytest.mark.engine

BODY: dict[str, Any] = {
    "location": "westeurope",
    "identity": {"type": "SystemAssigned"},
    "properties": {"agentPoolProfiles": [{"name": "nodepool1", "mode": "System", "count": 1}]},
}


def with_pool(**pool: Any) -> dict[str, Any]:
    body = copy.deepcopy(BODY)
    body["properties"]["agentPoolProfiles"][0].update(pool)
    return body


def with_properties(**properties: Any) -> dict[str, Any]:
    body = copy.deepcopy(BODY)
    body["properties"].update(properties)
    return body


CREATIONS: list[tuple[dict[str, Any], int, str, str]] = [
    (with_properties(kubernetesVersion="1.2.3"), 400, "K8sVersionNotSupported", "az aks get-versions"),
    (with_pool(vmSize="Standard_Huge"), 400, "BadRequest", "Standard_Huge is not allowed"),
    (with_pool(vmSize="Standard_B1ms"), 400, "SystemPoolSkuTooLow", "not have enough CPUs"),
    (with_pool(count=5000), 400, "InvalidParameter", "greater than the maximum of 1000"),
    (with_pool(count=0), 400, "InvalidParameter", "minCount:1"),
    (with_pool(mode="User"), 400, "InvalidParameter", "at least one System agent pool"),
    (with_pool(name="Pool-1"), 400, "InvalidParameter", "lower-case letters and digits"),
    (with_pool(maxPods=5), 400, "InvalidParameter", "5 is not 10 to 250"),
    (with_pool(nodeTaints=["gpu"]), 400, "InvalidParameter", "key=value:effect"),
    (with_pool(nodeLabels={"kubernetes.io/a": "b"}), 400, "InvalidParameter", "reserved"),
    (with_pool(availabilityZones=["7"]), 400, "AvailabilityZoneNotSupported", "'1,2,3'"),
    (with_pool(osType="BeOS"), 400, "InvalidParameter", "Linux, Windows"),
    (with_pool(osType="Windows"), 501, "NotImplemented", "osType 'Windows'"),
    (with_pool(enableAutoScaling=True), 501, "NotImplemented", "enableAutoScaling"),
    (with_pool(vnetSubnetID="/nonsense"), 400, "InvalidParameter", "vnetSubnetID"),
    (with_properties(agentPoolProfiles=[]), 400, "InvalidParameter", "at least one agent pool"),
    (with_properties(networkProfile={"serviceCidr": "10.224.0.0/16"}), 400, "ServiceCidrOverlapExistingSubnetsCidr",
     "10.224.0.0/16"),
    (with_properties(networkProfile={"serviceCidr": "10.0.0.0/8"}), 400, "InvalidServiceCidr", "/12"),
    (with_properties(networkProfile={"serviceCidr": "ten"}), 400, "InvalidCidr", "'ten' is not a valid CIDR"),
    (with_properties(networkProfile={"dnsServiceIP": "10.1.0.10"}), 400, "DNSServiceIPNotInServiceCidr", "10.1.0.10"),
    (with_properties(networkProfile={"networkPlugin": "token-ring"}), 400, "InvalidParameter", "azure, kubenet, none"),
    (with_properties(aadProfile={"serverAppID": "x"}), 400, "BadRequest", "legacy"),
    (with_properties(disableLocalAccounts=True), 400, "BadRequest", "Azure AD integration enabled"),
    (with_properties(nodePools=3), 400, "InvalidRequestContent", "Could not find member 'nodePools'"),
    (with_properties(servicePrincipalProfile={"clientId": "00000000-0000-0000-0000-000000000001"}), 400,
     "ServicePrincipalProfileMissingSecret", "secret"),
    (with_properties(servicePrincipalProfile={"clientId": "00000000-0000-0000-0000-000000000001", "secret": "x"}), 400,
     "ServicePrincipalValidationClientError", "AADSTS700016"),
    (with_properties(nodeResourceGroup=GROUP), 409, "NodeResourceGroupAlreadyExists", "--node-resource-group"),
    ({**BODY, "location": "moonbase"}, 400, "LocationNotAvailableForResourceType", "westeurope"),
    ({k: v for k, v in BODY.items() if k != "location"}, 400, "LocationRequired", "location"),
    ({**BODY, "colour": "sky"}, 400, "InvalidRequestContent", "Could not find member 'colour'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "code", "says"), CREATIONS, ids=[f"{c[2]}-{n}" for n, c in enumerate(CREATIONS)]
)
def test_a_bad_cluster(
    hollow: Installation, unchanged: None, body: dict[str, Any], status: int, code: str, says: str
) -> None:
    answer = hollow.arm("PUT", hollow.cluster_path(GROUP, "bad"), body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), error
    assert says in error["message"]
    assert hollow.arm("GET", hollow.cluster_path(GROUP, "bad")).status_code == 404


def test_a_subnet_too_small_for_its_nodes_pods(hollow: Installation) -> None:
    network = f"resourceGroups/{GROUP}/providers/Microsoft.Network/virtualNetworks/small"
    subnets = [{"name": "nodes", "properties": {"addressPrefix": "10.50.0.0/26"}}]
    made = hollow.arm(
        "PUT",
        network,
        {
            "location": "westeurope",
            "properties": {"addressSpace": {"addressPrefixes": ["10.50.0.0/16"]}, "subnets": subnets},
        },
    )
    hollow.wait(made)
    subnet = f"{made.json()['id']}/subnets/nodes"
    answer = hollow.arm("PUT", hollow.cluster_path(GROUP, "bad"), with_pool(vnetSubnetID=subnet, count=2))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "InsufficientSubnetSize")
    # Two nodes with an address each and thirty for pods; 64 less the five that Azure keeps.
    assert "Pre-allocated IPs 62 exceeds IPs available 59" in error["message"]
    missing = hollow.arm("PUT", hollow.cluster_path(GROUP, "bad"), with_pool(vnetSubnetID=f"{subnet}x"))
    assert missing.json()["error"]["code"] == "VnetSubnetNotFound"
    assert hollow.arm("GET", hollow.cluster_path(GROUP, "bad")).status_code == 404


CHANGES: list[tuple[dict[str, Any], int, str, str]] = [
    ({"vmSize": "Standard_D4s_v3"}, 400, "PropertyChangeNotAllowed", "properties.vmSize"),
    ({"maxPods": 50}, 400, "PropertyChangeNotAllowed", "properties.maxPods"),
    ({"orchestratorVersion": "1.36"}, 501, "NotImplemented", "upgrading an agent pool"),
    ({"mode": "User"}, 400, "OperationNotAllowed", "at least one System agent pool"),
    ({"count": "many"}, 400, "InvalidRequestContent", "'string' to 'integer'"),
]


@pytest.mark.parametrize(("change", "status", "code", "says"), CHANGES, ids=[next(iter(c[0])) for c in CHANGES])
def test_a_bad_change_of_a_pool(
    hollow: Installation,
    cluster: str,
    unchanged: None,
    change: dict[str, Any],
    status: int,
    code: str,
    says: str,
) -> None:
    pool = hollow.arm("GET", f"{cluster}/agentPools/nodepool1").json()
    pool["properties"] |= change
    answer = hollow.arm("PUT", f"{cluster}/agentPools/nodepool1", pool)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), error
    assert says in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("DELETE", "agentPools/nodepool1", "OperationNotAllowed"),
        ("POST", "rotateClusterCertificates", "NotImplemented"),
        ("POST", "resetAADProfile", "BadRequest"),
        ("POST", "agentPools/nodepool1/abort", "NotImplemented"),
        ("POST", "agentPools/nodepool1/upgradeNodeImageVersion", "NotImplemented"),
    ],
)
def test_what_cannot_be_done_to_a_cluster(
    hollow: Installation, cluster: str, unchanged: None, method: str, path: str, code: str
) -> None:
    answer = hollow.arm(method, f"{cluster}/{path}")
    assert answer.json()["error"]["code"] == code
    assert answer.status_code == (501 if code == "NotImplemented" else 400)


def test_an_upgrade_says_that_it_is_not_built(hollow: Installation, cluster: str, unchanged: None) -> None:
    body = hollow.arm("GET", cluster).json()
    body["properties"]["kubernetesVersion"] = "1.36"
    answer = hollow.arm("PUT", cluster, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (501, "NotImplemented")


@pytest.mark.az
def test_az_shows_them(az: Az, hollow: Installation, cluster: str, unchanged: None) -> None:
    create = ("aks", "create", "--resource-group", GROUP, "--no-ssh-key", "--name")
    version = az.refused(*create, "bad", "--kubernetes-version", "1.2.3")
    assert version.code == "K8sVersionNotSupported"
    assert "1.37" in version.message
    size = az.refused(*create, "bad", "--node-vm-size", "Standard_Huge")
    assert (size.code, "Standard_Huge" in size.message) == ("BadRequest", True)
    taken = az.run(*create, CLUSTER)
    assert taken.returncode != 0
    assert "already exists" in taken.stderr
    # `az aks create` looks for the registry only once the cluster stands; `update` does before it asks for anything.
    registry = az.run("aks", "update", "--resource-group", GROUP, "--name", CLUSTER, "--attach-acr", "nowhere")
    assert registry.returncode != 0
    assert "nowhere" in registry.stderr
