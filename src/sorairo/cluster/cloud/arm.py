"""Azure Resource Manager as its client sees it: documents by id, ETags, long-running operations.

https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import msgspec

from sorairo.cluster.cloud.signin import Credential
from sorairo.engine import trace

Document = dict[str, Any]

NETWORK, COMPUTE = "2024-05-01", "2024-07-01"
"""api-versions."""
POLL, POLL_MOST = 0.01, 1.0
"""Seconds before an operation is asked about first, doubled each time up to what the server says (`Retry-After`)."""
TRIES = 4
"""Of a request that was throttled or met a server that stumbled."""
LONGEST_WAIT = 300.0
"""Seconds that an operation may take."""


class ArmFailure(Exception):
    """ARM refused. `str(e)` is worded as Azure's own clients word it, with the error's code and the whole answer."""

    def __init__(self, method: str, url: str, status: int, reason: str, text: str, *, operation: bool = False) -> None:
        """`operation`: it had been accepted, and failed then."""
        try:
            error = json.loads(text)["error"]
            code, message = str(error.get("code", "")), str(error.get("message", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            code, message = "", text
        self.status, self.code, self.message, self.operation = status, code, message, operation
        rule = "-" * 80
        super().__init__(
            f"{method} {url}\n{rule}\nRESPONSE {status}: {status} {reason}\nERROR CODE: {code or 'Unavailable'}\n"
            f"{rule}\n{text.strip()}\n{rule}"
        )

    @property
    def moved(self) -> bool:
        """Somebody else wrote it meanwhile: read again."""
        return self.status == 412 or self.code in ("AnotherOperationInProgress", "RetryableError")


class Unreachable(Exception):
    """ARM does not answer."""


class Arm:
    """As one principal. The HTTP client is the caller's, and may be shared."""

    def __init__(self, http: httpx.AsyncClient, endpoint: str, credential: Credential) -> None:
        self._http = http
        self._endpoint = endpoint
        self._credential = credential

    async def get(self, id: str, version: str = NETWORK) -> Document | None:
        """None: there is no such resource. Raises ArmFailure, Unreachable, SignInFailed."""
        response = await self._send("GET", self._url(id, version))
        if response.status_code == 404:
            return None
        return self._checked(response)

    async def list(self, path: str, version: str = NETWORK) -> list[Document]:
        """All pages of a list."""
        found: list[Document] = []
        url = self._url(path, version)
        while url:
            page = self._checked(await self._send("GET", url))
            found += page.get("value", [])
            url = page.get("nextLink") or ""
        return found

    async def put(self, id: str, body: Document, version: str = NETWORK, *, read: bool = True) -> Document:
        """Create or replace, wait until it is done, and return it as it is then (without `read`: as it was accepted).
        A body that was read before goes back only if nobody has written it since (its ETag): `ArmFailure.moved`
        otherwise."""
        return await self._write("PUT", id, body, version, read)

    async def patch(self, id: str, body: Document, version: str = NETWORK) -> None:
        await self._write("PATCH", id, body, version, read=False)

    async def delete(self, id: str, version: str = NETWORK) -> None:
        """Wait until it is gone."""
        response = await self._send("DELETE", self._url(id, version))
        if response.status_code not in (204, 404):
            if not response.is_success:
                self._checked(response)
            await self._settled(response)

    async def _write(self, method: str, id: str, body: Document, version: str, read: bool) -> Document:
        headers = {"if-match": body["etag"]} if body.get("etag") else {}
        response = await self._send(method, self._url(id, version), body, headers)
        document = self._checked(response) if response.content or not response.is_success else {}
        if (await self._settled(response) or not document) and read:
            return self._checked(await self._send("GET", self._url(id, version)))
        return document

    async def _settled(self, response: httpx.Response) -> bool:
        """Wait for the operation that an answer names. False: there was none to wait for."""
        url = response.headers.get("azure-asyncoperation") or response.headers.get("location")
        if not url:
            return False
        pause, most = POLL, _seconds(response, POLL_MOST)
        async with asyncio.timeout(LONGEST_WAIT):
            while True:
                await asyncio.sleep(min(pause, most))
                pause *= 2
                answer = await self._send("GET", url)
                body = self._checked(answer) if answer.content or not answer.is_success else {}
                status = body.get("status") or ("InProgress" if answer.status_code == 202 else "Succeeded")
                if status in ("Failed", "Canceled"):
                    error = body.get("error") or {"code": status, "message": f"The operation was {status}."}
                    request = response.request
                    text = json.dumps({"error": error})
                    raise ArmFailure(
                        request.method,
                        _bare(request.url),
                        answer.status_code,
                        answer.reason_phrase,
                        text,
                        operation=True,
                    )
                if status == "Succeeded":
                    return True
                most = _seconds(answer, POLL_MOST)

    async def _send(
        self, method: str, url: str, body: Document | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        for left in range(TRIES - 1, -1, -1):
            response = await self._once(method, url, body, headers or {})
            if response.status_code == 401:
                self._credential.forget()
            elif response.status_code != 429 and response.status_code < 500:
                return response
            if not left:
                return response
            if response.status_code != 401:
                await asyncio.sleep(_seconds(response, POLL_MOST))
        raise AssertionError

    async def _once(self, method: str, url: str, body: Document | None, headers: dict[str, str]) -> httpx.Response:
        headers = {
            "authorization": f"Bearer {await self._credential.token()}",
            "user-agent": "kubernetes-cloudprovider/sorairo",
            **headers,
        }
        if span := trace.current.get():
            headers["traceparent"] = f"00-{span.trace_id}-{span.span_id}-01"
        content = None
        if body is not None:
            headers["content-type"] = "application/json"
            content = msgspec.json.encode(body)
        try:
            try:
                return await self._http.request(method, url, content=content, headers=headers)
            except httpx.RemoteProtocolError:  # An idle connection, ended at this moment
                return await self._http.request(method, url, content=content, headers=headers)
        except httpx.TransportError as e:
            raise Unreachable(f"{method} {url}: {e or type(e).__name__}") from e

    def _checked(self, response: httpx.Response) -> Document:
        if response.is_success:
            document: Document = msgspec.json.decode(response.content)
            return document
        request = response.request
        raise ArmFailure(
            request.method, _bare(request.url), response.status_code, response.reason_phrase, response.text
        )

    def _url(self, path: str, version: str) -> str:
        return f"{self._endpoint}{path}?api-version={version}"


def _bare(url: httpx.URL) -> str:
    return str(url.copy_with(query=None))


def _seconds(response: httpx.Response, most: float) -> float:
    try:
        return max(0.0, float(response.headers.get("retry-after", most)))
    except ValueError:
        return most
