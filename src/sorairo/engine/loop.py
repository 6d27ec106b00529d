"""The reconcile loop: rows whose generation is ahead of what was observed are worked on until they are not.

Serial for one resource, parallel across them. Nothing here is remembered that matters: kill the process anywhere,
start it again, and the same rows are found pending.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import structlog

from sorairo.engine import trace
from sorairo.engine.claims import Runs
from sorairo.engine.context import LoopContext
from sorairo.engine.errors import ArmError, Canceled, Retry
from sorairo.engine.ids import parse_id
from sorairo.engine.operations import end_span, log_end
from sorairo.engine.steps import crash_from_environment, run_plan
from sorairo.engine.types import Call, Document, Operation, OperationStatus, Resource, ResourceType, Step
from sorairo.engine.watching import Watching
from sorairo.store import Tx

if TYPE_CHECKING:
    from sorairo.engine.control import Control

log = structlog.get_logger()

REST = 3.0
"""After a look that nobody asked for: how many times as long as it took until the next one."""
ATTEMPTS = 5
"""How often an unexpected failure (a bug, the host refusing) is tried again before the operation fails."""


class Loop:
    def __init__(self, control: Control) -> None:
        self._control = control
        self._store = control.store
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._moved: dict[str, asyncio.Event] = {}
        self._watchers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._actions: set[asyncio.Task[None]] = set()
        self._stale: set[str] = set()
        """To be compared with what is, though their generation is reached."""
        self._resting: set[str] = set()
        self._watching = Watching(control)
        self._taken: dict[str, set[str]] = {}
        self._taken_numbers: dict[str, Runs] = {}
        self._crash = crash_from_environment()
        self._stopping = False

    # --- from outside --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take up what the last process left: pending rows, actions half-done, and drift of everything else."""
        for operation in self._store.operations(status="InProgress", limit=10_000):
            resource = self._store.get(operation.resource_id)
            if resource is None or resource.operation != operation.id:
                await self._interrupted(operation)
        pending = set(self._store.pending())
        for key in pending:
            self.wake(key)
        for resource in self._store.list():
            if resource.key not in pending and resource.provisioning_state == "Succeeded":
                self.wake(resource.key, drift=True)

    async def stop(self) -> None:
        self._stopping = True
        tasks = [*self._workers.values(), *self._actions]
        for task in tasks:
            task.cancel()
        await asyncio.gather(self._watching.stop(), *tasks, return_exceptions=True)

    def wake(self, key: str, *, drift: bool = False) -> None:
        """Look at this resource now. `drift`: even if its generation was reached, compare with what is."""
        if self._stopping:
            return
        if drift:
            self._stale.add(key)
        if key in self._workers:
            if not drift or key not in self._resting:
                self._moved[key].set()
            return
        self._moved[key] = asyncio.Event()
        task = asyncio.get_running_loop().create_task(self._work(key), name=f"reconcile {key}")
        self._workers[key] = task
        task.add_done_callback(lambda t: self._ended(key, t))

    def written(self, *versions: Resource | None) -> None:
        """A resource (before and after) was written: wake who waits for it, and whose types watch its own."""
        self.changed(next(v.key for v in versions if v is not None))
        self._watching.tell(*versions)

    def changed(self, key: str, *, itself: bool = True) -> None:
        """Tell everyone who waits for this resource, and (unless told not to) its own worker, to look again."""
        for event in self._watchers.get(key, ()):
            event.set()
        if itself and key in self._moved:
            self._moved[key].set()

    async def wait_change(self, key: str, seconds: float) -> None:
        await self.wait_any((key,), seconds)

    async def wait_any(self, keys: Iterable[str], seconds: float) -> None:
        """Until one of the resources is written, or the time is over."""
        keys = tuple(keys)
        event = asyncio.Event()
        for key in keys:
            self._watchers[key].add(event)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await event.wait()
        finally:
            for key in keys:
                self._watchers[key].discard(event)
                if not self._watchers[key]:
                    del self._watchers[key]

    def context(self, resource: Resource, principal: str = "") -> LoopContext:
        return LoopContext(self._control, resource, principal)

    # --- one resource --------------------------------------------------------------------------------

    def _ended(self, key: str, task: asyncio.Task[None]) -> None:
        del self._workers[key]
        moved = self._moved.pop(key)
        if not task.cancelled() and (error := task.exception()):
            log.error("worker died", resource=key, exc_info=error)
            self._stale.discard(key)
        if (moved.is_set() or key in self._stale) and not self._stopping:
            resource = self._store.get(key)
            if resource and (key in self._stale or not resource.settled):
                self.wake(key)
            else:
                self._stale.discard(key)

    async def _work(self, key: str) -> None:
        attempt = 0
        last: list[Step] = []
        still = 0
        while (resource := self._store.get(key)) and (key in self._stale or not resource.settled):
            self._moved[key].clear()
            stale = key in self._stale
            self._stale.discard(key)
            type = self._control.registry.type(resource.rid.type)
            if type is None or type.reconciler is None:
                return
            began = time.monotonic()
            round_ = asyncio.create_task(self._round(resource, type))
            await self._watched(round_, resource)
            if round_.cancelled():
                continue
            error = round_.exception()
            if stale and (error or round_.result()):
                self._stale.add(key)
            if error is None:
                plan = round_.result()
                if not plan and resource.settled:
                    await self._rest(key, REST * (time.monotonic() - began))
                attempt = 0
                # The same plan twice: it was carried out, and what was observed did not change (yet).
                still = still + 1 if plan and plan == last else 0
                last = plan
                if still:
                    await self._pause(key, min(0.02 * 2**still, 5))
            elif isinstance(error, Retry):
                await self._say(resource, error.reason)
                if not self._moved[key].is_set():
                    await self._pause(key, error.after)
            elif isinstance(error, ArmError):
                self._stale.discard(key)
                await self._finish(resource, type, error=error)
                return
            else:
                attempt += 1
                log.error("reconcile failed", resource=key, attempt=attempt, exc_info=error)
                if attempt >= ATTEMPTS:
                    cause = ArmError("InternalExecutionError", f"{error.__class__.__name__}: {error}", status=500)
                    self._stale.discard(key)
                    await self._finish(resource, type, error=cause)
                    return
                await self._say(resource, f"{error} (attempt {attempt} of {ATTEMPTS})")
                await self._pause(key, min(0.2 * 2**attempt, 10))

    async def _watched(self, round_: asyncio.Task[list[Step]], resource: Resource) -> None:
        """Until the round has ended; it is cancelled as soon as what is wanted has changed."""
        moved = self._moved[resource.key]
        stirred = False
        try:
            while not round_.done():
                stir = asyncio.create_task(moved.wait())
                try:
                    await asyncio.wait({round_, stir}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    stir.cancel()
                if moved.is_set() and not round_.done():
                    stirred = True
                    moved.clear()
                    now = self._store.get(resource.key)
                    if now and now.generation != resource.generation:
                        round_.cancel()  # Steps survive kill -9; being told the wish has changed is no worse.
                        await asyncio.wait({round_})
        finally:
            round_.cancel()
            if stirred:
                moved.set()

    async def _rest(self, key: str, seconds: float) -> None:
        """So that what changes all the time is not looked at all the time; a new generation is not kept waiting."""
        if (now := self._store.get(key)) is None or not now.settled:
            return
        self._resting.add(key)
        try:
            await self._pause(key, seconds)
        finally:
            self._resting.discard(key)

    async def _pause(self, key: str, seconds: float) -> None:
        self._moved[key].clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._moved[key].wait()

    async def _round(self, resource: Resource, type: ResourceType[Any]) -> list[Step]:
        """Observe, plan, run. The plan; empty when there was nothing left to do."""
        assert type.reconciler
        kind = type.name.rsplit("/", 1)[1] if type.name.count("/") == 1 else type.name.split("/", 1)[1]
        ctx = self.context(resource)
        with contextlib.ExitStack() as spans:
            if not resource.settled:  # Else it is part of what caused the look, and worth telling only if it leads to
                operation = self._store.operation(resource.operation) if resource.operation else None
                ids = {"trace_id": operation.trace_id, "parent_id": operation.span_id} if operation else {}
                spans.enter_context(trace.span(f"reconcile {kind}", "reconcile", resource=resource.id, **ids))
            actual = await type.reconciler.observe(ctx, resource)
            plan = type.reconciler.plan(resource, actual)
            if not plan:
                await self._finish(resource, type, status=type.reconciler.status(resource, actual))
                return plan
            if resource.settled:  # something.
                spans.enter_context(trace.span(f"reconcile {kind}", "reconcile", resource=resource.id))
            await run_plan(plan, ctx, resource, kind=kind, crash=self._crash)
            return plan

    async def _finish(
        self,
        resource: Resource,
        type: ResourceType[Any],
        *,
        status: Document | None = None,
        error: ArmError | None = None,
    ) -> None:
        """The one place that sets a provisioning state that lasts."""

        outcome: OperationStatus = "Canceled" if isinstance(error, Canceled) else "Failed" if error else "Succeeded"

        versions: list[Resource] = []

        def write(tx: Tx) -> Operation | None:
            now = tx.get(resource.id)
            if now is None or now.generation != resource.generation:
                return None
            operation = tx.operation(now.operation) if now.operation else None
            if operation and operation.status != "InProgress":
                operation = None
            if now.deleting and error is None:
                for pool in now.private.get("claims", {}):
                    tx.delete_note(f"claim {pool}", now.key)
                    self.forget_taken(pool)
                tx.delete(now.id)
                versions.append(now)
            else:
                new = dataclasses.replace(
                    now,
                    deleting=False,
                    observed_generation=now.generation,
                    provisioning_state=outcome,
                    error=error.body() if error else None,
                    status=now.status if status is None else status,
                )
                if new != now:
                    new.etag = str(uuid.uuid4())
                    tx.put(new)
                    versions.append(new)
            if operation:
                operation.status = outcome
                operation.error = error.body() if error else None
                operation.ended_at = time.time()
                operation.message = ""
                tx.put_operation(operation)
                log_end(tx, operation, type)
            return operation

        operation = await self._store.transact(write)
        if operation:
            end_span(operation)
        if error:
            log.warning("failed", resource=resource.id, code=error.code, message=error.message)
        self.changed(resource.key)
        self._watching.tell(*versions)
        if resource.managed_by:
            self.changed(resource.managed_by.lower())

    async def _say(self, resource: Resource, message: str) -> None:
        def write(tx: Tx) -> None:
            operation = tx.operation(resource.operation) if resource.operation else None
            if operation and operation.status == "InProgress" and operation.message != message:
                operation.message = message
                tx.put_operation(operation)

        await self._store.transact(write)

    # --- claims --------------------------------------------------------------------------------------

    def taken(self, pool: str, tx: Tx) -> set[str]:
        """Which names of a pool are claimed. Only for functions in the writer's thread, which is one."""
        if pool not in self._taken:
            self._taken[pool] = {v for _, doc in tx.notes(f"claim {pool}") for v in doc["values"]}
        return self._taken[pool]

    def taken_numbers(self, pool: str, tx: Tx) -> Runs:
        """As `taken`, of a pool of numbers."""
        if pool not in self._taken_numbers:
            claims = tx.notes(f"claim {pool}")
            self._taken_numbers[pool] = Runs((first, last) for _, doc in claims for first, last in doc["runs"])
        return self._taken_numbers[pool]

    def forget_taken(self, pool: str) -> None:
        self._taken.pop(pool, None)
        self._taken_numbers.pop(pool, None)

    # --- POST actions with an operation --------------------------------------------------------------

    def run_action(self, operation: Operation) -> None:
        task = asyncio.get_running_loop().create_task(self._act(operation), name=f"action {operation.id}")
        self._actions.add(task)
        task.add_done_callback(self._actions.discard)

    async def _act(self, operation: Operation) -> None:
        rid = parse_id(operation.resource_id)
        type = self._control.type_of(rid.type)
        action = next(a for a in type.actions if a.name == operation.action)
        resource = self._store.get(rid.parent if type.inline else rid.text)
        try:
            if resource is None and action.absent:
                resource = Resource(id=rid.text, body={}, generation=0)
            if resource is None:
                raise ArmError("ResourceNotFound", f"'{rid}' is gone.", status=404)
            assert action.run
            with trace.span(action.name, "step", trace_id=operation.trace_id, parent_id=operation.span_id):
                ctx = self.context(resource)
                call = Call(rid, resource, operation.input or {}, {}, operation.principal, ctx, operation.id)
                operation.result = await action.run(call)
            operation.status = "Succeeded"
        except ArmError as e:
            operation.status, operation.error = "Failed", e.body()
        except asyncio.CancelledError:
            raise
        except Exception as e:
            log.error("action failed", resource=rid.text, action=action.name, exc_info=e)
            operation.status = "Failed"
            operation.error = {"code": "InternalExecutionError", "message": str(e)}
        operation.input = None
        operation.ended_at = time.time()

        def write(tx: Tx) -> None:
            tx.put_operation(operation)
            log_end(tx, operation, type)

        await self._store.transact(write)
        end_span(operation)

    async def _interrupted(self, operation: Operation) -> None:
        """An action cannot be repeated safely (a command may have run): it ends, and says so."""
        operation.status = "Failed"
        operation.input = None
        operation.ended_at = time.time()
        operation.error = {
            "code": "OperationInterrupted",
            "message": f"sorairo stopped while '{operation.action}' was under way; it may have taken effect. "
            "Look at the resource, and repeat it if it has not.",
        }
        await self._store.transact(lambda tx: tx.put_operation(operation))
