"""One request on its way through the steps, and its answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from sorairo.engine.control import Control
from sorairo.engine.errors import ArmError
from sorairo.engine.types import Document
from sorairo.identity.principal import Principal

if TYPE_CHECKING:
    from sorairo.arm.app import Arm
    from sorairo.arm.routing import Route, Target

Receive = Callable[[], Awaitable[Any]]


@dataclass(slots=True)
class Answer:
    """`body` is encoded as JSON; None is no body at all."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    stream: AsyncIterator[bytes] | None = None
    """Instead of a body: text, sent as it comes until the client goes away."""


@dataclass(slots=True)
class Exchange:
    arm: Arm
    method: str
    path: str
    query: Mapping[str, str]
    """By lower-case name."""
    raw_query: str
    headers: Mapping[str, str] = field(repr=False)
    """By lower-case name. Not in the repr, nor is the body: they hold secrets, and a repr ends up in logs."""
    base: str
    """`https://HOST:PORT` as the client sees us."""
    receive: Receive
    body: Document = field(default_factory=dict, repr=False)
    """Of PUT, PATCH and POST; {} when none was sent."""
    request_id: str = ""
    correlation_id: str = ""
    remaining: tuple[str, str] | None = None
    """Name and value of the rate limit header."""
    _principal: Principal | None = None
    _target: Target | None = None
    _route: Route | None = None

    # Each is set by its step and used by later ones only.

    @property
    def principal(self) -> Principal:
        assert self._principal is not None
        return self._principal

    @property
    def target(self) -> Target:
        assert self._target is not None
        return self._target

    @property
    def route(self) -> Route:
        assert self._route is not None
        return self._route

    @property
    def control(self) -> Control:
        return self.arm.control

    @property
    def api_version(self) -> str:
        return self.query.get("api-version", "")

    @property
    def caller(self) -> str:
        """As the engine records it."""
        return str(self._principal) if self._principal else ""

    def may(self, action: str, scope: str) -> bool:
        """Whether the caller has an RBAC action at a scope."""
        try:
            self.arm.authorize(self.principal, action, scope)
        except ArmError as e:
            if e.status != 403:
                raise
            return False
        return True


@lru_cache(maxsize=1024)
def parse_query(raw: str) -> Mapping[str, str]:
    """Names without regard to case, as ARM takes them; the first of a repeated one stands."""
    values: dict[str, str] = {}
    for name, value in parse_qsl(raw, keep_blank_values=True):
        values.setdefault(name.lower(), value)
    return MappingProxyType(values)
