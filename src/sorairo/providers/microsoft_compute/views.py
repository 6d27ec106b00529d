"""How a scale set and its instances stand, and the network interfaces of all of them.

https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/get-instance-view
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from sorairo.engine.types import Document, Reader, Resource
from sorairo.providers.microsoft_compute.scale_sets import INSTANCE
from sorairo.providers.microsoft_compute.sizes import SIZES


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


POWER = {"stopped": "stopped", "deallocated": "deallocated", "": "running"}
"""By what is noted of a machine."""


def instance_view(machine: Resource) -> Document:
    """Of a machine, by what is asked of it and how that ended."""
    state, error = machine.provisioning_state.lower(), machine.error
    provisioning: Document = {
        "code": f"ProvisioningState/{state}",
        "level": "Error" if error else "Info",
        "displayStatus": f"Provisioning {state}",
    }
    if error:
        provisioning["message"] = error["message"]
    noted = next((key for key in ("deallocated", "stopped") if machine.private.get(key)), "")
    power = {"code": f"PowerState/{POWER[noted]}", "level": "Info", "displayStatus": f"VM {POWER[noted]}"}
    computer = (machine.properties.get("osProfile") or {}).get("computerName")
    return {"computerName": computer, "statuses": [provisioning, *([] if error else [power])]}


async def of_instance(*, scope: str, show: Callable[[str], Document], **_: Any) -> Document:
    properties = show(scope)["properties"]
    view: Document = {"computerName": properties.get("osProfile", {}).get("computerName")}
    return view | (properties.get("instanceView") or {"statuses": []})


async def interfaces(*, scope: str, reader: Reader, show: Callable[[str], Document], **_: Any) -> Document:
    """`az vmss nic list`: of all instances. https://learn.microsoft.com/rest/api/virtualnetwork/network-interfaces"""
    show(scope)
    nics = await reader.list(type=f"{INSTANCE}/networkInterfaces", under=scope)
    return {"value": [show(nic.id) for nic in nics]}


async def resize_options(*, scope: str, show: Callable[[str], Document], **_: Any) -> Document:
    """`az vm list-vm-resize-options`: any size, by a restart."""
    show(scope)
    return list_of_sizes()


def list_of_sizes() -> Document:
    return {
        "value": [
            {
                "name": s.name,
                "numberOfCores": s.cpus,
                "memoryInMB": int(s.memory_gib * 1024),
                "maxDataDiskCount": s.data_disks,
                "osDiskSizeInMB": 1047552,
                "resourceDiskSizeInMB": 0,
            }
            for s in SIZES.values()
        ]
    }


async def sizes(**_: Any) -> Document:
    """`az vm list-sizes`."""
    return list_of_sizes()


ROUTES = (
    ("GET", "locations/{location}/vmSizes", sizes),
    ("GET", "virtualMachines/{machine}/vmSizes", resize_options),
    ("GET", "virtualMachines/{machine}/instanceView", of_instance),
    ("GET", "virtualMachineScaleSets/{scaleSet}/instanceView", of_scale_set),
    ("GET", "virtualMachineScaleSets/{scaleSet}/networkInterfaces", interfaces),
    ("GET", "virtualMachineScaleSets/{scaleSet}/virtualMachines/{instance}/instanceView", of_instance),
)
