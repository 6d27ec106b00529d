"""What the engine gives a reconciler: other resources as ARM documents, durable notes, and claims."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sorairo.engine import moving
from sorairo.engine.claims import Run, numbers
from sorairo.engine.errors import ArmError, Retry
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Document, Resource
from sorairo.store import Tx

if TYPE_CHECKING:
    from sorairo.engine.control import Control

T = TypeVar("T")


class LoopContext:
    """`Context` for one resource: what it makes of other resources is marked as made on its behalf."""

    def __init__(self, control: Control, resource: Resource, principal: str) -> None:
        self._control = control
        self._store = control.store
        self._resource = resource
        self._principal = principal or f"system:{resource.rid.type}"

    async def get(self, resource_id: str) -> Resource | None:
        return self._store.get(resource_id)

    async def naming(self, id: str, *, type: str | None = None) -> list[Resource]:
        return self._store.naming(id, type=type)

    async def list(self, *, type: str | None = None, under: str | None = None) -> list[Resource]:
        return self._store.list(type=type, under=under)

    async def put(
        self, resource_id: str, body: Document, *, private: Document | None = None, if_match: str | None = None
    ) -> Resource:
        try:
            accepted = await self._control.put(
                parse_id(resource_id),
                body,
                principal=self._principal,
                if_match=if_match,
                managed_by=self._resource.id,
                private=private,
            )
        except ArmError as e:
            if if_match and e.status == 412:
                raise Retry(0, f"'{resource_id}' was written meanwhile") from e
            raise
        return accepted.resource

    async def delete(self, resource_id: str) -> None:
        with contextlib.suppress(ArmError):
            await self._control.delete(parse_id(resource_id), principal=self._principal, internal=True)

    async def move(self, ids: Mapping[str, str]) -> None:
        await moving.move(self._control, ids)

    async def settled(self, resource_id: str, *, timeout: float = 60.0) -> Resource | None:
        deadline = time.monotonic() + timeout
        while True:
            resource = self._store.get(resource_id)
            if resource is None:
                return None
            if resource.settled:
                if resource.error:
                    raise ArmError.from_body(resource.error)
                return resource
            left = deadline - time.monotonic()
            if left <= 0:
                raise Retry(0.5, f"waiting for {resource.rid.type}/{resource.rid.name}")
            await self._control.loop.wait_change(resource.key, left)

    async def watch(self, *resource_ids: str, timeout: float) -> None:
        await self._control.loop.wait_any((id.lower() for id in resource_ids), timeout)

    async def save(
        self, resource: Resource, *, status: Document | None = None, private: Document | None = None
    ) -> None:
        def write(tx: Tx) -> None:
            now = tx.get(resource.id)
            if now is None:
                return
            now.status = {**now.status, **(status or {})}
            now.private = {**now.private, **(private or {})}
            tx.put(now)

        resource.status = {**resource.status, **(status or {})}
        resource.private = {**resource.private, **(private or {})}
        await self._store.transact(write)
        self._control.loop.changed(resource.key, itself=False)

    async def claim(self, pool: str, candidates: Iterable[str], count: int = 1) -> tuple[str, ...]:
        def choose(tx: Tx, now: Resource) -> tuple[str, ...]:
            mine: Sequence[str] = now.private.get("claims", {}).get(pool, [])
            taken = self._control.loop.taken(pool, tx)
            free = tuple(itertools.islice((c for c in candidates if c not in taken), max(0, count - len(mine))))
            if len(mine) + len(free) < count:
                raise ArmError("PoolExhausted", f"'{pool}' has only {len(free)} of {count - len(mine)} left.")
            if free:
                _note(tx, now, pool, "values", [*mine, *free])
                taken.update(free)
            return (*mine, *free)[:count]

        return await self._claim(pool, choose)

    async def claim_numbers(
        self,
        pool: str,
        within: range,
        count: int,
        *,
        exactly: Iterable[int] = (),
        blocks: bool = False,
        then: Callable[[tuple[int, ...]], Document] = lambda numbers: {},
    ) -> tuple[int, ...]:
        exact = tuple(exactly)

        def choose(tx: Tx, now: Resource) -> tuple[int, ...]:
            held: Sequence[Run] = [(a, b) for a, b in now.private.get("claims", {}).get(pool, [])]
            mine = numbers(held)
            taken = self._control.loop.taken_numbers(pool, tx)
            new: Sequence[Run] = [(n, n) for n in exact if n not in mine]
            for number, _ in new:
                if number in taken:
                    raise ArmError("PoolExhausted", f"{number} of '{pool}' is taken.")
                taken.add(number, number)
            had = [n for n in mine if n not in exact]
            found = taken.free((within.start, within.stop - 1), count - len(had), blocks=blocks)
            free = numbers(found)
            if len(had) + len(free) < count:
                raise ArmError("PoolExhausted", f"'{pool}' has only {len(free)} of {count - len(had)} left.")
            if new or found:
                _note(tx, now, pool, "runs", [*held, *new, *found])
                for first, last in found:
                    taken.add(first, last)
            chosen = (*had, *free)[:count]
            now.private = {**now.private, **then(chosen)}
            tx.put(now)
            return chosen

        return await self._claim(pool, choose)

    async def _claim(self, pool: str, choose: Callable[[Tx, Resource], tuple[T, ...]]) -> tuple[T, ...]:
        """In one transaction. What `choose` does to what is remembered as taken is forgotten if that fails."""
        resource = self._resource

        def write(tx: Tx) -> tuple[tuple[T, ...], Document]:
            now = tx.get(resource.id)
            if now is None:  # It has gone meanwhile: what it would hold nobody could give back.
                raise Retry(0, f"'{resource.id}' has gone")
            try:
                return choose(tx, now), now.private
            except BaseException:
                self._control.loop.forget_taken(pool)
                raise

        try:
            values, resource.private = await self._control.store.transact(write)
        except BaseException:  # Not committed, or nobody waits to hear whether it was.
            self._control.loop.forget_taken(pool)
            raise
        return values

    async def say(self, message: str) -> None:
        await self._control.loop._say(self._resource, message)


def _note(tx: Tx, resource: Resource, pool: str, kind: str, values: list[Any]) -> None:
    """Write a claim down twice: by its pool, to know what is taken, and in its resource, to know what to give back."""
    tx.put_note(f"claim {pool}", resource.key, {kind: values})
    resource.private = {**resource.private, "claims": {**resource.private.get("claims", {}), pool: values}}
    tx.put(resource)
