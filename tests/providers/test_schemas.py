"""A request body is held to what the Azure SDKs say a type's body may hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sorairo.engine.errors import ArmError
from sorairo.providers.schemas import check


def cluster(**pool: Any) -> dict[str, Any]:
    return {"location": "eastus", "properties": {"agentPoolProfiles": [{"name": "p1", **pool}]}}


def refused(name: str, body: dict[str, Any]) -> ArmError:
    with pytest.raises(ArmError) as e:
        check(name, body)
    assert e.value.status == 400
    return e.value


def test_schemas_are_what_the_installed_sdks_say() -> None:
    pytest.importorskip("azure.mgmt.network")
    tool = Path(__file__).parents[2] / "tools" / "schemas.py"
    ran = subprocess.run([sys.executable, str(tool), "--check"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("pool", "code", "says"),
    [
        ({"count": "3"}, "InvalidRequestContent", "'string' to 'integer'"),
        ({"count": True}, "InvalidRequestContent", "'boolean' to 'integer'"),
        ({"count": 1001}, "InvalidParameter", "1001 is greater than the maximum of 1000"),
        ({"count": -1}, "InvalidParameter", "less than the minimum of 0"),
        ({"nodeTaints": "a=b:NoSchedule"}, "InvalidRequestContent", "'string' to 'array'"),
        ({"osType": "BeOS"}, "InvalidParameter", "'BeOS' is not one of Linux, Windows"),
        ({"nodeCount": 3}, "InvalidRequestContent", "Could not find member 'nodeCount'"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(pool: dict[str, Any], code: str, says: str) -> None:
    error = refused("managedClusters", cluster(**pool))
    assert (error.code, error.target) == (code, f"properties.agentPoolProfiles[0].{next(iter(pool))}")
    assert says in error.message
    assert error.details is None


def test_several_wrongs_are_all_told() -> None:
    body = cluster(count="x", osDiskSizeGB=4096)
    body["location"] = 7
    error = refused("managedClusters", body)
    assert error.details is not None
    assert {d["target"] for d in error.details} == {
        "location",
        "properties.agentPoolProfiles[0].count",
        "properties.agentPoolProfiles[0].osDiskSizeGB",
    }
    assert error.target in {d["target"] for d in error.details}


def test_what_only_azure_may_say_is_dropped_without_a_word() -> None:
    body = {
        "id": "/x",
        "location": "eastus",
        "properties": {
            "provisioningState": "Succeeded",
            "addressSpace": {"addressPrefixes": ["10.0.0.0/8"]},
            "subnets": [
                {
                    "name": "s",
                    "etag": "W/1",
                    "properties": {
                        "addressPrefix": "10.0.0.0/24",
                        "ipConfigurations": [{"id": "/y"}],
                        "networkSecurityGroup": {"id": "/nsg", "location": "eastus", "properties": {"x": 1}},
                    },
                }
            ],
        },
    }
    check("virtualNetworks", body)
    assert body == {
        "location": "eastus",
        "properties": {
            "addressSpace": {"addressPrefixes": ["10.0.0.0/8"]},
            "subnets": [
                {"name": "s", "properties": {"addressPrefix": "10.0.0.0/24", "networkSecurityGroup": {"id": "/nsg"}}}
            ],
        },
    }


def test_case_nulls_and_empty_enumerations_do_not_matter() -> None:
    body = {
        "Location": "eastus",
        "identity": {"type": "systemassigned"},
        "tags": {"Kept": "As Is", "gone": None},
        "properties": {
            "dnsprefix": "a",
            "networkProfile": {"networkPlugin": "Azure", "networkPolicy": "", "podCidr": None},
            "agentPoolProfiles": [{"name": "p1", "OSType": "linux", "vmSize": ""}],
        },
    }
    check("managedClusters", body)
    assert body == {
        "location": "eastus",
        "identity": {"type": "SystemAssigned"},
        "tags": {"Kept": "As Is"},
        "properties": {
            "dnsPrefix": "a",
            "networkProfile": {"networkPlugin": "azure"},
            "agentPoolProfiles": [{"name": "p1", "osType": "Linux", "vmSize": ""}],
        },
    }


def test_secrets_are_not_in_the_answer() -> None:
    body = {"location": "eastus", "properties": {"servicePrincipalProfile": {"clientId": "c", "secret": ["hunter2"]}}}
    assert "hunter2" not in refused("managedClusters", body).message


@pytest.mark.parametrize("written", ["SystemAssigned,UserAssigned", "systemassigned, userassigned"])
def test_a_list_of_kinds_is_taken_with_and_without_spaces(written: str) -> None:
    body: dict[str, Any] = {"location": "westeurope", "identity": {"type": written}}
    check("virtualMachineScaleSets", body)
    assert body["identity"]["type"] == "SystemAssigned, UserAssigned"
