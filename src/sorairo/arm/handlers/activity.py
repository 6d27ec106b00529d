"""The activity log: who did what, when, and how it came out.

https://learn.microsoft.com/rest/api/monitor/activity-logs/list
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import parse_qsl, urlencode

import msgspec

from sorairo.arm.errors import invalid_parameter
from sorairo.arm.exchange import Answer, Exchange
from sorairo.arm.filters import Lookup, Value, moment, parse
from sorairo.arm.lro import timestamp
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Document

FIELDS = frozenset(
    ("eventtimestamp", "resourcegroupname", "resourceid", "resourceuri", "resourceprovider", "resourcetype",
     "correlationid", "caller", "status", "levels", "level", "eventchannels", "operationname", "operations",
     "category", "eventdataid", "operationid", "substatus")
)  # fmt: skip
PAGE = 200
"""Events of one answer; the rest is behind `nextLink`."""
BATCH = 1000
"""Events read from the store at once."""
_EVENTS = uuid.UUID("6f1b3f5e-6b0e-4d5c-9a53-0a7e0d8f0c11")
"""Name space of the events' ids."""
_BOUND = re.compile(r"eventTimestamp\s+(ge|gt|le|lt)\s+'?([0-9][^'\s)]*)'?", re.IGNORECASE)


async def events(x: Exchange) -> Answer:
    """Newest first; `$filter` narrows, `$select` picks members, `$top` bounds."""
    text = x.query.get("$filter", "")
    wanted = parse(text, FIELDS) if text else None
    start, size = _asked(x)
    found: list[Document] = []
    more = False
    for n, event in enumerate(e for e in _stored(x, text) if wanted is None or wanted(_lookup(e))):
        if n < start:
            continue
        if len(found) == size:
            more = True
            break
        found.append(_document(x, event))
    if names := {n.strip().lower() for n in x.query.get("$select", "").split(",") if n.strip()}:
        found = [{k: v for k, v in e.items() if k.lower() in names} for e in found]
    body: Document = {"value": found}
    if more and "$top" not in x.query:
        query = [(k, v) for k, v in parse_qsl(x.raw_query, keep_blank_values=True) if k.lower() != "$skiptoken"]
        body["nextLink"] = f"{x.base}{x.path}?{urlencode([*query, ('$skiptoken', str(start + size))], safe='$')}"
    return Answer(200, body)


def _asked(x: Exchange) -> tuple[int, int]:
    """How many events to pass over, and how many to give."""
    top, token = x.query.get("$top", ""), x.query.get("$skiptoken", "")
    for name, text in (("$top", top), ("$skiptoken", token)):
        if text and not (text.isascii() and text.isdigit() and len(text) < 8):
            raise invalid_parameter(name, text[:60], "a number was expected")
    return int(token or 0), min(int(top or PAGE), 5 * PAGE)


def _stored(x: Exchange, text: str) -> Iterator[Document]:
    """Events of the scope, newest first, between the times that the filter names."""
    bounds = [(found[1].lower(), moment(found[2])) for found in _BOUND.finditer(text)]
    plain = " or " not in text.lower() and "not" not in text.lower()
    since = max((at for op, at in bounds if plain and op[0] == "g" and at is not None), default=0.0)
    until = min((at for op, at in bounds if plain and op[0] == "l" and at is not None), default=float("inf"))
    seen: set[str] = set()
    while True:
        batch = x.control.store.activity(under=x.target.scope, since=since, until=until, limit=BATCH)
        fresh = [e for e in batch if _key(e) not in seen]
        yield from fresh
        if len(batch) < BATCH or not fresh:
            return
        # Several events may have the same time: those of the last one are read again, and told from the others.
        until = float(batch[-1]["eventTimestamp"])
        seen = {_key(e) for e in batch if float(e["eventTimestamp"]) == until}


def _key(event: Document) -> str:
    return "\n".join(str(event.get(k, "")) for k in ("eventTimestamp", "resourceId", "operationName", "status"))


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
        "substatus": _phrase(int(event["httpStatus"])) if event.get("httpStatus") else "",
        "operationname": event.get("operationName"),
        "operations": event.get("operationName"),
        "operationid": event.get("operationId") or event.get("correlationId", ""),
        "level": _level(event),
        "levels": _level(event),
        "eventchannels": "Admin, Operation",
        "category": "Administrative",
        "eventdataid": _id(event),
    }
    return values.get


def _level(event: Document) -> str:
    return "Error" if event.get("status") == "Failed" else "Informational"


def _id(event: Document) -> str:
    seconds, rid = float(event["eventTimestamp"]), parse_id(event["resourceId"])
    told = f"{seconds!r} {rid.key} {event.get('operationName', '')} {event.get('correlationId')}"
    return str(uuid.uuid5(_EVENTS, f"{told} {event['status']}" if event.get("operationId") else told))


def _document(x: Exchange, event: Document) -> Document:
    rid = parse_id(event["resourceId"])
    seconds = float(event["eventTimestamp"])
    at = timestamp(seconds)
    action = event.get("operationName", "")
    id = _id(event)
    ticks = int(seconds * 10_000_000) + 621_355_968_000_000_000  # .NET's: 100 ns since the year 1
    status = event.get("status", "")
    ended = bool(event.get("operationId") or event.get("error"))
    code = _phrase(int(event.get("httpStatus", 409)))
    properties: Document = {"eventCategory": "Administrative", "entity": rid.text, "message": action}
    if event.get("error"):
        properties["statusCode"] = code
        properties["statusMessage"] = msgspec.json.encode({"error": event["error"]}).decode()
    return {
        "id": f"{rid.text}/events/{id}/ticks/{ticks}",
        "eventDataId": id,
        "eventTimestamp": at,
        "submissionTimestamp": at,
        "eventName": _named("EndRequest", "End request") if ended else _named("BeginRequest", "Begin request"),
        "category": _named("Administrative", "Administrative"),
        "level": _level(event),
        "channels": "Operation",
        "caller": event.get("caller", ""),
        "authorization": {"action": action, "scope": rid.text},
        "claims": {},
        "correlationId": event.get("correlationId", ""),
        "operationId": event.get("operationId") or event.get("correlationId", ""),
        "operationName": _named(action, action),
        "status": _named(status, status),
        "subStatus": _named(code, f"{code} (HTTP Status Code: {event['httpStatus']})")
        if event.get("httpStatus")
        else _named("", ""),
        "description": event.get("description", ""),
        "resourceId": rid.text,
        "resourceGroupName": rid.resource_group or "",
        "resourceProviderName": _named(rid.namespace, rid.namespace),
        "resourceType": _named(rid.type, rid.type),
        "subscriptionId": rid.subscription or "",
        "tenantId": x.principal.tenant_id,
        "properties": properties,
    }


def _phrase(status: int) -> str:
    """`Forbidden` for 403."""
    return HTTPStatus(status).phrase.replace(" ", "")


def _named(value: str, shown: str) -> Document:
    return {"value": value, "localizedValue": shown}
