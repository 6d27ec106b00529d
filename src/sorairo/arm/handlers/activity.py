"""The activity log: who did what, when.

https://learn.microsoft.com/rest/api/monitor/activity-logs/list
"""

from __future__ import annotations

import uuid

from sorairo.arm.exchange import Answer, Exchange
from sorairo.arm.filters import Lookup, Value, parse
from sorairo.arm.lro import timestamp
from sorairo.arm.paging import PAGE
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Document

FIELDS = frozenset(
    ("eventtimestamp", "resourcegroupname", "resourceid", "resourceuri", "resourceprovider", "resourcetype",
     "correlationid", "caller", "status", "levels", "level", "eventchannels", "operationname", "operations",
     "category")
)  # fmt: skip
_EVENTS = uuid.UUID("6f1b3f5e-6b0e-4d5c-9a53-0a7e0d8f0c11")
"""Name space of the events' ids."""


async def events(x: Exchange) -> Answer:
    """Newest first; `$filter` narrows, `$select` picks members, `$top` bounds."""
    wanted = parse(x.query["$filter"], FIELDS) if x.query.get("$filter") else None
    found = []
    for event in x.control.store.activity(under=x.target.scope, limit=10 * PAGE):
        if wanted is None or wanted(_lookup(event)):
            found.append(_document(x, event))
            if len(found) == PAGE:
                break
    if names := {n.strip().lower() for n in x.query.get("$select", "").split(",") if n.strip()}:
        found = [{k: v for k, v in e.items() if k.lower() in names} for e in found]
    return Answer(200, {"value": found})


def _lookup(event: Document) -> Lookup:
    rid = parse_id(event["resourceId"])
    values: dict[str, Value] = {
        "eventtimestamp": event["eventTimestamp"],
        "resourcegroupname": rid.resource_group,
        "resourceid": rid.text,
        "resourceuri": rid.text,
        "resourceprovider": rid.namespace,
        "resourcetype": rid.type,
        "correlationid": event.get("correlationId"),
        "caller": event.get("caller"),
        "status": event.get("status"),
        "operationname": event.get("operationName"),
        "operations": event.get("operationName"),
        "level": _level(event),
        "levels": _level(event),
        "eventchannels": "Admin, Operation",
        "category": "Administrative",
    }
    return values.get


def _level(event: Document) -> str:
    return "Error" if event.get("status") == "Failed" else "Informational"


def _document(x: Exchange, event: Document) -> Document:
    rid = parse_id(event["resourceId"])
    seconds = float(event["eventTimestamp"])
    at = timestamp(seconds)
    action = event.get("operationName", "")
    id = str(uuid.uuid5(_EVENTS, f"{seconds!r} {rid.key} {action} {event.get('correlationId')}"))
    ticks = int(seconds * 10_000_000) + 621_355_968_000_000_000  # .NET's: 100 ns since the year 1
    return {
        "id": f"{rid.text}/events/{id}/ticks/{ticks}",
        "eventDataId": id,
        "eventTimestamp": at,
        "submissionTimestamp": at,
        "eventName": _named("BeginRequest", "Begin request"),
        "category": _named("Administrative", "Administrative"),
        "level": _level(event),
        "channels": "Operation",
        "caller": event.get("caller", ""),
        "authorization": {"action": action, "scope": rid.text},
        "claims": {},
        "correlationId": event.get("correlationId", ""),
        "operationId": event.get("operationId") or event.get("correlationId", ""),
        "operationName": _named(action, action),
        "status": _named(event.get("status", ""), event.get("status", "")),
        "subStatus": _named("", ""),
        "description": event.get("description", ""),
        "resourceId": rid.text,
        "resourceGroupName": rid.resource_group or "",
        "resourceProviderName": _named(rid.namespace, rid.namespace),
        "resourceType": _named(rid.type, rid.type),
        "subscriptionId": rid.subscription or "",
        "tenantId": x.principal.tenant_id,
        "properties": {},
    }


def _named(value: str, shown: str) -> Document:
    return {"value": value, "localizedValue": shown}
