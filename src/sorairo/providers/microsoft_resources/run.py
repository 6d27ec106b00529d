"""Carrying out a deployment: each resource as soon as what it depends on stands, others side by side with it.

Each resource is put by a request of the caller's. What became of it is written down; after a crash what was written
down stands, and what was not is put again, which for a PUT is as good as once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TypeVar

from sorairo.engine.errors import ArmError, Canceled, Retry
from sorairo.engine.types import Context, Document, Operation, Resource, Step
from sorairo.providers.microsoft_resources.asking import Asks, Reply, answered
from sorairo.providers.microsoft_resources.leftovers import leftovers
from sorairo.providers.microsoft_resources.prepared import Prepared, restored
from sorairo.providers.microsoft_resources.records import FAILED, RUNNING, SUCCEEDED, Records
from sorairo.providers.microsoft_resources.summary import duration, label, resources, timestamp
from sorairo.store import Store
from sorairo.templates.content import content
from sorairo.templates.errors import Needed
from sorairo.templates.expand import Unit
from sorairo.templates.frame import Answers
from sorairo.templates.outputs import outputs

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds a step waits for a resource before it says that it is waiting."""
BUSY = 60.0
"""Seconds during which a resource that others are changing is asked for again."""


@dataclass(frozen=True, slots=True)
class Work:
    """A resource, and how far it is."""

    key: str
    name: str
    needs: tuple[str, ...] = ()
    state: str = ""
    """'' before it is asked for, then `Running`, `Succeeded` or `Failed`."""


@dataclass(frozen=True, slots=True)
class Progress:
    done: bool = False
    """The deployment has ended: what becomes of its resources after that is not its business."""
    records: bool = False
    canceled: bool = False
    work: tuple[Work, ...] = ()
    leftovers: tuple[tuple[str, str], ...] = ()
    """Of a complete deployment whose resources all stand: ids and names of what is to go from the group."""
    outputs: bool = False
    status: Document = field(default_factory=dict)


