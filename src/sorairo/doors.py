"""The daemon, served at its own address within other network namespaces.

A control plane has a loopback of its own: `https://127.0.0.1:PORT`, which is who signs its users' tokens, is nobody
there. A socket that was made in its namespace listens there for as long as it lives, wherever it is served from. It
costs no process, and ends with the daemon; what API servers do without it is theirs to say.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from socket import SO_REUSEADDR, SOL_SOCKET

import uvicorn
from uvicorn.server import ServerState

from sorairo.drivers.protocols import DriverError, Links
from sorairo.imds.listeners import Door


@dataclass(slots=True)
class _Open:
    inode: int
    """Of the namespace it is in: one made anew by the same name has none."""
    whole: bool
    servers: list[asyncio.Server] = field(default_factory=list)
    state: ServerState = field(default_factory=ServerState)

    def close(self) -> None:
        """Also ends its connections: each of them would keep the namespace."""
        for server in self.servers:
            server.close()
        for connection in list(self.state.connections):
            connection.shutdown()


class Doors:
    """`substrate.Doors`. `narrow`, or `whole`, is what is served in each namespace that has one; apps are made for a
    namespace's name."""

    def __init__(self, links: Links, narrow: Iterable[Door], whole: Iterable[Door]) -> None:
        self._links = links
        self._doors = {False: tuple(narrow), True: tuple(whole)}
        self._open: dict[str, _Open] = {}

    def is_open(self, namespace: str, whole: bool = False) -> bool:
        there = self._open.get(namespace)
        return there is not None and there.whole == whole and there.inode == self._inode(namespace)

    async def open(self, namespace: str, whole: bool = False) -> None:
        """Idempotent. Raises DriverError when there is no such namespace, or somebody listens there."""
        if self.is_open(namespace, whole):
            return
        await self.close(namespace)
        it = _Open(self._inode(namespace), whole)
        try:
            for door in self._doors[whole]:
                it.servers.append(await self._serve(door, namespace, it.state))
        except BaseException:
            it.close()
            raise
        self._open[namespace] = it

    async def _serve(self, door: Door, namespace: str, state: ServerState) -> asyncio.Server:
        config = uvicorn.Config(
            door.app(namespace),
            ssl_certfile=str(door.certificate) if door.certificate else None,
            ssl_keyfile=str(door.key) if door.key else None,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
        )
        config.load()

        def protocol() -> asyncio.Protocol:
            return config.http_protocol_class(config=config, server_state=state, app_state={})  # type: ignore[call-arg]

        sock = self._links.socket(namespace)
        try:
            sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            sock.bind((door.address, door.port))
            return await asyncio.get_running_loop().create_server(protocol, sock=sock, ssl=config.ssl)
        except OSError as e:
            sock.close()
            raise DriverError(f"{door.address}:{door.port} in {namespace}: {e}") from e

    async def close(self, namespace: str) -> None:
        if there := self._open.pop(namespace, None):
            there.close()

    async def close_all(self) -> None:
        for namespace in list(self._open):
            await self.close(namespace)

    def _inode(self, namespace: str) -> int:
        try:
            return os.stat(self._links.namespace_path(namespace)).st_ino
        except OSError:
            return 0
