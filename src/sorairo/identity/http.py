"""The token service's HTTP: discovery, keys and tokens, under `/{tenant}/…` of the same origin as ARM.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sorairo.identity import errors
from sorairo.identity.assertions import IssuerKeys, LoopbackIssuers
from sorairo.identity.clients import Clients, IdentityTrusts
from sorairo.identity.directory import ServicePrincipal
from sorairo.identity.errors import EntraError
from sorairo.identity.form import read_form
from sorairo.identity.people import DEVICE_LIFETIME, INTERVAL, OIDC, People, resource_of
from sorairo.identity.signin import SignIn
from sorairo.identity.tokens import LIFETIME, Tokens

MANY = ("common", "organizations", "consumers")
"""Tenant names that stand for any tenant."""
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"

PATHS = re.compile(
    r"/[^/]+/((v2\.0/)?\.well-known/openid-configuration|discovery/(v2\.0/)?keys|discovery/instance"
    r"|oauth2/(v2\.0/)?(token|authorize|devicecode|deviceauth|logout)|userrealm/[^/]+)/?",
    re.IGNORECASE,
)
"""What this service answers; everything else on the origin is ARM's."""


def create_app(
    tokens: Tokens,
    issuer_keys: IssuerKeys | None = None,
    identity_trusts: IdentityTrusts = lambda resource_id: [],
) -> Starlette:
    """The token service as an ASGI app; it answers the paths that match `PATHS`. `issuer_keys`: of whom federated
    credentials trust; by default those of this machine."""
    clients = Clients(tokens, issuer_keys or LoopbackIssuers(), identity_trusts)
    people = People(tokens)
    service = _Service(tokens, clients, people)
    signing_in = SignIn(tokens.directory, people, clients)
    routes = [
        Route("/{tenant}/v2.0/.well-known/openid-configuration", service.discovery_v2),
        Route("/{tenant}/.well-known/openid-configuration", service.discovery_v1),
        Route("/{tenant}/discovery/instance", service.instance),
        Route("/{tenant}/discovery/v2.0/keys", service.keys),
        Route("/{tenant}/discovery/keys", service.keys),
        Route("/{tenant}/oauth2/v2.0/token", service.token_v2, methods=["POST"]),
        Route("/{tenant}/oauth2/token", service.token_v1, methods=["POST"]),
        Route("/{tenant}/userrealm/{user}", service.realm),
        Route("/{tenant}/oauth2/deviceauth", signing_in.device, methods=["GET", "POST"]),
        Route("/{tenant}/oauth2/v2.0/logout", service.logout),
    ]
    for version in ("", "v2.0/"):
        routes += [
            Route(f"/{{tenant}}/oauth2/{version}authorize", signing_in.authorize, methods=["GET", "POST"]),
            Route(f"/{{tenant}}/oauth2/{version}devicecode", service.device_code, methods=["POST"]),
        ]
    return Starlette(routes=routes, exception_handlers={EntraError: _refuse})


