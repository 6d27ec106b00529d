"""What applications may ask of others on behalf of people: delegated permissions, granted by an administrator.

They are kept and shown; our own tokens do not differ by them.
https://learn.microsoft.com/graph/api/resources/oauth2permissiongrant
"""

from __future__ import annotations

import uuid
from typing import Any

from sorairo.identity.directory import SERVICE_PRINCIPAL, USER, Reads, Tx
from sorairo.identity.graph.errors import GraphError, bad, not_found

Document = dict[str, Any]
GRANT = "identity/permissionGrant"
"""Note kind; key: the grant's id."""


def create(tx: Tx, body: Document) -> Document:
    made = {k: body.get(k) for k in ("clientId", "consentType", "principalId", "resourceId", "scope")}
    for name in ("clientId", "resourceId"):
        _there(tx, SERVICE_PRINCIPAL, made[name])
    if made["consentType"] not in ("AllPrincipals", "Principal"):
        raise bad("Invalid value specified for property 'consentType' of resource 'OAuth2PermissionGrant'.")
    if made["consentType"] == "Principal":
        _there(tx, USER, made["principalId"])
    elif made["principalId"] is not None:
        raise bad("A principalId belongs to a grant of consentType 'Principal' alone.")
    _check_scope(made["scope"])
    same = ("clientId", "resourceId", "consentType", "principalId")
    if any(all(other[k] == made[k] for k in same) for _, other in tx.notes(GRANT)):
        raise GraphError(409, "Request_MultipleObjectsWithSameKeyValue", "Permission entry already exists.")
    id = str(uuid.uuid4())
    tx.put_note(GRANT, id, {"id": id, **made})
    return {"id": id, **made}


def stored(reads: Reads, id: str) -> Document:
    found = reads.note(GRANT, id.lower())
    if found is None:
        raise not_found(id)
    return found


def update(tx: Tx, id: str, body: Document) -> None:
    """Its scopes, and nothing else."""
    wrong = next((k for k in body if k != "scope"), None)
    if wrong is not None:
        raise bad(f"Property '{wrong}' is read-only and cannot be set.")
    _check_scope(body.get("scope"))
    tx.put_note(GRANT, id.lower(), {**stored(tx, id), "scope": body["scope"]})


def delete(tx: Tx, id: str) -> None:
    stored(tx, id)
    tx.delete_note(GRANT, id.lower())


def forget(tx: Tx, object_id: str) -> None:
    """Those of, to and on behalf of an object that goes."""
    for key, grant in tx.notes(GRANT):
        if object_id in (grant["clientId"], grant["resourceId"], grant["principalId"]):
            tx.delete_note(GRANT, key)


def _there(tx: Tx, kind: str, id: object) -> None:
    if not isinstance(id, str) or tx.note(kind, id) is None:
        raise not_found(str(id))


def _check_scope(scope: object) -> None:
    if not isinstance(scope, str) or len(scope) > 3850:
        raise bad("Invalid value specified for property 'scope' of resource 'OAuth2PermissionGrant'.")
