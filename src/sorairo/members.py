"""Work done for each cluster, in tasks of the daemon: begun when there is a cluster to do it for, anew when what it is
made of changes, ended with the cluster."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

import structlog

from sorairo.engine.types import Resource
from sorairo.providers.microsoft_containerservice.admission import CLUSTER
from sorairo.store import Store

log = structlog.get_logger(__name__)

_CLUSTER = re.compile(r".*/providers/microsoft\.containerservice/managedclusters/[^/]+")
AGAIN = 1.0
"""Seconds after which work that ended by itself is begun again."""

M = TypeVar("M")


class Members(Generic[M]):
    """`member`: what a cluster's work is made of; None: there is none for it. `work`: does it until cancelled, given
    the cluster's key."""

    def __init__(
        self,
        store: Store,
        name: str,
        member: Callable[[Resource], M | None],
        work: Callable[[str, M], Awaitable[None]],
    ) -> None:
        self._store = store
        self._name = name
        self._member = member
        self._work = work
        self._running: dict[str, tuple[M, asyncio.Task[None]]] = {}
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        store.listen(self._changed)

    def _changed(self, keys: Iterable[str]) -> None:
        """Called from the store's thread."""
        if any(_CLUSTER.fullmatch(key) for key in keys):
            self._loop.call_soon_threadsafe(self._wake.set)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._wake.clear()
                await self._compare()
                await self._wake.wait()
        finally:
            await self._stop(list(self._running))

    async def _compare(self) -> None:
        wanted = {c.key: found for c in self._store.list(type=CLUSTER) if (found := self._member(c)) is not None}
        await self._stop([k for k, (there, _) in self._running.items() if wanted.get(k) != there])
        for key in wanted.keys() - self._running.keys():
            task = asyncio.create_task(self._keep_on(key, wanted[key]), name=f"{self._name} {key}")
            self._running[key] = (wanted[key], task)

    async def _stop(self, keys: list[str]) -> None:
        tasks = [self._running.pop(key)[1] for key in keys]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_on(self, key: str, it: M) -> None:
        while True:
            try:
                await self._work(key, it)
            except Exception:
                log.exception(f"a {self._name} ended; it is started again", cluster=key)
            await asyncio.sleep(AGAIN)
