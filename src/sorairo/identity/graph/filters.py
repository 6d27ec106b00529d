"""OData `$filter`: eq ne gt ge lt le, in, and or not, startswith endsWith contains, any().

Text is compared without case, as the directory does. https://learn.microsoft.com/graph/filter-query-parameter
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from sorairo.identity.graph.errors import GraphError

Document = dict[str, Any]
Test = Callable[[dict[str, Any]], bool]
"""Of variables (`''` is the document itself) whether they match."""

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?(?![\w:-]))|(?P<date>\d{4}-\d\d-\d\d[\w:.+-]*)"
    r"|(?P<name>[@A-Za-z_][\w/.@]*)|(?P<sign>[(),:])|(?P<guid>[0-9a-fA-F-]{36}))"
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}
_CALLS: dict[str, Callable[[str, str], bool]] = {
    "startswith": str.startswith,
    "endswith": str.endswith,
    "contains": str.__contains__,
}
LONGEST = 4096
"""Characters of the longest filter; nesting is bounded with it."""


def parse_filter(text: str) -> Callable[[Document], bool]:
    """Raises GraphError 400 `BadRequest` for what is no filter, or is one that is not understood."""
    if len(text) > LONGEST:
        raise _invalid("it is too long")
    test = _Parser(text).whole()
    return lambda document: test({"": document})


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None or found.lastgroup is None:
                raise _invalid(f"syntax error at position {at} in '{text}'")
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()
        self._at = 0
        self._depth = 0

    def whole(self) -> Test:
        test = self._or()
        if self._at != len(self._tokens):
            raise _invalid(f"unexpected '{self._tokens[self._at][1]}'")
        return test

    def _or(self) -> Test:
        self._depth += 1
        if self._depth > 50:
            raise _invalid("it is nested too deeply")
        tests = [self._and()]
        while self._word("or"):
            tests.append(self._and())
        self._depth -= 1
        return tests[0] if len(tests) == 1 else lambda scope: any(t(scope) for t in tests)

    def _and(self) -> Test:
        tests = [self._term()]
        while self._word("and"):
            tests.append(self._term())
        return tests[0] if len(tests) == 1 else lambda scope: all(t(scope) for t in tests)

    def _term(self) -> Test:
        negated = False
        while self._word("not"):
            negated = not negated
        test = self._positive()
        return (lambda scope: not test(scope)) if negated else test

    def _positive(self) -> Test:
        if self._sign("("):
            test = self._or()
            self._expect(")")
            return test
        kind, name = self._next()
        if kind != "name":
            raise _invalid(f"'{name}' is no property")
        if self._sign("("):
            return self._any(name.removesuffix("/any")) if name.endswith("/any") else self._call(name)
        kind, word = self._next()
        if word.lower() == "in":
            values = self._values()
            return lambda scope: _fold(_read(scope, name)) in values
        compare = _COMPARE.get(word.lower())
        if compare is None:
            raise _invalid(f"'{word}' is no operator")
        value = self._value()

        def compared(scope: dict[str, Any]) -> bool:
            try:
                return compare(_fold(_read(scope, name)), value)
            except TypeError:
                return False

        return compared

    def _call(self, name: str) -> Test:
        call = _CALLS.get(name.lower())
        if call is None:
            raise _invalid(f"'{name}' is no function")
        kind, path = self._next()
        self._expect(",")
        value = self._value()
        self._expect(")")
        if kind != "name" or not isinstance(value, str):
            raise _invalid(f"'{name}' takes a property and a text")

        def called(scope: dict[str, Any]) -> bool:
            of = _fold(_read(scope, path))
            return isinstance(of, str) and call(of, value)

        return called

    def _any(self, path: str) -> Test:
        if self._sign(")"):
            return lambda scope: bool(_read(scope, path))
        kind, variable = self._next()
        if kind != "name":
            raise _invalid("'any' takes a variable")
        self._expect(":")
        test = self._or()
        self._expect(")")
        return lambda scope: any(test({**scope, variable: item}) for item in _read(scope, path) or ())

    def _values(self) -> list[Any]:
        self._expect("(")
        values = [self._value()]
        while self._sign(","):
            values.append(self._value())
        self._expect(")")
        return values

    def _value(self) -> Any:
        kind, text = self._next()
        if kind == "text":
            return text[1:-1].replace("''", "'").lower()
        if kind == "number":
            return float(text)
        if kind in ("date", "guid"):
            return text.lower()
        constants = {"true": True, "false": False, "null": None}
        if kind == "name" and text.lower() in constants:
            return constants[text.lower()]
        raise _invalid(f"'{text}' is no value")

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise _invalid("it ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _word(self, word: str) -> bool:
        return self._take(("name", word))

    def _sign(self, sign: str) -> bool:
        return self._take(("sign", sign))

    def _take(self, token: tuple[str, str]) -> bool:
        there = self._at < len(self._tokens) and self._tokens[self._at]
        if there and (there[0], there[1].lower()) == token:
            self._at += 1
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._sign(sign):
            raise _invalid(f"'{sign}' is missing")


def _read(scope: dict[str, Any], path: str) -> Any:
    first, *rest = path.split("/")
    at: Any = scope[first] if first in scope else _member(scope[""], first)
    for name in rest:
        at = _member(at, name)
    return at


def _member(value: Any, name: str) -> Any:
    """By its name in any case, as people write them (`displayname eq 'x'`)."""
    if not isinstance(value, dict):
        return None
    return value[name] if name in value else next((v for k, v in value.items() if k.lower() == name.lower()), None)


def _fold(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _invalid(why: str) -> GraphError:
    return GraphError(400, "BadRequest", f"Invalid filter clause: {why}.")
