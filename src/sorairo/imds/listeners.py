"""A server in each virtual network that there is, for as long as it is there.

Level-triggered: the networks of the store are compared with the servers that run, when one of them is written and
every few seconds besides (a namespace may have been made anew). A server's sockets live in the network's namespace
and end with this process, so nothing is left behind, and the next process makes them again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from sorairo.drivers.protocols import DriverError, Links
from sorairo.engine.ids import host_name
from sorairo.store import Store

log = structlog.get_logger(__name__)

NETWORKS = "Microsoft.Network/virtualNetworks"
_NETWORK = re.compile(r".*/providers/microsoft\.network/virtualnetworks/[^/]+")
EVERY = 5.0
"""Seconds between looks that nothing asked for."""
FROM_ONE = 32
"""Connections that one address may hold at a time: a pod can only stand in its own way."""
IDLE = 15.0
"""Seconds within which a connection must have brought a request."""


@dataclass(frozen=True, slots=True)
class Door:
    """What is served in every network. `app`: for the network with an id."""

    address: str
    port: int
    app: Callable[[str], ASGIApp]
    certificate: Path | None = None
    """With `key`: it is served over TLS."""
    key: Path | None = None


@dataclass(slots=True)
class _Open:
    inode: int
    """Of the namespace."""
    servers: list[asyncio.Server] = field(default_factory=list)
    state: ServerState = field(default_factory=ServerState)

    def close(self) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()


class Listeners:
    """`run` until cancelled."""

    def __init__(self, store: Store, links: Links, doors: Iterable[Door]) -> None:
        self._store = store
        self._links = links
        self._doors = tuple(doors)
        self._open: dict[str, _Open] = {}
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        store.listen(self._changed)

    def _changed(self, keys: Iterable[str]) -> None:
        """Called from the store's thread."""
        if any(_NETWORK.fullmatch(key) for key in keys):
            self._loop.call_soon_threadsafe(self._wake.set)

    async def run(self) -> None:
        try:
            while True:
                self._wake.clear()
                try:
                    await self.compare()
                except Exception:
                    log.exception("could not look at the virtual networks' services")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(EVERY):
                        await self._wake.wait()
        finally:
            for name in list(self._open):
                self._open.pop(name).close()

    async def compare(self) -> None:
        networks = {host_name(n.id): n.id for n in self._store.list(type=NETWORKS) if not n.deleting}
        there = {name: inode for name in networks if (inode := self._inode(name))}
        for name in [n for n, it in self._open.items() if there.get(n) != it.inode]:
            self._open.pop(name).close()
        for name in there.keys() - self._open.keys():
            try:
                self._open[name] = await self._serve(name, networks[name], there[name])
            except (DriverError, OSError) as e:
                # It goes or comes at this moment, or another process serves it: looked at again soon.
                log.info("a virtual network's services are not up yet", network=networks[name], cause=str(e))

    def _inode(self, name: str) -> int:
        """0: there is no such namespace (an empty file is none)."""
        try:
            found = os.stat(self._links.namespace_path(name))
            return found.st_ino if found.st_dev == os.stat("/proc/self/ns/net").st_dev else 0
        except FileNotFoundError:
            return 0

    async def _serve(self, name: str, network: str, inode: int) -> _Open:
        it = _Open(inode)
        try:
            for door in self._doors:
                sock = self._links.socket(name)
                try:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    sock.setblocking(False)
                    sock.bind((door.address, door.port))
                    it.servers.append(await self._start(door, network, it, sock))
                except BaseException:
                    sock.close()
                    raise
        except BaseException:
            it.close()
            raise
        return it

    async def _start(self, door: Door, network: str, it: _Open, sock: socket.socket) -> asyncio.Server:
        config = uvicorn.Config(
            door.app(network),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            proxy_headers=False,  # who asks is who is connected
            ssl_certfile=str(door.certificate) if door.certificate else None,
            ssl_keyfile=str(door.key) if door.key else None,
        )
        config.load()
        held: Counter[str] = Counter()
        return await self._loop.create_server(
            lambda: _Connection(config, it.state, held), sock=sock, ssl=config.ssl, backlog=128
        )


class _Connection(HttpToolsProtocol):
    """uvicorn's, within limits: what connects is any pod."""

    def __init__(self, config: uvicorn.Config, state: ServerState, held: Counter[str]) -> None:
        super().__init__(config, state, {})
        self._held = held
        self._from = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._from = self.client[0] if self.client else ""
        self._held[self._from] += 1
        if self._held[self._from] > FROM_ONE:
            transport.abort()
        self.loop.call_later(IDLE, self._expect)

    def connection_lost(self, exc: Exception | None) -> None:
        self._held[self._from] -= 1
        if self._held[self._from] <= 0:
            del self._held[self._from]
        super().connection_lost(exc)

    def _expect(self) -> None:
        cycle: Any = self.cycle
        if cycle is None and not self.transport.is_closing():
            self.transport.abort()
