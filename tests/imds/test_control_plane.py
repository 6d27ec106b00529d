"""What a hidden control plane is told at 169.254.169.254: tokens of its cluster's identity, and no more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sorairo.engine.types import Document, Resource
from sorairo.identity.bootstrap import bootstrap
from sorairo.identity.directory import Directory
from sorairo.identity.keys import load_keys
from sorairo.identity.tokens import Authority, Tokens
from sorairo.identity.verify import Verifier
from sorairo.imds.control_plane import create_app
from sorairo.store import Store

RG = "/subscriptions/9f2d2c4e-6a1f-4b19-8c61-5f4b3f6d1a11/resourceGroups/rg"
CLUSTER = f"{RG}/providers/Microsoft.ContainerService/managedClusters/c"
OTHER = f"{RG}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/o"
TOKEN = "identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/"


@pytest.fixture(scope="module")
def signing_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "signing.json"
    load_keys(file)
    return file


@pytest.fixture
async def tokens(tmp_path: Path, signing_keys: Path) -> AsyncIterator[Tokens]:
    store = Store.open(f"sqlite:///{tmp_path / 'state.db'}")
    directory = Directory(store)
    await bootstrap(store, directory, tmp_path / "credentials.json")
    yield Tokens(Authority("https://127.0.0.1:9443"), load_keys(signing_keys), directory)
    await store.close()


async def ask(tokens: Tokens, path: str, identity: Document | None, method: str = "GET", **headers: Any) -> Any:
    cluster = Resource(CLUSTER, {"location": "westeurope", "identity": identity}) if identity else None
    transport = httpx.ASGITransport(create_app(tokens, lambda: cluster))
    async with httpx.AsyncClient(transport=transport, base_url="http://169.254.169.254/metadata/") as http:
        return await http.request(method, path, headers=headers or {"Metadata": "true"})


async def test_a_token_is_the_clusters_own(tokens: Tokens) -> None:
    await tokens.directory.ensure_managed_identity(OTHER, "o")
    own = await tokens.directory.ensure_managed_identity(CLUSTER, "c")
    answer = await ask(tokens, TOKEN, {"type": "SystemAssigned"})
    assert Verifier(tokens).authenticate(f"Bearer {answer.json()['access_token']}").object_id == own.object_id
    assert answer.headers["cache-control"] == "no-store"
    assert (await ask(tokens, f"{TOKEN}&mi_res_id={OTHER}", {"type": "SystemAssigned"})).status_code == 400


async def test_a_user_assigned_one_is_found_without_its_name(tokens: Tokens) -> None:
    other = await tokens.directory.ensure_managed_identity(OTHER, "o")
    answer = await ask(tokens, TOKEN, {"type": "UserAssigned", "userAssignedIdentities": {OTHER: {}}})
    assert Verifier(tokens).authenticate(f"Bearer {answer.json()['access_token']}").object_id == other.object_id


async def test_it_is_no_node(tokens: Tokens) -> None:
    """Upstream asks whether the node that it looks at is its own machine."""
    answer = await ask(tokens, "instance?api-version=2021-10-01", {"type": "SystemAssigned"})
    assert answer.json()["network"] == {"interface": []}
    assert answer.json()["compute"]["name"] == "c-control-plane"


@pytest.mark.parametrize(
    ("path", "method", "headers", "status"),
    [
        (TOKEN, "GET", {"X": "1"}, 400),
        (TOKEN, "GET", {"Metadata": "true", "X-Forwarded-For": "10.0.0.9"}, 400),
        (TOKEN, "POST", {"Metadata": "true"}, 404),
        ("scheduledevents?api-version=2020-07-01", "GET", {"Metadata": "true"}, 404),
        ("instance?api-version=1999-01-01", "GET", {"Metadata": "true"}, 400),
    ],
)
async def test_what_is_refused(tokens: Tokens, path: str, method: str, headers: dict[str, str], status: int) -> None:
    await tokens.directory.ensure_managed_identity(CLUSTER, "c")
    answer = await ask(tokens, path, {"type": "SystemAssigned"}, method, **headers)
    assert answer.status_code == status
    assert "access_token" not in answer.text


async def test_a_cluster_that_is_gone_is_nobody(tokens: Tokens) -> None:
    assert (await ask(tokens, TOKEN, None)).json()["error_description"] == "Identity not found"
