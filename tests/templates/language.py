"""A frame to evaluate expressions in, as a deployment to a resource group has."""

from __future__ import annotations

from typing import Any

from sorairo.templates import parameters
from sorairo.templates.bind import frame_for
from sorairo.templates.evaluate import resolve
from sorairo.templates.expand import Plan, expand
from sorairo.templates.frame import Frame, Place
from sorairo.templates.template import Template, read

SUBSCRIPTION = "0b1f6471-1bf0-4dda-aec3-111111111111"
SUB = f"/subscriptions/{SUBSCRIPTION}"
GROUP = f"{SUB}/resourceGroups/rg"
SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
PLACE = Place(
    SUBSCRIPTION,
    "rg",
    subscription_document={"id": SUB, "subscriptionId": SUBSCRIPTION, "tenantId": "t", "displayName": "one"},
    group_document={"id": GROUP, "name": "rg", "location": "westeurope", "tags": {"Env": "dev"}},
    tenant={"tenantId": "t"},
    environment={"name": "sorairo", "suffixes": {"storage": "core.sorairo.internal"}},
    deployment={"name": "main"},
    deployer={"objectId": "o", "tenantId": "t"},
)


def template(**sections: Any) -> Template:
    return read({"$schema": SCHEMA, "contentVersion": "1.0.0.0", "resources": [], **sections})


def frame(given: dict[str, Any] | None = None, place: Place = PLACE, **sections: Any) -> Frame:
    """With the parameters `given` bound to the template's."""
    made = template(**sections)
    values = parameters.bind(made, {k: {"value": v} for k, v in (given or {}).items()}, frame_for(made, place, {}))
    return frame_for(made, place, values)


def value(expression: str, **sections: Any) -> Any:
    return resolve(f"[{expression}]", frame(**sections))


def plan(given: dict[str, Any] | None = None, place: Place = PLACE, **sections: Any) -> Plan:
    return expand(template(**sections), frame(given, place, **sections))
