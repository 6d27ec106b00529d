"""Answers that may never end (logs that are followed)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from sorairo.arm.exchange import Receive

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def relay(chunks: AsyncIterator[bytes], receive: Receive, send: Send) -> None:
    """Send chunks as they come; stop, and let the iterator clean up, as soon as the client is gone."""

    async def pump() -> None:
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = {asyncio.create_task(pump()), asyncio.create_task(gone())}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if hasattr(chunks, "aclose"):
            with contextlib.suppress(Exception):
                await chunks.aclose()
