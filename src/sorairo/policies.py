"""Which clusters have a policy agent: those that asked for network policy. On Azure it is a program on each node
(azure-npm); here it is a few tasks of the daemon for each cluster, since a process on each would cost 40 MB.

Clusters that did not ask, or no longer do, have no screens: theirs are taken away once, for one may have been left.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from sorairo.cluster.policy.agent import PolicyAgent
from sorairo.drivers.kubernetes import Access, KubernetesApi
from sorairo.drivers.protocols import DriverError
from sorairo.drivers.screens import Screen, Screens
from sorairo.engine.ids import host_name
from sorairo.engine.types import Resource
from sorairo.members import Members
from sorairo.providers.microsoft_containerservice.names import names
from sorairo.providers.microsoft_containerservice.observe import INSTANCE, running_access
from sorairo.store import Store

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Member:
    """`access` None: the cluster has no network policy."""

    group: str
    """Its node resource group's id."""
    access: Access | None


def member(cluster: Resource) -> Member | None:
    """None: it has no control plane, it is stopped, or it goes."""
    way = running_access(cluster)
    if cluster.deleting or way is None:
        return None
    enforced = cluster.properties["networkProfile"].get("networkPolicy") == "azure"
    return Member(names(cluster).group, way if enforced else None)


class Policies:
    def __init__(self, store: Store, api: KubernetesApi, driver: Screens) -> None:
        self._store = store
        self._api = api
        self._driver = driver

    async def run(self) -> None:
        """Until cancelled."""
        await Members(self._store, "policy agent", member, self._work).run()

    async def _work(self, key: str, it: Member) -> None:
        if it.access is not None:
            await PolicyAgent(self._api, it.access, self._driver, lambda: self._machines(it.group)).run()
            return
        for screen in self._machines(it.group).values():
            try:
                await self._driver.ensure_screen(screen)
            except DriverError as e:
                log.info("no screen to take away", machine=screen.owner, cause=str(e))
        await asyncio.Event().wait()

    def _machines(self, group: str) -> dict[str, Screen]:
        """By host name, each with an empty screen. From the store: a Node may say of itself what it likes."""
        return {
            instance.properties["osProfile"]["computerName"]: Screen(host_name(instance.id), instance.id)
            for instance in self._store.list(type=INSTANCE, under=group)
            if not instance.deleting
        }
