"""What a deployment is given: values held to the template's parameters, defaults for the rest.

https://learn.microsoft.com/azure/azure-resource-manager/templates/parameters
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from sorairo.engine.errors import ArmError, not_implemented
from sorairo.templates.errors import ExpressionError, Needed, invalid
from sorairo.templates.evaluate import resolve
from sorairo.templates.frame import Document, Frame
from sorairo.templates.template import Template
from sorairo.templates.values import Value, find, same, text, type_name

TYPES = {
    "string": "String", "securestring": "SecureString", "int": "Int", "bool": "Bool", "object": "Object",
    "secureobject": "SecureObject", "array": "Array",
}  # fmt: skip
"""As `az deployment group show` writes them."""
_PYTHON: dict[str, type] = {
    "String": str, "SecureString": str, "Int": int, "Bool": bool, "Object": dict, "SecureObject": dict, "Array": list,
}  # fmt: skip
_CALLED = {"Int": "Integer", "Bool": "Boolean", "SecureString": "String", "SecureObject": "Object"}
_USAGE = "Please see https://aka.ms/arm-create-parameter-file for usage details."


class Lazy(Mapping[str, Value]):
    """Parameters by lower-case name. A default that speaks of another parameter is evaluated when that one is known."""

    def __init__(self, values: dict[str, Value], defaults: Mapping[str, Value], frame: Frame) -> None:
        self._values = values
        self._defaults = defaults
        self._frame = replace(frame, parameters=self, defaults=True)
        self._busy: list[str] = []

    def __getitem__(self, name: str) -> Value:
        if name not in self._values:
            if name in self._busy:
                raise ExpressionError(f"Circular reference among the template parameters: '{', '.join(self._busy)}'.")
            self._busy.append(name)
            try:
                self._values[name] = resolve(self._defaults[name], self._frame)
            finally:
                self._busy.pop()
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values or name in self._defaults

    def __iter__(self) -> Iterator[str]:
        return iter({**self._defaults, **self._values})

    def __len__(self) -> int:
        return len({**self._defaults, **self._values})


def bind(template: Template, given: Any, frame: Frame) -> dict[str, Value]:
    """Values by lower-case name of parameter. `given` is `{"name": {"value": …}}`.

    Raises ArmError 400 `InvalidTemplate`. Done once, when the deployment is asked for: a default may be `newGuid()`."""
    declared = {n.lower(): (n, _definition(template, n, d)) for n, d in template.parameters.items()}
    values: dict[str, Value] = {}
    for name, value in _given(given).items():
        if name.lower() not in declared:
            raise invalid(
                f"The template parameters '{name}' in the parameters file are not valid; they are not present in the "
                "original template and can therefore not be provided at deployment time. The only supported parameters "
                f"for this template are '{', '.join(template.parameters)}'. "
                "Please see https://aka.ms/arm-pass-parameter-values for usage details."
            )
        values[name.lower()] = value
    defaults: dict[str, Value] = {}
    for key, (name, definition) in declared.items():
        missing = key not in values
        if not missing and values[key] is None and not definition.get("nullable"):
            # A null stands for "not given", as az sends it.
            missing = "defaultValue" in definition
            if missing:
                del values[key]
        if not missing:
            continue
        if "defaultValue" in definition:
            defaults[key] = definition["defaultValue"]
        elif definition.get("nullable"):
            values[key] = None
        else:
            raise invalid(f"The value for the template parameter '{name}' is not provided. {_USAGE}", target=name)
    lazy = Lazy(values, defaults, frame)
    for key, (name, definition) in declared.items():
        try:
            value = lazy[key]
        except ExpressionError as e:
            raise invalid(f"The default value of the template parameter '{name}' is not valid: {e}") from None
        except Needed:
            raise invalid(
                f"The default value of the template parameter '{name}' is not valid: the template function "
                "'reference' is not expected at this location."
            ) from None
        values[key] = value
        check(template, name, definition, value)
    return {key: values[key] for key in declared}


def shown(template: Template, values: Mapping[str, Value]) -> Document:
    """As a deployment's document shows its parameters: secure ones without a value."""
    made: Document = {}
    for name, definition in template.parameters.items():
        kind = kind_of(template, definition)
        made[name] = {"type": kind} if kind.startswith("Secure") else {"type": kind, "value": values[name.lower()]}
    return made


def secure(template: Template) -> frozenset[str]:
    """Lower-case names of the parameters that are secrets."""
    return frozenset(n.lower() for n, d in template.parameters.items() if kind_of(template, d).startswith("Secure"))


def kind_of(template: Template, definition: Any) -> str:
    found = _definition(template, "", definition).get("type")
    kind = TYPES.get(found.lower()) if isinstance(found, str) else None
    if kind is None:
        raise invalid(
            f"The type '{found}' is not one of {', '.join(TYPES.values())}. "
            "Please see https://aka.ms/arm-syntax-parameters for usage details."
        )
    return kind


