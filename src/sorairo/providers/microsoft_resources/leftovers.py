"""What a complete deployment removes: whatever is in the group and not in the template.

https://learn.microsoft.com/azure/azure-resource-manager/templates/deployment-modes#complete-mode
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sorairo.engine.types import Context, Resource
from sorairo.providers.microsoft_resources.prepared import Prepared
from sorairo.providers.microsoft_resources.records import RUNNING, Records

KEPT = ("microsoft.resources/", "microsoft.authorization/")
"""Types that are about the group rather than in it: deployments, role assignments, locks."""


def outside(inside: Sequence[Resource], named: Iterable[str]) -> list[Resource]:
    """Of the resources in a group, those that a template does not name, outermost only: what is inside goes with them.
    `named`: keys."""
    named = set(named)
    above = {key[: key.rfind("/", 0, key.rfind("/"))] for key in named}
    keys = {r.key for r in inside}
    found = []
    for one in inside:
        kept = one.rid.type.lower().startswith(KEPT)
        owned = one.managed_by is not None and one.managed_by.lower() in keys
        if not (kept or owned or one.rid.parent.lower() in keys or one.key in named or one.key in above):
            found.append(one)
    return found


async def leftovers(ctx: Context, records: Records, resource: Resource, prepared: Prepared) -> tuple[str, ...]:
    """Ids of what is to go. What could not be deleted is not tried again; and what was, and that somebody has made anew
    meanwhile, is theirs."""
    named = {u.key for u in prepared.plan.deployed}
    for unit in prepared.plan.deployed:
        if unit.nested:  # a nested deployment's resources are the template's too
            inner = await ctx.get(unit.id)
            outcome = (inner.status if inner else {}).get("outputResources") or []
            named |= {str(r["id"]).lower() for r in outcome}
    past = records.of(resource)
    found = outside(await ctx.list(under=prepared.place.scope), named)
    ended = {key for key, record in past.items() if record.get("what") == "Delete" and record.get("state") != RUNNING}
    return tuple(r.id for r in found if r.key not in ended)
