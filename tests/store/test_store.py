"""What the store promises: copies, scopes, isolation of transactions, durability in groups, bounded history."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sorairo.engine import trace
from sorairo.engine.errors import ArmError
from sorairo.engine.trace import Span
from sorairo.engine.types import Operation, Resource
from sorairo.store import Retention, Store, Tx

SUB = "/subscriptions/11111111-1111-1111-1111-111111111111"
RG = f"{SUB}/resourceGroups/Rg"


def vnet(name: str, **body: Any) -> Resource:
    return Resource(f"{RG}/providers/Microsoft.Network/virtualNetworks/{name}", {"location": "eastus", **body})


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    it = Store.open(f"sqlite:///{tmp_path}/state/sorairo.db")
    yield it
    await it.close()


async def save(store: Store, *resources: Resource) -> None:
    def fn(tx: Tx) -> None:
        for resource in resources:
            tx.put(resource)

    await store.transact(fn)


async def test_a_resource_comes_back_equal_and_is_found_in_any_case(store: Store) -> None:
    it = vnet("Net", tags={"env": "空"})
    it.private = {"secret": "s"}
    await save(store, it)
    assert store.get(it.id) == it
    assert store.get(it.id.upper()) == it
    assert store.get(it.id + "x") is None


async def test_what_is_read_is_a_copy(store: Store) -> None:
    await save(store, vnet("a"))
    first = store.get(vnet("a").id)
    assert first is not None
    first.body["location"] = "changed"
    again = store.get(first.id)
    assert again is not None
    assert again.body["location"] == "eastus"


async def test_what_is_put_is_as_it_was_then(store: Store) -> None:
    def fn(tx: Tx) -> None:
        it = vnet("a")
        tx.put(it)
        it.body["location"] = "changed later"

    await store.transact(fn)
    assert store.list()[0].body["location"] == "eastus"


async def test_lists_hold_to_scope_on_a_segment_boundary_and_to_type(store: Store) -> None:
    group, other = Resource(RG, {}), Resource(RG + "2", {})
    subnet = Resource(vnet("a").id + "/subnets/s", {})
    elsewhere = Resource(f"{RG}2/providers/Microsoft.Network/virtualNetworks/z", {})
    await save(store, group, other, subnet, elsewhere, vnet("b"), vnet("a"), vnet("a-b"))

    def ids(**where: Any) -> list[str]:
        return [r.id.removeprefix(SUB) for r in store.list(**where)]

    assert set(ids(under=RG)) == {r.id.removeprefix(SUB) for r in (subnet, vnet("a"), vnet("b"), vnet("a-b"))}
    assert [r.rid.name for r in store.list(type="microsoft.network/VIRTUALNETWORKS", under=RG)] == ["a", "a-b", "b"]
    assert [r.rid.name for r in store.list(type="Microsoft.Network/virtualNetworks/subnets")] == ["s"]
    assert len(store.list(type="Microsoft.Resources/resourceGroups", under=SUB)) == 2
    assert len(store.list(under="/")) == len(store.list()) == 7
    keys = [r.key for r in store.list()]
    assert keys == sorted(keys)


async def test_a_transaction_sees_its_own_writes(store: Store) -> None:
    await save(store, vnet("committed"), vnet("doomed"))

    def fn(tx: Tx) -> list[str]:
        tx.put(vnet("own"))
        tx.delete(vnet("DOOMED").id)
        assert tx.get(vnet("doomed").id) is None
        assert tx.get(vnet("OWN").id) is not None
        tx.put_operation(Operation("Op", RG, "PUT"))
        assert tx.operation("op") is not None
        tx.put_note("key", "k", {"n": 1})
        assert tx.note("key", "k") == {"n": 1}
        tx.delete_note("key", "k")
        assert tx.note("key", "k") is None
        assert [r.rid.name for r in tx.list(type="Microsoft.Network/virtualNetworks")] == ["committed", "own"]
        assert tx.list(type="Microsoft.Network/routeTables") == []
        return [r.rid.name for r in tx.list(under=RG)]

    assert await store.transact(fn) == ["committed", "own"]
    assert [r.rid.name for r in store.list()] == ["committed", "own"]
    assert store.operation("OP") is not None
    assert store.note("key", "k") is None


async def test_what_a_transaction_raises_undoes_it_alone(store: Store) -> None:
    def bad(tx: Tx) -> None:
        tx.put(vnet("bad"))
        tx.add_activity({"resourceId": RG})
        raise ArmError("Conflict", "no", status=409)

    def stop(tx: Tx) -> None:
        raise StopIteration

    def count(tx: Tx) -> int:
        tx.put(vnet(f"n{len(tx.list())}"))
        return len(tx.list())

    # All are queued before the writer runs, so they are likely to share a commit.
    results = await asyncio.gather(
        *(store.transact(f) for f in (count, bad, count, stop, count)), return_exceptions=True
    )
    assert [r for r in results if isinstance(r, int)] == [1, 2, 3]
    assert isinstance(results[1], ArmError)
    assert isinstance(results[3], RuntimeError)
    assert [r.rid.name for r in store.list()] == ["n0", "n1", "n2"]
    assert store.activity(under=RG) == []


async def test_a_document_that_is_no_json_is_refused_alone(store: Store) -> None:
    with pytest.raises(TypeError):
        await save(store, vnet("bad", properties={"x": object()}))
    await save(store, vnet("good"))
    assert len(store.list()) == 1


async def test_pending_is_what_is_not_reached_or_being_deleted(store: Store) -> None:
    done, todo, dying = vnet("done"), vnet("todo"), vnet("dying")
    done.observed_generation = 1
    dying.observed_generation = 1
    dying.deleting = True
    await save(store, done, todo, dying)
    assert store.pending() == [dying.key, todo.key]


async def test_operations_newest_first_by_status_and_resource(store: Store) -> None:
    def fn(tx: Tx) -> None:
        for n in range(4):
            tx.put_operation(Operation(f"op{n}", f"{RG}/x/{n % 2}", "PUT", started_at=float(n)))
        ended = tx.operation("op3")
        assert ended is not None
        ended.status = "Succeeded"
        tx.put_operation(ended)

    await store.transact(fn)
    assert [o.id for o in store.operations()] == ["op3", "op2", "op1", "op0"]
    assert [o.id for o in store.operations(status="InProgress", limit=2)] == ["op2", "op1"]
    assert [o.id for o in store.operations(resource_id=f"{RG}/X/1")] == ["op3", "op1"]


async def test_activity_of_a_scope_newest_first(store: Store) -> None:
    def fn(tx: Tx) -> None:
        for n, scope in enumerate([RG, RG + "/providers/A/b/c", RG + "2", RG]):
            tx.add_activity({"resourceId": scope, "eventTimestamp": 86400.0 * n, "n": n})

    await store.transact(fn)
    assert [e["n"] for e in store.activity(under=RG)] == [3, 1, 0]
    assert [e["n"] for e in store.activity(under=SUB, limit=2)] == [3, 2]
    assert [e["n"] for e in store.activity(under=SUB, since=86400, until=2 * 86400)] == [2, 1]


async def test_notes_by_kind_and_member(store: Store) -> None:
    def fn(tx: Tx) -> None:
        tx.put_note("app", "b", {"owner": "x"})
        tx.put_note("app", "a", {"owner": "y"})
        tx.put_note("key", "a", {"owner": "x"})
        tx.put_note("app", "gone", {})
        tx.delete_note("app", "gone")
        assert [k for k, _ in tx.notes("app")] == ["a", "b"]

    await store.transact(fn)
    assert [k for k, _ in store.notes("app")] == ["a", "b"]
    assert store.notes("app", owner="x") == [("b", {"owner": "x"})]
    assert await store.transact(lambda tx: tx.notes("app", owner="y")) == [("a", {"owner": "y"})]


async def test_spans_are_on_disk_soon_without_any_other_write(store: Store) -> None:
    for n in range(3):
        store.add_span(Span("t", f"s{n}", "", "PUT", "request", started_at=float(n)))
    async with asyncio.timeout(5):
        while len(store.spans("t")) < 3:  # noqa: ASYNC110 (the store announces nothing when spans are written)
            await asyncio.sleep(0.01)
    assert [s.span_id for s in store.spans("t")] == ["s0", "s1", "s2"]


async def test_the_later_word_of_a_span_stands(store: Store) -> None:
    span = Span("t", "s", "", "PUT", "operation", started_at=1.0)
    store.add_span(span)
    await store.transact(lambda tx: None)
    span.ended_at = 2.0
    store.add_span(span)
    await store.transact(lambda tx: None)
    assert store.spans("t") == [span]


async def test_history_is_bounded_and_the_living_is_kept(tmp_path: Path) -> None:
    limits = Retention(operations=3, spans=5, activity=4, every=0.0, at_once=100)
    store = Store.open(f"sqlite:///{tmp_path}/s.db", retention=limits)

    def fn(tx: Tx) -> None:
        now = time.time()
        tx.put_operation(Operation("running", RG, "PUT", started_at=1.0))
        for n in range(10):
            at = now + n
            tx.put_operation(Operation(f"op{n}", RG, "PUT", status="Succeeded", started_at=at, ended_at=at))
            tx.add_activity({"resourceId": RG, "n": n})
        old = Operation("ancient", RG, "PUT", status="Failed", started_at=1.0, ended_at=1.0)
        tx.put_operation(old)
        tx.put(vnet("a"))

    for n in range(10):
        store.add_span(Span("t", f"{n}", "", "x", "step"))
    await store.transact(fn)
    for _ in range(3):
        await store.transact(lambda tx: None)
    assert [o.id for o in store.operations()] == ["op9", "op8", "op7", "running"]
    assert [e["n"] for e in store.activity(under=RG)] == [9, 8, 7, 6]
    assert len(store.spans("t")) == 5
    assert len(store.list()) == 1
    await store.close()


async def test_a_full_disk_refuses_in_words_and_changes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    store = Store.open(url)
    await save(store, vnet("before"))

    def fill(tx: Tx) -> None:
        tx.put(vnet("before", tags={"changed": "yes"}))
        tx.put(vnet("big", properties={"x": "y" * 4_000_000}))

    cursor: Any = store._writer._cursor
    cursor.execute("PRAGMA max_page_count = 100")
    with pytest.raises(ArmError) as refused:
        await store.transact(fill)
    assert (refused.value.status, refused.value.code) == (507, "InsufficientStorage")
    assert "tags" not in store.list()[0].body
    cursor.execute("PRAGMA max_page_count = 1000000")
    await store.transact(fill)
    assert len(store.list()) == 2
    await store.close()


async def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/state/s.db")
    await save(store, vnet("a"))
    modes = {p.name: oct(p.stat().st_mode & 0o777) for p in (tmp_path / "state").iterdir()}
    assert set(modes.values()) == {"0o600"}, modes
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    await store.close()


async def test_a_newer_database_is_refused_and_a_closed_store_says_so(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    store = Store.open(url)
    await store.close()
    with pytest.raises(RuntimeError, match="closed"):
        await store.transact(lambda tx: None)
    with sqlite3.connect(tmp_path / "s.db") as connection:
        connection.execute("update meta set value = '999' where name = 'schema'")
    with pytest.raises(RuntimeError, match="newer"):
        Store.open(url)


@pytest.mark.parametrize("url", ["sqlite://", "postgresql://localhost/x"])
def test_urls_that_cannot_be_served_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="SQLite"):
        Store.open(url)


async def test_a_transaction_runs_in_its_callers_context(store: Store) -> None:
    with trace.span("PUT", "request") as above:
        inside = await store.transact(lambda tx: trace.new_span("x", "operation"))
    assert (inside.trace_id, inside.parent_id) == (above.trace_id, above.span_id)


async def test_listeners_hear_of_keys_before_the_writer_is_answered(store: Store) -> None:
    heard: list[str] = []
    store.listen(heard.extend)
    await save(store, vnet("a"))
    assert heard == [vnet("a").key]


async def test_the_log_is_moved_into_the_file_beside_the_writer(tmp_path: Path) -> None:
    """However much is written, the log stays near its limit, and nothing is lost on the way."""
    store = Store.open(f"sqlite:///{tmp_path}/s.db")
    log, file = tmp_path / "s.db-wal", tmp_path / "s.db"
    for round_ in range(8):
        await save(store, *(vnet(f"{round_}-{n}", properties={"x": "y" * 4000}) for n in range(600)))
    assert file.stat().st_size > 4_000_000
    assert log.stat().st_size < 64_000_000
    assert len(store.list()) == 4800
    await store.close()


async def test_a_slow_disk_makes_groups_larger_not_writes_fewer(store: Store) -> None:
    class Slow:
        """A cursor whose commits take 5 ms."""

        commits = 0

        def __init__(self, cursor: Any) -> None:
            self._cursor = cursor

        def __getattr__(self, name: str) -> Any:
            return getattr(self._cursor, name)

        def execute(self, sql: str, *parameters: Any) -> Any:
            if sql == "COMMIT":
                Slow.commits += 1
                time.sleep(0.005)
            return self._cursor.execute(sql, *parameters)

    store._writer._cursor = Slow(store._writer._cursor)

    async def client(name: int) -> None:
        for n in range(20):
            await save(store, vnet(f"{name}-{n}"))

    await asyncio.gather(*(client(n) for n in range(32)))
    assert len(store.list()) == 640
    assert Slow.commits < 100


async def test_who_sees_that_an_operation_has_ended_sees_what_it_did(store: Store) -> None:
    """Between the commit and the moment the writer tells of it, too."""
    resource = vnet("a")
    await save(store, resource)
    assert store.get(resource.id) == resource
    told, go_on = threading.Event(), threading.Event()
    committed = store._writer.committed

    def late(written: Any) -> None:
        told.set()
        go_on.wait(10)
        committed(written)

    store._writer.committed = late
    operation = Operation("o", resource.id, "PUT", "Succeeded")
    changed = vnet("a", tags={"new": "yes"})

    def write(tx: Tx) -> None:
        tx.put(changed)
        tx.put_operation(operation)

    writing = asyncio.ensure_future(store.transact(write))
    try:
        assert await asyncio.to_thread(told.wait, 10)
        assert store.operation("o") is not None
        assert store.get(resource.id) == changed
    finally:
        go_on.set()
    await writing
    assert store.get(resource.id) == changed
