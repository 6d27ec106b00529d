"""Load balancers and scale set instances, as a cloud controller writes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.hollow.machines import HollowMachines
from sorairo.drivers.hollow.traffic import hollow_traffic
from sorairo.engine.control import Control
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id
from sorairo.engine.registry import Registry
from sorairo.engine.types import Document, Resource
from sorairo.providers import microsoft_compute, microsoft_network, microsoft_resources, schemas
from sorairo.providers.capacity import Capacity
from sorairo.store import Store

GROUP = "/subscriptions/0b1f6471-1bf0-4dda-aec3-111111111111/resourceGroups/g"
NETWORK = f"{GROUP}/providers/Microsoft.Network"
SUBNET = f"{NETWORK}/virtualNetworks/v/subnets/s"
LB = f"{NETWORK}/loadBalancers/lb"
SCALE_SET = f"{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/ss"


class Arm:
    def __init__(self, control: Control) -> None:
        self.control = control

    async def put(self, id: str, body: Document, *, patch: bool = False) -> Resource:
        accepted = await self.control.put(parse_id(id), body, principal="me", patch=patch)
        return await self.settled(accepted.resource.id)

    async def settled(self, id: str) -> Resource:
        async with asyncio.timeout(10):
            while not (found := self.control.store.get(id)) or not found.settled:
                await self.control.loop.wait_change(id.lower(), 0.05)
        return found

    def show(self, id: str) -> Document:
        return self.control.show(parse_id(id))


@pytest.fixture
async def arm(tmp_path: Path) -> AsyncIterator[Arm]:
    store = Store.open(f"sqlite:///{tmp_path}/state.db")
    public = tuple(f"198.18.0.{n}" for n in range(16, 64))
    links = HollowLinks()
    providers = [
        microsoft_resources.PROVIDER,
        microsoft_network.provider(links, hollow_traffic(links), public),
        microsoft_compute.provider(HollowMachines(), cast(Any, None), Capacity(None)),
    ]
    control = Control(store, Registry(providers), schemas.check)
    await control.loop.start()
    it = Arm(control)
    await it.put(GROUP, {"location": "westeurope"})
    subnet = {"name": "s", "properties": {"addressPrefix": "10.0.0.0/28"}}
    properties = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [subnet]}
    await it.put(SUBNET.rsplit("/", 2)[0], {"location": "westeurope", "properties": properties})
    yield it
    await control.loop.stop()
    await store.close()


def internal(*frontends: str | tuple[str, str]) -> Document:
    found = []
    for frontend in frontends:
        name, address = frontend if isinstance(frontend, tuple) else (frontend, None)
        how = {"privateIPAllocationMethod": "Static", "privateIPAddress": address} if address else {}
        found.append({"name": name, "properties": {"subnet": {"id": SUBNET}, **how}})
    return {"location": "westeurope", "properties": {"frontendIPConfigurations": found}}


def addresses(arm: Arm) -> dict[str, Any]:
    shown = arm.show(LB)["properties"]["frontendIPConfigurations"]
    return {f["name"]: f["properties"].get("privateIPAddress") for f in shown}


async def test_internal_frontends_have_addresses_and_keep_them(arm: Arm) -> None:
    assert not (await arm.put(LB, internal("a", "b"))).error
    assert addresses(arm) == {"a": "10.0.0.4", "b": "10.0.0.5"}
    await arm.put(LB, internal("b", "c"))
    assert addresses(arm) == {"b": "10.0.0.5", "c": "10.0.0.4"}
    await arm.put(LB, internal("b", "c", ("d", "10.0.0.9"), "e"))
    assert addresses(arm) == {"b": "10.0.0.5", "c": "10.0.0.4", "d": "10.0.0.9", "e": "10.0.0.6"}
    # A document goes back as it was got.
    shown = arm.show(LB)
    await arm.put(LB, shown)
    assert addresses(arm) == {"b": "10.0.0.5", "c": "10.0.0.4", "d": "10.0.0.9", "e": "10.0.0.6"}


async def test_an_address_has_one_owner(arm: Arm) -> None:
    nic = {"name": "i", "properties": {"subnet": {"id": SUBNET}}}
    await arm.put(
        f"{NETWORK}/networkInterfaces/n", {"location": "westeurope", "properties": {"ipConfigurations": [nic]}}
    )
    taken = await arm.put(LB, internal(("a", "10.0.0.4")))
    assert taken.error
    assert taken.error["code"] == "PrivateIPAddressInUse"
    many = await arm.put(LB, internal(*(f"f{n}" for n in range(12))))
    assert many.error
    assert many.error["code"] == "SubnetIsFull"


async def test_what_a_frontend_refers_to_must_be_there(arm: Arm) -> None:
    body = internal("a")
    frontend = body["properties"]["frontendIPConfigurations"][0]["properties"]
    frontend["subnet"]["id"] = SUBNET + "x"
    with pytest.raises(ArmError, match="InvalidResourceReference"):
        await arm.put(LB, body)
    del frontend["subnet"]
    frontend["publicIPAddress"] = {"id": f"{NETWORK}/publicIPAddresses/none"}
    with pytest.raises(ArmError, match="InvalidResourceReference"):
        await arm.put(LB, body)
    with pytest.raises(ArmError, match="PrivateIPAddressNotInSubnet"):
        await arm.put(LB, internal(("a", "10.0.9.9")))


# --- backend pools of instances ---------------------------------------------------------------------------


def scale_set(*pools: str) -> Document:
    ip = {
        "name": "ip1",
        "properties": {
            "primary": True,
            "subnet": {"id": SUBNET},
            "loadBalancerBackendAddressPools": [{"id": f"{LB}/backendAddressPools/{p}"} for p in pools],
        },
    }
    nic = {"name": "n", "properties": {"primary": True, "ipConfigurations": [ip]}}
    return {
        "location": "westeurope",
        "sku": {"name": "Standard_D2s_v3", "capacity": 1},
        "properties": {
            "virtualMachineProfile": {
                "osProfile": {"computerNamePrefix": "ss"},
                "networkProfile": {"networkInterfaceConfigurations": [nic]},
            }
        },
    }


def pools(document: Document) -> list[str]:
    ip = document["properties"]["ipConfigurations"][0]
    return [p["id"].rsplit("/", 1)[1] for p in ip["properties"].get("loadBalancerBackendAddressPools", [])]


async def test_an_instance_joins_and_leaves_pools_by_a_put_of_that_part_alone(arm: Arm) -> None:
    await arm.put(SCALE_SET, scale_set("one"))
    instance = f"{SCALE_SET}/virtualMachines/0"
    nic = arm.show(instance)["properties"]["networkProfile"]["networkInterfaces"][0]["id"]
    assert pools(arm.show(nic)) == ["one"]
    address = arm.show(nic)["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"]
    before = arm.show(instance)

    profile = scale_set("one", "two")["properties"]["virtualMachineProfile"]["networkProfile"]
    body = {"location": "westeurope", "properties": {"networkProfileConfiguration": profile}}
    assert not (await arm.put(instance, body)).error
    assert pools(arm.show(nic)) == ["one", "two"]
    assert arm.show(nic)["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"] == address
    after = arm.show(instance)
    assert after["properties"]["osProfile"] == before["properties"]["osProfile"]
    assert after["properties"]["hardwareProfile"] == before["properties"]["hardwareProfile"]
    await arm.put(instance, before)  # As it was got, whole.
    assert pools(arm.show(nic)) == ["one"]


async def test_an_instance_is_not_made_by_a_client(arm: Arm) -> None:
    await arm.put(SCALE_SET, scale_set())
    with pytest.raises(ArmError) as e:
        await arm.put(f"{SCALE_SET}/virtualMachines/7", {"location": "westeurope", "properties": {}})
    assert e.value.status == 404


async def test_a_scale_set_keeps_what_a_put_leaves_out_of_its_model(arm: Arm) -> None:
    await arm.put(SCALE_SET, scale_set("one"))
    model = scale_set("two")
    model["properties"]["virtualMachineProfile"].pop("osProfile")
    await arm.put(SCALE_SET, model)
    profile = arm.show(SCALE_SET)["properties"]["virtualMachineProfile"]
    assert profile["osProfile"]["computerNamePrefix"] == "ss"
    nic = profile["networkProfile"]["networkInterfaceConfigurations"][0]
    assert pools(nic) == ["two"]


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        ({"backendAddressPools": [{"properties": {}}]}, "InvalidRequestFormat"),
        ({"backendAddressPools": [{"name": "a/b"}]}, "InvalidRequestFormat"),
        ({"backendAddressPools": [{"name": "a"}, {"name": "A"}]}, "DuplicateResourceName"),
        ({"frontendIPConfigurations": [{"name": "f", "properties": {"subnet": {"name": "s"}, "publicIPAddress": {}}}]},
         "FrontendIPConfigMustHaveSubnetOrPublicIP"),
    ],
)  # fmt: skip
async def test_parts_that_could_not_be_found_again(arm: Arm, properties: Document, code: str) -> None:
    with pytest.raises(ArmError) as refused:
        await arm.put(LB, {"location": "westeurope", "properties": properties})
    assert refused.value.code == code
    assert arm.control.store.get(LB) is None
