"""Microsoft.Compute/virtualMachineScaleSets: as many instances as its capacity says.

https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets
"""

from __future__ import annotations

from dataclasses import dataclass

from sorairo.engine.documents import copied
from sorairo.engine.errors import ArmError, Retry
from sorairo.engine.steps import together
from sorairo.engine.types import Admission, Context, Document, Resource, ResourceType, Step
from sorairo.providers import identities
from sorairo.providers.microsoft_compute.sizes import find_size
from sorairo.providers.microsoft_compute.versions import API_VERSIONS
from sorairo.providers.overlays import KEY, overlay_of
from sorairo.providers.own_identity import OwnIdentity
from sorairo.providers.principals import Principals

SCALE_SET = "Microsoft.Compute/virtualMachineScaleSets"
INSTANCE = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines"


async def admit(admission: Admission) -> None:
    body, properties = admission.body, admission.body["properties"]
    sku = body.setdefault("sku", dict(admission.existing.body.get("sku", {})) if admission.existing else {})
    size = find_size(str(sku.get("name", "")))
    if size is None:
        raise invalid_size(str(sku.get("name", "")), str(body.get("location", "")), "sku.name")
    capacity = sku.setdefault("capacity", 0)
    if not isinstance(capacity, int) or not 0 <= capacity <= 1000:
        raise ArmError(
            "InvalidParameter", "The value of parameter sku.capacity is invalid: 0 to 1000.", target="capacity"
        )
    sku.setdefault("tier", "Standard")
    profile = properties.setdefault("virtualMachineProfile", {})
    if admission.existing and admission.managed_by is None:
        # What a client leaves out of an existing one stays: cloud controllers send the network's part alone.
        for key, value in admission.existing.properties.get("virtualMachineProfile", {}).items():
            profile.setdefault(key, copied(value))
        if "identity" in admission.existing.body:
            body.setdefault("identity", copied(admission.existing.body["identity"]))
    await identities.admit(admission)
    os_profile = profile.setdefault("osProfile", {})
    for secret in ("customData", "adminPassword"):
        if (value := os_profile.pop(secret, None)) is not None:
            admission.private[secret] = value
    os_profile.setdefault("computerNamePrefix", admission.id.name[:9])
    properties.setdefault("upgradePolicy", {"mode": "Manual"})
    properties.setdefault("overprovision", False)
    properties.setdefault("orchestrationMode", "Uniform")


def invalid_size(name: str, location: str, target: str) -> ArmError:
    return ArmError(
        "InvalidParameter",
        f"The value of parameter {target} is invalid: the VM size '{name}' is not known in location '{location}'. "
        "`az vm list-sizes -l <location>` lists those that are.",
        target=target,
    )


def computer_name(prefix: str, number: int) -> str:
    """Azure's: the prefix and six digits in base 36."""
    digits = ""
    for _ in range(6):
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return prefix + digits


@dataclass(frozen=True, slots=True)
class Actual:
    instances: tuple[tuple[int, str], ...]
    """(number, id) of those that are or are coming, in order."""
    leaving: tuple[str, ...]
    unsettled: tuple[str, ...]
    failed: tuple[int, ...]
    next: int
    """The number the next instance gets; numbers are not used again."""
    outdated: tuple[int, ...] = ()
    """Numbers of those with other files than `instanceFiles` of the scale set says, in order."""
    identity: str | None = None
    """Object id of the principal it is itself (a system assigned identity), as noted."""


