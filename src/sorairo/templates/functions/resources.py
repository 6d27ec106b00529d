"""Ids of resources, and what only the resources themselves can say.

https://learn.microsoft.com/azure/azure-resource-manager/templates/template-functions-resource
"""

from __future__ import annotations

import uuid

from sorairo.templates.errors import ExpressionError, Needed
from sorairo.templates.frame import Known
from sorairo.templates.functions.registry import MANY, Invocation, function
from sorairo.templates.values import Value

ZONES = ("1", "2", "3")


def _below(call: Invocation, kind: str, names: list[str]) -> str:
    """`Microsoft.X/a/b` and the names of a and b as `Microsoft.X/a/NAME/b/NAME`."""
    namespace, *types = kind.split("/")
    if not types or len(types) != len(names) or "" in (namespace, *types, *names):
        raise ExpressionError(
            f"Unable to evaluate template language function '{call.name}': the type '{kind}' requires "
            f"'{len(types)}' resource name argument(s), and '{len(names)}' were given. "
            "Please see https://aka.ms/arm-resource-functions/#resourceid for usage details."
        )
    return "/".join([namespace, *(part for pair in zip(types, names, strict=True) for part in pair)])


def _split(call: Invocation) -> tuple[list[str], str, list[str]]:
    """What comes before the type (a subscription, a group), the type, the names. The type is the first with a slash."""
    words = [call.text(at) for at in range(call.count)]
    at = next((i for i, w in enumerate(words) if "/" in w), None)
    if at is None:
        raise call.wrong("expects a resource type such as 'Microsoft.Network/virtualNetworks'")
    names = [part for word in words[at + 1 :] for part in word.split("/")]
    return words[:at], words[at], names


@function("resourceId", least=2, most=MANY)
def resource_id(call: Invocation) -> Value:
    before, kind, names = _split(call)
    place = call.frame.place
    subscription, group = place.subscription, place.group
    if len(before) == 2:
        subscription, group = before
    elif len(before) == 1:
        # One word is a subscription if it could be one, and a group otherwise.
        if _is_guid(before[0]):
            subscription = before[0]
        else:
            group = before[0]
    elif before:
        raise call.wrong("expects at most a subscription and a resource group before the resource type")
    scope = f"/subscriptions/{subscription}" + (f"/resourceGroups/{group}" if group else "")
    if kind.lower() == "microsoft.resources/resourcegroups" and len(names) == 1:
        return f"/subscriptions/{subscription}/resourceGroups/{names[0]}"
    return f"{scope}/providers/{_below(call, kind, names)}"


@function("subscriptionResourceId", least=2, most=MANY)
def subscription_resource_id(call: Invocation) -> Value:
    before, kind, names = _split(call)
    if len(before) > 1:
        raise call.wrong("expects at most a subscription before the resource type")
    subscription = before[0] if before else call.frame.place.subscription
    if kind.lower() == "microsoft.resources/resourcegroups" and len(names) == 1:
        return f"/subscriptions/{subscription}/resourceGroups/{names[0]}"
    return f"/subscriptions/{subscription}/providers/{_below(call, kind, names)}"


@function("tenantResourceId", least=2, most=MANY)
def tenant_resource_id(call: Invocation) -> Value:
    before, kind, names = _split(call)
    if before:
        raise call.wrong("expects the resource type first")
    return f"/providers/{_below(call, kind, names)}"


@function("managementGroupResourceId", least=2, most=MANY)
def management_group_resource_id(call: Invocation) -> Value:
    before, kind, names = _split(call)
    if len(before) != 1:
        raise call.wrong("expects a management group before the resource type")
    return f"/providers/Microsoft.Management/managementGroups/{before[0]}/providers/{_below(call, kind, names)}"


@function("extensionResourceId", least=3, most=MANY)
def extension_resource_id(call: Invocation) -> Value:
    names = [part for at in range(2, call.count) for part in call.text(at).split("/")]
    return f"{call.text(0).rstrip('/')}/providers/{_below(call, call.text(1), names)}"


