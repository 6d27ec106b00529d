"""The metadata service of one virtual network, as an ASGI app.

https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service#errors-and-debugging
"""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sorairo.engine.types import Document
from sorairo.identity.tokens import Tokens
from sorairo.imds import balancing, instance
from sorairo.imds.machine import Machine, Reads, find
from sorairo.imds.tokens import Refused, token
from sorairo.imds.versions import LOAD_BALANCERS, VERSIONS, newest

IDENTITY = "2018-02-01"
"""The api-version that came with identities; all later ones have them, too."""
EVENTS = "2017-08-01"
LONGEST_BODY = 64 * 1024
MORE = "For more information refer to aka.ms/azureimds"


class Failed(Exception):
    """An error in the words of metadata's own: `{"error": …}`."""

    def __init__(self, status: int, error: str, **more: Any) -> None:
        super().__init__(error)
        self.status, self.body = status, {"error": error, **more}


def create_app(reads: Reads, tokens: Tokens, network: str) -> ASGIApp:
    """`network`: id of the virtual network whose machines connect."""
    service = _Service(reads, tokens, network)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            response = await service.answer(Request(scope, receive))
            await response(scope, receive, send)

    return app


class _Service:
    def __init__(self, reads: Reads, tokens: Tokens, network: str) -> None:
        self._reads = reads
        self._tokens = tokens
        self._network = network

    async def answer(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except (Failed, Refused) as e:
            return refusal(e)

    async def _answer(self, request: Request) -> Response:
        path = [p for p in request.url.path.split("/") if p]
        if not path or path[0].lower() != "metadata":
            raise Failed(404, "Not found")
        identity = len(path) > 1 and path[1].lower() == "identity"
        guard(request, identity)
        machine = find(self._reads, self._network, request.client.host if request.client else "")
        if machine is None:
            source = request.client.host if request.client else ""
            raise Refused("unknown_source", f"Unknown Source {source}", 401)
        match [p.lower() for p in path[1:3]]:
            case ["versions"]:
                self._only(request, "GET")
                return _json({"apiVersions": list(VERSIONS)})
            case ["instance", *_]:
                self._only(request, "GET")
                version = version_of(request, VERSIONS[0])
                return _shown(instance.document(self._reads, machine, version), path[2:], request)
            case ["loadbalancer"]:
                return self._balancers(request, machine)
            case ["scheduledevents"]:
                return await self._events(request)
            case ["identity", "info"] if len(path) == 3:
                self._only(request, "GET")
                version_of(request, IDENTITY)
                return _json({"tenantId": self._tokens.directory.tenant_id})
            case ["identity", "oauth2"] if [p.lower() for p in path[3:]] == ["token"]:
                self._only(request, "GET")
                version_of(request, IDENTITY)
                return secret(token(self._tokens, machine.model, request.query_params))
        raise Failed(404, "Not found")

    def _only(self, request: Request, *methods: str) -> None:
        if request.method not in methods:
            raise Failed(405, f"Method not allowed. Only {' and '.join(methods)} are supported here")

    def _balancers(self, request: Request, machine: Machine) -> Response:
        if request.method != "GET":
            raise Failed(405, f'Http method not allowed: Path = "{request.url.path}", Method = "{request.method}"')
        if "api-version" not in request.query_params:
            raise Failed(400, 'Missing required parameter "api-version". Fix the request and retry.')
        version = request.query_params["api-version"]
        if version not in VERSIONS or version < LOAD_BALANCERS:
            raise Failed(
                400,
                f'Parameter value "{version}" isn\'t allowed for parameter "api-version". Fix the request and retry.',
            )
        found = balancing.document(self._reads, machine)
        if found is None:
            raise Failed(
                404,
                "No load balancer metadata is found. Check if your virtual machine is using any nonbasic SKU load "
                "balancer and retry later.",
            )
        return _json(found)

    async def _events(self, request: Request) -> Response:
        """Nothing is ever scheduled here: maintenance is what the machine's owner does.

        https://learn.microsoft.com/azure/virtual-machines/linux/scheduled-events"""
        self._only(request, "GET", "POST")
        version_of(request, EVENTS)
        if request.method == "GET":
            return _json({"DocumentIncarnation": 1, "Events": []})
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LONGEST_BODY:
                raise Failed(400, f"Bad request. The body is longer than {LONGEST_BODY} bytes")
        try:
            asked = [str(r["EventId"]) for r in json.loads(body)["StartRequests"]]
        except (ValueError, KeyError, TypeError):
            raise Failed(400, 'Bad request. The body must be {"StartRequests": [{"EventId": "…"}]}') from None
        if asked:
            raise Failed(400, f"Bad request. There is no event {asked[0]}")
        return _json({})


def _shown(found: Document, path: list[str], request: Request) -> Response:
    """What is at a path below a document: JSON, or text with `format=text`, which leaves need."""
    value: Any = found
    for name in path:
        value = _member(value, name)
    format = request.query_params.get("format", "json").lower()
    if format not in ("json", "text"):
        raise Failed(400, f"Bad request. format '{format[:20]}' is not supported: json or text")
    if not isinstance(value, dict | list):
        if format != "text":
            raise Failed(400, "Bad request. This is a leaf: it needs the parameter format=text")
        return Response(str(value), media_type="text/plain")
    if format == "json":
        return _json(value)
    children = value.items() if isinstance(value, dict) else enumerate(value)
    lines = [f"{name}/" if isinstance(each, dict | list) else str(name) for name, each in children]
    return Response("\n".join(lines), media_type="text/plain")


def _member(value: Any, name: str) -> Any:
    if isinstance(value, list) and name.isascii() and name.isdigit() and int(name) < len(value):
        return value[int(name)]
    if isinstance(value, dict):
        for key, each in value.items():
            if key.lower() == name.lower():
                return each
    raise Failed(404, "Not found")


def guard(request: Request, identity: bool) -> None:
    """What a request that was only passed on lacks or has: SSRF, and proxies that do not know what they carry."""
    if request.headers.get("metadata", "").lower() != "true":
        if identity:
            raise Refused("invalid_request", "Required metadata header not specified")
        raise Failed(400, "Bad request. Required metadata header not specified")
    if "x-forwarded-for" in request.headers:
        if identity:
            raise Refused("invalid_request", "Requests with an X-Forwarded-For header are not allowed")
        raise Failed(400, "Bad request. Requests with an X-Forwarded-For header are not allowed")


def version_of(request: Request, since: str) -> str:
    version = request.query_params.get("api-version", "")
    if not version:
        raise Failed(
            400,
            f"Bad request. api-version was not specified in the request. {MORE}",
            **{"newest-versions": newest()},
        )
    if version not in VERSIONS or version < since:
        raise Failed(
            400,
            f"Bad request. api-version is invalid or was not specified in the request. {MORE}",
            **{"newest-versions": newest()},
        )
    return version


def refusal(e: Failed | Refused) -> Response:
    if isinstance(e, Failed):
        return _json(e.body, e.status)
    return _json({"error": e.error, "error_description": e.description}, e.status)


def secret(body: Document) -> Response:
    return _json(body, headers={"Cache-Control": "no-store"})


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(body), status, {"Server": "IMDS", **(headers or {})}, "application/json; charset=utf-8")
