"""Answers without an end: they stop when the client does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

from sorairo.arm.stream import relay


async def test_a_client_that_goes_away_ends_the_source() -> None:
    sent: list[bytes] = []
    heard, gone, cleaned = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def lines() -> AsyncIterator[bytes]:
        try:
            yield b"one\n"
            await asyncio.Event().wait()  # nothing more, for ever
        finally:
            cleaned.set()

    async def receive() -> dict[str, str]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message["body"])
        heard.set()

    async with asyncio.timeout(5):
        relaying = asyncio.create_task(relay(lines(), receive, send))
        await heard.wait()
        gone.set()
        await relaying
        await cleaned.wait()
    assert sent == [b"one\n"]
