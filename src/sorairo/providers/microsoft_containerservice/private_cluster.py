"""Private clusters: the API server has an address in the nodes' subnet, by a private endpoint, and no other.

https://learn.microsoft.com/azure/aks/private-clusters
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sorairo.drivers.naming import PublicName
from sorairo.engine.errors import ArmError, not_implemented
from sorairo.engine.ids import host_name, parse_id
from sorairo.engine.types import Admission, Context, Document, Reader, Resource, ResourceType
from sorairo.providers.microsoft_containerservice.cloud import Permits
from sorairo.providers.microsoft_containerservice.composition import Part
from sorairo.providers.microsoft_containerservice.controlplane import Endpoint
from sorairo.providers.microsoft_containerservice.names import names
from sorairo.providers.microsoft_containerservice.versions import API_VERSIONS

CLUSTER = "Microsoft.ContainerService/managedClusters"
CONNECTIONS = f"{CLUSTER}/privateEndpointConnections"
ZONE = "Microsoft.Network/privateDnsZones"
LINK = f"{ZONE}/virtualNetworkLinks"
MANAGEMENT = "management"
ENDPOINT = "kube-apiserver"
"""Name of the cluster's own private endpoint."""
SYSTEM, NONE = "system", "none"
_SUBDOMAIN = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,52}[a-zA-Z0-9])?")
_ONCE = "It can only be set while creating the cluster."
_OURS = "apiServerAccessProfile"


def _profile(properties: Document) -> Document:
    return properties.get(_OURS) or {}


def is_private(cluster: Resource) -> bool:
    return bool(_profile(cluster.properties).get("enablePrivateCluster"))


def is_told(cluster: Resource) -> bool:
    """Whether the public is told a private cluster's address, by the name it would have if it were not private."""
    return _profile(cluster.properties).get("enablePrivateClusterPublicFQDN") is not False


def mode(cluster: Resource) -> str:
    """`system`, `none`, or the id of a zone that its users have brought."""
    return str(_profile(cluster.properties).get("privateDNSZone") or SYSTEM)


# --- what is admitted -----------------------------------------------------------------------------------


async def admit(admission: Admission, permits: Permits) -> None:
    """After the identity is known. Fills in what Azure does; raises ArmError."""
    properties, old = admission.body["properties"], admission.existing
    properties.pop("privateLinkResources", None)  # As clients send it back.
    profile = properties.get(_OURS) or {}
    before = _profile(old.properties) if old else {}
    if old:
        inherited = ("enablePrivateCluster", "privateDNSZone", "enablePrivateClusterPublicFQDN")
        kept = {k: before[k] for k in inherited if k in before and profile.get(k) is None}
        profile = {**profile, **kept}
        if bool(profile.get("enablePrivateCluster")) != bool(before.get("enablePrivateCluster")):
            raise ArmError("BadRequest", f"Changing enablePrivateCluster is not allowed. {_ONCE}", target=_OURS)
        if "fqdnSubdomain" in old.properties:
            properties.setdefault("fqdnSubdomain", old.properties["fqdnSubdomain"])
    if profile:
        properties[_OURS] = profile
    if not profile.get("enablePrivateCluster"):
        _public(properties, profile)
        return
    if profile.get("authorizedIPRanges"):
        raise _invalid("authorizedIPRanges", "API server authorized IP ranges are not supported for private clusters.")
    if str((properties.get("networkProfile") or {}).get("loadBalancerSku", "")).lower() == "basic":
        raise _invalid("enablePrivateCluster", "A private cluster needs a load balancer of SKU standard.")
    zone = str(profile.get("privateDNSZone") or SYSTEM)
    zone = zone.lower() if zone.lower() in (SYSTEM, NONE) else zone
    profile["privateDNSZone"] = zone
    profile.setdefault("enablePrivateClusterPublicFQDN", True)
    if zone == NONE and not profile["enablePrivateClusterPublicFQDN"]:
        raise _invalid(
            "enablePrivateClusterPublicFQDN",
            "Private cluster with none private dns zone must enable public FQDN feature.",
        )
    if old and zone.lower() != str(before.get("privateDNSZone") or SYSTEM).lower():
        if zone == NONE:
            raise not_implemented("changing a cluster's private DNS zone to none")
        raise _invalid("privateDNSZone", f"Changing privateDNSZone is not allowed. {_ONCE}")
    _subdomain(properties, old, zone)
    if zone not in (SYSTEM, NONE):
        await _zone(admission, zone, permits)


