"""How a database of an older sorairo becomes one of this. Each entry is run once.

An entry is never edited after a release: it is what made the databases that exist.
"""

from __future__ import annotations

import sqlite3

from sorairo.store import sql

MIGRATIONS: tuple[tuple[str, ...], ...] = (sql.SCHEMA,)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema to the present version. Raises RuntimeError when a newer sorairo wrote the database."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        _migrate(connection)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _migrate(connection: sqlite3.Connection) -> None:
    there = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'").fetchone()
    found = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone() if there else None
    at = int(found[0]) if found else 0
    if at > len(MIGRATIONS):
        raise RuntimeError(
            f"the state was written by a newer sorairo (schema {at}; this one knows {len(MIGRATIONS)}): upgrade sorairo"
        )
    for statements in MIGRATIONS[at:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", (str(len(MIGRATIONS)),))
