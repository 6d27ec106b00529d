"""What a cluster is composed of and others add to: theirs stays."""

from __future__ import annotations

from typing import Any

import pytest

from sorairo.engine.types import Resource
from sorairo.providers.microsoft_containerservice import cloud
from sorairo.providers.microsoft_containerservice.composition import holds, laid_over

WANTED = {
    "tags": {"ours": "1"},
    "properties": {"rules": [{"name": "Out", "properties": {"ports": [1, 2]}}], "prefixes": ["10.0.0.0/8"]},
}
STORED = {
    "tags": {"ours": "1", "theirs": "2"},
    "properties": {
        "rules": [
            {"name": "theirs", "properties": {"ports": [9]}},
            {"name": "out", "properties": {"ports": [1, 2], "default": True}},
        ],
        "prefixes": ["10.0.0.0/8"],
    },
}


def test_more_than_is_wanted_is_right_where_it_is_shared() -> None:
    assert holds(STORED, WANTED, shared=True)
    assert not holds(STORED, WANTED)


@pytest.mark.parametrize(
    "stored",
    [
        {**STORED, "properties": {**STORED["properties"], "rules": []}},
        {**STORED, "properties": {**STORED["properties"], "prefixes": ["10.0.0.0/8", "11.0.0.0/8"]}},
        {**STORED, "tags": {"ours": "2"}},
    ],
)
def test_less_or_other_is_wrong(stored: dict[str, Any]) -> None:
    assert not holds(stored, WANTED, shared=True)


def test_what_is_wanted_is_laid_over_what_others_have() -> None:
    stored = {"tags": {"theirs": "2"}, "properties": {"rules": [{"name": "theirs", "properties": {}}], "prefixes": []}}
    result = laid_over(stored, WANTED)
    assert holds(result, WANTED, shared=True)
    assert result["tags"] == {"theirs": "2", "ours": "1"}
    assert [r["name"] for r in result["properties"]["rules"]] == ["theirs", "Out"]
    assert laid_over(result, WANTED) == result


# --- the role assignment ----------------------------------------------------------------------------------


class Stored:
    def __init__(self, *resources: Resource) -> None:
        self._resources = resources

    async def get(self, resource_id: str) -> Resource | None:
        return next((r for r in self._resources if r.key == resource_id.lower()), None)

    async def list(self, *, type: str | None = None, under: str | None = None) -> list[Resource]:
        return list(self._resources)


ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c"
GROUP = "/subscriptions/s/resourceGroups/MC_g_c_westeurope"


def cluster(client: str = "msi", identity: dict[str, Any] | None = None, **private: Any) -> Resource:
    properties = {
        "nodeResourceGroup": "MC_g_c_westeurope",
        "servicePrincipalProfile": {"clientId": client},
        "agentPoolProfiles": [{"name": "p"}],
        "networkProfile": {},
    }
    return Resource(ID, {"location": "westeurope", "identity": identity, "properties": properties}, private=private)


ASSIGNED = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/mine"


@pytest.mark.parametrize(
    "it",
    [
        cluster(identity={"type": "SystemAssigned"}),
        cluster(identity={"type": "UserAssigned", "userAssignedIdentities": {ASSIGNED: {}}}),
        cluster("app", servicePrincipal="who"),
    ],
    ids=["system assigned", "user assigned", "service principal"],
)
async def test_the_clusters_principal_is_contributor_of_its_node_resource_group(it: Resource) -> None:
    it.private.setdefault("identity", {"principalId": "who"})
    assigned = Resource(ASSIGNED, {}, status={"principalId": "who"})
    found = await cloud.role_assignment(Stored(assigned), it)
    assert found
    id, body = found
    assert id.startswith(f"{GROUP}/providers/Microsoft.Authorization/roleAssignments/")
    assert body["properties"]["principalId"] == "who"
    assert body["properties"]["roleDefinitionId"].endswith(f"/{cloud.CONTRIBUTOR}")
    # Somebody else has granted it: a second assignment of the same would be refused.
    theirs = Resource(f"{GROUP}/providers/Microsoft.Authorization/roleAssignments/x", body)
    assert await cloud.role_assignment(Stored(assigned, theirs), it) is None
    assert await cloud.role_assignment(Stored(assigned, Resource(id, body)), it) == found


async def test_nobody_is_granted_anything_before_it_is_known_who() -> None:
    assert await cloud.role_assignment(Stored(), cluster()) is None


def test_a_service_principals_secret_is_told_and_a_managed_identitys_is_none() -> None:
    config = cloud.config(cluster("app", secret="hush"), tenant_id="t", resource_manager="https://arm")
    assert (config.client_id, config.client_secret) == ("app", "hush")
    managed = cluster(kubeletIdentity={"clientId": "kubelets"})
    assert cloud.config(managed, tenant_id="t", resource_manager="https://arm").managed
    assert cloud.node_config(managed, tenant_id="t").identity == "kubelets"