def _public(properties: Document, profile: Document) -> None:
    zone = str(profile.get("privateDNSZone") or "")
    if zone:
        raise _invalid(
            "privateDNSZone",
            "Invalid private dns zone for public cluster. It should always be empty for public cluster.",
        )
    if profile.get("enablePrivateClusterPublicFQDN") is not None:
        raise _invalid(
            "enablePrivateClusterPublicFQDN", "A public FQDN is enabled or disabled for private clusters only."
        )
    if properties.get("fqdnSubdomain"):
        raise _subdomain_refused()


def _subdomain(properties: Document, old: Resource | None, zone: str) -> None:
    given = properties.get("fqdnSubdomain")
    if old and str(given or "").lower() != str(old.properties.get("fqdnSubdomain") or "").lower():
        raise ArmError(
            "PropertyChangeNotAllowed", "Changing property 'properties.fqdnSubdomain' is not allowed.",
            target="properties.fqdnSubdomain",
        )  # fmt: skip
    if not given:
        return
    if zone in (SYSTEM, NONE):
        raise _subdomain_refused()
    if not _SUBDOMAIN.fullmatch(str(given)):
        raise ArmError(
            "InvalidParameter",
            f"The value of parameter fqdnSubdomain is invalid: '{given}' is not 1 to 54 letters, digits and '-', "
            "beginning and ending with a letter or digit.",
            target="fqdnSubdomain",
        )


def _subdomain_refused() -> ArmError:
    return ArmError(
        "InvalidParameter",
        "The value of parameter fqdnSubdomain is invalid: it is for private clusters with a custom private dns zone.",
        target="fqdnSubdomain",
    )


async def _zone(admission: Admission, zone: str, permits: Permits) -> None:
    """A zone that users bring: it is there, has the right name, and the cluster's principal may write to it."""
    region = admission.body["location"]
    ends = [f"{kind}.{region}.azmk8s.io" for kind in ("private", "privatelink")]
    allowed = [*ends, *(f"[a-zA-Z0-9-]{{1,32}}.{each}" for each in ends)]
    try:
        rid = parse_id(zone)
    except ValueError:
        rid = None
    if rid is None or rid.type.lower() != ZONE.lower():
        raise _invalid("privateDNSZone", f"'{zone}' is neither system, none, nor the id of a private DNS zone.")
    label, _, rest = rid.name.lower().partition(".")
    named = rid.name.lower() == ends[1] or (rest == ends[1] and re.fullmatch(r"[a-z0-9-]{1,32}", label))
    if not named:  # `private.…` is for API servers in the network itself.
        raise _invalid(
            "privateDNSZone", f"The private DNS zone '{rid.name}' has none of the allowed names '{','.join(allowed)}'."
        )
    if await admission.reader.get(zone) is None:
        raise ArmError("ResourceNotFound", f"The private DNS zone '{zone}' was not found.", status=404, target=zone)
    identity = admission.body.get("identity") or {}
    client = admission.body["properties"]["servicePrincipalProfile"]["clientId"]
    if client == "msi" and "userAssignedIdentities" not in identity:
        raise _invalid(
            "privateDNSZone",
            "A system assigned managed identity cannot be used with a custom private DNS zone: choose a user-assigned "
            "identity or a service principal.",
        )
    assigned = admission.private.get("assignedIdentities") or {}
    object_id = str(
        next((each["principalId"] for each in assigned.values()), "")
        if client == "msi"
        else admission.private["servicePrincipal"]
    )
    for action in ("read", "write"):
        action = f"{ZONE}/{action}"
        if not permits(object_id, action, zone):
            raise ArmError(
                "CustomPrivateDNSZoneMissingPermissionError",
                "Service principal or user-assigned identity must be given permission to read and write to custom "
                f"private dns zone {zone}. Check access result not allowed for action {action}.",
                target="apiServerAccessProfile.privateDNSZone",
            )


