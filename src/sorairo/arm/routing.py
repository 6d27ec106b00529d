"""From a path to what it names, and what each method does there. Nothing is looked up: only types are known here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sorairo.arm.exchange import Answer, Exchange
from sorairo.engine.ids import ResourceId, parse_id
from sorairo.engine.registry import Registry
from sorairo.engine.types import Provider, ResourceType

Handler = Callable[[Exchange], Awaitable[Answer]]

VERBS = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Route:
    handler: Handler
    permission: str = ""
    """RBAC action the caller needs at the target's scope; '' when the handler sees to it (lists show what one may
    read, `/subscriptions` those one has a role in)."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names."""

    routes: Mapping[str, Route]
    """By method."""
    scope: str
    """Where permission is asked for: a resource id, or '/' for the tenant."""
    subscription: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    versions: Sequence[str] = ()
    """api-versions it is known by, newest first; () for any, or none."""
    owner: str = ""
    """The type's name without its namespace where a resource provider answers; '' where ARM itself does."""
    id: ResourceId | None = None
    type: ResourceType[Any] | None = None
    unknown: tuple[str, str] | None = None
    """Namespace and type of a path that names a type nobody provides."""
    anonymous: bool = False
    """Answered without asking who calls, or for an api-version."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path of its own rather than a resource's: `pattern` is relative to the root, or (`provider` set) to
    `…/providers/{provider}`; segments in braces become parameters."""

    pattern: str
    routes: Mapping[str, Route]
    versions: Sequence[str] = ()
    owner: str = ""
    scopes: tuple[str, ...] = ("subscription",)
    """Where an endpoint of a provider is found: any of `tenant`, `subscription`, `group`, `resource`."""
    anonymous: bool = False
    depth: int = 0
    """How many of the pattern's segments belong to the scope that permission is asked for at."""


@dataclass(slots=True)
class _Node:
    literal: dict[str, _Node] = field(default_factory=dict)
    parameter: tuple[str, _Node] | None = None
    endpoint: Endpoint | None = None


class Tree:
    """Endpoints by their segments: a literal one goes before a parameter."""

    def __init__(self, endpoints: Sequence[Endpoint] = ()) -> None:
        self._root = _Node()
        for endpoint in endpoints:
            self.add(endpoint)

    def add(self, endpoint: Endpoint) -> None:
        node = self._root
        for segment in endpoint.pattern.strip("/").split("/"):
            if segment.startswith("{"):
                node.parameter = node.parameter or (segment[1:-1], _Node())
                node = node.parameter[1]
            else:
                node = node.literal.setdefault(segment.lower(), _Node())
        if node.endpoint is not None:  # the same path again: more methods for it
            endpoint = replace(endpoint, routes={**node.endpoint.routes, **endpoint.routes})
        node.endpoint = endpoint

    def find(self, segments: Sequence[str]) -> tuple[Endpoint, dict[str, str]] | None:
        return _find(self._root, segments, 0, {})


def _find(
    node: _Node, segments: Sequence[str], at: int, params: dict[str, str]
) -> tuple[Endpoint, dict[str, str]] | None:
    if at == len(segments):
        return (node.endpoint, params) if node.endpoint else None
    below = node.literal.get(segments[at].lower())
    if below is not None and (found := _find(below, segments, at + 1, params)):
        return found
    if node.parameter is None:
        return None
    name, below = node.parameter
    return _find(below, segments, at + 1, {**params, name: segments[at]})


@dataclass(frozen=True, slots=True)
class Handlers:
    """What is done with a resource, whatever its type."""

    show: Handler
    exists: Handler
    put: Handler
    patch: Handler
    delete: Handler
    act: Handler
    collection: Handler
    result: Handler
    """Of an operation."""
    extra: Callable[[str, Callable[..., Awaitable[Any]]], Handler]
    """Makes a handler of a provider's own route."""


