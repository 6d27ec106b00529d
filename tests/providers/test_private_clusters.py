"""Private clusters without a host: what is filled in, what is refused, what they are called and made of."""

from __future__ import annotations

from typing import Any

import pytest

from plans.readers import Documents
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Admission, Document, Resource
from sorairo.providers.microsoft_containerservice import api_access, private_cluster
from sorairo.providers.microsoft_containerservice.names import names

from .test_clusters import GROUP, ID, admitted, installed, wanted

__all__ = ["installed"]
"""Of every test here."""

ZONES = f"{GROUP}/providers/Microsoft.Network/privateDnsZones"
ZONE = f"{ZONES}/privatelink.westeurope.azmk8s.io"
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
KNOWN = (
    Resource(ZONE, {"location": "global"}),
    Resource(f"{ZONES}/corp.example", {"location": "global"}),
    Resource(IDENTITY, {}, status={"principalId": "p", "clientId": "k"}),
)


def private(mine: bool = False, **profile: Any) -> Document:
    """The body of a private cluster; `mine`: with a user-assigned identity."""
    body = wanted()
    body["properties"]["apiServerAccessProfile"] = {"enablePrivateCluster": True, **profile}
    if mine:
        body["identity"] = {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}}
    return body


async def test_azures_defaults() -> None:
    cluster = await admitted(private())
    assert cluster.properties["apiServerAccessProfile"] == {
        "enablePrivateCluster": True,
        "privateDNSZone": "system",
        "enablePrivateClusterPublicFQDN": True,
    }
    assert await api_access.allowed(Documents(), cluster) == (), "nobody but by private links"


async def test_its_names() -> None:
    def called(cluster: Resource) -> tuple[str | None, str | None]:
        cluster.private["fqdn"] = "c-1234.hcp.westeurope.azmk8s.sorairo.internal"
        shown = private_cluster.status(cluster)
        return shown.get("fqdn"), shown.get("privateFQDN")

    public = "c-1234.hcp.westeurope.azmk8s.sorairo.internal"
    told, name = called(await admitted(private()))
    assert (told, str(name).split(".")[0]) == (public, "c-1234")
    assert str(name).endswith(".privatelink.westeurope.azmk8s.io")
    untold = await admitted(private(enablePrivateClusterPublicFQDN=False))
    assert called(untold) == (None, name)
    assert called(await admitted(private(privateDNSZone="None"))) == (public, None)
    brought = await admitted(private(mine=True, privateDNSZone=ZONE), None, *KNOWN)
    assert called(brought) == (public, "c-1234.privatelink.westeurope.azmk8s.io")
    brought.properties["fqdnSubdomain"] = "shop"
    assert called(brought) == (public, "shop.privatelink.westeurope.azmk8s.io")
    assert called(await admitted(wanted())) == (public, None)


def changed(body: Document, **properties: Any) -> Document:
    body["properties"] |= properties
    return body


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        (private(authorizedIPRanges=["8.8.8.8"]), "InvalidParameter", "not supported for private clusters"),
        (private(privateDNSZone="none", enablePrivateClusterPublicFQDN=False), "InvalidParameter",
         "Private cluster with none private dns zone must enable public FQDN feature."),
        (private(privateDNSZone="corp"), "InvalidParameter", "neither system, none, nor the id"),
        (private(mine=True, privateDNSZone=f"{ZONES}/corp.example"), "InvalidParameter",
         "privatelink.westeurope.azmk8s.io"),
        (private(mine=True, privateDNSZone=f"{ZONES}/x.privatelink.westeurope.azmk8s.io"), "ResourceNotFound",
         "was not found"),
        (private(privateDNSZone=ZONE), "InvalidParameter", "system assigned managed identity"),
        (changed(private(), fqdnSubdomain="x"), "InvalidParameter", "custom private dns zone"),
        (changed(private(mine=True, privateDNSZone=ZONE), fqdnSubdomain="a.b"), "InvalidParameter", "'a.b'"),
        (changed(wanted(), apiServerAccessProfile={"privateDNSZone": "system"}), "InvalidParameter",
         "Invalid private dns zone for public cluster"),
        (changed(wanted(), apiServerAccessProfile={"enablePrivateClusterPublicFQDN": True}), "InvalidParameter",
         "private clusters only"),
    ],
)  # fmt: skip
async def test_what_is_refused(body: Document, code: str, says: str) -> None:
    with pytest.raises(ArmError) as refused:
        await admitted(body, None, *KNOWN)
    assert refused.value.code == code
    assert says in refused.value.message


