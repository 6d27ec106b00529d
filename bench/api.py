"""A plain client of one API server, for measuring: no cache, no watch, one connection."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Api:
    """Requests as the administrator, over one connection."""

    patience = 60.0
    """How long `until` waits, in seconds."""

    def __init__(self, host: str, port: int, ca: bytes, identity: Path) -> None:
        """`identity`: a file of the administrator's certificate and key."""
        self.tls = ssl.create_default_context(cadata=ca.decode())
        self.tls.load_cert_chain(identity)
        self.host, self.port = host, port
        self.connection: http.client.HTTPSConnection | None = None

    def get(self, path: str, method: str = "GET", body: Any = None) -> tuple[int, Any]:
        try:
            if self.connection is None:
                self.connection = http.client.HTTPSConnection(self.host, self.port, context=self.tls, timeout=5)
            self.connection.request(
                method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"}
            )
            answer = self.connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text.startswith(b"{") else text
        except (OSError, http.client.HTTPException):
            self.connection = None
            return 0, None

    async def until(self, path: str, satisfied: Callable[[int, Any], bool]) -> Any:
        deadline = time.monotonic() + self.patience
        while True:
            status, body = await asyncio.to_thread(self.get, path)
            if satisfied(status, body):
                return body
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path}: {status} {body}")
            await asyncio.sleep(0.02)

    async def until_listening(self) -> None:
        """The socket listens well before anyone answers; who connects then is answered first."""
        while True:
            with socket.socket() as probe:
                probe.setblocking(False)
                try:
                    await asyncio.get_running_loop().sock_connect(probe, (self.host, self.port))
                    return
                except OSError:
                    await asyncio.sleep(0.01)


def is_ready(status: int, body: Any) -> bool:
    conditions = body.get("status", {}).get("conditions", []) if status == 200 else []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