class Router:
    def __init__(
        self, registry: Registry, handlers: Handlers, root: Sequence[Endpoint], below: Sequence[Endpoint]
    ) -> None:
        """`root`: endpoints from `/`; `below`: endpoints after `/providers/`, their namespace first."""
        self._registry = registry
        self._handlers = handlers
        self._root = Tree(root)
        self._below = Tree(below)
        self._verbs: dict[str, Mapping[str, Route]] = {}
        for provider in registry.providers.values():
            self._verbs |= {type.name: self._routes_of(type) for type in provider.types}
            for type in provider.types:
                for results in {a.results for a in type.actions if a.results}:
                    self._below.add(_results(type, results, handlers.result))
            for method, pattern, function in provider.routes:
                self._below.add(_provided(provider, method, pattern, handlers.extra(method, function)))

    def resolve(self, path: str) -> Target | None:
        """None: a path that names nothing."""
        segments = self._canonical([s for s in path.split("/") if s])
        lowered = [s.lower() for s in segments]
        found = self._root.find(segments)
        if found is not None:
            return _own(found[0], found[1], found[1].get("subscription", ""), _scope_of(segments))
        if "providers" not in lowered:
            return self._item("/" + "/".join(segments))
        at = len(lowered) - 1 - lowered[::-1].index("providers")
        prefix, tail = segments[:at], segments[at + 1 :]
        kind = _kind(prefix)
        if kind is None or not tail:
            return None
        scope = "/" + "/".join(prefix)
        subscription = prefix[1] if len(prefix) > 1 and lowered[0] == "subscriptions" else ""
        found = self._below.find(tail)
        if found is not None and kind in found[0].scopes:
            if depth := found[0].depth:
                scope = "/".join([scope.rstrip("/"), "providers", *tail[:depth]])
            return _own(found[0], found[1], subscription, scope)
        return self._typed(scope, subscription, tail)

    def _canonical(self, segments: list[str]) -> list[str]:
        """Everything but names in the case Azure writes it, as it does in the ids it gives out."""
        if [s.lower() for s in segments[4:5]] == ["deployments"] and "providers" not in segments:
            # An older path, which the SDKs still ask for the operations of a deployment at.
            segments = [*segments[:4], "providers", "Microsoft.Resources", *segments[4:]]
        found = list(segments)
        lowered = [s.lower() for s in segments]
        if lowered[:1] == ["subscriptions"]:
            found[:2] = lowered[:2]
            found[2:3] = ["resourceGroups"] if lowered[2:3] == ["resourcegroups"] else found[2:3]
        kind, names_next = "", False
        for at, word in enumerate(lowered):
            if word == "providers" and not names_next:
                found[at], kind, names_next = "providers", "", False
                continue
            if at and lowered[at - 1] == "providers" and not kind:
                provider = self._registry.providers.get(word)
                kind = provider.namespace if provider else segments[at]
                found[at] = kind
            elif kind and not names_next:
                kind = f"{kind}/{segments[at]}"
                type = self._registry.type(kind)
                if type is not None:
                    kind, found[at] = type.name, type.name.rsplit("/", 1)[1]
                names_next = True
            elif kind:
                names_next = False
        return found

    def _typed(self, scope: str, subscription: str, tail: list[str]) -> Target | None:
        """A resource, a list of them, or an action on one."""
        if len(tail) == 1:
            return None
        if len(tail) % 2:
            return self._item("/".join([scope.rstrip("/"), "providers", *tail]))
        names = [tail[0], *tail[1::2]]
        type = self._registry.type("/".join(names))
        above = self._registry.type("/".join(names[:-1])) if len(names) > 2 else None
        parent = "/".join([scope.rstrip("/"), "providers", *tail[:-1]]) if len(tail) > 2 else scope
        routes: dict[str, Route] = {}
        if type is not None:
            routes["GET"] = Route(self._handlers.collection)
        if above is not None:
            action = next((a for a in above.actions if a.name.lower() == tail[-1].lower()), None)
            if action is not None or type is None:
                permission = action.permission if action else f"{rbac_name(above)}/{tail[-1]}/action"
                routes["POST"] = Route(self._handlers.act, permission)
        unknown = (tail[0], "/".join(names[1:])) if type is None else None
        versions = (type or above).api_versions if (type or above) else ()  # type: ignore[union-attr]
        return Target(
            routes,
            parent,
            subscription,
            {"action": tail[-1]},
            versions,
            owner="/".join((type or above).name.split("/")[1:]) if (type or above) else "",  # type: ignore[union-attr]
            id=parse_id(parent) if len(tail) > 2 else None,
            type=type or above,
            unknown=unknown,
        )

    def _item(self, path: str) -> Target | None:
        try:
            id = parse_id(path)
        except ValueError:
            return None
        type = self._registry.type(id.type)
        subscription = id.subscription or ""
        namespace, _, kind = id.type.partition("/")
        if type is None:
            return Target({}, id.text, subscription, unknown=(namespace, kind))
        owner = "" if namespace.lower() == "microsoft.resources" else kind
        return Target(self._verbs[type.name], id.text, subscription, {}, type.api_versions, owner, id, type)

    def _routes_of(self, type: ResourceType[Any]) -> Mapping[str, Route]:
        h = self._handlers
        do: dict[str, Handler] = {"GET": h.show, "HEAD": h.exists}
        if type.writable:
            do |= {"PUT": h.put, "PATCH": h.patch, "DELETE": h.delete}
        name = rbac_name(type)
        return {m: Route(f, type.permissions.get(VERBS[m], f"{name}/{VERBS[m]}")) for m, f in do.items()}


