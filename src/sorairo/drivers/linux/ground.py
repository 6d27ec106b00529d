"""What links, firewalls, balancers and public addresses stand on together: namespaces, records, locks, rules."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sorairo.drivers.linux import fabric, loadbalancer, nft, rules, steering
from sorairo.drivers.linux.iproute import Route, batch, route, route_lines, routes
from sorairo.drivers.linux.netns import Namespaces
from sorairo.drivers.linux.records import Records
from sorairo.drivers.linux.world import (
    BalancerRecord,
    LegRecord,
    NicRecord,
    Peer,
    PrivateRecord,
    RouteRecord,
    ViewRecord,
    World,
)
from sorairo.drivers.naming import PublicName, PublicZone
from sorairo.drivers.protocols import DriverError, Network
from sorairo.drivers.routing import Peering
from sorairo.drivers.traffic import Firewall, Outbound, PublicAddress

P = ParamSpec("P")
T = TypeVar("T")


class Ground:
    """One installation on this host. Methods block; drivers call them from `thread`, holding a network's lock."""

    def __init__(self, run_dir: Path, public_range: str, published: Iterable[tuple[str, int]]) -> None:
        self.run_dir = run_dir
        self.public_range = ipaddress.IPv4Network(public_range)
        self.published = tuple(sorted(published))
        self.ns = Namespaces(run_dir / "netns")
        folder = run_dir / "links"
        self.networks = Records(folder / "networks", Network)
        self.nics = Records(folder / "nics", NicRecord)
        self.legs = Records(folder / "legs", LegRecord)
        self.firewalls = Records(folder / "firewalls", Firewall)
        self.balancers = Records(folder / "balancers", BalancerRecord)
        self.publics = Records(folder / "publics", PublicAddress)
        self.outbounds = Records(folder / "outbounds", Outbound)
        self.views = Records(folder / "views", ViewRecord)
        self.public_zones = Records(folder / "zones", PublicZone)
        self.public_names = Records(folder / "names", PublicName)
        self.peerings = Records(folder / "peerings", Peering)
        self.tables = Records(folder / "tables", RouteRecord)
        self.private_links = Records(folder / "private", PrivateRecord)
        self.locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        """By network. One network is worked on by one thread at a time."""
        self.leg_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        """By leg: its own namespace. Taken after a network's."""
        self.numbering = threading.Lock()
        """While a number is chosen that must be one table's alone."""
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="links")

    async def thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run in a worker thread, which may enter namespaces."""
        # A cancelled caller leaves the thread to finish; the lock it holds keeps the next caller behind it.
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))

    def world(self, network_id: str) -> World:
        """DriverError when the network is not there."""
        network = self.networks.get(network_id)
        if network is None or not self.ns.exists(network_id):
            raise DriverError(f"network {network_id} is not there")
        return World(
            network,
            self.public_range,
            self.published,
            {i: each for i, each in self.nics.all().items() if each.spec.network == network_id},
            {i: each for i, each in self.firewalls.all().items() if each.network == network_id},
            {i: each for i, each in self.balancers.all().items() if each.spec.network == network_id},
            {i: each for i, each in self.publics.all().items() if each.network == network_id},
            {i: each for i, each in self.outbounds.all().items() if each.network == network_id},
            {i: each for i, each in self.tables.all().items() if each.spec.network == network_id},
            tuple(self._peers(network_id)),
            tuple(
                each.spec
                for _, each in sorted(self.legs.all().items())
                if each.spec.network == network_id and each.spec.table
            ),
            view=self.views.get(network_id),
            private=self._private(network_id),
        )

    def pairs(self) -> list[tuple[Peering, Peering]]:
        """Halves that have found each other, each pair in both orders, if both networks are there."""
        halves = {(each.network, each.remote): each for each in self.peerings.all().values()}
        return [
            (half, halves[far, near])
            for (near, far), half in halves.items()
            if (far, near) in halves and self.ns.exists(near) and self.ns.exists(far)
        ]

    def _peers(self, network_id: str) -> Iterator[Peer]:
        pairs = self.pairs()
        prefixes = {i: each.prefixes for i, each in self.networks.all().items()} if pairs else {}
        tables = self.tables.all() if pairs else {}
        for half, other in pairs:
            if half.network == network_id:
                yield Peer(
                    half,
                    other,
                    prefixes.get(half.remote, ()),
                    {i: each for i, each in tables.items() if each.spec.network == half.remote},
                    tuple(p for near, _ in pairs if near.network == half.remote for p in prefixes.get(near.remote, ())),
                    self._private(half.remote),
                )

    def links_to(self, leg_id: str) -> list[PrivateRecord]:
        """Private links of a leg."""
        return [each for each in self.private_links.all().values() if each.spec.leg == leg_id]

    def leg_rules(self, record: LegRecord) -> list[nft.Piece]:
        """What a leg's namespace should hold."""
        return rules.leg(record.spec, linked=bool(self.links_to(record.spec.id)))

    def _private(self, network_id: str) -> tuple[str, ...]:
        links = self.private_links.all().values()
        return tuple(sorted(each.spec.address for each in links if each.spec.network == network_id))

    def machines_in(self, network_id: str) -> list[str]:
        """NICs and legs of a network, in words."""
        found = [f"nic {i}" for i, each in self.nics.all().items() if each.spec.network == network_id]
        return found + [f"leg {i}" for i, each in self.legs.all().items() if each.spec.network == network_id]

    def rules_in(self, network_id: str) -> dict[str, Callable[[], None]]:
        """Firewalls and the like of a network: in words, and how to forget each."""
        found: dict[str, Callable[[], None]] = {}
        kinds: dict[str, Records[Any]] = {
            "balancer": self.balancers,
            "firewall": self.firewalls,
            "public address": self.publics,
            "outbound": self.outbounds,
            "peering": self.peerings,
            "route table": self.tables,
            "private link": self.private_links,
        }
        for word, records in kinds.items():
            for i, each in records.all().items():
                if getattr(each, "spec", each).network == network_id:
                    found[f"{word} {i}"] = partial(records.drop, i)
        return found

    def apply_rules(self, world: World, now: Mapping[str, str] | None = None) -> None:
        """Bring a network's packet rules in line with its records. `now`: what is known to stand, if it is."""
        with self.ns.enter(world.network.id):
            nft.sync(rules.network(world), now)

    def apply_marks(self, world: World) -> None:
        """Bring a network's routing by mark in line with its records."""
        with self.ns.enter(world.network.id):
            lines = steering.lines(world)
            if not loadbalancer.routes_stand(world):
                lines += loadbalancer.route_lines(world)
            batch(lines)

    def route_public_addresses(self, world: World) -> None:
        """Bring the edge's routes to the network in line with its records."""
        with self.ns.enter(fabric.EDGE):
            batch(self.public_lines(world, routes()))

    def public_lines(self, world: World, now: set[Route]) -> list[str]:
        """`ip` lines, for a thread inside the edge. `now`: routes that are there."""
        link = fabric.network_link(world.network.id)
        hops: list[tuple[str, str | None]] = [(each, fabric.DOWNLINK) for each in world.public_addresses()]
        wanted = {route(to, link, via): (to, via) for to, via in hops}
        missing = wanted.keys() - now
        return stale(set(wanted), link, now) + route_lines([wanted[each] for each in missing], link)

    def clear(self) -> None:
        """Remove the folders, as far as nobody else has something in them."""
        for kind in (
            "networks",
            "nics",
            "legs",
            "firewalls",
            "balancers",
            "publics",
            "outbounds",
            "views",
            "zones",
            "names",
            "peerings",
            "tables",
            "private",
            "",
        ):
            with contextlib.suppress(OSError):
                (self.run_dir / "links" / kind).rmdir()
        for folder in (self.ns.folder, self.run_dir):
            with contextlib.suppress(OSError):
                folder.rmdir()


def stale(wanted: set[Route], link: str, now: set[Route] | None = None) -> list[str]:
    """`ip` lines that take away the link's other routes. `now`: those there are, if they are known."""
    return [
        f"route del {each.words()}"
        for each in (routes() if now is None else now)
        if each.link == link and each not in wanted
    ]
