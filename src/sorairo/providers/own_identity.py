"""The principal that a resource is itself: its system assigned identity, made and forgotten as its document says.

https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/overview
"""

from __future__ import annotations

from sorairo.engine.types import Context, Resource, Step
from sorairo.providers import identities
from sorairo.providers.principals import Principals


class OwnIdentity:
    """Noted as `private["identity"]`, `{principalId, tenantId}`."""

    def __init__(self, principals: Principals) -> None:
        self._principals = principals

    @staticmethod
    def noted(resource: Resource) -> str | None:
        """Object id of the principal."""
        found: str | None = (resource.private.get("identity") or {}).get("principalId")
        return found

    def plan(self, resource: Resource, noted: str | None) -> list[Step]:
        wanted = "SystemAssigned" in identities.kinds(resource)
        if resource.deleting:
            if not (wanted or noted):
                return []
            # Not only when it is noted: it may have been made in the moment before a kill.
            return [Step("forget identity", self.forget)] if resource.private.get("identity", True) else []
        if wanted and noted is None:
            return [Step("make identity", self.identify)]
        return [] if wanted or noted is None else [Step("forget identity", self.forget)]

    async def identify(self, ctx: Context, resource: Resource) -> None:
        principal = await self._principals.ensure_managed_identity(resource.id, resource.rid.name)
        identity = {"principalId": principal.object_id, "tenantId": self._principals.tenant_id}
        await ctx.save(resource, private={"identity": identity})

    async def forget(self, ctx: Context, resource: Resource) -> None:
        await self._principals.remove_managed_identity(resource.id)
        await ctx.save(resource, private={"identity": None})
