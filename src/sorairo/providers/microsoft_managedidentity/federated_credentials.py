"""…/userAssignedIdentities/federatedIdentityCredentials: whose tokens an identity trusts.

https://learn.microsoft.com/rest/api/managedidentity/federated-identity-credentials
"""

from __future__ import annotations

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Admission, Document, Resource, ResourceType

TYPE = "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials"


async def _admit(admission: Admission) -> None:
    properties = admission.body["properties"]
    for name in ("issuer", "subject"):
        if not isinstance(properties.get(name), str) or not properties[name]:
            raise ArmError("BadRequest", f"The property '{name}' of a federated identity credential is missing.",
                           target=name)  # fmt: skip
    audiences = properties.get("audiences")
    if not isinstance(audiences, list) or len(audiences) != 1 or not isinstance(audiences[0], str):
        raise ArmError("BadRequest", "A federated identity credential has exactly one audience.", target="audiences")
    admission.body["properties"] = {n: properties[n] for n in ("issuer", "subject", "audiences")}


def _render(resource: Resource, document: Document) -> Document:
    document.pop("etag", None)
    document["properties"].pop("provisioningState", None)
    return document


def federated_credentials(api_versions: tuple[str, ...]) -> ResourceType[None]:
    return ResourceType(
        TYPE, api_versions, admit=_admit, render=_render, located=False, tracked=False, delete_status=200
    )
