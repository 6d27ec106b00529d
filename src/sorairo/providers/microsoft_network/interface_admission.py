"""What a network interface's document may say, and when one may go.

https://learn.microsoft.com/rest/api/virtualnetwork/network-interfaces
"""

from __future__ import annotations

from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Admission, Document, Reader, Resource
from sorairo.providers.microsoft_network.addresses import number, parse_prefix, usable
from sorairo.providers.microsoft_network.public_ip_users import check_free
from sorairo.providers.microsoft_network.references import check_there, missing
from sorairo.providers.microsoft_network.resolver import wanted_by
from sorairo.providers.microsoft_network.subnet_services import check_delegation
from sorairo.providers.microsoft_network.virtual_networks import (
    NIC_TYPES,
    PRIVATE_ENDPOINT,
    check_dns_servers,
    subnet_prefix,
)


async def find_subnet(reader: Reader, subnet_id: str, target: str) -> Document:
    """The subnet's document, or Azure's error that it is not there."""
    rid = parse_id(subnet_id)
    network = await reader.get(rid.parent)
    for subnet in network.properties.get("subnets", []) if network else []:
        if subnet["name"].lower() == rid.name.lower():
            return subnet  # type: ignore[no-any-return]
    raise missing(subnet_id, target)


async def admit(admission: Admission) -> None:
    properties = admission.body["properties"]
    if admission.managed_by is None and (endpoint := endpoint_of(admission.existing)):
        raise ArmError(
            "CannotModifyNicAttachedToPrivateEndpoint",
            f"Network interface {admission.id.text} cannot be modified by user as it is attached to private endpoint "
            f"{endpoint}.",
            target=admission.id.text,
        )
    ips = properties.get("ipConfigurations") or []
    if not ips:
        raise ArmError(
            "InvalidRequestFormat",
            f"Network interface '{admission.id.name}' needs at least one ipConfiguration.",
            target="ipConfigurations",
        )
    subnets: dict[str, Document] = {}
    for n, ip in enumerate(ips):
        for key in ("id", "type", "etag"):
            ip.pop(key, None)
        ip.setdefault("name", f"ipconfig{n + 1}")
        inner = ip.setdefault("properties", {})
        inner.pop("provisioningState", None)
        inner.setdefault("primary", n == 0)
        inner.setdefault("privateIPAllocationMethod", "Dynamic")
        inner.setdefault("privateIPAddressVersion", "IPv4")
        subnet_id = (inner.get("subnet") or {}).get("id") or (ips[0]["properties"].get("subnet") or {}).get(
            "id"
        )  # Azure lets secondary configurations leave it out.
        if not subnet_id:
            raise ArmError(
                "SubnetNotProvided", f"Subnet is not specified in ipConfiguration '{ip['name']}' of "
                f"'{admission.id.name}'.", target=ip["name"],
            )  # fmt: skip
        inner["subnet"] = {"id": subnet_id}
        if subnet_id not in subnets:
            subnets[subnet_id] = await find_subnet(admission.reader, subnet_id, admission.id.text)
            check_delegation(subnets[subnet_id], subnet_id, NIC_TYPES[0])
        wanted = inner.get("privateIPAddress")
        if inner["privateIPAllocationMethod"] == "Static" and wanted:
            network = parse_prefix(subnet_prefix(subnets[subnet_id]), subnet_id)
            if number(wanted) not in usable(network):
                raise ArmError(
                    "PrivateIPAddressNotInSubnet",
                    f"Private static IP address {wanted} does not belong to the range of subnet prefix {network}.",
                    target=ip["name"],
                )
        else:
            inner.pop("privateIPAddress", None)
        await _check_public_ip(admission, ip)
    if group := (properties.get("networkSecurityGroup") or {}).get("id"):
        properties["networkSecurityGroup"] = {"id": group}
        await check_there(admission.reader, group, admission.id.text)
    dns = properties.setdefault("dnsSettings", {})
    dns.setdefault("dnsServers", [])
    check_dns_servers(dns["dnsServers"])
    properties.setdefault("enableIPForwarding", False)
    properties.setdefault("enableAcceleratedNetworking", False)


async def _check_public_ip(admission: Admission, ip: Document) -> None:
    named_ip = ip["properties"].get("publicIPAddress")
    if not named_ip:
        ip["properties"].pop("publicIPAddress", None)
        return
    id = str(named_ip.get("id") or "")
    by = f"{admission.id.text}/ipConfigurations/{ip['name']}"
    await check_there(admission.reader, id, by)
    await check_free(admission.reader, by, id)
    others = [o for o in admission.body["properties"]["ipConfigurations"] if o is not ip]
    if any(str((o["properties"].get("publicIPAddress") or {}).get("id", "")).lower() == id.lower() for o in others):
        raise ArmError(
            "PublicIPAddressCannotBeAssignedToMultipleIpConfigs",
            f"Public IP address {id} cannot be assigned to several IP configurations of {admission.id.text}.",
            target=id,
        )
    ip["properties"]["publicIPAddress"] = {"id": id}


def endpoint_of(nic: Resource | None) -> str | None:
    """Id of the private endpoint that a NIC is of."""
    owner = nic.managed_by if nic else None
    return owner if owner and parse_id(owner).type.lower() == PRIVATE_ENDPOINT.lower() else None


async def admit_delete(admission: Admission) -> None:
    assert admission.existing
    if endpoint := endpoint_of(admission.existing):
        raise ArmError(
            "NicInUseWithPrivateEndpoint",
            f"Network interface {admission.id.text} cannot be deleted because it is currently in use with an private "
            f"endpoint ({endpoint}).",
            target=admission.id.text,
        )
    if machine := await wanted_by(admission.reader, admission.existing):
        raise ArmError(
            "NicInUse",
            f"Network Interface {admission.existing.id} is used by existing resource {machine}. In order to delete the "
            "network interface, it must be dissociated from the resource. To learn more, see aka.ms/deletenic.",
            target=admission.existing.id,
        )
