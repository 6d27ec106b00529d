"""HTTP connections over sockets that somebody else makes: from inside another network namespace than the process's.

httpx offers no such thing, httpcore below it does: https://www.encode.io/httpcore/network-backends/
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from socket import socket as Socket

import anyio.abc
import httpcore
import httpx
from httpcore._backends.anyio import AnyIOStream

from sorairo.drivers.protocols import DriverError


def connect_by(transport: httpx.AsyncHTTPTransport, make: Callable[[], Socket]) -> None:
    """Have a transport that has not been used yet connect by sockets of `make`, which raises DriverError."""
    transport._pool._network_backend = _By(make)


class _By(httpcore.AsyncNetworkBackend):
    def __init__(self, make: Callable[[], Socket]) -> None:
        self._make = make

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[object] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """`host`: an IPv4 address."""
        try:
            sock = self._make()
        except (DriverError, OSError) as e:
            raise httpcore.ConnectError(str(e)) from e
        sock.setblocking(False)
        try:
            async with asyncio.timeout(timeout):
                await asyncio.get_running_loop().sock_connect(sock, (host, port))
                return AnyIOStream(await anyio.abc.SocketStream.from_socket(sock))
        except TimeoutError as e:
            sock.close()
            raise httpcore.ConnectTimeout(str(e)) from e
        except OSError as e:
            sock.close()
            raise httpcore.ConnectError(str(e)) from e
        except BaseException:
            sock.close()
            raise

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
