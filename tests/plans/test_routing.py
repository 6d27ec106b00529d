"""Route tables, peerings, prefixes: given documents, then these hops, halves and blocks."""

from __future__ import annotations

from typing import Any

import pytest

from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.hollow.traffic import HollowOutbounds, HollowRouteTables
from sorairo.drivers.routing import Hop, RouteTable
from sorairo.drivers.traffic import Outbound, Way
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import host_name, parse_id
from sorairo.engine.types import Admission, Resource
from sorairo.providers.microsoft_network.nat_gateways import Actual as NatActual
from sorairo.providers.microsoft_network.nat_gateways import NatGatewayReconciler
from sorairo.providers.microsoft_network.peerings import admit_peerings, states
from sorairo.providers.microsoft_network.public_ip_prefixes import PublicIPPrefixReconciler
from sorairo.providers.microsoft_network.route_tables import Actual as TableActual
from sorairo.providers.microsoft_network.route_tables import RouteTableReconciler, admit
from sorairo.providers.microsoft_network.spaces import Spaces

from .readers import Documents

GROUP = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network"
TABLE = f"{GROUP}/routeTables/rt"
HUB, SPOKE, OTHER = (f"{GROUP}/virtualNetworks/{name}" for name in ("hub", "spoke", "other"))
SPACES = Spaces(("198.18.0.16",))


def route(prefix: str, kind: str = "None", hop: str | None = None, name: str = "r") -> dict[str, Any]:
    properties = {"addressPrefix": prefix, "nextHopType": kind, **({"nextHopIpAddress": hop} if hop else {})}
    return {"name": name, "properties": properties}


def table(*routes: dict[str, Any]) -> Resource:
    return Resource(TABLE, {"location": "w", "properties": {"routes": list(routes)}})


def network(id: str, prefix: str, *peerings: dict[str, Any], noted: Any = None, **subnet: Any) -> Resource:
    properties = {
        "addressSpace": {"addressPrefixes": [prefix]},
        "subnets": [{"name": "s", "properties": {"addressPrefix": prefix, **subnet}}],
        "virtualNetworkPeerings": list(peerings),
    }
    return Resource(id, {"location": "w", "properties": properties}, private={"peerings": noted} if noted else {})


def half(remote: str, name: str = "p", **flags: Any) -> dict[str, Any]:
    return {
        "name": name,
        "properties": {"remoteVirtualNetwork": {"id": remote}, "allowVirtualNetworkAccess": True, **flags},
    }


# --- route tables ----------------------------------------------------------------------------------------


async def observed(reader: Documents, resource: Resource) -> TableActual:
    return await RouteTableReconciler(HollowRouteTables(HollowLinks()), SPACES).observe(reader, resource)  # type: ignore[arg-type]


async def test_a_table_is_made_in_each_network_that_names_it() -> None:
    rt = table(route("10.9.0.0/16", "VirtualAppliance", "10.1.0.4"), route("10.0.0.0/8", "VnetLocal"),
               route("0.0.0.0/0", "Internet"), route("10.7.0.0/16", "VirtualNetworkGateway"))  # fmt: skip
    named = {"routeTable": {"id": TABLE.upper().replace("/SUBSCRIPTIONS/S", "/subscriptions/s")}}
    reader = Documents(rt, network(HUB, "10.1.0.0/16", **named), network(SPOKE, "10.2.0.0/16", **named),
                       network(OTHER, "10.3.0.0/16"))  # fmt: skip
    actual = await observed(reader, rt)
    hops = (Hop("0.0.0.0/0", "edge"), Hop("10.0.0.0/8", "network"), Hop("10.7.0.0/16", "nowhere"),
            Hop("10.9.0.0/16", "10.1.0.4"))  # fmt: skip
    assert actual.wanted == tuple(
        RouteTable(host_name(f"{TABLE.lower()}|{id.lower()}"), TABLE, host_name(id), (prefix,), hops)
        for id, prefix in ((HUB, "10.1.0.0/16"), (SPOKE, "10.2.0.0/16"))
    )
    reconciler = RouteTableReconciler(HollowRouteTables(HollowLinks()), SPACES)
    assert [step.name for step in reconciler.plan(rt, actual)] == [f"route {each.id}" for each in actual.wanted]
    assert len(reconciler.status(rt, actual)["subnets"]) == 2


async def test_a_table_without_routes_is_none() -> None:
    rt = table()
    reader = Documents(rt, network(HUB, "10.1.0.0/16", routeTable={"id": TABLE}))
    assert (await observed(reader, rt)).wanted == ()


