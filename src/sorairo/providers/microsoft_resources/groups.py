"""Microsoft.Resources/resourceGroups: a group goes when everything in it has gone.

https://learn.microsoft.com/rest/api/resources/resource-groups
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sorairo.engine.errors import ArmError, Retry
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Admission, Context, Document, Resource, ResourceType, Step

_NAME = re.compile(r"[-\w._()]{0,89}[-\w_()]")


async def _admit(admission: Admission) -> None:
    name = admission.id.name
    if not _NAME.fullmatch(name):
        raise ArmError(
            "InvalidResourceGroup" if len(name) <= 90 else "InvalidResourceGroupName",
            f"The provided resource group name '{name}' has these invalid characters or length: it must be 1 to 90 "
            "letters, digits, '_', '-', '(', ')' or '.', and must not end in '.'.",
        )
    admission.body["properties"] = {}


async def _admit_delete(admission: Admission) -> None:
    """A cluster's node resource group goes with the cluster, as with AKS's node resource group lockdown.

    https://learn.microsoft.com/azure/aks/node-resource-group-lockdown"""
    owner = admission.existing.managed_by if admission.existing else None
    if owner and await admission.reader.get(owner):
        raise ArmError(
            "DenyAssignmentAuthorizationFailed",
            f"The resource group '{admission.id.name}' belongs to '{owner}' and goes with it; deleting it by itself is "
            "denied. Delete the cluster instead.",
            status=403,
        )


@dataclass(frozen=True, slots=True)
class Contents:
    """What is still in the group: ids of resources not yet asked to go, and of all that are still there."""

    to_delete: tuple[str, ...] = ()
    remaining: tuple[str, ...] = ()


class GroupReconciler:
    async def observe(self, ctx: Context, resource: Resource) -> Contents:
        if not resource.deleting:
            return Contents()
        inside = await ctx.list(under=resource.id)
        keys = {r.key for r in inside}
        # A nested resource goes with its parent, a made one with its maker, when that is in this group too.
        tops = [
            r.id
            for r in inside
            if not r.deleting
            and r.rid.parent.lower() not in keys
            and (r.managed_by is None or r.managed_by.lower() not in keys)
        ]
        return Contents(tuple(tops), tuple(r.id for r in inside))

    def plan(self, resource: Resource, actual: Contents) -> list[Step]:
        asks = [Step(f"delete {_label(id)}", _delete, (id,)) for id in actual.to_delete]
        return asks or ([Step("wait for contents", _gone, (actual.remaining,))] if actual.remaining else [])

    def status(self, resource: Resource, actual: Contents) -> Document:
        return {}


def _label(id: str) -> str:
    """Two resources may have one name."""
    rid = parse_id(id)
    return f"{rid.type.partition('/')[2]} {rid.name}"


async def _delete(ctx: Context, resource: Resource, id: str) -> None:
    await ctx.delete(id)


async def _gone(ctx: Context, resource: Resource, remaining: tuple[str, ...]) -> None:
    for id in remaining:
        try:
            left = await ctx.settled(id, timeout=30)
        except ArmError as e:
            raise ArmError(
                "ResourceGroupDeletionBlocked",
                f"Deletion of resource group '{resource.rid.name}' failed: '{id}' could not be deleted: {e.message}",
                status=409,
                target=id,
            ) from e
        if left is not None:
            raise Retry(0.2, f"'{id}' is still there")


def _render(resource: Resource, document: Document) -> Document:
    document["properties"] = {"provisioningState": resource.provisioning_state}
    if resource.managed_by:
        document["managedBy"] = resource.managed_by
    document.pop("etag", None)
    return document


RESOURCE_GROUPS: ResourceType[Contents] = ResourceType(
    "Microsoft.Resources/resourceGroups",
    ("2025-04-01", "2025-03-01", "2024-11-01", "2024-07-01", "2024-03-01", "2023-07-01", "2022-09-01", "2021-04-01",
     "2021-01-01", "2020-10-01", "2020-06-01", "2019-10-01", "2019-05-01", "2018-05-01", "2017-05-10", "2016-09-01"),
    reconciler=GroupReconciler(),
    admit=_admit,
    admit_delete=_admit_delete,
    render=_render,
    tracked=False,
    synchronous=True,
    schema="resourceGroups",
)  # fmt: skip