class DeploymentReconciler:
    def __init__(self, store: Store, asks: Asks) -> None:
        self._store = store
        self._asks = asks
        self.records = Records(store)
        self._prepared: dict[str, Prepared] = {}
        """By run: what is stored says it all, but not as fast."""

    async def observe(self, ctx: Context, resource: Resource) -> Progress:
        if resource.deleting:
            return Progress(records=self.records.any(resource))
        if resource.settled or "run" not in resource.private:
            return Progress(done=True, status=resource.status)
        if resource.private.get("canceled"):
            return Progress(canceled=True)
        prepared = self.prepared(resource)
        records = self.records.of(resource)
        work = tuple(
            Work(u.key, label(u.id, prepared.place.scope), u.needs, records.get(u.key, {}).get("state", ""))
            for u in prepared.plan.deployed
        )
        left: tuple[tuple[str, str], ...] = ()
        if prepared.mode == "Complete" and all(w.state == SUCCEEDED for w in work):
            found = await leftovers(ctx, self.records, resource, prepared)
            left = tuple((id, label(id, prepared.place.scope)) for id in found)
        return Progress(
            work=work, leftovers=left, outputs=bool(resource.private.get("outputsDone")), status=resource.status
        )

    def plan(self, resource: Resource, actual: Progress) -> list[Step]:
        if resource.deleting:
            return [Step("forget operations", self._forget)] if actual.records else []
        if actual.done:
            return []
        if actual.canceled:
            return [Step("cancel", self._cancel)]
        failed = {w.key for w in actual.work if w.state == FAILED}
        for w in _ordered(actual.work):  # what depends on what failed is not tried
            if failed.intersection(w.needs):
                failed.add(w.key)
        waiting = {w.key: w for w in actual.work if w.state in ("", RUNNING) and w.key not in failed}
        if waiting:
            return [
                Step(
                    f"put {w.name}",
                    self._put,
                    (w.key,),
                    tuple(f"put {waiting[k].name}" for k in w.needs if k in waiting),
                )
                for w in waiting.values()
            ]
        if failed:
            return [Step("fail", self._fail)]
        if actual.leftovers:
            return [Step(f"delete {name}", self._delete, (id,)) for id, name in actual.leftovers]
        return [] if actual.outputs else [Step("outputs", self._outputs)]

    def status(self, resource: Resource, actual: Progress) -> Document:
        return actual.status

    def prepared(self, resource: Resource) -> Prepared:
        run = resource.private["run"]
        if run not in self._prepared:
            if len(self._prepared) >= 64:
                self._prepared.pop(next(iter(self._prepared)))
            self._prepared[run] = restored(resource.rid, resource.body, resource.private)
        return self._prepared[run]

    # --- steps ---------------------------------------------------------------------------------------

    async def _put(self, ctx: Context, resource: Resource, key: str) -> None:
        """Ask for one resource, and wait until it stands or has failed. Raises Retry: look at the whole again."""
        prepared = self.prepared(resource)
        unit = next(u for u in prepared.plan.deployed if u.key == key)
        record = self.records.get(resource, key)
        if record is None:
            self._check_canceled(resource)
            try:
                reply = await self._ask_patiently(ctx, resource, unit)
            except ArmError as e:
                record = await self.records.begin(resource, unit.id, type=unit.type, name=unit.name)
                await self.records.end(resource, record, status=_status(e.status), error=e)
                raise Retry(0, f"'{unit.name}' was refused") from None
            record = await self.records.begin(
                resource, unit.id, type=unit.type, name=unit.name, operation=reply.operation
            )
            record["created"] = reply.status == 201
        if record["state"] == RUNNING:
            await self._awaited(ctx, resource, record)

    async def _ask_patiently(self, ctx: Context, resource: Resource, unit: Unit) -> Reply:
        """A resource that is being changed, or is about to go, is asked for again, as Azure does for a while."""
        who, correlation = _caller(resource)
        answers = Answers()  # what others are now, not what they were when another resource asked
        unit = replace(unit, frame=replace(unit.frame, answers=answers))
        body = await self._evaluated(resource, answers, lambda: content(unit))
        began = time.monotonic()
        while True:
            try:
                return await self._asks.ask(who, "PUT", unit.id, unit.api_version, body, correlation)
            except ArmError as e:
                busy = e.code in ("Conflict", "AnotherOperationInProgress", "RetryableError")
                if not busy or e.status != 409 or time.monotonic() - began > BUSY:
                    raise
                await ctx.watch(unit.key, resource.id, timeout=0.2)
                self._check_canceled(resource)

    async def _awaited(self, ctx: Context, resource: Resource, record: Document) -> None:
        """Wait for a record's operation, and write down how it came out."""
        deadline = time.monotonic() + PATIENCE
        while record["operation"]:
            operation = self._store.operation(record["operation"])
            row = self._store.get(operation.resource_id if operation else record["id"])
            ended, error = _outcome(record, operation, row)
            if ended:
                break
            self._check_canceled(resource)
            left = deadline - time.monotonic()
            if left <= 0:
                told = f": {operation.message}" if operation and operation.message else ""
                raise Retry(0, f"waiting for '{record['name']}'{told}")
            await ctx.watch(row.id if row else record["id"], resource.id, timeout=left)
        else:
            error = None
        status = "Conflict" if error else "Created" if record.get("created") else "OK"
        await self.records.end(resource, record, status=status, error=error)
        if error:
            raise Retry(0, f"'{record['name']}' failed")

    async def _delete(self, ctx: Context, resource: Resource, id: str) -> None:
        """A complete deployment: what the template does not name goes."""
        who, correlation = _caller(resource)
        row = self._store.get(id)
        record = self.records.get(resource, id.lower())
        if row is None:
            return
        if record is None or record["what"] != "Delete":
            type, name = row.rid.type, row.rid.name
            version = self._asks.version_of(type)
            try:
                reply = await self._asks.ask(who, "DELETE", id, version, None, correlation)
            except ArmError as e:
                record = await self.records.begin(resource, id, type=type, name=name, what="Delete")
                await self.records.end(resource, record, status=_status(e.status), error=e)
                raise Retry(0, f"'{name}' was not deleted") from None
            record = await self.records.begin(
                resource, id, type=type, name=name, operation=reply.operation, what="Delete"
            )
        if record["state"] == RUNNING:
            await self._awaited(ctx, resource, record)

    async def _outputs(self, ctx: Context, resource: Resource) -> None:
        prepared = self.prepared(resource)
        if any(r["state"] == FAILED for r in self.records.of(resource).values()):
            await self._fail(ctx, resource)
        answers = Answers()
        frame = replace(prepared.frame, answers=answers)
        made = await self._evaluated(resource, answers, lambda: outputs(prepared.template, frame))
        await ctx.save(
            resource,
            status=_ended(resource) | {"outputs": made, "outputResources": resources(prepared)},
            # The values are needed no longer, and there are secrets among them.
            private={"outputsDone": True, "values": {}},
        )

    async def _fail(self, ctx: Context, resource: Resource) -> None:
        prepared = self.prepared(resource)
        records = self.records.of(resource)
        failed = [r for r in records.values() if r["state"] == FAILED]
        stand = [u for u in resources(prepared) if records.get(u["id"].lower(), {}).get("state") == SUCCEEDED]
        await ctx.save(
            resource, status=_ended(resource) | {"outputs": None, "outputResources": stand}, private={"values": {}}
        )
        raise ArmError(
            "DeploymentFailed",
            "At least one resource deployment operation failed. Please list deployment operations for details. "
            "Please see https://aka.ms/arm-deployment-operations for usage details.",
            status=409,
            target=resource.id,
            details=[r["error"] for r in failed],
        )

    async def _cancel(self, ctx: Context, resource: Resource) -> None:
        await ctx.save(resource, status=_ended(resource) | {"outputs": None}, private={"values": {}})
        raise Canceled(
            "DeploymentCanceled",
            f"The deployment '{resource.rid.name}' was canceled. What it had asked for until then goes on.",
            status=409,
            target=resource.id,
        )

    async def _forget(self, ctx: Context, resource: Resource) -> None:
        await self.records.forget(resource)

    # --- pieces --------------------------------------------------------------------------------------

    async def _evaluated(self, resource: Resource, answers: Answers, evaluate: Callable[[], T]) -> T:
        """Evaluate, fetching what is asked for until nothing is."""
        who, correlation = _caller(resource)
        while True:
            try:
                return evaluate()
            except Needed as needed:
                await answered(self._asks, who, needed, answers, correlation)

    def _check_canceled(self, resource: Resource) -> None:
        now = self._store.get(resource.id)
        if now is None or now.generation != resource.generation or now.private.get("canceled"):
            raise Retry(0, "it was canceled")


