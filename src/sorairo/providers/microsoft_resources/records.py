"""What became of each resource of a deployment: one note for each, so that a deployment of hundreds does not rewrite
itself at every step.

https://learn.microsoft.com/rest/api/resources/deployment-operations
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Document, Resource
from sorairo.store import Store, Tx

RUNNING, SUCCEEDED, FAILED = "Running", "Succeeded", "Failed"


class Records:
    """By deployment and by the key of the resource; those of an earlier run of the same deployment do not count."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, deployment: Resource) -> dict[str, Document]:
        run = deployment.private.get("run")
        return {key: doc for key, doc in self._store.notes(_kind(deployment.key)) if doc.get("run") == run}

    def get(self, deployment: Resource, key: str) -> Document | None:
        found = self._store.note(_kind(deployment.key), key)
        return found if found and found.get("run") == deployment.private.get("run") else None

    async def begin(
        self, deployment: Resource, id: str, *, type: str, name: str, operation: str = "", what: str = "Create"
    ) -> Document:
        """Write down that a resource was asked for; `operation` is the one to wait for."""
        record: Document = {
            "run": deployment.private["run"],
            "operationId": uuid.uuid4().hex.upper()[:16],
            "operation": operation,
            "id": id,
            "type": type,
            "name": name,
            "what": what,
            "state": RUNNING,
            "startedAt": time.time(),
        }
        await self._put(deployment, record)
        return record

    async def end(self, deployment: Resource, record: Document, *, status: str, error: ArmError | None = None) -> None:
        """`status`: the HTTP status by name, `OK` or `Conflict`."""
        record |= {"state": FAILED if error else SUCCEEDED, "statusCode": status, "endedAt": time.time()}
        if error:
            record["error"] = error.body()
        await self._put(deployment, record)

    async def forget(self, deployment: Resource) -> None:
        kind = _kind(deployment.key)

        def write(tx: Tx) -> None:
            for key, _ in tx.notes(kind):
                tx.delete_note(kind, key)

        await self._store.transact(write)

    def any(self, deployment: Resource) -> bool:
        return bool(self._store.notes(_kind(deployment.key)))

    async def _put(self, deployment: Resource, record: Document) -> None:
        kind, key = _kind(deployment.key), parse_id(record["id"]).key
        await self._store.transact(lambda tx: tx.put_note(kind, key, record))


def _kind(deployment: str) -> str:
    return f"deployment {deployment}"


def shown(deployment: str, record: Document, timestamp: Any, duration: Any) -> Document:
    """A record as `…/deployments/NAME/operations` lists it."""
    ended = record.get("endedAt")
    properties: Document = {
        "provisioningOperation": record["what"],
        "provisioningState": record["state"],
        "timestamp": timestamp(ended or record["startedAt"]),
        "duration": duration((ended or time.time()) - record["startedAt"]),
        "trackingId": str(uuid.uuid5(uuid.NAMESPACE_URL, record["operationId"])),
        "statusCode": record.get("statusCode", "Accepted"),
        "targetResource": {"id": record["id"], "resourceType": record["type"], "resourceName": record["name"]},
    }
    if record.get("error"):
        properties["statusMessage"] = {"status": "Failed", "error": record["error"]}
    return {
        "id": f"{deployment}/operations/{record['operationId']}",
        "operationId": record["operationId"],
        "properties": properties,
    }
