"""Anything at all, and documents with something of it in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

JUNK: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1e300,
    2**63,
    2**70,
    "",
    " ",
    "x" * 300,
    "é\u0000\ud83d\ude00",
    "null",
    "[concat('a')]",
    [],
    {},
    [[]],
    [None],
    [{}],
    {"": ""},
    {"a": {"b": [1]}},
    {"id": None},
    {"name": 3},
    [1, "a", None],
    {"properties": []},
    "../..",
    "/",
    "/subscriptions//",
    "2024-13-45",
    "10.0.0.0/33",
    "::1",
)
FILTERS = (
    "resourceType eq 'Microsoft.Network/virtualNetworks'",
    "tagName eq 'a' and tagValue eq 'b'",
    "atScope()",
    "principalId eq 'x'",
    "assignedTo('x')",
    "name eq 'a' or (location eq 'westeurope'",
    "startswith(name,'a')",
    "eventTimestamp ge '2020-01-01T00:00:00Z'",
    "substringof('a', name)",
    "not (",
    "'",
    "a eq",
    "1 eq 1",
    "displayName eq 'x'",
    "owners/any(o:o/id eq 'x')",
    "id in ('a', 'b')",
    "not startswith(displayName, 'a')",
    "servicePrincipalNames/any(c:c eq 'x')",
    "accountEnabled eq true and displayName ne null",
)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: str = ""
    body: Any = None

    def __str__(self) -> str:
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body)
        return f"{self.method} {self.path}?{self.query} {body!r}"


class Anything:
    """`wild`: how much of a document is anything at all, from 0 to 1."""

    def __init__(self, random: Random, wild: float) -> None:
        self._random = random
        self._pick: Callable[[Sequence[Any]], Any] = random.choice
        self._wild = wild

    def spoiled(self, document: Any) -> Any:
        """With one thing in it replaced by anything, sometimes."""
        if self._random.random() > 0.3 + self._wild * 2 or not isinstance(document, dict) or not document:
            return document
        document = json.loads(json.dumps(document))
        at: Any = document
        for _ in range(6):
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            key = self._pick(keys)
            if isinstance(at[key], (dict, list)) and at[key] and self._random.random() < 0.7:
                at = at[key]
                continue
            at[key] = self.junk()
            break
        return document

    def thing(self) -> Any:
        keys = ("id", "name", "tags", "properties", "value", "displayName", "keyId", "options", "command", "resources")
        return {k: self.junk() for k in self._random.sample(keys, self._random.randrange(4))}

    def tags(self) -> Any:
        return self._pick(({"a": "b"}, {}, {"é": "x" * 300}, self.junk()))

    def junk(self) -> Any:
        return self._pick(JUNK)
