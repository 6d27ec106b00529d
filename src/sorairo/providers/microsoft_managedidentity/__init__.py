"""Microsoft.ManagedIdentity/userAssignedIdentities: a principal with no secret, as long as its resource lives.

https://learn.microsoft.com/rest/api/managedidentity/user-assigned-identities
"""

from __future__ import annotations

from sorairo.engine.types import Context, Document, Provider, Resource, ResourceType, Step
from sorairo.providers.microsoft_managedidentity.federated_credentials import federated_credentials
from sorairo.providers.principals import Principals

API_VERSIONS = ("2025-05-31-preview", "2025-01-31-preview", "2024-11-30", "2023-07-31-preview", "2023-01-31",
                "2022-01-31-preview", "2021-09-30-preview", "2018-11-30", "2015-08-31-preview")  # fmt: skip


class IdentityReconciler:
    """What was observed is what the resource's status says: (principal's object id, client id)."""

    def __init__(self, principals: Principals) -> None:
        self._principals = principals

    async def observe(self, ctx: Context, resource: Resource) -> tuple[str, str] | None:
        known = resource.private.get("principal")
        return (known[0], known[1]) if known else None

    def plan(self, resource: Resource, actual: tuple[str, str] | None) -> list[Step]:
        if resource.deleting:
            # Not only when it is noted: it may have been made in the moment before a kill.
            return [] if resource.private.get("forgotten") else [Step("forget principal", self.forget)]
        return [] if actual else [Step("make principal", self.make)]

    def status(self, resource: Resource, actual: tuple[str, str] | None) -> Document:
        if actual is None:
            return {}
        return {"principalId": actual[0], "clientId": actual[1], "tenantId": self._principals.tenant_id}

    async def make(self, ctx: Context, resource: Resource) -> None:
        principal = await self._principals.ensure_managed_identity(resource.id, resource.rid.name)
        await ctx.save(resource, private={"principal": [principal.object_id, principal.client_id], "forgotten": False})

    async def forget(self, ctx: Context, resource: Resource) -> None:
        await self._principals.remove_managed_identity(resource.id)
        await ctx.save(resource, private={"principal": None, "forgotten": True})


def provider(principals: Principals) -> Provider:
    type = ResourceType(
        "Microsoft.ManagedIdentity/userAssignedIdentities",
        API_VERSIONS,
        reconciler=IdentityReconciler(principals),
        schema="userAssignedIdentities",
        patience=10.0,
        moves="no",
        linked="Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
    )
    return Provider("Microsoft.ManagedIdentity", (type, federated_credentials(API_VERSIONS)))
