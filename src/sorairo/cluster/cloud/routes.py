"""Routes to pods: each node's block of the pod CIDR by the node's address, in the cluster's route table.

For network plugin kubenet, whose pods nobody else finds. Routes within the pod CIDR are ours; others of the table are
its owner's and stay. https://kubernetes.io/docs/concepts/architecture/cloud-controller/#route-controller
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from sorairo.cluster.azure_json import CloudConfig
from sorairo.cluster.cloud.arm import Arm, ArmFailure, Unreachable
from sorairo.cluster.cloud.kube import Events, Kube
from sorairo.cluster.cloud.signin import SignInFailed
from sorairo.drivers.kubernetes import NotReady
from sorairo.drivers.mirror import Mirror
from sorairo.drivers.protocols import DriverError
from sorairo.engine import trace

log = structlog.get_logger(__name__)

Object = dict[str, Any]
Document = dict[str, Any]

TABLES = "Microsoft.Network/routeTables"
PERIOD = 10.0
"""Seconds after which the table is looked at though no node has changed."""
TOGETHER = 0.005
"""Seconds that a pass waits for more nodes that come at once."""
ROUNDS = 8
"""How often the table is read again because somebody else wrote it meanwhile."""
CREATED = ("False", "RouteCreated", "RouteController created a route")
MISSING = ("True", "NoRouteCreated", "RouteController failed to create a route")
"""Status, reason and message of a node's condition NetworkUnavailable."""


@dataclass(frozen=True, slots=True)
class Node:
    """What a route to a node is made of; '' for what is not known yet."""

    name: str
    block: str
    address: str
    unavailable: str
    """Status of its condition NetworkUnavailable."""

    @property
    def route(self) -> Document | None:
        """As the table has it, named as cloud-provider-azure names it."""
        if not self.block or not self.address:
            return None
        name = f"{self.name}____{self.block.replace('.', '').replace(':', '').replace('/', '')}"
        to = {"nextHopType": "VirtualAppliance", "nextHopIpAddress": self.address}
        return {"name": name, "properties": {"addressPrefix": self.block, **to}}


def slim(obj: Object) -> Node:
    status = obj.get("status") or {}
    addresses = (a["address"] for a in status.get("addresses") or [] if a["type"] == "InternalIP")
    states = (c["status"] for c in status.get("conditions") or [] if c["type"] == "NetworkUnavailable")
    block = (obj.get("spec") or {}).get("podCIDR") or ""
    return Node(obj["metadata"]["name"], block, next(addresses, ""), next(states, ""))


def change(there: list[Document], nodes: Iterable[Node], cidr: str) -> list[Document]:
    """A table's routes as they should be; equal to `there` when they are. Pure."""
    wanted = {route["name"].lower(): route for node in nodes if (route := node.route)}
    kept = []
    for route in there:
        mine = wanted.get(str(route.get("name", "")).lower())
        if mine and _same(route, mine):
            kept.append(route)
            del wanted[mine["name"].lower()]
        elif not _within(route, cidr):
            kept.append(route)
    return [*kept, *(wanted[name] for name in sorted(wanted))]


def _same(route: Document, wanted: Document) -> bool:
    have = route.get("properties") or {}
    return all(str(have.get(k, "")).lower() == str(v).lower() for k, v in wanted["properties"].items())


def _within(route: Document, cidr: str) -> bool:
    try:
        prefix = ipaddress.ip_network((route.get("properties") or {}).get("addressPrefix") or "")
    except ValueError:  # A service's name.
        return False
    whole = ipaddress.ip_network(cidr)
    return prefix.version == whole.version and prefix.subnet_of(whole)  # type: ignore[arg-type]


class Routes:
    """`run` until cancelled. It remembers nothing that matters: nodes and the table say all."""

    def __init__(self, config: CloudConfig, arm: Arm, kube: Kube, events: Events, cidr: str) -> None:
        """`cidr`: the pods' of the whole cluster."""
        self._config = config
        self._arm = arm
        self._kube = kube
        self._events = events
        self._cidr = cidr
        self._id = config.id(TABLES, config.route_table, config.route_table_group)
        self._nodes = Mirror(kube.api, kube.access, "/api/v1/nodes", self._changed, keep=slim)
        self._wake = asyncio.Event()

    def _changed(self, key: str, now: Node | None, before: Node | None) -> None:
        if now is None or before is None or now.route != before.route:
            self._wake.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._nodes.run())
            tasks.create_task(self._work())

    async def _work(self) -> None:
        await self._nodes.synced.wait()
        while True:
            await asyncio.sleep(TOGETHER)
            self._wake.clear()
            await self._pass({n.name: n for n in self._nodes.objects.values() if n.route})
            try:
                async with asyncio.timeout(PERIOD):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _pass(self, nodes: Mapping[str, Node]) -> None:
        cause: Exception | None = None
        try:
            await self._write(nodes)
        except (ArmFailure, SignInFailed, Unreachable, TimeoutError) as e:
            cause = e
        except Exception as e:
            log.exception("a pass over routes failed")
            cause = e
        if cause is not None:
            log.info("routes to nodes are not in line", table=self._id, cause=str(cause)[:300])
        for node in nodes.values():
            # One that has its route keeps it, whatever became of this pass.
            if cause is None or node.unavailable != "False":
                await self._tell(node, cause)

    async def _write(self, nodes: Mapping[str, Node]) -> None:
        for left in range(ROUNDS - 1, -1, -1):
            table = await self._arm.get(self._id)
            there = (table or {}).get("properties", {}).get("routes") or []
            wanted = change(there, nodes.values(), self._cidr)
            if table is not None and wanted == there:
                return
            body = table or {"location": self._config.location, "tags": self._config.tags}
            body = {**body, "properties": {**(body.get("properties") or {}), "routes": wanted}}
            try:
                with trace.span(f"routes to {len(nodes)} nodes", "reconcile"):
                    await self._arm.put(self._id, body, read=False)
                return
            except ArmFailure as e:
                if not e.moved or not left:
                    raise

    async def _tell(self, node: Node, cause: Exception | None) -> None:
        status, reason, message = CREATED if cause is None else MISSING
        if cause is not None:
            about = {"kind": "Node", "metadata": {"name": node.name, "uid": node.name}}
            text = f"Could not create route {node.block} for node {node.name}: {cause or type(cause).__name__}"
            self._events.warning(about, "FailedToCreateRoute", text)
        if node.unavailable == status:
            return
        try:
            await self._kube.condition(node.name, "NetworkUnavailable", status, reason, message)
        except (DriverError, NotReady) as e:  # Looked at again in a while.
            log.info("a node's condition could not be written", node=node.name, cause=str(e)[:300])
