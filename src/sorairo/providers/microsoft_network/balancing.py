"""From a load balancer's document, and who is in its pools, to what the host is to do: pure but for the looking up.

https://learn.microsoft.com/azure/load-balancer/components
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from sorairo.drivers.traffic import Backend, Balancer, BalancerRule, Check, Watched
from sorairo.engine.ids import host_name, parse_id
from sorairo.engine.types import Document, Reader, Resource
from sorairo.providers.microsoft_network.addresses import number
from sorairo.providers.microsoft_network.network_interfaces import claimed, configurations
from sorairo.providers.microsoft_network.public_ip_addresses import address_of
from sorairo.providers.microsoft_network.virtual_networks import NIC_TYPES

Protocol = Literal["tcp", "udp", "any"]
PROTOCOLS: dict[str, Protocol] = {"tcp": "tcp", "udp": "udp", "all": "any"}
AFFINITIES: dict[str, Literal["connection", "client", "client-protocol"]] = {
    "default": "connection",
    "sourceip": "client",
    "sourceipprotocol": "client-protocol",
}


@dataclass(frozen=True, slots=True)
class Member:
    """One of a pool, or the target of an inbound NAT rule."""

    address: str
    network: str
    """Id of its virtual network."""
    configuration: str = ""
    """Id of the NIC's ipConfiguration; '' for one that is named by its address."""
    others: tuple[str, ...] = ()
    """Further addresses that leave as it does: a NIC's first configuration speaks for all, pods leave as their node."""


@dataclass(frozen=True)
class Surroundings:
    """What a load balancer's document does not say itself."""

    addresses: Mapping[str, str] = field(default_factory=dict)
    """By name of the frontend; those that have none yet are missing."""
    pools: Mapping[str, tuple[Member, ...]] = field(default_factory=dict)
    """By name in lower case, in order of configuration."""
    targets: Mapping[str, tuple[Member, ...]] = field(default_factory=dict)
    """Of inbound NAT rules, by name in lower case."""
    networks: frozenset[str] = frozenset()
    """Keys of the virtual networks that are there to stay."""

    @cached_property
    def by_leaf(self) -> Mapping[str, str]:
        """`addresses` by the name in lower case: every rule asks, and of five hundred frontends."""
        return {name.lower(): address for name, address in self.addresses.items()}


def items(resource: Resource, part: str) -> list[Document]:
    return resource.properties.get(part) or []


def reference(properties: Document, key: str) -> str:
    """An id, or ''."""
    return str((properties.get(key) or {}).get("id") or "")


def leaf(id: str) -> str:
    """A part's name as it is looked up."""
    return id.rsplit("/", 1)[-1].lower()


# --- looking up ------------------------------------------------------------------------------------------


async def look(reader: Reader, lb: Resource) -> Surroundings:
    addresses = dict(lb.private.get("frontends", {}))
    for frontend in items(lb, "frontendIPConfigurations"):
        if id := reference(frontend["properties"], "publicIPAddress"):
            pip = await reader.get(id)
            if pip and (address := address_of(pip)):
                addresses[frontend["name"]] = address
    pools: dict[str, list[Member]] = defaultdict(list)
    targets: dict[str, list[Member]] = defaultdict(list)
    for type in NIC_TYPES:
        for nic in await reader.naming(lb.id, type=type):
            if not nic.deleting:
                _join(nic, lb, pools, targets)
    for pool in items(lb, "backendAddressPools"):
        pools[pool["name"].lower()] += _by_address(pool, lb)
    found = {m.network.lower() for members in (*pools.values(), *targets.values()) for m in members}
    found |= _own_networks(lb)
    there = [network for network in found if (stored := await reader.get(network)) and not stored.deleting]
    return Surroundings(
        addresses,
        {name: tuple(sorted(members, key=_order)) for name, members in pools.items()},
        {name: tuple(sorted(members, key=_order)) for name, members in targets.items()},
        frozenset(there),
    )


