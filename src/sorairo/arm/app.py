"""The ARM surface as an ASGI app: the way of one request, from bytes to bytes."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import structlog

from sorairo.arm import errors, linked, steps
from sorairo.arm.endpoints import make_router
from sorairo.arm.exchange import Answer, Exchange, Receive, parse_query
from sorairo.arm.routing import Target
from sorairo.arm.settings import Settings
from sorairo.arm.stream import Send, relay
from sorairo.arm.throttle import Throttle, Throttled
from sorairo.engine import trace
from sorairo.engine.control import Control
from sorairo.engine.errors import ArmError
from sorairo.engine.types import Document, Resource
from sorairo.identity.principal import Principal

log = structlog.get_logger(__name__)

Scope = MutableMapping[str, Any]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Authenticate = Callable[[str | None], Principal]
"""The principal an `Authorization` header proves; raises ArmError 401."""
Authorize = Callable[[Principal, str, str], None]
"""Principal, RBAC action, scope id; raises ArmError 403."""
Logs = Callable[[Resource, str, bool, int], Awaitable[AsyncIterator[bytes]]]
"""Cluster, component ('' for all), follow, how many last lines; raises ArmError when there is no such component."""
PacketPath = Callable[[str, str, int, str], Awaitable[Document]]
"""Client, address, port, protocol; raises ArmError."""
Mount = tuple[re.Pattern[str], ASGIApp]
"""Another app of the same origin, and the paths (matched whole) it answers."""

OURS = ("subscriptions", "providers", "tenants", "metadata")
"""First segments that no mount is asked for."""
_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}.*")
_encode = msgspec.json.Encoder().encode


def create_app(
    control: Control,
    authenticate: Authenticate,
    authorize: Authorize,
    settings: Settings | None = None,
    *,
    challenge: Callable[[ArmError], str] = lambda error: "Bearer",
    status: Callable[[], Awaitable[Document]] | None = None,
    logs: Logs | None = None,
    packet: PacketPath | None = None,
    mounts: Sequence[Mount] = (),
) -> Arm:
    """The whole origin: ARM, and beside it `mounts` (the token service).

    `challenge` writes the `WWW-Authenticate` header of a 401; `status` gives what `sorairo status` shows besides
    what is stored, `logs` what `sorairo logs` does, `packet` the way of one.
    """
    return Arm(control, authenticate, authorize, settings or Settings(), challenge, status, logs, packet, mounts)


class Arm:
    def __init__(
        self,
        control: Control,
        authenticate: Authenticate,
        authorize: Authorize,
        settings: Settings,
        challenge: Callable[[ArmError], str],
        status: Callable[[], Awaitable[Document]] | None,
        logs: Logs | None,
        packet: PacketPath | None,
        mounts: Sequence[Mount],
    ) -> None:
        self.control = control
        self.authenticate = authenticate
        self.authorize = authorize
        self.settings = settings
        self.challenge = challenge
        self.status = status
        self.logs = logs
        self.packet = packet
        self.throttle = Throttle(settings.limits)
        self.subscriptions: set[str] = set()
        """Lower-case ids of those known to exist; a subscription never goes."""
        self.started_at = time.time()
        self.resolve: Callable[[str], Target | None] = lru_cache(maxsize=4096)(make_router(control.registry).resolve)
        self._mounts = mounts

    async def answer(self, x: Exchange) -> Answer:
        """The way of one request."""
        try:
            steps.identify(x)
            steps.locate(x)
            steps.authenticate(x)
            steps.place(x)
            steps.throttle(x)
            steps.negotiate(x)
            steps.method(x)
            steps.authorize(x)
            await steps.content(x)
            linked.check(x)
            return await x.route.handler(x)
        except ArmError as e:
            await steps.note(x, e)
            return steps.refusal(x, e)
        except Throttled as e:
            answer = steps.refusal(x, e.error)
            answer.headers["retry-after"] = str(e.seconds)
            return answer
        except Exception:
            log.exception("request failed", method=x.method, path=x.path, request_id=x.request_id)
            return steps.refusal(x, errors.unexpected(x.request_id))

    async def traced(self, x: Exchange) -> Answer:
        """As `answer`, recorded: every request that may make something, and what a traced caller asks.

        The record is a span, not a line of the log: that would cost a third of a PUT's time and say less.
        """
        parent = _PARENT.fullmatch(x.headers.get("traceparent", ""))
        if parent is None and x.method in ("GET", "HEAD") and not self.settings.trace_reads:
            return await self.answer(x)
        trace_id, parent_id = (parent[1], parent[2]) if parent else ("", "")
        with trace.span(f"{x.method} {x.path}", "request", trace_id=trace_id, parent_id=parent_id) as span:
            answer = await self.answer(x)
            span.status = "ok" if answer.status < 400 else "error"
            span.attributes.update(
                {
                    "http.request.method": x.method,
                    "http.response.status_code": answer.status,
                    "url.path": x.path,
                    "user_agent.original": x.headers.get("user-agent", "")[:200],
                    "principal": x.caller,
                    "request_id": x.request_id,
                    "correlation_id": x.correlation_id,
                }
            )
            if answer.status >= 400:
                span.attributes["error"] = answer.body["error"]["code"]
        return answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        if path.lstrip("/").split("/", 1)[0].lower() not in OURS:
            for pattern, app in self._mounts:
                if pattern.fullmatch(path):
                    await app(scope, receive, send)
                    return
        x = self._exchange(scope, path, receive)
        answer = await self.traced(x)
        if answer.stream is not None:
            answer.headers.setdefault("content-type", "text/plain; charset=utf-8")
            head = {"type": "http.response.start", "status": answer.status, "headers": _headers(x, answer, None)}
            await send(head)
            await relay(answer.stream, receive, send)
            return
        try:
            body = b"" if answer.body is None or x.method == "HEAD" else _encode(answer.body)
        except (TypeError, ValueError):
            log.exception("answer cannot be written", method=x.method, path=x.path, request_id=x.request_id)
            answer = steps.refusal(x, errors.unexpected(x.request_id))
            body = _encode(answer.body)
        await send({"type": "http.response.start", "status": answer.status, "headers": _headers(x, answer, len(body))})
        await send({"type": "http.response.body", "body": body})

    def _exchange(self, scope: Scope, path: str, receive: Receive) -> Exchange:
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        query = scope["query_string"].decode("latin-1")
        base = self.settings.base_url or f"{scope['scheme']}://{headers.get('host', 'localhost')}"
        return Exchange(self, scope["method"], path, parse_query(query), query, headers, base, receive)


def _headers(x: Exchange, answer: Answer, length: int | None) -> list[tuple[bytes, bytes]]:
    """Every answer's: what ids it goes by, what is left of the caller's allowance."""
    headers = {
        **answer.headers,
        "x-ms-request-id": x.request_id,
        "x-ms-correlation-request-id": x.correlation_id,
        "x-ms-routing-request-id": f"SORAIRO:{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}:{x.correlation_id}",
    }
    if answer.status != 204 and length is not None:
        headers["content-length"] = str(length)
        if length:
            headers["content-type"] = "application/json; charset=utf-8"
    if x.remaining:
        headers[x.remaining[0]] = x.remaining[1]
    if x.headers.get("x-ms-return-client-request-id", "").lower() == "true":
        headers["x-ms-client-request-id"] = x.headers.get("x-ms-client-request-id", "")
    encoded = [(k.encode("latin-1"), v.encode("latin-1", "replace")) for k, v in headers.items()]
    return [*encoded, *steps.CLOSING]
