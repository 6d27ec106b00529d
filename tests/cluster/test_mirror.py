"""A list of an API server, mirrored."""

from __future__ import annotations

import asyncio
import contextlib

from cluster.fakes import Document, FakeApi, service
from sorairo.drivers.kubernetes import Access
from sorairo.drivers.mirror import Mirror

ACCESS = Access("https://api", "", "", "")
PATH = "/api/v1/namespaces/default/services/web{}"


async def test_it_follows_and_tells_each_change_once() -> None:
    api, told = FakeApi(), []

    def changed(key: str, now: str | None, before: str | None) -> None:
        told.append((key, now, before))

    def keep(obj: Document) -> str:
        return str(obj["spec"]["type"])

    api.write(PATH.format(1), service(1))
    mirror = Mirror(api, ACCESS, "/api/v1/services", changed, keep=keep)
    task = asyncio.create_task(mirror.run())
    await mirror.synced.wait()
    assert mirror.objects == {"default/web1": "LoadBalancer"}
    api.write(PATH.format(1), service(1))  # Nothing that is kept has changed.
    api.write(PATH.format(1), service(1, type="ClusterIP"))
    api.write(PATH.format(2), service(2))
    api.remove(PATH.format(1))
    async with asyncio.timeout(5):
        while "default/web1" in mirror.objects:  # noqa: ASYNC110 - it is what is waited for
            await asyncio.sleep(0.001)
    assert told == [
        ("default/web1", "LoadBalancer", None),
        ("default/web1", "ClusterIP", "LoadBalancer"),
        ("default/web2", "LoadBalancer", None),
        ("default/web1", None, "ClusterIP"),
    ]
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_an_empty_list_may_be_null() -> None:
    class Empty(FakeApi):
        async def list(self, access: Access, path: str, *, accept: str = "", **params: str) -> Document:
            return {"items": None, "metadata": {"resourceVersion": "1"}}

    mirror: Mirror[Document] = Mirror(Empty(), ACCESS, "/api/v1/nodes", lambda *_: None, keep=lambda o: o)
    task = asyncio.create_task(mirror.run())
    async with asyncio.timeout(5):
        await mirror.synced.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
