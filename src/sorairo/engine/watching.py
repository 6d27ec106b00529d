"""A resource has changed: those whose types watch its own look at the host again, though nobody asked them to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from sorairo.engine.admission import AsyncReader
from sorairo.engine.ids import lineage, parse_id
from sorairo.engine.types import Resource, ResourceType, Watch

if TYPE_CHECKING:
    from sorairo.engine.control import Control

log = structlog.get_logger()


class Watching:
    def __init__(self, control: Control) -> None:
        self._control = control
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    def tell(self, *versions: Resource | None) -> None:
        """`versions`: the resource before and after its change, or one of the two. What is written while everything
        stops is told to nobody: the store is about to be closed, and all is looked at again at the next start."""
        there = [v for v in versions if v is not None]
        if not self._stopped and there and (watching := self._control.registry.watching(there[0].rid.type)):
            # The looks that follow are part of what is being done now: its span is theirs.
            task = asyncio.get_running_loop().create_task(self._tell(there, watching))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    async def stop(self) -> None:
        self._stopped = True
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell(self, versions: list[Resource], watching: list[tuple[ResourceType[Any], Watch]]) -> None:
        reader = AsyncReader(self._control.store)
        for type, watch in watching:
            keys = {key for version in versions for id in await watch(reader, version) for key in lineage(id)}
            for key in keys:
                if parse_id(key).type == type.name.lower() and self._control.store.has(key):
                    self._control.loop.wake(key, drift=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a change was not told", exc_info=error)
