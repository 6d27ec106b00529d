"""The managed identities of a resource, as its document has them: `identity: {type, userAssignedIdentities}`.

https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/overview
"""

from __future__ import annotations

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Admission, Document, Resource

IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
KINDS = {"systemassigned": "SystemAssigned", "userassigned": "UserAssigned", "none": "None"}


def kinds(resource: Resource) -> frozenset[str]:
    """Of `SystemAssigned` and `UserAssigned`."""
    return _kinds(resource.body.get("identity") or {})


def _kinds(identity: Document) -> frozenset[str]:
    given = [k.strip().lower() for k in str(identity.get("type") or "None").split(",")]
    if unknown := [k for k in given if k not in KINDS]:
        raise ArmError(
            "InvalidIdentityType",
            f"The identity type '{unknown[0]}' is not valid. It must be one of 'None', 'SystemAssigned', "
            "'UserAssigned' and 'SystemAssigned, UserAssigned'.",
            target="identity.type",
        )
    return frozenset(KINDS[k] for k in given) - {"None"}


async def admit(admission: Admission) -> None:
    """Put `body["identity"]` in order and note what is to be shown of those assigned. Raises ArmError for one that is
    not there."""
    identity = admission.body.get("identity")
    if identity is None:
        admission.private["assignedIdentities"] = {}
        return
    found = _kinds(identity)
    ids = list(identity.get("userAssignedIdentities") or {}) if "UserAssigned" in found else []
    if "UserAssigned" in found and not ids:
        raise ArmError(
            "InvalidParameter",
            "The value of parameter identity.userAssignedIdentities is invalid: the type says UserAssigned, and none "
            "is given.",
            target="identity.userAssignedIdentities",
        )
    shown = {}
    for id in ids:
        resource = await admission.reader.get(id) if id.startswith("/subscriptions/") else None
        if resource is None or resource.rid.type.lower() != IDENTITY.lower() or not resource.status.get("principalId"):
            raise ArmError(
                "FailedIdentityOperation",
                f"Identity operation for resource '{admission.id.text}' failed with error 'Failed to perform resource "
                f"identity operation. Status: 'BadRequest'. Response: 'Resource '{id}' was not found.''.",
                target="identity.userAssignedIdentities",
            )
        shown[id] = {"principalId": resource.status["principalId"], "clientId": resource.status.get("clientId")}
    admission.private["assignedIdentities"] = shown
    admission.body["identity"] = {
        "type": ", ".join(sorted(found)) or "None",
        **({"userAssignedIdentities": {id: {} for id in ids}} if ids else {}),
    }


def render(resource: Resource, document: Document) -> None:
    """What is read-only of it: who the identities are."""
    identity = document.get("identity")
    if identity is None:
        return
    if own := resource.private.get("identity"):
        identity |= own
    if assigned := resource.private.get("assignedIdentities"):
        identity["userAssignedIdentities"] = assigned
