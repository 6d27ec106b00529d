"""Microsoft.Resources/deployments: templates deployed to resource groups and subscriptions.

https://learn.microsoft.com/rest/api/resources/deployments
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sorairo.engine.errors import ArmError
from sorairo.engine.types import TERMINAL, Action, Admission, Call, Document, Resource, ResourceType
from sorairo.providers.microsoft_resources import records, summary
from sorairo.providers.microsoft_resources.asking import Asks
from sorairo.providers.microsoft_resources.prepared import preflight, prepare
from sorairo.providers.microsoft_resources.run import DeploymentReconciler, Progress
from sorairo.providers.microsoft_resources.whatif import what_if
from sorairo.store import Store

TYPE = "Microsoft.Resources/deployments"
VERSIONS = (
    "2025-04-01", "2025-03-01", "2024-11-01", "2024-07-01", "2024-03-01", "2023-07-01", "2022-09-01", "2021-04-01",
    "2021-01-01", "2020-10-01", "2020-08-01", "2020-06-01", "2019-10-01", "2019-08-01", "2019-07-01", "2019-05-10",
    "2019-05-01", "2019-03-01", "2018-11-01", "2018-05-01", "2018-02-01", "2017-08-01", "2017-05-10", "2017-05-01",
    "2016-09-01", "2016-07-01", "2016-06-01", "2016-02-01", "2015-11-01", "2015-01-01",
)  # fmt: skip
MOST = 800
"""Deployments kept in the history of a scope; the oldest go when there are more, as on Azure.
https://learn.microsoft.com/azure/azure-resource-manager/templates/deployment-history-deletions"""
_STATE = re.compile(r"provisioningState\s+eq\s+'([A-Za-z]+)'", re.IGNORECASE)
_HIDDEN_WHILE_RUNNING = ("outputs", "outputResources", "duration")

Route = tuple[str, str, Callable[..., Awaitable[Any]]]


def deployments(store: Store, asks: Asks) -> tuple[ResourceType[Progress], Sequence[Route]]:
    """The type, and the routes of its operations."""
    reconciler = DeploymentReconciler(store, asks)
    own = _Deployments(store, asks, reconciler)
    type = ResourceType(
        TYPE,
        VERSIONS,
        reconciler=reconciler,
        admit=own.admit,
        admit_delete=own.admit_delete,
        render=_render,
        within=own.within,
        located=False,
        tracked=False,
        actions=(
            Action("validate", f"{TYPE}/validate/action", run=own.validate, absent=True),
            Action("whatIf", f"{TYPE}/whatIf/action", run=own.what_if, absent=True, lro=True),
            Action("cancel", f"{TYPE}/cancel/action", run=own.cancel, empty=204),
            Action("exportTemplate", f"{TYPE}/exportTemplate/action", run=own.export),
        ),
    )
    routes = (
        ("GET", "deployments/{name}/operations", own.operations),
        ("GET", "deployments/{name}/operations/{operation}", own.operation),
    )
    return type, routes


