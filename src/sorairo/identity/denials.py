"""Deny assignments: what nobody may at a scope, whatever roles they have, but those it leaves out.

https://learn.microsoft.com/azure/role-based-access-control/deny-assignments
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from sorairo.engine.ids import parse_id
from sorairo.engine.types import Resource
from sorairo.identity.roles import Permissions, permissions_of

DENY_ASSIGNMENTS = "Microsoft.Authorization/denyAssignments"
EVERYBODY = "00000000-0000-0000-0000-000000000000"
"""Azure's principal of the type SystemDefined: all users, groups and applications of the tenant."""


@dataclass(frozen=True, slots=True)
class Denial:
    id: str
    """The GUID."""
    name: str
    scope: str
    """As it was written."""
    permissions: tuple[Permissions, ...]
    principals: frozenset[str]
    excluded: frozenset[str]
    here_only: bool
    """It is not inherited by what is below."""

    @classmethod
    def of(cls, resource: Resource) -> Denial:
        properties = resource.properties
        return cls(
            resource.rid.name.lower(),
            str(properties.get("denyAssignmentName") or resource.rid.name),
            resource.rid.parent,
            permissions_of(properties),
            _ids(properties.get("principals")),
            _ids(properties.get("excludePrincipals")),
            bool(properties.get("doNotApplyToChildScopes")),
        )

    @property
    def key(self) -> str:
        """The scope as an index has it."""
        return self.scope.lower().rstrip("/")

    def denies(self, who: Iterable[str], action: str, *, data: bool, inherited: bool) -> bool:
        """`who`: a principal and its groups; `action` in lower case; `inherited`: it is asked about what is below."""
        if inherited and self.here_only:
            return False
        ids = frozenset(who)
        if self.excluded & ids or not (EVERYBODY in self.principals or self.principals & ids):
            return False
        return _forbids(self, action, data)


@lru_cache(maxsize=16384)
def _forbids(denial: Denial, action: str, data: bool) -> bool:
    return any(p.grants(action, data=data) for p in denial.permissions)


def is_denial(key: str) -> bool:
    return f"/providers/{DENY_ASSIGNMENTS}/".lower() in key


def scope_of(key: str) -> str:
    """Where the deny assignment with this key stands, as an index has it."""
    return parse_id(key).parent.lower().rstrip("/")


def _ids(principals: object) -> frozenset[str]:
    entries = principals if isinstance(principals, list) else []
    return frozenset(str(p.get("id", "")).lower() for p in entries if isinstance(p, dict))
