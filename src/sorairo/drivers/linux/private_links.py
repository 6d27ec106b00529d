"""Private links on Linux: a veth from a network to a leg each, and a route and two translations.

In the network the address is routed by the link, and what goes there comes from the network's end of it. In the leg all
that comes by such links is for its public address. So neither knows anything of the other's addresses.
"""

from __future__ import annotations

from sorairo.drivers.linux import checks, fabric, nft, rules
from sorairo.drivers.linux.ground import stale
from sorairo.drivers.linux.iproute import Route, batch, route, route_lines, routes
from sorairo.drivers.linux.links import LinuxLinks
from sorairo.drivers.linux.netns import address_of, link_up
from sorairo.drivers.linux.world import PRIVATE_SLOTS, PrivateRecord
from sorairo.drivers.private_links import PrivateLink
from sorairo.drivers.protocols import DriverError
from sorairo.drivers.traffic import Standing


class LinuxPrivateLinks:
    """`PrivateLinks` for the networks of `links`."""

    def __init__(self, links: LinuxLinks) -> None:
        self._links, self._ground = links, links.ground

    async def ensure_private_link(self, spec: PrivateLink) -> None:
        await self._ground.thread(self._ensure, checks.private_link(spec))

    async def remove_private_link(self, link_id: str) -> None:
        await self._ground.thread(self._remove, link_id)

    async def observe_private_links(self) -> Standing[PrivateLink]:
        return await self._ground.thread(self._observe)

    def _ensure(self, spec: PrivateLink) -> None:
        before = self._ground.private_links.get(spec.id)
        if before and (before.spec.network, before.spec.leg) != (spec.network, spec.leg):
            self._remove(spec.id)
            before = None
        with self._ground.locks[spec.network], self._ground.leg_locks[spec.leg]:
            world = self._ground.world(spec.network)  # It must be there.
            leg = self._ground.legs.get(spec.leg)
            if leg is None or not self._ground.ns.exists(leg.spec.namespace):
                raise DriverError(f"leg {spec.leg} is not there")
            for other in self._ground.private_links.all().values():
                same = (other.spec.network, other.spec.address) == (spec.network, spec.address)
                if other.spec.id != spec.id and same:
                    raise DriverError(f"{spec.address}: private link {other.spec.id} has it already")
            with self._ground.numbering:
                record = PrivateRecord(spec, before.slot if before else self._slot())
                self._ground.private_links.put(spec.id, record)
            self._ground.apply_rules(world)  # before the link: never open, not even for a moment
            link, namespace = fabric.private_link(spec.id), leg.spec.namespace
            with self._ground.ns.enter(namespace):
                nft.sync(self._ground.leg_rules(leg))
            made = self._links.join(spec.network, link, namespace, link)
            with self._ground.ns.enter(spec.network):
                made = made or stale(_routes_in(record), link)
                made += [f"link set {link} addrgenmode none up", f"addr replace {record.near}/32 dev {link}"]
                batch(made + route_lines(_hops(record), link))
            with self._ground.ns.enter(namespace):
                lines = [f"link set {link} addrgenmode none up", f"addr replace {record.far}/32 dev {link}"]
                batch(lines + route_lines([(record.near, None)], link))
            self._links.await_carrier(spec.network, link)
        self._tell(spec.network)

    def _tell(self, network: str) -> None:
        """Tables of routes, in the network and its peers, leave alone what has a private link."""
        for each in {network, *(half.remote for half, _ in self._ground.pairs() if half.network == network)}:
            with self._ground.locks[each]:
                if self._ground.networks.get(each) and self._ground.ns.exists(each):
                    world = self._ground.world(each)
                    if world.routed:
                        self._ground.apply_marks(world)

    def _slot(self) -> int:
        taken = {record.slot for record in self._ground.private_links.all().values()}
        free = next((slot for slot in PRIVATE_SLOTS if slot not in taken), None)
        if free is None:
            raise DriverError(f"there are {len(PRIVATE_SLOTS)} private links already")
        return free

    def _remove(self, link_id: str) -> None:
        record = self._ground.private_links.get(link_id)
        if record is None:
            return
        spec = record.spec
        with self._ground.locks[spec.network], self._ground.leg_locks[spec.leg]:
            self._links.unlink(spec.network, fabric.private_link(link_id))
            leg = self._ground.legs.get(spec.leg)
            if leg is not None and self._ground.ns.exists(leg.spec.namespace):
                # An end without the other: the network's namespace was replaced.
                self._links.unlink(leg.spec.namespace, fabric.private_link(link_id))
                others = [each for each in self._ground.links_to(spec.leg) if each.spec.id != link_id]
                with self._ground.ns.enter(leg.spec.namespace):
                    nft.sync(rules.leg(leg.spec, linked=bool(others)))
            self._ground.private_links.drop(link_id)
        self._tell(spec.network)
        with self._ground.numbering:
            if not self._ground.networks.all() and not self._ground.legs.all():
                self._ground.clear()

    def _observe(self) -> Standing[PrivateLink]:
        result: Standing[PrivateLink] = Standing()
        for i, record in self._ground.private_links.all().items():
            with self._ground.locks[record.spec.network], self._ground.leg_locks[record.spec.leg]:
                whole = self._stands(record)
            if whole:
                result.whole[i] = record.spec
            elif self._ground.private_links.get(i):
                result.partial[i] = record.spec.owner
        return result

    def _stands(self, record: PrivateRecord) -> bool:
        spec, link, ground = record.spec, fabric.private_link(record.spec.id), self._ground
        leg = ground.legs.get(spec.leg)
        if ground.networks.get(spec.network) is None or not ground.ns.exists(spec.network):
            return False
        if leg is None or not ground.ns.exists(leg.spec.namespace):
            return False
        base = rules.base(ground.world(spec.network))
        with ground.ns.enter(spec.network):
            near = address_of(link) == record.near and link_up(link) and routes() >= _routes_in(record)
            if not near or nft.standing().get(base.name) != base.digest:
                return False
        with ground.ns.enter(leg.spec.namespace):
            far = address_of(link) == record.far and link_up(link) and route(record.near, link) in routes()
            return far and nft.standing() == {piece.name: piece.digest for piece in ground.leg_rules(leg)}


def _hops(record: PrivateRecord) -> list[tuple[str, str | None]]:
    """(destination, via) in the network, by the link."""
    return [(record.far, None), (record.spec.address, record.far)]


def _routes_in(record: PrivateRecord) -> set[Route]:
    return {route(to, fabric.private_link(record.spec.id), via) for to, via in _hops(record)}
