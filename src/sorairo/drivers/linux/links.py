"""The routed fabric on Linux: one namespace a network, one edge, veths between, all of it in `fabric`'s shape."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from socket import AddressFamily, SocketKind
from socket import socket as Socket
from typing import Literal

from sorairo.drivers.linux import checks, fabric, nft, peering, rules, standing
from sorairo.drivers.linux.ground import Ground, stale
from sorairo.drivers.linux.iproute import batch, route, route_lines, routes
from sorairo.drivers.linux.loadbalancer import MARKS
from sorairo.drivers.linux.netns import address_of, await_carrier, has_link, write_sysctls
from sorairo.drivers.linux.world import LEG_SLOTS, LegRecord, NicRecord, World
from sorairo.drivers.protocols import DriverError, Leg, LinkState, Network, Nic


class LinuxLinks:
    """`Links` by network namespaces. Needs root, `ip` and `nft`.

    `run_dir`: where namespaces are mounted and owner records kept. `public_range`: public addresses, routed from this
    host to the edge. `tag`: 1 to 4 characters that tell this installation's one host link, `sorairo-<tag>`, from
    another's. Two installations need three different ones. `published`: ports of the host's own address in the public
    range that networks may reach; control planes may reach all. Nothing of the host is touched but that link, its
    address and its route: no sysctl, no packet filter.

    Work is done in worker threads, for it enters namespaces; one network is worked on by one thread at a time.
    """

    def __init__(
        self,
        run_dir: Path = Path("/run/sorairo"),
        public_range: str = "198.18.0.0/16",
        tag: str = "main",
        published: Sequence[tuple[Literal["tcp", "udp"], int]] = (),
    ) -> None:
        if not (1 <= len(tag) <= 4 and tag.isalnum()):
            raise ValueError(f"tag '{tag}' is not 1 to 4 letters or digits")
        self.ground = ground = Ground(run_dir, public_range, published)
        """What firewalls, balancers and public addresses of these networks stand on too."""
        self._ns, self._networks, self._nics, self._legs = ground.ns, ground.networks, ground.nics, ground.legs
        self._locks = ground.locks
        self._public_range = str(ground.public_range)
        self._host_address = str(ground.public_range[1])
        self._edge_address = str(ground.public_range[2])
        self._host_link = f"sorairo-{tag}"
        self._edge_lock = threading.Lock()  # taken last

    # --- the protocol -----------------------------------------------------------------------------------

    def namespace_path(self, namespace: str) -> Path:
        return self._ns.path(namespace)

    def socket(self, namespace: str, kind: SocketKind = SocketKind.SOCK_STREAM) -> Socket:
        with self._ns.enter(namespace):
            return Socket(AddressFamily.AF_INET, kind)

    async def ensure_network(self, spec: Network) -> None:
        await self.ground.thread(self._ensure_network, checks.network(spec))

    async def ensure_nic(self, spec: Nic) -> None:
        await self.ground.thread(self._ensure_nic, checks.nic(spec))

    async def ensure_leg(self, spec: Leg) -> None:
        await self.ground.thread(self._ensure_leg, checks.leg(spec))

    async def remove_network(self, network_id: str, *, with_rules: bool = False) -> None:
        await self.ground.thread(self._remove_network, network_id, with_rules)

    async def remove_nic(self, nic_id: str) -> None:
        await self.ground.thread(self._remove_nic, nic_id)

    async def remove_leg(self, leg_id: str) -> None:
        await self.ground.thread(self._remove_leg, leg_id)

    async def observe_links(self) -> LinkState:
        return await self.ground.thread(self._observe)

    # --- networks ---------------------------------------------------------------------------------------

    def _ensure_network(self, spec: Network) -> None:
        with self._locks[spec.id]:
            before = self._networks.get(spec.id)
            with self._edge_lock:
                self._networks.put(spec.id, spec)
                self._ensure_edge()
            made = self._create(spec.id, fabric.NETWORK_SYSCTLS)
            world = self.ground.world(spec.id)
            # Before the link: never open, not even for a moment.
            self.ground.apply_rules(world, {} if made else None)
            link = fabric.network_link(spec.id)
            joined = self.join(fabric.EDGE, link, spec.id, fabric.EDGE)
            with self._ns.enter(fabric.EDGE):
                lines = [f"link set {link} addrgenmode none up", f"addr replace {fabric.UPLINK}/32 dev {link}"]
                batch([*joined, *lines, *self.ground.public_lines(world, set() if joined else routes())])
            with self._ns.enter(spec.id):
                batch(
                    [
                        "link set lo up",
                        *(f"addr replace {each}/32 dev lo" for each in fabric.SERVICES),
                        f"link set {fabric.EDGE} addrgenmode none up",
                        f"addr replace {fabric.DOWNLINK}/32 dev {fabric.EDGE}",
                        *route_lines([(self._public_range, fabric.UPLINK)], fabric.EDGE),
                    ]
                )
            self.await_carrier(fabric.EDGE, link)
            if world.routed:
                self.ground.apply_marks(world)
            if before and before.prefixes != spec.prefixes:
                for record in self._legs.all().values():
                    if record.spec.network == spec.id:
                        self._join_leg_to_network(record, spec)
        if before and before.prefixes != spec.prefixes:
            self._tell(half.network for half in self.ground.peerings.all().values() if half.remote == spec.id)

    def _tell(self, networks: Iterable[str]) -> None:
        """A network they are joined to is another now, or gone."""
        for each in {*networks}:
            with self._locks[each]:
                if self._networks.get(each) and self._ns.exists(each):
                    world = self.ground.world(each)
                    self.ground.apply_rules(world)
                    with self._ns.enter(each):
                        now = routes()
                        batch([line for peer in world.peers for line in peering.lines(peer, now)])
                    self.ground.apply_marks(world)

    def _remove_network(self, network_id: str, with_rules: bool) -> None:
        peers = [half.remote for half in self.ground.peerings.all().values() if half.network == network_id]
        with self._locks[network_id]:
            if self._networks.get(network_id) is not None:
                rules = self.ground.rules_in(network_id)
                if inside := self.ground.machines_in(network_id) + ([] if with_rules else list(rules)):
                    raise DriverError(f"network {network_id} is in use by {', '.join(inside)}")
                self.unlink(fabric.EDGE, fabric.network_link(network_id))
                for half in self.ground.peerings.all().values():
                    if half.network == network_id:
                        self.unlink(network_id, fabric.peer_link(half.id))
                self._ns.delete(network_id)
                for drop in rules.values():
                    drop()
            with self._edge_lock:
                self._networks.drop(network_id)
                self._release_edge()
        self._tell(peers)

    # --- NICs -------------------------------------------------------------------------------------------

    def _ensure_nic(self, spec: Nic) -> None:
        before = self._nics.get(spec.id)
        if before and (before.spec.network, before.spec.namespace) != (spec.network, spec.namespace):
            self._remove_nic(spec.id)
            before = None
        with self._locks[spec.network]:
            slot = before.slot if before else self._nic_slot(self.ground.world(spec.network))
            self._nics.put(spec.id, NicRecord(spec, slot))
            world = self.ground.world(spec.network)
            if (
                world.firewalls or spec.guarded or spec.forwarding or (before and before.spec.forwarding)
            ):  # before the link: never open, not even for a moment
                self.ground.apply_rules(world)
            self._create(spec.namespace, fabric.MACHINE_SYSCTLS)
            with self._ns.enter(spec.namespace):
                nft.sync(rules.nic(spec))
            link = fabric.nic_link(spec.id)
            made = self.join(spec.network, link, spec.namespace, fabric.INSIDE)
            resized = before is not None and before.spec.prefix_length != spec.prefix_length
            with self._ns.enter(spec.network):
                lines = made or stale(fabric.nic_routes(spec), link) + _readdress(link, spec.gateway)
                lines += [f"link set {link} addrgenmode none up", f"addr replace {spec.gateway}/32 dev {link}"]
                batch(lines + route_lines(fabric.nic_hops(spec), link))
                # Else an ARP request answered for another machine waits for up to 0.8 s, to let that one be first.
                write_sysctls({f"ipv4/neigh/{link}/proxy_delay": "0"})
            if world.routed:  # after it: routes by mark lead to the link
                self.ground.apply_marks(world)
                self.ground.apply_rules(world)
            with self._ns.enter(spec.namespace):
                lines = ["link set lo up", *_readdress(fabric.INSIDE, spec.address, always=resized)]
                lines += [f"link set {fabric.INSIDE} address {spec.mac}"] if spec.mac else []
                lines += [
                    f"link set {fabric.INSIDE} addrgenmode none up",
                    f"addr replace {spec.address}/{spec.prefix_length} dev {fabric.INSIDE} noprefixroute",
                    *route_lines([("default", spec.gateway)], fabric.INSIDE),
                ]
                batch(lines)
            self.await_carrier(spec.network, link)

    def _nic_slot(self, world: World) -> int:
        """A number that was not used lately, so that a dead NIC's connections do not come to another's."""
        taken = {record.slot for record in world.nics.values()}
        latest = max(taken, default=0) + 1
        return latest if latest in MARKS else next(slot for slot in MARKS if slot not in taken)

    def _remove_nic(self, nic_id: str) -> None:
        record = self._nics.get(nic_id)
        if record is None:
            return
        with self._locks[record.spec.network]:
            self.unlink(record.spec.network, fabric.nic_link(nic_id))
            self._ns.delete(record.spec.namespace)
            if self._networks.get(record.spec.network) and self._ns.exists(record.spec.network):
                world = self.ground.world(record.spec.network)
                if world.firewalls or world.routed or record.spec.guarded or record.spec.forwarding:
                    left = {i: each for i, each in world.nics.items() if i != nic_id}
                    self.ground.apply_rules(replace(world, nics=left))
                    self.ground.apply_marks(replace(world, nics=left))
            self._nics.drop(nic_id)

    # --- legs -------------------------------------------------------------------------------------------

    def _ensure_leg(self, spec: Leg) -> None:
        before = self._legs.get(spec.id)
        moved = before and (before.spec.namespace != spec.namespace or before.spec.network not in (None, spec.network))
        if moved:  # A way into a first network is added to what stands: programs already run there.
            self._remove_leg(spec.id)
            before = None
        same = before is not None and before.spec.network == spec.network
        with self._locks[spec.network] if spec.network else contextlib.nullcontext():
            network = self._networks.get(spec.network) if spec.network else None
            if spec.network and (network is None or not self._ns.exists(spec.network)):
                raise DriverError(f"network {spec.network} is not there")
            record = LegRecord(spec, before.slot if before and same else self._leg_slot(spec.network))
            with self._edge_lock:
                self._legs.put(spec.id, record)
                self._ensure_edge()
            self._create(spec.namespace, fabric.LEG_SYSCTLS)
            with self.ground.leg_locks[spec.id], self._ns.enter(spec.namespace):
                nft.sync(self.ground.leg_rules(record))  # before the link: never open, not even for a moment
            link = fabric.leg_link(spec.id)
            made = self.join(fabric.EDGE, link, spec.namespace, fabric.INSIDE)
            with self._ns.enter(fabric.EDGE):
                lines = made or stale({route(spec.public_address, link)}, link)
                lines += [f"link set {link} addrgenmode none up", f"addr replace {fabric.UPLINK}/32 dev {link}"]
                batch(lines + route_lines([(spec.public_address, None)], link))
            with self._ns.enter(spec.namespace):
                lines = [
                    "link set lo up",
                    f"addr replace {fabric.METADATA}/32 dev lo",
                    *_readdress(fabric.INSIDE, spec.public_address),
                    f"link set {fabric.INSIDE} addrgenmode none up",
                    f"addr replace {spec.public_address}/32 dev {fabric.INSIDE}",
                    *route_lines([("default", fabric.UPLINK)], fabric.INSIDE),
                ]
            self._join_leg_to_network(record, network, lines)

    def _join_leg_to_network(self, record: LegRecord, network: Network | None, first: Sequence[str] = ()) -> None:
        """`first`: what to do inside the leg before its link to the network."""
        link, namespace = fabric.leg_link(record.spec.id), record.spec.namespace
        lines = list(first)
        if network is not None:
            made = self.join(network.id, link, namespace, fabric.NETWORK)
            with self._ns.enter(network.id):
                made += [f"link set {link} addrgenmode none up", f"addr replace {record.near}/32 dev {link}"]
                batch(made + route_lines([(record.own, None)], link))
            hops = fabric.leg_hops(record, network)
            with self._ns.enter(namespace):
                lines += stale({route(to, fabric.NETWORK, via) for to, via in hops}, fabric.NETWORK)
            lines += [f"link set {fabric.NETWORK} addrgenmode none up"]
            lines += [f"addr replace {record.own}/32 dev {fabric.NETWORK}", *route_lines(hops, fabric.NETWORK)]
        with self._ns.enter(namespace):
            batch(lines)
        self.await_carrier(fabric.EDGE, link)
        if network is not None:
            self.await_carrier(network.id, link)
            if record.spec.table:
                self.ground.apply_rules(self.ground.world(network.id))

    def _leg_slot(self, network_id: str | None) -> int:
        if network_id is None:
            return -1
        taken = {record.slot for record in self._legs.all().values() if record.spec.network == network_id}
        return next(slot for slot in range(LEG_SLOTS) if slot not in taken)

    def _remove_leg(self, leg_id: str) -> None:
        record = self._legs.get(leg_id)
        if record is None:
            return
        link, network_id = fabric.leg_link(leg_id), record.spec.network
        with self._locks[network_id] if network_id else contextlib.nullcontext():
            if network_id:
                self.unlink(network_id, link)
            self.unlink(fabric.EDGE, link)
            with self.ground.leg_locks[leg_id]:
                for each in self.ground.links_to(leg_id):
                    self.unlink(each.spec.network, fabric.private_link(each.spec.id))
                self._ns.delete(record.spec.namespace)
            with self._edge_lock:
                self._legs.drop(leg_id)
                self._release_edge()
            if network_id and record.spec.table and self._ns.exists(network_id):
                self.ground.apply_rules(self.ground.world(network_id))

    # --- the edge; all under its lock -------------------------------------------------------------------

    def _ensure_edge(self) -> None:
        outside, way = self._host_link, f"{self._public_range} via {self._edge_address}"
        if not has_link(outside) and any(r.words().startswith(f"{self._public_range} ") for r in routes()):
            raise DriverError(f"{self._public_range} is already routed elsewhere on this host")
        self._create(fabric.EDGE, fabric.ROUTER_SYSCTLS)
        if self._edge_linked():
            return
        lines = self.join(None, outside, fabric.EDGE, fabric.HOST)
        # A MAC of our choosing is left alone by udev, which else changes it while neighbours are being learnt.
        lines += [f"link set {outside} address {fabric.mac(outside)}"]
        lines += [f"link set {outside} addrgenmode none up", f"addr replace {self._host_address}/32 dev {outside}"]
        batch([*lines, f"route replace {way} dev {outside} onlink src {self._host_address}"])
        with self._ns.enter(fabric.EDGE):
            batch(
                [
                    "link set lo up",
                    f"link set {fabric.HOST} addrgenmode none up",
                    f"addr replace {self._edge_address}/32 dev {fabric.HOST}",
                    *route_lines([(self._host_address, None)], fabric.HOST),
                ]
            )
        await_carrier(outside)

    def _edge_linked(self) -> bool:
        return standing.edge_linked(
            self._ns, self._host_link, self._host_address, self._edge_address, self._public_range
        )

    def _release_edge(self) -> None:
        if self._networks.all() or self._legs.all():
            return
        if has_link(self._host_link):
            batch([f"link del {self._host_link}"])
        self._ns.delete(fabric.EDGE)
        self.ground.clear()

    # --- veths ------------------------------------------------------------------------------------------

    def _create(self, namespace: str, sysctls: Mapping[str, str]) -> bool:
        """See to a namespace; True if it is new."""
        made = self._ns.create(namespace)
        with self._ns.enter(namespace):
            write_sysctls(sysctls)
        return made

    def join(self, near_ns: str | None, near: str, far_ns: str, far: str) -> list[str]:
        """`ip` lines, for `near_ns` (None: the host's), that make a veth to `far_ns`; none when it is there.

        Its ends are born where they belong, so no moment shows them anywhere else. An end without the other (its
        namespace was replaced) is taken away first.
        """
        with self._inside(near_ns):
            has_near = has_link(near)
        with self._inside(far_ns):
            has_far = has_link(far)
            if has_far and not has_near:
                _delete(far)
        if has_near and has_far:
            return []
        if has_near:
            with self._inside(near_ns):
                _delete(near)
        return [f"link add {near} type veth peer name {far} netns {self._ns.path(far_ns)}"]

    def unlink(self, namespace: str, link: str) -> None:
        """Remove a veth, both ends, before its namespaces go: the kernel takes its own time over those."""
        if self._ns.exists(namespace):
            with self._ns.enter(namespace):
                if has_link(link):
                    batch([f"link del {link}"])

    def await_carrier(self, namespace: str, link: str) -> None:
        """For the end that was up first; the other has its carrier when it is up."""
        with self._ns.enter(namespace):
            await_carrier(link)

    def _inside(self, namespace: str | None) -> contextlib.AbstractContextManager[None]:
        return self._ns.enter(namespace) if namespace else contextlib.nullcontext()

    # --- observation ------------------------------------------------------------------------------------

    def _observe(self) -> LinkState:
        return standing.observe(self.ground, edge=self._edge_linked())


def _delete(link: str) -> None:
    """Remove a link that the kernel may be removing at this moment, for the other end's namespace has gone."""
    try:
        batch([f"link del {link}"])
    except DriverError:
        if has_link(link):
            raise


def _readdress(link: str, address: str, *, always: bool = False) -> list[str]:
    """`ip` lines that take another address off the link."""
    now = address_of(link)
    return [f"addr flush dev {link}"] if now is not None and (always or now != address) else []
