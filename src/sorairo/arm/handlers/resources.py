"""One resource, or all of a type: GET, HEAD, PUT, PATCH, DELETE, POST actions, lists."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from sorairo.arm import lro, regions
from sorairo.arm.body import check_tags
from sorairo.arm.errors import invalid_parameter, unavailable_location
from sorairo.arm.exchange import Answer, Exchange
from sorairo.arm.filters import parse
from sorairo.arm.handlers.lookup import matches, shown_to
from sorairo.arm.handlers.providers import check_registered
from sorairo.arm.paging import page
from sorairo.arm.routing import rbac_name
from sorairo.engine.control import AsyncReader
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import ResourceId, parse_id
from sorairo.engine.types import Document, Operation, ResourceType

RESERVED = frozenset('<>*%&:\\?"')
"""Characters that no resource's name may have, besides the unprintable."""


async def show(x: Exchange) -> Answer:
    return _document(200, _asked(x, x.control.show(_id(x))))


async def exists(x: Exchange) -> Answer:
    """204 or 404, without a body either way."""
    x.control.show(_id(x))
    return Answer(204)


async def put(x: Exchange) -> Answer:
    return await _write(x, patch=False)


async def patch(x: Exchange) -> Answer:
    return await _write(x, patch=True)


async def _write(x: Exchange, *, patch: bool) -> Answer:
    id, type = _id(x), _type(x)
    check_registered(x)
    _check_name(id, type)
    check_tags(x.body)
    location = x.body.get("location")
    if type.located and isinstance(location, str) and location:
        if type.everywhere and location.lower() != "global":
            raise unavailable_location(location, type.name, ("global",))
        if not type.everywhere and not regions.known(location):
            raise unavailable_location(location, type.name, regions.NAMES)
    _check_assigned(x, id)
    if_match = x.headers.get("if-match")
    # The networking types write their etag into the document, and mean a PUT to fail when it is no longer the one.
    if if_match is None and not patch and isinstance(x.body.get("etag"), str) and x.control.store.get(id.text):
        if_match = x.body["etag"]
    accepted = await x.control.put(
        id,
        x.body,
        principal=x.caller,
        patch=patch,
        if_match=if_match,
        if_none_match=x.headers.get("if-none-match"),
        correlation_id=x.correlation_id,
    )
    status = type.created if accepted.created else type.updated
    if accepted.operation is None or await _done(x, accepted.operation, type.patience):
        document = accepted.document if accepted.operation is None else x.control.show(id)
        return _document(201 if status == 201 else 200, _asked(x, document))
    answer = _document(status, _asked(x, accepted.document))
    answer.headers |= lro.headers(x, accepted.operation, location=status == 202)
    return answer


def _check_assigned(x: Exchange, id: ResourceId) -> None:
    """Who gives a resource an identity must be allowed to: what runs there can act as it from then on.

    https://learn.microsoft.com/azure/role-based-access-control/troubleshooting#symptom---linkedauthorizationfailed"""
    identity = x.body.get("identity")
    given = identity.get("userAssignedIdentities") if isinstance(identity, dict) else None
    wanted = {k: v for k, v in given.items() if v is not None} if isinstance(given, dict) else {}
    if not wanted:
        return
    existing = x.control.store.get(id.text)
    before = (existing.body.get("identity") or {}).get("userAssignedIdentities") or {} if existing else {}
    had = {k.lower() for k in before}
    action = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"
    for scope in wanted:
        if scope.lower() in had:
            continue
        try:
            x.arm.authorize(x.principal, action, scope)
        except ArmError as e:
            who = x.principal
            raise ArmError(
                "LinkedAuthorizationFailed",
                f"The client '{who.client}' with object id '{who.object_id}' has permission to perform action "
                f"'{x.route.permission}' on scope '{id.text}'; however, it does not have permission to perform "
                f"action(s) '{action}' on the linked scope(s) '{scope}' (respectively) or the linked scope(s) are "
                "invalid.",
                status=403,
            ) from e


async def _done(x: Exchange, operation: Operation, patience: float) -> bool:
    """Whether an operation succeeds while the client waits for its answer anyway."""
    hurried = "respond-async" in x.headers.get("prefer", "")  # RFC 7240
    until = time.monotonic() + (0 if hurried else max(patience, x.arm.settings.patience))
    key = operation.resource_id.lower()
    while operation.status == "InProgress" and (left := until - time.monotonic()) > 0:
        await x.control.loop.wait_change(key, left)
        operation = x.control.store.operation(operation.id) or operation
    return operation.status == "Succeeded"


