"""A machine as it is told to itself: `/metadata/instance`. All values are text, as Azure's are.

https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service#instance-metadata
"""

from __future__ import annotations

from typing import Any

from sorairo.cluster.azure_json import CLOUD
from sorairo.engine.types import Document
from sorairo.imds.balancing import public_address
from sorairo.imds.machine import Machine, Reads
from sorairo.imds.versions import as_of
from sorairo.providers.microsoft_network.network_interfaces import claimed, configurations, mac_address


def document(reads: Reads, machine: Machine, version: str) -> Document:
    return {"compute": as_of(version, _compute(machine)), "network": {"interface": [_interface(reads, machine)]}}


def _compute(machine: Machine) -> Document:
    instance, scale_set = machine.instance, machine.scale_set
    properties, rid = instance.properties, instance.rid
    tags: dict[str, str] = instance.body.get("tags") or {}
    profile = properties.get("osProfile") or {}
    linux = profile.get("linuxConfiguration") or {}
    keys = (linux.get("ssh") or {}).get("publicKeys") or []
    storage = properties.get("storageProfile") or {}
    image = storage.get("imageReference") or {}
    security = properties.get("securityProfile") or {}
    plan = instance.body.get("plan") or {}
    return {
        "additionalCapabilities": {"hibernationEnabled": "false"},
        "azEnvironment": CLOUD,
        "customData": "",  # as on Azure since 2021: what a node is told at its start is nobody's business later
        "evictionPolicy": _text(properties.get("evictionPolicy")),
        "extendedLocation": {"name": "", "type": ""},
        "host": {"id": ""},
        "hostGroup": {"id": ""},
        "isHostCompatibilityLayerVm": "false",
        "licenseType": _text(properties.get("licenseType")),
        "location": _text(instance.body.get("location")),
        "name": f"{scale_set.rid.name}_{rid.name}" if scale_set else rid.name,
        "offer": _text(image.get("offer")),
        "osProfile": {
            "adminUsername": _text(profile.get("adminUsername")),
            "computerName": _text(profile.get("computerName")),
            "disablePasswordAuthentication": _text(linux.get("disablePasswordAuthentication", False)),
        },
        "osType": "Linux",
        "physicalZone": "",
        "placementGroupId": "",
        "plan": {k: _text(plan.get(k)) for k in ("name", "product", "publisher")},
        "platformFaultDomain": "0",
        "platformSubFaultDomain": "",
        "platformUpdateDomain": "0",
        "priority": _text(properties.get("priority")),
        "provider": "Microsoft.Compute",
        "publicKeys": [{"keyData": _text(k.get("keyData")), "path": _text(k.get("path"))} for k in keys],
        "publisher": _text(image.get("publisher")),
        "resourceGroupName": rid.resource_group or "",
        "resourceId": instance.id,
        "securityProfile": {
            "encryptionAtHost": _text(security.get("encryptionAtHost", False)),
            "secureBootEnabled": "false",
            "securityType": _text(security.get("securityType")),
            "virtualTpmEnabled": "false",
        },
        "sku": _text(image.get("sku")),
        "storageProfile": _storage(storage, image),
        "subscriptionId": rid.subscription or "",
        "tags": ";".join(f"{k}:{v}" for k, v in tags.items()),
        "tagsList": [{"name": k, "value": v} for k, v in tags.items()],
        "userData": _text(properties.get("userData")),
        "version": _text(image.get("version")),
        "virtualMachineScaleSet": {"id": scale_set.id if scale_set else ""},
        "vmId": _text(instance.status.get("vmId")),
        "vmScaleSetName": scale_set.rid.name if scale_set else "",
        "vmSize": _text((properties.get("hardwareProfile") or {}).get("vmSize")),
        "zone": _text((instance.body.get("zones") or [""])[0]),
    }


def _storage(storage: Document, image: Document) -> Document:
    disk = storage.get("osDisk") or {}
    managed = disk.get("managedDisk") or {}
    return {
        "dataDisks": [_disk(d) for d in storage.get("dataDisks") or []],
        "imageReference": {k: _text(image.get(k)) for k in ("id", "offer", "publisher", "sku", "version")},
        "osDisk": {
            "caching": _text(disk.get("caching")),
            "createOption": _text(disk.get("createOption")),
            "diffDiskSettings": {"option": _text((disk.get("diffDiskSettings") or {}).get("option"))},
            "diskSizeGB": _text(disk.get("diskSizeGB")),
            "encryptionSettings": {"enabled": "false"},
            "image": {"uri": ""},
            "managedDisk": {
                "id": _text(managed.get("id")),
                "storageAccountType": _text(managed.get("storageAccountType")),
            },
            "name": _text(disk.get("name")),
            "osType": "Linux",
            "vhd": {"uri": ""},
            "writeAcceleratorEnabled": _text(disk.get("writeAcceleratorEnabled", False)),
        },
        "resourceDisk": {"size": "0"},
    }


def _disk(disk: Document) -> Document:
    managed = disk.get("managedDisk") or {}
    return {
        "caching": _text(disk.get("caching")),
        "createOption": _text(disk.get("createOption")),
        "diskSizeGB": _text(disk.get("diskSizeGB")),
        "image": {"uri": ""},
        "lun": _text(disk.get("lun")),
        "managedDisk": {"id": _text(managed.get("id")), "storageAccountType": _text(managed.get("storageAccountType"))},
        "name": _text(disk.get("name")),
        "vhd": {"uri": ""},
        "writeAcceleratorEnabled": _text(disk.get("writeAcceleratorEnabled", False)),
    }


def _interface(reads: Reads, machine: Machine) -> Document:
    nic = machine.nic
    prefix = str(nic.private.get("prefix", "/"))
    network, _, length = prefix.partition("/")
    return {
        "ipv4": {
            "ipAddress": [
                {"privateIpAddress": address, "publicIpAddress": public_address(reads, configuration)}
                for address, configuration in zip(claimed(nic), configurations(nic), strict=False)
            ],
            "subnet": [{"address": network, "prefix": length}],
        },
        "ipv6": {"ipAddress": []},
        "macAddress": mac_address(nic.id).replace(":", "").upper(),
    }


def _text(value: Any) -> str:
    """As metadata writes it: nothing is '', and true is `true`."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
