"""Microsoft.ResourceGraph: questions about all resources at once, in the Kusto query language.

Each caller is shown what they may read. https://learn.microsoft.com/rest/api/azureresourcegraph/resourcegraph/resources
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any

from sorairo.arm.exchange import Answer, Exchange
from sorairo.arm.routing import rbac_name
from sorairo.engine import documents
from sorairo.engine.errors import ArmError, not_implemented
from sorairo.engine.types import Document, Resource, ResourceType
from sorairo.kql import QueryError, Table, compile_query
from sorairo.kql.values import plain

VERSIONS = ("2024-04-01", "2022-10-01", "2021-06-01-preview", "2021-03-01", "2020-04-01-preview", "2019-04-01",
            "2018-09-01-preview")  # fmt: skip
PAGE, MOST = 100, 1000
"""Rows of an answer, unless asked for more; and the most."""
COLUMNS = (
    "id", "name", "type", "tenantId", "kind", "location", "resourceGroup", "subscriptionId", "managedBy", "sku", "plan",
    "properties", "tags", "identity", "zones", "extendedLocation",
)  # fmt: skip
_TEXTS = frozenset(COLUMNS[:9])
_CONTAINERS = {
    "Microsoft.Resources/subscriptions": "microsoft.resources/subscriptions",
    "Microsoft.Resources/resourceGroups": "microsoft.resources/subscriptions/resourcegroups",
}
_ELSEWHERE = ("advisorresources", "alertsmanagementresources", "healthresources", "kubernetesconfigurationresources",
              "maintenanceresources", "networkresources", "patchassessmentresources", "policyresources",
              "recoveryservicesresources", "resourcechanges", "securityresources",
              "servicehealthresources")  # fmt: skip
"""Tables of Azure's that have nothing here: told by name."""

Rows = list[dict[str, Any]]


async def query(x: Exchange) -> Answer:
    text = x.body.get("query")
    if not isinstance(text, str):
        raise _bad("InvalidQuery", "The request needs a 'query'.")
    if x.body.get("managementGroups"):
        raise not_implemented("queries over management groups")
    given = x.body.get("options")
    options = {k.lower(): v for k, v in given.items()} if isinstance(given, dict) else {}
    found, columns = _rows(x, text, _subscriptions(x))
    skip = _number(options.get("$skip"), "$skip", 0)
    size = _number(options.get("$top"), "$top", PAGE)
    if not 0 < size <= MOST:
        raise _bad("InvalidQuery", f"'$top' must be from 1 to {MOST}, not {size}.")
    start = _skipped(options.get("$skiptoken"), skip)
    page = found[start : start + size]
    older = x.api_version < "2020"
    table = str(options.get("resultformat") or ("table" if older else "objectArray")).lower() == "table"
    body: Document = {
        "totalRecords": len(found) - skip if len(found) > skip else 0,
        "count": len(page),
        "data": _table(page, columns) if table else [plain(r) for r in page],
        "facets": [_facet(f, found) for f in x.body.get("facets") or []],
        "resultTruncated": "false",
    }
    if start + size < len(found):
        body["$skipToken"] = base64.urlsafe_b64encode(f"{start + size}".encode()).decode()
    return Answer(200, body)


def _rows(x: Exchange, text: str, subscriptions: Sequence[str]) -> tuple[Rows, tuple[str, ...]]:
    """What the query gives, and its columns."""

    def table(rows: Callable[[], Rows]) -> Table:
        return Table(COLUMNS, rows)

    tables = {
        "resources": table(lambda: _resources(x, subscriptions)),
        "resourcecontainers": table(lambda: _containers(x, subscriptions)),
        "authorizationresources": table(lambda: _authorization(x, subscriptions)),
    }
    first = text.split("|", 1)[0].strip().lower()
    if first in _ELSEWHERE:
        raise not_implemented(f"the table '{first}' of Azure Resource Graph")
    try:
        compiled = compile_query(text, tables)
        return compiled.run(), compiled.columns
    except QueryError as e:
        if e.code == "UnsupportedFeature":
            raise not_implemented(f"this in queries: {e.message}") from None
        details: Document = {"code": e.code, "message": e.message}
        if e.token:
            details |= {"line": e.line, "characterPositionInLine": e.at, "token": e.token}
        raise _bad(e.code, e.message, details) from None


def _resources(x: Exchange, subscriptions: Sequence[str]) -> Rows:
    found: Rows = []
    for subscription in subscriptions:
        for resource in x.control.store.list(under=f"/subscriptions/{subscription}"):
            type = x.control.registry.type(resource.rid.type)
            if type is not None and type.tracked and type.located and _may(x, type, resource):
                found.append(_row(x, type, resource))
    return found