async def test_a_zone_of_ones_own_needs_the_clusters_right_to_write_to_it() -> None:
    body = private(mine=True, privateDNSZone=ZONE)
    with pytest.raises(ArmError) as refused:
        await admitted(body, None, *KNOWN, permitted=False)
    assert refused.value.code == "CustomPrivateDNSZoneMissingPermissionError"
    assert ZONE in refused.value.message
    assert (await admitted(body, None, *KNOWN)).properties["apiServerAccessProfile"]["privateDNSZone"] == ZONE


async def test_private_once_private_for_ever() -> None:
    there, public = await admitted(private()), await admitted(wanted())
    body = private()
    del body["properties"]["apiServerAccessProfile"]
    assert private_cluster.is_private(await admitted(body, there)), "what is not said stays"
    off = changed(wanted(), apiServerAccessProfile={"enablePrivateCluster": False})
    for new, old in ((off, there), (private(), public)):
        with pytest.raises(ArmError, match="Changing enablePrivateCluster is not allowed"):
            await admitted(new, old)
    with pytest.raises(ArmError, match="Changing privateDNSZone is not allowed"):
        await admitted(private(mine=True, privateDNSZone=ZONE), there, *KNOWN)
    shown = changed(private(), privateLinkResources=private_cluster.status(there)["privateLinkResources"])
    assert "privateLinkResources" not in (await admitted(shown, there)).properties


async def parts(cluster: Resource, *stored: Resource, address: str | None = None) -> dict[str, Document]:
    cluster.private["fqdn"] = "c-1234.hcp.westeurope.azmk8s.sorairo.internal"
    found = await private_cluster.parts(Documents(*stored), cluster, address)
    return {part.id.rsplit("/providers/", 1)[1]: part.body["properties"] for part in found}


async def test_what_it_is_made_of() -> None:
    cluster = await admitted(private())
    made = await parts(cluster)
    (endpoint, zone, link) = made
    assert endpoint == "Microsoft.Network/privateEndpoints/kube-apiserver"
    (connection,) = made[endpoint]["privateLinkServiceConnections"]
    assert connection["properties"] == {"privateLinkServiceId": ID, "groupIds": ["management"]}
    assert zone.endswith(".privatelink.westeurope.azmk8s.io")
    assert made[link]["virtualNetwork"]["id"] == names(cluster).network
    addressed = await parts(cluster, address="10.224.0.4")
    assert addressed[f"{zone}/A/c-1234"]["aRecords"] == [{"ipv4Address": "10.224.0.4"}]
    assert list(await parts(await admitted(private(privateDNSZone="none")), address="10.224.0.4")) == [endpoint]


async def test_a_zone_that_is_linked_to_its_network_is_not_linked_again() -> None:
    cluster = await admitted(private(mine=True, privateDNSZone=ZONE), None, *KNOWN)
    short = ZONE.rsplit("/providers/", 1)[1]
    assert f"{short}/virtualNetworkLinks/c-1234" in await parts(cluster)
    network = {"virtualNetwork": {"id": names(cluster).network}}
    link = Resource(f"{ZONE}/virtualNetworkLinks/mine", {"properties": network})
    assert f"{short}/virtualNetworkLinks/c-1234" not in await parts(cluster, link)


# --- connections ----------------------------------------------------------------------------------------

CONNECTION = f"{ID}/privateEndpointConnections/mine.1"


def connection(name: str = "mine.1", endpoint: str = "mine") -> Resource:
    state = {"status": "Pending", "description": "please", "actionsRequired": "None"}
    of = {"id": f"{GROUP}/providers/Microsoft.Network/privateEndpoints/{endpoint}"}
    properties = {"privateEndpoint": of, "privateLinkServiceConnectionState": state}
    return Resource(f"{ID}/privateEndpointConnections/{name}", {"properties": properties})


async def asked(status: str, old: Resource | None) -> Document:
    body: Document = {"properties": {"privateLinkServiceConnectionState": {"status": status}}}
    admission = Admission(parse_id(old.id if old else CONNECTION), body, old, "me", Documents())
    await private_cluster.PRIVATE_ENDPOINT_CONNECTIONS.admit(admission)
    return body["properties"]  # type: ignore[no-any-return]


async def test_connections_are_approved_and_rejected_and_made_by_endpoints_alone() -> None:
    for status in ("Approved", "Rejected"):
        properties = await asked(status, connection())
        assert properties["privateLinkServiceConnectionState"]["status"] == status
        assert properties["privateEndpoint"] == connection().properties["privateEndpoint"]
    for status, old, code in (
        ("Disconnected", connection(), "InvalidParameter"),
        ("Approved", None, "BadRequest"),
        ("Rejected", connection("kube-apiserver.1", "kube-apiserver"), "OperationNotAllowed"),
    ):
        with pytest.raises(ArmError) as refused:
            await asked(status, old)
        assert refused.value.code == code
