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
NET = "resourceGroups/rg/providers/Microsoft.Network"
NSG, VNET = "Microsoft.Network/networkSecurityGroups", "Microsoft.Network/virtualNetworks"

STEPS = (
    # The network was asked for, and nothing written down of that. First, while there is no other network.
    "virtualNetworks/ensure network:before",
    f"deployments/put {NSG}/first-1:before",
    f"deployments/put {NSG}/first-2:after",
    f"deployments/put {VNET}/net-3:before",
    f"deployments/put {VNET}/net-4:after",
    f"deployments/put {NSG}/last-5:after",
)
"""Each in a deployment of its own, whose number is in the names of its resources; one life goes through all of them."""
ENDS = ("deployments/outputs:before", "deployments/outputs:after")
"""Steps that every deployment has: the one before must have ended."""


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    it = Installation(tmp_path / "state", "hollow")
    yield it
    it.purge()


def request(n: int) -> dict[str, Any]:
    where = {"apiVersion": V, "location": "westeurope"}
    template = {
        "$schema": SCHEMA,
        "contentVersion": "1.0.0.0",
        "parameters": {
            # Asked once, whatever happens: a default that changed half-way would leave a deployment of two minds.
            "tag": {"type": "string", "defaultValue": "[newGuid()]"},
            "secret": {"type": "secureString"},
        },
        "resources": [
            {**where, "type": NSG, "name": f"first-{n}", "tags": {"tag": "[parameters('tag')]"}},
            {
                **where,
                "type": VNET,
                "name": f"net-{n}",
                "tags": {"tag": "[parameters('tag')]", "secret": "[string(length(parameters('secret')))]"},
                "dependsOn": [f"first-{n}"],
                "properties": {"addressSpace": {"addressPrefixes": [f"10.{n}.0.0/16"]}},
            },
            {
                **where,
                "type": NSG,
                "name": f"last-{n}",
                "tags": {"of": f"[reference('net-{n}').addressSpace.addressPrefixes[0]]"},
            },
        ],
        "outputs": {"tag": {"type": "string", "value": f"[reference('first-{n}', '{V}', 'Full').tags.tag]"}},
    }
    parameters = {"secret": {"value": "hunter2"}}
    return {"properties": {"mode": "Incremental", "template": template, "parameters": parameters}}


def ask(installation: Installation, n: int) -> None:
    """Ask for a deployment that the process does not survive."""
    with contextlib.suppress(httpx.TransportError):  # it may die before it can answer
        installation.arm("PUT", f"resourceGroups/rg/providers/Microsoft.Resources/deployments/d{n}", request(n))
    assert installation.wait_dead() == -9


def check(installation: Installation, n: int) -> None:
    """It has gone on, and ended as if nothing had been."""
    deployment = f"resourceGroups/rg/providers/Microsoft.Resources/deployments/d{n}"
    deadline = time.monotonic() + 60
    while True:
        found = installation.arm("GET", deployment).json()
        state = found["properties"]["provisioningState"]
        if state in ("Succeeded", "Failed", "Canceled"):
            break
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    assert state == "Succeeded", found
    tag = found["properties"]["outputs"]["tag"]["value"]

    def tags(name: str) -> Any:
        return installation.arm("GET", f"{NET}/{name}").json()["tags"]

    assert tags(f"networkSecurityGroups/first-{n}") == {"tag": tag}
    assert tags(f"virtualNetworks/net-{n}") == {"tag": tag, "secret": "7"}
    assert tags(f"networkSecurityGroups/last-{n}") == {"of": f"10.{n}.0.0/16"}
    operations = installation.arm("GET", f"{deployment}/operations").json()["value"]
    assert len(operations) == 3
    assert {o["properties"]["provisioningState"] for o in operations} == {"Succeeded"}


def test_it_goes_on_after_every_step(installation: Installation) -> None:
    for n, crash in enumerate(STEPS):
        installation.start(SORAIRO_CRASH_AT=crash)
        if n:
            check(installation, n - 1)
        else:
            installation.group("rg")
        ask(installation, n)
    for n, crash in enumerate(ENDS, start=len(STEPS)):
        installation.start()
        check(installation, n - 1)
        installation.stop()
        installation.start(SORAIRO_CRASH_AT=crash)
        ask(installation, n)
    installation.start()
    check(installation, len(STEPS) + len(ENDS) - 1)
    # What was secret is in nothing that was written to be read.
    for file in installation.state.log.parent.iterdir():
        assert b"hunter2" not in file.read_bytes()
