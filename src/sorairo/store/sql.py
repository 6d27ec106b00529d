"""The tables, and every statement that is run on them.

A resource is one row: its document as JSON text beside the few columns it is found by. What is written is bound by the
column's name.
"""

from __future__ import annotations

SCHEMA = (
    "CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE resources (
        key TEXT NOT NULL PRIMARY KEY, type TEXT NOT NULL, generation INTEGER NOT NULL,
        observed_generation INTEGER NOT NULL, deleting INTEGER NOT NULL, doc TEXT NOT NULL)""",
    "CREATE INDEX resources_type ON resources (type, key)",
    "CREATE INDEX resources_pending ON resources (key) WHERE generation > observed_generation OR deleting = 1",
    """CREATE TABLE operations (
        id TEXT NOT NULL PRIMARY KEY, resource TEXT NOT NULL, status TEXT NOT NULL, started_at FLOAT NOT NULL,
        ended_at FLOAT, doc TEXT NOT NULL)""",
    "CREATE INDEX operations_resource ON operations (resource, started_at)",
    "CREATE INDEX operations_status ON operations (status, started_at)",
    "CREATE INDEX operations_ended ON operations (ended_at)",
    # A span that takes long is written when it begins and again when it ends: the later word stands.
    """CREATE TABLE spans (
        seq INTEGER NOT NULL PRIMARY KEY, span TEXT NOT NULL UNIQUE, trace TEXT NOT NULL, started_at FLOAT NOT NULL,
        doc TEXT NOT NULL)""",
    "CREATE INDEX spans_trace ON spans (trace)",
    """CREATE TABLE activity (
        seq INTEGER NOT NULL PRIMARY KEY, resource TEXT NOT NULL, at FLOAT NOT NULL, doc TEXT NOT NULL)""",
    "CREATE INDEX activity_at ON activity (at)",
    "CREATE TABLE notes (kind TEXT NOT NULL, key TEXT NOT NULL, doc TEXT NOT NULL, PRIMARY KEY (kind, key))",
)

GET = "SELECT doc FROM resources WHERE key = :key"
LIST_TYPE = "SELECT key, doc FROM resources WHERE type = :type AND key >= :low AND key < :high ORDER BY key"
LIST_ALL = "SELECT key, doc FROM resources WHERE key >= :low AND key < :high ORDER BY key"
KEYS = "SELECT key FROM resources WHERE type = :type ORDER BY key"
PENDING = "SELECT key FROM resources WHERE generation > observed_generation OR deleting = 1 ORDER BY key"
PUT = "INSERT OR REPLACE INTO resources VALUES (:key, :type, :generation, :observed_generation, :deleting, :doc)"
DELETE = "DELETE FROM resources WHERE key = :key"

OPERATION = "SELECT doc FROM operations WHERE id = :id"
OPERATIONS = """
    SELECT doc FROM operations
    WHERE (:status IS NULL OR status = :status) AND (:resource IS NULL OR resource = :resource)
    ORDER BY started_at DESC LIMIT :limit"""
PUT_OPERATION = "INSERT OR REPLACE INTO operations VALUES (:id, :resource, :status, :started_at, :ended_at, :doc)"

SPANS = "SELECT doc FROM spans WHERE trace = :trace ORDER BY started_at"
PUT_SPAN = """
    INSERT INTO spans (span, trace, started_at, doc) VALUES (:span, :trace, :started_at, :doc)
    ON CONFLICT (span) DO UPDATE SET trace = excluded.trace, started_at = excluded.started_at, doc = excluded.doc"""

ACTIVITY = """
    SELECT doc FROM activity
    WHERE at >= :since AND at <= :until AND (resource = :self OR (resource >= :low AND resource < :high))
    ORDER BY at DESC, seq DESC LIMIT :limit"""
PUT_ACTIVITY = "INSERT INTO activity (resource, at, doc) VALUES (:resource, :at, :doc)"

NOTE = "SELECT doc FROM notes WHERE kind = :kind AND key = :key"
NOTES = "SELECT key, doc FROM notes WHERE kind = :kind ORDER BY key"
PUT_NOTE = "INSERT OR REPLACE INTO notes VALUES (:kind, :key, :doc)"
DELETE_NOTE = "DELETE FROM notes WHERE kind = :kind AND key = :key"

# Retention. The newest `keep` rows stay; older than `before` go; at most `limit` in one turn, so that no request waits
# long behind it.
TRIM = {
    "spans": """
        DELETE FROM spans WHERE seq IN (
            SELECT seq FROM spans WHERE seq <= (SELECT max(seq) FROM spans) - :keep OR started_at < :before
            ORDER BY seq LIMIT :limit)""",
    "activity": """
        DELETE FROM activity WHERE seq IN (
            SELECT seq FROM activity WHERE seq <= (SELECT max(seq) FROM activity) - :keep OR at < :before
            ORDER BY seq LIMIT :limit)""",
    "operations": """
        DELETE FROM operations WHERE id IN (
            SELECT id FROM operations WHERE ended_at IS NOT NULL AND (ended_at < :before OR ended_at <= (
                SELECT ended_at FROM operations WHERE ended_at IS NOT NULL
                ORDER BY ended_at DESC LIMIT 1 OFFSET :keep))
            LIMIT :limit)""",
}


def prefix_range(scope: str) -> dict[str, str]:
    """Keys strictly below a scope id, on a segment boundary: from `scope/` up to `scope0` ('0' follows '/')."""
    base = scope.lower().rstrip("/")
    return {"low": base + "/", "high": base + "0"}
