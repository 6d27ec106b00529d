"""Expressions: parsed, and compiled to functions of a row. A column that is not there is told while compiling."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from sorairo.kql.functions import SCALARS, Compiled, constant
from sorairo.kql.values import Value, equal, inside, moment, number, order, term, text
from sorairo.kql.words import QueryError, Word

DEEPEST = 100
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "microsecond": 1e-6, "microseconds": 1e-6}

Test = Callable[[Value, Value], bool]


def _texts(test: Callable[[str, str], bool], *, cased: bool = False) -> Test:
    if cased:
        return lambda a, b: test(text(a), text(b))
    return lambda a, b: test(text(a).lower(), text(b).lower())


def _compared(test: Callable[[int], bool]) -> Test:
    def run(a: Value, b: Value) -> bool:
        found = order(a, b)
        return found is not None and test(found)

    return run


def _matches(a: Value, b: Value) -> bool:
    try:
        return re.search(text(b), text(a)) is not None
    except re.error as e:
        raise QueryError(f"matches regex: {e}", code="InvalidQuery") from None


TESTS: dict[str, Test] = {
    "==": equal,
    "!=": lambda a, b: not equal(a, b),
    "<>": lambda a, b: not equal(a, b),
    "=~": _texts(lambda a, b: a == b),
    "!~": _texts(lambda a, b: a != b),
    "<": _compared(lambda o: o < 0),
    "<=": _compared(lambda o: o <= 0),
    ">": _compared(lambda o: o > 0),
    ">=": _compared(lambda o: o >= 0),
    "contains": _texts(lambda a, b: b in a),
    "contains_cs": _texts(lambda a, b: b in a, cased=True),
    "startswith": _texts(lambda a, b: a.startswith(b)),
    "startswith_cs": _texts(lambda a, b: a.startswith(b), cased=True),
    "endswith": _texts(lambda a, b: a.endswith(b)),
    "endswith_cs": _texts(lambda a, b: a.endswith(b), cased=True),
    "has": lambda a, b: term(text(b)).search(text(a)) is not None,
    "hasprefix": lambda a, b: re.search(rf"(?<![0-9a-z]){re.escape(text(b).lower())}", text(a).lower()) is not None,
    "hassuffix": lambda a, b: re.search(rf"{re.escape(text(b).lower())}(?![0-9a-z])", text(a).lower()) is not None,
}
"""Of two values. Those that are words have a denial, `!contains`."""
_LISTS = ("in", "has_any", "has_all")


class Words:
    """The words of a query, read from left to right."""

    def __init__(self, found: list[Word]) -> None:
        self._found = found
        self._at = 0
        self.depth = 0

    @property
    def next(self) -> Word:
        return self._found[self._at]

    def ahead(self, by: int = 1) -> Word:
        return self._found[min(self._at + by, len(self._found) - 1)]

    def take(self) -> Word:
        word = self.next
        if word.kind != "end":
            self._at += 1
        return word

    def mark(self, *values: str) -> Word | None:
        """The next word, taken, if it is one of these marks."""
        return self.take() if self.next.kind == "mark" and self.next.value in values else None

    def name(self, *values: str) -> Word | None:
        """The next word, taken, if it is one of these names."""
        return self.take() if self.next.kind == "name" and self.next.value.lower() in values else None

    def expect(self, value: str) -> Word:
        found = self.mark(value) or self.name(value)
        if found is None:
            raise self.wrong(f"'{value}' was expected")
        return found

    def any_name(self, what: str) -> Word:
        if self.next.kind != "name":
            raise self.wrong(f"{what} was expected")
        return self.take()

    def path_from(self, first: Word) -> list[str]:
        """The names of a path such as `properties.sku.name`, if that is all that was read since a word."""
        words = self._found[self._found.index(first) : self._at]
        names = [w.value for w in words[0::2] if w.kind == "name"]
        dots = all(w.kind == "mark" and w.value == "." for w in words[1::2])
        return names if dots and len(names) == len(words[0::2]) else []

    def wrong(self, reason: str) -> QueryError:
        word = self.next
        found = "the end of the query" if word.kind == "end" else f"'{word.value[:60]}'"
        return word.wrong(f"{reason} instead of {found}.")


class Expressions:
    """Compiles expressions over columns that are known by name."""

    def __init__(self, words: Words, columns: Sequence[str]) -> None:
        self._words = words
        self._columns = columns

    def any(self) -> Compiled:
        self._words.depth += 1
        if self._words.depth > DEEPEST:
            raise self._words.next.wrong("The query is nested too deeply.")
        parts = [self._all()]
        while self._words.name("or"):
            parts.append(self._all())
        self._words.depth -= 1
        if len(parts) == 1:
            return parts[0]
        return lambda row: any(p(row) is True for p in parts)

    def _all(self) -> Compiled:
        parts = [self._comparison()]
        while self._words.name("and"):
            parts.append(self._comparison())
        if len(parts) == 1:
            return parts[0]
        return lambda row: all(p(row) is True for p in parts)

    def _comparison(self) -> Compiled:
        left = self._sum()
        words = self._words
        denied = words.next.kind == "mark" and words.next.value == "!" and words.ahead().kind == "name"
        word = words.ahead() if denied else words.next
        name = word.value.lower()
        if name == "between" and word.kind == "name":
            return self._between(left, denied)
        if name in _LISTS and word.kind == "name":
            return self._in(left, denied)
        if name == "matches" and not denied and word.kind == "name":
            words.take()
            words.expect("regex")
            right = self._sum()
            return lambda row: _matches(left(row), right(row))
        test = TESTS.get(name)
        if test is None or (denied and word.kind != "name") or (word.kind not in ("mark", "name")):
            if denied:
                raise words.wrong("an operator was expected")
            return left
        if denied:
            words.take()
        words.take()
        right = self._sum()
        found: Test = test
        if denied:
            return lambda row: not found(left(row), right(row))
        return lambda row: found(left(row), right(row))

    def _between(self, left: Compiled, denied: bool) -> Compiled:
        for _ in range(1 + denied):
            self._words.take()
        self._words.expect("(")
        low = self._sum()
        self._words.expect("..")
        high = self._sum()
        self._words.expect(")")

        def run(row: Any) -> bool:
            value = left(row)
            above, below = order(value, low(row)), order(value, high(row))
            return (above is not None and above >= 0 and below is not None and below <= 0) is not denied

        return run

    def _in(self, left: Compiled, denied: bool) -> Compiled:
        words = self._words
        if denied:
            words.take()
        kind = words.take().value.lower()
        cased = kind == "in"
        # `in~` is two words: the tilde is no mark of its own, so the lexer leaves it to us.
        if kind == "in" and words.next.kind == "mark" and words.next.value == "~":
            words.take()
            cased = False
        words.expect("(")
        items: list[Compiled] = []
        while not words.mark(")"):
            if items:
                words.expect(",")
            items.append(self.any())

        def wanted(row: Any) -> list[Value]:
            found = [item(row) for item in items]
            return [v for one in found for v in (one if isinstance(one, list) else [one])]

        def run(row: Any) -> bool:
            value = left(row)
            if kind in ("has_any", "has_all"):
                tests = [term(text(w)).search(text(value)) is not None for w in wanted(row)]
                return (any(tests) if kind == "has_any" else all(tests)) is not denied
            if cased:
                return any(equal(value, w) for w in wanted(row)) is not denied
            return (text(value).lower() in {text(w).lower() for w in wanted(row)}) is not denied

        return run

    def _sum(self) -> Compiled:
        left = self._product()
        while word := self._words.mark("+", "-"):
            left = _arithmetic(word.value, left, self._product())
        return left

    def _product(self) -> Compiled:
        left = self._signed()
        while word := self._words.mark("*", "/", "%"):
            left = _arithmetic(word.value, left, self._signed())
        return left

    def _signed(self) -> Compiled:
        minus = self._words.mark("-")
        value = self._path()
        if minus is None:
            return value

        def run(row: Any) -> Value:
            found = value(row)
            return -found if isinstance(found, timedelta) else None if number(found) is None else -(number(found) or 0)

        return run

    def _path(self) -> Compiled:
        value = self._first()
        while True:
            if self._words.mark("."):
                name = self._words.any_name("a property")
                value = _member(value, constant(name.value))
            elif self._words.mark("["):
                inner = self.any()
                self._words.expect("]")
                value = _member(value, inner)
            else:
                return value

    def _first(self) -> Compiled:
        words = self._words
        word = words.next
        if words.mark("("):
            inner = self.any()
            words.expect(")")
            return inner
        if word.kind == "text":
            return constant(words.take().value)
        if word.kind == "number":
            return constant(float(word.value) if re.search(r"[.eE]", words.take().value) else int(word.value))
        if word.kind == "span":
            return constant(span(words.take().value))
        if words.mark("["):  # ['a name with spaces']
            if words.next.kind != "text":
                raise words.wrong("a column in quotes was expected")
            named = words.take()
            words.expect("]")
            return self._column(named)
        name = words.any_name("an expression")
        if words.next.kind == "mark" and words.next.value == "(":
            return self._call(name)
        if name.value.lower() in ("true", "false"):
            return constant(name.value.lower() == "true")
        return self._column(name)

    def _column(self, word: Word) -> Compiled:
        name = word.value
        if name not in self._columns:
            raise word.wrong(f"Failed to resolve column or scalar expression named '{name}'.", code="InvalidQuery")
        return lambda row: row.get(name)

    def _call(self, word: Word) -> Compiled:
        words = self._words
        name = word.value.lower()
        words.expect("(")
        if name == "dynamic":
            return constant(_dynamic(words))
        if name == "datetime" and words.next.kind not in ("text", "name"):
            return constant(_datetime(words))
        arguments: list[Compiled] = []
        while not words.mark(")"):
            if arguments:
                words.expect(",")
            arguments.append(self.any())
        found = SCALARS.get(name)
        if found is None:
            raise word.wrong(f"The function '{word.value}' is not supported here.", code="UnsupportedFeature")
        run, least, most = found
        if len(arguments) < least or (most is not None and len(arguments) > most):
            raise word.wrong(f"{word.value}() does not take {len(arguments)} arguments.", code="InvalidQuery")
        return lambda row: run(*(a(row) for a in arguments))


def span(written: str) -> timedelta:
    """`1d`, `2.5h`, `30m`."""
    found = re.fullmatch(r"([\d.]+)([a-z]+)", written)
    assert found
    try:
        return timedelta(seconds=float(found[1]) * _UNITS[found[2]])
    except OverflowError:
        return timedelta.max


def _member(of: Compiled, name: Compiled) -> Compiled:
    return lambda row: inside(of(row), name(row))


def _arithmetic(operator: str, left: Compiled, right: Compiled) -> Compiled:
    def run(row: Any) -> Value:
        a, b = left(row), right(row)
        try:
            if not (type(a) in (int, float) and type(b) in (int, float)) and operator in "+-":
                when, other = moment(a), moment(b)
                if when is not None and isinstance(b, timedelta):
                    return when + b if operator == "+" else when - b
                if when is not None and other is not None and operator == "-":
                    return when - other
                if isinstance(a, timedelta) and isinstance(b, timedelta):
                    return a + b if operator == "+" else a - b
            x, y = number(a), number(b)
            if x is None or y is None or (operator in "/%" and y == 0):
                return None
            if operator == "/":
                return int(x / y) if isinstance(x, int) and isinstance(y, int) else x / y
            return {"+": x + y, "-": x - y, "*": x * y, "%": x % y if operator == "%" else 0}[operator]
        except (OverflowError, ValueError):
            return None

    return run


def _dynamic(words: Words) -> Value:
    """A literal: `dynamic([1, "a"])`, JSON, or `dynamic(null)`."""
    depth, parts = 1, []
    start = words.next
    while depth:
        word = words.take()
        if word.kind == "end":
            raise start.wrong("dynamic( is not closed.")
        depth += (word.value == "(") - (word.value == ")") if word.kind == "mark" else 0
        if depth:
            parts.append(msgspec.json.encode(word.value).decode() if word.kind == "text" else word.value)
    try:
        return msgspec.json.decode("".join(parts))
    except (msgspec.DecodeError, RecursionError):
        raise start.wrong("dynamic() expects JSON.") from None


def _datetime(words: Words) -> Value:
    """`datetime(2024-05-01T10:00:00Z)`, written without quotes."""
    start, parts = words.next, ""
    while not words.mark(")"):
        if words.next.kind == "end":
            raise start.wrong("datetime( is not closed.")
        parts += words.take().value
    if re.fullmatch(r"\d{4}(-\d\d){2}\d\d:.*", parts):  # a space between date and time is no word
        parts = f"{parts[:10]}T{parts[10:]}"
    found = moment(parts)
    if found is None:
        raise start.wrong(f"'{parts[:40]}' is no date.")
    return found
