"""What a virtual network's machines are told at 168.63.129.16: their own names, and the private zones it is linked to.

https://learn.microsoft.com/azure/virtual-network/virtual-networks-name-resolution-for-vms-and-role-instances
"""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from sorairo.drivers.naming import DOMAIN, View, Zone
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import host_name, parse_id
from sorairo.engine.types import Document, Reader, Resource
from sorairo.providers.microsoft_network.dns_records import domain, zone_name, zone_text
from sorairo.providers.microsoft_network.record_sets import PRIVATE, record_sets

LINK = f"{PRIVATE}/virtualNetworkLinks"
VIRTUAL_MACHINE = "Microsoft.Compute/virtualMachines"
SERVER = "168.63.129.16"
_SOA = "{name}. 3600 IN SOA azureprivatedns.net. azureprivatedns-host.microsoft.com. {{serial}} 3600 300 2419200 10\n"
_TTL = 10
CLOUD = tuple(f"{name}.{DOMAIN}" for name in ("graph", "login", "management"))
"""Where the cloud is for machines and pods: at the address that they ask for names, too."""


def suffix(network: str) -> str:
    """The domain of the names of a network's machines, as their `internalDomainNameSuffix` says."""
    return f"{host_name(network, 'n')}.internal.cloudapp.{DOMAIN}"


def servers(network: Resource, nic: Document) -> list[str]:
    """Whom a NIC's machine asks: the NIC's own, else the network's custom servers, else Azure."""
    own = (nic.get("dnsSettings") or {}).get("dnsServers") or []
    return list(own or (network.properties.get("dhcpOptions") or {}).get("dnsServers") or [SERVER])


@dataclass(frozen=True, slots=True, order=True)
class Host:
    """A machine in a network, as it is registered."""

    name: str
    address: str


async def hosts(reader: Reader, nics: Iterable[Resource]) -> list[Host]:
    """The machines of those NICs that have one and an address. A name that is none in DNS is left out."""
    found: set[Host] = set()
    for nic in nics:
        addresses, machine = nic.private.get("addresses"), machine_of(nic)
        if not addresses or machine is None or nic.deleting:
            continue
        label = (nic.properties.get("dnsSettings") or {}).get("internalDnsNameLabel")
        owner = await reader.get(machine)
        computer = (owner.properties.get("osProfile") or {}).get("computerName") if owner else None
        for name in {label, computer} - {None, ""}:
            if "." not in str(name) and (right := _label(str(name))):
                found.add(Host(right, str(addresses[0])))
    return sorted(found)


def machine_of(nic: Resource) -> str | None:
    """The id of the virtual machine a NIC is in: its parent for a scale set's, else the one it was found to be in."""
    if nic.rid.type.lower().startswith("microsoft.compute/"):
        return nic.rid.parent
    attached = (nic.status.get("virtualMachine") or {}).get("id")
    return str(attached) if attached else None


async def wanted_by(reader: Reader, nic: Resource) -> str | None:
    """The id of the virtual machine that a NIC is to be in: the first whose document names it."""
    if nic.rid.type.lower().startswith("microsoft.compute/"):
        return nic.rid.parent
    machines = await reader.naming(nic.id, type=VIRTUAL_MACHINE)
    return min(machines, key=lambda each: (each.created_at, each.key)).id if machines else None


def _label(name: str) -> str:
    try:
        return domain(name)
    except ArmError:
        return ""


async def links_of(reader: Reader, network: str) -> list[Resource]:
    """The links of private zones to a network, that are to stay."""
    found = await reader.naming(network, type=LINK)
    return [each for each in found if linked_to(each) == network.lower() and not each.deleting]


def linked_to(link: Resource) -> str:
    return str((link.properties.get("virtualNetwork") or {}).get("id", "")).lower()


async def view(reader: Reader, network: Resource, nics: Iterable[Resource]) -> View | None:
    """None: it has no machines, so that nobody asks."""
    machines = await hosts(reader, nics)
    if not machines:
        return None
    own, registering = suffix(network.id), ""
    zones = {name: Zone(name, _file(name, [f"{name}. 3600 IN A {SERVER}\n"])) for name in CLOUD}
    for link in sorted(await links_of(reader, network.id), key=lambda each: each.key):
        zone = await reader.get(link.rid.parent)
        if zone is None or zone.deleting:
            continue
        name = zone_name(zone.rid.name)
        text = zone_text(name, await record_sets(reader, zone.id, PRIVATE), private=True)
        if text.partition("\n")[0].find(" SOA ") > 0:  # else it is being made
            zones[name] = Zone(name, text)
        registering = name if link.properties.get("registrationEnabled") else registering
    zones.setdefault(
        own, Zone(own, _file(own, (f"{each.name}.{own}. {_TTL} IN A {each.address}\n" for each in machines)))
    )
    backwards = (
        f"{ipaddress.IPv4Address(each.address).reverse_pointer}. {_TTL} IN PTR {each.name}.{known}.\n"
        for each in machines
        for known in filter(None, (own, registering))
    )
    zones.setdefault("in-addr.arpa", Zone("in-addr.arpa", _file("in-addr.arpa", backwards)))
    return View(host_name(network.id), network.id, tuple(zones[name] for name in sorted(zones)))


def _file(name: str, lines: Iterable[str]) -> str:
    rest = "".join(sorted(lines))
    return _SOA.format(name=name).format(serial=zlib.crc32(rest.encode())) + rest


def network_of(nic: Resource) -> str | None:
    """Id of the network a NIC is in."""
    for ip in nic.properties.get("ipConfigurations") or []:
        if subnet := (ip.get("properties", {}).get("subnet") or {}).get("id"):
            return parse_id(str(subnet)).parent
    return None
