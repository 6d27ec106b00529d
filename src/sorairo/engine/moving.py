"""Moving resources to another group: the same rows under other ids, all in one transaction.

What a row says of itself and of those moved with it follows; what is claimed for it stays claimed.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sorairo.engine.ids import ResourceId, parse_id
from sorairo.engine.types import Resource
from sorairo.store import Tx

if TYPE_CHECKING:
    from sorairo.engine.control import Control


async def move(control: Control, ids: Mapping[str, str]) -> None:
    """`ids`: old id → new id, of resources that have nothing on the host by their id. Whether they may be moved is for
    the caller to know; locks are asked here. What extends them (role assignments) stays behind, and goes.

    Raises ArmError `ScopeLocked`, and nothing was moved."""
    pairs = {parse_id(old): parse_id(new) for old, new in ids.items()}
    for old, new in pairs.items():
        control.guard("delete", old)
        control.guard("write", new)

    def write(tx: Tx) -> list[str]:
        rows = {old: [r for r in (tx.get(old.text), *tx.list(under=old.text)) if r is not None] for old in pairs}
        renamed = {
            row.key: parse_id(pairs[old].text + row.id[len(old.text) :])
            for old, found in rows.items()
            for row in found
            if "/providers/" not in row.id[len(old.text) :].lower()
        }
        moved: list[str] = []
        for found in rows.values():
            for row in found:
                if row.key in renamed:
                    moved.append(_rename(tx, row, renamed[row.key], pairs))
                else:
                    tx.delete(row.id)
        return moved

    for key in await control.store.transact(write):
        control.loop.changed(key)
        control.loop.wake(key, drift=True)


def _rename(tx: Tx, row: Resource, new: ResourceId, pairs: Mapping[ResourceId, ResourceId]) -> str:
    """The key of the row that takes a row's place."""
    old = row.key
    tx.delete(row.id)
    row.id = new.text
    row.body, row.status, row.private = (_told(part, pairs) for part in (row.body, row.status, row.private))
    row.etag = str(uuid.uuid4())
    row.changed_at = time.time()
    for pool in row.private.get("claims", {}):
        kind = f"claim {pool}"
        note = tx.note(kind, old)
        if note is not None:
            tx.put_note(kind, row.key, note)
            tx.delete_note(kind, old)
    tx.put(row)
    return row.key


def _told(value: Any, pairs: Mapping[ResourceId, ResourceId]) -> Any:
    """A document with the new ids where the old ones, or what is below them, stood."""
    if isinstance(value, str):
        low = value.lower()
        for old, new in pairs.items():
            if low == old.key or low.startswith(old.key + "/"):
                return new.text + value[len(old.text) :]
        return value
    if isinstance(value, list):
        return [_told(v, pairs) for v in value]
    return {k: _told(v, pairs) for k, v in value.items()} if isinstance(value, dict) else value
