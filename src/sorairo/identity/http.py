"""The token service's HTTP: discovery, keys and tokens, under `/{tenant}/…` of the same origin as ARM.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sorairo.identity import errors
from sorairo.identity.directory import ServicePrincipal
from sorairo.identity.errors import EntraError
from sorairo.identity.tokens import LIFETIME, Tokens

MANY = ("common", "organizations", "consumers")
"""Tenant names that stand for any tenant."""
LONGEST = 65536
"""Bytes of the largest token request read."""

PATHS = re.compile(
    r"/[^/]+/((v2\.0/)?\.well-known/openid-configuration|discovery/(v2\.0/)?keys|discovery/instance"
    r"|oauth2/(v2\.0/)?token)/?",
    re.IGNORECASE,
)
"""What this service answers; everything else on the origin is ARM's."""


def create_app(tokens: Tokens) -> Starlette:
    """The token service as an ASGI app; it answers the paths that match `PATHS`."""
    service = _Service(tokens)
    routes = [
        Route("/{tenant}/v2.0/.well-known/openid-configuration", service.discovery_v2),
        Route("/{tenant}/.well-known/openid-configuration", service.discovery_v1),
        Route("/{tenant}/discovery/instance", service.instance),
        Route("/{tenant}/discovery/v2.0/keys", service.keys),
        Route("/{tenant}/discovery/keys", service.keys),
        Route("/{tenant}/oauth2/v2.0/token", service.token_v2, methods=["POST"]),
        Route("/{tenant}/oauth2/token", service.token_v1, methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers={EntraError: _refuse})


class _Service:
    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._directory = tokens.directory

    # --- discovery -------------------------------------------------------------------------------------

    async def discovery_v2(self, request: Request) -> Response:
        tenant, base = self._tenant(request, "invalid_tenant"), self._tokens.authority.base
        shown = tenant or "{tenantid}"  # as Entra's own `common` document has it
        path = tenant or request.path_params["tenant"]
        return JSONResponse(
            {
                "token_endpoint": f"{base}/{path}/oauth2/v2.0/token",
                "authorization_endpoint": f"{base}/{path}/oauth2/v2.0/authorize",
                "device_authorization_endpoint": f"{base}/{path}/oauth2/v2.0/devicecode",
                "end_session_endpoint": f"{base}/{path}/oauth2/v2.0/logout",
                "jwks_uri": f"{base}/{path}/discovery/v2.0/keys",
                "issuer": self._tokens.authority.issuer_v2(shown),
                **_capabilities(base),
            }
        )

    async def discovery_v1(self, request: Request) -> Response:
        tenant, base = self._tenant(request, "invalid_tenant"), self._tokens.authority.base
        path = tenant or request.path_params["tenant"]
        return JSONResponse(
            {
                "token_endpoint": f"{base}/{path}/oauth2/token",
                "authorization_endpoint": f"{base}/{path}/oauth2/authorize",
                "device_authorization_endpoint": f"{base}/{path}/oauth2/devicecode",
                "end_session_endpoint": f"{base}/{path}/oauth2/logout",
                "jwks_uri": f"{base}/{path}/discovery/keys",
                "issuer": self._tokens.authority.issuer(tenant or "{tenantid}"),
                **_capabilities(base),
            }
        )

    async def instance(self, request: Request) -> Response:
        base = self._tokens.authority.base
        host = urlsplit(base).netloc
        tenant = self._directory.tenant["tenantId"]
        return JSONResponse(
            {
                "tenant_discovery_endpoint": f"{base}/{tenant}/v2.0/.well-known/openid-configuration",
                "api-version": "1.1",
                "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
            }
        )

    async def keys(self, request: Request) -> Response:
        self._tenant(request, "invalid_tenant")
        return JSONResponse(self._tokens.keys.public(), headers={"Cache-Control": "max-age=3600"})

    # --- tokens ----------------------------------------------------------------------------------------

    async def token_v2(self, request: Request) -> Response:
        form = await self._form(request)
        principal = self._client(request, form)
        scope = _needed(form, "scope")
        resource = _resource_of(scope)
        token = self._tokens.sign(self._claims(principal, resource))
        lifetime = LIFETIME - 1
        return _token({"expires_in": lifetime, "ext_expires_in": lifetime, "access_token": token})

    async def token_v1(self, request: Request) -> Response:
        form = await self._form(request)
        principal = self._client(request, form)
        resource = _needed(form, "resource")
        claims = self._claims(principal, resource)
        lifetime = str(LIFETIME - 1)  # version 1 writes its numbers as text
        return _token(
            {
                "expires_in": lifetime,
                "ext_expires_in": lifetime,
                "expires_on": str(claims["exp"]),
                "not_before": str(claims["nbf"]),
                "resource": resource,
                "access_token": self._tokens.sign(claims),
            }
        )

    def _claims(self, principal: ServicePrincipal, resource: str) -> dict[str, Any]:
        if not self._tokens.authority.knows(resource, self._directory):
            raise errors.unknown_resource(resource, self._directory.tenant["displayName"])
        return self._tokens.claims(principal, resource)

    def _client(self, request: Request, form: Mapping[str, str]) -> ServicePrincipal:
        """Who the form (or a Basic header) proves to be."""
        grant = _needed(form, "grant_type")
        if grant != "client_credentials":
            raise errors.bad_grant(grant)
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        if not client_id:
            client_id, secret = _basic(request.headers.get("authorization", ""))
        if not client_id:
            raise errors.missing_parameter("client_id")
        if self._tenant(request) is None:
            raise errors.no_tenant()
        if self._directory.application(client_id) is None:
            raise errors.unknown_application(client_id, self._directory.tenant["displayName"])
        if not secret:
            raise errors.certificate_unsupported() if form.get("client_assertion") else errors.no_credential()
        return self._directory.check_secret(client_id, secret)

    async def _form(self, request: Request) -> dict[str, str]:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > LONGEST:
                raise EntraError(90014, "invalid_request", "The request body is too large.", status=413)
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))

    def _tenant(self, request: Request, error: str = "invalid_request") -> str | None:
        """The tenant id the path names; None for `common` and its like. Raises EntraError 90002 for another's."""
        name = request.path_params["tenant"]
        if name.lower() in MANY:
            return None
        if not self._directory.is_tenant(name):
            raise errors.unknown_tenant(name, error)
        return str(self._directory.tenant["tenantId"])


