"""Who names a resource in another's document needs a permission of its own for that: to join a subnet, to take a
public address, to act as an identity.

https://learn.microsoft.com/azure/role-based-access-control/troubleshooting#access-is-denied-or-lack-of-permissions
"""

from __future__ import annotations

from typing import Any

from sorairo.arm.exchange import Exchange
from sorairo.engine.documents import copied
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id
from sorairo.engine.types import ids_in


def check(x: Exchange) -> None:
    """Raises ArmError 403 `LinkedAuthorizationFailed`."""
    id, type = x.target.id, x.target.type
    if x.method not in ("PUT", "PATCH") or id is None or type is None or x._principal is None:
        return
    refused = _refused(x, x.body, set())
    if refused:  # Clients send back what is read-only, and what was there before: neither links anything.
        body = copied(x.body)
        if type.schema:
            x.control.schema(type.schema, body)
        before = x.control.store.get(id.text)
        refused = _refused(
            x, body, {each.lower() for each in ids_in([before.body, before.status])} if before else set()
        )
    if refused:
        linked, action = refused
        raise ArmError(
            "LinkedAuthorizationFailed",
            f"The client '{x.principal.client}' with object id '{x.principal.object_id}' has permission to perform "
            f"action '{x.route.permission}' on scope '{x.target.scope}'; however, it does not have permission to "
            f"perform action '{action}' on the linked scope(s) '{linked}' or the linked scope(s) are invalid.",
            status=403,
        )


def _refused(x: Exchange, body: Any, known: set[str]) -> tuple[str, str] | None:
    """The first link that the caller may not make: id and action. `known`: links there are, by key."""
    assert x.target.id
    own = x.target.id.key + "/"
    for linked in sorted({each for each in ids_in(body) if not each.lower().startswith(own)}):
        if linked.lower() in known:
            continue
        try:
            type = x.control.registry.type(parse_id(linked).type)
        except ValueError:  # What it is then, its type says.
            continue
        if type and type.linked and not x.may(type.linked, linked):
            return linked, type.linked
    more = x.target.type.linking(body) if x.target.type and isinstance(body, dict) else {}
    for linked, action in more.items():
        if linked.lower() not in known and not linked.lower().startswith(own) and not x.may(action, linked):
            return linked, action
    return None
