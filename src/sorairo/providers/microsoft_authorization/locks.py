"""Microsoft.Authorization/locks: what may not be deleted, or not be changed at all, at a scope and everywhere below it.

https://learn.microsoft.com/azure/azure-resource-manager/management/lock-resources
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol

from sorairo.engine.errors import ArmError, not_found
from sorairo.engine.ids import ResourceId, parse_id
from sorairo.engine.types import Admission, Document, Resource, ResourceType

LOCKS = "Microsoft.Authorization/locks"
LEVELS = {"cannotdelete": "CanNotDelete", "readonly": "ReadOnly", "notspecified": "NotSpecified"}
LONGEST_NOTES = 512
_SEGMENT = "/providers/microsoft.authorization/locks/"
_GROUPS = "Microsoft.Resources/resourceGroups"


class Reads(Protocol):
    def get(self, id: str, /) -> Resource | None: ...
    def list(self, *, type: str | None = None, under: str | None = None) -> list[Resource]: ...


class Locks:
    """Decides from an index in memory, which `changed` keeps true: the store calls it with the keys each commit wrote,
    before the writers are answered, so that an acknowledged lock holds at once."""

    def __init__(self, store: Reads) -> None:
        self._store = store
        self._changed: deque[str] = deque()
        self._loaded = False
        self._levels: dict[str, dict[str, str]] = {}
        """Scope → key of the lock → level."""

    def changed(self, keys: Iterable[str]) -> None:
        """Some resources were written or deleted. Called from any thread."""
        self._changed.extend(k for k in keys if _SEGMENT in k)

    def check(self, verb: str, id: ResourceId) -> None:
        """Raises ArmError 409 `ScopeLocked` when a lock forbids to `write`, `delete` or `action` a resource.

        A lock forbids what happens at its scope and below. A deletion takes along what is below: so a lock there
        forbids it too, and nothing is deleted at all. Locks themselves can always be removed by who may."""
        self._refresh()
        if not self._levels or id.type.lower() == LOCKS.lower():
            return
        forbidding = ("CanNotDelete", "ReadOnly") if verb == "delete" else ("ReadOnly",)
        found = [s for s in _above(id.key) if self._locked(s, forbidding)]
        if verb == "delete":
            found += self._below(id.key, forbidding)
            if not found:
                found = [s for group in self._owned(id) for s in self._at_and_below(group, forbidding)]
        if not found:
            return
        scopes = ",".join(f"'{self._written(s)}'" for s in dict.fromkeys(found))
        raise ArmError(
            "ScopeLocked",
            f"The scope '{id.text}' cannot perform {'write' if verb == 'action' else verb} operation because following "
            f"scope(s) are locked: {scopes}. Please remove the lock and try again.",
            status=409,
        )

    def _locked(self, scope: str, levels: tuple[str, ...]) -> bool:
        return any(level in levels for level in self._levels.get(scope, {}).values())

    def _below(self, key: str, levels: tuple[str, ...]) -> list[str]:
        return [s for s in self._levels if s.startswith(key.rstrip("/") + "/") and self._locked(s, levels)]

    def _at_and_below(self, key: str, levels: tuple[str, ...]) -> list[str]:
        return [key] * self._locked(key, levels) + self._below(key, levels)

    def _owned(self, id: ResourceId) -> Iterator[str]:
        """Groups that go with a resource: a cluster's node resource group."""
        if id.resource_group is None or id.type == _GROUPS:
            return
        for group in self._store.list(type=_GROUPS, under=f"/subscriptions/{id.subscription}"):
            if group.managed_by and group.managed_by.lower() == id.key:
                yield group.key

    def _written(self, scope: str) -> str:
        """A scope as its owner wrote it."""
        lock = next((self._store.get(key) for key in self._levels.get(scope, {})), None)
        return lock.rid.parent if lock else scope

    def _refresh(self) -> None:
        if not self._loaded:
            self._loaded = True
            for lock in self._store.list(type=LOCKS):
                self._apply(lock.key, lock)
        while self._changed:
            key = self._changed.popleft()
            self._apply(key, self._store.get(key))

    def _apply(self, key: str, lock: Resource | None) -> None:
        scope = parse_id(key).parent.lower()
        at = self._levels.setdefault(scope, {})
        at.pop(key, None)
        if lock is not None:
            at[key] = lock.properties.get("level", "NotSpecified")
        if not at:
            del self._levels[scope]


def locks(store: Reads) -> ResourceType[None]:
    def within(scope: str, filter: str) -> list[Resource]:
        """Those of a scope and of everything below; with `atScope()` of the scope alone."""
        text = filter.strip().lower()
        if text not in ("", "atscope()"):
            raise ArmError(
                "InvalidFilterInQueryString",
                f"Invalid $filter '{filter[:80]}' specified in the query string: locks are filtered by atScope().",
            )
        found = store.list(type=LOCKS, under=scope or "/")
        low = scope.lower().rstrip("/")
        return [lock for lock in found if lock.rid.parent.lower().rstrip("/") == low] if text else found

    return ResourceType(
        LOCKS,
        ("2020-05-01", "2017-04-01", "2016-09-01", "2015-06-01", "2015-01-01"),
        admit=_admit,
        render=_render,
        located=False,
        tracked=False,
        within=within,
    )


async def _admit(admission: Admission) -> None:
    properties = admission.body["properties"]
    level = LEVELS.get(str(properties.get("level", "")).lower())
    if level is None:
        raise ArmError(
            "InvalidRequestContent",
            "The request content was invalid and could not be deserialized: 'the lock level must be CanNotDelete or "
            f"ReadOnly, not '{str(properties.get('level'))[:60]}''.",
            target="properties.level",
        )
    notes = properties.get("notes")
    if notes is not None and (not isinstance(notes, str) or len(notes) > LONGEST_NOTES):
        raise ArmError(
            "InvalidRequestContent",
            "The request content was invalid and could not be deserialized: 'notes must be a text of up to "
            f"{LONGEST_NOTES} characters'.",
            target="properties.notes",
        )
    if admission.id.parent == "/":
        raise ArmError("InvalidLockScope", "A lock belongs to a subscription, a resource group or a resource.")
    parent = parse_id(admission.id.parent)
    if await admission.reader.get(parent.text) is None and admission.existing is None:
        await _inside(admission, parent)
    admission.body.clear()
    kept = {"level": level, "notes": notes, "owners": properties.get("owners")}
    admission.body["properties"] = {k: v for k, v in kept.items() if v is not None}


async def _inside(admission: Admission, parent: ResourceId) -> None:
    """What is locked must be there: stored itself, or (a subnet) inside the document of a resource that is."""
    above = parse_id(parent.parent) if parent.parent not in ("", "/") else None
    outer = above is not None and not above.type.startswith("Microsoft.Resources/")
    if above is not None and outer and await admission.reader.get(above.text) is not None:
        return
    raise not_found(parent.text)


def _render(resource: Resource, document: Document) -> Document:
    document.pop("etag", None)
    document["properties"].pop("provisioningState", None)
    return document


def _above(key: str) -> Iterator[str]:
    """The scope itself and each prefix of it that ends before a slash: those that are no scopes have no lock."""
    while key:
        yield key
        key = key.rpartition("/")[0]
