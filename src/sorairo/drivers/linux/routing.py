"""Peerings and tables of routes on Linux: records, and links, routes and rules made from them in their networks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from sorairo.drivers.linux import checks, nft, peering, rules, steering
from sorairo.drivers.linux.fabric import peer_link
from sorairo.drivers.linux.ground import Ground
from sorairo.drivers.linux.iproute import batch, routes
from sorairo.drivers.linux.links import LinuxLinks
from sorairo.drivers.linux.netns import link_up
from sorairo.drivers.linux.world import RouteRecord, World
from sorairo.drivers.protocols import DriverError
from sorairo.drivers.routing import Peering, RouteTable
from sorairo.drivers.traffic import Standing


@contextlib.contextmanager
def _locked(ground: Ground, *networks: str) -> Iterator[None]:
    """In one order, so that nobody waits for somebody who waits."""
    with contextlib.ExitStack() as held:
        for each in sorted({*networks}):
            held.enter_context(ground.locks[each])
        yield


class LinuxPeerings:
    """`Peerings` for the networks of `links`."""

    def __init__(self, links: LinuxLinks) -> None:
        self._links, self._ground = links, links.ground

    async def ensure_peering(self, spec: Peering) -> None:
        await self._ground.thread(self._ensure, checks.peering(spec))

    async def remove_peering(self, peering_id: str) -> None:
        await self._ground.thread(self._remove, peering_id)

    async def observe_peerings(self) -> Standing[Peering]:
        return await self._ground.thread(self._observe)

    def _ensure(self, spec: Peering) -> None:
        before = self._ground.peerings.get(spec.id)
        if before and (before.network, before.remote) != (spec.network, spec.remote):
            self._remove(spec.id)
        with _locked(self._ground, spec.network, spec.remote):
            self._ground.world(spec.network)  # It must be there.
            for other in self._ground.peerings.all().values():
                if other.id != spec.id and (other.network, other.remote) == (spec.network, spec.remote):
                    raise DriverError(f"network {spec.network} has a peering with {spec.remote} already: {other.id}")
            self._ground.peerings.put(spec.id, spec)
            pair = next((p for p in self._ground.pairs() if p[0].id == spec.id), None)
            if pair:
                self._join(*pair)
        self._tell(spec)

    def _join(self, half: Peering, other: Peering) -> None:
        near, far = half.network, half.remote
        for each in (near, far):  # before the link: never open, not even for a moment
            self._ground.apply_rules(self._ground.world(each))
        made = self._links.join(near, peer_link(half.id), far, peer_link(other.id))
        with self._ground.ns.enter(near):
            batch(made)
        for own in (half, other):
            world = self._ground.world(own.network)
            peer = next(p for p in world.peers if p.half.id == own.id)
            with self._ground.ns.enter(own.network):
                batch(peering.lines(peer, routes()))
            self._ground.apply_marks(world)
        self._links.await_carrier(near, peer_link(half.id))

    def _remove(self, peering_id: str) -> None:
        spec = self._ground.peerings.get(peering_id)
        if spec is None:
            return
        with _locked(self._ground, spec.network, spec.remote):
            self._links.unlink(spec.network, peer_link(peering_id))
            for network in (spec.network, spec.remote):
                if self._ground.networks.get(network) and self._ground.ns.exists(network):
                    world = self._ground.world(network)
                    left = tuple(p for p in world.peers if peering_id not in (p.half.id, p.other.id))
                    self._ground.apply_rules(replace(world, peers=left))
                    self._ground.apply_marks(replace(world, peers=left))
            self._ground.peerings.drop(peering_id)
        self._tell(spec)

    def _tell(self, spec: Peering) -> None:
        """Networks joined to one of the two: their tables of routes know what is beyond."""
        beyond = {p[0].remote for p in self._ground.pairs() if p[0].network in (spec.network, spec.remote)}
        for network in beyond - {spec.network, spec.remote}:
            with self._ground.locks[network]:
                if self._ground.networks.get(network) and self._ground.ns.exists(network):
                    self._ground.apply_marks(self._ground.world(network))

    def _observe(self) -> Standing[Peering]:
        result: Standing[Peering] = Standing()
        for i, spec in self._ground.peerings.all().items():
            with _locked(self._ground, spec.network, spec.remote):
                whole = self._stands(spec)
            if whole:
                result.whole[i] = spec
            elif self._ground.peerings.get(i):
                result.partial[i] = spec.owner
        return result

    def _stands(self, spec: Peering) -> bool:
        if not self._ground.networks.get(spec.network) or not self._ground.ns.exists(spec.network):
            return False
        world = self._ground.world(spec.network)
        link = peer_link(spec.id)
        peer = next((p for p in world.peers if p.half.id == spec.id), None)
        with self._ground.ns.enter(spec.network):
            if peer is None:
                return not link_up(link)
            here = {each for each in routes() if each.link == link}
            return link_up(link) and here == peering.wanted(peer) and _has(world, peering.name(spec.id), "peering")


class LinuxRouteTables:
    """`RouteTables` for the networks of `links`."""

    def __init__(self, links: LinuxLinks) -> None:
        self._ground = links.ground

    async def ensure_route_table(self, spec: RouteTable) -> None:
        await self._ground.thread(self._ensure, checks.route_table(spec))

    async def remove_route_table(self, table_id: str) -> None:
        await self._ground.thread(self._remove, table_id)

    async def observe_route_tables(self) -> Standing[RouteTable]:
        return await self._ground.thread(self._observe)

    def _ensure(self, spec: RouteTable) -> None:
        before = self._ground.tables.get(spec.id)
        if before and before.spec.network != spec.network:
            self._remove(spec.id)
            before = None
        with self._ground.locks[spec.network]:
            for other in self._ground.world(spec.network).tables.values():
                shared = {*other.spec.subnets} & {*spec.subnets}
                if other.spec.id != spec.id and shared:
                    raise DriverError(f"{', '.join(sorted(shared))}: routed by table {other.spec.id} already")
            with self._ground.numbering:
                slot = before.slot if before else self._slot()
                self._ground.tables.put(spec.id, RouteRecord(spec, slot))
            self._apply(self._ground.world(spec.network))
        self._tell(spec.network)

    def _slot(self) -> int:
        taken = {record.slot for record in self._ground.tables.all().values()}
        free = next((slot for slot in steering.SLOTS if slot not in taken), None)
        if free is None:
            raise DriverError(f"there are {len(steering.SLOTS)} tables of routes already")
        return free

    def _apply(self, world: World) -> None:
        """Tables first: no mark leads nowhere."""
        self._ground.apply_marks(world)
        self._ground.apply_rules(world)

    def _tell(self, network: str) -> None:
        """A peer has the tables whose hops may be its machines."""
        for peer in {half.remote for half, _ in self._ground.pairs() if half.network == network}:
            with self._ground.locks[peer]:
                if self._ground.networks.get(peer) and self._ground.ns.exists(peer):
                    self._apply(self._ground.world(peer))

    def _remove(self, table_id: str) -> None:
        record = self._ground.tables.get(table_id)
        if record is None:
            return
        network = record.spec.network
        # Without hops it is nowhere; then the record goes.
        emptied = RouteRecord(replace(record.spec, hops=()), record.slot)
        with self._ground.locks[network]:
            self._ground.tables.put(table_id, emptied)
            if self._ground.networks.get(network) and self._ground.ns.exists(network):
                world = self._ground.world(network)
                self._ground.apply_rules(world)
                self._ground.apply_marks(world)
        self._tell(network)
        self._ground.tables.drop(table_id)

    def _observe(self) -> Standing[RouteTable]:
        result: Standing[RouteTable] = Standing()
        networks = {record.spec.network for record in self._ground.tables.all().values()}
        pairs = self._ground.pairs()
        around = {n: {n, *(half.remote for half, _ in pairs if half.network == n)} for n in networks}
        wrong = {n for n in set().union(*around.values()) if not self._stands(n)} if around else set()
        for i, record in self._ground.tables.all().items():
            if around.get(record.spec.network, {record.spec.network}) & wrong:
                result.partial[i] = record.spec.owner
            else:
                result.whole[i] = record.spec
        return result

    def _stands(self, network: str) -> bool:
        with self._ground.locks[network]:
            if not self._ground.networks.get(network) or not self._ground.ns.exists(network):
                return False
            world = self._ground.world(network)
            chains = [piece.name for piece in steering.pieces(world)]
            with self._ground.ns.enter(network):
                return steering.stand(world) and _has(world, *chains)


def _has(world: World, *names: str) -> bool:
    """Whether pieces of the rules stand, of the namespace the thread is in."""
    standing = nft.standing()
    return all(standing.get(p.name) == p.digest for p in rules.network(world) if p.name in ("base", *names))
