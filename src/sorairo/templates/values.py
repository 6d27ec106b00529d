"""JSON values as the template language sees them: names of types, members without regard to case, text of anything."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from sorairo.templates.errors import ExpressionError

Value: TypeAlias = Any
"""None, bool, int, float, str, list, dict; inside expressions also a lambda."""

_encode = msgspec.json.Encoder().encode


def type_name(value: Value) -> str:
    """As Azure's messages call it."""
    if value is None:
        return "Null"
    names = {bool: "Boolean", int: "Integer", float: "Float", str: "String", list: "Array", dict: "Object"}
    return names.get(type(value), "Lambda")


def member(of: Value, name: Value) -> Value:
    """`of.name` or `of[name]`. Raises ExpressionError when there is none."""
    if isinstance(of, dict):
        if not isinstance(name, str):
            raise ExpressionError(f"The language expression property '{text(name)}' must be a string on an object.")
        if name in of:
            return of[name]
        for key, value in of.items():
            if key.lower() == name.lower():
                return value
        raise ExpressionError(
            f"The language expression property '{name}' doesn't exist, available properties are "
            f"'{', '.join(of)}'. Please see https://aka.ms/arm-functions for usage details."
        )
    if isinstance(of, list):
        if type(name) is not int:
            raise ExpressionError(
                f"The language expression property '{text(name)}' can't be evaluated, property name must be an "
                "integer on an array."
            )
        if not 0 <= name < len(of):
            raise ExpressionError(
                f"The language expression property array index '{name}' is out of bounds (the array has {len(of)})."
            )
        return of[name]
    raise ExpressionError(
        f"The language expression property '{text(name)}' can't be evaluated, property values can't be selected on "
        f"a value of type '{type_name(of)}'."
    )


def find(of: dict[str, Value], name: str, default: Value = None) -> Value:
    """A member without regard to case, or the default."""
    if name in of:
        return of[name]
    return next((v for k, v in of.items() if k.lower() == name.lower()), default)


def text(value: Value) -> str:
    """As `string()` and `format()` write it: .NET's words for booleans, compact JSON for arrays and objects."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, list | dict):
        return _encode(value).decode()
    if isinstance(value, int | float):
        return repr(value)
    raise ExpressionError("A lambda has no text.")


def same(a: Value, b: Value) -> bool:
    """Equal in type and value; text with regard to case, members of objects in any order."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b
    return type(a) is type(b) and bool(a == b)


def merged(low: dict[str, Value], high: dict[str, Value], *, deep: bool = True) -> dict[str, Value]:
    """`union` of objects: members of `high` win; objects in both are merged too when `deep`."""
    result = dict(low)
    for key, value in high.items():
        there = next((k for k in result if k.lower() == key.lower()), key)
        before = result.get(there)
        if deep and isinstance(before, dict) and isinstance(value, dict):
            value = merged(before, value)
        result[there] = value
    return result
