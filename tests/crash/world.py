"""A host in memory, and sorairo on it, which can be killed between any two steps and started again.

The host (machines, links, what API servers have stored) outlives sorairo as a real one does; a life of sorairo is a
Control on the database file. Killing one freezes it: nothing it does afterwards reaches the file or the host.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.hollow.machines import HollowMachines
from sorairo.drivers.hollow.naming import HollowNames
from sorairo.drivers.hollow.traffic import hollow_traffic
from sorairo.drivers.traffic import Traffic
from sorairo.engine.control import Control
from sorairo.engine.ids import parse_id
from sorairo.engine.registry import Registry
from sorairo.engine.types import Document, Operation, Provider, Resource
from sorairo.identity.directory import MANAGED, TENANT, Directory
from sorairo.providers import (
    microsoft_authorization,
    microsoft_compute,
    microsoft_containerservice,
    microsoft_managedidentity,
    microsoft_network,
)
from sorairo.providers.capacity import Capacity
from sorairo.providers.microsoft_compute.sizes import SIZES
from sorairo.providers.microsoft_containerservice import pki, versions
from sorairo.providers.microsoft_containerservice.entra import Authority
from sorairo.providers.microsoft_containerservice.substrate import Substrate
from sorairo.providers.microsoft_resources.groups import RESOURCE_GROUPS
from sorairo.providers.microsoft_resources.subscriptions import SUBSCRIPTIONS
from sorairo.store import Store, Tx, store

from .kubernetes import NODES, Etcd, MemoryApi

Kind = Literal["hollow", "linux"]
SUBSCRIPTION = "/subscriptions/0b1f6471-1bf0-4dda-aec3-111111111111"
GROUP = f"{SUBSCRIPTION}/resourceGroups/g"
CLUSTER = f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/c"
NODE_GROUP = f"{SUBSCRIPTION}/resourceGroups/MC_g_c_westeurope"
AAD = {
    "managed": True,
    "enableAzureRBAC": True,
    "adminGroupObjectIDs": ["11111111-2222-4333-8444-555555555555"],
}
PUBLIC = tuple(f"198.18.0.{n}" for n in range(16, 71))


@dataclass
class Host:
    """`linux`: nodes and links stay when sorairo goes. `hollow`: they were never there but in sorairo's memory."""

    kind: Kind
    control_planes: HollowMachines = field(default_factory=HollowMachines)
    nodes: HollowMachines = field(default_factory=HollowMachines)
    links: HollowLinks = field(default_factory=HollowLinks)
    etcd: Etcd = field(default_factory=Etcd)

    def __post_init__(self) -> None:
        self.traffic = hollow_traffic(self.links)
        self.names = HollowNames(self.links) if self.kind == "linux" else None
        if self.kind == "linux":
            self.nodes = self.control_planes

    def sorairo_is_gone(self) -> None:
        if self.kind == "hollow":
            self.nodes, self.links = HollowMachines(), HollowLinks()
            self.traffic = hollow_traffic(self.links)

    @property
    def objects(self) -> dict[str, str]:
        """Everything there is on it: owner by id."""
        found = {id: state.owner for id, state in {**self.control_planes.states, **self.nodes.states}.items()}
        for kept in (self.links.networks, self.links.nics, self.links.legs):
            found |= {f"{type(o).__name__} {id}": o.owner for id, o in kept.items()}
        drivers = [getattr(self.traffic, each.name) for each in fields(self.traffic) if each.name != "probes"]
        for driver in drivers:
            for id, state in cast(Any, driver).whole.items():
                found[f"{type(driver).__name__} {id}"] = getattr(state, "spec", state).owner
        for id, spec in self.names.whole.items() if self.names else ():
            found[f"names {id}"] = spec.owner
        return found | {f"partial {id}": owner for id, owner in self.links.partial.items()}

    def nodes_of(self, url: str) -> set[str]:
        return {path.rsplit("/", 1)[1] for path in self.etcd.clusters.get(url, {}) if path.startswith(f"{NODES}/")}