def _join(nic: Resource, lb: Resource, pools: dict[str, list[Member]], targets: dict[str, list[Member]]) -> None:
    addresses = claimed(nic)
    below = lb.key + "/"
    for n, configuration in enumerate(configurations(nic)):
        if n >= len(addresses):
            return
        properties = configuration["properties"]
        for key, kind, into in (
            ("loadBalancerBackendAddressPools", "backendaddresspools", pools),
            ("loadBalancerInboundNatRules", "inboundnatrules", targets),
        ):
            for each in properties.get(key) or []:
                id = str(each.get("id", "")).lower()
                if id.startswith(below) and id.split("/")[-2] == kind:
                    network = parse_id(properties["subnet"]["id"]).parent
                    others = addresses[1:] if n == 0 else ()
                    member = Member(
                        addresses[n], network, f"{nic.id}/ipConfigurations/{configuration['name']}", tuple(others)
                    )
                    into[leaf(id)].append(member)


def _by_address(pool: Document, lb: Resource) -> list[Member]:
    properties = pool["properties"]
    found = []
    for each in properties.get("loadBalancerBackendAddresses") or []:
        inner = each.get("properties") or {}
        subnet = reference(inner, "subnet")
        network = reference(inner, "virtualNetwork") or (parse_id(subnet).parent if subnet else "")
        network = network or reference(properties, "virtualNetwork")
        if inner.get("ipAddress") and network and inner.get("adminState", "None") != "Down":
            found.append(Member(str(inner["ipAddress"]), network))
    return found


def _own_networks(lb: Resource) -> set[str]:
    subnets = (reference(f["properties"], "subnet") for f in items(lb, "frontendIPConfigurations"))
    return {parse_id(subnet).parent.lower() for subnet in subnets if subnet}


def _order(member: Member) -> tuple[str, int]:
    return (member.configuration.lower(), number(member.address))


# --- what is to be ---------------------------------------------------------------------------------------


def network_of(lb: Resource, seen: Surroundings) -> str | None:
    """The virtual network that it works in, as a key: all pools' members and internal frontends are in one. None:
    there is nobody to send anything to."""
    members = (m for pool in (*seen.pools.values(), *seen.targets.values()) for m in pool)
    found = {*_own_networks(lb), *(m.network.lower() for m in members)} & seen.networks
    return min(found, default=None)


def balancer(lb: Resource, seen: Surroundings, ports: Mapping[str, Mapping[str, int]]) -> Balancer | None:
    """`ports`: of inbound NAT rules with a pool, see `nat_ports`. None: no rule, or no network."""
    network = network_of(lb, seen)
    if network is None:
        return None
    rules = [
        BalancerRule(
            f"rule/{rule['name']}",
            frontend,
            PROTOCOLS[rule["properties"]["protocol"].lower()],
            int(rule["properties"]["frontendPort"]),
            tuple(Backend(m.address, _backend_port(rule["properties"])) for m in _members(rule, seen, network)),
            floating=bool(rule["properties"].get("enableFloatingIP")),
            affinity=AFFINITIES[str(rule["properties"].get("loadDistribution") or "Default").lower()],
            idle=idle_seconds(rule["properties"]),
            reset=bool(rule["properties"].get("enableTcpReset")),
        )
        for rule in items(lb, "loadBalancingRules")
        if (frontend := _frontend(rule, seen))
    ]
    for rule in items(lb, "inboundNatRules"):
        rules += _nat(rule, seen, network, ports.get(rule["name"].lower(), {}))
    # In order of name: the order of a document's lists says nothing.
    ordered = tuple(sorted(rules, key=lambda rule: rule.name))
    return Balancer(host_name(lb.id), lb.id, host_name(network), ordered) if rules else None


def idle_seconds(properties: Document) -> int:
    """Of a rule: TCP connections alone have an idle time."""
    return 60 * int(properties.get("idleTimeoutInMinutes") or 4)


def _backend_port(properties: Document) -> int:
    return 0 if properties.get("enableFloatingIP") else int(properties.get("backendPort") or 0)


def _frontend(item: Document, seen: Surroundings) -> str | None:
    return address_at(reference(item["properties"], "frontendIPConfiguration"), seen)


def address_at(frontend: str, seen: Surroundings) -> str | None:
    """Of a frontend, by its id; None while it has none."""
    return seen.by_leaf.get(leaf(frontend))


