"""The tables, and every statement that is run on them.

A resource is one row: its document as JSON text beside the few columns it is found by. Statements are built with
SQLAlchemy Core (so that the dialect is its business, not ours) and compiled once: compiling, not SQLite, is what
an execution would spend most of its time on.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Column,
    Dialect,
    Executable,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import url

metadata = MetaData()

meta = Table("meta", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))

resources = Table(
    "resources",
    metadata,
    Column("key", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("observed_generation", Integer, nullable=False),
    Column("deleting", Integer, nullable=False),
    Column("doc", Text, nullable=False),
)
_unsettled = or_(resources.c.generation > resources.c.observed_generation, resources.c.deleting == 1)
Index("resources_type", resources.c.type, resources.c.key)
Index("resources_pending", resources.c.key, sqlite_where=_unsettled, postgresql_where=_unsettled)

operations = Table(
    "operations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("resource", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("doc", Text, nullable=False),
)
Index("operations_resource", operations.c.resource, operations.c.started_at)
Index("operations_status", operations.c.status, operations.c.started_at)
Index("operations_ended", operations.c.ended_at)

spans = Table(
    "spans",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    # A span that takes long is written when it begins and again when it ends: the later word stands.
    Column("span", Text, nullable=False, unique=True),
    Column("trace", Text, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("doc", Text, nullable=False),
)
Index("spans_trace", spans.c.trace)

activity = Table(
    "activity",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("resource", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("doc", Text, nullable=False),
)
Index("activity_at", activity.c.at)

notes = Table(
    "notes",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("doc", Text, nullable=False),
)


class Statement:
    """A statement compiled for one dialect, to be run on a DBAPI cursor."""

    __slots__ = ("_compiled", "_defaults", "_order", "sql")

    def __init__(self, statement: Executable, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
        self.sql: str = str(compiled)
        self._compiled = compiled
        self._order: tuple[str, ...] | None = tuple(compiled.positiontup) if compiled.positional else None
        self._defaults: dict[str, Any] = {k: b.value for k, b in compiled.binds.items() if b.value is not None}

    def args(self, values: Mapping[str, Any]) -> Any:
        """Parameters in the dialect's style, from values by name."""
        if self._order is None:
            return {**self._defaults, **values}
        return tuple([values[n] if n in values else self._defaults[n] for n in self._order])


def _upsert(table: Table, *keys: str) -> Executable:
    """Insert, or replace the row with the same `keys`. Values are bound as `new_*`, so that no name is taken twice."""
    names = [c.name for c in table.columns if c.name != "seq"]
    statement = sqlite.insert(table).values({name: bindparam(f"new_{name}") for name in names})
    return statement.on_conflict_do_update(
        index_elements=keys, set_={name: statement.excluded[name] for name in names if name not in keys}
    )


def _within(column: Column[str]) -> Any:
    """`column` begins with a prefix: a range, since LIKE would have to be escaped and would not use the index."""
    return and_(column >= bindparam("low"), column < bindparam("high"))


class Statements:
    """All of them, by name."""

    def __init__(self, dialect: Dialect) -> None:
        def s(statement: Executable) -> Statement:
            return Statement(statement, dialect)

        r, o, a, n = resources.c, operations.c, activity.c, notes.c
        self.get = s(select(r.doc).where(r.key == bindparam("key")))
        self.list_type = s(select(r.key, r.doc).where(r.type == bindparam("type"), _within(r.key)).order_by(r.key))
        self.list_all = s(select(r.key, r.doc).where(_within(r.key)).order_by(r.key))
        self.keys = s(select(r.key).where(r.type == bindparam("type")).order_by(r.key))
        self.pending = s(select(r.key).where(_unsettled).order_by(r.key))
        self.put = s(_upsert(resources, "key"))
        self.delete = s(delete(resources).where(r.key == bindparam("del_key")))

        self.operation = s(select(o.doc).where(o.id == bindparam("id")))
        self.operations = s(
            select(o.doc)
            .where(
                or_(bindparam("any_status") == 1, o.status == bindparam("status")),
                or_(bindparam("any_resource") == 1, o.resource == bindparam("resource")),
            )
            .order_by(o.started_at.desc())
            .limit(bindparam("limit"))
        )
        self.put_operation = s(_upsert(operations, "id"))

        self.spans = s(select(spans.c.doc).where(spans.c.trace == bindparam("trace")).order_by(spans.c.started_at))
        self.put_span = s(_upsert(spans, "span"))

        self.activity = s(
            select(a.doc)
            .where(
                a.at >= bindparam("since"),
                a.at <= bindparam("until"),
                or_(a.resource == bindparam("self"), _within(a.resource)),
            )
            .order_by(a.at.desc(), a.seq.desc())
            .limit(bindparam("limit"))
        )
        self.put_activity = s(activity.insert().values({k: bindparam(f"new_{k}") for k in ("resource", "at", "doc")}))

        self.note = s(select(n.doc).where(n.kind == bindparam("kind"), n.key == bindparam("key")))
        self.notes = s(select(n.key, n.doc).where(n.kind == bindparam("kind")).order_by(n.key))
        self.put_note = s(_upsert(notes, "kind", "key"))
        self.delete_note = s(delete(notes).where(n.kind == bindparam("del_kind"), n.key == bindparam("del_key")))

        # Retention. The newest `keep` rows stay; older than `before` go; at most `limit` in one turn, so that no
        # request waits long behind it.
        self.trim = {
            "spans": s(_trim_numbered(spans, spans.c.started_at)),
            "activity": s(_trim_numbered(activity, a.at)),
            "operations": s(_trim_operations()),
        }


@lru_cache
def statements_for(dialect: str) -> Statements:
    """Compiled once in a process: that takes longer than opening a database does."""
    return Statements(url.URL.create(dialect).get_dialect()())


def _trim_numbered(table: Table, at: Column[float]) -> Executable:
    newest = select(func.max(table.c.seq)).scalar_subquery()
    doomed = (
        select(table.c.seq)
        .where(or_(table.c.seq <= newest - bindparam("keep"), at < bindparam("before")))
        .order_by(table.c.seq)
        .limit(bindparam("limit"))
    )
    return delete(table).where(table.c.seq.in_(doomed))


def _trim_operations() -> Executable:
    o = operations.c
    ended = o.ended_at.is_not(None)
    oldest_kept = select(o.ended_at).where(ended).order_by(o.ended_at.desc()).limit(1).offset(bindparam("keep"))
    doomed = (
        select(o.id)
        .where(ended, or_(o.ended_at < bindparam("before"), o.ended_at <= oldest_kept.scalar_subquery()))
        .limit(bindparam("limit"))
    )
    return delete(operations).where(o.id.in_(doomed))


def prefix_range(scope: str) -> dict[str, str]:
    """Keys strictly below a scope id, on a segment boundary: from `scope/` up to `scope0` ('0' follows '/')."""
    base = scope.lower().rstrip("/")
    return {"low": base + "/", "high": base + "0"}