def _ordered(work: tuple[Work, ...]) -> list[Work]:
    """Each after what it needs."""
    by_key = {w.key: w for w in work}
    done: dict[str, Work] = {}
    waiting = list(by_key.values())
    while waiting:
        ready = [w for w in waiting if all(k in done or k not in by_key for k in w.needs)]
        if not ready:
            return [*done.values(), *waiting]
        done |= {w.key: w for w in ready}
        waiting = [w for w in waiting if w.key not in done]
    return list(done.values())


def _outcome(record: Document, operation: Operation | None, row: Resource | None) -> tuple[bool, ArmError | None]:
    """Whether it has ended, and as what. An operation that a later change of the same resource superseded says nothing:
    then the resource itself does."""
    cause: Document | None
    if operation is not None and operation.status in ("Succeeded", "Failed"):
        cause = operation.error
    elif operation is not None and operation.status == "InProgress":
        return False, None
    elif row is None:
        gone = {"code": "ResourceNotFound", "message": f"'{record['id']}' was deleted while it was being deployed."}
        cause = None if record["what"] == "Delete" else gone
    elif row.settled:
        cause = row.error
    else:
        return False, None
    return True, _terminal(record, cause) if cause else None


def _terminal(record: Document, cause: Document) -> ArmError:
    """A resource that was taken and then failed. A nested deployment's failure is told as it is."""
    if record["type"].lower() == "microsoft.resources/deployments":
        return ArmError.from_body(cause, status=409)
    verb = "delete" if record["what"] == "Delete" else "write"
    return ArmError(
        "ResourceDeploymentFailure",
        f"The resource {verb} operation failed to complete successfully, because it reached terminal provisioning "
        "state 'Failed'.",
        status=409,
        target=record["id"],
        details=[cause],
    )


def _caller(resource: Resource) -> tuple[str, str]:
    return resource.private["caller"], resource.private["correlationId"]


def _ended(resource: Resource) -> Document:
    now = time.time()
    return {"timestamp": timestamp(now), "duration": duration(now - resource.private["startedAt"])}


def _status(code: int) -> str:
    """`BadRequest` for 400."""
    try:
        return HTTPStatus(code).phrase.replace(" ", "")
    except ValueError:
        return str(code)