async def test_a_service_is_the_fabrics_own_addresses_and_a_prefix_goes_before_it() -> None:
    rt = table(route("AzureCloud", "Internet"), route("198.18.0.0/28", "None"), route("Storage", "Internet"))
    reader = Documents(rt, network(HUB, "10.1.0.0/16", routeTable={"id": TABLE}))
    assert (await observed(reader, rt)).wanted[0].hops == (Hop("198.18.0.0/28", "nowhere"),)


@pytest.mark.parametrize(
    ("code", "routes"),
    [
        ("RouteConflict", [route("10.0.0.0/8"), route("10.0.0.0/8", name="two")]),
        ("MissingNextHopIpAddress", [route("10.0.0.0/8", "VirtualAppliance")]),
        ("NextHopIpAddressNotAllowed", [route("10.0.0.0/8", "None", "10.1.0.4")]),
        ("InvalidIPAddressFormat", [route("10.0.0.0/8", "VirtualAppliance", "10.1.0.400")]),
        ("InvalidAddressPrefixFormat", [route("10.0.0.1/8")]),
        ("InvalidAddressPrefixFormat", [route("Nobody")]),
        ("InvalidNextHopType", [route("10.0.0.0/8", "Somewhere")]),
        ("NotImplemented", [route("10.0.0.0/8", "VirtualApplianceEcmp")]),
    ],
)
async def test_routes_that_cannot_be(code: str, routes: list[dict[str, Any]]) -> None:
    body = {"properties": {"routes": routes}}
    with pytest.raises(ArmError) as refused:
        await admit(Admission(parse_id(TABLE), body, None, "me", Documents()))
    assert refused.value.code == code
    if code == "RouteConflict":
        assert refused.value.message.startswith("Route: two conflicts with Route: ")


# --- peerings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "there", "after"),
    [
        (None, False, "Initiated"),
        ("Initiated", False, "Initiated"),
        ("Initiated", True, "Connected"),
        ("Connected", True, "Connected"),
        ("Connected", False, "Disconnected"),
        ("Disconnected", False, "Disconnected"),
        ("Disconnected", True, "Disconnected"),
    ],
)
async def test_the_states_of_a_half(before: str | None, there: bool, after: str) -> None:
    noted = {"p": {"state": before, "remote": []}} if before else None
    hub = network(HUB, "10.1.0.0/16", half(SPOKE), noted=noted)
    spoke = network(SPOKE, "10.2.0.0/16", *([half(HUB)] if there else []))
    assert await states(Documents(hub, spoke), hub) == {"p": {"state": after, "remote": ["10.2.0.0/16"]}}


async def test_a_network_that_goes_is_none() -> None:
    hub, spoke = network(HUB, "10.1.0.0/16", half(SPOKE)), network(SPOKE, "10.2.0.0/16", half(HUB))
    hub.private["peerings"] = {"p": {"state": "Connected", "remote": ["10.2.0.0/16"]}}
    spoke.deleting = True
    for reader in (Documents(hub, spoke), Documents(hub)):
        assert await states(reader, hub) == {"p": {"state": "Disconnected", "remote": ["10.2.0.0/16"]}}


async def test_a_peer_is_virtual_network_while_access_is_allowed() -> None:
    spoke = network(SPOKE, "10.2.0.0/16", half(HUB))
    for allowed, wanted in ((True, ("10.1.0.0/16", "10.2.0.0/16")), (False, ("10.1.0.0/16",))):
        hub = network(HUB, "10.1.0.0/16", half(SPOKE, allowVirtualNetworkAccess=allowed))
        assert (await SPACES.of(Documents(hub, spoke), hub)).virtual == wanted
    alone = network(HUB, "10.1.0.0/16", half(SPOKE))
    assert (await SPACES.of(Documents(alone, network(SPOKE, "10.2.0.0/16")), alone)).virtual == ("10.1.0.0/16",)


