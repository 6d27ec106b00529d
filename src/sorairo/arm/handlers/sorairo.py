"""Microsoft.Sorairo: what only sorairo has. Traces of operations, and how the whole stands.

Public ARM like everything else, so that the command line and a portal need no back door.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

import msgspec

from sorairo.arm.errors import invalid_parameter, no_operation
from sorairo.arm.exchange import Answer, Exchange
from sorairo.arm.lro import timestamp
from sorairo.engine.errors import ArmError, not_implemented
from sorairo.engine.ids import parse_id
from sorairo.engine.trace import Span
from sorairo.engine.types import Document, Operation, Resource

VERSIONS = ("2026-12-01",)
PACKETS = "Microsoft.Sorairo/packets/read"


async def trace(x: Exchange) -> Answer:
    """`GET …/traces/{operation or trace id}`: every span of it, oldest first."""
    allowed = _allowed(x, "Microsoft.Sorairo/traces/read")
    id = x.target.params["id"]
    operation = x.control.store.operation(id)
    if operation is not None and _subscription(operation) not in allowed:
        operation = None
    spans = x.control.store.spans(operation.trace_id if operation else id.lower())
    if operation is None and not spans:
        raise no_operation(id)
    return _document(
        x,
        "traces",
        id,
        {
            "traceId": operation.trace_id if operation else id.lower(),
            "operation": _operation(operation) if operation else None,
            "spans": [_span(s) for s in spans],
        },
    )


async def operations(x: Exchange) -> Answer:
    """`GET …/operations[?status=&resourceId=&$top=]`: newest first."""
    allowed = _allowed(x, "Microsoft.Sorairo/operations/read")
    top = x.query.get("$top", "50")
    if not (top.isascii() and top.isdigit() and 0 < int(top[:9]) <= 1000):
        raise invalid_parameter("$top", top[:60], "a number from 1 to 1000 was expected")
    found = x.control.store.operations(
        status=x.query.get("status"), resource_id=x.query.get("resourceid"), limit=int(top)
    )
    return Answer(200, {"value": [_operation(o) for o in found if _subscription(o) in allowed]})


async def status(x: Exchange) -> Answer:
    """`GET …/status/default`: the process, what there is by type, what is being worked on."""
    allowed = _allowed(x, "Microsoft.Sorairo/status/read")
    counts: dict[str, dict[str, int]] = {}
    for subscription in allowed:
        for resource in x.control.store.list(under=f"/subscriptions/{subscription}"):
            states = counts.setdefault(resource.rid.type, {})
            states[resource.provisioning_state] = states.get(resource.provisioning_state, 0) + 1
    running = x.control.store.operations(status="InProgress")
    properties: Document = {
        "pid": os.getpid(),
        "startedAt": timestamp(x.arm.started_at),
        "uptimeSeconds": round(time.time() - x.arm.started_at, 1),
        "resources": counts,
        "pending": len(x.control.store.pending()),
        "operationsInProgress": [_operation(o) for o in running if _subscription(o) in allowed],
    }
    if x.arm.status is not None:
        properties |= await x.arm.status()
    return _document(x, "status", "default", properties)


async def logs(x: Exchange) -> Answer:
    """`GET …/logs/default?cluster=[&component=&lines=&follow=]`: text, as long as the client listens with `follow`.

    `cluster` is a name, `GROUP/NAME` or a resource id.
    """
    allowed = _allowed(x, "Microsoft.Sorairo/logs/read")
    lines = x.query.get("lines", "100")
    if not (lines.isascii() and lines.isdigit() and len(lines) < 8):
        raise invalid_parameter("lines", lines[:60], "a number was expected")
    cluster = _cluster(x, allowed, x.query.get("cluster", ""))
    if x.arm.logs is None:
        raise not_implemented("logs")
    follow = x.query.get("follow", "").lower() == "true"
    stream = await x.arm.logs(cluster, x.query.get("component", ""), follow, int(lines))
    return Answer(200, headers={"content-type": "text/plain; charset=utf-8"}, stream=stream)


async def packet(x: Exchange) -> Answer:
    """`GET …/packets/default?to=ADDRESS:PORT[&from=&protocol=]`: the way of a packet, which is not sent.

    `from` is `host` (the default), an address or `NAMESPACE/POD`. `properties`: from, to, protocol, outcome
    (`delivered`, `refused` or, where a load balancer's choice decides, `mixed`), refusedBy[] and path, a tree of hops.
    """
    _allowed(x, PACKETS)
    if x.arm.packet is None:
        raise not_implemented("packets")
    address, _, port = x.query.get("to", "").rpartition(":")
    protocol = x.query.get("protocol", "tcp").lower()
    if protocol not in ("tcp", "udp"):
        raise invalid_parameter("protocol", protocol[:60], "tcp or udp was expected")
    if not (_is_address(address) and port.isascii() and port.isdigit() and 0 < int(port[:9]) < 65536):
        raise invalid_parameter(
            "to", x.query.get("to", "")[:60], "an IPv4 address and a port were expected, A.B.C.D:80"
        )
    found = await x.arm.packet(x.query.get("from", "host"), address, int(port), protocol)
    for id in _ids(found["path"]):
        x.arm.authorize(x.principal, PACKETS, id)
    return _document(x, "packets", "default", found)


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _ids(hop: Document) -> Iterator[str]:
    if hop["id"]:
        yield hop["id"]
    for each in hop["next"]:
        yield from _ids(each)


def _cluster(x: Exchange, allowed: frozenset[str], asked: str) -> Resource:
    """The one cluster meant. Raises ArmError with the names there are."""
    every = [
        c
        for s in allowed
        for c in x.control.store.list(type="Microsoft.ContainerService/managedClusters", under=f"/subscriptions/{s}")
    ]
    named = asked.lower().strip("/")
    found = [
        c
        for c in every
        if named in (c.rid.name.lower(), f"{c.rid.resource_group}/{c.rid.name}".lower(), c.key.strip("/"))
    ]
    if len(found) == 1:
        return found[0]
    there = ", ".join(sorted(f"{c.rid.resource_group}/{c.rid.name}" for c in found or every)) or "none"
    if found:
        raise ArmError("AmbiguousCluster", f"'{asked}' may be any of: {there}. Name the group too.")
    raise ArmError("ResourceNotFound", f"There is no cluster '{asked}'. There are: {there}.", status=404)


def _allowed(x: Exchange, action: str) -> frozenset[str]:
    """Lower-case ids of the subscriptions the caller may do this in, of those the path means (at the tenant: all)."""
    if x.target.subscription:
        x.arm.authorize(x.principal, action, x.target.scope)
        return frozenset([x.target.subscription.lower()])
    every = [r.id for r in x.control.store.list(type="Microsoft.Resources/subscriptions")]
    found = [id for id in every if x.may(action, id)]
    if not found:
        x.arm.authorize(x.principal, action, "/")
    return frozenset(parse_id(id).name.lower() for id in found)


def _subscription(operation: Operation) -> str:
    return (parse_id(operation.resource_id).subscription or "").lower()


def _document(x: Exchange, kind: str, name: str, properties: Document) -> Answer:
    base = f"{x.target.scope.rstrip('/')}/providers/Microsoft.Sorairo/{kind}"
    type = f"Microsoft.Sorairo/{kind}"
    return Answer(200, {"id": f"{base}/{name}", "name": name, "type": type, "properties": properties})


def _operation(operation: Operation) -> Document:
    document: Document = {
        "id": operation.id,
        "resourceId": operation.resource_id,
        "action": operation.action,
        "status": operation.status,
        "message": operation.message,
        "startTime": timestamp(operation.started_at),
        "traceId": operation.trace_id,
        "spanId": operation.span_id,
        "correlationId": operation.correlation_id,
    }
    if operation.ended_at is not None:
        document["endTime"] = timestamp(operation.ended_at)
    if operation.error is not None:
        document["error"] = operation.error
    return document


def _span(span: Span) -> Document:
    document: Document = msgspec.to_builtins(span)
    return {
        "traceId": document["trace_id"],
        "spanId": document["span_id"],
        "parentSpanId": document["parent_id"],
        "name": document["name"],
        "kind": document["kind"],
        "status": document["status"],
        "startTime": timestamp(span.started_at),
        "endTime": None if span.ended_at is None else timestamp(span.ended_at),
        "attributes": document["attributes"],
    }
