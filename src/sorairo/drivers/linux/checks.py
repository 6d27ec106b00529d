"""Specs are checked before anything is done: their words end up in the kernel's names and in rule texts.

Every function returns the spec it was given, or raises DriverError saying what is wrong with it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from sorairo.drivers.linux.fabric import EDGE
from sorairo.drivers.naming import NameSpec, PublicName, PublicZone, View
from sorairo.drivers.private_links import PrivateLink
from sorairo.drivers.protocols import DriverError, Leg, Network, Nic
from sorairo.drivers.routing import Peering, RouteTable
from sorairo.drivers.traffic import Balancer, Firewall, Outbound, PublicAddress

_ID = re.compile(r"[A-Za-z0-9_-]{1,13}\Z")  # an interface's name has 15 characters, and its first is ours
_NAME = re.compile(r"(?!.{254})[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\Z")
_NAMESPACE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}\Z")


def network(spec: Network) -> Network:
    _ids(spec.id)
    _namespace(spec.id)
    _prefixes((*spec.prefixes, *spec.private))
    _addresses(spec.snat)
    return spec


def nic(spec: Nic) -> Nic:
    _ids(spec.id, spec.network)
    _namespace(spec.namespace)
    _addresses(spec.address, spec.gateway)
    _prefixes((*spec.secondary, *([spec.overlay] if spec.overlay else [])))
    return spec


def leg(spec: Leg) -> Leg:
    _ids(spec.id, spec.network, spec.table)
    _namespace(spec.namespace)
    _addresses(spec.public_address)
    _prefixes((*spec.reach, *(spec.allowed or ())))
    return spec


def firewall(spec: Firewall) -> Firewall:
    _ids(spec.id, spec.network, *spec.nics)
    _prefixes(spec.subnets)
    for rule in spec.rules:
        _prefixes((*rule.sources, *rule.destinations))
        if rule.protocol in ("icmp", "esp", "ah") and (rule.source_ports or rule.destination_ports):
            raise DriverError(f"rule {rule.name or rule.priority}: {rule.protocol} has no ports")
        for first, last in (*rule.source_ports, *rule.destination_ports):
            if not 0 <= first <= last <= 65535:
                raise DriverError(f"rule {rule.name or rule.priority}: {first}-{last} is not a range of ports")
    return spec


def balancer(spec: Balancer) -> Balancer:
    _ids(spec.id, spec.network)
    if len({rule.name for rule in spec.rules}) < len(spec.rules):
        raise DriverError(f"balancer {spec.id} has two rules of one name")
    for rule in spec.rules:
        _addresses(rule.frontend, *(each.address for each in rule.backends))
        if (rule.port == 0) != (rule.protocol == "any"):
            raise DriverError(f"rule {rule.name}: port 0 and protocol 'any' go together")
        if not all(0 <= port <= 65535 for port in (rule.port, *(each.port for each in rule.backends))):
            raise DriverError(f"rule {rule.name}: a port is a number from 0 to 65535")
        _seconds(rule.name, rule.idle)
    return spec


def public_address(spec: PublicAddress) -> PublicAddress:
    _ids(spec.id, spec.network)
    _addresses(spec.public_address, spec.address)
    return spec


def outbound(spec: Outbound) -> Outbound:
    _ids(spec.id, spec.network)
    for way in spec.ways:
        if not way.sources or not way.addresses:
            raise DriverError(f"outbound {spec.id}: a way has sources and addresses")
        _prefixes(way.sources)
        _addresses(*way.addresses)
        if way.ports is not None and not 0 < way.ports[0] <= way.ports[1] <= 65535:
            raise DriverError(f"outbound {spec.id}: {way.ports[0]}-{way.ports[1]} is not a range of ports")
        _seconds(spec.id, way.idle)
    return spec


def names(spec: NameSpec) -> NameSpec:
    _ids(spec.id)
    match spec:
        case View():
            found = [zone.name for zone in spec.zones]
            if len({*found}) < len(found):
                raise DriverError(f"view {spec.id} has two zones of one name")
        case PublicZone():
            found = [spec.zone.name]
        case PublicName():
            found = [spec.name]
            _addresses(spec.address)
    for each in found:
        if not _NAME.match(each):
            raise DriverError(f"'{each}' is not a name in lower case")
    return spec


def peering(spec: Peering) -> Peering:
    _ids(spec.id, spec.network, spec.remote)
    if spec.network == spec.remote:
        raise DriverError(f"network {spec.network} is no peer of itself")
    return spec


def private_link(spec: PrivateLink) -> PrivateLink:
    _ids(spec.id, spec.network, spec.leg)
    _addresses(spec.address)
    return spec


def route_table(spec: RouteTable) -> RouteTable:
    _ids(spec.id, spec.network)
    _prefixes((*spec.subnets, *(hop.prefix for hop in spec.hops)))
    if len({ipaddress.IPv4Network(hop.prefix) for hop in spec.hops}) < len(spec.hops):
        raise DriverError(f"table {spec.id} has two hops for one prefix")
    for hop in spec.hops:
        _addresses(None if hop.to in ("network", "edge", "nowhere") else hop.to)
    return spec


def _seconds(name: str, idle: int) -> None:
    if not 0 <= idle < 1 << 24:
        raise DriverError(f"{name}: {idle} is not a number of seconds")


def _ids(*ids: str | None) -> None:
    for each in ids:
        if each is not None and not _ID.match(each):
            raise DriverError(f"'{each}' is not an id of at most 13 letters, digits, - or _")


def _namespace(name: str) -> None:
    if not _NAMESPACE.match(name) or name == EDGE:
        raise DriverError(f"'{name}' is not a name for a namespace")


def _addresses(*addresses: str | None) -> None:
    for each in addresses:
        if each is not None:
            try:
                ipaddress.IPv4Address(each)
            except ValueError as error:
                raise DriverError(str(error)) from None


def _prefixes(prefixes: Iterable[str]) -> None:
    for each in prefixes:
        try:
            ipaddress.IPv4Network(each)
        except ValueError as error:
            raise DriverError(str(error)) from None