@pytest.mark.parametrize(
    ("code", "existing", "there", "asked"),
    [
        ("VnetAddressSpacesOverlap", None, network(SPOKE, "10.1.4.0/24"), [half(SPOKE)]),
        ("VnetCannotBePeeredWithItself", None, network(SPOKE, "10.2.0.0/16"), [half(HUB)]),
        ("InvalidResourceReference", None, network(SPOKE, "10.2.0.0/16"), [half(OTHER + "s")]),
        (
            "AnotherPeeringAlreadyReferencesRemoteVnet",
            None,
            network(SPOKE, "10.2.0.0/16"),
            [half(SPOKE), half(SPOKE, "q")],
        ),
        ("RemoteVnetHasNoGateways", None, network(SPOKE, "10.2.0.0/16"), [half(SPOKE, useRemoteGateways=True)]),
        (
            "PeeringCannotHaveBothAllowGatewayTransitAndUseRemoteGatewaysFlagsSet",
            None,
            network(SPOKE, "10.2.0.0/16"),
            [half(SPOKE, useRemoteGateways=True, allowGatewayTransit=True)],
        ),
        (
            "RemotePeeringIsDisconnected",
            None,
            network(SPOKE, "10.2.0.0/16", half(HUB), noted={"p": {"state": "Connected", "remote": []}}),
            [half(SPOKE)],
        ),
        (
            "VnetAddressSpaceOverlapsWithAlreadyPeeredVnet",
            None,
            network(SPOKE, "10.2.0.0/16", half(OTHER, "o")),
            [half(SPOKE)],
        ),
        (
            "ChangingRemoteVirtualNetworkNotAllowed",
            network(HUB, "10.1.0.0/16", half(SPOKE)),
            network(SPOKE, "10.2.0.0/16"),
            [half(OTHER)],
        ),
        (
            "VnetAddressSpacesOverlap",
            network(HUB, "10.7.0.0/16", half(SPOKE)),
            network(SPOKE, "10.1.0.0/24"),
            [half(SPOKE)],
        ),
    ],
)
async def test_peerings_that_cannot_be(
    code: str, existing: Resource | None, there: Resource, asked: list[dict[str, Any]]
) -> None:
    body = network(HUB, "10.1.0.0/16", *asked).body
    third = network(OTHER, "10.1.128.0/17")
    with pytest.raises(ArmError) as refused:
        await admit_peerings(Admission(parse_id(HUB), body, existing, "me", Documents(there, third)))
    assert refused.value.code == code


async def test_who_writes_a_network_without_a_word_of_its_peerings_leaves_them() -> None:
    noted = {"p": {"state": "Connected", "remote": []}, "q": {"state": "Disconnected", "remote": []}}
    existing = network(HUB, "10.1.0.0/16", half(SPOKE), noted=noted)
    body = network(HUB, "10.1.0.0/16").body
    del body["properties"]["virtualNetworkPeerings"]
    admission = Admission(parse_id(HUB), body, existing, "me", Documents(network(SPOKE, "10.2.0.0/16")))
    await admit_peerings(admission)
    assert [p["name"] for p in body["properties"]["virtualNetworkPeerings"]] == ["p"]
    assert admission.private == {"peerings": {"p": noted["p"]}}


# --- NAT gateways and prefixes ---------------------------------------------------------------------------


async def test_a_gateway_has_the_addresses_of_its_public_ips_and_prefixes() -> None:
    id, pip, prefix = (f"{GROUP}/{each}" for each in ("natGateways/n", "publicIPAddresses/p", "publicIPPrefixes/x"))
    gateway = Resource(id, {"properties": {"publicIpAddresses": [{"id": pip}], "publicIpPrefixes": [{"id": prefix}]}})
    one = Resource(pip, {"properties": {}}, private={"claims": {"public addresses": ["198.18.0.16"]}})
    many = Resource(prefix, {"properties": {}})
    named = network(HUB, "10.1.0.0/16", natGateway={"id": id})
    reconciler = NatGatewayReconciler(HollowOutbounds(HollowLinks()))
    before = await reconciler.observe(Documents(gateway, one, many, named), gateway)  # type: ignore[arg-type]
    assert [(step.name, step.args) for step in reconciler.plan(gateway, before)] == [
        ("wait for public addresses", (prefix,))
    ]
    many.private["claims"] = {"public addresses": ["198.18.0.32", "198.18.0.33"]}
    actual = await reconciler.observe(Documents(gateway, one, many, named), gateway)  # type: ignore[arg-type]
    way = Way(("10.1.0.0/16",), ("198.18.0.16", "198.18.0.32", "198.18.0.33"), idle=240, reset=True)
    assert actual.wanted == Outbound(host_name(id), id, host_name(HUB), (way,), 0)
    assert [step.name for step in reconciler.plan(gateway, actual)] == ["translate"]
    done = NatActual(actual.wanted, actual.wanted)
    assert reconciler.plan(gateway, done) == []
    assert [s.name for s in reconciler.plan(gateway, NatActual(None, actual.wanted))] == ["stop translating"]
    assert reconciler.plan(gateway, NatActual(None, actual.wanted, leaving=True)) == []


def test_blocks_begin_where_a_prefix_of_their_size_does() -> None:
    reconciler = PublicIPPrefixReconciler(tuple(f"198.18.0.{n}" for n in range(16, 64)))
    assert [block[0] for block in reconciler._blocks(16)] == ["198.18.0.48", "198.18.0.32", "198.18.0.16"]
    assert {len(block) for block in reconciler._blocks(4)} == {4}
    assert next(PublicIPPrefixReconciler(tuple(f"198.18.0.{n}" for n in range(16, 63)))._blocks(4))[-1] == "198.18.0.59"