class _Service:
    def __init__(self, tokens: Tokens, clients: Clients, people: People) -> None:
        self._tokens = tokens
        self._clients = clients
        self._people = people
        self._directory = tokens.directory

    def _base(self, request: Request) -> str:
        """Us, as who asks came to us: endpoints inside a virtual network are others than outside."""
        return self._tokens.authority.seen_as(request.headers.get("host", ""))

    # --- discovery -------------------------------------------------------------------------------------

    async def discovery_v2(self, request: Request) -> Response:
        tenant, base = self._tenant(request, "invalid_tenant"), self._base(request)
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
        tenant, base = self._tenant(request, "invalid_tenant"), self._base(request)
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
        base = self._base(request)
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
        form = await read_form(request)
        if _needed(form, "grant_type") != "client_credentials":
            return _token(await self._user(request, form, form.get("scope", "")))
        principal, proof = await self._client(request, form)
        resource = _resource_of(_needed(form, "scope"))
        token = self._tokens.sign(self._claims(principal, resource, proof))
        lifetime = LIFETIME - 1
        return _token({"expires_in": lifetime, "ext_expires_in": lifetime, "access_token": token})

    async def token_v1(self, request: Request) -> Response:
        form = await read_form(request)
        lifetime = str(LIFETIME - 1)  # version 1 writes its numbers as text
        if _needed(form, "grant_type") != "client_credentials":
            resource = _needed(form, "resource")
            body = await self._user(request, form, f"openid offline_access {resource}/.default")
            return _token({**body, "resource": resource, "expires_in": lifetime, "ext_expires_in": lifetime})
        principal, proof = await self._client(request, form)
        resource = _needed(form, "resource")
        claims = self._claims(principal, resource, proof)
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

    async def device_code(self, request: Request) -> Response:
        form = await read_form(request)
        client_id, base = _needed(form, "client_id").lower(), self._base(request)
        self._clients.name(client_id)
        self._tenant(request)
        scope = form.get("scope") or f"{form.get('resource', '')}/.default"
        resource_of(scope)
        device, user = self._people.new_device(client_id, scope)
        uri = f"{base}/common/oauth2/deviceauth"
        return JSONResponse(
            {
                "user_code": user,
                "device_code": device,
                "verification_uri": uri,
                "verification_url": uri,
                "expires_in": DEVICE_LIFETIME,
                "interval": INTERVAL,
                "message": f"To sign in, use a web browser to open the page {uri} and enter the code {user} to "
                "authenticate.",
            },
            headers=_headers(),
        )

    async def realm(self, request: Request) -> Response:
        """What clients ask before they send a user's password: whose domain it is."""
        user = request.path_params["user"]
        ours = user.rpartition("@")[2].lower() == self._directory.tenant["domain"]
        host = urlsplit(self._base(request)).netloc
        return JSONResponse(
            {
                "ver": "1.0",
                "account_type": "Managed" if ours else "Unknown",
                "domain_name": user.rpartition("@")[2],
                "cloud_instance_name": host,
                "cloud_audience_urn": "urn:federation:MicrosoftOnline",
            }
        )

    async def logout(self, request: Request) -> Response:
        """There is no session to end: each sign-in asks for the password."""
        return Response("Signed out.", media_type="text/plain")

    async def _user(self, request: Request, form: Mapping[str, str], scope: str) -> dict[str, Any]:
        """A user's tokens, for any grant but client credentials. Raises EntraError."""
        grant, header = form["grant_type"], request.headers.get("authorization", "")
        self._tenant(request)
        if grant not in ("authorization_code", "refresh_token", "password", DEVICE_GRANT, "device_code"):
            raise errors.bad_grant(grant)
        client_id, nonce = await self._clients.public(form, header), ""
        if grant == "authorization_code":
            code = _needed(form, "code")
            it = self._people.redeem(code, client_id, form.get("redirect_uri", ""), form.get("code_verifier", ""))
            user, nonce, scope = self._directory.user(it.user_id), it.nonce, scope or it.scope
        elif grant == "refresh_token":
            user = self._people.refresh(_needed(form, "refresh_token"), client_id)
        elif grant == "password":
            name, password = _needed(form, "username"), _needed(form, "password")
            user = await asyncio.to_thread(self._directory.check_password, name, password)
        else:
            device = form.get("device_code") or _needed(form, "code")  # version 1 calls it so
            it = self._people.redeem_device(device, client_id)
            user, scope = self._directory.user(it.user_id), scope or it.scope
        if user is None:
            raise errors.stale_grant()
        if not scope:
            raise errors.missing_parameter("scope")
        info = form.get("client_info") == "1"
        return self._people.grant(user, client_id, scope, client_info=info, nonce=nonce)

    def _claims(self, principal: ServicePrincipal, resource: str, proof: str) -> dict[str, Any]:
        if not self._tokens.authority.knows(resource, self._directory):
            raise errors.unknown_resource(resource, self._directory.tenant["displayName"])
        return self._tokens.claims(principal, resource, proof=proof)

    async def _client(self, request: Request, form: Mapping[str, str]) -> tuple[ServicePrincipal, str]:
        """Who the form (or a Basic header) proves to be, and how."""
        if self._tenant(request) is None and form.get("client_id"):
            raise errors.no_tenant()
        return await self._clients.confidential(form, request.headers.get("authorization", ""))

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
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "response_types_supported": ["code"],
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
    with a closing slash (`…//.default`) keeps it. MSAL for Go adds a person's scopes, which mean nothing here.
    Raises EntraError."""
    named = [s for s in scope.split() if s not in OIDC]
    if len(named) != 1:
        raise errors.bad_scope(scope)
    if not named[0].endswith("/.default") or named[0] == "/.default":
        raise errors.scope_not_default(scope)
    return named[0].removesuffix("/.default")


def _needed(form: Mapping[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise errors.missing_parameter(name)
    return value


def _token(body: dict[str, Any]) -> Response:
    return JSONResponse({"token_type": "Bearer", **body}, headers=_headers())


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, EntraError)
    body = error.body(request.headers.get("client-request-id", ""))
    return JSONResponse(body, status_code=error.status, headers=_headers())


def _headers() -> dict[str, str]:
    return {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache", "x-ms-request-id": str(uuid.uuid4())}
