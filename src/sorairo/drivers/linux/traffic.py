"""What passes through networks on Linux: records, and rules made from them in their network's table."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar

from sorairo.drivers.linux import checks, firewall, idle, loadbalancer, nft, outbound, rules
from sorairo.drivers.linux.fabric import DOWNLINK, EDGE, network_link
from sorairo.drivers.linux.ground import Ground
from sorairo.drivers.linux.iproute import Route, route, routes
from sorairo.drivers.linux.links import LinuxLinks
from sorairo.drivers.linux.private_links import LinuxPrivateLinks
from sorairo.drivers.linux.routing import LinuxPeerings, LinuxRouteTables
from sorairo.drivers.linux.world import BalancerRecord, World
from sorairo.drivers.probing import Prober
from sorairo.drivers.protocols import DriverError
from sorairo.drivers.traffic import Balancer, BalancerState, Firewall, Outbound, PublicAddress, Standing, Traffic

T = TypeVar("T")


class _Seen:
    """One network as it was found: rules, routing by mark, and the edge's routes to it."""

    def __init__(self, ground: Ground, world: World) -> None:
        self._link = network_link(world.network.id)
        with ground.ns.enter(world.network.id):
            standing = nft.standing()
            self.marked = loadbalancer.routes_stand(world)
        self._pieces = {piece.name for piece in rules.network(world) if standing.get(piece.name) == piece.digest}
        self._routes: set[Route] = set()
        if ground.ns.exists(EDGE):
            with ground.ns.enter(EDGE):
                self._routes = routes()

    def has(self, *pieces: str) -> bool:
        return self._pieces >= {"base", *pieces}

    def routed(self, addresses: set[str]) -> bool:
        return self._routes >= {route(each, self._link, DOWNLINK) for each in addresses}


Kind = Literal["firewalls", "balancers", "publics", "outbounds"]


def _observe(
    ground: Ground, kind: Kind, show: Callable[[Any], T], stands: Callable[[Any, World, _Seen], bool]
) -> Standing[T]:
    """`show`: what is shown of a record. Under each network's lock, or what is being changed would look damaged."""
    result: Standing[T] = Standing()
    for network in {_spec(each).network for each in getattr(ground, kind).all().values()}:
        with ground.locks[network]:
            there = ground.networks.get(network) is not None and ground.ns.exists(network)
            world = ground.world(network) if there else None
            seen = _Seen(ground, world) if world else None
            records = getattr(world, kind) if world else getattr(ground, kind).all()
            for each, record in records.items():
                if world and seen and stands(record, world, seen):
                    result.whole[each] = show(record)
                elif _spec(record).network == network:
                    result.partial[each] = _spec(record).owner
    return result


def _itself(record: T) -> T:
    return record


def _spec(record: Any) -> Firewall | Balancer | PublicAddress | Outbound:
    return record.spec if isinstance(record, BalancerRecord) else record


def _apply(ground: Ground, kind: Kind, world: World) -> None:
    if kind == "balancers":
        ground.apply_marks(world)
    ground.apply_rules(world)
    if kind != "firewalls" and ground.ns.exists(EDGE):
        ground.route_public_addresses(world)


def _put(
    ground: Ground,
    kind: Kind,
    record_id: str,
    network: str,
    record: Firewall | BalancerRecord | PublicAddress | Outbound,
) -> None:
    """Keep the record and make the network as it is with it. What the kernel refuses is not kept, for it would stand
    in the way of every later change to the network. Under the network's lock."""
    records = getattr(ground, kind)
    before = records.get(record_id)
    records.put(record_id, record)
    try:
        _apply(ground, kind, ground.world(network))
    except DriverError:
        if before is None:
            records.drop(record_id)
        else:
            records.put(record_id, before)
        with contextlib.suppress(DriverError):
            _apply(ground, kind, ground.world(network))
        raise


def _remove(ground: Ground, kind: Kind, record_id: str, network: str) -> None:
    """Make the network as it is without the record, then drop that."""
    with ground.locks[network]:
        if ground.networks.get(network) and ground.ns.exists(network):
            world = ground.world(network)
            left: dict[str, Any] = {kind: {i: each for i, each in getattr(world, kind).items() if i != record_id}}
            _apply(ground, kind, replace(world, **left))
        getattr(ground, kind).drop(record_id)


