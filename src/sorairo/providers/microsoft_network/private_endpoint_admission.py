"""What private endpoints may be of, and what Azure refuses of them.

https://learn.microsoft.com/rest/api/virtualnetwork/private-endpoints/create-or-update
"""

from __future__ import annotations

from collections.abc import Mapping

from sorairo.engine.errors import ArmError, not_implemented
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Admission, Document, Resource, ids_in
from sorairo.providers.microsoft_network.addresses import number, parse_prefix, usable
from sorairo.providers.microsoft_network.interface_admission import find_subnet
from sorairo.providers.microsoft_network.references import missing
from sorairo.providers.microsoft_network.virtual_networks import subnet_prefix

CLUSTER = "Microsoft.ContainerService/managedClusters"
TARGETS: Mapping[str, tuple[str, ...]] = {CLUSTER: ("management",)}
"""Types that private endpoints may be of, and their groups (sub-resources)."""
LISTS = ("privateLinkServiceConnections", "manualPrivateLinkServiceConnections")


def connection_of(properties: Document) -> Document:
    """The one connection of an endpoint."""
    found: Document = next(each for key in LISTS for each in properties.get(key) or [])
    return found


def target_of(endpoint: Resource) -> str:
    """Id of what is behind it."""
    return str(connection_of(endpoint.properties)["properties"]["privateLinkServiceId"])


async def admit(admission: Admission) -> None:
    id, properties = admission.id, admission.body["properties"]
    for key in ("networkInterfaces", "customDnsConfigs", "privateDnsZoneGroups"):
        properties.pop(key, None)
    given = [(key, each) for key in LISTS for each in properties.get(key) or []]
    if len(given) != 1:
        raise ArmError(
            "PrivateEndpointMustHaveExactlyOnePrivateLinkServiceConnection",
            f"Private endpoint {id.text} has {len(given)} private link service connections; it must have exactly one.",
            target=id.text,
        )
    for key in LISTS:
        properties[key] = [each for where, each in given if where == key]
    await _subnet(admission, properties)
    await _connection(admission, given[0][1])
    _addresses(properties)
    for name in ("applicationSecurityGroups", "edgeZone"):
        if properties.get(name):
            raise not_implemented(f"private endpoints with {name}")
    if str(properties.setdefault("ipVersionType", "IPv4")) != "IPv4":
        raise not_implemented(f"private endpoints with ipVersionType {properties['ipVersionType']}")
    if admission.existing:
        _unchanged(admission, admission.existing)


async def _subnet(admission: Admission, properties: Document) -> None:
    id = admission.id.text
    subnet_id = str((properties.get("subnet") or {}).get("id") or "")
    if not subnet_id:
        raise ArmError("SubnetNotProvided", f"Subnet is not specified in private endpoint {id}.", target=id)
    properties["subnet"] = {"id": subnet_id}
    try:
        subnet = await find_subnet(admission.reader, subnet_id, id)
    except ValueError:
        raise missing(subnet_id, id) from None
    if subnet["properties"].get("delegations"):
        raise ArmError(
            "PrivateEndpointCreationNotAllowedAsSubnetIsDelegated",
            f"Private endpoint {id} cannot be created as subnet {subnet_id} is delegated.",
            target=subnet_id,
        )
    if subnet["properties"].get("privateEndpointNetworkPolicies", "Disabled") != "Disabled":
        raise not_implemented("private endpoints in subnets with privateEndpointNetworkPolicies enabled")
    for ip in properties.get("ipConfigurations") or []:
        wanted = (ip.get("properties") or {}).get("privateIPAddress")
        network = parse_prefix(subnet_prefix(subnet), subnet_id)
        if wanted and number(wanted) not in usable(network):
            raise ArmError(
                "PrivateIPAddressNotInSubnet",
                f"Private static IP address {wanted} does not belong to the range of subnet prefix {network}.",
                target=str(ip.get("name")),
            )


def _addresses(properties: Document) -> None:
    ips = properties.setdefault("ipConfigurations", [])
    if len(ips) > 1:
        raise ArmError(
            "PrivateEndpointIpConfigurationsMismatch",
            f"A private endpoint of group 'management' has one address; {len(ips)} ipConfigurations were given.",
            target="ipConfigurations",
        )


async def _connection(admission: Admission, connection: Document) -> None:
    for key in ("id", "type", "etag"):
        connection.pop(key, None)
    connection.setdefault("name", admission.id.name)
    inner = connection.setdefault("properties", {})
    for key in ("provisioningState", "privateLinkServiceConnectionState"):
        inner.pop(key, None)
    target = str(inner.get("privateLinkServiceId") or "")
    try:
        type = parse_id(target).type
    except ValueError:
        raise ArmError(
            "InvalidResourceReference", f"'{target}' is not a resource that a private endpoint can be of.",
            target="privateLinkServiceId",
        ) from None  # fmt: skip
    known = next((groups for each, groups in TARGETS.items() if each.lower() == type.lower()), None)
    if known is None:
        raise not_implemented(f"private endpoints to {type}")
    groups = [str(each) for each in inner.get("groupIds") or []]
    if len(groups) != 1 or groups[0].lower() not in known:
        raise ArmError(
            "PrivateLinkServiceGroupIdInvalid",
            f"Call to {CLUSTER} failed. Error message: private link resource '{', '.join(groups)}' of {target} was not "
            f"found; there is: {', '.join(known)}.",
            target="groupIds",
        )
    inner["groupIds"] = [groups[0].lower()]
    cluster = await admission.reader.get(target)
    if cluster is None:
        raise missing(target, admission.id.text)
    inner["privateLinkServiceId"] = cluster.id
    if not (cluster.properties.get("apiServerAccessProfile") or {}).get("enablePrivateCluster"):
        raise ArmError(
            "PrivateLinkNotSupported",
            f"Call to {CLUSTER} failed. Error message: private endpoint connections are for private clusters, and "
            f"managed cluster {cluster.rid.name} is none.",
            target=target,
        )


def _unchanged(admission: Admission, old: Resource) -> None:
    new = admission.body["properties"]
    pairs = {
        "subnet": (old.properties["subnet"]["id"], new["subnet"]["id"]),
        "privateLinkServiceId": (
            target_of(old),
            connection_of(new)["properties"]["privateLinkServiceId"],
        ),
        "ipConfigurations": (static_address(old.properties) or "", static_address(new) or ""),
    }
    for what, (before, after) in pairs.items():
        if before.lower() != after.lower():
            raise ArmError(
                "PropertyChangeNotAllowed",
                f"Changing '{what}' of private endpoint {admission.id.text} is not allowed.",
                target=what,
            )


def static_address(properties: Document) -> str | None:
    for ip in properties.get("ipConfigurations") or []:
        return (ip.get("properties") or {}).get("privateIPAddress")
    return None


def linking(body: Document) -> dict[str, str]:
    """Who connects by `privateLinkServiceConnections` approves in the same breath, and needs to be allowed to; by
    `manualPrivateLinkServiceConnections` one asks. Names of properties count in any case, as when they are stored."""
    approved = [
        value
        for properties in _members(body, "properties")
        for value in _members(properties, "privateLinkServiceConnections")
    ]
    return dict.fromkeys(ids_in(approved), f"{CLUSTER}/privateEndpointConnectionsApproval/action")


def _members(value: object, name: str) -> list[object]:
    return [each for key, each in value.items() if str(key).lower() == name.lower()] if isinstance(value, dict) else []
