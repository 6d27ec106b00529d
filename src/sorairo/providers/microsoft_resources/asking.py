"""How a deployment asks for things: as the one who asked for the deployment, with that one's rights and no others."""

from __future__ import annotations

from typing import Any, Protocol

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Document, Moves
from sorairo.templates.errors import Needed
from sorairo.templates.frame import Answers


class Reply(Protocol):
    @property
    def status(self) -> int: ...
    @property
    def body(self) -> Any: ...
    @property
    def operation(self) -> str:
        """Id of the operation that is under way; '' when it is done."""
        ...


class Asks(Protocol):
    """Requests to ARM on behalf of a principal, given by object id; `arm.inside.Inside` is one."""

    async def ask(
        self,
        principal: str,
        method: str,
        path: str,
        version: str,
        body: Document | None = None,
        correlation_id: str = "",
    ) -> Reply: ...

    def check(self, principal: str, method: str, path: str, version: str) -> None: ...

    def may(self, principal: str, verb: str, id: str) -> bool: ...

    async def predict(self, principal: str, path: str, version: str, body: Document) -> Document: ...

    def version_of(self, type_name: str) -> str: ...

    def moves(self, type_name: str) -> Moves: ...

    def environment(self) -> Document: ...


async def fetch(asks: Asks, principal: str, needed: Needed, correlation_id: str = "") -> Any:
    """What an expression waits for. Raises the ArmError that asking for it gave."""
    if needed.kind == "list":
        body = needed.body if isinstance(needed.body, dict) else {}
        path = f"{needed.id}/{needed.action}"
        return (await asks.ask(principal, "POST", path, needed.api_version, body, correlation_id)).body
    found = (await asks.ask(principal, "GET", needed.id, needed.api_version)).body
    if needed.kind == "providers" or not isinstance(found, dict):
        return found
    parts = needed.id.strip("/").split("/")
    return {
        "apiVersion": needed.api_version,
        **{k: v for k, v in found.items() if k not in ("id", "name", "type", "etag")},
        "subscriptionId": parts[1] if len(parts) > 1 else "",
        "resourceGroupName": parts[3] if len(parts) > 3 and parts[2].lower() == "resourcegroups" else "",
        "resourceId": needed.id.partition("/providers/")[2] or needed.id,
    }


async def answered(asks: Asks, principal: str, needed: Needed, answers: Answers, correlation_id: str = "") -> None:
    """Fetch, and remember. An ArmError names what could not be had."""
    try:
        answers.put(needed, await fetch(asks, principal, needed, correlation_id))
    except ArmError as e:
        raise ArmError(e.code, e.message, status=e.status, target=e.target or needed.id, details=e.details) from None
