"""What a request body may hold, by type: `check("managedClusters", body)`.

The JSON files here are made by `tools/schemas.py` from the Azure SDKs' models. Each is read and compiled when a body
of its type is first seen (0.1 to 0.6 MB each). Azure's own leniency is kept: read-only properties and nulls are
dropped without a word (clients send back whole documents they once got), names of properties and values of
enumerations are taken in any case, and an empty enumeration is an absent one (az sends `"vmSize": ""` and the like).
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema_rs

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Document

MOST = 20
"""Violations told of in one answer."""
_FOLDER = Path(__file__).parent
_REF = len("#/$defs/")


class _Schema:
    __slots__ = ("_defs", "_root", "_validator")

    def __init__(self, name: str) -> None:
        document = json.loads((_FOLDER / f"{name}.json").read_bytes())
        self._defs: dict[str, Document] = document["$defs"]
        self._root: Document = document
        self._validator = jsonschema_rs.Draft202012Validator(document)

    def prune(self, body: Document) -> None:
        self._prune(body, self._root)

    def _prune(self, value: Any, schema: Document) -> Any:
        """Without what is read-only or null, and in the case that the schema has. Changes dicts and lists in place."""
        if (ref := schema.get("$ref")) is not None:
            schema = self._defs[ref[_REF:]]
        if type(value) is dict:
            if (properties := schema.get("properties")) is not None:
                self._prune_object(value, properties, schema.get("additionalProperties"))
            elif isinstance(rest := schema.get("additionalProperties"), dict):
                for key in list(value):
                    if value[key] is None:
                        del value[key]
                    else:
                        value[key] = self._prune(value[key], rest)
        elif type(value) is list:
            if (items := schema.get("items")) is not None:
                value[:] = [self._prune(item, items) for item in value]
        elif type(value) is str and (known := schema.get("enum")) is not None and value not in known:
            # Some are lists in one text ("SystemAssigned, UserAssigned"), which clients write with and without spaces.
            return next((k for k in known if _bare(k) == _bare(value)), value)
        return value

    def _prune_object(self, value: Document, properties: Document, rest: Any) -> None:
        for key in list(value):
            schema = properties.get(key)
            name = key
            if schema is None:
                name = next((p for p in properties if p.lower() == key.lower() and p not in value), key)
                schema = properties.get(name)
                if schema is None:
                    if isinstance(rest, dict) and rest.get("readOnly"):
                        del value[key]
                    continue
            inner = value[key]
            if name != key:
                del value[key]
            if inner is None or (len(schema) == 1 and "readOnly" in schema) or (inner == "" and "enum" in schema):
                value.pop(key, None)
            else:
                value[name] = self._prune(inner, schema)

    def violations(self, body: Document) -> list[ArmError]:
        found: list[ArmError] = []
        for error in self._validator.iter_errors(body):
            found += _violations(error)
            if len(found) >= MOST:
                break
        return found


def _bare(value: str) -> str:
    return value.replace(" ", "").lower()


_load = lru_cache(maxsize=None)(_Schema)


def check(name: str, body: Document) -> None:
    """Hold `body` to the schema `name`, dropping what Azure ignores (in place).

    Raises ArmError 400: `InvalidRequestContent` for a wrong type or an unknown property, `InvalidParameter` for a
    value out of its range or enumeration; `target` is the path of what is wrong, such as
    `properties.agentPoolProfiles[0].count`. Of several, the first stands for all and each is in `details`.
    """
    schema = _load(name)
    schema.prune(body)
    found = schema.violations(body)
    if not found:
        return
    first = found[0]
    if len(found) == 1:
        raise first
    raise ArmError(first.code, first.message, target=first.target, details=[v.body() for v in found])


def _violations(error: jsonschema_rs.ValidationError) -> list[ArmError]:
    """One error of the validator in Azure's words; several when it speaks of several properties."""
    kind, path = error.kind.as_dict(), list(error.instance_path)
    if error.kind.name == "additionalProperties":
        return [_unreadable(f"Could not find member '{k}'", [*path, k]) for k in kind["unexpected"]]
    if error.kind.name == "type":
        wanted = kind["types"] if "types" in kind else kind.get("type", "")
        wanted = wanted if isinstance(wanted, str) else " or ".join(wanted)
        return [_unreadable(f"Error converting a value of type '{_type_of(error.instance)}' to '{wanted}'", path)]
    if error.kind.name == "enum":
        return [_invalid(f"'{error.instance}' is not one of {', '.join(kind['options'])}", path)]
    return [_invalid(error.message, path)]


def _unreadable(reason: str, path: list[str | int]) -> ArmError:
    where = _path(path)
    return ArmError(
        "InvalidRequestContent",
        f"The request content was invalid and could not be deserialized: '{reason}. Path '{where}'.'.",
        target=where,
    )


def _invalid(reason: str, path: list[str | int]) -> ArmError:
    where = _path(path)
    return ArmError("InvalidParameter", f"The value of parameter {where} is invalid: {reason}.", target=where)


def _path(path: list[str | int]) -> str:
    """`properties.agentPoolProfiles[0].count`"""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _type_of(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")
