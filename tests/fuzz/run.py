"""Send requests, and look at each answer and at what is left behind."""

from __future__ import annotations

import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import structlog

from fuzz.origin import Answer, Origin, origin
from fuzz.sender import Request, Sender

OF_ONE = 250
"""Requests until everything must be whole, and then goes."""


@dataclass
class Found:
    """What a run came to."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """What should not be, with the requests that led there."""
    seconds: float = 0.0


async def send(folder: Path, seed: int, count: int, found: Found) -> None:
    """`count` requests to a fresh installation."""
    random = Random(seed)
    started = time.perf_counter()
    async with origin(folder) as it:
        it.app.throttle.take = lambda *_: None  # type: ignore[assignment,method-assign,return-value]
        for at in range(0, count, OF_ONE):
            for group in ("g0", "g1"):
                path = f"{it.subscription}/resourceGroups/{group}"
                await it.call("PUT", path, "api-version=2022-09-01", {"location": "westeurope"})
            sender = Sender(it, random, random.choice((0.0, 0.01, 0.05)))
            with logged() as logs:
                for n in range(min(OF_ONE, count - at)):
                    request = sender.request()
                    found.wrong += [
                        f"seed {seed}, {at + n}: {w}: {request}" for w in await _one(it, request, found, logs)
                    ]
                await it.quiet()
                found.wrong += [f"seed {seed}, after {at + n + 1}: {w}" for w in await it.half_made()]
                found.wrong += [f"seed {seed}, after {at + n + 1}: {w}" for w in await _cleared(it)]
                found.wrong += _errors(logs, f"seed {seed}, after {at + n + 1}")
    found.seconds += time.perf_counter() - started


@contextmanager
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged, with the last words of its traces."""
    logs: list[MutableMapping[str, Any]] = []

    def keep(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        error = event.get("exc_info")
        error = sys.exc_info()[1] if error is True else error
        if isinstance(error, BaseException):
            lines = traceback.format_exception(error)
            event["exc_info"] = "".join(lines[-4:]).strip()
        logs.append({**event, "log_level": method})
        raise structlog.DropEvent

    before = structlog.get_config()["processors"]
    before[:], kept = [keep], list(before)
    try:
        yield logs
    finally:
        before[:] = kept


async def _one(it: Origin, request: Request, found: Found, logs: list[Any]) -> list[str]:
    before = it.store.get(request.path)
    try:
        answer = await it.call(request.method, request.path, request.query, request.body)
        body = answer.body
    except Exception as e:
        return [f"{type(e).__name__}: {e}"]
    found.requests += 1
    found.statuses[answer.status] += 1
    wrong = [] if answer.status < 500 or (answer.status, answer.code) == (501, "NotImplemented") else [_said(answer)]
    wrong += _errors(logs, "logged")
    logs.clear()
    if answer.status >= 400 and request.method != "HEAD":
        if "oauth2" not in request.path and not (
            isinstance(body, dict) and {"code", "message"} <= body.get("error", {}).keys()
        ):
            wrong.append(f"{answer.status} without an error's code and message")
        after = it.store.get(request.path)
        if after is not None and after.managed_by is None:
            if before is None:
                wrong.append(f"refused with {answer.code}, and made")
            elif after.body != before.body:
                wrong.append(f"refused with {answer.code}, and changed")
    return wrong


async def _cleared(it: Origin) -> list[str]:
    """Everything goes, and leaves nothing."""
    for lock in it.store.list(type="Microsoft.Authorization/locks"):
        await it.call("DELETE", lock.id, "api-version=2020-05-01")
    for group in it.store.list(type="Microsoft.Resources/resourceGroups"):
        if group.managed_by is None:
            await it.call("DELETE", group.id, "api-version=2022-09-01")
    await it.quiet()
    groups = [g.id for g in it.store.list(type="Microsoft.Resources/resourceGroups")]
    left = [f"{g} does not go: {(it.store.get(g) or it).error}" for g in groups]  # type: ignore[union-attr]
    return left + [f"{id} of {owner} is left" for id, owner in it.host.objects.items()]


def _errors(logs: list[Any], where: str) -> list[str]:
    bad = [e for e in logs if e["log_level"] in ("error", "exception", "critical")]
    return [f"{where}: {e['event']}: {e.get('resource', '')} {e.get('exc_info')}" for e in bad]


def _said(answer: Answer) -> str:
    return f"{answer.status} {answer.raw[:200]!r}"
