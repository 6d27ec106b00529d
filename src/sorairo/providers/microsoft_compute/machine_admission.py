"""What a virtual machine's document may say, and what Azure fills in.

https://learn.microsoft.com/rest/api/compute/virtual-machines/create-or-update
What this host cannot do is refused by name: a document never says more than the machine is.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from sorairo.engine.documents import copied
from sorairo.engine.errors import ArmError, not_implemented
from sorairo.engine.types import Admission, Document, Resource
from sorairo.providers import identities
from sorairo.providers.capacity import VIRTUAL_MACHINE, Capacity
from sorairo.providers.microsoft_compute import images
from sorairo.providers.microsoft_compute.scale_sets import invalid_size
from sorairo.providers.microsoft_compute.sizes import SIZES, find_size

MEMORY = {name: (size.cpus, size.memory_bytes) for name, size in SIZES.items()}
_USER = re.compile(r"[a-z_][-a-z0-9_]{0,63}")
_NO_USERS = frozenset((
    "administrator", "admin", "admin1", "admin2", "adm", "user", "user1", "user2", "user3", "user4", "user5", "test",
    "test1", "test2", "test3", "a", "actuser", "aspnet", "backup", "console", "david", "guest", "john", "owner", "root",
    "server", "sql", "support", "support_388945a0", "sys", "nobody", "sshd", "tty", "disk", "nogroup",
))  # fmt: skip
"""https://learn.microsoft.com/azure/virtual-machines/linux/faq, and those that a machine has by itself."""
_COMPUTER = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9.]{0,62}[A-Za-z0-9])?")
_KEY = re.compile(r"(ssh-(rsa|ed25519)|ecdsa-sha2-nistp\d+) [A-Za-z0-9+/=]+( .*)?")
_UNBUILT = {
    "availabilitySet": "availability sets",
    "virtualMachineScaleSet": "virtual machines that are in a scale set",
    "proximityPlacementGroup": "proximity placement groups",
    "host": "dedicated hosts",
    "hostGroup": "dedicated hosts",
    "capacityReservation": "capacity reservations",
    "applicationProfile": "gallery applications",
}


class MachineAdmission:
    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity

    async def __call__(self, admission: Admission) -> None:
        body, properties, old = admission.body, admission.body["properties"], admission.existing
        for name in ("hardwareProfile", "storageProfile", "osProfile", "networkProfile"):
            if not isinstance(properties.get(name), dict):
                properties[name] = copied(old.properties[name]) if old else {}
        for key, what in _UNBUILT.items():
            if properties.get(key):
                raise not_implemented(what)
        if str(properties.get("priority", "Regular")) != "Regular":
            raise not_implemented("virtual machines of another priority than Regular")
        _secure(properties.get("securityProfile") or {})
        _size(admission)
        _system(admission, properties["osProfile"])
        _disks(admission, properties["storageProfile"])
        await _interfaces(admission)
        if old and "identity" not in body and "identity" in old.body:
            body["identity"] = copied(old.body["identity"])
        await identities.admit(admission)
        admission.private["vmId"] = old.private["vmId"] if old else str(uuid.uuid4())
        after = Resource(admission.id.text, body)
        await self._capacity.check(admission.reader, MEMORY, admission.id.key, old, after, "hardwareProfile.vmSize")


def invalid(target: str, why: str) -> ArmError:
    return ArmError("InvalidParameter", why, target=target)


def _missing(target: str) -> ArmError:
    return invalid(target, f"Required parameter '{target}' is missing (null).")


def _secure(profile: Document) -> None:
    if str(profile.get("securityType", "Standard")) != "Standard" or any((profile.get("uefiSettings") or {}).values()):
        raise not_implemented("secure boot and virtual TPMs (security types other than Standard)")
    if profile.get("encryptionAtHost"):
        raise not_implemented("encryption at host")


def _size(admission: Admission) -> None:
    hardware = admission.body["properties"]["hardwareProfile"]
    size = find_size(str(hardware.get("vmSize", "")))
    if size is None:
        raise invalid_size(str(hardware.get("vmSize", "")), str(admission.body.get("location", "")), "vmSize")
    if hardware.get("vmSizeProperties"):
        raise not_implemented("sizes with other numbers of CPUs than their own")
    hardware["vmSize"] = size.name


def _system(admission: Admission, profile: Document) -> None:
    """The name, and who may sign in."""
    password = profile.pop("adminPassword", None)
    if profile.pop("customData", None):
        raise not_implemented("custom data of virtual machines: no cloud-init runs in them (use az vm run-command)")
    if profile.get("windowsConfiguration"):
        raise not_implemented("Windows machines")
    if profile.get("secrets"):
        raise not_implemented("certificates from key vaults")
    linux = profile.setdefault("linuxConfiguration", {})
    if old := admission.existing:
        profile.setdefault("adminUsername", old.properties["osProfile"]["adminUsername"])
    user = str(profile.get("adminUsername") or "")
    if not user:
        raise _missing("osProfile.adminUsername")
    keys = _keys(user, linux)
    if old:
        _unchanged(old.properties["osProfile"], profile, "osProfile")
        return
    name = profile.setdefault("computerName", admission.id.name)
    if not _COMPUTER.fullmatch(name) or name.isdigit():
        raise invalid(
            "osProfile.computerName",
            f"The supplied resource name '{name[:80]}' contains invalid characters for Linux host names, or is longer "
            "than 64 of them: letters, digits, '-' and '.' are allowed, and not digits alone.",
        )
    if user in _NO_USERS or not _USER.fullmatch(user):
        raise invalid(
            "adminUsername",
            "The Admin Username specified is not allowed: it begins with a lower-case letter, has letters, digits, '-' "
            "and '_', and is none of those that systems have anyway.",
        )
    linux.setdefault("disablePasswordAuthentication", not password)
    if not keys and (linux["disablePasswordAuthentication"] or not password):
        raise invalid(
            "linuxConfiguration",
            "Authentication using either SSH or by user name and password must be enabled in Linux profile.",
        )
    profile.setdefault("allowExtensionOperations", False)
    profile.setdefault("secrets", [])