def _invalid(what: str, message: str) -> ArmError:
    return ArmError("InvalidParameter", message, target=f"{_OURS}.{what}")


# --- what it is called ----------------------------------------------------------------------------------


def _guid(cluster: Resource) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, cluster.key))


def zone_id(cluster: Resource) -> str | None:
    """Of the zone that its name is in. None: in none."""
    where = mode(cluster)
    if where != SYSTEM:
        return None if where == NONE else where
    name = f"{_guid(cluster)}.privatelink.{cluster.body['location']}.azmk8s.io"
    return f"{names(cluster).group}/providers/{ZONE}/{name}"


def fqdn(cluster: Resource) -> str | None:
    """What it is called in that zone, once its name is chosen."""
    zone = zone_id(cluster) if is_private(cluster) and "fqdn" in cluster.private else None
    return f"{_label(cluster)}.{parse_id(zone).name.lower()}" if zone else None


def server(cluster: Resource) -> str:
    """What clients call its API server; its certificate says both."""
    return fqdn(cluster) or str(cluster.private["fqdn"])


def _label(cluster: Resource) -> str:
    public = str(cluster.private["fqdn"]).partition(".")[0]
    return str(cluster.properties.get("fqdnSubdomain") or public).lower()


def status(cluster: Resource) -> Document:
    """How a document shows its names. A public cluster has one."""
    public = str(cluster.private.get("fqdn", ""))
    if not is_private(cluster):
        return {"fqdn": public, "azurePortalFQDN": public.replace(".hcp.", ".portal.hcp.")}
    digest = hashlib.sha256(cluster.key.encode()).hexdigest()[:32]
    link = f"{cluster.id}/privateLinkResources/{MANAGEMENT}"
    return {
        **({"fqdn": public} if is_told(cluster) else {}),
        **({"privateFQDN": name} if (name := fqdn(cluster)) else {}),
        "azurePortalFQDN": f"{digest}-priv.portal.hcp.{public.partition('.hcp.')[2]}",
        "privateLinkResources": [{"id": link, **_resource()}],
    }


def _resource() -> Document:
    return {
        "name": MANAGEMENT,
        "type": f"{CLUSTER}/privateLinkResources",
        "groupId": MANAGEMENT,
        "requiredMembers": [MANAGEMENT],
    }


def public_name(cluster: Resource, address: str | None) -> PublicName | None:
    """What everybody is told, though only the network's machines can make use of it."""
    if address is None or not is_told(cluster):
        return None
    return PublicName(name_id(cluster), cluster.id, str(cluster.private["fqdn"]), address)


def name_id(cluster: Resource) -> str:
    return host_name(f"{cluster.id}/fqdn")


# --- what it is composed of -----------------------------------------------------------------------------


def endpoint_id(cluster: Resource) -> str:
    return f"{names(cluster).group}/providers/Microsoft.Network/privateEndpoints/{ENDPOINT}"


async def address(reader: Reader, cluster: Resource) -> str | None:
    """Of its API server, in the nodes' subnet. None: it has none yet."""
    endpoint = await reader.get(endpoint_id(cluster))
    shown = (endpoint.status.get("customDnsConfigs") or []) if endpoint else []
    return next((str(each) for config in shown for each in config["ipAddresses"]), None)


def reached(cluster: Resource, endpoint: Endpoint, address: str | None) -> Endpoint:
    """How its nodes reach the API server. By its address, so that no name server stands between them."""
    return replace(endpoint, address=address, name=server(cluster)) if address else endpoint


