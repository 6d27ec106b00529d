"""Graph over HTTP, under `/v1.0/…` of the same origin as ARM.

Who may: whoever has a token of the tenant reads. Who may assign roles on the subscription administers the directory:
they could make themselves owner of everything with it anyway. An owner of an application or group changes that one.
https://learn.microsoft.com/graph/api/overview
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sorairo.engine.errors import ArmError
from sorairo.identity.credentials import shown_secret
from sorairo.identity.directory import Directory, Notes, groups_of
from sorairo.identity.graph import changes, grants, query
from sorairo.identity.graph.errors import GraphError, bad, denied, not_found
from sorairo.identity.graph.shapes import TYPES, find_object, shown, typed
from sorairo.identity.principal import Principal

Document = dict[str, Any]
PATHS = re.compile(r"/(v1\.0|beta)(/.*)?", re.IGNORECASE)
"""What this service answers; everything else on the origin is another's."""
LONGEST = 1 << 20
"""Bytes of the largest body read."""
KINDS = {"applications": "application", "servicePrincipals": "servicePrincipal", "users": "user", "groups": "group"}
_KEYED = re.compile(r"\((appId)='([^']*)'\)", re.IGNORECASE)


def create_app(
    directory: Directory,
    store: Notes,
    authenticate: Callable[[str | None], Principal],
    administers: Callable[[Principal], bool],
    base: str,
) -> ASGIApp:
    """`authenticate` as ARM's, for Graph's audiences; `base`: `https://HOST:PORT` of our origin."""
    service = _Graph(directory, store, authenticate, administers, base)
    routes: list[Route] = []

    def route(method: str, path: str, handler: Callable[..., Awaitable[Response]], *bound: str) -> None:
        async def endpoint(request: Request) -> Response:
            caller = service.caller(request)
            return await handler(request, caller, *bound)

        routes.append(Route(f"/v1.0{path}", endpoint, methods=[method]))

    for name, kind in KINDS.items():
        route("GET", f"/{name}", service.list_all, kind)
        route("POST", f"/{name}", service.create, kind)
        route("GET", f"/{name}/{{id}}", service.get, kind)
        route("PATCH", f"/{name}/{{id}}", service.update, kind)
        route("DELETE", f"/{name}/{{id}}", service.delete, kind)
        route("GET", f"/{name}/{{id}}/owners", service.related, kind, "owners")
        route("POST", f"/{name}/{{id}}/owners/$ref", service.add, kind, "owners")
        route("DELETE", f"/{name}/{{id}}/owners/{{other}}/$ref", service.remove, kind, "owners")
        if kind in ("application", "servicePrincipal"):
            route("POST", f"/{name}/{{id}}/addPassword", service.add_password, kind)
            route("POST", f"/{name}/{{id}}/removePassword", service.remove_password, kind)
        if kind != "application":
            for deep in ("getMemberGroups", "getMemberObjects"):
                route("POST", f"/{name}/{{id}}/{deep}", service.member_groups, kind)
            route("POST", f"/{name}/{{id}}/checkMemberGroups", service.check_groups, kind)
            route("GET", f"/{name}/{{id}}/memberOf", service.member_of, kind, "")
            route("GET", f"/{name}/{{id}}/transitiveMemberOf", service.member_of, kind, "transitive")
    route("GET", "/groups/{id}/members", service.related, "group", "members")
    route("GET", "/groups/{id}/transitiveMembers", service.transitive_members)
    route("POST", "/groups/{id}/members/$ref", service.add, "group", "members")
    route("DELETE", "/groups/{id}/members/{other}/$ref", service.remove, "group", "members")
    credentials = "/applications/{id}/federatedIdentityCredentials"
    route("GET", credentials, service.federated)
    route("POST", credentials, service.add_federated)
    route("GET", credentials + "/{other}", service.federated)
    route("PATCH", credentials + "/{other}", service.add_federated)
    route("DELETE", credentials + "/{other}", service.remove_federated)
    route("POST", "/directoryObjects/getByIds", service.by_ids)
    route("GET", "/directoryObjects/{id}", service.any_object)
    route("POST", "/directoryObjects/{id}/checkMemberGroups", service.check_groups, "")
    route("POST", "/directoryObjects/{id}/getMemberGroups", service.member_groups, "")
    route("GET", "/me", service.me)
    route("GET", "/me/ownedObjects", service.owned)
    route("GET", "/organization", service.organization)
    route("GET", "/domains", service.domains)
    route("GET", "/oauth2PermissionGrants", service.grants)
    route("POST", "/oauth2PermissionGrants", service.add_grant)
    route("GET", "/oauth2PermissionGrants/{id}", service.grants)
    route("PATCH", "/oauth2PermissionGrants/{id}", service.change_grant, "PATCH")
    route("DELETE", "/oauth2PermissionGrants/{id}", service.change_grant, "DELETE")
    app = Starlette(
        routes=routes,
        exception_handlers={GraphError: service.refuse, ArmError: service.refuse, 404: _unknown, 405: _unknown},
    )

    async def keyed(scope: Scope, receive: Receive, send: Send) -> None:
        """`applications(appId='x')` is another way to write one segment."""
        await app({**scope, "path": _KEYED.sub(r"/appId=\2", scope["path"])}, receive, send)

    return keyed


