"""Who names whom: which documents have the id of a resource, or of a part of it, in them.

Azure's resources say what they belong to (a NIC its subnet, its security group, its backend pools) and are looked for
from the other end: what is in this subnet, who is in this pool, may this address go? Kept in memory beside the rows,
since it follows from them.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from sorairo.engine.ids import lineage

_ID = re.compile(rb'"(/subscriptions/[^"\\]+)"', re.IGNORECASE)


class _Wanted(msgspec.Struct):
    """Of a row's document, what its client wants: what sorairo found is no reference."""

    body: msgspec.Raw = msgspec.Raw(b"{}")


_decode = msgspec.json.Decoder(_Wanted).decode


class References:
    """By key of what is named, the keys of those that name it. Used by the writer's thread and by readers."""

    def __init__(self, rows: Iterable[tuple[str, str]] = ()) -> None:
        """`rows`: key and document of all there are."""
        self._named: dict[str, frozenset[str]] = {}
        self._by: dict[str, set[str]] = {}
        self._lock = threading.Lock()
        for key, doc in rows:
            self._keep(key, doc)

    def committed(self, rows: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Take over what a transaction wrote; None for what it deleted."""
        with self._lock:
            for key, row in rows.items():
                self._keep(key, None if row is None else row["doc"])

    def naming(self, id: str) -> list[str]:
        """Keys of the resources that name `id` or something below it, in order; never its own."""
        with self._lock:
            return sorted(self._by.get(id.lower().rstrip("/"), ()))

    def _keep(self, key: str, doc: str | None) -> None:
        before = self._named.pop(key, frozenset())
        now = named(key, doc) if doc is not None else frozenset()
        if now:
            self._named[key] = now
        for target in before - now:
            self._by[target].discard(key)
            if not self._by[target]:
                del self._by[target]
        for target in now - before:
            self._by.setdefault(target, set()).add(key)


def named(key: str, doc: str) -> frozenset[str]:
    """The resources that a row's document names, and what each is below, in lower case."""
    found: set[str] = set()
    for text in set(_ID.findall(bytes(_decode(doc).body))):
        found.update(lineage(text.decode()))
    return frozenset(each for each in found if each != key and not each.startswith(key + "/"))
