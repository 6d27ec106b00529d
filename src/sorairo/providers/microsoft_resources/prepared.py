"""A deployment as it was asked for, understood: its template, what it was given, and the resources it comes to."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sorairo.engine.errors import ArmError, not_found, not_implemented
from sorairo.engine.ids import ResourceId, group_id, parse_id
from sorairo.engine.types import Document, Reader
from sorairo.providers.microsoft_resources.asking import Asks
from sorairo.templates import parameters, template
from sorairo.templates.bind import frame_for
from sorairo.templates.content import content
from sorairo.templates.errors import Needed
from sorairo.templates.expand import Plan, expand
from sorairo.templates.frame import Frame, Place
from sorairo.templates.template import Template

_NAME = re.compile(r"[-\w._()]{1,64}")
_KNOWN = frozenset(
    ("template", "templatelink", "parameters", "parameterslink", "mode", "debugsetting",
     "onerrordeployment", "expressionevaluationoptions", "validationlevel", "extensionconfigs", "externalinputs",
     "externalinputdefinitions", "whatifsettings", "provisioningstate")
)  # fmt: skip
_UNBUILT = {
    "templatelink": "linked templates (templateLink)",
    "parameterslink": "linked parameters (parametersLink)",
    "onerrordeployment": "rolling back to an earlier deployment (onErrorDeployment)",
    "extensionconfigs": "Bicep extensions",
    "externalinputs": "external inputs of parameters",
}


@dataclass(slots=True)
class Prepared:
    id: ResourceId
    template: Template
    values: dict[str, Any]
    """Parameters by lower-case name."""
    mode: str
    """`Incremental` or `Complete`."""
    place: Place
    frame: Frame
    plan: Plan

    def store(self) -> Document:
        """What it takes to go on with after a crash. Secrets among the values are never shown, and go when it ends."""
        return {
            "run": str(uuid.uuid4()),
            "template": self.template.document,
            "values": self.values,
            "mode": self.mode,
            "place": {name: getattr(self.place, name) for name in Place.__dataclass_fields__ if name != "deployment"},
            "startedAt": time.time(),
            "canceled": False,
            "outputsDone": False,
        }


async def prepare(
    id: ResourceId,
    body: Document,
    reader: Reader,
    asks: Asks,
    principal: str,
    groups: Mapping[str, Document] | None = None,
) -> Prepared:
    """Understand a request. Raises ArmError 400 `InvalidTemplate`, `InvalidRequestContent` and their like.

    `groups`: by key, resource groups that are not there yet and will be."""
    properties = _properties(id, body)
    read = template.read(properties.get("template"))
    mode = _mode(id, properties.get("mode"))
    place = await _place(id, reader, asks, principal, groups or {})
    place = replace(place, deployment=_deployment(id, body, read, mode))
    values = parameters.bind(read, properties.get("parameters"), frame_for(read, place, {}))
    return _prepared(id, read, values, mode, place)


def restored(id: ResourceId, body: Document, private: Document) -> Prepared:
    """The same again, from what was stored."""
    read = template.read(private["template"])
    place = Place(**private["place"])
    place = replace(place, deployment=_deployment(id, body, read, private["mode"]))
    return _prepared(id, read, private["values"], private["mode"], place)


def _prepared(id: ResourceId, read: Template, values: dict[str, Any], mode: str, place: Place) -> Prepared:
    frame = frame_for(read, place, values)
    plan = expand(read, frame)
    return Prepared(id, read, values, mode, place, replace(frame, names=plan), plan)


async def nested(
    outer: Prepared, unit_id: str, body: Document, reader: Reader, asks: Asks, principal: str
) -> Prepared | None:
    """A nested deployment as it will be, where that can be said already. Its group may be made by the same template."""
    try:
        return await prepare(parse_id(unit_id), body, reader, asks, principal, _groups(outer))
    except ArmError as e:
        if e.code == "ResourceGroupNotFound":
            return None
        raise


def _groups(outer: Prepared) -> dict[str, Document]:
    """The resource groups that a template makes, as `resourceGroup()` will give them."""
    found: dict[str, Document] = {}
    for unit in outer.plan.deployed:
        if unit.type.lower() != "microsoft.resources/resourcegroups":
            continue
        try:
            body = content(unit)
        except Needed:
            continue
        found[unit.key] = _group(unit.id, body, None)
    return found


def _group(id: str, body: Document, managed_by: str | None) -> Document:
    return {
        "id": id,
        "name": parse_id(id).name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": body.get("location"),
        "tags": body.get("tags") or {},
        "managedBy": managed_by,
        "properties": {"provisioningState": "Succeeded"},
    }


async def preflight(prepared: Prepared, reader: Reader, asks: Asks, principal: str) -> None:
    """What Azure looks at before anything is deployed: whether there are such types, and whether the caller may write
    each resource, those of nested templates too. Raises ArmError."""
    denied: list[Document] = []
    await _preflight(prepared, reader, asks, principal, denied)
    if denied:
        told = ":".join(f"'{d['message']}'" for d in denied)
        raise ArmError(
            "InvalidTemplateDeployment",
            f"Deployment failed with multiple errors: {told}",
            status=403,
            details=denied if len(denied) > 1 else None,
        )


async def _preflight(prepared: Prepared, reader: Reader, asks: Asks, principal: str, denied: list[Document]) -> None:
    for unit in prepared.plan.deployed:
        try:
            asks.check(principal, "PUT", unit.id, unit.api_version)
        except ArmError as e:
            if e.code != "AuthorizationFailed":
                raise
            told = e.message.replace(
                "does not have authorization to perform action", "does not have permission to perform action"
            ).replace("over scope", "at scope")
            message = f"Authorization failed for template resource '{unit.name}' of type '{unit.type}'. {told}"
            denied.append({"code": "AuthorizationFailed", "target": unit.id, "message": message})
            continue
        if not unit.nested:
            continue
        try:
            inner = await nested(prepared, unit.id, content(unit), reader, asks, principal)
        except Needed:
            continue  # it depends on what is not there yet
        if inner is not None:
            await _preflight(inner, reader, asks, principal, denied)


def _properties(id: ResourceId, body: Document) -> Document:
    if not _NAME.fullmatch(id.name):
        raise ArmError(
            "InvalidDeploymentName",
            f"The deployment name '{id.name[:80]}' is not valid: it must be 1 to 64 letters, digits, '-', '_', '.', "
            "'(' or ')'.",
        )
    properties = body.get("properties")
    if not isinstance(properties, dict):
        raise _unreadable("Required property 'properties' not found in JSON.")
    found: Document = {}
    for name, value in properties.items():
        if name.lower() not in _KNOWN:
            raise _unreadable(f"Could not find member '{name}' on object of type 'DeploymentProperties'.")
        if value is not None and name.lower() in _UNBUILT:
            raise not_implemented(_UNBUILT[name.lower()])
        found[name.lower()] = value
    if found.get("template") is None:
        raise ArmError(
            "InvalidDeployment",
            "The deployment needs a 'template' or a 'templateLink' in its properties.",
            target=id.text,
        )
    if id.resource_group is None and not body.get("location"):
        raise ArmError(
            "LocationRequired",
            "The location property is required for this deployment: it says where its data are kept.",
            target="location",
        )
    return found


def _mode(id: ResourceId, given: Any) -> str:
    mode = {"incremental": "Incremental", "complete": "Complete"}.get(str(given).lower()) if given else None
    if mode is None:
        raise _unreadable("The deployment 'mode' must be 'Incremental' or 'Complete'.")
    if mode == "Complete" and id.resource_group is None:
        raise ArmError(
            "InvalidDeploymentMode", "The deployment mode 'Complete' is for resource groups: use 'Incremental' here."
        )
    return mode


async def _place(id: ResourceId, reader: Reader, asks: Asks, principal: str, groups: Mapping[str, Document]) -> Place:
    if id.subscription is None:
        raise not_implemented("deployments to a tenant or a management group")
    where = f"/subscriptions/{id.subscription}"
    subscription = await reader.get(where)
    if id.parent.lower() not in (where.lower(), group_id(id.subscription, id.resource_group or "").lower()):
        raise not_implemented("deployments to a single resource")
    group: Document = {}
    if id.resource_group:
        at = group_id(id.subscription, id.resource_group)
        found = await reader.get(at)
        if found is None and at.lower() not in groups:
            raise not_found(at)
        group = _group(found.id, found.body, found.managed_by) if found else groups[at.lower()]
    known = subscription.properties if subscription else {}
    tenant = known.get("tenantId", "")
    return Place(
        id.subscription,
        group.get("name", ""),
        {
            "id": where,
            "subscriptionId": id.subscription,
            "tenantId": tenant,
            "displayName": known.get("displayName", "sorairo"),
        },
        group,
        {"tenantId": tenant, "id": f"/tenants/{tenant}", "displayName": known.get("displayName", "sorairo")},
        asks.environment(),
        deployer={"objectId": principal, "tenantId": tenant, "userPrincipalName": ""},
    )


def _deployment(id: ResourceId, body: Document, read: Template, mode: str) -> Document:
    """What `deployment()` gives."""
    found: Document = {
        "name": id.name,
        "properties": {
            "template": read.document,
            "templateHash": read.hash,
            "mode": mode,
            "provisioningState": "Accepted",
        },
    }
    return found | ({"location": body["location"]} if body.get("location") else {})


def _unreadable(reason: str) -> ArmError:
    return ArmError(
        "InvalidRequestContent",
        f"The request content was invalid and could not be deserialized: '{reason}'.",
        target="properties",
    )
