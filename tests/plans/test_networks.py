"""Virtual networks, network interfaces, public addresses: given what stands and who is in it, then these steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.hollow.traffic import HollowPeerings, HollowPublicAddresses
from sorairo.drivers.naming import PublicName, View
from sorairo.drivers.protocols import Network, Nic
from sorairo.engine.documents import copied
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import host_name, parse_id
from sorairo.engine.types import Admission, Resource
from sorairo.providers.microsoft_network.interface_admission import admit as nic_admit
from sorairo.providers.microsoft_network.network_interfaces import Actual as NicActual
from sorairo.providers.microsoft_network.network_interfaces import NicReconciler
from sorairo.providers.microsoft_network.public_ip_addresses import Actual as PublicActual
from sorairo.providers.microsoft_network.public_ip_addresses import PublicIPReconciler
from sorairo.providers.microsoft_network.virtual_networks import Actual as NetworkActual
from sorairo.providers.microsoft_network.virtual_networks import VirtualNetworkReconciler
from sorairo.providers.microsoft_network.virtual_networks import admit as network_admit

from .readers import Documents
from .table import GROUP, Case, check, resource

LINKS = HollowLinks()
VNET = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/v"
NETWORK = Network(host_name(VNET), VNET, ("10.0.0.0/16",), "198.18.0.9")
STANDS = NetworkActual(NETWORK, "198.18.0.9", ())
VIEW = View(NETWORK.id, VNET, ())
TOLD = replace(STANDS, told=VIEW, to_tell=VIEW)

NETWORKS = [
    Case("its address is chosen before anything is made of it", NetworkActual(None, None, ()),
         ("claim outbound address",)),
    Case("it is missing", NetworkActual(None, "198.18.0.9", ()), ("ensure network",)),
    Case("it is as wanted", STANDS),
    Case("it routes other prefixes", replace(STANDS, network=replace(NETWORK, prefixes=("10.1.0.0/16",))),
         ("ensure network",)),
    Case("connections leave from another address", replace(STANDS, network=replace(NETWORK, snat="198.18.0.8")),
         ("ensure network",)),
    Case("who is in it is no concern of one that stays", replace(STANDS, users=("nic",), legs=("c",))),
    Case("it goes", STANDS, ("remove network",), deleting=True),
    Case("it goes, half made as it is", NetworkActual(None, None, (), partial=True), ("remove network",),
         deleting=True),
    Case("it waits for who is in it", replace(STANDS, users=("nic",)), ("wait for users",), deleting=True),
    Case("it waits for who reaches into it", replace(STANDS, legs=("cluster",)), ("wait for users",), deleting=True),
    Case("it has gone", NetworkActual(None, "198.18.0.9", ()), deleting=True),
    Case("its machines are told what they are to be told", TOLD),
    Case("its machines are told nothing yet", replace(TOLD, told=None), ("tell names",)),
    Case("they are told in part", replace(TOLD, told=VNET), ("tell names",)),
    Case("it has no machines any more", replace(TOLD, to_tell=None), ("tell nobody",)),
    Case("before names comes what they are asked through", replace(TOLD, network=None, told=None), ("ensure network",)),
    Case("it goes, with what refers to it", replace(TOLD, to_tell=None, dns_links=("l",)),
         ("tell nobody", "unlink zones"), deleting=True),
]  # fmt: skip


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_virtual_network(case: Case) -> None:
    body = {"properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}}
    check(VirtualNetworkReconciler(LINKS, HollowPeerings(LINKS), ("198.18.0.9",)), resource(VNET, body, case), case)


def test_what_is_ensured_is_what_is_wanted() -> None:
    case = Case("", NetworkActual(None, "198.18.0.9", ()), ("ensure network",))
    body = {"properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}}
    (step,) = check(VirtualNetworkReconciler(LINKS, HollowPeerings(LINKS), ()), resource(VNET, body, case), case)
    assert step.args == (NETWORK,)


MACHINE = f"{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/s/virtualMachines/0"
MADE = f"{MACHINE}/networkInterfaces/n"
"""A scale set instance's: it has a machine to be in."""
LOOSE = f"{GROUP}/providers/Microsoft.Network/networkInterfaces/n"
"""One that no machine has."""
ADDRESSES = ("10.0.0.4", "10.0.0.5")
NIC = Nic(host_name(MADE), MADE, NETWORK.id, host_name(MACHINE), "10.0.0.4", "10.0.0.1", 24, ("10.0.0.5",))

IN = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/v"