def _members(rule: Document, seen: Surroundings, network: str) -> list[Member]:
    """Of a rule's pools, each once, in order."""
    properties = rule["properties"]
    single = properties.get("backendAddressPool")
    named = [single] if single else properties.get("backendAddressPools") or []
    found = {m.address: m for ref in named for m in seen.pools.get(leaf(ref["id"]), ()) if m.network.lower() == network}
    return list(found.values())


def _nat(rule: Document, seen: Surroundings, network: str, ports: Mapping[str, int]) -> list[BalancerRule]:
    properties = rule["properties"]
    frontend = _frontend(rule, seen)
    if frontend is None:
        return []
    protocol = PROTOCOLS[str(properties.get("protocol") or "Tcp").lower()]
    floating = bool(properties.get("enableFloatingIP"))
    to = _backend_port(properties)
    idle, reset = idle_seconds(properties), bool(properties.get("enableTcpReset"))

    def made(name: str, port: int, targets: tuple[Backend, ...]) -> BalancerRule:
        return BalancerRule(name, frontend, protocol, port, targets, floating=floating, idle=idle, reset=reset)

    if ranged(rule):
        return [
            made(f"nat/{rule['name']}/{port}", port, (Backend(m.address, to),))
            for m in _members(rule, seen, network)
            if (port := ports.get(m.address))
        ]
    targets = tuple(Backend(m.address, to) for m in seen.targets.get(rule["name"].lower(), ())[:1])
    return [made(f"nat/{rule['name']}", int(properties["frontendPort"]), targets)]


def ranged(rule: Document) -> bool:
    """An inbound NAT rule that gives each member of a pool a frontend port of its own."""
    return bool(reference(rule["properties"], "backendAddressPool")) and "frontendPortRangeStart" in rule["properties"]


def nat_ports(lb: Resource, seen: Surroundings, held: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Which frontend port each member has, by rule and address. Who has one keeps it; who finds none left has none."""
    found: dict[str, dict[str, int]] = {}
    network = network_of(lb, seen) or ""
    for rule in items(lb, "inboundNatRules"):
        if not ranged(rule):
            continue
        first, last = (int(rule["properties"][key]) for key in ("frontendPortRangeStart", "frontendPortRangeEnd"))
        addresses = [m.address for m in _members(rule, seen, network)]
        before = held.get(rule["name"].lower(), {})
        kept = {a: port for a, port in before.items() if a in addresses and first <= port <= last}
        free = iter(sorted(set(range(first, last + 1)) - set(kept.values())))
        new = {a: port for a in addresses if a not in kept and (port := next(free, None))}
        found[rule["name"].lower()] = {a: (kept | new)[a] for a in addresses if a in kept or a in new}
    return found


def watched(lb: Resource, spec: Balancer | None) -> Watched | None:
    """Whom to ask, of the rules that have a probe. None: nobody, so all are up."""
    probes = {probe["name"].lower(): probe["properties"] for probe in items(lb, "probes")}
    checks: dict[str, Check] = {}
    for rule in items(lb, "loadBalancingRules"):
        probe = probes.get(leaf(reference(rule["properties"], "probe")))
        if probe is not None:
            checks[f"rule/{rule['name']}"] = check(probe)
    if spec is None or not checks:
        return None
    addresses = {rule.name: tuple(b.address for b in rule.backends) for rule in spec.rules if rule.name in checks}
    if not addresses:
        return None
    return Watched(spec.id, spec.network, {name: checks[name] for name in addresses}, addresses)


def check(probe: Document) -> Check:
    """https://learn.microsoft.com/azure/load-balancer/load-balancer-custom-probe-overview"""
    protocol = str(probe["protocol"]).lower()
    return Check(
        "http" if protocol == "http" else "https" if protocol == "https" else "tcp",
        int(probe["port"]),
        float(probe.get("intervalInSeconds") or 15),
        # `numberOfProbes` is the older property, which Azure keeps but does not look at any more.
        int(probe.get("probeThreshold") or 1),
        str(probe.get("requestPath") or "/"),
    )
