"""Who is calling, as a verified token says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of a request. Access is decided by `object_id`, never by `client_id`, as on Azure."""

    object_id: str
    """The service principal's (or user's) object id: what role assignments name."""
    tenant_id: str
    client_id: str = ""
    """The application's id, for a service principal or managed identity."""
    groups: tuple[str, ...] = ()
    """Object ids of the groups it belongs to."""
    claims: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def client(self) -> str:
        """How Azure's messages call it: a user's name, or the client id where there is one."""
        return str(self.claims.get("upn") or self.client_id or self.object_id)

    def __str__(self) -> str:
        return self.object_id
