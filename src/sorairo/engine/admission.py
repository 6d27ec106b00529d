"""What a write comes to, before anything of it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sorairo.engine import children, conditions, documents
from sorairo.engine.errors import ArmError, not_found
from sorairo.engine.ids import ResourceId, parse_id
from sorairo.engine.types import Admission, Document, Resource, ResourceType
from sorairo.store import Store

if TYPE_CHECKING:
    from sorairo.engine.control import Control


@dataclass(frozen=True, slots=True)
class Write:
    """A PUT or PATCH as it was asked for."""

    id: ResourceId
    body: Document
    principal: str
    patch: bool = False
    if_match: str | None = None
    if_none_match: str | None = None
    correlation_id: str = ""
    managed_by: str | None = None
    """The resource on whose behalf, when it is no client's."""
    private: Document | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    target: ResourceId
    """The row it is a write of: the parent's, for a child inside its document."""
    type: ResourceType[Any]
    existing: Resource | None
    admission: Admission
    """Completed by the type: what the row would hold."""
    created: bool
    """Whether what was asked for is new."""

    @property
    def unchanged(self) -> bool:
        """What one resource makes of another, again: nothing to store, and nothing to do unless it failed."""
        admission, existing = self.admission, self.existing
        return (
            admission.managed_by is not None
            and existing is not None
            and existing.body == admission.body
            and existing.private | admission.private == existing.private
            and existing.provisioning_state != "Failed"
        )


async def admitted(control: Control, write: Write) -> Admitted:
    """Raises ArmError for what is refused."""
    id = write.id
    type = control.type_of(id.type)
    target, target_type, body = id, type, write.body
    inside: bool | None = None
    if type.inline:
        target = parse_id(id.parent)
        target_type = control.type_of(target.type)
        parent = control.store.get(target.text)
        if parent is None:
            control.check_group(id)
            raise conditions.parent_missing(id)
        body, inside = children.with_child(parent.body, id, type, body, control.schema, patch=write.patch)
    existing = control.store.get(target.text)
    if write.patch and existing is None:
        control.check_group(id)
        raise not_found(id.text)
    control.check_place(target, target_type)
    conditions.check_etag(existing, write.if_match, write.if_none_match if not type.inline else None)
    if existing and existing.deleting:
        raise ArmError("Conflict", f"'{target.text}' is being deleted; wait for that to end and try again.", status=409)
    body = documents.incoming(body, existing, patch=write.patch and not type.inline)
    # What one resource makes of others is held to their schemas by tests; a child has been, by its own.
    if target_type.schema and write.managed_by is None and not type.inline:
        control.schema(target_type.schema, body)
    if write.managed_by is None:
        children.check_names(control.registry.children(target_type), target, body)
    if target_type.located:
        conditions.place(body, existing)
    admission = Admission(
        target,
        body,
        existing,
        write.principal,
        AsyncReader(control.store),
        dict(write.private or {}),
        write.managed_by,
        write.correlation_id,
    )
    await target_type.admit(admission)
    return Admitted(target, target_type, existing, admission, existing is None if inside is None else inside)


class AsyncReader:
    """The store's reads, in the shape admissions and reconcilers expect."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, resource_id: str) -> Resource | None:
        return self._store.get(resource_id)

    async def naming(self, id: str, *, type: str | None = None) -> list[Resource]:
        return self._store.naming(id, type=type)

    async def list(self, *, type: str | None = None, under: str | None = None) -> list[Resource]:
        return self._store.list(type=type, under=under)
