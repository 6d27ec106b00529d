"""What is stored, for tests of admissions and of what reconcilers look at: a few documents."""

from __future__ import annotations

from typing import Any

from sorairo.engine.types import Resource
from sorairo.store.references import named
from sorairo.store.rows import resource_row


class Documents:
    """A Reader, and as much of a Context as looks at others."""

    def __init__(self, *resources: Resource) -> None:
        self.all = {r.key: r for r in resources}

    async def get(self, resource_id: str) -> Resource | None:
        return self.all.get(resource_id.lower())

    async def naming(self, id: str, *, type: str | None = None) -> list[Resource]:
        found = [r for r in self.all.values() if id.lower() in named(r.key, resource_row(r)["doc"])]
        return [r for r in found if type is None or r.rid.type.lower() == type.lower()]

    async def list(self, *, type: str | None = None, under: str | None = None) -> list[Resource]:
        return [
            r
            for r in self.all.values()
            if (type is None or r.rid.type.lower() == type.lower())
            and (under is None or r.key.startswith(under.lower() + "/"))
        ]

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a look does not {name}")