async def delete(x: Exchange) -> Answer:
    id, type = _id(x), _type(x)
    last = _last_words(x, id) if type.reconciler is None else None
    operation = await x.control.delete(
        id, principal=x.caller, if_match=x.headers.get("if-match"), correlation_id=x.correlation_id
    )
    if operation is None:
        return Answer(204)
    if operation.status != "InProgress" or (type.patience and await _done(x, operation, type.patience)):
        return Answer(200, last)
    return Answer(type.delete_status, None, lro.headers(x, operation, location=True))


def _last_words(x: Exchange, id: ResourceId) -> Document | None:
    """What a type that goes at once looked like: role assignments answer their DELETE with it."""
    try:
        return x.control.show(id)
    except ArmError:
        return None


async def act(x: Exchange) -> Answer:
    return await _act(x, _id(x), _type(x), x.target.params["action"])


def act_on_scope(action: str) -> Callable[[Exchange], Awaitable[Answer]]:
    """An action of what a path of its own stands for: a resource group."""

    async def handler(x: Exchange) -> Answer:
        id = parse_id(x.target.scope)
        return await _act(x, id, x.control.type_of(id.type), action)

    return handler


async def _act(x: Exchange, id: ResourceId, type: ResourceType[Any], action: str) -> Answer:
    acted = await x.control.act(id, action, x.body, x.query, principal=x.caller, correlation_id=x.correlation_id)
    declared = next(a for a in type.actions if a.name.lower() == action.lower())
    if acted.operation is None:
        return Answer(declared.empty if acted.result is None else 200, acted.result)
    return Answer(202, None, lro.headers(x, acted.operation, location=True, results=declared.results))


async def collection(x: Exchange) -> Answer:
    """All of a type below a scope that exists, of those the caller may read."""
    type, scope = _type(x), x.target.scope
    if x.target.id is not None:  # children of a resource
        x.control.show(x.target.id)
    elif scope != "/":
        x.control.show(parse_id(scope))
    text = x.query.get("$filter", "")
    documents = x.control.list(type.name, scope, text)
    if type.within:  # it has read the filter itself, and may list in any order
        documents.sort(key=lambda d: d["id"].lower())
    elif text:
        wanted = parse(text)
        documents = [d for d in documents if matches(wanted, d)]
    documents = [_asked(x, d) for d in documents]
    return page(x, shown_to(x, documents, type.permissions.get("read", f"{rbac_name(type)}/read")))


def extra(method: str, function: Callable[..., Awaitable[Any]]) -> Callable[[Exchange], Awaitable[Answer]]:
    """A provider's own route. It is called with the path's parameters and `scope`, `query`, `body`, `principal`,
    `reader`, `show` (a resource id → its document), `may` (whether the caller may do an RBAC action at a scope),
    `correlation_id` as keywords, and returns the body of a 200 (None: 204; an AsyncIterator[bytes]: text that is sent
    as it comes)."""

    async def handler(x: Exchange) -> Answer:
        body = await function(
            **x.target.params,
            scope=x.target.scope,
            query=x.query,
            body=x.body,
            principal=x.caller,
            reader=AsyncReader(x.control.store),
            show=lambda id: x.control.show(parse_id(id)),
            may=x.may,
            correlation_id=x.correlation_id,
        )
        if isinstance(body, AsyncIterator):
            return Answer(200, stream=body)
        return Answer(204) if body is None else Answer(200, body)

    return handler


def _document(status: int, document: Document) -> Answer:
    etag = document.get("etag")
    return Answer(status, document, {"etag": etag} if isinstance(etag, str) else {})


def _asked(x: Exchange, document: Document) -> Document:
    """Without what is shown only to those who ask for it."""
    wanted = {name.strip().rpartition("/")[2].lower() for name in x.query.get("$expand", "").split(",")}
    for name in _type(x).expanded:
        if name.lower() not in wanted:
            document["properties"].pop(name, None)
    return document


def _id(x: Exchange) -> ResourceId:
    assert x.target.id is not None
    return x.target.id


def _type(x: Exchange) -> ResourceType[Any]:
    assert x.target.type is not None
    return x.target.type


def _check_name(id: ResourceId, type: ResourceType[Any]) -> None:
    bad = sorted({c for c in id.name if (c in RESERVED and not (c == "*" and type.wild)) or not c.isprintable()})
    if bad or len(id.name) > 260:
        raise ArmError(
            "InvalidResourceName",
            f"The resource name '{id.name[:80]}' is invalid: it is longer than 260 characters or has one of "
            f"'{''.join(sorted(RESERVED))}' or a control character.",
        )
    if type.located and type.name != "Microsoft.Resources/resourceGroups" and id.resource_group is None:
        raise invalid_parameter("scope", id.text, f"a '{type.name}' belongs in a resource group")
