"""Private clusters and private endpoints by unmodified `az`, and by somebody with few rights, on the hollow substrate.

Given a private DNS zone and an identity of one's own, then a private cluster is called by a name in that zone; and a
virtual network elsewhere is connected to it by who may approve, and only asked for by who may not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from azure_cli import Az
from flows_shared import GROUP
from installation import Installation

pytestmark = [pytest.mark.az, pytest.mark.engine, pytest.mark.timeout(1200)]

CLUSTER = "secluded"
THIS = ("--resource-group", GROUP, "--name", CLUSTER)
NETWORK = f"resourceGroups/{GROUP}/providers/Microsoft.Network"
ZONE = f"{NETWORK}/privateDnsZones/privatelink.westeurope.azmk8s.io"
IDENTITY = f"resourceGroups/{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/secluded"
VNET = f"{NETWORK}/virtualNetworks/private-elsewhere"


def put(on: Installation, path: str, location: str = "westeurope", **properties: Any) -> str:
    """The id of what was made."""
    answer = on.arm("PUT", path, {"location": location, "properties": properties})
    assert on.wait(answer)["status"] == "Succeeded", answer.text
    return f"{on.subscription}/{path}"


@pytest.fixture(scope="module")
def zone(hollow: Installation) -> str:
    return put(hollow, ZONE, "global")


@pytest.fixture(scope="module")
def identity(hollow: Installation) -> str:
    return put(hollow, IDENTITY)


@pytest.fixture(scope="module")
def secluded(az: Az, hollow: Installation, zone: str, identity: str) -> Iterator[str]:
    """The path of a private cluster, made once its identity may write to the zone."""
    path = hollow.cluster_path(GROUP, CLUSTER)
    profile = {"enablePrivateCluster": True, "privateDNSZone": zone}
    pool = {"name": "nodepool1", "mode": "System", "count": 1}
    body = {
        "location": "westeurope",
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}},
        "properties": {"agentPoolProfiles": [pool], "apiServerAccessProfile": profile},
    }
    refused = hollow.arm("PUT", path, body)
    assert refused.json()["error"]["code"] == "CustomPrivateDNSZoneMissingPermissionError", refused.text
    assert hollow.arm("GET", path).status_code == 404
    principal = hollow.arm("GET", IDENTITY).json()["properties"]["principalId"]
    az(
        "role", "assignment", "create", "--role", "Private DNS Zone Contributor", "--scope", zone,
        "--assignee-object-id", principal, "--assignee-principal-type", "ServicePrincipal",
    )  # fmt: skip
    az(
        "aks", "create", *THIS, "--no-ssh-key", "--node-count", "1", "--enable-private-cluster", "--yes",
        "--private-dns-zone", zone, "--assign-identity", identity, "--fqdn-subdomain", "shop", "--disable-public-fqdn",
    )  # fmt: skip
    yield path
    assert hollow.wait(hollow.arm("DELETE", path))["status"] == "Succeeded"
    assert [each["name"] for each in hollow.arm("GET", f"{ZONE}/A").json()["value"]] == []
    assert hollow.arm("GET", f"{ZONE}/virtualNetworkLinks").json()["value"] == []


def records(on: Installation) -> dict[str, list[str]]:
    found = on.arm("GET", f"{ZONE}/A").json()["value"]
    return {each["name"]: [a["ipv4Address"] for a in each["properties"]["aRecords"]] for each in found}


def test_a_private_cluster_is_called_by_a_name_in_a_zone_of_ones_own(
    az: Az, hollow: Installation, secluded: str, tmp_path: Path
) -> None:
    shown = az("aks", "show", *THIS)
    name = "shop.privatelink.westeurope.azmk8s.io"
    assert (shown["fqdn"], shown["privateFqdn"]) == (None, name)
    assert "-priv.portal.hcp.westeurope." in shown["azurePortalFqdn"]
    assert [each["groupId"] for each in shown["privateLinkResources"]] == ["management"]
    assert records(hollow) == {"shop": ["10.224.0.4"]}
    config = str(tmp_path / "config")
    az("aks", "get-credentials", *THIS, "--file", config)
    assert f"server: https://{name}:443" in Path(config).read_text()
    az("aks", "update", *THIS, "--enable-public-fqdn")
    public = az("aks", "show", *THIS)["fqdn"]
    assert public.endswith(".hcp.westeurope.azmk8s.sorairo.internal")
    az("aks", "get-credentials", *THIS, "--file", config, "--public-fqdn", "--overwrite-existing")
    assert f"server: https://{public}:443" in Path(config).read_text()
    az("aks", "update", *THIS, "--disable-public-fqdn")
    refused = az.fails("aks", "get-credentials", *THIS, "--file", config, "--public-fqdn")
    assert "has no public FQDN" in refused
    ran = az("aks", "command", "invoke", *THIS, "--command", "kubectl get nodes --no-headers")
    assert " Ready " in ran


def test_a_network_elsewhere_is_connected_by_who_may_approve(az: Az, hollow: Installation, secluded: str) -> None:
    subnets = [{"name": "s", "properties": {"addressPrefix": "10.7.0.0/24"}}]
    network = put(hollow, VNET, addressSpace={"addressPrefixes": ["10.7.0.0/16"]}, subnets=subnets)
    target = f"{hollow.subscription}/{secluded}"
    where = ("--subnet", f"{network}/subnets/s", "--private-connection-resource-id", target, "--connection-name", "c")
    made = az(
        "network", "private-endpoint", "create", "--name", "reach", *where, "--group-id", "management", group=GROUP
    )
    connection = made["privateLinkServiceConnections"][0]
    assert connection["privateLinkServiceConnectionState"]["status"] == "Approved"
    assert made["customDnsConfigs"] == [{"fqdn": "shop.privatelink.westeurope.azmk8s.io", "ipAddresses": ["10.7.0.4"]}]
    assert re.search(r"/networkInterfaces/reach\.nic\.[0-9a-f-]{36}$", made["networkInterfaces"][0]["id"])
    here = ("--endpoint-name", "reach", "--name", "default")
    elsewhere = put(hollow, f"{NETWORK}/privateDnsZones/x.privatelink.westeurope.azmk8s.io", "global")
    group = az(
        "network", "private-endpoint", "dns-zone-group", "create", *here, "--private-dns-zone", elsewhere,
        "--zone-name", "z", group=GROUP,
    )  # fmt: skip
    assert group["privateDnsZoneConfigs"][0]["recordSets"] == [], "the name is not below that zone"
    listed = az("network", "private-endpoint", "list", group=GROUP)
    assert [each["name"] for each in listed] == ["reach"]
    resources = hollow.arm("GET", f"{secluded}/privateLinkResources").json()["value"]
    assert [each["groupId"] for each in resources] == ["management"]
    connections = hollow.arm("GET", f"{secluded}/privateEndpointConnections").json()["value"]
    assert {each["name"].split(".")[0] for each in connections} == {"reach", "kube-apiserver"}
    az("network", "private-endpoint", "delete", "--name", "reach", group=GROUP)
    connections = hollow.arm("GET", f"{secluded}/privateEndpointConnections").json()["value"]
    assert {each["name"].split(".")[0] for each in connections} == {"kube-apiserver"}
    assert hollow.arm("GET", made["networkInterfaces"][0]["id"]).status_code == 404
    _asked_for(az, hollow, secluded, network)
    for path in (VNET, elsewhere):
        assert hollow.wait(hollow.arm("DELETE", path))["status"] == "Succeeded"


def _asked_for(az: Az, hollow: Installation, cluster: str, network: str) -> None:
    """Who may only build networks asks, and waits for an answer."""
    scope = f"{hollow.subscription}/resourceGroups/{GROUP}"
    who = az("ad", "sp", "create-for-rbac", "--name", "connector", "--role", "Network Contributor", "--scopes", scope)
    form = {
        "grant_type": "client_credentials", "client_id": who["appId"], "client_secret": who["password"],
        "scope": "https://management.azure.com/.default",
    }  # fmt: skip
    token = hollow.http.post(f"/{who['tenant']}/oauth2/v2.0/token", data=form).json()["access_token"]
    as_them = {"Authorization": f"Bearer {token}"}
    connection = {"privateLinkServiceId": f"{hollow.subscription}/{cluster}", "groupIds": ["management"]}
    path = f"{NETWORK}/privateEndpoints/ask"

    def body(key: str) -> dict[str, Any]:
        properties = {"subnet": {"id": f"{network}/subnets/s"}, key: [{"name": "c", "properties": connection}]}
        return {"location": "westeurope", "properties": properties}

    for key in ("privateLinkServiceConnections", "PrivateLinkServiceConnections"):
        refused = hollow.arm("PUT", path, body(key), **as_them)
        assert refused.status_code == 403
        error = refused.json()["error"]
        assert error["code"] == "LinkedAuthorizationFailed"
        assert "privateEndpointConnectionsApproval/action" in error["message"]
    asked = hollow.arm("PUT", path, body("manualPrivateLinkServiceConnections"), **as_them)
    assert hollow.wait(asked)["status"] == "Succeeded"
    (mine,) = [
        each
        for each in hollow.arm("GET", f"{cluster}/privateEndpointConnections").json()["value"]
        if each["name"].startswith("ask.")
    ]
    assert mine["properties"]["privateLinkServiceConnectionState"]["status"] == "Pending"
    approve = {"properties": {"privateLinkServiceConnectionState": {"status": "Approved"}}}
    assert hollow.arm("PUT", mine["id"], approve, **as_them).status_code == 403
    # Nor by saying later that it is approved.
    assert hollow.arm("PUT", path, body("privateLinkServiceConnections"), **as_them).status_code in (200, 201, 403)
    (now,) = [hollow.arm("GET", mine["id"]).json()["properties"]["privateLinkServiceConnectionState"]]
    assert now["status"] == "Pending"
    assert hollow.wait(hollow.arm("DELETE", path))["status"] == "Succeeded"