class _Graph:
    def __init__(
        self,
        directory: Directory,
        store: Notes,
        authenticate: Callable[[str | None], Principal],
        administers: Callable[[Principal], bool],
        base: str,
    ) -> None:
        self._directory = directory
        self._store: Any = store
        self._authenticate = authenticate
        self._administers = administers
        self._base = base

    def caller(self, request: Request) -> Principal:
        return self._authenticate(request.headers.get("authorization"))

    # --- objects ---------------------------------------------------------------------------------------

    async def list_all(self, request: Request, caller: Principal, kind: str) -> Response:
        notes = (d for _, d in self._store.notes(TYPES[kind]) if not d.get("managed"))
        return self._list(request, (shown(kind, d, self._store) for d in notes))

    async def get(self, request: Request, caller: Principal, kind: str) -> Response:
        document = changes.stored(self._store, kind, request.path_params["id"])
        asked = dict(request.query_params)
        body = shown(kind, document, self._store, key="keyCredentials" in asked.get("$select", ""))
        return self._one(f"{kind}s/$entity", query.select(body, asked))

    async def create(self, request: Request, caller: Principal, kind: str) -> Response:
        body = await _body(request)
        self._must(caller)
        creator = caller.object_id if self._directory.user(caller.object_id) else ""

        def work(tx: Any) -> Document:
            if kind == "application":
                return changes.create_application(tx, body, creator)
            if kind == "servicePrincipal":
                return changes.create_service_principal(tx, body, creator)
            if kind == "user":
                return changes.create_user(tx, body)
            return changes.create_group(tx, body, creator)

        made = await self._store.transact(work)
        return self._one(f"{kind}s/$entity", shown(kind, made, self._store), 201)

    async def update(self, request: Request, caller: Principal, kind: str) -> Response:
        body = await _body(request)
        return await self._change(request, caller, kind, lambda tx, id: changes.update(tx, kind, id, body))

    async def delete(self, request: Request, caller: Principal, kind: str) -> Response:
        return await self._change(request, caller, kind, lambda tx, id: changes.delete(tx, kind, id))

    async def add_password(self, request: Request, caller: Principal, kind: str) -> Response:
        body = await _body(request)
        id = self._owned(request, caller, kind)
        made, value = await self._store.transact(lambda tx: changes.add_password(tx, kind, id, body))
        return self._one("microsoft.graph.passwordCredential", shown_secret(made, value))

    async def remove_password(self, request: Request, caller: Principal, kind: str) -> Response:
        body = await _body(request)
        return await self._change(request, caller, kind, lambda tx, id: changes.remove_password(tx, kind, id, body))

    # --- relations -------------------------------------------------------------------------------------

    async def related(self, request: Request, caller: Principal, kind: str, relation: str) -> Response:
        document = changes.stored(self._store, kind, request.path_params["id"])
        return self._list(request, self._objects(document.get(relation, [])))

    async def add(self, request: Request, caller: Principal, kind: str, relation: str) -> Response:
        body = await _body(request)
        return await self._change(
            request, caller, kind, lambda tx, id: changes.add_reference(tx, kind, id, relation, body)
        )

    async def remove(self, request: Request, caller: Principal, kind: str, relation: str) -> Response:
        other = request.path_params["other"]
        return await self._change(
            request, caller, kind, lambda tx, id: changes.remove_reference(tx, kind, id, relation, other)
        )

    async def transitive_members(self, request: Request, caller: Principal) -> Response:
        found: dict[str, None] = {}
        ahead = [str(changes.stored(self._store, "group", request.path_params["id"])["id"])]
        while ahead:
            group = self._store.note(TYPES["group"], ahead.pop())
            new = [m for m in (group or {}).get("members", []) if m not in found]
            found |= dict.fromkeys(new)
            ahead += new
        return self._list(request, self._objects(found))

    async def member_of(self, request: Request, caller: Principal, kind: str, how: str) -> Response:
        id = str(changes.stored(self._store, kind, request.path_params["id"])["id"])
        groups = self._store.notes(TYPES["group"])
        ids = groups_of(groups, id) if how else [k for k, g in groups if id in g["members"]]
        return self._list(request, self._objects(ids))

    async def member_groups(self, request: Request, caller: Principal, kind: str) -> Response:
        return self._list_of_ids(self._directory.groups_of(self._id(request, kind)))

    async def check_groups(self, request: Request, caller: Principal, kind: str) -> Response:
        wanted = [g.lower() for g in _texts(await _body(request), "groupIds")]
        held = set(self._directory.groups_of(self._id(request, kind)))
        return self._list_of_ids([g for g in wanted if g in held])

    async def by_ids(self, request: Request, caller: Principal) -> Response:
        body = await _body(request)
        ids, types = _texts(body, "ids"), {t.lower() for t in _texts(body, "types")}
        if "ids" not in body or len(ids) > 1000:
            raise bad("'ids' must be a list of at most 1000 object ids.")
        found = (find_object(self._store, i) for i in dict.fromkeys(ids))
        kept = [typed(k, d, self._store) for k, d in filter(None, found) if not types or k.lower() in types]
        return JSONResponse({"@odata.context": self._context("directoryObjects"), "value": kept})

    async def any_object(self, request: Request, caller: Principal) -> Response:
        found = find_object(self._store, request.path_params["id"])
        if found is None:
            raise not_found(request.path_params["id"])
        return self._one("directoryObjects/$entity", typed(*found, self._store))

    # --- federated credentials -------------------------------------------------------------------------

    async def federated(self, request: Request, caller: Principal) -> Response:
        document = changes.stored(self._store, "application", request.path_params["id"])
        there: list[Document] = document.get("federatedIdentityCredentials", [])
        other = request.path_params.get("other")
        if other is None:
            return self._list(request, there)
        one = next((c for c in there if other in (c["id"], c["name"])), None)
        if one is None:
            raise not_found(other)
        return self._one("federatedIdentityCredentials/$entity", one)

    async def add_federated(self, request: Request, caller: Principal) -> Response:
        body = await _body(request)
        id, other = self._owned(request, caller, "application"), request.path_params.get("other", "")
        made = await self._store.transact(lambda tx: changes.add_federated(tx, id, body, other))
        if other:
            return Response(status_code=204)
        return self._one("federatedIdentityCredentials/$entity", made, 201)

    async def remove_federated(self, request: Request, caller: Principal) -> Response:
        other = request.path_params["other"]
        return await self._change(
            request, caller, "application", lambda tx, id: changes.remove_federated(tx, id, other)
        )

    # --- the tenant ------------------------------------------------------------------------------------

    async def me(self, request: Request, caller: Principal) -> Response:
        user = self._me(caller)
        return self._one("users/$entity", query.select(shown("user", user, self._store), dict(request.query_params)))

    async def owned(self, request: Request, caller: Principal) -> Response:
        id = self._me(caller)["id"]
        owned = (
            typed(kind, d, self._store)
            for kind in ("application", "servicePrincipal", "group")
            for _, d in self._store.notes(TYPES[kind])
            if id in d.get("owners", [])
        )
        return self._list(request, owned)

    async def organization(self, request: Request, caller: Principal) -> Response:
        tenant = self._directory.tenant
        domain = {"name": tenant["domain"], "isDefault": True, "isInitial": True, "type": "Managed"}
        one = {"id": tenant["tenantId"], "displayName": tenant["displayName"], "verifiedDomains": [domain]}
        return self._list(request, [one])

    async def domains(self, request: Request, caller: Principal) -> Response:
        one = {"id": self._directory.tenant["domain"], "isDefault": True, "isInitial": True, "isVerified": True}
        return self._list(request, [one])

    # --- permissions -----------------------------------------------------------------------------------

    async def grants(self, request: Request, caller: Principal) -> Response:
        if (id := request.path_params.get("id")) is not None:
            return self._one("oauth2PermissionGrants/$entity", grants.stored(self._store, id))
        return self._list(request, (d for _, d in self._store.notes(grants.GRANT)))

    async def add_grant(self, request: Request, caller: Principal) -> Response:
        body = await _body(request)
        self._must(caller)
        made = await self._store.transact(lambda tx: grants.create(tx, body))
        return self._one("oauth2PermissionGrants/$entity", made, 201)

    async def change_grant(self, request: Request, caller: Principal, method: str) -> Response:
        body, id = await _body(request), request.path_params["id"]
        self._must(caller)
        change = (lambda tx: grants.update(tx, id, body)) if method == "PATCH" else (lambda tx: grants.delete(tx, id))
        await self._store.transact(change)
        return Response(status_code=204)

    # --- shared ----------------------------------------------------------------------------------------

    def _must(self, caller: Principal, document: Document | None = None) -> None:
        if caller.object_id not in (document or {}).get("owners", []) and not self._administers(caller):
            raise denied()

    def _owned(self, request: Request, caller: Principal, kind: str) -> str:
        document = changes.stored(self._store, kind, request.path_params["id"])
        self._must(caller, document)
        return str(document["id"])

    async def _change(
        self, request: Request, caller: Principal, kind: str, change: Callable[[Any, str], object]
    ) -> Response:
        id = self._owned(request, caller, kind)
        await self._store.transact(lambda tx: change(tx, id))
        return Response(status_code=204)

    def _id(self, request: Request, kind: str) -> str:
        id = request.path_params["id"]
        if kind:
            return str(changes.stored(self._store, kind, id)["id"])
        found = find_object(self._store, id)
        if found is None:
            raise not_found(id)
        return str(found[1]["id"])

    def _me(self, caller: Principal) -> Document:
        user = self._directory.user(caller.object_id)
        if user is None:
            raise GraphError(400, "BadRequest", "/me request is only valid with delegated authentication flow.")
        return user

    def _objects(self, ids: Iterable[str]) -> Iterable[Document]:
        found = (find_object(self._store, i) for i in ids)
        return [typed(kind, d, self._store) for kind, d in filter(None, found)]

    def _list(self, request: Request, documents: Iterable[Document]) -> Response:
        eventual = request.headers.get("consistencylevel", "").lower() == "eventual"
        url = f"{self._base}{request.url.path}"
        return JSONResponse(query.answer(documents, dict(request.query_params), url, eventual))

    def _list_of_ids(self, ids: list[str]) -> Response:
        return JSONResponse({"@odata.context": self._context("Collection(Edm.String)"), "value": ids})

    def _one(self, context: str, body: Document, status: int = 200) -> Response:
        return JSONResponse({"@odata.context": self._context(context), **body}, status_code=status)

    def _context(self, what: str) -> str:
        return f"{self._base}/v1.0/$metadata#{what}"

    async def refuse(self, request: Request, error: Exception) -> Response:
        asked = request.headers.get("client-request-id", "")
        if isinstance(error, ArmError):  # Only authentication raises it.
            refused = GraphError(error.status, "InvalidAuthenticationToken", error.message)
            return JSONResponse(
                refused.body(asked), 401, headers={"WWW-Authenticate": f'Bearer authorization_uri="{self._base}"'}
            )
        assert isinstance(error, GraphError)
        return JSONResponse(error.body(asked), status_code=error.status)


def _texts(body: Document, name: str) -> list[str]:
    """A list of texts that a request carries, empty where there is none. Raises GraphError 400."""
    given = body.get(name) or []
    if not isinstance(given, list) or not all(isinstance(t, str) for t in given):
        raise bad(f"Invalid value specified for property '{name}': a list of texts was expected.")
    return given


async def _body(request: Request) -> Document:
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > LONGEST:
            raise GraphError(413, "RequestEntityTooLarge", "The request body is too large.")
    try:
        body = json.loads(raw or b"{}")
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise GraphError(400, "BadRequest", "Unable to read JSON request payload.")
    return body


async def _unknown(request: Request, error: Exception) -> Response:
    segment = request.url.path.strip("/").partition("/")[2]
    return JSONResponse(
        GraphError(
            404, "BadRequest", f"sorairo does not answer {request.method} '{segment}' of Microsoft Graph."
        ).body(),
        status_code=404,
    )
