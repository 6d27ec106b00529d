"""A deployment survives power loss at any of its steps: started again, it goes on and ends as if nothing had been."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from installation import Installation

SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
V = "2023-09-01"
DEPLOYMENT = "resourceGroups/rg/providers/Microsoft.Resources/deployments/d"
NET = "resourceGroups/rg/providers/Microsoft.Network"


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    it = Installation(tmp_path / "state", "hollow")
    yield it
    it.purge()


def request() -> dict[str, Any]:
    where = {"apiVersion": V, "location": "westeurope"}
    nsg = {"type": "Microsoft.Network/networkSecurityGroups", **where}
    template = {
        "$schema": SCHEMA,
        "contentVersion": "1.0.0.0",
        "parameters": {
            # Asked once, whatever happens: a default that changed half-way would leave a deployment of two minds.
            "tag": {"type": "string", "defaultValue": "[newGuid()]"},
            "secret": {"type": "secureString"},
        },
        "resources": [
            {**nsg, "name": "n1", "tags": {"tag": "[parameters('tag')]"}},
            {
                **where,
                "type": "Microsoft.Network/virtualNetworks",
                "name": "v",
                "tags": {"tag": "[parameters('tag')]", "secret": "[string(length(parameters('secret')))]"},
                "dependsOn": ["n1"],
                "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}},
            },
            {**nsg, "name": "n2", "tags": {"of": "[reference('v').addressSpace.addressPrefixes[0]]"}},
        ],
        "outputs": {"tag": {"type": "string", "value": "[reference('n1', '2023-09-01', 'Full').tags.tag]"}},
    }
    parameters = {"secret": {"value": "hunter2"}}
    return {"properties": {"mode": "Incremental", "template": template, "parameters": parameters}}


@pytest.mark.parametrize(
    "step",
    [
        "deployments/put Microsoft.Network/networkSecurityGroups/n1:before",
        "deployments/put Microsoft.Network/networkSecurityGroups/n1:after",
        "deployments/put Microsoft.Network/virtualNetworks/v:before",
        # The network was asked for, and nothing written down of that.
        "virtualNetworks/ensure network:before",
        "deployments/put Microsoft.Network/virtualNetworks/v:after",
        "deployments/put Microsoft.Network/networkSecurityGroups/n2:after",
        "deployments/outputs:before",
        "deployments/outputs:after",
    ],
)
def test_it_goes_on(installation: Installation, step: str) -> None:
    installation.start(SORAIRO_CRASH_AT=step)
    installation.group("rg")
    with contextlib.suppress(httpx.TransportError):  # it may die before it can answer
        installation.arm("PUT", DEPLOYMENT, request())
    assert installation.wait_dead() == -9
    installation.start()
    deadline = time.monotonic() + 60
    while True:
        found = installation.arm("GET", DEPLOYMENT).json()
        state = found["properties"]["provisioningState"]
        if state in ("Succeeded", "Failed", "Canceled"):
            break
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    assert state == "Succeeded", found
    tag = found["properties"]["outputs"]["tag"]["value"]
    tags = {n: installation.arm("GET", f"{NET}/{n}").json()["tags"] for n in (
        "networkSecurityGroups/n1", "virtualNetworks/v", "networkSecurityGroups/n2")}  # fmt: skip
    assert tags == {
        "networkSecurityGroups/n1": {"tag": tag},
        "virtualNetworks/v": {"tag": tag, "secret": "7"},
        "networkSecurityGroups/n2": {"of": "10.0.0.0/16"},
    }
    operations = installation.arm("GET", f"{DEPLOYMENT}/operations").json()["value"]
    assert len(operations) == 3
    assert {o["properties"]["provisioningState"] for o in operations} == {"Succeeded"}
