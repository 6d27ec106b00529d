"""A template's own shape: which sections it has, and its resources however they are written down.

https://learn.microsoft.com/azure/azure-resource-manager/templates/syntax
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sorairo.engine.errors import ArmError, not_implemented
from sorairo.templates.errors import invalid
from sorairo.templates.frame import Document, UserFunction
from sorairo.templates.functions.hashes import hash64

SECTIONS = frozenset(
    ("$schema", "contentversion", "apiprofile", "languageversion", "metadata", "functions", "definitions", "parameters",
     "variables", "resources", "outputs", "imports", "extensions", "asserts")
)  # fmt: skip
MOST_PARAMETERS, MOST_VARIABLES, MOST_OUTPUTS, MOST_RESOURCES = 256, 512, 64, 800


@dataclass(frozen=True, slots=True)
class Declared:
    """A resource as the template writes it, before loops and conditions."""

    body: Document
    type: str
    """With its parents' types, when it stands inside one."""
    symbol: str = ""
    """Its symbolic name, in a template of language version 2.0."""
    parents: tuple[Document, ...] = ()
    """What it stands inside of, outermost first."""


@dataclass(frozen=True, slots=True)
class Template:
    document: Document
    parameters: Document
    variables: Document
    outputs: Document
    definitions: Document
    functions: Mapping[str, UserFunction]
    resources: tuple[Declared, ...] = field(default=())
    symbolic: bool = False

    @property
    def hash(self) -> str:
        """Azure's `templateHash`: the same for the same template, whatever its spaces and case."""
        return template_hash(self.document)

    @property
    def scope(self) -> str:
        """`group`, `subscription`, `managementGroup`, `tenant`: what its schema says it is for."""
        schema = str(self.document.get("$schema", "")).rpartition("/")[2].lower()
        for name, scope in (("subscription", "subscription"), ("management", "managementGroup"), ("tenant", "tenant")):
            if schema.startswith(name):
                return scope
        return "group"


def template_hash(document: Document) -> str:
    return str(hash64(msgspec.json.encode(document).upper()))


def read(document: Any) -> Template:
    """Raises ArmError 400 `InvalidRequestContent` for what is no template at all, `InvalidTemplate` for a wrong one."""
    if not isinstance(document, dict):
        raise _unreadable("the template must be an object")
    given = {k.lower(): v for k, v in document.items()}
    for name in ("$schema", "contentVersion", "resources"):
        if given.get(name.lower()) is None:
            raise _unreadable(f"Required property '{name}' not found in JSON. Path 'properties.template'")
    for name in document:
        if name.lower() not in SECTIONS:
            raise _unreadable(f"Could not find member '{name}' on object of type 'Template'. Path '{name}'")
    if given.get("imports") or given.get("extensions"):
        raise not_implemented("templates with Bicep extensions")
    sections = {name: _section(given, name) for name in ("parameters", "variables", "outputs", "definitions")}
    for name, most in (("parameters", MOST_PARAMETERS), ("variables", MOST_VARIABLES), ("outputs", MOST_OUTPUTS)):
        if len(sections[name]) > most:
            raise invalid(
                f"The number of template {name} limit exceeded. Limit: '{most}' and actual: '{len(sections[name])}'. "
                "Please see https://aka.ms/arm-syntax for usage details."
            )
    listed = given["resources"]
    if isinstance(listed, dict):
        if not str(given.get("languageversion") or "").startswith(("2.", "1.9", "1.10")):
            raise invalid("Resources by symbolic name need the template's 'languageVersion' to be '2.0' or later.")
        resources = tuple(d for symbol, body in listed.items() for d in _declared(body, symbol))
    elif isinstance(listed, list):
        resources = tuple(d for body in listed for d in _declared(body))
    else:
        raise _unreadable("'resources' must be an array or an object")
    return Template(document, **sections, functions=_functions(given.get("functions")), resources=resources,
                    symbolic=isinstance(listed, dict))  # fmt: skip


def _section(given: Document, name: str) -> Document:
    found = given.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _unreadable(f"'{name}' must be an object")
    return found


def _declared(body: Any, symbol: str = "", parents: tuple[Declared, ...] = ()) -> Iterator[Declared]:
    """A resource and those that stand inside it, each with its full type."""
    if not isinstance(body, dict):
        raise _unreadable("a resource must be an object")
    kind = body.get("type")
    if not isinstance(kind, str) or not kind:
        raise _unreadable("Required property 'type' not found in JSON. Path 'resources'")
    if "name" not in body:
        raise _unreadable(f"Required property 'name' not found in JSON. Path 'resources' ('{kind}')")
    if "import" in body or "extension" in body:
        raise not_implemented("templates with Bicep extensions")
    if parents:
        kind = f"{parents[-1].type}/{kind}"
    if kind.count("/") < 1:
        raise invalid(
            f"The template resource type '{kind}' is not valid: it needs a namespace, as 'Microsoft.Network/…' has. "
            "Please see https://aka.ms/arm-syntax-resources for usage details."
        )
    own = Declared(body, kind, symbol, tuple(p.body for p in parents))
    yield own
    # A nested template's resources are below `properties`; what is here are children of this resource.
    below = body.get("resources")
    if below is None:
        return
    if not isinstance(below, list | dict):
        raise _unreadable("'resources' must be an array or an object")
    children = below.items() if isinstance(below, dict) else [("", b) for b in below]
    for name, child in children:
        yield from _declared(child, name, (*parents, own))


def _functions(given: Any) -> dict[str, UserFunction]:
    """Of `[{"namespace": "contoso", "members": {"uniqueName": {"parameters": […], "output": {"value": …}}}}]`."""
    found: dict[str, UserFunction] = {}
    if given is None:
        return found
    try:
        for space in given:
            for name, member in space["members"].items():
                parameters = tuple(p["name"] for p in member.get("parameters") or ())
                full = f"{space['namespace']}.{name}"
                found[full.lower()] = UserFunction(full, parameters, member["output"]["value"])
    except (TypeError, KeyError, AttributeError):
        raise _unreadable("'functions' must hold namespaces with members that have parameters and an output") from None
    return found


def _unreadable(reason: str) -> ArmError:
    return ArmError(
        "InvalidRequestContent",
        f"The request content was invalid and could not be deserialized: '{reason}'.",
        target="properties.template",
    )