class _Deployments:
    def __init__(self, store: Store, asks: Asks, reconciler: DeploymentReconciler) -> None:
        self._store = store
        self._asks = asks
        self._records = reconciler.records

    # --- writes --------------------------------------------------------------------------------------

    async def admit(self, admission: Admission) -> None:
        """The whole template is understood, and every resource's type and the caller's right to it looked at, before
        anything is stored."""
        existing = admission.existing
        if existing and existing.provisioning_state not in TERMINAL:
            raise ArmError(
                "DeploymentActive",
                f"Unable to edit or replace deployment '{admission.id.name}': previous deployment from "
                f"'{summary.timestamp(existing.private.get('startedAt', 0))}' is still active. "
                "Please see https://aka.ms/arm-deploy for usage details.",
                status=409,
            )
        location = admission.body.get("location")
        if existing and location and _plain(location) != _plain(existing.body.get("location") or location):
            raise ArmError(
                "InvalidDeploymentLocation",
                f"Invalid deployment location '{location}'. The deployment '{admission.id.name}' already exists in "
                f"location '{existing.body['location']}'.",
                status=409,
            )
        prepared = await prepare(admission.id, admission.body, admission.reader, self._asks, admission.principal)
        await preflight(prepared, admission.reader, self._asks, admission.principal)
        correlation = admission.correlation_id or str(uuid.uuid4())
        admission.private |= prepared.store() | {"caller": admission.principal, "correlationId": correlation}
        shown = {"correlationId": correlation, **summary.asked(prepared)}
        given = admission.body["properties"].get("debugSetting")
        admission.body["properties"] = shown | ({"debugSetting": given} if given else {})
        if existing is None:
            await self._make_room(admission)

    async def _make_room(self, admission: Admission) -> None:
        found = self._at(admission.id.parent)
        done = sorted((d for d in found if d.settled), key=lambda d: d.changed_at)
        for old in done[: max(0, len(found) - MOST + 1)]:
            await self._records.forget(old)
            await self._store.transact(lambda tx, id=old.id: tx.delete(id))  # type: ignore[misc]

    async def admit_delete(self, admission: Admission) -> None:
        existing = admission.existing
        if existing and not existing.deleting and existing.provisioning_state not in TERMINAL:
            raise ArmError(
                "DeploymentActive",
                f"The deployment '{admission.id.name}' cannot be deleted while it is active: cancel it first.",
                status=409,
            )

    # --- actions -------------------------------------------------------------------------------------

    async def validate(self, call: Call) -> Document:
        reader, who = call.ctx, call.principal
        prepared = await prepare(call.id, call.body, reader, self._asks, who)
        await preflight(prepared, reader, self._asks, who)
        document: Document = {"id": call.id.text, "name": call.id.name, "type": TYPE}
        if call.body.get("location"):
            document["location"] = call.body["location"]
        document["properties"] = {
            **summary.asked(prepared),
            "provisioningState": "Succeeded",
            "timestamp": summary.timestamp(time.time()),
            "duration": "PT0S",
            "correlationId": str(uuid.uuid4()),
            "validatedResources": summary.resources(prepared),
        }
        return document

    async def what_if(self, call: Call) -> Document:
        """A template that is wrong is a result here, not a failure: that is how clients expect it."""
        try:
            return {"status": "Succeeded", "properties": await what_if(call, self._asks)}
        except ArmError as e:
            return {"status": "Failed", "error": e.body()}

    async def cancel(self, call: Call) -> None:
        if call.resource.provisioning_state in TERMINAL or call.resource.deleting:
            raise ArmError(
                "DeploymentCannotBeCancelled",
                f"The deployment '{call.id.name}' cannot be cancelled: it is {call.resource.provisioning_state}.",
                status=409,
            )
        await call.ctx.save(call.resource, private={"canceled": True})
        for record in self._records.of(call.resource).values():
            if record["state"] == records.RUNNING and record["type"].lower() == TYPE.lower():
                try:
                    await self._asks.ask(call.principal, "POST", f"{record['id']}/cancel", VERSIONS[0])
                except ArmError:
                    continue  # it has ended meanwhile

    async def export(self, call: Call) -> Document:
        return {"template": call.resource.private["template"]}

    # --- lists ---------------------------------------------------------------------------------------

    def _at(self, scope: str) -> list[Resource]:
        """Of exactly this scope: a subscription's deployments are not its groups'."""
        low = scope.lower().rstrip("/")
        return [d for d in self._store.list(type=TYPE, under=scope or "/") if d.rid.parent.lower() == low]

    def within(self, scope: str, filter: str) -> list[Resource]:
        found = self._at(scope)
        if not filter.strip():
            return found
        wanted = _STATE.fullmatch(filter.strip())
        if wanted is None:
            raise ArmError(
                "InvalidFilterInQueryString",
                f"Invalid $filter '{filter[:80]}' specified in the query string: deployments are filtered by "
                "provisioningState eq '{state}'.",
            )
        return [d for d in found if _state(d).lower() == wanted[1].lower()]

    async def operations(self, *, scope: str, name: str, **_: Any) -> Document:
        """Newest first."""
        deployment = self._deployment(scope, name)
        found = sorted(self._records.of(deployment).values(), key=lambda r: r["startedAt"], reverse=True)
        return {"value": [self._operation(deployment, r) for r in found]}

    async def operation(self, *, scope: str, name: str, operation: str, **_: Any) -> Document:
        deployment = self._deployment(scope, name)
        for record in self._records.of(deployment).values():
            if record["operationId"].lower() == operation.lower():
                return self._operation(deployment, record)
        raise ArmError(
            "DeploymentOperationNotFound", f"The deployment operation '{operation}' could not be found.", status=404
        )

    def _operation(self, deployment: Resource, record: Document) -> Document:
        return records.shown(deployment.id, record, summary.timestamp, summary.duration)

    def _deployment(self, scope: str, name: str) -> Resource:
        """`scope` may be the deployment's own id, or that of what it was deployed to."""
        at = scope.lower().find(f"/providers/{TYPE.lower()}/")
        base = scope[:at] if at >= 0 else scope
        found = self._store.get(f"{base}/providers/{TYPE}/{name}")
        if found is None:
            raise ArmError("DeploymentNotFound", f"Deployment '{name}' could not be found.", status=404)
        return found


def _state(resource: Resource) -> str:
    state = resource.provisioning_state
    return "Running" if state in ("Creating", "Updating") else state


def _render(resource: Resource, document: Document) -> Document:
    document.pop("etag", None)
    properties = document["properties"]
    properties["provisioningState"] = _state(resource)
    if resource.provisioning_state not in TERMINAL:
        for name in _HIDDEN_WHILE_RUNNING:
            properties.pop(name, None)
        properties["timestamp"] = summary.timestamp(resource.changed_at)
        properties["duration"] = summary.duration(time.time() - resource.private.get("startedAt", time.time()))
    if properties.get("outputs") is None:
        properties.pop("outputs", None)
    if resource.error:
        properties["error"] = resource.error
    return document


def _plain(location: Any) -> str:
    return str(location).replace(" ", "").lower()