class LinuxFirewalls:
    """`Firewalls` for the networks of `links`."""

    def __init__(self, links: LinuxLinks) -> None:
        self._ground = links.ground

    async def ensure_firewall(self, spec: Firewall) -> None:
        await self._ground.thread(self._ensure, checks.firewall(spec))

    async def remove_firewall(self, firewall_id: str) -> None:
        await self._ground.thread(self._remove, firewall_id)

    async def observe_firewalls(self) -> Standing[Firewall]:
        return await self._ground.thread(self._observe)

    def _ensure(self, spec: Firewall) -> None:
        before = self._ground.firewalls.get(spec.id)
        if before and before.network != spec.network:
            self._remove(spec.id)
        with self._ground.locks[spec.network]:
            world = self._ground.world(spec.network)
            for other in world.firewalls.values():
                shared = {*other.nics, *other.subnets} & {*spec.nics, *spec.subnets}
                if other.id != spec.id and shared:
                    raise DriverError(f"{', '.join(sorted(shared))}: guarded by firewall {other.id} already")
            _put(self._ground, "firewalls", spec.id, spec.network, spec)

    def _remove(self, firewall_id: str) -> None:
        spec = self._ground.firewalls.get(firewall_id)
        if spec is not None:
            _remove(self._ground, "firewalls", firewall_id, spec.network)

    def _observe(self) -> Standing[Firewall]:
        def stands(each: Firewall, world: World, seen: _Seen) -> bool:
            return seen.has(*firewall.names(each), "bindings")

        return _observe(self._ground, "firewalls", _itself, stands)


class LinuxBalancers:
    """`Balancers` for the networks of `links`."""

    def __init__(self, links: LinuxLinks) -> None:
        self._ground = links.ground

    async def ensure_balancer(self, spec: Balancer) -> None:
        await self._ground.thread(self._ensure, checks.balancer(spec))

    async def set_down(self, balancer_id: str, down: Mapping[str, frozenset[str]]) -> None:
        await self._ground.thread(self._set_down, balancer_id, dict(down))

    async def remove_balancer(self, balancer_id: str) -> None:
        await self._ground.thread(self._remove, balancer_id)

    async def observe_balancers(self) -> Standing[BalancerState]:
        return await self._ground.thread(self._observe)

    def _ensure(self, spec: Balancer) -> None:
        before = self._ground.balancers.get(spec.id)
        if before and before.spec.network != spec.network:
            self._remove(spec.id)
            before = None
        with self._ground.locks[spec.network]:
            world = self._ground.world(spec.network)
            wanted = {(rule.frontend, rule.protocol, rule.port) for rule in spec.rules}
            if len(wanted) < len(spec.rules):
                raise DriverError(f"balancer {spec.id} has two rules for one port")
            for record in world.balancers.values():
                shared = wanted & {(rule.frontend, rule.protocol, rule.port) for rule in record.spec.rules}
                if record.spec.id != spec.id and shared:
                    raise DriverError(f"{min(shared)[0]}: balanced by {record.spec.id} already")
            known = {rule.name for rule in spec.rules}
            down = {rule: each for rule, each in before.down.items() if rule in known} if before else {}
            _put(self._ground, "balancers", spec.id, spec.network, BalancerRecord(spec, down))

    def _set_down(self, balancer_id: str, down: dict[str, frozenset[str]]) -> None:
        record = self._ground.balancers.get(balancer_id)
        if record is None:
            raise DriverError(f"balancer {balancer_id} is not there")
        with self._ground.locks[record.spec.network]:
            record = self._ground.balancers.get(balancer_id)
            if record is None:
                raise DriverError(f"balancer {balancer_id} is not there")
            self._ground.balancers.put(balancer_id, BalancerRecord(record.spec, down))
            self._ground.apply_rules(self._ground.world(record.spec.network))

    def _remove(self, balancer_id: str) -> None:
        record = self._ground.balancers.get(balancer_id)
        if record is not None:
            _remove(self._ground, "balancers", balancer_id, record.spec.network)

    def _observe(self) -> Standing[BalancerState]:
        def stands(each: BalancerRecord, world: World, seen: _Seen) -> bool:
            public = {rule.frontend for rule in each.spec.rules} & set(world.public_addresses())
            pieces = (*loadbalancer.names(each.spec).values(), "balancing", *idle.PIECES)
            return seen.has(*pieces) and seen.marked and seen.routed(public)

        return _observe(self._ground, "balancers", lambda each: BalancerState(each.spec, each.down), stands)


