"""Requests that this process makes of itself on behalf of a principal, through the same steps as a client's.

A deployment puts its resources this way: whoever asked for it may do through a template exactly what they may do by
hand, and what they would be told by hand is what the deployment is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from sorairo.arm import linked, steps
from sorairo.arm.exchange import Exchange, parse_query
from sorairo.arm.handlers.metadata import cloud
from sorairo.arm.routing import rbac_name
from sorairo.engine import trace
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Document, Moves
from sorairo.identity.principal import Principal

if TYPE_CHECKING:
    from sorairo.arm.app import Arm


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Any
    operation: str = ""
    """Id of the operation that is under way; '' when it is done."""


class Inside:
    """`principal_of`: who an object id stands for now, with the groups it is a member of."""

    def __init__(self, principal_of: Callable[[str], Principal]) -> None:
        self._principal_of = principal_of
        self._arm: Arm | None = None

    def bind(self, arm: Arm) -> None:
        """The surface is made of the providers, and the providers ask it: so it comes later."""
        self._arm = arm

    @property
    def arm(self) -> Arm:
        assert self._arm is not None, "asked before the ARM surface was made"
        return self._arm

    def environment(self) -> Document:
        """What `/metadata/endpoints` says of this cloud."""
        return cloud(self.arm.settings, self.arm.settings.base_url or "https://localhost")

    def principal(self, object_id: str) -> Principal:
        return self._principal_of(object_id)

    async def ask(
        self,
        principal: str,
        method: str,
        path: str,
        version: str,
        body: Document | None = None,
        correlation_id: str = "",
    ) -> Reply:
        """One request. Raises the ArmError that a client would be answered with."""
        with trace.span(f"{method} {path}", "request", principal=principal) as span:
            x = self._exchange(principal, method, path, version, body or {}, correlation_id)
            try:
                self._admit(x)
                answer = await x.route.handler(x)
            except ArmError as e:
                span.status, span.attributes["error"] = "error", e.code
                raise
        url = answer.headers.get("azure-asyncoperation", "")
        return Reply(answer.status, answer.body, url.partition("?")[0].rpartition("/")[2])

    def check(self, principal: str, method: str, path: str, version: str) -> None:
        """Whether a request would get as far as its handler. Raises the ArmError it would be answered with."""
        self._admit(self._exchange(principal, method, path, version, {}, ""))

    def may(self, principal: str, verb: str, id: str) -> bool:
        """Whether a principal may `read`, `write` or `delete` a resource of a type there is."""
        type = self.arm.control.registry.type(parse_id(id).type)
        if type is None:
            return False
        action = type.permissions.get(verb, f"{rbac_name(type)}/{verb}")
        try:
            self.arm.authorize(self._principal_of(principal), action, id)
        except ArmError:
            return False
        return True

    async def predict(self, principal: str, path: str, version: str, body: Document) -> Document:
        """What a PUT would lead to, without making it."""
        x = self._exchange(principal, "PUT", path, version, body, "")
        self._admit(x)
        assert x.target.id is not None
        return await self.arm.control.predict(x.target.id, body, principal=principal)

    def version_of(self, type_name: str) -> str:
        """The newest api-version of a type, '' when there is no such type."""
        type = self.arm.control.registry.type(type_name)
        return type.api_versions[0] if type else ""

    def moves(self, type_name: str) -> Moves:
        """Whether resources of a type can be moved to another group."""
        type = self.arm.control.registry.type(type_name)
        return type.moves if type else "unbuilt"

    def _exchange(
        self, principal: str, method: str, path: str, version: str, body: Document, correlation_id: str
    ) -> Exchange:
        query = urlencode({"api-version": version})
        base = self.arm.settings.base_url or "https://localhost"
        headers = {"prefer": "respond-async"}  # who asks has others to ask meanwhile
        x = Exchange(self.arm, method, path, parse_query(query), query, headers, base, _nothing, body)
        steps.identify(x)
        x.correlation_id = correlation_id or x.correlation_id
        x._principal = self._principal_of(principal)
        return x

    def _admit(self, x: Exchange) -> None:
        """The steps of a client's request, less those about bytes and tokens; and nobody throttles themselves."""
        steps.locate(x)
        steps.place(x)
        steps.negotiate(x)
        steps.method(x)
        steps.authorize(x)
        linked.check(x)


async def _nothing() -> Any:
    return {"type": "http.disconnect"}