class ScaleSetReconciler:
    def __init__(self, principals: Principals) -> None:
        self._identity = OwnIdentity(principals)

    async def observe(self, ctx: Context, resource: Resource) -> Actual:
        there = await ctx.list(type=INSTANCE, under=resource.id)
        wanted = resource.private.get("instanceFiles", [])
        return Actual(
            tuple(sorted((int(i.rid.name), i.id) for i in there if not i.deleting)),
            tuple(i.id for i in there if i.deleting),
            tuple(i.id for i in there if not i.deleting and not i.settled),
            tuple(sorted(int(i.rid.name) for i in there if i.settled and i.error)),
            int(resource.private.get("next", 0)),
            tuple(sorted(int(i.rid.name) for i in there if not i.deleting and _files(i) != wanted)),
            OwnIdentity.noted(resource),
        )

    def plan(self, resource: Resource, actual: Actual) -> list[Step]:
        used = resource.deleting and (actual.instances or actual.leaving)
        if not used and (identity := self._identity.plan(resource, actual.identity)):
            return identity
        capacity = 0 if resource.deleting else int(resource.body["sku"]["capacity"])
        # Named by its owner first (a drained node), then the newest.
        unwanted = {str(n) for n in resource.private.get("unwanted", [])}
        kept = [n for n, _ in actual.instances if str(n) not in unwanted or resource.deleting][:capacity]
        surplus = tuple(id for n, id in actual.instances if n not in set(kept))
        missing = capacity - len(kept)
        if missing and actual.instances and actual.next <= actual.instances[-1][0]:
            return [Step("number instances", self.number, (actual.instances[-1][0] + 1,))]
        plan = [Step("delete instances", self.remove, surplus)] if surplus else []
        new = [n for n in kept if n in set(actual.failed)] + list(range(actual.next, actual.next + missing))
        if new:
            plan.append(Step("create instances", self.create, tuple(new)))
        if not plan and (actual.leaving or actual.unsettled):
            return [Step("wait for instances", self.wait, (actual.unsettled, actual.leaving))]
        if not plan and not resource.deleting and actual.outdated:  # One after the other, as they are reimaged on AKS.
            return [Step("update instance", self.update, actual.outdated[:1])]
        return plan

    def status(self, resource: Resource, actual: Actual) -> Document:
        return {"uniqueId": str(resource.private.get("uniqueId", resource.etag)), "singlePlacementGroup": False}

    async def number(self, ctx: Context, resource: Resource, next: int) -> None:
        await ctx.save(resource, private={"next": next})

    async def create(self, ctx: Context, resource: Resource, *numbers: int) -> None:
        """Also those that failed before: they are tried again."""
        await together(self._create(ctx, resource, n) for n in numbers)
        if int(resource.private.get("next", 0)) <= numbers[-1]:
            await ctx.save(resource, private={"next": numbers[-1] + 1})

    async def _create(self, ctx: Context, resource: Resource, number: int) -> None:
        profile = resource.properties["virtualMachineProfile"]
        name = computer_name(profile["osProfile"]["computerNamePrefix"], number)
        os_profile = {k: v for k, v in profile["osProfile"].items() if k != "computerNamePrefix"}
        body = {
            "location": resource.body["location"],
            "tags": resource.body.get("tags", {}),
            "sku": {"name": resource.body["sku"]["name"], "tier": "Standard"},
            "properties": {
                "hardwareProfile": {"vmSize": resource.body["sku"]["name"]},
                "osProfile": {**os_profile, "computerName": name},
                "storageProfile": profile.get("storageProfile", {}),
                "networkProfileConfiguration": profile.get("networkProfile", {}),
            },
        }
        if zones := resource.body.get("zones"):
            body["zones"] = [zones[number % len(zones)]]
        private = {
            "customData": resource.private.get("customData", ""),
            "secrets": resource.private.get("instanceSecrets", {}).get(name, {}),
            "files": resource.private.get("instanceFiles", []),
            **({KEY: overlay} if (overlay := overlay_of(resource)) else {}),
        }
        await ctx.put(f"{resource.id}/virtualMachines/{number}", body, private=private)

    async def update(self, ctx: Context, resource: Resource, number: int) -> None:
        """Give an instance the files that all are to have now. Its services go on: files say who is to be restarted."""
        id = f"{resource.id}/virtualMachines/{number}"
        if (instance := await ctx.get(id)) is not None:
            await ctx.put(id, instance.body, private={"files": resource.private.get("instanceFiles", [])})

    async def remove(self, ctx: Context, resource: Resource, *ids: str) -> None:
        await together(ctx.delete(id) for id in ids)

    async def wait(
        self, ctx: Context, resource: Resource, unsettled: tuple[str, ...], leaving: tuple[str, ...]
    ) -> None:
        for id in (*unsettled, *leaving):
            left = await ctx.settled(id)
            if left is not None and id in leaving:
                raise Retry(0.2, f"instance {left.rid.name} is still there")


def _files(instance: Resource) -> list[Document]:
    return instance.private.get("files", [])  # type: ignore[no-any-return]


def _render(resource: Resource, document: Document) -> Document:
    identities.render(resource, document)
    return document


def scale_sets(reconciler: ScaleSetReconciler) -> ResourceType[Actual]:
    return ResourceType(
        SCALE_SET,
        API_VERSIONS,
        reconciler=reconciler,
        admit=admit,
        render=_render,
        schema="virtualMachineScaleSets",
    )
