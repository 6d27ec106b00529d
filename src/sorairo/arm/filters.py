"""`$filter`: the part of OData that ARM's lists understand, compared without regard to case.

    resourceType eq 'Microsoft.Network/virtualNetworks' and substringof('web', name)

https://learn.microsoft.com/rest/api/resources/resources/list#uri-parameters
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from sorairo.arm.errors import invalid_filter

Value = str | float | bool | None
Lookup = Callable[[str], Value]
"""Gives a field's value, by its lower-case name."""
Test = Callable[[Lookup], bool]

LONGEST = 4096
"""Characters of the longest filter read."""
DEEPEST = 64
"""Brackets within brackets."""

_TOKEN = re.compile(r"\s*(?:'((?:[^']|'')*)'|([(),])|([^\s(),']+))")
_OPERATORS = ("eq", "ne", "gt", "ge", "lt", "le")
_FUNCTIONS = ("substringof", "contains", "startswith", "endswith", "atscope", "assignedto")


@dataclass(frozen=True, slots=True)
class Filter:
    test: Test
    fields: frozenset[str]
    """Lower-case names of the fields it looks at."""

    def __call__(self, lookup: Lookup) -> bool:
        return self.test(lookup)


def parse(text: str, known: Collection[str] | None = None) -> Filter:
    """Read a filter; with `known`, lower-case names of the only fields it may use. Raises ArmError 400."""
    if len(text) > LONGEST:
        raise invalid_filter(text[:60] + "…", f"it is longer than {LONGEST} characters")
    parser = _Parser(text)
    test = parser.any_of()
    if parser.peek() is not None:
        raise parser.wrong(f"'{parser.peek()}' was not expected")
    if known is not None and (unknown := parser.fields - set(known)):
        raise parser.wrong(f"'{min(unknown)}' cannot be filtered by")
    return Filter(test, frozenset(parser.fields))


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, bool]] = []
        """Text, and whether it was quoted."""
        self._at = 0
        self._depth = 0
        self.fields: set[str] = set()
        at = 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None:
                raise self.wrong("a quote is not closed")
            quoted = found[1] is not None
            self._tokens.append((found[1].replace("''", "'") if quoted else found[2] or found[3], quoted))
            at = found.end()

    def wrong(self, reason: str) -> Exception:
        return invalid_filter(self._text, reason)

    def peek(self) -> str | None:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else None

    def _word(self, word: str) -> bool:
        """Take the next token if it is this bare word."""
        if self._at < len(self._tokens) and self._tokens[self._at] != (word, True):
            text, quoted = self._tokens[self._at]
            if not quoted and text.lower() == word:
                self._at += 1
                return True
        return False

    def _next(self, what: str) -> tuple[str, bool]:
        if self._at == len(self._tokens):
            raise self.wrong(f"it ends where {what} was expected")
        self._at += 1
        return self._tokens[self._at - 1]

    def _expect(self, word: str) -> None:
        if not self._word(word):
            raise self.wrong(f"'{word}' was expected" + (f" before '{self.peek()}'" if self.peek() else " at its end"))

    def any_of(self) -> Test:
        tests = [self._all_of()]
        while self._word("or"):
            tests.append(self._all_of())
        return tests[0] if len(tests) == 1 else lambda lookup: any(t(lookup) for t in tests)

    def _all_of(self) -> Test:
        tests = [self._one()]
        while self._word("and"):
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda lookup: all(t(lookup) for t in tests)

    def _one(self) -> Test:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self.wrong("it is nested too deeply")
        try:
            if self._word("not"):
                inner = self._one()
                return lambda lookup: not inner(lookup)
            if self._word("("):
                inner = self.any_of()
                self._expect(")")
                return inner
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Test:
        name, quoted = self._next("a field")
        if quoted or name in "(),":
            raise self.wrong(f"a field was expected instead of '{name}'")
        if self._word("("):
            return self._function(name.lower())
        field = self._field(name)
        operator, quoted = self._next("an operator")
        operator = operator.lower()
        if quoted or operator not in _OPERATORS:
            raise self.wrong(f"'{operator}' is not one of {', '.join(_OPERATORS)}")
        literal, quoted = self._next("a value")
        if not quoted and literal in "(),":
            raise self.wrong(f"a value was expected instead of '{literal}'")
        return lambda lookup: _compare(lookup(field), operator, literal)

    def _field(self, name: str) -> str:
        field = name.lower().replace(".", "/")
        self.fields.add(field)
        return field

    def _function(self, name: str) -> Test:
        arguments: list[tuple[str, bool]] = []
        while not self._word(")"):
            if arguments:
                self._expect(",")
            arguments.append(self._next("an argument"))
        if name not in _FUNCTIONS:
            raise self.wrong(f"the function '{name}' is not known")
        if name == "atscope" and not arguments:
            return lambda lookup: lookup("atscope()") is not False
        if name == "assignedto" and len(arguments) == 1:
            literal = arguments[0][0]
            self.fields.add("assignedto()")
            return lambda lookup: _compare(lookup("assignedto()"), "eq", literal)
        if len(arguments) != 2 or arguments[0][1] == arguments[1][1]:
            raise self.wrong(f"{name} takes a field and a quoted value")
        literal = next(text for text, quoted in arguments if quoted).lower()
        field = self._field(next(text for text, quoted in arguments if not quoted))

        def test(lookup: Lookup) -> bool:
            value = lookup(field)
            if not isinstance(value, str):
                return False
            value = value.lower()
            if name == "startswith":
                return value.startswith(literal)
            if name == "endswith":
                return value.endswith(literal)
            return literal in value

        return test


def _compare(value: Value, operator: str, literal: str) -> bool:
    """A number is compared as one (and a date as Unix seconds), everything else as text without case."""
    if value is None:
        same = literal.lower() == "null"
        return same if operator == "eq" else not same if operator == "ne" else False
    left: str | float
    right: str | float
    if isinstance(value, bool):
        left, right = str(value).lower(), literal.lower()
    elif isinstance(value, str):
        left, right = value.lower(), literal.lower()
    else:
        number = moment(literal)
        if number is None:
            return operator == "ne"
        left, right = value, number
    if operator == "eq":
        return left == right
    if operator == "ne":
        return left != right
    order = (left > right) - (left < right)  # type: ignore[operator]
    return {"gt": order > 0, "ge": order >= 0, "lt": order < 0, "le": order <= 0}[operator]


def moment(text: str) -> float | None:
    """A number, or an ISO 8601 date as Unix seconds (UTC unless it says otherwise); None for anything else."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
