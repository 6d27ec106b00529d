"""By which addresses and ports the members of a load balancer's pools leave: pure.

https://learn.microsoft.com/azure/load-balancer/load-balancer-outbound-connections
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sorairo.drivers.traffic import Outbound, Way
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import host_name
from sorairo.engine.types import Document, Resource
from sorairo.providers.microsoft_network.addresses import collapsed
from sorairo.providers.microsoft_network.balancing import (
    Member,
    Surroundings,
    address_at,
    idle_seconds,
    items,
    leaf,
    network_of,
    reference,
)

PORTS = 64000
"""Of each frontend address, from 1024 on."""
_FIRST = 1024
_BLOCK = 8
"""Ports are given by eights."""
_AUTOMATIC = ((50, 1024), (100, 512), (200, 256), (400, 128), (800, 64))
"""How many each of so many members gets of every address when nobody says; more members get 32."""
_IMPLICIT_IDLE = 4 * 60


@dataclass(slots=True)
class _Pool:
    """How one pool leaves."""

    explicit: bool = False
    addresses: list[str] = field(default_factory=list)
    allocated: int = 0
    """Ports that a member gets of all addresses together; 0: by the size of the pool."""
    idle: int = _IMPLICIT_IDLE
    reset: bool = False

    def add(self, address: str | None) -> None:
        if address and address not in self.addresses:
            self.addresses.append(address)


def outbound(lb: Resource, seen: Surroundings) -> Outbound | None:
    """By the frontends of outbound rules; else by the public ones whose rules have the pool as backends, unless these
    say not to (`disableOutboundSnat`)."""
    network = network_of(lb, seen)
    if network is None:
        return None
    ways: list[Way] = []
    named: set[str] = set()
    pools = _pools(lb, seen)
    for name in sorted(pools, key=lambda name: (not pools[name].explicit, name)):
        members = [m for m in seen.pools.get(name, ()) if m.network.lower() == network]
        if pools[name].addresses:
            ways += _ways(pools[name], members, named)
    return Outbound(host_name(lb.id), lb.id, host_name(network), tuple(ways)) if ways else None


def _pools(lb: Resource, seen: Surroundings) -> dict[str, _Pool]:
    internal = {f["name"].lower() for f in items(lb, "frontendIPConfigurations") if f["properties"].get("subnet")}
    found: dict[str, _Pool] = {}
    for rule in sorted(items(lb, "outboundRules"), key=lambda rule: str(rule["name"])):
        properties = rule["properties"]
        pool = found.setdefault(leaf(reference(properties, "backendAddressPool")), _Pool(explicit=True))
        for frontend in properties.get("frontendIPConfigurations") or []:
            if leaf(frontend["id"]) not in internal:
                pool.add(address_at(frontend["id"], seen))
        pool.allocated += int(properties.get("allocatedOutboundPorts") or 0)
        pool.idle, pool.reset = idle_seconds(properties), bool(properties.get("enableTcpReset"))
    for rule in items(lb, "loadBalancingRules"):
        properties = rule["properties"]
        frontend = reference(properties, "frontendIPConfiguration")
        pool = found.setdefault(leaf(reference(properties, "backendAddressPool")), _Pool())
        if not pool.explicit and not properties.get("disableOutboundSnat") and leaf(frontend) not in internal:
            pool.add(address_at(frontend, seen))
    return found


def _ways(pool: _Pool, members: list[Member], named: set[str]) -> list[Way]:
    """One for each member that is not `named` yet: it has a range of ports, the same one of every address."""
    each = share(pool.allocated, len(members), len(pool.addresses))
    found = []
    for n, member in enumerate(members):
        sources = {member.address, *member.others} - named
        named |= sources
        if sources:
            first = _FIRST + n * each
            ports = (first, first + each - 1)
            found.append(Way(collapsed(sources), tuple(pool.addresses), ports, pool.idle, pool.reset))
    return found


def share(allocated: int, members: int, addresses: int) -> int:
    """How many ports of each address one member has. `allocated`: of all together, 0 for Azure's own measure. Who
    comes when all are given away makes the others' shares smaller."""
    automatic = next((ports for most, ports in _AUTOMATIC if members <= most), 32)
    wanted = -(-allocated // addresses) if allocated else automatic
    most = PORTS // max(members, 1) // _BLOCK * _BLOCK
    return max(_BLOCK, min(-(-wanted // _BLOCK) * _BLOCK, most))


# --- what is refused -------------------------------------------------------------------------------------


def check(id: str, rule: Document, members: int) -> None:
    """`members`: of the rule's pool. Raises ArmError.

    https://learn.microsoft.com/azure/load-balancer/load-balancer-common-deployment-errors"""
    allocated = int(rule["properties"].get("allocatedOutboundPorts") or 0)
    there = PORTS * len(rule["properties"].get("frontendIPConfigurations") or [])
    for wrong, code, text in (
        (allocated % _BLOCK != 0, "IsNotAMultipleOfEight", "is not a multiple of 8."),
        (
            allocated > there,
            "ExceedsTotalNumberOfAllowedPortsPerRule",
            f"exceeds total number of allowed ports per rule {there}. Reduce allocated ports or increase number of IP "
            "addresses for outbound rule.",
        ),
        (
            allocated * members > there,
            "ExceedsTotalNumberOfAvailablePorts",
            f"exceeds total number of available ports {there // max(members, 1) // _BLOCK * _BLOCK}. Reduce allocated "
            "ports or increase number of IP addresses for outbound rule.",
        ),
    ):
        if wrong:
            raise ArmError(
                f"SpecifiedAllocatedOutboundPortsForOutboundRule{code}",
                f"Specified Allocated Outbound Ports {allocated} for Outbound Rule {id}/outboundRules/{rule['name']} "
                f"{text}",
                target=rule["name"],
            )
