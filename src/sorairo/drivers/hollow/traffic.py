"""Firewalls, balancers, probes and public addresses in memory, for the networks of a `HollowLinks`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Generic, TypeVar

from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.private_links import PrivateLink
from sorairo.drivers.protocols import DriverError
from sorairo.drivers.routing import Peering, RouteTable
from sorairo.drivers.traffic import (
    Balancer,
    BalancerState,
    Firewall,
    Health,
    Outbound,
    PublicAddress,
    Standing,
    Traffic,
    Watched,
)

T = TypeVar("T")


class _Kept(Generic[T]):
    """`fail` and `half` work as in `HollowLinks`; the methods that fail are this class's own."""

    def __init__(self, links: HollowLinks) -> None:
        self._links = links
        self.whole: dict[str, T] = {}
        self.partial: dict[str, str] = {}
        self.fail: dict[tuple[str, str], Exception] = {}
        self.half = False
        self.calls: list[tuple[str, str]] = []
        links.forget[type(self).__name__] = self._forget

    def damage(self, object_id: str, owner: str) -> None:
        """The object stands only in part, until it is ensured again."""
        self.partial[object_id] = owner

    def _keep(self, method: str, object_id: str, owner: str, network: str, kept: T) -> None:
        if network not in self._links.networks:
            raise DriverError(f"network {network} is not there")
        self._call(method, object_id, owner)
        self.whole[object_id] = kept
        self.partial.pop(object_id, None)
        self._links.guests[type(self).__name__, object_id] = network

    def _drop(self, method: str, object_id: str) -> None:
        self._call(method, object_id, None)
        self._forget(object_id)

    def _forget(self, object_id: str) -> None:
        self.whole.pop(object_id, None)
        self.partial.pop(object_id, None)
        self._links.guests.pop((type(self).__name__, object_id), None)

    def _observe(self, method: str) -> Standing[T]:
        self._call(method, "*", None)
        return Standing({i: each for i, each in self.whole.items() if i not in self.partial}, dict(self.partial))

    def _call(self, method: str, object_id: str, owner: str | None) -> None:
        self.calls.append((method, object_id))
        for key in ((method, object_id), (method, "*")):
            if key in self.fail:
                if self.half and owner is not None:
                    self.partial[object_id] = owner
                raise self.fail[key]


class HollowFirewalls(_Kept[Firewall]):
    """`traffic.Firewalls` in memory."""

    async def ensure_firewall(self, spec: Firewall) -> None:
        for other in self.whole.values():
            shared = {*other.nics, *other.subnets} & {*spec.nics, *spec.subnets}
            if other.id != spec.id and other.network == spec.network and shared:
                raise DriverError(f"{', '.join(sorted(shared))}: guarded by firewall {other.id} already")
        self._keep("ensure_firewall", spec.id, spec.owner, spec.network, spec)

    async def remove_firewall(self, firewall_id: str) -> None:
        self._drop("remove_firewall", firewall_id)

    async def observe_firewalls(self) -> Standing[Firewall]:
        return self._observe("observe_firewalls")


class HollowBalancers(_Kept[BalancerState]):
    """`traffic.Balancers` in memory."""

    async def ensure_balancer(self, spec: Balancer) -> None:
        wanted = {(rule.frontend, rule.protocol, rule.port) for rule in spec.rules}
        if len(wanted) < len(spec.rules):
            raise DriverError(f"balancer {spec.id} has two rules for one port")
        for other in self.whole.values():
            shared = wanted & {(rule.frontend, rule.protocol, rule.port) for rule in other.spec.rules}
            if other.spec.id != spec.id and other.spec.network == spec.network and shared:
                raise DriverError(f"{min(shared)[0]}: balanced by {other.spec.id} already")
        before = self.whole.get(spec.id)
        known = {rule.name for rule in spec.rules}
        down = {rule: each for rule, each in before.down.items() if rule in known} if before else {}
        self._keep("ensure_balancer", spec.id, spec.owner, spec.network, BalancerState(spec, down))

    async def set_down(self, balancer_id: str, down: Mapping[str, frozenset[str]]) -> None:
        if balancer_id not in self.whole:
            raise DriverError(f"balancer {balancer_id} is not there")
        self._call("set_down", balancer_id, None)
        self.whole[balancer_id] = BalancerState(self.whole[balancer_id].spec, dict(down))

    async def remove_balancer(self, balancer_id: str) -> None:
        self._drop("remove_balancer", balancer_id)

    async def observe_balancers(self) -> Standing[BalancerState]:
        return self._observe("observe_balancers")


class HollowPublicAddresses(_Kept[PublicAddress]):
    """`traffic.PublicAddresses` in memory."""

    async def ensure_public_address(self, spec: PublicAddress) -> None:
        for other in self.whole.values():
            shared = {other.public_address, other.address} & {spec.public_address, spec.address}
            if other.id != spec.id and other.network == spec.network and shared:
                raise DriverError(f"{', '.join(sorted(shared))}: public address {other.id} has it already")
        self._keep("ensure_public_address", spec.id, spec.owner, spec.network, spec)

    async def remove_public_address(self, public_address_id: str) -> None:
        self._drop("remove_public_address", public_address_id)

    async def observe_public_addresses(self) -> Standing[PublicAddress]:
        return self._observe("observe_public_addresses")


