"""Microsoft.Network/loadBalancers: rules in the kernel of their virtual network, and probes that edit them.

https://learn.microsoft.com/rest/api/load-balancer/load-balancers
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sorairo.drivers.protocols import DriverError
from sorairo.drivers.traffic import Balancer, BalancerState, Outbound, Traffic, Watched
from sorairo.engine.errors import ArmError, Retry
from sorairo.engine.ids import host_name, parse_id
from sorairo.engine.types import Context, Document, Inline, Resource, ResourceType, Step, named
from sorairo.providers.microsoft_network import balancing, snat
from sorairo.providers.microsoft_network.addresses import address, number, parse_prefix, usable, usable_count
from sorairo.providers.microsoft_network.balancing import items, reference
from sorairo.providers.microsoft_network.interface_admission import find_subnet
from sorairo.providers.microsoft_network.load_balancer_admission import PARTS, admit
from sorairo.providers.microsoft_network.public_ip_addresses import address_of
from sorairo.providers.microsoft_network.versions import API_VERSIONS
from sorairo.providers.microsoft_network.virtual_networks import LOAD_BALANCER, NIC_TYPES, subnet_prefix

SHOWN = "backendIPConfigurations"
"""Where status keeps who is in which pool, until it is shown there."""


@dataclass(frozen=True, slots=True)
class Actual:
    """Everything the plan decides on."""

    addresses: dict[str, str] = field(default_factory=dict)
    """Private addresses by the frontend's name, as far as they have been taken."""
    unaddressed: tuple[str, ...] = ()
    """Public IPs it names that have no address yet."""
    ports: dict[str, dict[str, int]] = field(default_factory=dict)
    """Frontend ports of inbound NAT rules by rule and address, as they should be."""
    members: dict[str, list[str]] = field(default_factory=dict)
    """Ids of ipConfigurations by pool."""
    balancer: BalancerState | None = None
    wanted: Balancer | None = None
    outbound: Outbound | None = None
    wanted_outbound: Outbound | None = None
    partial: bool = False
    """Something stands in part."""
    leaving: bool = False
    """The network it stands in is going, and takes it along."""
    watched: Watched | None = None
    unheard: bool = False


