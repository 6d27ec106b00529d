"""A fresh installation's identity: store, directory, keys, administrator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sorairo.identity.bootstrap import Credentials, bootstrap
from sorairo.identity.directory import Directory
from sorairo.identity.keys import SigningKeys, generate_key, load_keys
from sorairo.identity.tokens import Authority, Tokens
from sorairo.identity.verify import Verifier
from sorairo.store import Store

BASE = "https://127.0.0.1:9443"


@dataclass
class Installation:
    state: Path
    store: Store
    directory: Directory
    tokens: Tokens
    verifier: Verifier
    admin: Credentials


@pytest.fixture(scope="session")
def signing_key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once: a key costs a fifth of a second."""
    file = tmp_path_factory.mktemp("keys") / "signing.json"
    load_keys(file)
    return file


@pytest.fixture(scope="session")
def foreign_keys() -> SigningKeys:
    """Another installation's."""
    return SigningKeys([generate_key()])


@pytest.fixture
async def installation(tmp_path: Path, signing_key_file: Path) -> AsyncIterator[Installation]:
    store = Store.open(f"sqlite:///{tmp_path / 'state.db'}")
    directory = Directory(store)
    admin = await bootstrap(store, directory, tmp_path / "credentials.json")
    tokens = Tokens(Authority(BASE), load_keys(signing_key_file), directory)
    yield Installation(tmp_path, store, directory, tokens, Verifier(tokens), admin)
    await store.close()