class HollowOutbounds(_Kept[Outbound]):
    """`traffic.Outbounds` in memory."""

    async def ensure_outbound(self, spec: Outbound) -> None:
        named = {source for way in spec.ways for source in way.sources}
        for other in self.whole.values():
            shared = named & {source for way in other.ways for source in way.sources}
            same = (other.network, other.precedence) == (spec.network, spec.precedence)
            if other.id != spec.id and same and shared:
                raise DriverError(f"{', '.join(sorted(shared))}: outbound {other.id} has it already")
        self._keep("ensure_outbound", spec.id, spec.owner, spec.network, spec)

    async def remove_outbound(self, outbound_id: str) -> None:
        self._drop("remove_outbound", outbound_id)

    async def observe_outbounds(self) -> Standing[Outbound]:
        return self._observe("observe_outbounds")


class HollowPeerings(_Kept[Peering]):
    """`routing.Peerings` in memory."""

    async def ensure_peering(self, spec: Peering) -> None:
        for other in self.whole.values():
            if other.id != spec.id and (other.network, other.remote) == (spec.network, spec.remote):
                raise DriverError(f"network {spec.network} has a peering with {spec.remote} already: {other.id}")
        self._keep("ensure_peering", spec.id, spec.owner, spec.network, spec)

    async def remove_peering(self, peering_id: str) -> None:
        self._drop("remove_peering", peering_id)

    async def observe_peerings(self) -> Standing[Peering]:
        return self._observe("observe_peerings")


class HollowRouteTables(_Kept[RouteTable]):
    """`routing.RouteTables` in memory."""

    async def ensure_route_table(self, spec: RouteTable) -> None:
        for other in self.whole.values():
            shared = {*other.subnets} & {*spec.subnets}
            if other.id != spec.id and other.network == spec.network and shared:
                raise DriverError(f"{', '.join(sorted(shared))}: routed by table {other.id} already")
        self._keep("ensure_route_table", spec.id, spec.owner, spec.network, spec)

    async def remove_route_table(self, table_id: str) -> None:
        self._drop("remove_route_table", table_id)

    async def observe_route_tables(self) -> Standing[RouteTable]:
        return self._observe("observe_route_tables")


class HollowPrivateLinks(_Kept[PrivateLink]):
    """`private_links.PrivateLinks` in memory."""

    async def ensure_private_link(self, spec: PrivateLink) -> None:
        for other in self.whole.values():
            if other.id != spec.id and (other.network, other.address) == (spec.network, spec.address):
                raise DriverError(f"{spec.address}: private link {other.id} has it already")
        if spec.network in self._links.networks and spec.leg not in self._links.legs:
            raise DriverError(f"leg {spec.leg} is not there")
        self._keep("ensure_private_link", spec.id, spec.owner, spec.network, spec)

    async def remove_private_link(self, link_id: str) -> None:
        self._drop("remove_private_link", link_id)

    async def observe_private_links(self) -> Standing[PrivateLink]:
        lost = {i: each.owner for i, each in self.whole.items() if each.leg not in self._links.legs}
        found = self._observe("observe_private_links")
        whole = {i: each for i, each in found.whole.items() if i not in lost}
        return Standing(whole, {**lost, **found.partial})


class HollowProbes:
    """`traffic.Probes` that ask nobody: everyone is well but those a test puts into `ill` (addresses)."""

    def __init__(self) -> None:
        self.specs: dict[str, Watched] = {}
        self.ill: set[str] = set()

    async def run(self) -> None:
        await asyncio.Event().wait()

    def watch(self, spec: Watched, down: Mapping[str, frozenset[str]], known: frozenset[str]) -> None:
        self.specs[spec.id] = spec

    def unwatch(self, balancer_id: str) -> None:
        self.specs.pop(balancer_id, None)

    def watched(self, balancer_id: str) -> Watched | None:
        return self.specs.get(balancer_id)

    def unheard(self, balancer_id: str) -> bool:
        return False

    async def first_answers(self, balancer_id: str) -> None:
        return None

    def health(self, balancer_id: str) -> dict[str, dict[str, Health]]:
        spec = self.specs.get(balancer_id)
        if spec is None:
            return {}
        reason = "not asked: nodes are simulated"
        return {rule: {a: Health(a not in self.ill, reason) for a in spec.addresses[rule]} for rule in spec.checks}


def hollow_traffic(links: HollowLinks) -> Traffic:
    return Traffic(
        HollowFirewalls(links), HollowBalancers(links), HollowPublicAddresses(links), HollowOutbounds(links),
        HollowPeerings(links), HollowRouteTables(links), HollowPrivateLinks(links), HollowProbes(),
    )  # fmt: skip
