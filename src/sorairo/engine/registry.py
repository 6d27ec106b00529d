"""Which types there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sorairo.engine.types import Provider, ResourceType, Watch


class Registry:
    """All providers' types, found without regard to case."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self.providers = {p.namespace.lower(): p for p in providers}
        self._types: dict[str, ResourceType[Any]] = {t.name.lower(): t for p in providers for t in p.types}
        self._watching: dict[str, list[tuple[ResourceType[Any], Watch]]] = {}
        for type in self._types.values():
            for name, watch in type.watches.items():
                self._watching.setdefault(name.lower(), []).append((type, watch))

    def type(self, name: str) -> ResourceType[Any] | None:
        return self._types.get(name.lower())

    def parent(self, type: ResourceType[Any]) -> ResourceType[Any] | None:
        return self.type(type.name.rsplit("/", 1)[0]) if type.name.count("/") > 1 else None

    def children(self, type: ResourceType[Any]) -> list[ResourceType[Any]]:
        prefix = type.name.lower() + "/"
        return [t for key, t in self._types.items() if key.startswith(prefix) and "/" not in key[len(prefix) :]]

    def watching(self, name: str) -> list[tuple[ResourceType[Any], Watch]]:
        """The types that want to know of changes to those of this one."""
        return self._watching.get(name.lower(), [])
