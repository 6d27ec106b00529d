"""Names on Linux: one CoreDNS for the installation, in a namespace of its own with a link to each network that asks.

    host, networks ---> 198.18.0.3:53   the public's zones; what is in none of them is refused
    a network's machines ---> 168.63.129.16:53 ---> its link, its address: its own zones, then the public's

A network is told from another by the address on its link, never by who asks: address spaces overlap. Zone files are
made from the records beside the others', and CoreDNS looks at them twice a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sorairo.drivers.linux import checks, fabric, nft, rules
from sorairo.drivers.linux.iproute import batch, route, route_lines, routes
from sorairo.drivers.linux.links import LinuxLinks
from sorairo.drivers.linux.netns import address_of, await_carrier, has_link, link_up
from sorairo.drivers.linux.world import VIEW_SLOTS, ViewRecord
from sorairo.drivers.naming import DOMAIN, SERVERS, NameSpec, PublicName, PublicZone, View
from sorairo.drivers.protocols import DriverError, File, Leg, Machine, Machines, Service, digest
from sorairo.drivers.traffic import Standing

NOBODY = "/"
"""Owner of what is the installation's own."""
_FILES = r"^(?:@|(.+))$ {1}."
"""A zone file is called as its zone is; the root's, which has no name, `@`."""
_SOA = "{name} {ttl} IN SOA {server}. azuredns-hostmaster.{domain}. {serial} 3600 300 2419200 {negative}\n"