NICS: list[tuple[str, Case]] = [
    (MADE, Case("addresses first, then the link", NicActual(None, None, (), machine=MACHINE),
                ("claim addresses", "ensure link < claim addresses"))),
    (MADE, Case("it has its addresses", NicActual(None, NIC, ADDRESSES, machine=MACHINE), ("ensure link",))),
    (MADE, Case("it is as wanted", NicActual(NIC, NIC, ADDRESSES, machine=MACHINE))),
    (MADE, Case("it got another address", NicActual(replace(NIC, secondary=()), NIC, ADDRESSES, machine=MACHINE),
                ("ensure link",))),
    (LOOSE, Case("a NIC without a machine has addresses all the same", NicActual(None, None, ()),
                 ("claim addresses",))),
    (LOOSE, Case("and is complete with them", NicActual(None, None, ADDRESSES))),
    (LOOSE, Case("a virtual machine names it", NicActual(None, NIC, ADDRESSES, machine=IN), ("ensure link",))),
    (LOOSE, Case("no machine has it any more", NicActual(NIC, None, ADDRESSES), ("remove link",))),
    (LOOSE, Case("nor half of it", NicActual(None, None, ADDRESSES, partial=True), ("remove link",))),
    (MADE, Case("it goes", NicActual(NIC, None, ADDRESSES), ("remove link",), deleting=True)),
    (MADE, Case("half of it goes", NicActual(None, None, ADDRESSES, partial=True), ("remove link",), deleting=True)),
    (MADE, Case("it has gone; its addresses go with its row", NicActual(None, None, ADDRESSES), deleting=True)),
]  # fmt: skip


@pytest.mark.parametrize(("id", "case"), NICS, ids=str)
def test_network_interface(id: str, case: Case) -> None:
    ips: list[dict[str, Any]] = [
        {"name": f"ip{n}", "properties": {"subnet": {"id": f"{VNET}/subnets/s"}}} for n in "12"
    ]
    check(
        NicReconciler(LINKS, HollowPublicAddresses(LINKS)),
        resource(id, {"properties": {"ipConfigurations": ips}}, case),
        case,
    )


PUBLIC_IP = f"{GROUP}/providers/Microsoft.Network/publicIPAddresses/p"
NAME = PublicName(host_name(PUBLIC_IP), PUBLIC_IP, "web.westeurope.cloudapp.sorairo.internal", "198.18.0.9")

PUBLIC = [
    Case("it has none yet", PublicActual(None), ("claim address",)),
    Case("it has one", PublicActual("198.18.0.9")),
    Case("its address goes with its row", PublicActual("198.18.0.9", holder="nic"), deleting=True),
    Case("it never had one", PublicActual(None), deleting=True),
    Case("its label is not answered", PublicActual("198.18.0.9", None, NAME), ("tell name",)),
    Case("its label is answered", PublicActual("198.18.0.9", NAME, NAME)),
    Case("its label is answered in part", PublicActual("198.18.0.9", PUBLIC_IP, NAME), ("tell name",)),
    Case("it has no label any more", PublicActual("198.18.0.9", NAME, None), ("tell nobody",)),
    Case("it goes, and its label", PublicActual("198.18.0.9", NAME, None), ("tell nobody",), deleting=True),
]


@pytest.mark.parametrize("case", PUBLIC, ids=str)
def test_public_address(case: Case) -> None:
    check(PublicIPReconciler(("198.18.0.9",)), resource(PUBLIC_IP, {"properties": {}}, case), case)


# --- subnets with a say of their own ---------------------------------------------------------------------


def with_subnet(**properties: Any) -> Resource:
    subnet = {"name": "s", "properties": {"addressPrefix": "10.0.1.0/24", **properties}}
    return Resource(VNET, {"properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [subnet]}})


async def refusal(id: str, body: dict[str, Any], existing: Resource | None, *others: Resource) -> str:
    admit = nic_admit if id == LOOSE else network_admit
    with pytest.raises(ArmError) as refused:
        await admit(
            Admission(parse_id(id), body, existing, "me", Documents(*others, *([existing] if existing else [])))
        )
    return refused.value.code


async def test_a_delegated_subnet_is_its_services_own() -> None:
    delegations = [{"name": "d", "properties": {"serviceName": "Microsoft.ContainerInstance/containerGroups"}}]
    configuration = {"name": "one", "properties": {"subnet": {"id": f"{VNET}/subnets/s"}}}
    nic = {"location": "westeurope", "properties": {"ipConfigurations": [configuration]}}
    delegated = with_subnet(delegations=delegations)
    assert await refusal(LOOSE, copied(nic), None, delegated) == "ResourceNotPermittedOnDelegatedSubnet"
    # Nor is one delegated that somebody is in.
    used = with_subnet()
    there = Resource(LOOSE, nic)
    assert (
        await refusal(VNET, copied(delegated.body), used, there)
        == "SubnetDelegationsCannotChangeWhenSubnetUsedByResource"
    )
    body = copied(delegated.body)
    await network_admit(Admission(parse_id(VNET), body, used, "me", Documents(used)))


def test_who_is_in_a_private_subnet_has_no_way_out_by_itself() -> None:
    reconciler = VirtualNetworkReconciler(LINKS, HollowPeerings(LINKS), ("198.18.0.9",))
    assert reconciler.desired(with_subnet(), "198.18.0.9").private == ()
    assert reconciler.desired(with_subnet(defaultOutboundAccess=True), "198.18.0.9").private == ()
    private = reconciler.desired(with_subnet(defaultOutboundAccess=False), "198.18.0.9")
    assert private == replace(NETWORK, private=("10.0.1.0/24",))