class Life:
    """One process of sorairo. It dies at the crash point `at`; `points` are those it passed."""

    def __init__(self, host: Host, database: Path, at: Callable[[str], bool] = lambda point: False) -> None:
        self.host = host
        self.points: list[str] = []
        self.dead = asyncio.Event()
        self._at = at
        self.store = Store.open(f"sqlite:///{database}")
        directory = Directory(self.store)
        api = MemoryApi(host.etcd, host.control_planes, host.nodes)
        links = cast(Any, _Mortal(self, host.links))
        mortal = {f.name: cast(Any, _Mortal(self, getattr(host.traffic, f.name))) for f in fields(host.traffic)}
        traffic = Traffic(**mortal)
        names = cast(Any, _Mortal(self, host.names)) if host.names else None
        substrate = Substrate(
            host.kind,
            cast(Any, _Mortal(self, host.control_planes)),
            links,
            cast(Any, _Mortal(self, api)),
            PUBLIC,
            tuple(range(20000, 20100)),
            Authority("t", "https://127.0.0.1:8443", "CA"),
            cast(Any, _Mortal(self, _Doors(links))) if host.kind == "linux" else None,
            _seed_nothing,
            names,
        )
        sizes = {name: (size.cpus, size.memory_bytes) for name, size in SIZES.items()}
        providers = [
            Provider("Microsoft.Resources", (SUBSCRIPTIONS, RESOURCE_GROUPS)),
            microsoft_authorization.provider(self.store, directory),
            microsoft_managedidentity.provider(directory),
            microsoft_network.provider(links, traffic, PUBLIC, names, blocks=host.kind == "hollow"),
            microsoft_compute.provider(cast(Any, _Mortal(self, host.nodes)), directory, Capacity(None)),
            microsoft_containerservice.provider(substrate, directory, sizes, Capacity(None), lambda *_: True),
        ]
        self.control = Control(self.store, Registry(providers))
        self.control.loop._crash = self._crash

    def _crash(self, point: str) -> None:
        self.points.append(point)
        if self._at(point):
            self.kill()
            raise asyncio.CancelledError

    def kill(self) -> None:
        """From now on nothing it does counts. What is with the database may still be written, as in life."""
        self.dead.set()
        self.control.loop._stopping = True
        self.store._writer.submit = lambda run: asyncio.get_running_loop().create_future()  # type: ignore[method-assign]

    async def start(self) -> Life:
        if self.store.get(SUBSCRIPTION) is None:
            document = {"properties": {"tenantId": "t", "displayName": "one"}}
            row = Resource(SUBSCRIPTION, document, observed_generation=1, provisioning_state="Succeeded")

            def begin(tx: Tx) -> None:
                tx.put(row)
                tx.put_note(TENANT, "first", {"tenantId": "t"})

            await self.store.transact(begin)
            await self.control.put(parse_id(GROUP), {"location": "westeurope"}, principal="me")
        await self.control.loop.start()
        return self

    async def bury(self) -> None:
        await self.control.loop.stop()
        for task in self.control._commits if self.dead.is_set() else ():
            task.cancel()
        await self.store.close()
        self.host.sorairo_is_gone()

    # --- what a client does and sees -----------------------------------------------------------------------

    async def put(self, id: str, body: Document) -> Operation | None:
        return (await self.control.put(parse_id(id), body, principal="me")).operation

    async def delete(self, id: str) -> Operation | None:
        return await self.control.delete(parse_id(id), principal="me")

    async def act(self, id: str, action: str) -> Operation | None:
        return (await self.control.act(parse_id(id), action, {}, {}, principal="me")).operation

    async def ended(self, operation: Operation | None, seconds: float = 20) -> Operation:
        assert operation
        async with asyncio.timeout(seconds):
            while (now := self.store.operation(operation.id)) is None or now.status == "InProgress":
                await self.control.loop.wait_change(operation.resource_id.lower(), 0.05)
        return now

    async def quiet(self, seconds: float = 20) -> None:
        """Until nothing is pending and nobody works."""
        async with asyncio.timeout(seconds):
            loop = self.control.loop
            while work := [*loop._workers.values(), *loop._watching._tasks]:
                await asyncio.wait(work)

    def instances(self) -> list[Resource]:
        return self.store.list(type="Microsoft.Compute/virtualMachineScaleSets/virtualMachines")

    async def check(self, pools: dict[str, int] | None, *, stopped: bool = False) -> None:
        """As `check_all`; besides, there is one cluster with these pools, and nothing else (None: nothing at all)."""
        await self.check_all()
        objects = self.host.objects
        cluster = self.store.get(CLUSTER)
        if pools is None:
            assert cluster is None
            assert objects == {}
            assert {r.rid.type for r in self.store.list()} <= {
                "Microsoft.Resources/subscriptions",
                "Microsoft.Resources/resourceGroups",
            }
            assert [r.id for r in self.store.list(type="Microsoft.Resources/resourceGroups")] == [GROUP]
            assert self._claims() == []
            return
        assert cluster
        counted: dict[str, int] = dict.fromkeys(pools, 0)
        for instance in self.instances():
            counted[instance.body["tags"]["aks-managed-poolName"]] += 1
        assert counted == dict.fromkeys(pools, 0) if stopped else counted == pools
        names = {i.properties["osProfile"]["computerName"] for i in self.instances()}
        if not stopped:
            endpoint = cluster.private["endpoint"]
            port = f":{endpoint['port']}" if endpoint["port"] != 443 else ""
            assert self.host.nodes_of(f"https://{endpoint['address']}{port}") == names
        running = [s for s in self.host.control_planes.states.values() if s.owner == CLUSTER and s.running]
        assert len(running) == (0 if stopped else 1)

    async def check_all(self) -> None:
        """Nothing is pending, every wish is true, and what is on the host is somebody's."""
        assert self.store.pending() == []
        assert self.store.operations(status="InProgress") == []
        for resource in self.store.list():
            assert resource.provisioning_state == "Succeeded", (resource.id, resource.error)
            type = self.control.registry.type(resource.rid.type)
            if type and type.reconciler:
                actual = await type.reconciler.observe(self.control.loop.context(resource), resource)
                assert type.reconciler.plan(resource, actual) == [], resource.id
        orphans = {id: owner for id, owner in self.host.objects.items() if self.store.get(owner) is None}
        assert orphans == {}
        assert [key for key, _ in self.store.notes(MANAGED) if self.store.get(key) is None] == []

    def _claims(self) -> list[str]:
        pools = {"public addresses", "loopback ports"}
        pools |= {f"subnet {NODE_GROUP}/providers/microsoft.network/virtualnetworks/aks-vnet".lower()}
        return [str(note) for pool in pools for note in self.store.notes(f"claim {pool}")]


