"""Microsoft.Authorization/denyAssignments: read only for clients, since the system makes them: a cluster whose node
resource group is locked does.

https://learn.microsoft.com/azure/role-based-access-control/deny-assignments
"""

from __future__ import annotations

from sorairo.engine.types import Document, Resource, ResourceType
from sorairo.identity.authorization import Reads, scopes_above
from sorairo.identity.denials import DENY_ASSIGNMENTS
from sorairo.providers.microsoft_authorization.filters import parse_filter
from sorairo.providers.microsoft_authorization.times import audited

_ALLOWED = frozenset({"atscope", "principalid", "denyassignmentname"})
_SUPPORTED = "'atScope()' or 'principalId eq '{value}' or denyAssignmentName eq '{value}'"


def deny_assignments(store: Reads) -> ResourceType[None]:
    def within(scope: str, filter: str) -> list[Resource]:
        """As role assignments': those that hold at a scope, and without `atScope()` those below too."""
        terms = parse_filter(filter, _ALLOWED, _SUPPORTED)
        at = scope.lower().rstrip("/")
        above = set(scopes_above(at))

        def shown(denial: Resource) -> bool:
            where = denial.rid.parent.lower().rstrip("/")
            reaches = where in above or ("atscope" not in terms and where.startswith(f"{at}/"))
            named = terms.get("denyassignmentname") in (None, denial.properties["denyAssignmentName"].lower())
            whose = {str(p["id"]).lower() for p in denial.properties["principals"]}
            return reaches and named and ("principalid" not in terms or terms["principalid"] in whose)

        return [d for d in store.list(type=DENY_ASSIGNMENTS) if shown(d)]

    return ResourceType(
        DENY_ASSIGNMENTS,
        ("2022-04-01", "2024-07-01-preview", "2018-07-01-preview"),
        render=_render,
        located=False,
        tracked=False,
        writable=False,
        within=within,
    )


def _render(resource: Resource, document: Document) -> Document:
    document.pop("etag", None)
    document["properties"] = {
        "condition": None,
        "conditionVersion": None,
        "isSystemProtected": True,
        "denyAssignmentEffect": "enforced",
        **document["properties"],
        "scope": resource.rid.parent or "/",
        **audited(resource),
    }
    document["properties"].pop("provisioningState", None)
    return document
