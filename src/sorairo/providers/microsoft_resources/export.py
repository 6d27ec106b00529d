"""A template that would make what a group holds.

https://learn.microsoft.com/rest/api/resources/resource-groups/export-template
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sorairo.engine.errors import ArmError, not_found
from sorairo.engine.types import Call, Document, Resource
from sorairo.providers.microsoft_resources.asking import Asks

SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
_OPTIONS = ("IncludeParameterDefaultValue", "IncludeComments", "SkipResourceNameParameterization",
            "SkipAllParameterization")  # fmt: skip
_LEFT_OUT = ("microsoft.resources/", "microsoft.authorization/")


class Exporter:
    def __init__(self, asks: Asks) -> None:
        self._asks = asks

    async def export(self, call: Call) -> Document:
        if call.resource.generation == 0:
            raise not_found(call.id.text)
        options = _options(call.body.get("options"))
        wanted = call.body.get("resources") or ["*"]
        if not isinstance(wanted, list) or not all(isinstance(w, str) for w in wanted):
            raise ArmError("InvalidRequestContent", "'resources' must be an array of resource ids, or ['*'].")
        inside = [r for r in await call.ctx.list(under=call.id.text) if not r.managed_by and not r.deleting]
        inside = [r for r in inside if not r.rid.type.lower().startswith(_LEFT_OUT)]
        if wanted != ["*"]:
            keys = {w.lower() for w in wanted}
            for missing in sorted(keys - {r.key for r in inside}):
                raise not_found(missing)
            inside = [r for r in inside if r.key in keys]
        versions = {r.rid.type: self._asks.version_of(r.rid.type) for r in inside}
        may = [r for r in inside if self._asks.may(call.principal, "read", r.id)]
        return {"template": template(may, versions, options)}


def template(resources: Sequence[Resource], versions: dict[str, str], options: frozenset[str]) -> Document:
    """`versions`: api-version by type."""
    plain = bool(options & {"skipallparameterization", "skipresourcenameparameterization"})
    names = {} if plain else _parameters(resources)
    ids = {r.key: r for r in resources}
    parameters: Document = {}
    for key, parameter in names.items():
        parameters[parameter] = {"type": "String"}
        if "includeparameterdefaultvalue" in options or not options:
            parameters[parameter]["defaultValue"] = ids[key].rid.name
    written = [_resource(r, versions[r.rid.type], ids, names, "includecomments" in options) for r in resources]
    return {
        "$schema": SCHEMA,
        "contentVersion": "1.0.0.0",
        "parameters": parameters,
        "variables": {},
        "resources": written,
    }


def _resource(
    resource: Resource, version: str, ids: dict[str, Resource], names: dict[str, str], comments: bool
) -> Document:
    needs: dict[str, None] = {}
    body = _referring(resource.body, resource, ids, names, needs)
    chain = _chain(resource, ids)
    if len(chain) > 1:
        needs[_reference(chain[-2], "", ids, names)] = None
    document: Document = {"type": resource.rid.type, "apiVersion": version, "name": _name(chain, names)}
    if comments:
        document["comments"] = f"Generalized from resource: '{resource.id}'."
    document |= {k: v for k, v in body.items() if v not in (None, {}) or k == "properties"}
    return document | ({"dependsOn": list(needs)} if needs else {})


def _referring(
    value: Any, own: Resource, ids: dict[str, Resource], names: dict[str, str], needs: dict[str, None]
) -> Any:
    """With expressions where ids of other resources of the template stood; those are noted as `needs`."""
    if isinstance(value, list):
        return [_referring(v, own, ids, names, needs) for v in value]
    if isinstance(value, dict):
        return {k: _referring(v, own, ids, names, needs) for k, v in value.items()}
    if not isinstance(value, str):
        return value
    at = value.lower()
    while at.count("/") > 4:
        if at in ids:
            if at != own.key:
                needs[_reference(ids[at], "", ids, names)] = None
            return _reference(ids[at], value[len(at) :], ids, names)
        at = at.rpartition("/")[0]
    return f"[{value}" if value.startswith("[") else value


def _reference(resource: Resource, rest: str, ids: dict[str, Resource], names: dict[str, str]) -> str:
    """`[resourceId('type', name)]`, with what is below the resource (a subnet) as types and names more."""
    below = rest.strip("/").split("/") if rest.strip("/") else []
    kind = "/".join([resource.rid.type, *below[0::2]])
    parts = [_word(r, names) for r in _chain(resource, ids)] + [_quoted(n) for n in below[1::2]]
    return f"[resourceId({', '.join([_quoted(kind), *parts])})]"


def _name(chain: list[Resource], names: dict[str, str]) -> str:
    if not any(r.key in names for r in chain):
        return "/".join(r.rid.name for r in chain)
    words = [_word(r, names) for r in chain]
    if len(words) == 1:
        return f"[{words[0]}]"
    return f"[concat({', '.join(w for n, word in enumerate(words) for w in ((_quoted('/'), word) if n else (word,)))})]"


def _word(resource: Resource, names: dict[str, str]) -> str:
    return f"parameters('{names[resource.key]}')" if resource.key in names else _quoted(resource.rid.name)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _chain(resource: Resource, ids: dict[str, Resource]) -> list[Resource]:
    """A resource and what it is inside of, outermost first."""
    chain, at = [resource], resource.rid.parent.lower()
    while at in ids:
        chain.insert(0, ids[at])
        at = ids[at].rid.parent.lower()
    return chain


def _parameters(resources: Sequence[Resource]) -> dict[str, str]:
    """Key → `virtualNetworks_vnet_name`, as Azure's export calls them; only for the outermost."""
    keys = {r.key for r in resources}
    found: dict[str, str] = {}
    for resource in resources:
        if resource.rid.parent.lower() in keys:
            continue
        kind = resource.rid.type.rpartition("/")[2]
        name = re.sub(r"[^A-Za-z0-9]", "_", f"{kind}_{resource.rid.name}_name")
        while name in found.values():
            name += "_1"
        found[resource.key] = name
    return found


def _options(text: Any) -> frozenset[str]:
    given = [p.strip() for p in str(text or "").split(",") if p.strip()]
    known = {o.lower() for o in _OPTIONS}
    for option in given:
        if option.lower() not in known:
            raise ArmError("InvalidRequestContent", f"The option '{option}' is not one of {', '.join(_OPTIONS)}.")
    return frozenset(o.lower() for o in given)
