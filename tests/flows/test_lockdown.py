"""A locked node resource group: users only look, the cluster goes on, and what locks it goes when it is opened."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from azure_cli import Az
from flows_shared import CLUSTER, GROUP
from installation import Installation

pytestmark = pytest.mark.engine

NODES = f"resourceGroups/MC_{GROUP}_{CLUSTER}_westeurope"
DENIALS = f"{NODES}/providers/Microsoft.Authorization/denyAssignments"


def restrict(hollow: Installation, cluster: str, level: str) -> None:
    body = hollow.arm("GET", cluster).json()
    body["properties"]["nodeResourceGroupProfile"] = {"restrictionLevel": level}
    assert hollow.wait(hollow.arm("PUT", cluster, body))["status"] == "Succeeded"


@pytest.fixture(scope="module")
def locked(hollow: Installation, cluster: str) -> Iterator[str]:
    restrict(hollow, cluster, "ReadOnly")
    yield cluster
    restrict(hollow, cluster, "Unrestricted")
    assert hollow.arm("GET", DENIALS).json()["value"] == []
    made = hollow.arm("PUT", f"{NODES}/providers/Microsoft.Network/routeTables/mine", {"location": "westeurope"})
    assert made.status_code == 201
    hollow.wait(hollow.arm("DELETE", f"{NODES}/providers/Microsoft.Network/routeTables/mine"))


def refused(answer: httpx.Response) -> str:
    error: dict[str, Any] = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (403, "DenyAssignmentAuthorizationFailed"), error
    return str(error["message"])


def test_nobody_but_the_cluster_changes_what_is_in_it(hollow: Installation, locked: str) -> None:
    network = f"{NODES}/providers/Microsoft.Network"
    said = refused(hollow.arm("PUT", f"{network}/routeTables/mine", {"location": "westeurope"}))
    assert "has permission to perform action 'Microsoft.Network/routeTables/write'" in said
    assert "nrg-lockdown, see: https://aka.ms/aks/nrg_lockdown" in said
    refused(hollow.arm("PATCH", NODES, {"tags": {"a": "b"}}))
    refused(hollow.arm("DELETE", NODES))
    role = f"{NODES}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    refused(hollow.arm("PUT", role, {"properties": {}}))
    [scale_set] = hollow.arm("GET", f"{NODES}/providers/Microsoft.Compute/virtualMachineScaleSets").json()["value"]
    refused(hollow.arm("DELETE", scale_set["id"]))
    refused(hollow.arm("PATCH", scale_set["id"], {"sku": {"capacity": 3}}))
    assert hollow.arm("GET", scale_set["id"]).json()["sku"]["capacity"] == 1

    [denial] = hollow.arm("GET", DENIALS).json()["value"]
    assert hollow.arm("GET", denial["id"]).json() == denial
    assert denial["properties"]["isSystemProtected"] is True
    identity = hollow.arm("GET", locked).json()["identity"]["principalId"]
    assert [p["id"] for p in denial["properties"]["excludePrincipals"]] == [identity]
    assert hollow.arm("DELETE", denial["id"]).status_code in (403, 405)
    assert hollow.arm("PUT", denial["id"], denial).status_code in (403, 405)
    # A template may do no more than who sent it.
    template = {
        "contentVersion": "1.0.0.0",
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "resources": [
            {
                "type": "Microsoft.Network/routeTables",
                "apiVersion": "2023-09-01",
                "name": "mine",
                "location": "westeurope",
            }
        ],
    }
    body = {"properties": {"mode": "Incremental", "template": template}}
    refused(hollow.arm("PUT", f"{NODES}/providers/Microsoft.Resources/deployments/d", body))


def test_the_cluster_itself_scales_in_it(hollow: Installation, locked: str) -> None:
    pool = hollow.arm("GET", f"{locked}/agentPools/nodepool1").json()
    for count in (2, 1):
        pool["properties"]["count"] = count
        assert hollow.wait(hollow.arm("PUT", f"{locked}/agentPools/nodepool1", pool))["status"] == "Succeeded"


@pytest.mark.az
def test_az_shows_it(az: Az, hollow: Installation, locked: str) -> None:
    shown = az("aks", "show", "--name", CLUSTER, group=GROUP)
    assert shown["nodeResourceGroupProfile"] == {"restrictionLevel": "ReadOnly"}
    [denial] = az("role", "deny-assignment", "list", "--scope", f"{hollow.subscription}/{NODES}")
    assert "nrg-lockdown" in denial["denyAssignmentName"]
    said = az.refused("network", "nsg", "create", "--name", "mine", group=NODES.rpartition("/")[2])
    assert said.code == "DenyAssignmentAuthorizationFailed"
