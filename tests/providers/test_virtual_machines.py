"""What a virtual machine's document may say: what is filled in, and what is refused, by its code."""

from __future__ import annotations

from typing import Any

import pytest

from sorairo.engine.documents import copied, merge_patch
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Admission, Document, Resource
from sorairo.providers import schemas
from sorairo.providers.capacity import Capacity
from sorairo.providers.microsoft_compute import images
from sorairo.providers.microsoft_compute.machine_admission import MachineAdmission

GROUP = "/subscriptions/0b1f6471-1bf0-4dda-aec3-111111111111/resourceGroups/g"
MACHINE = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm"
NIC = f"{GROUP}/providers/Microsoft.Network/networkInterfaces/nic"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk= me@here"
GIB = 2**30


def wanted(**changes: Any) -> Document:
    """A whole document, patched by properties."""
    body: Document = {
        "location": "westeurope",
        "properties": {
            "hardwareProfile": {"vmSize": "standard_b1s"},
            "storageProfile": {
                "imageReference": {
                    "publisher": "canonical",
                    "offer": "ubuntu-24_04-lts",
                    "sku": "server",
                    "version": "latest",
                },
            },
            "osProfile": {
                "adminUsername": "azureuser",
                "linuxConfiguration": {"ssh": {"publicKeys": [{"keyData": KEY}]}},
            },
            "networkProfile": {"networkInterfaces": [{"id": NIC}]},
        },
    }
    return merge_patch(body, {"properties": changes})  # type: ignore[no-any-return]


class Read:
    def __init__(self, *resources: Resource) -> None:
        nic = Resource(NIC, {"location": "West Europe", "properties": {}})
        self._there = {r.key: r for r in (nic, *resources)}

    async def get(self, id: str) -> Resource | None:
        return self._there.get(id.lower())

    async def naming(self, id: str, *, type: str | None = None) -> list[Resource]:
        return [r for r in self._there.values() if id in str(r.body)]

    async def list(self, *, type: str | None = None, under: str | None = None) -> list[Resource]:
        return [r for r in self._there.values() if r.rid.type == type]


async def admitted(
    body: Document, existing: Resource | None = None, *others: Resource, capacity: Capacity | None = None
) -> Resource:
    body = copied(body)
    schemas.check("virtualMachines", body)
    there = (*others, *([existing] if existing else []))
    admission = Admission(parse_id(MACHINE), body, existing, "me", Read(*there))
    await MachineAdmission(capacity or Capacity(None))(admission)
    private = {**(existing.private if existing else {}), **admission.private}
    return Resource(MACHINE, admission.body, private=private)


async def test_what_is_filled_in() -> None:
    found = (await admitted(wanted())).properties
    assert found["hardwareProfile"] == {"vmSize": "Standard_B1s"}
    assert found["osProfile"]["computerName"] == "vm"
    assert found["osProfile"]["linuxConfiguration"]["disablePasswordAuthentication"] is True
    assert found["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"] == [
        {"path": "/home/azureuser/.ssh/authorized_keys", "keyData": KEY}
    ]
    assert found["storageProfile"]["imageReference"]["exactVersion"] == images.VERSION
    assert found["storageProfile"]["osDisk"]["name"].startswith("vm_OsDisk_1_")
    assert found["networkProfile"]["networkInterfaces"][0]["properties"] == {"primary": True, "deleteOption": "Detach"}


async def test_a_password_is_kept_nowhere() -> None:
    found = await admitted(wanted(osProfile={"adminPassword": "Correct-Horse-1", "linuxConfiguration": None}))
    assert "Correct-Horse-1" not in str((found.body, found.private))


async def test_what_was_said_once_may_be_left_out_and_not_be_changed() -> None:
    first = await admitted(wanted())
    body = {"location": "westeurope", "properties": {"hardwareProfile": {"vmSize": "Standard_B2s"}}}
    larger = await admitted(body, first)
    expected = {**first.properties, "hardwareProfile": {"vmSize": "Standard_B2s"}}
    assert larger.properties == expected
    assert larger.private["vmId"] == first.private["vmId"]
    for change in (
        {"osProfile": {"adminUsername": "other"}},
        {"osProfile": {"computerName": "other"}},
        {"storageProfile": {"imageReference": {"sku": "minimal"}}},
        {"storageProfile": {"osDisk": {"name": "other"}}},
    ):
        with pytest.raises(ArmError) as refused:
            await admitted(wanted(**change), first)
        assert (refused.value.code, refused.value.status) == ("PropertyChangeNotAllowed", 409), change


