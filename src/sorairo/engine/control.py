"""What a client may ask, made durable: one transaction for document, generation, operation and activity.

Commit first, then acknowledge; only then is the reconcile loop woken. `arm` calls this and adds HTTP; the reconcile
loop calls it when one resource is composed of others.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sorairo.engine import conditions, documents
from sorairo.engine.admission import AsyncReader as AsyncReader
from sorairo.engine.admission import Write, admitted
from sorairo.engine.documents import find_inline, inline_items, inline_shown
from sorairo.engine.errors import ArmError, not_found, not_implemented
from sorairo.engine.ids import ResourceId, group_id, parse_id
from sorairo.engine.loop import Loop
from sorairo.engine.operations import log_activity, new_operation
from sorairo.engine.registry import Registry
from sorairo.engine.types import Admission, Call, Document, Guard, Operation, Resource, ResourceType, Schema
from sorairo.store import Store, Tx

T = TypeVar("T")


@dataclass(slots=True)
class Accepted:
    resource: Resource
    document: Document
    """As the id that was asked for shows it (an inline child's own document); empty for internal callers."""
    operation: Operation | None
    created: bool


@dataclass(slots=True)
class Acted:
    result: Any
    operation: Operation | None


class Control:
    def __init__(
        self,
        store: Store,
        registry: Registry,
        schema: Schema = lambda name, body: None,
        guard: Guard = lambda verb, id: None,
    ) -> None:
        self.store = store
        self.registry = registry
        self.loop = Loop(self)
        self._commits: set[asyncio.Task[Any]] = set()
        self.schema = schema
        self.guard = guard

    # --- reads ---------------------------------------------------------------------------------------

    def type_of(self, name: str) -> ResourceType[Any]:
        type = self.registry.type(name)
        if type is not None:
            return type
        namespace, _, kind = name.partition("/")
        if namespace.lower() not in self.registry.providers:
            raise ArmError("InvalidResourceNamespace", f"The resource namespace '{namespace}' is invalid.", status=404)
        raise ArmError(
            "InvalidResourceType",
            f"The resource type '{kind}' could not be found in the namespace '{namespace}'.",
            status=404,
        )

    def _get(self, id: str) -> Resource | None:
        return self.store.get(id)

    def show(self, id: ResourceId) -> Document:
        type = self.type_of(id.type)
        if type.inline:
            parent = parse_id(id.parent)
            found = inline_shown(self.show(parent), type, id)
            if found is None:
                raise not_found(id.text)
            return found
        resource = type.find(id) if type.find else self._get(id.text)
        if resource is None:
            self.check_group(id)
            raise not_found(id.text)
        return documents.shown(self.registry, type, resource)

    def list(self, type_name: str, under: str, filter: str = "") -> list[Document]:
        """`filter`: the request's `$filter`, for the types that read it themselves (`within`)."""
        type = self.type_of(type_name)
        if type.within:
            return [documents.shown(self.registry, type, r) for r in type.within(under, filter)]
        if type.inline:
            parent = self.show(parse_id(under))
            items = inline_items(parent, type.inline)
            return [
                shown
                for i in items
                if (shown := inline_shown(parent, type, parse_id(under).child(type.name.rsplit("/", 1)[1], i["name"])))
            ]
        return [documents.shown(self.registry, type, r) for r in self.store.list(type=type.name, under=under)]

    def check_group(self, id: ResourceId) -> None:
        """The resource group must exist and stay (for a write)."""
        if id.resource_group and id.type.lower() != "microsoft.resources/resourcegroups":
            group = f"/subscriptions/{id.subscription}/resourceGroups/{id.resource_group}"
            if self._get(group) is None:
                raise not_found(group)

    # --- writes --------------------------------------------------------------------------------------

    async def put(
        self,
        id: ResourceId,
        body: Document,
        *,
        principal: str,
        patch: bool = False,
        if_match: str | None = None,
        if_none_match: str | None = None,
        correlation_id: str = "",
        managed_by: str | None = None,
        private: Document | None = None,
    ) -> Accepted:
        """Create or replace (PATCH: merge). Internal callers pass `managed_by`, and `private`, which is never shown."""
        type = self.type_of(id.type)
        if not type.writable and managed_by is None:
            raise ArmError(
                "OperationNotAllowed", f"'{type.name}' is made by its parent and cannot be written.", status=405
            )
        write = Write(id, body, principal, patch, if_match, if_none_match, correlation_id, managed_by, private)
        for _ in range(8):
            try:
                return await self._put(type, write)
            except _Moved:
                continue
        raise ArmError("Conflict", f"'{id.text}' is being changed by others; try again.", status=409)

    async def predict(self, id: ResourceId, body: Document, *, principal: str) -> Document:
        """The document that a PUT would lead to, as far as can be said without making it. Raises what that would."""
        type = self.type_of(id.type)
        found = await admitted(self, Write(id, body, principal))
        resource = replace(found.existing) if found.existing else Resource(id=found.target.text, body={}, generation=0)
        resource.body = found.admission.body
        shown = documents.shown(self.registry, found.type, resource)
        return inline_shown(shown, type, id) or {} if type.inline else shown

    async def retag(self, id: ResourceId, tags: dict[str, str], *, principal: str, correlation_id: str = "") -> None:
        """Change the tags of what clients cannot PUT (a subscription), and nothing else: nothing is reconciled."""
        self.guard("write", id)

        def write(tx: Tx) -> None:
            resource = tx.get(id.text)
            if resource is None:
                raise not_found(id.text)
            resource.body["tags"] = tags
            resource.etag = str(uuid.uuid4())
            resource.changed_at = time.time()
            tx.put(resource)
            log_activity(tx, id, "Microsoft.Resources/tags/write", principal, correlation_id, "Succeeded")

        await self.store.transact(write)
        self.loop.changed(id.key)

    async def _put(self, type: ResourceType[Any], asked: Write) -> Accepted:
        if asked.managed_by is None:  # Before its type is asked anything, as on Azure.
            self.guard("write", asked.id)
        found = await admitted(self, asked)
        target, existing, admission = found.target, found.existing, found.admission
        if found.unchanged and existing:
            return Accepted(existing, {}, None, False)
        self.guard("write", asked.id)

        def write(tx: Tx) -> tuple[Resource, Operation | None]:
            now = tx.get(target.text)
            if (now.etag if now else None) != (existing.etag if existing else None):
                raise _Moved
            resource = now or Resource(id=target.text, body={}, generation=0)
            resource.body = admission.body
            resource.private = {**resource.private, **admission.private}
            resource.generation += 1
            resource.etag = str(uuid.uuid4())
            resource.changed_at = time.time()
            resource.created_by = resource.created_by or asked.principal
            # Who changes what is there already does not own it.
            resource.managed_by = resource.managed_by if now else asked.managed_by
            verb = "PATCH" if asked.patch else "PUT"
            operation = self._begin(tx, resource, found.type, verb, asked.principal, asked.correlation_id)
            resource.provisioning_state = "Updating" if now else "Creating"
            if operation is None:
                resource.provisioning_state = "Succeeded"
                resource.observed_generation = resource.generation
            resource.error = None
            tx.put(resource)
            status = "Accepted" if operation else "Succeeded"
            log_activity(tx, asked.id, f"{type.name}/write", asked.principal, asked.correlation_id, status)
            return resource, operation

        resource, operation = await self._commit(write, lambda done: self._woken(*done, existing))
        if asked.managed_by is not None:  # Nobody looks at it.
            return Accepted(resource, {}, operation, found.created)
        shown = documents.shown(self.registry, found.type, resource)
        if type.inline:
            shown = inline_shown(shown, type, asked.id) or {}
        return Accepted(resource, shown, operation, found.created)

    async def delete(
        self,
        id: ResourceId,
        *,
        principal: str,
        if_match: str | None = None,
        correlation_id: str = "",
        internal: bool = False,
    ) -> Operation | None:
        """Ask for a resource to go. None: it was not there."""
        type = self.type_of(id.type)
        if not internal:
            self.guard("delete", id)
        if type.inline:
            return await self._delete_inline(id, type, principal, if_match, correlation_id)
        existing = self._get(id.text)
        if existing is None:
            if id.type.lower() == "microsoft.resources/resourcegroups":
                raise not_found(id.text)
            return None
        conditions.check_etag(existing, if_match, None)
        if not internal:
            await type.admit_delete(
                Admission(id, existing.body, existing, principal, AsyncReader(self.store), managed_by=None)
            )

        def write(tx: Tx) -> tuple[Resource | None, Operation | None]:
            resource = tx.get(id.text)
            if resource is None:
                return None, None
            if resource.deleting and resource.operation:
                return resource, tx.operation(resource.operation)
            resource.deleting = True
            resource.generation += 1
            resource.etag = str(uuid.uuid4())
            resource.provisioning_state = "Deleting"
            operation = self._begin(tx, resource, type, "DELETE", principal, correlation_id)
            log_activity(
                tx, id, f"{type.name}/delete", principal, correlation_id, "Accepted" if operation else "Succeeded"
            )
            if operation is None:
                tx.delete(id.text)
            else:
                tx.put(resource)
            return resource, operation

        gone, operation = await self._commit(write, lambda done: self._woken(*done, existing))
        if gone is None:
            return None
        # A type without a reconciler is gone at once: an ended operation tells that it was there.
        return operation or Operation("", id.text, "DELETE", "Succeeded")

    async def _delete_inline(
        self, id: ResourceId, type: ResourceType[Any], principal: str, if_match: str | None, correlation_id: str
    ) -> Operation | None:
        assert type.inline
        parent = self._get(id.parent)
        if parent is None or find_inline(inline_items(parent.body, type.inline), id.name) is None:
            return None
        await type.admit_delete(Admission(id, parent.body, parent, principal, AsyncReader(self.store)))
        body = documents.copied(parent.body)
        body["properties"][type.inline.path] = [
            i for i in inline_items(body, type.inline) if str(i.get("name", "")).lower() != id.name.lower()
        ]
        accepted = await self.put(
            parent.rid, body, principal=principal, if_match=if_match, correlation_id=correlation_id
        )
        return accepted.operation or Operation("", id.text, "DELETE", "Succeeded")

    async def act(
        self,
        id: ResourceId,
        action: str,
        body: Document,
        query: Mapping[str, str],
        *,
        principal: str,
        correlation_id: str = "",
    ) -> Acted:
        """A POST action: answered at once, or by an operation."""
        type = self.type_of(id.type)
        declared = next((a for a in type.actions if a.name.lower() == action.lower()), None)
        if declared is None:
            raise not_implemented(f"POST {type.name}/{action}")
        stored_at = id.parent if type.inline else id.text
        resource = self._get(stored_at)
        if resource is None:
            self.check_group(id)
            if not declared.absent:
                raise not_found(id.text)
            resource = Resource(id=id.text, body={}, generation=0)
        if not declared.absent:
            self.guard("action", id)
        if declared.change is None and not declared.lro:
            assert declared.run
            call = Call(id, resource, body, query, principal, self.loop.context(resource, principal))
            return Acted(await declared.run(call), None)

        def note(tx: Tx) -> tuple[Resource, Operation]:
            now = tx.get(stored_at) or (resource if declared.absent else None)
            if now is None:
                raise not_found(id.text)
            if declared.change is None:
                operation = new_operation(id.text, declared.name, principal, correlation_id, now)
                operation.input = body
                tx.put_operation(operation)
            else:
                declared.change(now, body)
                now.generation += 1
                now.etag = str(uuid.uuid4())
                now.provisioning_state = "Updating"
                begun = self._begin(tx, now, type, declared.name, principal, correlation_id)
                assert begun is not None
                operation = begun
                tx.put(now)
            log_activity(tx, id, declared.permission, principal, correlation_id, "Accepted")
            return now, operation

        def begin(done: tuple[Resource, Operation]) -> None:
            if declared.change is None:
                self.loop.run_action(done[1])
            else:
                self._woken(*done)

        _, operation = await self._commit(note, begin)
        return Acted(None, operation)

    # --- pieces --------------------------------------------------------------------------------------

    async def _commit(self, write: Callable[[Tx], T], then: Callable[[T], None]) -> T:
        """One transaction, and what follows from it. A caller that is cancelled meanwhile (what it worked for has been
        superseded) does not take back what it wrote: without `then` nobody would work on it until the next start."""

        async def commit() -> T:
            done = await self.store.transact(write)
            then(done)
            return done

        task = asyncio.create_task(commit())
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)
        return await asyncio.shield(task)

    def _begin(
        self, tx: Tx, resource: Resource, type: ResourceType[Any], action: str, principal: str, correlation_id: str
    ) -> Operation | None:
        """Make the operation of a resource's new generation; the one before it, if still going, is superseded."""
        if type.reconciler is None or (type.synchronous and action in ("PUT", "PATCH")):
            return None
        if resource.operation and (before := tx.operation(resource.operation)) and before.status == "InProgress":
            before.status = "Canceled"
            before.ended_at = time.time()
            before.error = {"code": "Canceled", "message": f"Superseded by a later {action}.", "target": resource.id}
            tx.put_operation(before)
        operation = new_operation(resource.id, action, principal, correlation_id, resource)
        resource.operation = operation.id
        tx.put_operation(operation)
        return operation

    def _woken(self, resource: Resource | None, operation: Operation | None, before: Resource | None = None) -> None:
        if resource is None:
            return
        self.loop.written(before, resource)
        if operation is not None:
            self.loop.wake(resource.key)

    def check_place(self, id: ResourceId, type: ResourceType[Any]) -> None:
        if id.resource_group and type.name != "Microsoft.Resources/resourceGroups":
            group = self._get(group_id(id.subscription or "", id.resource_group))
            if group is None:
                raise not_found(group_id(id.subscription or "", id.resource_group))
            if group.deleting:
                raise ArmError(
                    "ResourceGroupBeingDeleted",
                    f"The resource group '{id.resource_group}' is in deprovisioning state and cannot perform "
                    "this operation.",
                    status=409,
                )
        parent = self.registry.parent(type)
        if parent and not parent.inline and not self.store.has(id.parent):
            raise conditions.parent_missing(id)


class _Moved(Exception):
    """The row changed between admission and commit: look again."""