async def parts(reader: Reader, cluster: Resource, address: str | None) -> list[Part]:
    it, zone = names(cluster), zone_id(cluster)
    common: Document = {"location": cluster.body["location"]}
    connection = {"name": ENDPOINT, "properties": {"privateLinkServiceId": cluster.id, "groupIds": [MANAGEMENT]}}
    properties = {"subnet": {"id": it.subnet}, "privateLinkServiceConnections": [connection]}
    found = [Part(endpoint_id(cluster), {**common, "properties": properties}, (it.group, it.network))]
    if zone is None:
        return found
    if mode(cluster) == SYSTEM:
        found.append(Part(zone, {"location": "global", "properties": {}}, (it.group,)))
    link = f"{zone}/virtualNetworkLinks/{_label(cluster)}"
    if not await _linked(reader, zone, it.network, cluster):
        network = {"virtualNetwork": {"id": it.network}, "registrationEnabled": False}
        found.append(Part(link, {"location": "global", "properties": network}, (zone, it.network)))
    if address:
        records = {"ttl": 300, "aRecords": [{"ipv4Address": address}]}
        found.append(Part(f"{zone}/A/{_label(cluster)}", {"properties": records}, (zone,)))
    return found


async def _linked(reader: Reader, zone: str, network: str, cluster: Resource) -> bool:
    """Whether others have linked the zone to the network already."""
    for link in await reader.list(type=LINK, under=zone):
        to = str((link.properties.get("virtualNetwork") or {}).get("id", ""))
        if to.lower() == network.lower() and (link.managed_by or "").lower() != cluster.key:
            return True
    return False


async def left(ctx: Context, cluster: Resource) -> tuple[str, ...]:
    """What is to go with a cluster and is not in its node resource group."""
    found = [each.id for each in await ctx.list(type=CONNECTIONS, under=cluster.id)]
    zone = _profile(cluster.properties).get("privateDNSZone") or ""
    if zone.startswith("/"):
        there = [each for type in (LINK, f"{ZONE}/A") for each in await ctx.list(type=type, under=zone)]
        found += [each.id for each in there if (each.managed_by or "").lower() == cluster.key]
    return tuple(found)


# --- what others connect to it --------------------------------------------------------------------------


async def _admit_connection(admission: Admission) -> None:
    """Clients approve and reject what a private endpoint has asked for."""
    old, properties = admission.existing, admission.body["properties"]
    if admission.managed_by is not None:
        return
    if old is None:
        raise ArmError(
            "BadRequest",
            f"Private endpoint connection '{admission.id.name}' does not exist: it is made by a private endpoint.",
            target=admission.id.text,
        )
    _keep_own(old)
    state = properties.get("privateLinkServiceConnectionState") or {}
    wanted, now = str(state.get("status") or ""), old.properties["privateLinkServiceConnectionState"]["status"]
    if wanted not in ("Approved", "Rejected"):
        raise ArmError(
            "InvalidParameter",
            f"The value of parameter privateLinkServiceConnectionState.status is invalid. Error details: '{wanted}' is "
            f"neither Approved nor Rejected; it is {now}.",
            target="privateLinkServiceConnectionState.status",
        )
    properties["privateEndpoint"] = old.properties["privateEndpoint"]
    description = str(state.get("description") or "")
    properties["privateLinkServiceConnectionState"] = {
        "status": wanted, "description": description, "actionsRequired": "None",
    }  # fmt: skip


async def _admit_connection_delete(admission: Admission) -> None:
    if admission.existing:
        _keep_own(admission.existing)


def _keep_own(connection: Resource) -> None:
    endpoint = str(connection.properties["privateEndpoint"]["id"])
    if endpoint.lower().endswith(f"/{ENDPOINT}") and connection.rid.name.startswith(f"{ENDPOINT}."):
        raise ArmError(
            "OperationNotAllowed",
            f"Private endpoint connection '{connection.rid.name}' is the cluster's own: its nodes reach it by that.",
            status=409,
            target=connection.id,
        )


async def _list_resources(*, scope: str, reader: Reader, **_: Any) -> Document:
    cluster = await reader.get(scope)
    shown: Iterable[Document] = (cluster.status.get("privateLinkResources") or []) if cluster else []
    return {"value": list(shown)}


ROUTES = (("GET", "managedClusters/{cluster}/privateLinkResources", _list_resources),)

PRIVATE_ENDPOINT_CONNECTIONS: ResourceType[None] = ResourceType(
    CONNECTIONS,
    API_VERSIONS,
    admit=_admit_connection,
    admit_delete=_admit_connection_delete,
    schema="privateEndpointConnections",
    located=False,
    tracked=False,
    created=200,
)
