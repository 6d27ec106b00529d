"""A Kubernetes API server as a driver sees it: JSON over HTTPS with a client certificate.

Small on purpose: the control plane asks for a handful of paths, and a generated client costs 30 MB.
https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from socket import socket as Socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from sorairo.drivers.connecting import connect_by
from sorairo.drivers.protocols import DriverError

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Access:
    """Where an API server is and who we are to it: PEM texts."""

    url: str
    ca: str
    cert: str
    key: str
    inside: str | None = None
    """The network namespace to connect from, which the API server is in: it may let nobody else in."""


class NotReady(DriverError):
    """The API server does not answer, or not yet."""


class Refused(DriverError):
    """The API server said no, with an HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class KubernetesApi:
    """Connections are kept per cluster; `forget` lets them go. `socket`: makes one inside a namespace."""

    def __init__(self, socket: Callable[[str], Socket] | None = None) -> None:
        self._clients: dict[Access, httpx.AsyncClient] = {}
        self._socket = socket

    def _client(self, access: Access) -> httpx.AsyncClient:
        client = self._clients.get(access)
        if client is None:
            # All connections are kept: a handshake costs the API server more than most requests.
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
            transport = httpx.AsyncHTTPTransport(verify=_tls(access), limits=limits, trust_env=False)
            if access.inside is not None and self._socket is not None:
                connect_by(transport, partial(self._socket, access.inside))
            client = self._clients[access] = httpx.AsyncClient(
                base_url=access.url, timeout=httpx.Timeout(30, connect=2), transport=transport, trust_env=False
            )
        return client

    async def forget(self, access: Access) -> None:
        client = self._clients.pop(access, None)
        if client is not None:
            await client.aclose()

    async def close(self) -> None:
        for access in list(self._clients):
            await self.forget(access)

    async def request(self, access: Access, method: str, path: str, **kwargs: Any) -> httpx.Response:
        try:
            return await self._client(access).request(method, path, **kwargs)
        except httpx.TransportError as e:
            raise NotReady(f"{method} {access.url}{path}: {e or type(e).__name__}") from e

    async def get(self, access: Access, path: str, **params: str) -> Object | None:
        """None for 404. Raises NotReady, or DriverError with the API server's own message."""
        response = await self.request(access, "GET", path, params=params)
        if response.status_code == 404:
            return None
        return _checked(response)

    async def list(self, access: Access, path: str, *, accept: str = "application/json", **params: str) -> Object:
        """One page of a list. Raises NotReady, Refused."""
        return _checked(await self.request(access, "GET", path, params=params, headers={"Accept": accept}))

    async def apply(self, access: Access, path: str, obj: Object) -> Object:
        """Server-side apply, as field manager `sorairo`."""
        response = await self.request(
            access,
            "PATCH",
            path,
            params={"fieldManager": "sorairo", "force": "true"},
            content=json.dumps(obj),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
        return _checked(response)

    async def create_all(self, access: Access, path: str, objects: Iterable[Object], *, connections: int = 4) -> None:
        """Create many objects of one list; those that are there already are left alone. Raises NotReady, Refused.

        By plain connections in threads: at a thousand objects, `request` would use more CPU than the API server.
        """
        bodies = [msgspec.json.encode(o) for o in objects]
        stop = threading.Event()
        slices = [bodies[n::connections] for n in range(min(connections, len(bodies)))]
        try:
            await asyncio.gather(*(asyncio.to_thread(_create, access, path, each, stop) for each in slices))
        finally:
            stop.set()

    async def merge(self, access: Access, path: str, patch: Object) -> bool:
        """Merge patch (RFC 7396). False: it has changed since the `resourceVersion` in the patch was read."""
        headers = {"Content-Type": "application/merge-patch+json"}
        response = await self.request(access, "PATCH", path, content=json.dumps(patch), headers=headers)
        if response.status_code == 409:
            return False
        _checked(response)
        return True

    async def delete(self, access: Access, path: str) -> None:
        response = await self.request(access, "DELETE", path)
        if response.status_code != 404:
            _checked(response)

    async def ready(self, access: Access, seconds: float) -> None:
        """Wait until `/readyz` says ok. Raises NotReady with what it said last."""
        deadline = time.monotonic() + seconds
        said = "no answer"
        while True:
            try:
                response = await self.request(access, "GET", "/readyz")
                if response.status_code == 200:
                    return
                said = "; ".join(line for line in response.text.splitlines() if line.startswith("[-]")) or response.text
            except NotReady as e:
                said = str(e)
            if time.monotonic() > deadline:
                raise NotReady(f"the API server is not ready: {said}")
            await asyncio.sleep(0.025)  # Nothing to wait on: the socket is not there before it listens.

    async def watch(
        self,
        access: Access,
        path: str,
        *,
        seconds: float,
        silence: float | None = None,
        accept: str = "application/json",
        **params: str,
    ) -> AsyncGenerator[Object, None]:
        """Events (`{"type", "object"}`) of a list path, beginning with what is there, unless a `resourceVersion` is
        given. Ends after `seconds`; raises NotReady when nothing comes for `silence` seconds, Refused."""
        params = {"watch": "1", "timeoutSeconds": str(max(1, int(seconds))), **params}
        try:
            timeout = httpx.Timeout(silence or seconds + 5, connect=2)
            headers = {"Accept": accept}
            async with self._client(access).stream(
                "GET", path, params=params, headers=headers, timeout=timeout
            ) as response:
                if response.status_code != 200:
                    await response.aread()
                    _checked(response)
                async for line in response.aiter_lines():
                    if line:
                        yield msgspec.json.decode(line)
        except httpx.TransportError as e:
            raise NotReady(f"watch {path}: {e or type(e).__name__}") from e

    async def until(
        self,
        access: Access,
        path: str,
        wanted: Iterable[str],
        good: Callable[[Object], bool] = lambda obj: True,
        *,
        seconds: float,
    ) -> set[str]:
        """Watch a list until all objects named in `wanted` are there and `good`. Returns those that are not when the
        time is over. Raises NotReady."""
        names = set(wanted)
        missing = set(names)
        deadline = time.monotonic() + seconds
        while missing and (left := deadline - time.monotonic()) > 0:
            # A watch may end at any time, when its reader is slow: what has happened meanwhile is told by the next.
            missing = set(names)
            events = self.watch(access, path, seconds=left)
            with contextlib.suppress(TimeoutError):
                async with contextlib.aclosing(events), asyncio.timeout(left):
                    async for event in events:
                        obj = event["object"]
                        name = obj.get("metadata", {}).get("name")
                        if event["type"] not in ("ADDED", "MODIFIED") or not good(obj):
                            missing |= names & {name}
                        else:
                            missing.discard(name)
                            if not missing:
                                return missing
                    await asyncio.sleep(0.05)
        return missing


def _tls(access: Access) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=access.ca)
    pem = f"{access.cert}\n{access.key}".encode()
    if sys.platform.startswith("linux"):  # ssl takes files only; this one is never on a disk.
        with open(os.memfd_create("client", os.MFD_CLOEXEC), "wb") as file:
            file.write(pem)
            file.flush()
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
    else:
        with tempfile.NamedTemporaryFile(prefix="sorairo-") as file:  # 0600
            file.write(pem)
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _create(access: Access, path: str, bodies: list[bytes], stop: threading.Event) -> None:
    url = urlsplit(access.url)
    connection = http.client.HTTPSConnection(url.hostname or "", url.port, context=_tls(access), timeout=30)
    try:
        for body in bodies:
            if stop.is_set():
                return
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
            if response.status not in (201, 409):
                raise Refused(f"POST {path}: {response.status} {text}", response.status)
    except (OSError, http.client.HTTPException) as e:
        raise NotReady(f"POST {access.url}{path}: {e or type(e).__name__}") from e
    finally:
        connection.close()


def _checked(response: httpx.Response) -> Object:
    try:
        body: Object = response.json()
    except ValueError:
        body = {"message": response.text}
    if response.is_success:
        return body
    raise Refused(
        f"{response.request.method} {response.url.path}: {response.status_code} {body.get('message', '')}",
        response.status_code,
    )


def node_ready(node: Object) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