def rbac_name(type: ResourceType[Any]) -> str:
    """A type's name in RBAC actions, which for resource groups is not the one in their ids."""
    if type.name == "Microsoft.Resources/resourceGroups":
        return "Microsoft.Resources/subscriptions/resourceGroups"
    return type.name


def _provided(provider: Provider, method: str, pattern: str, handler: Handler) -> Endpoint:
    segments = pattern.strip("/").split("/")
    kinds = segments[::2]
    action = "/".join([provider.namespace, *kinds])
    permission = f"{action}/action" if method == "POST" else f"{action}/{VERBS[method]}"
    return Endpoint(
        f"{provider.namespace}/{pattern.strip('/')}",
        {method: Route(handler, permission)},
        versions_of(provider),
        owner="/".join(kinds),
        scopes=("tenant", "subscription", "group", "resource"),
        # A location is nothing that rights are given at; what is below a resource is.
        depth=0 if kinds[0] == "locations" else 1 + len(segments) // 2 * 2,
    )


def _results(type: ResourceType[Any], results: str, handler: Handler) -> Endpoint:
    namespace, *kinds = type.name.split("/")
    item = "/".join(f"{kind}/{{name{n}}}" for n, kind in enumerate(kinds))
    return Endpoint(
        f"{namespace}/{item}/{results}/{{id}}",
        {"GET": Route(handler, f"{type.name}/{results}/read")},
        type.api_versions,
        owner="/".join(kinds),
        scopes=("group",),
    )


def versions_of(provider: Provider) -> list[str]:
    """All that any of its types knows, newest first."""
    return sorted({v for t in provider.types for v in t.api_versions}, reverse=True)


def _own(endpoint: Endpoint, params: dict[str, str], subscription: str, scope: str) -> Target:
    return Target(
        endpoint.routes,
        scope,
        subscription,
        params,
        endpoint.versions,
        endpoint.owner,
        anonymous=endpoint.anonymous,
    )


def _scope_of(segments: list[str]) -> str:
    """The subscription or resource group a root path lies in."""
    if not segments or segments[0].lower() != "subscriptions" or len(segments) < 2:
        return "/"
    inside = len(segments) > 3 and segments[2].lower() == "resourcegroups"
    return "/" + "/".join(segments[: 4 if inside else 2])


def _kind(prefix: list[str]) -> str | None:
    """What lies before the last `/providers/`; None when that is nothing a provider can be under."""
    if not prefix:
        return "tenant"
    try:
        type = parse_id("/" + "/".join(prefix)).type
    except ValueError:
        return None
    return {"Microsoft.Resources/subscriptions": "subscription", "Microsoft.Resources/resourceGroups": "group"}.get(
        type, "resource"
    )
