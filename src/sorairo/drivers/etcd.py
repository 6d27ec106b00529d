"""An etcd that nobody uses yet, as a driver sees it: its socket, and what is put there before anyone looks.

https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import json
import os
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from sorairo.drivers.protocols import DriverError

TXN_OPS = 127
"""etcd's own limit of operations in a transaction is 128 (`--max-txn-ops`)."""
MARK = "/sorairo/seeded"
"""Written last: with it, all is there."""


async def seed(socket: Path, objects: Mapping[str, Any], *, seconds: float = 30.0) -> None:
    """Put Kubernetes objects (key → document) into the etcd that listens, or will, on a Unix socket.

    Each gets an identity and a date of its own. Does nothing when it has been done. Raises DriverError.
    """
    deadline = time.monotonic() + seconds
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with _short(socket) as path:
        await _seed(path, objects, now, deadline, seconds)


@contextlib.contextmanager
def _short(socket: Path) -> Iterator[str]:
    """Another name of a socket's path: the kernel takes 108 bytes, however deep the folder is."""
    if not sys.platform.startswith("linux"):
        yield str(socket)
        return
    folder = os.open(socket.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{socket.name}"
    finally:
        os.close(folder)


async def _seed(path: str, objects: Mapping[str, Any], now: str, deadline: float, seconds: float) -> None:
    transport = httpx.AsyncHTTPTransport(uds=path)
    async with httpx.AsyncClient(transport=transport, base_url="http://etcd", timeout=seconds) as etcd:
        while True:
            try:
                found = await _ask(etcd, "range", {"key": _base64(MARK)})
                break
            except httpx.TransportError as e:
                if time.monotonic() > deadline:
                    raise DriverError(f"etcd does not answer: {e or type(e).__name__}") from e
                await asyncio.sleep(0.005)  # Nothing to wait on: the socket is not there before it listens.
        if found.get("kvs"):
            return
        puts = []
        for key, document in objects.items():
            metadata = {**document["metadata"], "uid": str(uuid.uuid4()), "creationTimestamp": now}
            # The API server writes Protocol Buffers, and reads both.
            value = json.dumps({**document, "metadata": metadata}, separators=(",", ":"))
            puts.append({"requestPut": {"key": _base64(key), "value": _base64(value)}})
        puts.append({"requestPut": {"key": _base64(MARK), "value": _base64(now)}})
        for at in range(0, len(puts), TXN_OPS):
            await _ask(etcd, "txn", {"success": puts[at : at + TXN_OPS]})


async def _ask(etcd: httpx.AsyncClient, what: str, body: Mapping[str, Any]) -> dict[str, Any]:
    answer = await etcd.post(f"/v3/kv/{what}", json=body)
    if answer.status_code != 200:
        raise DriverError(f"etcd: {answer.text}")
    return answer.json()  # type: ignore[no-any-return]


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
