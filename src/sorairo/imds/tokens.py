"""`/metadata/identity`: tokens for the identities of the machine that asks, and for no others.

https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#error-handling
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from sorairo.engine.types import Document, Resource
from sorairo.identity import errors
from sorairo.identity.directory import ServicePrincipal
from sorairo.identity.tokens import LIFETIME, Tokens

CHOICES: dict[str, Callable[[ServicePrincipal], str]] = {
    "client_id": lambda p: p.client_id,
    "object_id": lambda p: p.object_id,
    "principal_id": lambda p: p.object_id,
    "msi_res_id": lambda p: p.resource_id,
    "mi_res_id": lambda p: p.resource_id,
}
"""What a request may choose an identity by."""


class Refused(Exception):
    """`{"error", "error_description"}`, status 400 unless told otherwise."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error, self.description, self.status = error, description, status


def token(tokens: Tokens, model: Resource, query: Mapping[str, str]) -> Document:
    """The answer to `oauth2/token`. `model`: the resource that has the identities. Raises Refused."""
    resource = query.get("resource", "")
    if not resource:
        raise Refused("invalid_request", "Required audience parameter not specified")
    principal = _chosen(tokens, model, query)
    if not tokens.authority.knows(resource, tokens.directory):
        unknown = errors.unknown_resource(resource, tokens.directory.tenant["displayName"])
        raise Refused("invalid_resource", unknown.body()["error_description"])
    now = time.time()
    claims = tokens.claims(principal, resource, now=now)
    left = str(LIFETIME - 1)
    return {
        "access_token": tokens.sign(claims),
        "client_id": principal.client_id,
        "expires_in": left,
        "expires_on": str(claims["exp"]),
        "ext_expires_in": left,
        "not_before": str(claims["nbf"]),
        "resource": resource,
        "token_type": "Bearer",
    }


def _chosen(tokens: Tokens, model: Resource, query: Mapping[str, str]) -> ServicePrincipal:
    system, assigned = _identities(tokens, model)
    chosen = {k: v.lower() for k in CHOICES if (v := query.get(k))}
    if len(chosen) > 1:
        raise Refused("invalid_request", f"Only one of {', '.join(sorted(chosen))} may be specified")
    if not chosen:
        if system:
            return system
        if len(assigned) > 1:
            raise Refused(
                "invalid_request",
                "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in "
                "the token request",
            )
        if assigned:
            return assigned[0]
    for kind, wanted in chosen.items():
        for principal in (*assigned, *([system] if system else [])):
            if CHOICES[kind](principal).lower() == wanted:
                return principal
    raise Refused("invalid_request", "Identity not found")


def _identities(tokens: Tokens, model: Resource) -> tuple[ServicePrincipal | None, list[ServicePrincipal]]:
    """Its own, and those assigned to it that there still are."""
    identity = model.body.get("identity") or {}
    kinds = {k.strip().lower() for k in str(identity.get("type", "")).split(",")}
    system = tokens.directory.managed_identity(model.id) if "systemassigned" in kinds else None
    ids = identity.get("userAssignedIdentities") or {} if "userassigned" in kinds else {}
    return system, list(_known(tokens, ids))


def _known(tokens: Tokens, ids: Mapping[str, object]) -> Iterator[ServicePrincipal]:
    for id in ids:
        if (principal := tokens.directory.managed_identity(id)) and principal.enabled:
            yield principal
