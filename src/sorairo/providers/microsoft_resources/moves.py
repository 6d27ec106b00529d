"""Moving resources from one group to another.

https://learn.microsoft.com/azure/azure-resource-manager/management/move-resource-group-and-subscription
"""

from __future__ import annotations

from sorairo.engine.errors import ArmError, not_found, not_implemented
from sorairo.engine.ids import group_id, parse_id
from sorairo.engine.types import Call, Document, Moves, Resource
from sorairo.providers.microsoft_resources.asking import Asks
from sorairo.store import Store

MOST = 800
"""Resources of one request; Azure's limit."""
GROUPS = "Microsoft.Resources/resourceGroups"


class Mover:
    def __init__(self, store: Store, asks: Asks) -> None:
        self._store = store
        self._asks = asks

    async def validate(self, call: Call) -> None:
        await self._checked(call)

    async def move(self, call: Call) -> None:
        await call.ctx.move(await self._checked(call))

    async def _checked(self, call: Call) -> dict[str, str]:
        """Old id → new id. Raises ArmError for what cannot be moved, and nothing is."""
        target = await self._target(call)
        found = [await self._resource(call, text) for text in _asked(call.body)]
        refused = [e for r in found if (e := self._refusal(r)) is not None]
        if refused:
            raise refused[0]
        keys = {r.key for r in found}
        missing = {o.key: o for r in found for o in self._with(r) if not _inside(o.key, keys)}
        if missing:
            raise ArmError(
                "MissingMoveDependentResources",
                "The move resources request does not contain all the dependent resources. Please check details for "
                "missing resource IDs.",
                status=409,
                details=[
                    {"code": "MissingMoveDependentResource", "target": o.id, "message": f"'{o.id}' belongs to them."}
                    for o in missing.values()
                ],
            )
        moved = {r.id: target.id + r.id[r.id.lower().index("/providers/") :] for r in found}
        for old, new in moved.items():
            if self._store.get(new) is not None:
                raise ArmError(
                    "ResourceMoveFailed",
                    f"The resource '{old}' cannot be moved: '{target.rid.name}' already has '{parse_id(new).name}'.",
                    status=409,
                    target=new,
                )
        return moved

    async def _target(self, call: Call) -> Resource:
        text = call.body.get("targetResourceGroup")
        try:
            id = parse_id(str(text))
        except ValueError:
            id = None
        if id is None or id.type != GROUPS:
            raise _wrong(f"'targetResourceGroup' must be the id of a resource group, not '{text}'")
        if id.key == call.id.key:
            raise _wrong("the source and target resource group are the same")
        if (id.subscription or "").lower() != (call.id.subscription or "").lower():
            raise not_implemented("moving resources to another subscription")
        found = await call.ctx.get(id.text)
        if found is None:
            raise not_found(id.text)
        self._asks.check(call.principal, "PUT", found.id, self._asks.version_of(GROUPS))
        return found

    async def _resource(self, call: Call, text: str) -> Resource:
        try:
            id = parse_id(text)
        except ValueError:
            raise _wrong(f"'{text}' is no resource id") from None
        source = group_id(call.id.subscription or "", call.id.name).lower()
        if not id.key.startswith(source + "/providers/"):
            raise _wrong(f"'{text}' is not in the resource group '{call.id.name}'")
        found = await call.ctx.get(id.text)
        if found is None:
            raise not_found(id.text)
        if found.rid.parent.lower() != source:
            raise _wrong(f"'{text}' is a child resource: it moves with its parent")
        if not found.settled:
            raise ArmError(
                "ResourceNotProvisioned",
                f"The resource '{text}' cannot be moved while it is {found.provisioning_state}.",
                status=409,
                target=found.id,
            )
        return found

    def _refusal(self, resource: Resource) -> ArmError | None:
        moves: Moves = self._asks.moves(resource.rid.type)
        if resource.managed_by or moves == "no":
            return ArmError(
                "ResourceMoveNotSupported",
                f"Resource move is not supported for resources that have type '{resource.rid.type}'.",
                status=409,
                target=resource.id,
            )
        return None if moves == "yes" else not_implemented(f"moving {resource.rid.type}")

    def _with(self, resource: Resource) -> list[Resource]:
        """What names it and would point nowhere: what is not a resource of a group (an assignment) does not count."""
        return [o for o in self._store.naming(resource.id) if o.rid.resource_group and o.rid.namespace not in _ABOUT]


_ABOUT = ("Microsoft.Resources", "Microsoft.Authorization", "microsoft.resources", "microsoft.authorization")


def _asked(body: Document) -> list[str]:
    asked = body.get("resources")
    if not isinstance(asked, list) or not asked or not all(isinstance(a, str) for a in asked):
        raise _wrong("'resources' must be an array of resource ids")
    if len(asked) > MOST:
        raise _wrong(f"no more than {MOST} resources can be moved at once")
    return list(dict.fromkeys(asked))


def _inside(key: str, keys: set[str]) -> bool:
    return any(key == k or key.startswith(k + "/") for k in keys)


def _wrong(reason: str) -> ArmError:
    return ArmError("InvalidMoveResourcesRequest", f"The move resources request is invalid: {reason}.")
