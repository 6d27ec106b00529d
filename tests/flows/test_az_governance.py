"""`az` on what is around resources: locks, features, moves, generic resources, graph queries, exports."""

from __future__ import annotations

import json
from typing import Any

import pytest

from azure_cli import Az
from installation import Installation

pytestmark = pytest.mark.az

GROUP, OTHER = "governed", "governed-too"
ADDRESS = "Microsoft.Network/publicIPAddresses"


@pytest.fixture(scope="module")
def group(az: Az) -> str:
    for name in (GROUP, OTHER):
        az("group", "create", "--name", name, "--location", "westeurope")
    return GROUP


def test_locks_from_create_to_delete(az: Az, group: str) -> None:
    az("network", "nsg", "create", "--name", "kept", group=group)
    made = az("lock", "create", "--name", "l", "--lock-type", "CanNotDelete", "--notes", "why", group=group)
    assert (made["level"], made["notes"]) == ("CanNotDelete", "why")
    on = ("--resource", "kept", "--resource-type", "Microsoft.Network/networkSecurityGroups")
    az("lock", "create", "--name", "m", "--lock-type", "ReadOnly", *on, group=group)
    assert {entry["name"] for entry in az("lock", "list", group=group)} == {"l", "m"}
    assert "ScopeLocked" in az.fails("group", "delete", "--name", group, "--yes")
    assert "ScopeLocked" in az.fails("network", "nsg", "update", "--name", "kept", "--set", "tags.a=b", group=group)
    assert az("lock", "update", "--name", "l", "--notes", "because", group=group)["notes"] == "because"
    az("lock", "delete", "--name", "m", *on, group=group)
    assert az("network", "nsg", "update", "--name", "kept", "--set", "tags.a=b", group=group)["tags"] == {"a": "b"}
    assert "ScopeLocked" in az.fails("network", "nsg", "delete", "--name", "kept", group=group)
    az("lock", "delete", "--name", "l", group=group)
    az("network", "nsg", "delete", "--name", "kept", group=group)
    assert az("lock", "list", group=group) == []


def test_features_and_providers(az: Az) -> None:
    feature = ("--namespace", "Microsoft.ContainerService", "--name", "FastPreview")
    assert az("feature", "register", *feature)["properties"]["state"] == "Registered"
    assert az("feature", "show", *feature)["name"] == "Microsoft.ContainerService/FastPreview"
    names = [f["name"] for f in az("feature", "list", "--namespace", "Microsoft.ContainerService")]
    assert names == ["Microsoft.ContainerService/FastPreview"]
    assert az("feature", "unregister", *feature)["properties"]["state"] == "NotRegistered"
    assert az("feature", "registration", "create", *feature)["properties"]["state"] == "Registered"
    az("feature", "registration", "delete", *feature, "--yes")
    assert "cannot be unregistered" in az.fails("provider", "unregister", "--namespace", "Microsoft.Network")


def test_resources_by_type_and_id_from_create_to_move(az: Az, hollow: Installation, group: str) -> None:
    made = az(
        "resource", "create", "--name", "ip", "--resource-type", ADDRESS, "--api-version", "2023-09-01",
        "--location", "westeurope", "--properties", '{"publicIPAllocationMethod": "Static"}', group=group,
    )  # fmt: skip
    id = made["id"]
    assert az("resource", "update", "--ids", id, "--set", "tags.x=y")["tags"] == {"x": "y"}
    said = az.fails("resource", "invoke-action", "--action", "bogus", "--ids", id)
    assert "NotImplemented" in said
    az("resource", "move", "--destination-group", OTHER, "--ids", id)
    moved = id.replace(f"/resourceGroups/{GROUP}/", f"/resourceGroups/{OTHER}/")
    assert az("resource", "show", "--ids", moved)["tags"] == {"x": "y"}
    assert "ResourceNotFound" in az.fails("resource", "show", "--ids", id)
    az("resource", "delete", "--ids", moved)
    assert az("resource", "list", group=OTHER) == []
    identity = az("identity", "create", "--name", "me", group=group)["id"]
    assert "ResourceMoveNotSupported" in az.fails("resource", "move", "--destination-group", OTHER, "--ids", identity)


def test_graph_queries(az: Az, group: str) -> None:
    az("network", "nsg", "create", "--name", "asked", "--tags", "env=prod", group=group)

    def ask(query: str) -> Any:
        url = "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01"
        return az("rest", "--method", "post", "--url", url, "--body", json.dumps({"query": query}))["data"]

    where = f"Resources | where resourceGroup == '{GROUP}' and tags.env =~ 'PROD'"
    assert ask(f"{where} | project name, type") == [
        {"name": "asked", "type": "microsoft.network/networksecuritygroups"}
    ]
    rules = ask(f"{where} | mv-expand rule = properties.defaultSecurityRules | project rule.name | count")
    assert rules == [{"Count": 6}]
    joined = ask(
        f"{where} | join kind=leftouter (ResourceContainers | where type has 'resourcegroups' | project "
        "resourceGroup = tolower(name), place = location) on resourceGroup | project name, place"
    )
    assert joined == [{"name": "asked", "place": "westeurope"}]


def test_a_group_exported_and_made_again(az: Az, group: str) -> None:
    az("network", "nsg", "create", "--name", "seed", group=group)
    az("network", "vnet", "create", "--name", "net", "--address-prefixes", "10.7.0.0/16", "--subnet-name", "s",
       "--subnet-prefixes", "10.7.0.0/24", "--network-security-group", "seed", group=group)  # fmt: skip
    ids = [r["id"] for r in az("resource", "list", group=group) if r["name"] in ("seed", "net")]
    template = az("group", "export", "--name", group, "--resource-ids", *ids)
    assert len(template["resources"]) == 2
    file = az.file("exported.json", template)
    az("deployment", "group", "create", "--template-file", file, "--name", "again", group=OTHER)
    subnet = az("network", "vnet", "subnet", "show", "--vnet-name", "net", "--name", "s", group=OTHER)
    assert subnet["networkSecurityGroup"]["id"].endswith(
        f"/{OTHER}/providers/Microsoft.Network/networkSecurityGroups/seed"
    )