def _known(call: Invocation) -> tuple[str, str]:
    """The id and api-version of what the first two arguments name."""
    name = call.text(0)
    own: Known | None = call.frame.names.find(name) if call.frame.names else None
    version = call.text(1) if call.has(1) else own.api_version if own else ""
    if own is None and not name.startswith("/"):
        raise ExpressionError(
            f"The template language function '{call.name}' expects a resource id or the name of a resource in the "
            f"template, and '{name}' is neither. Please see https://aka.ms/arm-resource-functions for usage details."
        )
    if not version:
        raise ExpressionError(
            f"The template language function '{call.name}' needs an API version for '{name}', which is not defined in "
            "the template. Please see https://aka.ms/arm-resource-functions for usage details."
        )
    return (own.id if own else "/" + name.strip("/")), version


@function("reference", least=1, most=3)
def reference(call: Invocation) -> Value:
    """The runtime state: its `properties`, or with `'Full'` all of it."""
    full = call.text(2, "Properties").lower()
    if full not in ("full", "properties"):
        raise call.wrong("expects 'Full' as its third parameter")
    id, version = _known(call)
    found = call.frame.answers.get(Needed("reference", id, version))
    return found if full == "full" else found.get("properties", {})


@function("references", least=1, most=2)
def references(call: Invocation) -> Value:
    """Of every resource of a loop, by its symbolic name."""
    every = call.frame.names.all(call.text(0)) if call.frame.names else None
    if every is None:
        raise ExpressionError(f"The template has no loop of resources with the symbolic name '{call.text(0)}'.")
    full = call.text(1, "Properties").lower() == "full"
    found = [call.frame.answers.get(Needed("reference", k.id, k.api_version)) for k in every if k.condition]
    return found if full else [f.get("properties", {}) for f in found]


@function("resourceInfo", least=1, most=1)
def resource_info(call: Invocation) -> Value:
    own = call.frame.names.find(call.text(0)) if call.frame.names else None
    if own is None:
        raise ExpressionError(f"The resource '{call.text(0)}' is not defined in the template.")
    _, _, tail = own.id.rpartition("/providers/")
    namespace, *rest = tail.split("/")
    return {
        "id": own.id,
        "name": own.name,
        "type": "/".join([namespace, *rest[0::2]]),
        "apiVersion": own.api_version,
    }


@function("list*", least=1, most=3)
def list_(call: Invocation) -> Value:
    """`listKeys` and its like: a POST to the resource."""
    id, version = _known(call)
    body = call.value(2) if call.has(2) else {}
    return call.frame.answers.get(Needed("list", id, version, action=call.name, body=body))


@function("providers", least=1, most=2)
def providers(call: Invocation) -> Value:
    id = f"/subscriptions/{call.frame.place.subscription}/providers/{call.text(0)}"
    found = call.frame.answers.get(Needed("providers", id, "2021-04-01"))
    if call.count == 1:
        return found
    kind = call.text(1).lower()
    for type in found.get("resourceTypes", []):
        if str(type.get("resourceType", "")).lower() == kind:
            return {k: type[k] for k in ("resourceType", "locations", "apiVersions") if k in type}
    raise call.wrong(f"finds no type '{call.text(1)}' in '{call.text(0)}'")


@function("pickZones", least=3, most=5)
def pick_zones(call: Invocation) -> Value:
    """Every region here has three zones."""
    number, offset = call.integer(3, 1), call.integer(4, 0)
    if not 0 < number <= len(ZONES) - offset or offset < 0:
        raise call.wrong(f"finds no {number} zones after the first {offset}: there are {len(ZONES)}")
    return list(ZONES[offset : offset + number])


@function("toLogicalZone", "toPhysicalZone", least=3, most=3)
def zone(call: Invocation) -> Value:
    """Here logical zones are the physical ones; Azure's physical ones are called `westeurope-az1`."""
    place, found = call.text(1).replace(" ", "").lower(), call.text(2)
    logical = found.rpartition("az")[2]
    return logical if call.name.lower() == "tologicalzone" else f"{place}-az{logical}"


@function("toLogicalZones", "toPhysicalZones", least=3, most=3)
def zones(call: Invocation) -> Value:
    place = call.text(1).replace(" ", "").lower()
    logical = [str(z).rpartition("az")[2] for z in call.array(2)]
    return logical if call.name.lower() == "tologicalzones" else [f"{place}-az{z}" for z in logical]


def _is_guid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
