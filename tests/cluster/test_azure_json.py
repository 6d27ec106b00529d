"""azure.json, as programs on nodes read it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cluster.fakes import CONFIG
from sorairo.cluster.azure_json import CloudConfig, environment


def test_what_is_written_is_read() -> None:
    config = replace(CONFIG, client_id="app", client_secret="s", tags={"a": "b", "c": "d=e"}, route_table_group="g")
    assert CloudConfig.parse(config.text()) == config
    assert not config.managed


def test_a_managed_identity_is_named_and_has_no_secret() -> None:
    found = json.loads(replace(CONFIG, identity="client-id-of-the-kubelets").text())
    assert found["useManagedIdentityExtension"] is True
    assert found["userAssignedIdentityID"] == "client-id-of-the-kubelets"
    assert (found["aadClientId"], found["aadClientSecret"]) == ("msi", "msi")
    assert (found["vmType"], found["loadBalancerSku"]) == ("vmss", "standard")
    assert (found["cloud"], found["disableAzureStackCloud"]) == ("AzureStackCloud", True)


def test_what_is_missing_is_named() -> None:
    found = CONFIG.document()
    del found["securityGroupName"]
    with pytest.raises(ValueError, match="securityGroupName"):
        CloudConfig.parse(json.dumps(found))


def test_ids_follow_from_names() -> None:
    assert CONFIG.id("Microsoft.Network/loadBalancers", "kubernetes") == (
        "/subscriptions/s/resourceGroups/MC_g_c_westeurope/providers/Microsoft.Network/loadBalancers/kubernetes"
    )
    assert CONFIG.subnet_id("apps").endswith("/virtualNetworks/aks-vnet/subnets/apps")


def test_an_environment_says_where_everything_is() -> None:
    found = environment("https://management.x", "https://login.x", "https://audience/", "x")
    assert found["resourceManagerEndpoint"] == "https://management.x/"
    assert found["activeDirectoryEndpoint"] == "https://login.x/"
    assert found["storageEndpointSuffix"] == "core.x"
