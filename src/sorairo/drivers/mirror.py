"""What a list of an API server holds, kept up to date: a list, then a watch from there on, again when it breaks off.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import structlog

from sorairo.drivers.kubernetes import Access, KubernetesApi, Object, Refused
from sorairo.drivers.protocols import DriverError

log = structlog.get_logger(__name__)

T = TypeVar("T")

_METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
PAGE = 500
WATCH_SECONDS = 1800.0
"""After which a watch is begun anew; the API server ends it then."""
SILENCE = 150.0
"""Seconds without a word, not even the bookmark of each minute, after which the API server is taken for gone."""
PAUSES = (0.05, 2.0)
"""Seconds before it is tried again, doubled from the first to the last."""


class Mirror(Generic[T]):
    """`objects` by `namespace/name` (or `name`), as `keep` makes them of what the API server says.

    `changed(key, now, before)` is called after each change, None for what is not there; during the first list too,
    before `synced` is set. `metadata_only`: objects without spec and status."""

    def __init__(
        self,
        api: KubernetesApi,
        access: Access,
        path: str,
        changed: Callable[[str, T | None, T | None], None],
        *,
        keep: Callable[[Object], T],
        metadata_only: bool = False,
    ) -> None:
        self.objects: dict[str, T] = {}
        self.synced = asyncio.Event()
        self._api = api
        self._access = access
        self._path = path
        self._changed = changed
        self._keep = keep
        self._metadata_only = metadata_only
        self._since = ""
        """The version of the list that `objects` is at; '' for none."""

    async def run(self) -> None:
        """Until cancelled. An API server that does not answer is asked again."""
        pause = PAUSES[0]
        while True:
            try:
                if not self._since:
                    self._since = await self._list()
                    self.synced.set()
                pause = PAUSES[0]
                await self._watch()
            except Refused as e:
                # 410: what happened since then is no longer known.
                self._since = "" if e.status == 410 else self._since
                if e.status != 410:
                    log.warning("a watch was refused", path=self._path, cause=str(e))
                await asyncio.sleep(pause)
            except DriverError:
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(pause * 2, PAUSES[1])

    async def _list(self) -> str:
        """Read all of it; the version that the list is of."""
        found: dict[str, T] = {}
        params = {"limit": str(PAGE)}
        while True:
            page = await self._api.list(self._access, self._path, accept=self._accept("List"), **params)
            for obj in page["items"] or ():  # null when there are none, for objects without spec
                found[_key(obj)] = self._keep(obj)
            more = page["metadata"].get("continue")
            if not more:
                break
            params["continue"] = more
        for key in self.objects.keys() - found.keys():
            self._set(key, None)
        for key, value in found.items():
            self._set(key, value)
        return str(page["metadata"]["resourceVersion"])

    async def _watch(self) -> None:
        """Follow until the watch ends."""
        events = self._api.watch(
            self._access,
            self._path,
            seconds=WATCH_SECONDS,
            silence=SILENCE,
            accept=self._accept(""),
            resourceVersion=self._since,
            allowWatchBookmarks="true",
        )
        async with contextlib.aclosing(events):
            async for event in events:
                obj: Mapping[str, Any] = event["object"]
                if event["type"] == "ERROR":
                    raise Refused(str(obj.get("message")), int(obj.get("code") or 0))
                self._since = str(obj["metadata"]["resourceVersion"])
                if event["type"] == "DELETED":
                    self._set(_key(obj), None)
                elif event["type"] != "BOOKMARK":
                    self._set(_key(obj), self._keep(event["object"]))

    def _accept(self, kind: str) -> str:
        return _METADATA.format(kind) if self._metadata_only else "application/json"

    def _set(self, key: str, now: T | None) -> None:
        before = self.objects.get(key)
        if now is None:
            self.objects.pop(key, None)
        else:
            self.objects[key] = now
        if now != before:
            self._changed(key, now, before)


def _key(obj: Mapping[str, Any]) -> str:
    metadata = obj["metadata"]
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])