class LoadBalancerReconciler:
    """An internal frontend has an address of its subnet before anything is made of it. An address that a frontend
    gives up stays with the load balancer, for its next one."""

    def __init__(self, traffic: Traffic) -> None:
        self._balancers = traffic.balancers
        self._outbounds = traffic.outbounds
        self._probes = traffic.probes

    async def observe(self, ctx: Context, resource: Resource) -> Actual:
        id = host_name(resource.id)
        balancers, outbounds = await self._balancers.observe_balancers(), await self._outbounds.observe_outbounds()
        here = Actual(
            addresses=dict(resource.private.get("frontends", {})),
            balancer=balancers.whole.get(id),
            outbound=outbounds.whole.get(id),
            partial=id in balancers.partial or id in outbounds.partial,
            watched=self._probes.watched(id),
            unheard=self._probes.unheard(id),
        )
        if resource.deleting:
            return here
        seen = await balancing.look(ctx, resource)
        ports = balancing.nat_ports(resource, seen, resource.private.get("natPorts", {}))
        named_ips = (reference(f["properties"], "publicIPAddress") for f in items(resource, "frontendIPConfigurations"))
        return replace(
            here,
            unaddressed=tuple([i for i in named_ips if i and not ((pip := await ctx.get(i)) and address_of(pip))]),
            ports=ports,
            members={name: [m.configuration for m in members] for name, members in seen.pools.items() if members},
            wanted=balancing.balancer(resource, seen, ports),
            wanted_outbound=snat.outbound(resource, seen),
            leaving=await self._leaving(ctx, here),
        )

    async def _leaving(self, ctx: Context, here: Actual) -> bool:
        stands_in = {each.network for each in (here.balancer and here.balancer.spec, here.outbound) if each}
        if not stands_in:
            return False
        networks = await ctx.list(type="Microsoft.Network/virtualNetworks")
        return any(host_name(n.id) in stands_in and n.deleting for n in networks)

    # --- plan: pure ----------------------------------------------------------------------------------

    def plan(self, resource: Resource, actual: Actual) -> list[Step]:
        if resource.deleting:
            there = actual.balancer or actual.outbound or actual.partial or actual.watched
            return [Step("remove rules", self.remove)] if there else []
        if not _right(resource, actual.addresses):
            return [Step("claim addresses", self.claim)]
        if actual.unaddressed:
            return [Step("wait for public addresses", self.wait, (actual.unaddressed,))]
        if actual.ports != resource.private.get("natPorts", {}):
            return [Step("assign ports", self.assign, (actual.ports,))]
        plan = self._plan_rules(actual)
        watch = balancing.watched(resource, actual.wanted)
        if watch != actual.watched:
            known = actual.balancer or BalancerState(Balancer("", "", "", ()), {})
            plan.append(Step("probe", self.probe, (watch, known), tuple(s.name for s in plan)))
        if not plan and actual.unheard:
            plan.append(Step("first answers", self.first_answers))
        return plan

    def _plan_rules(self, actual: Actual) -> list[Step]:
        plan = []
        standing = actual.balancer.spec if actual.balancer else None
        if actual.wanted and (actual.wanted != standing or actual.partial):
            plan.append(Step("balance", self.balance, (actual.wanted,)))
        elif not actual.wanted and (standing or actual.partial) and not actual.leaving:
            plan.append(Step("stop balancing", self.stop_balancing))
        if actual.wanted_outbound and (actual.wanted_outbound != actual.outbound or actual.partial):
            plan.append(Step("outbound", self.outbound, (actual.wanted_outbound,)))
        elif not actual.wanted_outbound and (actual.outbound or actual.partial) and not actual.leaving:
            plan.append(Step("stop outbound", self.stop_outbound))
        return plan

    def status(self, resource: Resource, actual: Actual) -> Document:
        return {SHOWN: actual.members} if actual.members else {}

    # --- steps ---------------------------------------------------------------------------------------

    async def wait(self, ctx: Context, resource: Resource, ids: tuple[str, ...]) -> None:
        for id in ids:
            if await ctx.settled(id) is None:
                raise ArmError("InvalidResourceReference", f"Resource {id} referenced by {resource.id} has gone.")

    async def assign(self, ctx: Context, resource: Resource, ports: dict[str, dict[str, int]]) -> None:
        await ctx.save(resource, private={"natPorts": ports})

    async def balance(self, ctx: Context, resource: Resource, spec: Balancer) -> None:
        try:
            await self._balancers.ensure_balancer(spec)
        except DriverError as e:
            raise _later(e, spec.network) from e

    async def outbound(self, ctx: Context, resource: Resource, spec: Outbound) -> None:
        try:
            await self._outbounds.ensure_outbound(spec)
        except DriverError as e:
            raise _later(e, spec.network) from e

    async def stop_balancing(self, ctx: Context, resource: Resource) -> None:
        await self._balancers.remove_balancer(host_name(resource.id))

    async def stop_outbound(self, ctx: Context, resource: Resource) -> None:
        await self._outbounds.remove_outbound(host_name(resource.id))

    async def probe(self, ctx: Context, resource: Resource, spec: Watched | None, known: BalancerState) -> None:
        """`known`: what stood before; of its rules something is known already."""
        if spec is None:
            self._probes.unwatch(host_name(resource.id))
        else:
            self._probes.watch(spec, known.down, frozenset(rule.name for rule in known.spec.rules))

    async def first_answers(self, ctx: Context, resource: Resource) -> None:
        await self._probes.first_answers(host_name(resource.id))

    async def remove(self, ctx: Context, resource: Resource) -> None:
        id = host_name(resource.id)
        self._probes.unwatch(id)
        await self._balancers.remove_balancer(id)
        await self._outbounds.remove_outbound(id)

    async def claim(self, ctx: Context, resource: Resource) -> None:
        by_subnet: dict[str, list[Document]] = defaultdict(list)
        for frontend in items(resource, "frontendIPConfigurations"):
            if subnet_id := reference(frontend["properties"], "subnet"):
                by_subnet[subnet_id.lower()].append(frontend)
        known: dict[str, str] = resource.private.get("frontends", {})
        names = {f["name"] for inside in by_subnet.values() for f in inside}
        await ctx.save(resource, private={"frontends": {n: a for n, a in known.items() if n in names}})
        for subnet_id, inside in by_subnet.items():
            await self._claim(ctx, resource, subnet_id, inside)

    async def _claim(self, ctx: Context, resource: Resource, subnet_id: str, inside: list[Document]) -> None:
        network = parse_prefix(subnet_prefix(await find_subnet(ctx, subnet_id, resource.id)), subnet_id)
        known: dict[str, str] = dict(resource.private.get("frontends", {}))
        static = {f["name"]: f["properties"].get("privateIPAddress") for f in inside}
        kept = {
            name: known[name]
            for name, wanted in static.items()
            if name in known and wanted is None and number(known[name]) in usable(network)
        }

        def assigned(numbers: tuple[int, ...]) -> Document:
            free = iter(sorted({address(n) for n in numbers} - set(kept.values()), key=number))
            found = {name: wanted or kept.get(name) or next(free) for name, wanted in static.items()}
            return {"frontends": {**known, **found}}

        try:
            await ctx.claim_numbers(
                f"subnet {subnet_id}",
                usable(network),
                list(static.values()).count(None),
                exactly=[number(a) for a in static.values() if a],
                then=assigned,
            )
        except ArmError as e:
            if e.code != "PoolExhausted":
                raise
            taken = next((a for a in static.values() if a), None)
            if taken and "is taken" in e.message:
                raise ArmError(
                    "PrivateIPAddressInUse", f"IP configuration's private IP address {taken} is already in use."
                ) from e
            raise ArmError(
                "SubnetIsFull",
                f"Subnet {parse_id(subnet_id).name} with address prefix {network} does not have enough capacity for "
                f"{len(inside)} IP addresses ({usable_count(network)} are usable in all).",
                target=subnet_id,
            ) from e


