"""The policy agent of one cluster: watches its policies, pods and namespaces, and keeps its machines' screens in line.

Level-triggered, and nothing in it matters: what is wanted follows from what the API server holds, what stands is in the
kernel. While it is not there, the rules are; they are compared when it comes, and every now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import structlog

from sorairo.cluster.policy import objects
from sorairo.cluster.policy.compiled import screens
from sorairo.cluster.policy.objects import Labels, Pod, Policy
from sorairo.drivers.kubernetes import Access, KubernetesApi
from sorairo.drivers.mirror import Mirror
from sorairo.drivers.protocols import DriverError
from sorairo.drivers.screens import Screen, Screens

log = structlog.get_logger(__name__)

TOGETHER = 0.005
"""Seconds that a pass waits for more of what comes at once."""
AGAIN = 1.0
"""Seconds after which a machine whose screen could not be written is tried again."""
COMPARED = 20.0
"""Seconds after which all screens are compared with the kernel, though nothing has changed: a machine may have been
made anew."""

Machines = Callable[[], Mapping[str, Screen]]
"""The cluster's machines by node name, each with an empty screen of its own."""


class PolicyAgent:
    """`run` until cancelled."""

    def __init__(self, api: KubernetesApi, access: Access, driver: Screens, machines: Machines) -> None:
        self._driver = driver
        self._machines = machines
        self._policies: Mirror[Policy] = Mirror(
            api, access, "/apis/networking.k8s.io/v1/networkpolicies", self._changed, keep=objects.policy
        )
        self._namespaces: Mirror[Labels] = Mirror(
            api, access, "/api/v1/namespaces", self._changed, keep=objects.namespace, metadata_only=True
        )
        self._pods: Mirror[Pod] = Mirror(api, access, "/api/v1/pods", self._changed, keep=objects.pod)
        self._written: dict[str, Screen] = {}
        """By node name."""
        self._wake = asyncio.Event()

    async def run(self) -> None:
        mirrors = (self._policies, self._namespaces, self._pods)
        async with asyncio.TaskGroup() as tasks:
            for mirror in mirrors:
                tasks.create_task(mirror.run())
            for mirror in mirrors:  # Before it knows all of them, every pod would seem open.
                await mirror.synced.wait()
            await self._work()

    def _changed(self, key: str, now: object, before: object) -> None:
        self._wake.set()

    async def _work(self) -> None:
        clock = asyncio.get_running_loop()
        compare = clock.time()
        pause = 0.0
        while True:
            if clock.time() >= compare:
                self._written.clear()
                compare = clock.time() + COMPARED
            self._wake.clear()
            pause = AGAIN if not await self._pass() else compare - clock.time()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, pause)):
                    await self._wake.wait()
            await asyncio.sleep(TOGETHER)

    async def _pass(self) -> bool:
        """Whether all is in line."""
        machines = self._machines()
        wanted = screens(
            self._policies.objects.values(), self._namespaces.objects, self._pods.objects.values(), machines
        )
        due = {node: screen for node, screen in wanted.items() if self._written.get(node) != screen}
        for gone in self._written.keys() - wanted.keys():
            del self._written[gone]
        return all(await asyncio.gather(*(self._write(node, screen) for node, screen in due.items())))

    async def _write(self, node: str, screen: Screen) -> bool:
        try:
            await self._driver.ensure_screen(screen)
        except DriverError as e:
            self._written.pop(node, None)
            if screen != self._machines().get(node):  # An empty one is not missed on a machine that is coming or going.
                log.warning("a node's policies are not in force; tried again", node=node, cause=str(e))
                return False
            return True
        self._written[node] = screen
        return True
