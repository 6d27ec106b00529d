"""How a database of an older sorairo becomes one of this. Each entry is run once, in its own transaction.

An entry is never edited after a release: it is what made the databases that exist.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, Engine, insert, inspect, select, update

from sorairo.store import tables


def _first(connection: Connection) -> None:
    tables.metadata.create_all(connection)


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_first,)


def migrate(engine: Engine) -> None:
    """Bring the schema to the present version. Raises RuntimeError when a newer sorairo wrote the database."""
    with engine.connect() as connection:
        there = inspect(connection).has_table("meta")
        at = (
            int(connection.scalar(select(tables.meta.c.value).where(tables.meta.c.name == "schema")) or 0)
            if there
            else 0
        )
    if at > len(MIGRATIONS):
        raise RuntimeError(
            f"the state was written by a newer sorairo (schema {at}; this one knows {len(MIGRATIONS)}): upgrade sorairo"
        )
    for version, step in enumerate(MIGRATIONS[at:], start=at + 1):
        with engine.begin() as connection:
            step(connection)
            if version == 1:
                connection.execute(insert(tables.meta).values(name="schema", value="1"))
            else:
                connection.execute(update(tables.meta).where(tables.meta.c.name == "schema").values(value=str(version)))
