"""The search for secrets that ends every installation finds what is planted, wherever that is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from installation import Installation
from leaks import leaks
from sorairo.engine.types import Resource
from sorairo.identity.bootstrap import bootstrap
from sorairo.identity.directory import Directory
from sorairo.identity.keys import load_keys
from sorairo.store import Store
from sorairo.tls import ensure_certificates

GROUP = "/subscriptions/s/resourceGroups/g"


@pytest.fixture
def quiet(tmp_path: Path) -> Installation:
    """An installation whose daemon is down."""
    it = Installation(tmp_path / "state", "hollow")
    it.state.make()
    ensure_certificates(it.state)
    load_keys(it.state.signing_keys)
    it.state.log.parent.mkdir(exist_ok=True)
    it.state.log.write_text("started")

    async def fill() -> None:
        store = Store.open(it.state.database)
        await bootstrap(store, Directory(store), it.state.credentials)
        private = {"secret": "of-the-cluster-1", "pki": {"ca.key": it.state.server_key.read_text()}}
        await store.transact(lambda tx: tx.put(Resource(GROUP, {"location": "x"}, private=private)))
        await store.close()

    asyncio.run(fill())
    return it


def test_nothing_is_where_it_should_not_be(quiet: Installation) -> None:
    assert leaks(quiet) == []
    assert len(quiet.secrets) >= 6


@pytest.mark.parametrize("kind", ["log", "readable file", "document", "activity", "key"])
def test_what_is_planted_is_found(quiet: Installation, kind: str) -> None:
    secret = json.loads(quiet.state.credentials.read_text())["clientSecret"]
    if kind == "log":
        quiet.state.log.write_text(f"signed in with {secret}")
    elif kind == "key":
        quiet.state.log.write_text(quiet.state.server_key.read_text())
    elif kind == "readable file":
        (quiet.state.root / "notes.txt").write_text(secret)
        (quiet.state.root / "notes.txt").chmod(0o644)
    else:

        async def plant() -> None:
            store = Store.open(quiet.state.database)
            document = Resource(f"{GROUP}/providers/Microsoft.X/y/z", {"properties": {"said": "of-the-cluster-1"}})
            event = {"resourceId": GROUP, "operationName": secret, "status": "x"}
            await store.transact(lambda tx: tx.put(document) if kind == "document" else tx.add_activity(event))
            await store.close()

        asyncio.run(plant())
    found = leaks(quiet)
    assert len(found) >= 1, found
    assert secret not in str(found)
