"""Azure's own Python SDK against ARM, over a socket: its idea of operations, pages and errors, not ours."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import pytest
import uvicorn
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.resource.resources.aio import ResourceManagementClient as AsyncResourceManagementClient

from arm.conftest import GROUP, SUB, SUBSCRIPTION, V, World
from sorairo.engine.errors import ArmError

T = TypeVar("T")
PLAIN: dict[str, Any] = {"enforce_https": False}
"""The SDK sends tokens over https alone unless told otherwise."""


SDK = f"{SUB}/resourceGroups/Sdk/providers/Microsoft.Test/gadgets"
EAST = {"location": "eastus"}


class Token:
    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return AccessToken("owner", int(time.time()) + 3600)


class AsyncToken:
    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return AccessToken("owner", int(time.time()) + 3600)

    async def close(self) -> None: ...

    async def __aenter__(self) -> AsyncToken:
        return self

    async def __aexit__(self, *_: object) -> None: ...


@pytest.fixture
async def url(arm: World) -> AsyncIterator[str]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(arm.app, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    await serving


async def sync(function: Callable[[], T]) -> T:
    """The synchronous SDK blocks: in a thread."""
    return await asyncio.to_thread(function)


def client(url: str) -> ResourceManagementClient:
    return ResourceManagementClient(Token(), SUBSCRIPTION, base_url=url, credential_scopes=["arm"])


async def test_groups_resources_and_operations_through_the_sdk(arm: World, url: str) -> None:
    arm_client = client(url)
    groups, resources = arm_client.resource_groups, arm_client.resources

    def drive() -> None:
        group = groups.create_or_update("Sdk", {"location": "westeurope", "tags": {"a": "b"}}, **PLAIN)
        assert (group.name, group.properties.provisioning_state) == ("Sdk", "Succeeded")
        assert groups.check_existence("sdk", **PLAIN)
        assert not groups.check_existence("other", **PLAIN)
        assert [g.name for g in groups.list(filter="tagName eq 'a' and tagValue eq 'b'", **PLAIN)] == ["Sdk"]

        for n in range(3):
            made = resources.begin_create_or_update_by_id(f"{SDK}/g{n}", EAST, api_version=V, **PLAIN).result()
            assert made.properties == {"provisioningState": "Succeeded", "address": "10.0.0.1"}
        assert [r.name for r in resources.list(top=2, **PLAIN)] == ["g0", "g1", "g2"]  # follows nextLink

        with pytest.raises(ResourceNotFoundError) as missing:
            resources.get_by_id(f"{SDK}/none", api_version=V, **PLAIN)
        assert missing.value.error.code == "ResourceNotFound"
        with pytest.raises(HttpResponseError) as refused:
            resources.get_by_id(f"{SDK}/g0", api_version="1999-01-01", **PLAIN)
        assert refused.value.error.code == "NoRegisteredProviderFound"

        resources.begin_delete_by_id(f"{SDK}/g0", api_version=V, **PLAIN).result()
        groups.begin_delete("Sdk", **PLAIN).result()
        assert not groups.check_existence("Sdk", **PLAIN)

    await sync(drive)


async def test_a_failed_operation_is_an_exception_in_azures_words(arm: World, url: str) -> None:
    arm.gate.refusal = ArmError("QuotaExceeded", "too many")
    resources = client(url).resources

    def drive() -> None:
        with pytest.raises(HttpResponseError) as failed:
            resources.begin_create_or_update_by_id(
                f"{GROUP}/providers/Microsoft.Test/gadgets/g", EAST, api_version=V, **PLAIN
            ).result()
        assert failed.value.error.code == "QuotaExceeded"

    await sync(drive)


async def test_the_asynchronous_sdk(arm: World, url: str) -> None:
    async with AsyncResourceManagementClient(
        AsyncToken(), SUBSCRIPTION, base_url=url, credential_scopes=["arm"]
    ) as async_client:
        poller = await async_client.resources.begin_create_or_update_by_id(
            f"{GROUP}/providers/Microsoft.Test/accounts/a", EAST, api_version=V, **PLAIN
        )
        assert (await poller.result()).name == "a"
        assert [g.name async for g in async_client.resource_groups.list(**PLAIN)] == ["Web"]
        assert (await async_client.providers.get("Microsoft.Test", **PLAIN)).registration_state == "Registered"