def _capabilities(base: str) -> dict[str, Any]:
    return {
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "response_types_supported": ["code", "id_token", "code id_token", "token"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nbf", "oid", "tid", "appid", "ver", "uti"],
        "request_uri_parameter_supported": False,
        "tenant_region_scope": None,
        "cloud_instance_name": urlsplit(base).netloc,
        "msgraph_host": urlsplit(base).netloc,
    }


def _resource_of(scope: str) -> str:
    """The resource a client-credentials scope names: exactly `/.default` taken off, so that a resource written
    with a closing slash (`…//.default`) keeps it. Raises EntraError."""
    if not scope.strip() or len(scope.split()) != 1:
        raise errors.bad_scope(scope)
    if not scope.endswith("/.default") or scope == "/.default":
        raise errors.scope_not_default(scope)
    return scope.removesuffix("/.default")


def _needed(form: Mapping[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise errors.missing_parameter(name)
    return value


def _basic(header: str) -> tuple[str, str]:
    """Client id and secret of a Basic header, each form-encoded (RFC 6749 2.3.1); empty when there is none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return unquote_plus(client_id), unquote_plus(secret)


def _token(body: dict[str, Any]) -> Response:
    return JSONResponse({"token_type": "Bearer", **body}, headers=_headers())


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, EntraError)
    body = error.body(request.headers.get("client-request-id", ""))
    return JSONResponse(body, status_code=error.status, headers=_headers())


def _headers() -> dict[str, str]:
    return {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache", "x-ms-request-id": str(uuid.uuid4())}