def _later(error: DriverError, network: str) -> Exception:
    """After a reboot everything is made again at once, and a network may come after what is in it."""
    return Retry(0.1, str(error)) if f"network {network} is not there" in str(error) else error


def _right(resource: Resource, addresses: Mapping[str, str]) -> bool:
    frontends = items(resource, "frontendIPConfigurations")
    internal = {f["name"]: f["properties"] for f in frontends if f["properties"].get("subnet")}
    return addresses.keys() == internal.keys() and all(
        p.get("privateIPAddress") in (None, addresses[name]) for name, p in internal.items()
    )


# --- what is shown ---------------------------------------------------------------------------------------

_USED_BY = {
    "loadBalancingRules": (("frontendIPConfiguration", "frontendIPConfigurations", "loadBalancingRules"),
                           ("backendAddressPool", "backendAddressPools", "loadBalancingRules"),
                           ("probe", "probes", "loadBalancingRules")),
    "inboundNatRules": (("frontendIPConfiguration", "frontendIPConfigurations", "inboundNatRules"),
                        ("backendAddressPool", "backendAddressPools", "inboundNatRules")),
    "outboundRules": (("frontendIPConfigurations", "frontendIPConfigurations", "outboundRules"),
                      ("backendAddressPool", "backendAddressPools", "outboundRules")),
}  # fmt: skip
"""Part → (its reference, whose part that is, the read-only list there that leads back)."""


def _render(resource: Resource, document: Document) -> Document:
    properties = document["properties"]
    members: dict[str, list[str]] = properties.pop(SHOWN, {})
    addresses: dict[str, str] = resource.private.get("frontends", {})
    parts: dict[str, Document] = {}
    for part in PARTS:
        for item in properties.get(part, []):
            item["id"] = f"{resource.id}/{part}/{item['name']}"
            item["etag"] = document["etag"]
            item["properties"]["provisioningState"] = resource.provisioning_state
            parts[item["id"].lower()] = item["properties"]
    for part, references in _USED_BY.items():
        for item in properties.get(part, []):
            for key, _, back in references:
                value = item["properties"].get(key)
                for each in value if isinstance(value, list) else [value] if value else []:
                    if found := parts.get(str(each["id"]).lower()):
                        found.setdefault(back, []).append({"id": item["id"]})
    for frontend in properties.get("frontendIPConfigurations", []):
        if taken := addresses.get(frontend["name"]):
            frontend["properties"]["privateIPAddress"] = taken
    for pool in properties.get("backendAddressPools", []):
        if there := [each for each in members.get(pool["name"].lower(), []) if each]:
            pool["properties"]["backendIPConfigurations"] = [{"id": each} for each in there]
    return document


def load_balancer_types(reconciler: LoadBalancerReconciler) -> tuple[ResourceType[Actual] | ResourceType[None], ...]:
    balancers = ResourceType(
        LOAD_BALANCER,
        API_VERSIONS,
        reconciler=reconciler,
        admit=admit,
        render=_render,
        schema="loadBalancers",
        watches=dict.fromkeys(NIC_TYPES, named),
    )
    return (balancers, *(_part(part) for part in PARTS))


def _part(part: str) -> ResourceType[None]:
    """Pools and inbound NAT rules can be written by themselves; the others only be read."""
    written = part in ("backendAddressPools", "inboundNatRules")
    return ResourceType(
        f"{LOAD_BALANCER}/{part}",
        API_VERSIONS,
        inline=Inline(part),
        schema=part if written else None,
        writable=written,
        linked=f"{LOAD_BALANCER}/{part}/join/action" if part in ("backendAddressPools", "inboundNatRules") else "",
        located=False,
        tracked=False,
    )