class LinuxPublicAddresses:
    """`PublicAddresses` for the networks of `links`."""

    def __init__(self, links: LinuxLinks) -> None:
        self._ground = links.ground

    async def ensure_public_address(self, spec: PublicAddress) -> None:
        await self._ground.thread(self._ensure, checks.public_address(spec))

    async def remove_public_address(self, public_address_id: str) -> None:
        await self._ground.thread(self._remove, public_address_id)

    async def observe_public_addresses(self) -> Standing[PublicAddress]:
        return await self._ground.thread(self._observe)

    def _ensure(self, spec: PublicAddress) -> None:
        before = self._ground.publics.get(spec.id)
        if before and before.network != spec.network:
            self._remove(spec.id)
        with self._ground.locks[spec.network]:
            for other in self._ground.world(spec.network).publics.values():
                shared = {other.public_address, other.address} & {spec.public_address, spec.address}
                if other.id != spec.id and shared:
                    raise DriverError(f"{', '.join(sorted(shared))}: public address {other.id} has it already")
            _put(self._ground, "publics", spec.id, spec.network, spec)

    def _remove(self, public_address_id: str) -> None:
        spec = self._ground.publics.get(public_address_id)
        if spec is not None:
            _remove(self._ground, "publics", public_address_id, spec.network)

    def _observe(self) -> Standing[PublicAddress]:
        def stands(each: PublicAddress, world: World, seen: _Seen) -> bool:
            return seen.has("publics") and seen.routed({each.public_address})

        return _observe(self._ground, "publics", _itself, stands)


class LinuxOutbounds:
    """`Outbounds` for the networks of `links`."""

    def __init__(self, links: LinuxLinks) -> None:
        self._ground = links.ground

    async def ensure_outbound(self, spec: Outbound) -> None:
        await self._ground.thread(self._ensure, checks.outbound(spec))

    async def remove_outbound(self, outbound_id: str) -> None:
        await self._ground.thread(self._remove, outbound_id)

    async def observe_outbounds(self) -> Standing[Outbound]:
        return await self._ground.thread(self._observe)

    def _ensure(self, spec: Outbound) -> None:
        before = self._ground.outbounds.get(spec.id)
        if before and before.network != spec.network:
            self._remove(spec.id)
        with self._ground.locks[spec.network]:
            named = {source for way in spec.ways for source in way.sources}
            for other in self._ground.world(spec.network).outbounds.values():
                shared = named & {source for way in other.ways for source in way.sources}
                if other.id != spec.id and other.precedence == spec.precedence and shared:
                    raise DriverError(f"{', '.join(sorted(shared))}: outbound {other.id} has it already")
            _put(self._ground, "outbounds", spec.id, spec.network, spec)

    def _remove(self, outbound_id: str) -> None:
        spec = self._ground.outbounds.get(outbound_id)
        if spec is not None:
            _remove(self._ground, "outbounds", outbound_id, spec.network)

    def _observe(self) -> Standing[Outbound]:
        def stands(each: Outbound, world: World, seen: _Seen) -> bool:
            public = {address for way in each.ways for address in way.addresses}
            return seen.has(*outbound.names(each), "outbound", *idle.PIECES) and seen.routed(public)

        return _observe(self._ground, "outbounds", _itself, stands)


def linux_traffic(links: LinuxLinks) -> Traffic:
    balancers = LinuxBalancers(links)
    return Traffic(
        LinuxFirewalls(links), balancers, LinuxPublicAddresses(links), LinuxOutbounds(links), LinuxPeerings(links),
        LinuxRouteTables(links), LinuxPrivateLinks(links), Prober(links, balancers),
    )  # fmt: skip
