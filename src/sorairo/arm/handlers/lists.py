"""`/resources` and resource groups: lists over all types.

https://learn.microsoft.com/rest/api/resources/resources/list
"""

from __future__ import annotations

from sorairo.arm.errors import invalid_parameter
from sorairo.arm.exchange import Answer, Exchange
from sorairo.arm.filters import parse
from sorairo.arm.handlers.lookup import matches, shown_to
from sorairo.arm.lro import timestamp
from sorairo.arm.paging import page
from sorairo.engine import documents
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Document, Resource

FIELDS = frozenset(
    ("resourcetype", "type", "name", "resourcegroup", "location", "tagname", "tagvalue", "id", "kind", "managedby",
     "identity/principalid", "plan", "plan/publisher", "plan/product", "plan/name", "plan/version", "sku/name")
)  # fmt: skip
SHOWN = ("id", "name", "type", "location", "tags", "kind", "sku", "plan", "zones", "identity", "managedBy",
         "extendedLocation")  # fmt: skip
EXPANDED = ("createdTime", "changedTime", "provisioningState")


async def resources(x: Exchange) -> Answer:
    """`GET {subscription or group}/resources`: of every tracked type, without properties."""
    if x.target.scope.count("/") > 2:
        x.control.show(parse_id(x.target.scope))
    wanted = parse(x.query["$filter"], FIELDS) if x.query.get("$filter") else None
    expand = _expanded(x.query.get("$expand", ""))
    found = []
    for resource in x.control.store.list(under=x.target.scope):
        type = x.control.registry.type(resource.rid.type)
        if type is None or not type.tracked:
            continue
        document = _brief(documents.shown(x.control.registry, type, resource), resource, expand)
        if wanted is None or matches(wanted, document):
            found.append(document)
    return page(x, shown_to(x, found, "Microsoft.Resources/subscriptions/resources/read", "{type}/read"))


def _brief(document: Document, resource: Resource, expand: frozenset[str]) -> Document:
    brief = {k: document[k] for k in SHOWN if document.get(k) is not None}
    if resource.managed_by:
        brief.setdefault("managedBy", resource.managed_by)
    more = {
        "createdTime": timestamp(resource.created_at),
        "changedTime": timestamp(resource.changed_at),
        "provisioningState": resource.provisioning_state,
    }
    return brief | {k: v for k, v in more.items() if k in expand}


def _expanded(text: str) -> frozenset[str]:
    names = {n.lower(): n for n in EXPANDED}
    asked = [p.strip().lower() for p in text.split(",") if p.strip()]
    for name in asked:
        if name not in names:
            raise invalid_parameter("$expand", text[:60], f"known are {', '.join(EXPANDED)}")
    return frozenset(names[n] for n in asked)


async def groups(x: Exchange) -> Answer:
    """`GET {subscription}/resourcegroups`."""
    found = x.control.list("Microsoft.Resources/resourceGroups", x.target.scope)
    if text := x.query.get("$filter"):
        wanted = parse(text, FIELDS)
        found = [g for g in found if matches(wanted, g)]
    return page(x, shown_to(x, found, "Microsoft.Resources/subscriptions/resourceGroups/read"))
