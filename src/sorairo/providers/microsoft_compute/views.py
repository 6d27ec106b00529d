"""How a scale set and its instances stand, and the network interfaces of all of them.

https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/get-instance-view
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from sorairo.engine.types import Document, Reader
from sorairo.providers.microsoft_compute.scale_sets import INSTANCE


async def of_scale_set(*, scope: str, reader: Reader, show: Callable[[str], Document], **_: Any) -> Document:
    """How many instances are in which state."""
    state = show(scope)["properties"]["provisioningState"].lower()
    instances = await reader.list(type=INSTANCE, under=scope)
    counts = Counter(f"ProvisioningState/{i.provisioning_state.lower()}" for i in instances)
    return {
        "virtualMachine": {"statusesSummary": [{"code": code, "count": n} for code, n in sorted(counts.items())]},
        "extensions": [],
        "statuses": [
            {
                "code": f"ProvisioningState/{state}",
                "level": "Info" if state != "failed" else "Error",
                "displayStatus": f"Provisioning {state}",
            }
        ],
        "orchestrationServices": [],
    }


async def of_instance(*, scope: str, show: Callable[[str], Document], **_: Any) -> Document:
    properties = show(scope)["properties"]
    view: Document = {"computerName": properties.get("osProfile", {}).get("computerName")}
    return view | (properties.get("instanceView") or {"statuses": []})


async def interfaces(*, scope: str, reader: Reader, show: Callable[[str], Document], **_: Any) -> Document:
    """`az vmss nic list`: of all instances. https://learn.microsoft.com/rest/api/virtualnetwork/network-interfaces"""
    show(scope)
    nics = await reader.list(type=f"{INSTANCE}/networkInterfaces", under=scope)
    return {"value": [show(nic.id) for nic in nics]}


ROUTES = (
    ("GET", "virtualMachineScaleSets/{scaleSet}/instanceView", of_scale_set),
    ("GET", "virtualMachineScaleSets/{scaleSet}/networkInterfaces", interfaces),
    ("GET", "virtualMachineScaleSets/{scaleSet}/virtualMachines/{instance}/instanceView", of_instance),
)