def _definition(template: Template, name: str, definition: Any, seen: tuple[str, ...] = ()) -> Document:
    """With what its `$ref` says laid below it."""
    if not isinstance(definition, dict):
        raise ArmError(
            "InvalidRequestContent",
            f"The request content was invalid and could not be deserialized: 'parameter {name} must be an object'.",
        )
    ref = definition.get("$ref")
    if ref is None:
        return definition
    target = str(ref).removeprefix("#/definitions/")
    if target not in template.definitions or target in seen:
        raise invalid(f"The type '{ref}' of the template parameter '{name}' is not among the template's definitions.")
    rest = {k: v for k, v in definition.items() if k != "$ref"}
    return {**_definition(template, name, template.definitions[target], (*seen, target)), **rest}


def _given(given: Any) -> Document:
    if given is None:
        return {}
    # A whole parameter file has its parameters one level down.
    if isinstance(given, dict) and "$schema" in given and isinstance(given.get("parameters"), dict):
        given = given["parameters"]
    if not isinstance(given, dict) or not all(isinstance(v, dict) for v in given.values()):
        raise ArmError(
            "InvalidRequestContent",
            "The request content was invalid and could not be deserialized: 'properties.parameters must be an object "
            "of objects with a value'.",
        )
    values: Document = {}
    for name, holder in given.items():
        if "reference" in holder:
            raise not_implemented("template parameters from a key vault")
        if "value" not in holder and "expression" in holder:
            raise not_implemented("template parameters with expressions")
        values[name] = holder.get("value")
    return values


def check(template: Template, name: str, definition: Document, value: Value) -> None:
    """Hold a value to a parameter's, an output's or a member's definition. Raises ArmError 400 `InvalidTemplate`."""
    definition = _definition(template, name, definition)
    if value is None and definition.get("nullable"):
        return
    kind = kind_of(template, definition)
    if type(value) is not _PYTHON[kind]:
        raise _wrong(
            name, f"Expected a value of type '{_CALLED.get(kind, kind)}', but received a value of type "
            f"'{type_name(value)}'. {_USAGE}",
        )  # fmt: skip
    allowed = definition.get("allowedValues")
    # Of an array, each element must be one of them, unless whole arrays are listed.
    each = value if isinstance(value, list) and not any(isinstance(a, list) for a in allowed or ()) else [value]
    if isinstance(allowed, list) and not all(any(same(v, a) for a in allowed) for v in each):
        shown = "" if kind.startswith("Secure") else f"'{text(value)}' "
        raise ArmError(
            "InvalidTemplate",
            f"Deployment template validation failed: 'The provided value {shown}for the template parameter '{name}' is "
            f"not valid. The value is not part of the allowed value(s): '{','.join(text(a) for a in allowed)}'.'.",
            target=name,
        )
    _check_size(name, definition, value)
    if isinstance(value, list):
        _check_items(template, name, definition, value)
    elif isinstance(value, dict):
        _check_members(template, name, definition, value)


def _check_size(name: str, definition: Document, value: Value) -> None:
    number = type(value) is int
    size = value if number else len(value) if isinstance(value, str | list) else None
    least, most = ("minValue", "maxValue") if number else ("minLength", "maxLength")
    what, noun = ("value", "Actual value") if number else ("length of the value", "Actual length")
    low, high = definition.get(least), definition.get(most)
    if size is None:
        return
    if isinstance(low, int) and size < low:
        raise _wrong(name, f"The {what} should be greater than or equal to '{low}'. {noun}: '{size}'. {_USAGE}")
    if isinstance(high, int) and size > high:
        raise _wrong(name, f"The {what} should be less than or equal to '{high}'. {noun}: '{size}'. {_USAGE}")


def _check_items(template: Template, name: str, definition: Document, value: list[Value]) -> None:
    first = definition.get("prefixItems") or []
    rest = definition.get("items")
    for at, item in enumerate(value):
        wanted = first[at] if at < len(first) else rest
        if wanted is False:
            raise _wrong(name, f"It has more than {len(first)} items.")
        if isinstance(wanted, dict):
            check(template, f"{name}[{at}]", wanted, item)


def _check_members(template: Template, name: str, definition: Document, value: Document) -> None:
    wanted: Document = dict(definition.get("properties") or {})
    picked = definition.get("discriminator")
    if isinstance(picked, dict):
        tag = text(find(value, str(picked.get("propertyName"))))
        chosen = (picked.get("mapping") or {}).get(tag)
        if chosen is None:
            raise _wrong(
                name, f"'{picked.get('propertyName')}' must be one of {', '.join(picked.get('mapping') or {})}."
            )
        wanted |= _definition(template, name, chosen).get("properties") or {}
    for member, inner in wanted.items():
        there = next((k for k in value if k.lower() == member.lower()), None)
        if there is not None:
            check(template, f"{name}.{member}", inner, value[there])
        elif not _definition(template, member, inner).get("nullable"):
            raise _wrong(name, f"The property '{member}' is missing.")
    others = definition.get("additionalProperties")
    named = {m.lower() for m in wanted}
    extra = [k for k in value if k.lower() not in named]
    if others is False and extra:
        raise _wrong(name, f"The following properties are not permitted: '{', '.join(extra)}'.")
    if isinstance(others, dict):
        for member in extra:
            check(template, f"{name}.{member}", others, value[member])


def _wrong(name: str, reason: str) -> ArmError:
    return invalid(f"The provided value for the template parameter '{name}' is not valid. {reason}", target=name)
