"""The daemon, served at its own address within other network namespaces.

A control plane has a loopback of its own: `https://127.0.0.1:PORT`, which is who signs its users' tokens, is nobody
there. A socket that was made in its namespace listens there for as long as it lives, wherever it is served from. It
costs no process, and ends with the daemon; what API servers do without it is theirs to say.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from socket import SO_REUSEADDR, SOL_SOCKET

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from sorairo.drivers.protocols import DriverError, Links


@dataclass(slots=True)
class _Door:
    server: asyncio.Server
    inode: int
    """Of the namespace it is in: one made anew by the same name has none."""
    state: ServerState


class Doors:
    """`substrate.Doors`. `app` is served over TLS at `host:port` of each namespace that has one."""

    def __init__(self, links: Links, app: ASGIApp, host: str, port: int, *, certificate: Path, key: Path) -> None:
        self._links = links
        self._at = (host, port)
        self._config = uvicorn.Config(
            app,
            ssl_certfile=str(certificate),
            ssl_keyfile=str(key),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
        )
        self._doors: dict[str, _Door] = {}

    def is_open(self, namespace: str) -> bool:
        door = self._doors.get(namespace)
        return door is not None and door.inode == self._inode(namespace)

    async def open(self, namespace: str) -> None:
        """Idempotent. Raises DriverError when there is no such namespace, or somebody listens there."""
        if self.is_open(namespace):
            return
        await self.close(namespace)
        if not self._config.loaded:
            self._config.load()
        state, loop = ServerState(), asyncio.get_running_loop()
        inode, sock = self._inode(namespace), self._links.socket(namespace)

        def protocol() -> asyncio.Protocol:
            made = self._config.http_protocol_class
            return made(config=self._config, server_state=state, app_state={})  # type: ignore[call-arg]

        try:
            sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            sock.bind(self._at)
            server = await loop.create_server(protocol, sock=sock, ssl=self._config.ssl)
        except OSError as e:
            sock.close()
            raise DriverError(f"{self._at[0]}:{self._at[1]} in {namespace}: {e}") from e
        self._doors[namespace] = _Door(server, inode, state)

    async def close(self, namespace: str) -> None:
        """Also ends its connections: each of them would keep the namespace."""
        door = self._doors.pop(namespace, None)
        if door is None:
            return
        door.server.close()
        for connection in list(door.state.connections):
            connection.shutdown()

    async def close_all(self) -> None:
        for namespace in list(self._doors):
            await self.close(namespace)

    def _inode(self, namespace: str) -> int:
        try:
            return os.stat(self._links.namespace_path(namespace)).st_ino
        except OSError:
            return 0