class LinuxNames:
    """`naming.Names` for the networks of `links`. `machines` run the server."""

    def __init__(self, links: LinuxLinks, machines: Machines) -> None:
        self._links, self._machines = links, machines
        self._ground = links.ground
        self._folder = links.ground.run_dir / "names"
        self._one = asyncio.Lock()
        self.address = str(links.ground.public_range[3])

    # --- the protocol ----------------------------------------------------------------------------------

    async def ensure_names(self, spec: NameSpec) -> None:
        checks.names(spec)
        async with self._one:
            await self._ground.thread(self._record, spec)
            await self._links.ensure_leg(Leg(fabric.NAMES, NOBODY, fabric.NAMES, self.address))
            if isinstance(spec, View):
                await self._ground.thread(self._join, spec.id)
            await self._serve()

    async def remove_names(self, id: str) -> None:
        async with self._one:
            specs = await self._ground.thread(self._specs)
            if id not in specs:
                return
            if len(specs) == 1:  # the record goes when all that stood by it is gone
                await self._machines.remove_machine(fabric.NAMES)
                await self._ground.thread(shutil.rmtree, self._folder, True)
                await self._links.remove_leg(fabric.NAMES)
                await self._ground.thread(self._forget, id)
            else:
                await self._ground.thread(self._forget, id)
                await self._serve()

    async def observe_names(self) -> Standing[NameSpec]:
        if not await self._ground.thread(self._specs):
            return Standing()
        async with self._one:  # what is being changed would look damaged
            machine = await self._ground.thread(self._machine)
            found = (await self._machines.observe_machines()).get(machine.id)
            up = found is not None and found.digest == digest(machine) and any(p.pid for p in found.processes)
            return await self._ground.thread(self._observe, up)

    # --- records ---------------------------------------------------------------------------------------

    def _specs(self) -> dict[str, NameSpec]:
        ground = self._ground
        views = {i: each.spec for i, each in ground.views.all().items()}
        return {**views, **ground.public_zones.all(), **ground.public_names.all()}

    def _record(self, spec: NameSpec) -> None:
        ground = self._ground
        match spec:
            case View():
                ground.world(spec.id)  # it is there
                records = ground.views.all()
                taken = {each.slot for i, each in records.items() if i != spec.id}
                slot = records[spec.id].slot if spec.id in records else min({*range(VIEW_SLOTS)} - taken)
                ground.views.put(spec.id, ViewRecord(spec, slot))
            case PublicZone():
                for each in ground.public_zones.all().values():
                    if each.id != spec.id and each.zone.name == spec.zone.name:
                        raise DriverError(f"zone {spec.zone.name}: {each.owner} has it already")
                ground.public_zones.put(spec.id, spec)
            case PublicName():
                for other in ground.public_names.all().values():
                    if other.id != spec.id and other.name == spec.name:
                        raise DriverError(f"{spec.name}: {other.owner} has it already")
                ground.public_names.put(spec.id, spec)

    def _forget(self, id: str) -> None:
        ground = self._ground
        with ground.locks[id] if ground.views.get(id) else contextlib.nullcontext():
            if ground.views.get(id) and ground.networks.get(id) and ground.ns.exists(id):
                with ground.ns.enter(id):
                    self._unlink()
                ground.apply_rules(replace(ground.world(id), view=None))
            for records in (ground.views, ground.public_zones, ground.public_names):
                records.drop(id)
        if not (ground.networks.all() or ground.legs.all()):
            ground.clear()

    def _unlink(self) -> None:
        """Take the link to the server away. It may go at this very moment, with the server's namespace."""
        try:
            if has_link(fabric.DNS):
                batch([f"link del {fabric.DNS}"])
        except DriverError:
            if has_link(fabric.DNS):
                raise

    # --- links -----------------------------------------------------------------------------------------

    def _join(self, network_id: str) -> None:
        ground, link = self._ground, fabric.view_link(network_id)
        with ground.locks[network_id]:
            record = ground.views.get(network_id)
            assert record
            ground.apply_rules(ground.world(network_id))
            with ground.ns.enter(fabric.NAMES):
                there = has_link(link)
            with ground.ns.enter(network_id):
                lines = []
                if not there or not has_link(fabric.DNS):
                    lines += [f"link del {fabric.DNS}"] if has_link(fabric.DNS) else []
                    path = ground.ns.path(fabric.NAMES)
                    lines += [f"link add {fabric.DNS} type veth peer name {link} netns {path}"]
                lines += [
                    f"link set {fabric.DNS} addrgenmode none up",
                    f"addr replace {record.near}/32 dev {fabric.DNS}",
                ]
                batch([*lines, *route_lines([(record.server, None)], fabric.DNS)])
            with ground.ns.enter(fabric.NAMES):
                lines = [f"link set {link} addrgenmode none up", f"addr replace {record.server}/32 dev {link}"]
                batch([*lines, *route_lines([(record.near, None)], link)])
                await_carrier(link)

    def _joined(self, record: ViewRecord) -> bool:
        ground, link = self._ground, fabric.view_link(record.spec.id)
        if not (ground.ns.exists(record.spec.id) and ground.ns.exists(fabric.NAMES)):
            return False
        piece = rules.names(ground.world(record.spec.id))
        with ground.ns.enter(record.spec.id):
            near = address_of(fabric.DNS) == record.near and route(record.server, fabric.DNS) in routes()
            if not near or nft.standing().get(piece.name) != piece.digest:
                return False
        with ground.ns.enter(fabric.NAMES):
            return address_of(link) == record.server and link_up(link) and route(record.near, link) in routes()

    # --- the server ------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Bring it in line with the records."""
        await self._ground.thread(self._write)
        await self._machines.ensure_machine(await self._ground.thread(self._machine))

    def _machine(self) -> Machine:
        path = "/opt/sorairo/bin/coredns"
        # It listens on port 53 and reads files: nothing else that root may do is left to it.
        walls = ("setpriv", "--bounding-set=-all,+net_bind_service", "--no-new-privs", "--")
        return Machine(
            fabric.NAMES,
            NOBODY,
            (Service("coredns", (*walls, path, "-quiet", "-conf", "Corefile"), _THRIFTY),),
            {"Corefile": File(self._corefile().encode(), 0o600, restarts=())},
            namespace=fabric.NAMES,
        )

    def _corefile(self) -> str:
        blocks = [
            _block(self.address, self._folder / "zones/public", "reload 2s 0s"),
            _block("127.0.0.1", self._folder / "zones"),
        ]
        for record in self._ground.views.all().values():
            own = self._folder / "views" / record.spec.id
            blocks.append(_block(record.server, own, "forward . 127.0.0.1 {\n        max_fails 0\n    }"))
        return "".join(blocks)

    def _files(self) -> dict[Path, str]:
        """Every zone file there is to be."""
        folder, ground = self._folder, self._ground
        wanted = {folder / "zones/@": _zone(".", [])}  # so that what nobody knows is said not to exist, at once
        own = [f"{server}. 3600 IN A {self.address}\n" for server in SERVERS]
        own += [f"{each.name}. 10 IN A {each.address}\n" for each in ground.public_names.all().values()]
        wanted[folder / "zones/public" / DOMAIN] = _zone(f"{DOMAIN}.", own)
        for public in ground.public_zones.all().values():
            wanted[folder / "zones/public" / public.zone.name] = public.zone.text
        for record in ground.views.all().values():
            for zone in record.spec.zones:
                wanted[folder / "views" / record.spec.id / zone.name] = zone.text
        return wanted

    def _write(self) -> None:
        folder, wanted = self._folder, self._files()
        for view in self._ground.views.all():
            (folder / "views" / view).mkdir(parents=True, exist_ok=True)
        (folder / "zones/public").mkdir(parents=True, exist_ok=True)
        for path, text in wanted.items():
            if _read(path) != text:
                draft = folder / ".draft"
                draft.write_text(text)
                draft.rename(path)
        for path in self._there():
            if path not in wanted:
                path.unlink()
        views = self._ground.views.all()
        for left in (folder / "views").iterdir() if (folder / "views").exists() else ():
            if left.name not in views:
                shutil.rmtree(left)

    def _there(self) -> Iterator[Path]:
        yield from (path for path in self._folder.rglob("*") if path.is_file())

    def _observe(self, up: bool) -> Standing[NameSpec]:
        ground = self._ground
        state: Standing[NameSpec] = Standing()
        wanted = self._files()
        common = up and self._leg_stands() and _read(self._folder / "zones/@") == wanted[self._folder / "zones/@"]
        own = self._folder / "zones/public" / DOMAIN
        views = ground.views.all()
        for id, spec in self._specs().items():
            match spec:
                case View():
                    files = [self._folder / "views" / id / zone.name for zone in spec.zones]
                    stands = self._joined(views[id])
                case PublicZone():
                    files, stands = [self._folder / "zones/public" / spec.zone.name], True
                case PublicName():
                    files, stands = [own], True
            if common and stands and all(_read(path) == wanted[path] for path in files):
                state.whole[id] = spec
            else:
                state.partial[id] = spec.owner
        return state

    def _leg_stands(self) -> bool:
        ns = self._ground.ns
        if self._ground.legs.get(fabric.NAMES) is None or not (ns.exists(fabric.EDGE) and ns.exists(fabric.NAMES)):
            return False
        link = fabric.leg_link(fabric.NAMES)
        with ns.enter(fabric.EDGE):
            if not link_up(link) or route(self.address, link) not in routes():
                return False
        with ns.enter(fabric.NAMES):
            return address_of(fabric.INSIDE) == self.address and link_up(fabric.INSIDE)


_THRIFTY = {"GOMAXPROCS": "2", "SETTLE_AFTER": "4s", "SETTLE_GOGC": "20"}


def _block(address: str, folder: Path, *more: str) -> str:
    """A server of CoreDNS's on one address, with all zones of a folder."""
    lines = [f"bind {address}", f"auto {{\n        directory {folder} {_FILES}\n        reload 500ms\n    }}", "errors"]
    return ".:53 {\n" + "".join(f"    {line}\n" for line in [*lines, *more]) + "}\n"


def _zone(name: str, lines: list[str]) -> str:
    """A zone of the installation's own."""
    servers = [f"{name} 172800 IN NS {server}.\n" for server in SERVERS]
    rest = "".join([*servers, *lines])
    serial = zlib.crc32(rest.encode())
    return _SOA.format(name=name, ttl=10, server=SERVERS[0], domain=DOMAIN, serial=serial, negative=5) + rest


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
