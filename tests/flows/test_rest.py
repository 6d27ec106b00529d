"""ARM by plain HTTPS requests, against the daemon and its real providers: what the protocol promises any client."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from flows_shared import CLUSTER, GROUP
from installation import Installation

NETWORKS = f"resourceGroups/{GROUP}/providers/Microsoft.Network/virtualNetworks"
NETWORK: dict[str, Any] = {
    "location": "westeurope",
    "properties": {"addressSpace": {"addressPrefixes": ["10.70.0.0/16"]}},
}


@pytest.fixture
def network(hollow: Installation) -> Iterator[str]:
    path = f"{NETWORKS}/rest-{uuid.uuid4().hex[:6]}"
    hollow.wait(hollow.arm("PUT", path, NETWORK))
    yield path
    hollow.wait(hollow.arm("DELETE", path))


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_etags_guard_against_lost_updates(hollow: Installation, network: str) -> None:
    read = hollow.arm("GET", network)
    tag = read.headers["etag"]
    assert read.json()["etag"] == tag
    changed = hollow.arm("PUT", network, {**NETWORK, "tags": {"a": "1"}}, **{"If-Match": tag})
    assert changed.status_code == 200
    hollow.wait(changed)
    assert error(hollow.arm("PUT", network, NETWORK, **{"If-Match": tag})) == (412, "PreconditionFailed")
    # The document's own etag counts as well, as the networking types have it.
    assert error(hollow.arm("PUT", network, {**NETWORK, "etag": tag})) == (412, "PreconditionFailed")
    assert error(hollow.arm("DELETE", network, **{"If-Match": tag})) == (412, "PreconditionFailed")
    assert error(hollow.arm("PUT", network, NETWORK, **{"If-None-Match": "*"})) == (412, "PreconditionFailed")
    assert hollow.arm("GET", network).json()["tags"] == {"a": "1"}


def test_ids_do_not_care_about_case_and_keep_the_first(hollow: Installation, network: str) -> None:
    shown = hollow.arm("GET", network).json()
    upper = hollow.http.get(f"{hollow.subscription}/{network}".upper(), params={"api-version": "2024-05-01"}).json()
    assert upper["id"] == shown["id"]
    assert upper["name"] == network.rsplit("/", 1)[1]
    again = hollow.arm("PUT", network.replace("rest-", "REST-"), NETWORK)
    assert again.status_code == 200
    hollow.wait(again)
    assert hollow.arm("GET", network).json()["id"] == shown["id"]


def test_an_operation_is_followed_by_its_headers(hollow: Installation) -> None:
    path = hollow.cluster_path(GROUP, "followed")
    body = {
        "location": "westeurope",
        "identity": {"type": "SystemAssigned"},
        "properties": {"agentPoolProfiles": [{"name": "p", "mode": "System", "count": 1}]},
    }
    created = hollow.arm("PUT", path, body)
    assert created.status_code == 201
    assert created.json()["properties"]["provisioningState"] == "Creating"
    url = created.headers["azure-asyncoperation"]
    assert url.startswith(f"{hollow.base}/subscriptions/")
    assert created.headers["retry-after"] == "1"
    first = hollow.http.get(url)
    assert (first.status_code, first.json()["status"]) == (200, "InProgress")
    assert first.headers["retry-after"] == "1"
    busy = hollow.arm("PUT", path, body)
    assert error(busy) == (409, "OperationNotAllowed")
    ended = hollow.wait_operation(url)
    assert ended["status"] == "Succeeded"
    assert ended["endTime"] > ended["startTime"]
    deleted = hollow.arm("DELETE", path)
    assert deleted.status_code == 202
    assert {"location", "azure-asyncoperation", "retry-after"} <= set(deleted.headers)
    assert hollow.arm("GET", path).json()["properties"]["provisioningState"] == "Deleting"
    assert hollow.wait(deleted)["status"] == "Succeeded"
    assert hollow.http.get(deleted.headers["location"]).status_code == 204
    assert error(hollow.arm("GET", path)) == (404, "ResourceNotFound")
    assert hollow.arm("DELETE", path).status_code == 204


def test_api_versions(hollow: Installation, cluster: str) -> None:
    url = f"{hollow.subscription}/{cluster}"
    assert error(hollow.http.get(url)) == (400, "MissingApiVersionParameter")
    old = hollow.http.get(url, params={"api-version": "2013-01-01"})
    assert error(old) == (400, "NoRegisteredProviderFound")
    assert "2026-08-01" in old.json()["error"]["message"]
    assert hollow.http.get(url, params={"api-version": "2023-01-01"}).status_code == 200
    group = hollow.http.get(f"{hollow.subscription}/resourceGroups/{GROUP}", params={"api-version": "2013-01-01"})
    assert error(group) == (400, "InvalidApiVersionParameter")


def test_pages(hollow: Installation) -> None:
    group = "rest-pages"
    hollow.group(group)
    path = f"resourceGroups/{group}/providers/Microsoft.Network/networkSecurityGroups"
    for n in range(5):
        hollow.arm("PUT", f"{path}/g{n}", {"location": "eastus"}).raise_for_status()
    seen: list[str] = []
    url = f"{hollow.base}{hollow.subscription}/{path}?api-version=2024-05-01&$top=2"
    while url:
        page = hollow.http.get(url).json()
        assert len(page["value"]) <= 2
        seen += [g["name"] for g in page["value"]]
        url = page.get("nextLink", "")
    assert seen == [f"g{n}" for n in range(5)]
    hollow.wait(hollow.arm("DELETE", f"resourceGroups/{group}"))


def test_every_answer_has_its_ids_and_what_is_left_of_the_allowance(hollow: Installation, cluster: str) -> None:
    answer = hollow.arm("GET", cluster, **{"x-ms-correlation-request-id": "mine"})
    assert answer.headers["x-ms-correlation-request-id"] == "mine"
    assert uuid.UUID(answer.headers["x-ms-request-id"])
    before = int(answer.headers["x-ms-ratelimit-remaining-subscription-reads"])
    assert before > 0
    assert hollow.arm("PUT", f"{cluster}/agentPools/BAD", {}).headers["x-ms-ratelimit-remaining-subscription-writes"]


def test_an_inline_child_is_checked_by_its_own_schema(hollow: Installation, network: str) -> None:
    for body, target in (
        ({"properties": {"addressPrefix": 5}}, "properties.addressPrefix"),
        ({"properties": {"adressPrefix": "10.70.1.0/24"}}, "properties.adressPrefix"),
        ({"properties": {"addressPrefix": "10.70.1.0/24", "delegations": "none"}}, "properties.delegations"),
    ):
        answer = hollow.arm("PUT", f"{network}/subnets/a", body)
        assert error(answer) == (400, "InvalidRequestContent"), answer.text
        assert answer.json()["error"]["target"] == target
    assert error(hollow.arm("PUT", f"{network}/subnets/a", {"properties": 7})) == (400, "InvalidRequestContent")
    assert error(hollow.arm("GET", f"{network}/subnets/a")) == (404, "ResourceNotFound")


def test_a_clusters_whole_document_may_be_written_back(hollow: Installation, cluster: str) -> None:
    shown = hollow.arm("GET", cluster).json()
    shown["tags"] = {"back": "again"}
    assert hollow.wait(hollow.arm("PUT", cluster, shown))["status"] == "Succeeded"
    now = hollow.arm("GET", cluster).json()
    assert now["tags"] == {"back": "again"}
    assert now["properties"]["agentPoolProfiles"][0]["count"] == shown["properties"]["agentPoolProfiles"][0]["count"]
    pool = hollow.arm("GET", f"{cluster}/agentPools/nodepool1").json()
    assert pool["id"].endswith(f"/managedClusters/{CLUSTER}/agentPools/nodepool1")
    assert hollow.wait(hollow.arm("PUT", f"{cluster}/agentPools/nodepool1", pool))["status"] == "Succeeded"
    assert hollow.wait(hollow.arm("PATCH", cluster, {"tags": {}}))["status"] == "Succeeded"
    assert hollow.arm("GET", cluster).json()["tags"] == {}


def test_what_a_cluster_could_be_upgraded_to(hollow: Installation, cluster: str) -> None:
    profile = hollow.arm("GET", f"{cluster}/upgradeProfiles/default").json()
    assert profile["type"] == "Microsoft.ContainerService/managedClusters/upgradeProfiles"
    version = hollow.arm("GET", cluster).json()["properties"]["currentKubernetesVersion"]
    assert profile["properties"]["controlPlaneProfile"]["kubernetesVersion"] == version
    assert [p["name"] for p in profile["properties"]["agentPoolProfiles"]] == ["nodepool1"]
    pools = hollow.arm("GET", f"{cluster}/availableAgentPoolVersions").json()["properties"]["agentPoolVersions"]
    assert {"kubernetesVersion": version, "default": True, "isPreview": False} in pools
    one = hollow.arm("GET", f"{cluster}/agentPools/nodepool1/upgradeProfiles/default").json()["properties"]
    assert one["latestNodeImageVersion"].startswith("AKSUbuntu-")
    assert error(hollow.arm("GET", f"{cluster}x/upgradeProfiles/default")) == (404, "ResourceNotFound")
    [machine] = hollow.arm("GET", f"{cluster}/agentPools/nodepool1/machines").json()["value"]
    assert machine["properties"]["network"]["ipAddresses"][0]["ip"].startswith("10.224.")
    assert hollow.arm("GET", f"{cluster}/agentPools/nodepool1/machines/{machine['name']}").json() == machine
