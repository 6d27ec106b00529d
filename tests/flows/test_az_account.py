"""`az` itself, unmodified: signing in, groups, tags, providers, resources, the activity log, roles."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from azure_cli import Az
from installation import Installation

pytestmark = pytest.mark.az

GROUP = "account"


@pytest.fixture(scope="module")
def group(az: Az) -> Any:
    return az("group", "create", "--name", GROUP, "--location", "West Europe", "--tags", "env=test", "owner=us")


def test_a_service_principal_signs_in_and_sees_its_subscription(az: Az, hollow: Installation, tmp_path: Path) -> None:
    who = hollow.credentials
    other = az.signed_out(tmp_path / "azure")
    signed_in = other(
        "login", "--service-principal", "--username", who["clientId"], "--password", who["clientSecret"],
        "--tenant", who["tenantId"],
    )  # fmt: skip
    assert [a["id"] for a in signed_in] == [who["subscriptionId"]]
    account = other("account", "show")
    assert account["id"] == who["subscriptionId"]
    assert account["tenantId"] == who["tenantId"]
    assert account["user"] == {"name": who["clientId"], "type": "servicePrincipal"}
    assert account["state"] == "Enabled"
    names = {place["name"] for place in az("account", "list-locations")}
    assert {"westeurope", "eastus", "japaneast"} <= names


def test_a_wrong_secret_is_refused_in_entras_words(az: Az, hollow: Installation, tmp_path: Path) -> None:
    who = hollow.credentials
    done = az.signed_out(tmp_path / "azure").run(
        "login", "--service-principal", "--username", who["clientId"], "--password", "wrong",
        "--tenant", who["tenantId"],
    )  # fmt: skip
    assert done.returncode != 0
    assert "AADSTS7000215" in done.stderr


def test_groups(az: Az, group: Any) -> None:
    assert (group["name"], group["location"]) == (GROUP, "westeurope")
    assert group["properties"]["provisioningState"] == "Succeeded"
    assert group["tags"] == {"env": "test", "owner": "us"}
    assert az("group", "exists", "--name", GROUP.upper()) is True
    assert az("group", "exists", "--name", "nowhere") is False
    assert [g["name"] for g in az("group", "list", "--tag", "owner=us")] == [GROUP]
    shown = az.text("group", "list", "--output", "table")
    assert shown.splitlines()[0].split() == ["Name", "Location", "Status"]
    missing = az.refused("group", "show", "--name", "nowhere")
    assert missing.code == "ResourceGroupNotFound"
    assert missing.message == "Resource group 'nowhere' could not be found."
    wrong = az.refused("group", "create", "--name", "moon", "--location", "moonbase")
    assert wrong.code == "LocationNotAvailableForResourceGroup"
    assert "westeurope" in wrong.message


def test_a_group_goes_with_all_that_is_in_it(az: Az) -> None:
    az("group", "create", "--name", "short", "--location", "eastus")
    az("network", "vnet", "create", "--resource-group", "short", "--name", "net", "--subnet-name", "a")
    az("group", "delete", "--name", "short", "--yes", "--no-wait")
    az("group", "wait", "--name", "short", "--deleted", "--interval", "1", "--timeout", "60")
    assert az("group", "exists", "--name", "short") is False
    assert "short" not in json.dumps(az("resource", "list"))


def test_tags(az: Az, group: Any) -> None:
    address = az(
        "network", "public-ip", "create", "--resource-group", GROUP, "--name", "tagged", "--tags", "a=1", "b=2"
    )["publicIp"]
    merged = az("tag", "update", "--resource-id", address["id"], "--operation", "Merge", "--tags", "b=3", "c=4")
    assert merged["properties"]["tags"] == {"a": "1", "b": "3", "c": "4"}
    assert [r["name"] for r in az("resource", "list", "--tag", "c=4")] == ["tagged"]
    less = az("tag", "update", "--resource-id", address["id"], "--operation", "Delete", "--tags", "a=1")
    assert less["properties"]["tags"] == {"b": "3", "c": "4"}
    az("resource", "tag", "--ids", address["id"], "--tags", "only=this")
    shown = az("resource", "show", "--ids", address["id"])
    assert shown["tags"] == {"only": "this"}
    assert shown["properties"]["ipAddress"] == address["ipAddress"]
    assert "only" in {t["tagName"] for t in az("tag", "list")}


def test_providers(az: Az) -> None:
    listed = {p["namespace"]: p["registrationState"] for p in az("provider", "list")}
    assert listed["Microsoft.ContainerService"] == "Registered"
    shown = az("provider", "show", "--namespace", "microsoft.network")
    assert "virtualNetworks" in {t["resourceType"] for t in shown["resourceTypes"]}
    az("provider", "register", "--namespace", "Microsoft.ContainerService", "--wait")


def test_rest_and_the_activity_log(az: Az, group: Any, hollow: Installation) -> None:
    url = f"{hollow.subscription}/resourceGroups/{GROUP}?api-version=2024-11-01"
    assert az("rest", "--method", "get", "--url", url)["name"] == GROUP
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1))
    az("identity", "create", "--resource-group", GROUP, "--name", "logged")
    events = az("monitor", "activity-log", "list", "--resource-group", GROUP, "--start-time", started)
    written = [e for e in events if e["operationName"]["value"].endswith("userAssignedIdentities/write")]
    assert written
    assert all(e["caller"] == hollow.credentials["objectId"] for e in written)
    assert "Succeeded" in {e["status"]["value"] for e in written}


def test_an_identity_and_a_role_for_it(az: Az, group: Any) -> None:
    identity = az("identity", "create", "--resource-group", GROUP, "--name", "reader")
    assert identity["principalId"] != identity["clientId"]
    scope = group["id"]
    assigned = az(
        "role", "assignment", "create", "--role", "Reader", "--scope", scope,
        "--assignee-object-id", identity["principalId"], "--assignee-principal-type", "ServicePrincipal",
    )  # fmt: skip
    assert assigned["principalId"] == identity["principalId"]
    listed = az("role", "assignment", "list", "--scope", scope)
    assert [(a["roleDefinitionName"], a["principalId"]) for a in listed] == [("Reader", identity["principalId"])]
    assert az("role", "definition", "list", "--name", "Contributor")[0]["roleName"] == "Contributor"
    az("role", "assignment", "delete", "--ids", assigned["id"])
    assert az("role", "assignment", "list", "--scope", scope) == []
    az("identity", "delete", "--resource-group", GROUP, "--name", "reader")
    assert "reader" not in [i["name"] for i in az("identity", "list", "--resource-group", GROUP)]
