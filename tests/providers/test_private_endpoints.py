"""Private endpoints and their zone groups without a host: what is admitted, planned and shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from plans.readers import Documents
from plans.table import Case, check
from sorairo.drivers.private_links import PrivateLink
from sorairo.engine.documents import copied
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Admission, Document, Resource
from sorairo.providers.microsoft_network.private_dns_zone_groups import Records, ZoneGroupReconciler
from sorairo.providers.microsoft_network.private_dns_zone_groups import admit as admit_group
from sorairo.providers.microsoft_network.private_endpoint_admission import admit, linking
from sorairo.providers.microsoft_network.private_endpoints import APPROVED, Actual, PrivateEndpointReconciler

GROUP = "/subscriptions/0b1f6471-1bf0-4dda-aec3-111111111111/resourceGroups/g"
NETWORK = f"{GROUP}/providers/Microsoft.Network"
CLUSTER = f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/c"
STORAGE = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/s"
VNET, ENDPOINT = f"{NETWORK}/virtualNetworks/v", f"{NETWORK}/privateEndpoints/e"
ZONE = f"{NETWORK}/privateDnsZones/privatelink.westeurope.azmk8s.io"


def subnet(name: str, prefix: str, **properties: Any) -> Document:
    return {"name": name, "properties": {"addressPrefix": prefix, **properties}}


SUBNETS = [
    subnet("s", "10.0.0.0/24"),
    subnet("lent", "10.0.1.0/24", delegations=[{"name": "d"}]),
    subnet("judged", "10.0.2.0/24", privateEndpointNetworkPolicies="Enabled"),
]
PRIVATE = {"apiServerAccessProfile": {"enablePrivateCluster": True}}
STORED = (
    Resource(VNET, {"properties": {"subnets": SUBNETS}}),
    Resource(CLUSTER, {"properties": PRIVATE}),
    Resource(f"{CLUSTER}2", {"properties": {}}),
    Resource(ZONE, {"location": "global"}),
)


def body(
    target: str = CLUSTER, group: str = "management", within: str = "s", key: str = "privateLinkServiceConnections"
) -> Document:
    connection = {"name": "c", "properties": {"privateLinkServiceId": target, "groupIds": [group]}}
    properties = {"subnet": {"id": f"{VNET}/subnets/{within}"}, key: [connection]}
    return {"location": "westeurope", "properties": properties}


async def admitted(asked: Document, existing: Resource | None = None) -> Resource:
    admission = Admission(parse_id(ENDPOINT), copied(asked), existing, "me", Documents(*STORED))
    await admit(admission)
    return Resource(ENDPOINT, admission.body)


def static(address: str, *more: str) -> Document:
    found = body()
    ips = [{"name": a, "properties": {"privateIPAddress": a}} for a in (address, *more)]
    found["properties"]["ipConfigurations"] = ips
    return found


def both() -> Document:
    found = body()
    found["properties"] |= body(key="manualPrivateLinkServiceConnections")["properties"]
    return found


@pytest.mark.parametrize(
    ("asked", "code", "says"),
    [
        (both(), "PrivateEndpointMustHaveExactlyOnePrivateLinkServiceConnection", "has 2 private link service"),
        (body(STORAGE, "blob"), "NotImplemented", "private endpoints to microsoft.storage/storageaccounts"),
        (body("nonsense"), "InvalidResourceReference", "'nonsense'"),
        (body(f"{CLUSTER}3"), "InvalidResourceReference", "was not found"),
        (body(f"{CLUSTER}2"), "PrivateLinkNotSupported", "private endpoint connections are for private clusters"),
        (body(group="blob"), "PrivateLinkServiceGroupIdInvalid", "there is: management"),
        (body(within="none"), "InvalidResourceReference", "was not found"),
        (body(within="lent"), "PrivateEndpointCreationNotAllowedAsSubnetIsDelegated", "is delegated"),
        (body(within="judged"), "NotImplemented", "privateEndpointNetworkPolicies"),
        (static("10.9.0.9"), "PrivateIPAddressNotInSubnet", "10.0.0.0/24"),
        (static("10.0.0.9", "10.0.0.10"), "PrivateEndpointIpConfigurationsMismatch", "has one address"),
    ],
)
async def test_what_is_refused(asked: Document, code: str, says: str) -> None:
    with pytest.raises(ArmError) as refused:
        await admitted(asked)
    assert refused.value.code == code
    assert says.lower() in refused.value.message.lower()


async def test_what_it_is_of_and_where_stays() -> None:
    there = await admitted(body())
    assert (await admitted(body(), there)).properties["subnet"] == {"id": f"{VNET}/subnets/s"}
    with pytest.raises(ArmError, match="'ipConfigurations'"):
        await admitted(static("10.0.0.9"), there)


def test_who_connects_without_asking_needs_the_right_to_approve() -> None:
    action = "Microsoft.ContainerService/managedClusters/privateEndpointConnectionsApproval/action"
    assert linking(body()) == {CLUSTER: action}
    assert linking(body(key="PRIVATElinkserviceconnections")) == {CLUSTER: action}, "in any case, as it is stored"
    assert linking(body(key="manualPrivateLinkServiceConnections")) == {}
    assert linking({"properties": ["nonsense"]}) == {}


# --- plans ----------------------------------------------------------------------------------------------

LINK = PrivateLink("e", ENDPOINT, "v", "10.0.0.4", "c")
STANDS = Actual("g", True, "10.0.0.4", APPROVED, True, LINK, False, LINK)
CASES = [
    Case("names are chosen first", Actual(), ("name",)),
    Case("then its interface and its connection", Actual("g"), ("interface", "connection")),
    Case("its connection is approved", replace(STANDS, link=None), ("link",)),
    Case("it is not approved yet, or rejected", replace(STANDS, link=None, wanted=None)),
    Case("it is approved no more", replace(STANDS, wanted=None), ("cut link",)),
    Case("half of its link is gone", replace(STANDS, link=None, partial=True), ("link",)),
    Case("half of a link that is not wanted", replace(STANDS, link=None, partial=True, wanted=None), ("cut link",)),
    Case("all is as wanted", STANDS),
    Case("it goes", replace(STANDS, groups=(f"{ENDPOINT}/privateDnsZoneGroups/z",)),
         ("delete zone group z", "cut link", "delete connection", "delete interface < cut link"), deleting=True),
    Case("it goes before it was", Actual(), deleting=True),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_plans(case: Case) -> None:
    check(PrivateEndpointReconciler(None), Resource(ENDPOINT, body(), deleting=case.deleting), case)


# --- zone groups ----------------------------------------------------------------------------------------

ZONES = f"{ENDPOINT}/privateDnsZoneGroups/z"


def group(*zones: str) -> Document:
    return {
        "properties": {"privateDnsZoneConfigs": [{"name": z, "properties": {"privateDnsZoneId": z}} for z in zones]}
    }


async def test_a_group_keeps_a_record_in_each_zone_that_the_name_is_below() -> None:
    name = "c-1.privatelink.westeurope.azmk8s.io"
    endpoint = Resource(ENDPOINT, body(), status={"customDnsConfigs": [{"fqdn": name, "ipAddresses": ["10.0.0.4"]}]})
    zones = Resource(ZONES, group(ZONE))
    reconciler = ZoneGroupReconciler()
    seen = await reconciler.observe(Documents(*STORED, endpoint), zones)  # type: ignore[arg-type]
    record = f"{ZONE}/A/c-1"
    assert seen == Records({record: ("10.0.0.4",)}, {})
    assert [step.name for step in reconciler.plan(zones, seen)] == ["record c-1"]
    made = Resource(record, {"properties": {"aRecords": [{"ipv4Address": "10.0.0.4"}]}}, managed_by=ZONES)
    there = await reconciler.observe(Documents(*STORED, endpoint, made), zones)  # type: ignore[arg-type]
    assert reconciler.plan(zones, there) == []
    gone = await reconciler.observe(Documents(*STORED, made), zones)  # type: ignore[arg-type]
    assert [step.name for step in reconciler.plan(zones, gone)] == ["forget c-1"]


@pytest.mark.parametrize(
    ("asked", "others", "code"),
    [
        (group(f"{ZONE}x"), (), "InvalidResourceReference"),
        (group(CLUSTER), (), "InvalidResourceReference"),
        (group(ZONE, ZONE), (), "PrivateDnsZoneGroupHasDuplicateZones"),
        (group(*[ZONE] * 6), (), "PrivateDnsZoneGroupHasTooManyZones"),
        (group(ZONE), (Resource(f"{ZONES}2", group(ZONE)),), "PrivateEndpointCannotHaveMoreThanOnePrivateDnsZoneGroup"),
    ],
)
async def test_groups_that_cannot_be(asked: Document, others: tuple[Resource, ...], code: str) -> None:
    with pytest.raises(ArmError) as refused:
        await admit_group(Admission(parse_id(ZONES), copied(asked), None, "me", Documents(*STORED, *others)))
    assert refused.value.code == code
