"""Whether a principal may do an action at a scope: Azure RBAC over the stored role assignments.

An assignment holds at its scope and everything below; a role grants its actions less its notActions; assignments add
up; deny assignments come before all of them. https://learn.microsoft.com/azure/role-based-access-control/overview
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Protocol

from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Resource
from sorairo.identity.denials import DENY_ASSIGNMENTS, Denial, is_denial, scope_of
from sorairo.identity.principal import Principal
from sorairo.identity.roles import RoleDefinition, custom_role, find_role

ROLE_ASSIGNMENTS = "Microsoft.Authorization/roleAssignments"
ROLE_DEFINITIONS = "Microsoft.Authorization/roleDefinitions"
_SEE = "microsoft.resources/subscriptions/read"
_SUBSCRIPTION = re.compile(r"/subscriptions/[^/]+", re.IGNORECASE)
_SEGMENT = "/providers/microsoft.authorization/roleassignments/"
_ROLES = "/providers/microsoft.authorization/roledefinitions/"


class Reads(Protocol):
    """What authorization needs of the store."""

    def get(self, id: str, /) -> Resource | None: ...
    def list(self, *, type: str | None = None, under: str | None = None) -> list[Resource]: ...


class Authorization:
    """Decides from an index in memory, which `changed` keeps true: the store calls it with the keys each commit
    wrote, before the writers are answered, so that an acknowledged assignment counts at once."""

    def __init__(self, store: Reads) -> None:
        self._store = store
        self._changed: deque[str] = deque()
        self._loaded = False
        self._entries: dict[str, tuple[str, str]] = {}
        """Assignment key → principal, scope."""
        self._granted: dict[str, dict[str, dict[str, RoleDefinition]]] = {}
        """Principal → scope → assignment key → role."""
        self._custom: dict[str, RoleDefinition] = {}
        """By GUID."""
        self._denials: dict[str, dict[str, Denial]] = {}
        """Scope → deny assignment key → what it denies."""

    def changed(self, keys: Iterable[str]) -> None:
        """Some resources were written or deleted. Called from any thread."""
        self._changed.extend(k for k in keys if _SEGMENT in k or _ROLES in k or is_denial(k))

    def authorize(self, principal: Principal, action: str, scope: str) -> None:
        """Raises ArmError 403 `AuthorizationFailed` when the principal's roles do not allow it, and
        `DenyAssignmentAuthorizationFailed` when they would, were it not for a deny assignment."""
        if not self._grants(principal, action, scope):
            raise ArmError(
                "AuthorizationFailed",
                f"The client '{principal.client}' with object id '{principal.object_id}' does not have authorization "
                f"to perform action '{action}' over scope '{scope or '/'}' or the scope is invalid. If access was "
                "recently granted, please refresh your credentials.",
                status=403,
            )
        denial = self._denial(principal, action, scope)
        if denial is not None:
            raise ArmError(
                "DenyAssignmentAuthorizationFailed",
                f"The client '{principal.client}' with object id '{principal.object_id}' has permission to perform "
                f"action '{action}' on scope '{scope or '/'}'; however, the access is denied because of the deny "
                f"assignment with name '{denial.name}' and Id '{denial.id.replace('-', '')}' at scope "
                f"'{denial.scope or '/'}'.",
                status=403,
            )

    def allows(self, principal: Principal, action: str, scope: str, *, data: bool = False) -> bool:
        """`data`: a data action (Kubernetes objects through Azure RBAC, blobs) rather than a management one."""
        return (
            self._grants(principal, action, scope, data=data)
            and self._denial(principal, action, scope, data=data) is None
        )

    def _denial(self, principal: Principal, action: str, scope: str, *, data: bool = False) -> Denial | None:
        if not self._denials:  # As nearly always.
            return None
        who, action, at = (principal.object_id, *principal.groups), action.lower(), scope.lower().rstrip("/")
        for above in scopes_above(scope):
            for denial in self._denials.get(above, {}).values():
                if denial.denies(who, action, data=data, inherited=above != at):
                    return denial
        return None

    def _grants(self, principal: Principal, action: str, scope: str, *, data: bool = False) -> bool:
        self._refresh()
        action = action.lower()
        for who in (principal.object_id, *principal.groups):
            granted = self._granted.get(who)
            if not granted:
                continue
            for above in scopes_above(scope):
                roles = granted.get(above)
                if roles and any(_grants(r, action, data) for r in roles.values()):
                    return True
            # Whoever has any role in a subscription sees that it is there: else nobody could sign in to their part.
            if action == _SEE and not data and _SUBSCRIPTION.fullmatch(scope) and _below(scope, granted):
                return True
        return False

    def _refresh(self) -> None:
        if not self._loaded:
            self._load()
        while self._changed:
            key = self._changed.popleft()
            if _ROLES in key:
                # What it is assigned to is not indexed: custom roles change rarely, and there are few.
                self._load()
            elif is_denial(key):
                self._deny(key, self._store.get(key))
            else:
                self._apply(key, self._store.get(key))

    def _load(self) -> None:
        self._loaded = True
        self._entries, self._granted = {}, {}
        self._custom = {r.id: r for r in custom_roles(self._store)}
        for resource in self._store.list(type=ROLE_ASSIGNMENTS):
            self._apply(resource.key, resource)
        self._denials = {}
        for resource in self._store.list(type=DENY_ASSIGNMENTS):
            self._deny(resource.key, resource)

    def _deny(self, key: str, resource: Resource | None) -> None:
        scope = scope_of(key)
        at = {k: d for k, d in self._denials.pop(scope, {}).items() if k != key}
        if resource is not None and not resource.deleting:
            at[key] = Denial.of(resource)
        if at:
            self._denials[scope] = at

    def _apply(self, key: str, resource: Resource | None) -> None:
        before = self._entries.pop(key, None)
        if before:
            at_scope = self._granted[before[0]][before[1]]
            at_scope.pop(key, None)
            if not at_scope:
                del self._granted[before[0]][before[1]]
        if resource is None or resource.deleting:
            return
        said = resource.properties.get("roleDefinitionId", "")
        role = find_role(said) or self._custom.get(said.rstrip("/").rpartition("/")[2].lower())
        if role is None:
            return
        who = resource.properties["principalId"].lower()
        scope = parse_id(resource.id).parent.lower().rstrip("/")
        self._entries[key] = (who, scope)
        self._granted.setdefault(who, {}).setdefault(scope, {})[key] = role


def _below(scope: str, granted: Iterable[str]) -> bool:
    return any(s.startswith(f"{scope.lower()}/") for s in granted)


def custom_roles(store: Reads) -> list[RoleDefinition]:
    stored = (r for r in store.list(type=ROLE_DEFINITIONS) if _ROLES in r.key and not r.deleting)
    return [custom_role(r.rid.name, r.properties) for r in stored]


def any_role(store: Reads, role_definition_id: str) -> RoleDefinition | None:
    """Built in or custom, by GUID or by a resource id of any scope."""
    built_in = find_role(role_definition_id)
    if built_in is not None:
        return built_in
    guid = role_definition_id.rstrip("/").rpartition("/")[2].lower()
    return next((r for r in custom_roles(store) if r.id == guid), None)


def scopes_above(scope: str) -> Iterator[str]:
    """The scope itself and each of its ancestors, in lower case, '' for the tenant's root.

    Every prefix that ends before a slash is tried: those that are no ids name no assignment.
    """
    at = scope.lower().rstrip("/")
    while at:
        yield at
        at = at.rpartition("/")[0]
    yield ""


@lru_cache(maxsize=65536)
def _grants(role: RoleDefinition, action: str, data: bool) -> bool:
    return role.grants(action, data=data)