SECOND = {"networkInterfaces": [{"id": NIC}, {"id": f"{NIC}2"}]}
REFUSED: list[tuple[Document, str, str]] = [
    ({"hardwareProfile": {"vmSize": "Standard_Huge"}}, "InvalidParameter", "Standard_Huge"),
    ({"storageProfile": {"imageReference": {"sku": "9"}}}, "PlatformImageNotFound", "ubuntu-24_04-lts:9:latest"),
    ({"storageProfile": {"imageReference": {"version": "2.0.0"}}}, "PlatformImageNotFound", "server:2.0.0"),
    ({"storageProfile": {"imageReference": None}}, "InvalidParameter", "imageReference"),
    ({"storageProfile": {"imageReference": {"id": f"{GROUP}/x"}}}, "NotImplemented", "custom"),
    ({"storageProfile": {"dataDisks": [{"lun": 0, "createOption": "Empty"}]}}, "NotImplemented", "data disks"),
    ({"storageProfile": {"osDisk": {"createOption": "Attach"}}}, "NotImplemented", "not made from a platform image"),
    ({"storageProfile": {"osDisk": {"createOption": "FromImage", "deleteOption": "Detach"}}}, "NotImplemented", "stay"),
    ({"osProfile": {"adminUsername": None}}, "InvalidParameter", "osProfile.adminUsername"),
    ({"osProfile": {"adminUsername": "root"}}, "InvalidParameter", "Admin Username"),
    ({"osProfile": {"adminUsername": "a b"}}, "InvalidParameter", "Admin Username"),
    ({"osProfile": {"computerName": "a_b"}}, "InvalidParameter", "a_b"),
    ({"osProfile": {"linuxConfiguration": None}}, "InvalidParameter", "must be enabled in Linux profile"),
    ({"osProfile": {"linuxConfiguration": {"ssh": {"publicKeys": [{"keyData": "nonsense"}]}}}}, "InvalidParameter",
     "keyData"),
    ({"osProfile": {"linuxConfiguration": {"ssh": {"publicKeys": [{"keyData": KEY, "path": "/root/x"}]}}}},
     "InvalidParameter", "/home/azureuser/.ssh/authorized_keys"),
    ({"osProfile": {"customData": "Zm9v"}}, "NotImplemented", "cloud-init"),
    ({"osProfile": {"windowsConfiguration": {"timeZone": "UTC"}}}, "NotImplemented", "Windows"),
    ({"networkProfile": {"networkInterfaces": []}}, "InvalidParameter", "networkInterfaces"),
    ({"networkProfile": SECOND}, "NotImplemented", "several network interfaces"),
    ({"networkProfile": {"networkInterfaces": [{"id": f"{NIC}2"}]}}, "InvalidResourceReference", "nic2"),
    ({"securityProfile": {"securityType": "TrustedLaunch"}}, "NotImplemented", "secure boot"),
    ({"priority": "Spot"}, "NotImplemented", "priority"),
    ({"availabilitySet": {"id": f"{GROUP}/x"}}, "NotImplemented", "availability sets"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "code", "words"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
async def test_what_is_refused(change: Document, code: str, words: str) -> None:
    with pytest.raises(ArmError) as refused:
        await admitted(wanted(**change))
    assert refused.value.code == code
    assert words in refused.value.message


async def test_an_interface_is_in_one_machine() -> None:
    other = Resource(MACHINE + "2", wanted())
    with pytest.raises(ArmError) as refused:
        await admitted(wanted(), None, other)
    assert (refused.value.code, refused.value.message) == (
        "NicInUse",
        f"Network Interface {NIC} is used by existing resource {MACHINE}2.",
    )


async def test_its_interface_is_changed_while_it_is_deallocated() -> None:
    first = await admitted(wanted())
    second = Resource(f"{NIC}2", {"location": "westeurope", "properties": {}})
    body = wanted(networkProfile={"networkInterfaces": [{"id": second.id}]})
    with pytest.raises(ArmError) as refused:
        await admitted(body, first, second)
    assert refused.value.code == "AddingOrDeletingNetworkInterfacesOnARunningVirtualMachineNotSupported"
    first.private["deallocated"] = True
    assert (await admitted(body, first, second)).properties["networkProfile"]["networkInterfaces"][0]["id"] == second.id


async def test_more_memory_than_the_machine_may_promise() -> None:
    """With what clusters' nodes have been promised: 8 GiB, of 10."""
    pools = [{"name": "p", "count": 1, "vmSize": "Standard_D2s_v3"}]
    cluster = Resource(
        f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/c", {"properties": {"agentPoolProfiles": pools}}
    )
    capacity = Capacity(10 * GIB, overcommit=1.0)
    small = await admitted(wanted(), None, cluster, capacity=capacity)
    with pytest.raises(ArmError) as refused:
        await admitted(wanted(hardwareProfile={"vmSize": "Standard_B2s"}), small, cluster, capacity=capacity)
    assert (refused.value.code, refused.value.target) == ("AllocationFailed", "hardwareProfile.vmSize")
    assert await admitted(wanted(), small, cluster, capacity=Capacity(GIB)), "as much as before is always allowed"