def _containers(x: Exchange, subscriptions: Sequence[str]) -> Rows:
    found: Rows = []
    for name, called in _CONTAINERS.items():
        type = x.control.type_of(name)
        for resource in x.control.store.list(type=name):
            inside = (resource.rid.subscription or "").lower() in subscriptions
            if inside and _may(x, type, resource):
                row = {**_row(x, type, resource), "type": called}
                found.append(row | _subscription(x, resource) if called.endswith("/subscriptions") else row)
    return found


def _subscription(x: Exchange, resource: Resource) -> dict[str, Any]:
    """Flat on the wire, and a row like any other here."""
    shown = x.control.show(resource.rid)
    return {
        "name": shown.get("displayName", resource.rid.name),
        "properties": {k: shown[k] for k in ("state", "subscriptionPolicies", "authorizationSource") if k in shown},
    }


def _authorization(x: Exchange, subscriptions: Sequence[str]) -> Rows:
    found: Rows = []
    type = x.control.registry.type("Microsoft.Authorization/roleAssignments")
    for resource in x.control.store.list(type=type.name) if type else []:
        inside = (resource.rid.subscription or "").lower() in subscriptions
        if type is not None and inside and _may(x, type, resource):
            found.append(_row(x, type, resource))
    return found


def _may(x: Exchange, type: ResourceType[Any], resource: Resource) -> bool:
    return x.may(type.permissions.get("read", f"{rbac_name(type)}/read"), resource.id)


def _row(x: Exchange, type: ResourceType[Any], resource: Resource) -> dict[str, Any]:
    """As Azure's index holds it: type, place and group in lower case, so that `==` finds them."""
    document = documents.shown(x.control.registry, type, resource)
    rid = resource.rid
    row: dict[str, Any] = {c: document.get(c, "" if c in _TEXTS else None) for c in COLUMNS}
    row |= {
        "type": rid.type.lower(),
        "location": str(document.get("location") or "").lower(),
        "resourceGroup": (rid.resource_group or "").lower(),
        "subscriptionId": rid.subscription or "",
        "tenantId": x.principal.tenant_id,
        "managedBy": document.get("managedBy") or resource.managed_by or "",
    }
    return row


def _subscriptions(x: Exchange) -> list[str]:
    """Lower-case ids: those asked for, or all there are. What the caller may not read in them is not shown anyway."""
    every = [s.rid.name.lower() for s in x.control.store.list(type="Microsoft.Resources/subscriptions")]
    asked = x.body.get("subscriptions")
    if not asked:
        return every
    if not isinstance(asked, list) or not all(isinstance(a, str) for a in asked):
        raise _bad("InvalidSubscriptionId", "'subscriptions' must be an array of ids.")
    return [s for s in every if s in {a.lower() for a in asked}]


def _table(page: Rows, columns: Sequence[str]) -> Document:
    kinds: dict[str, str] = {}
    for name in columns:
        value = next((r.get(name) for r in page if r.get(name) is not None), "")
        kinds[name] = _kind(value)
    return {
        "columns": [{"name": n, "type": k} for n, k in kinds.items()],
        "rows": [[plain(r.get(n)) for n in columns] for r in page],
    }


def _kind(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return names.get(type(value), "object" if isinstance(value, list | dict) else "datetime")


def _facet(asked: Any, rows: Rows) -> Document:
    """How often each value of a column is among all the rows."""
    column = asked.get("expression") if isinstance(asked, dict) else None
    if not isinstance(column, str) or (rows and column not in rows[0]):
        return {
            "expression": str(column),
            "resultType": "FacetError",
            "errors": [{"code": "FacetColumnNotFound", "message": f"There is no column '{column}'."}],
        }
    counts: dict[str, int] = {}
    for row in rows:
        counts[str(plain(row.get(column)))] = counts.get(str(plain(row.get(column))), 0) + 1
    ordered = sorted(counts.items(), key=lambda c: (-c[1], c[0]))
    return {
        "expression": column,
        "resultType": "FacetResult",
        "totalRecords": len(ordered),
        "count": len(ordered),
        "data": [{column: value, "count": n} for value, n in ordered],
    }


def _number(value: Any, name: str, default: int) -> int:
    if value is None:
        return default
    if type(value) is not int or value < 0:
        raise _bad("InvalidQuery", f"'{name}' must be a number from 0.")
    return value


def _skipped(token: Any, skip: int) -> int:
    if not token:
        return skip
    try:
        return int(base64.b64decode(str(token), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise _bad("InvalidSkipToken", "'$skipToken' is none that this server gave.") from None


def _bad(code: str, message: str, details: Document | None = None) -> ArmError:
    """As Azure Resource Graph words it: `BadRequest`, with what is wrong in the details."""
    invalid = {
        "code": "InvalidQuery",
        "message": "Query is invalid. Please refer to the documentation for the Azure Resource Graph service and fix "
        "the error before retrying.",
    }
    return ArmError("BadRequest", message, details=[invalid, details or {"code": code, "message": message}])