def _keys(user: str, linux: Document) -> list[Document]:
    """Those that the user signs in with, with their paths filled in."""
    keys: list[Document] = (linux.get("ssh") or {}).get("publicKeys") or []
    path = f"/home/{user}/.ssh/authorized_keys"
    for key in keys:
        if key.get("path", path) != path:
            raise invalid(
                "linuxConfiguration.ssh.publicKeys.path",
                f"Destination path for SSH public keys is currently limited to its default value {path} due to a known "
                "issue in Linux provisioning agent.",
            )
        key |= {"path": path, "keyData": str(key.get("keyData", "")).strip()}
        if not _KEY.fullmatch(key["keyData"]):
            raise invalid(
                "linuxConfiguration.ssh.publicKeys.keyData",
                "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid: an OpenSSH public key is "
                "expected.",
            )
    return keys


def _disks(admission: Admission, profile: Document) -> None:
    if profile.get("dataDisks"):
        raise not_implemented("data disks of virtual machines")
    profile["dataDisks"] = []
    disk = profile.setdefault("osDisk", {})
    if disk.get("osType", "Linux") != "Linux":
        raise not_implemented("Windows machines")
    managed = disk.setdefault("managedDisk", {})
    if (
        disk.get("vhd")
        or disk.get("image")
        or managed.get("id")
        or disk.get("createOption", "FromImage") != "FromImage"
    ):
        raise not_implemented("operating system disks that are not made from a platform image")
    if managed.get("diskEncryptionSet") or managed.get("securityProfile") or disk.get("encryptionSettings"):
        raise not_implemented("encrypted disks")
    if disk.get("deleteOption", "Delete") != "Delete":
        raise not_implemented("operating system disks that stay when their virtual machine is deleted")
    if admission.existing:
        _unchanged(admission.existing.properties["storageProfile"], profile, "storageProfile")
        return
    reference = profile.get("imageReference") or {}
    if not reference:
        raise _missing("imageReference")
    if any(reference.get(key) for key in ("id", "sharedGalleryImageId", "communityGalleryImageId")):
        raise not_implemented("virtual machines of custom or gallery images")
    images.resolve(reference)
    disk |= {"osType": "Linux", "createOption": "FromImage", "deleteOption": "Delete"}
    disk.setdefault("name", f"{admission.id.name}_OsDisk_1_{uuid.uuid4().hex}")
    disk.setdefault("caching", "ReadWrite")
    disk.setdefault("diskSizeGB", 30)
    managed.setdefault("storageAccountType", "Premium_LRS")


async def _interfaces(admission: Admission) -> None:
    profile, old = admission.body["properties"]["networkProfile"], admission.existing
    if profile.get("networkInterfaceConfigurations"):
        raise not_implemented("network interfaces that are made with their virtual machine")
    nics = profile.get("networkInterfaces") or []
    if not nics:
        raise _missing("networkProfile.networkInterfaces")
    if len(nics) > 1:
        raise not_implemented("virtual machines with several network interfaces")
    nic = nics[0]
    inner = nic.setdefault("properties", {})
    inner |= {"primary": True, "deleteOption": inner.get("deleteOption") or "Detach"}
    id = str(nic.get("id") or "")
    if old and id.lower() != nic_id(old).lower() and not old.private.get("deallocated"):
        raise ArmError(
            "AddingOrDeletingNetworkInterfacesOnARunningVirtualMachineNotSupported",
            f"Virtual machine {old.id} must be deallocated before its network interface is changed.",
            status=409,
            target="networkProfile.networkInterfaces",
        )
    found = await admission.reader.get(id) if id.lower().startswith("/subscriptions/") else None
    region = str(admission.body.get("location", "")).lower().replace(" ", "")
    if (
        found is None
        or found.rid.type.lower() != "microsoft.network/networkinterfaces"
        or str(found.body.get("location", "")).lower().replace(" ", "") != region
    ):
        raise ArmError(
            "InvalidResourceReference",
            f"Resource {id} referenced by resource {admission.id.text} was not found. Please make sure that the "
            "referenced resource exists, and that both resources are in the same region.",
            target=id,
        )
    for other in await admission.reader.naming(id, type=VIRTUAL_MACHINE):
        if other.key != admission.id.key:
            raise nic_in_use(id, other.id)


def nic_in_use(nic: str, machine: str) -> ArmError:
    return ArmError("NicInUse", f"Network Interface {nic} is used by existing resource {machine}.", target=nic)


def nic_id(machine: Resource) -> str:
    return str(machine.properties["networkProfile"]["networkInterfaces"][0]["id"])


def _unchanged(old: Document, new: Document, path: str) -> None:
    """What is left out stays; what is said must be what it was. `new` is completed in place."""
    for key, value in old.items():
        if key not in new or new[key] in (None, {}, []):
            new[key] = copied(value)
    for key, value in new.items():
        before: Any = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            _unchanged(before, value, f"{path}.{key}" if "." not in path else path)
        elif value != before and not (isinstance(value, str) and value.lower() == str(before).lower()):
            raise ArmError(
                "PropertyChangeNotAllowed",
                f"Changing property '{path}.{key}' is not allowed.",
                status=409,
                target=f"{path}.{key}",
            )