class World:
    """A host and a database file; `life()` is a sorairo on them."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.host = Host(kind)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @asynccontextmanager
    async def life(self, at: Callable[[str], bool] = lambda point: False) -> AsyncIterator[Life]:
        it = Life(self.host, self.folder / "state.db", at)
        try:
            yield await it.start()
        finally:
            await it.bury()

    def copy(self, folder: Path) -> World:
        """As it is now, while no sorairo lives: a world of its own."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder)
        twin = World(self.host.kind, folder)
        twin.host = copy.deepcopy(self.host)
        return twin


Death = Callable[["World", str], Awaitable[None]]


async def everywhere(start: World, points: list[str], folder: Path, die: Death) -> None:
    """`die` at each point, in a world of its own made from `start`. Some at a time: most of a life is waiting."""
    few = asyncio.Semaphore(6)

    async def one(number: int, point: str) -> None:
        async with few:
            try:
                await die(start.copy(folder / f"killed-{number}"), point)
            except Exception as error:
                error.add_note(f"killed at {point}")
                raise

    async with asyncio.TaskGroup() as deaths:
        for number, point in enumerate(points):
            deaths.create_task(one(number, point))


class _Mortal:
    """A driver that does nothing more for a sorairo that is dead."""

    def __init__(self, life: Life, driver: object) -> None:
        self._life = life
        self._driver = driver

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        if self._life.dead.is_set():
            return _never if inspect.iscoroutinefunction(found) else _answer
        return found


class _Doors:
    """They go with sorairo."""

    def __init__(self, links: HollowLinks) -> None:
        self._links = links
        self._open: dict[str, bool] = {}

    def is_open(self, namespace: str, whole: bool = False) -> bool:
        return self._open.get(namespace) == whole

    async def open(self, namespace: str, whole: bool = False) -> None:
        self._links.socket(namespace).close()
        self._open[namespace] = whole

    async def close(self, namespace: str) -> None:
        self._open.pop(namespace, None)


async def _never(*args: object, **kwargs: object) -> Any:
    await asyncio.Event().wait()


async def _seed_nothing(*args: object) -> None:
    return None


def _answer(*args: object) -> None:
    return None


@lru_cache
def _certificates() -> tuple[dict[str, str], pki.Pair]:
    files = pki.cluster_files(fqdn="c.hcp.example", addresses=("127.0.0.1", "10.0.0.1"))
    return files, pki.node(files, "node")


def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions without an engine that is built, one set of keys (making them takes longer than a cluster does), and a
    disk that is not waited for: these lives end without their process ending."""
    monkeypatch.setattr(store, "PRAGMAS", tuple(p.replace("FULL", "OFF") for p in store.PRAGMAS))
    monkeypatch.setattr(versions, "installed", lambda: {"1.37": "1.37.2", "1.36": "1.36.3"})
    files, pair = _certificates()
    monkeypatch.setattr(pki, "cluster_files", lambda **_: dict(files))
    monkeypatch.setattr(pki, "node", lambda ca, host: pair)


def cluster(
    *,
    entra: bool = False,
    outbound: str = "loadBalancer",
    overlay: bool = False,
    kubenet: bool = False,
    shut: bool = False,
    private: bool = False,
    **pools: int,
) -> Document:
    """The body of a cluster with these pools, the first of mode System; `entra`: its users are the directory's;
    `overlay`, `kubenet`: its pods have addresses of their own; `shut`: its API server takes no calls but its nodes';
    `private`: nor has it an address outside its network."""
    profiles = [
        {"name": name, "count": count, "vmSize": "Standard_D2s_v3", "mode": "User" if n else "System", "maxPods": 30}
        for n, (name, count) in enumerate(pools.items())
    ]
    return {
        "location": "westeurope",
        "identity": {"type": "SystemAssigned"},
        "properties": {
            "dnsPrefix": "c",
            "agentPoolProfiles": profiles,
            "nodeResourceGroupProfile": {"restrictionLevel": "ReadOnly"},
            **({"aadProfile": AAD} if entra else {}),
            "networkProfile": {
                "outboundType": outbound,
                **({"networkPluginMode": "overlay", "networkPolicy": "azure"} if overlay else {}),
                **({"networkPlugin": "kubenet"} if kubenet else {}),
            },
            **({"apiServerAccessProfile": {"authorizedIPRanges": ["0.0.0.0/32"]}} if shut else {}),
            **({"apiServerAccessProfile": {"enablePrivateCluster": True}} if private else {}),
        },
    }
