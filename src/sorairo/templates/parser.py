"""The expression language: from `[concat('a', parameters('b').c[0])]` to a tree.

    expression := call | string | integer            each followed by .name or [expression], any number of times
    call       := name ('.' name)? '(' (expression (',' expression)*)? ')'

https://learn.microsoft.com/azure/azure-resource-manager/templates/template-expressions
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from sorairo.templates.errors import ExpressionError

LONGEST = 24_576
"""Characters of the longest expression; Azure's limit."""
DEEPEST = 100
"""Calls within calls."""


@dataclass(frozen=True, slots=True)
class Literal:
    value: str | int


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    """`concat`, or `contoso.uniqueName` for a function of the template's own."""
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Member:
    of: Node
    name: Node
    """What stands in the brackets; a Literal for `.name`."""


Node: TypeAlias = Literal | Call | Member

_TOKEN = re.compile(
    r"\s*(?:(?P<String>'(?:[^']|'')*')|(?P<Integer>[+-]?\d+(?![\w.]))|(?P<Identifier>[A-Za-z_$][\w$-]*)"
    r"|(?P<LeftParenthesis>\()|(?P<RightParenthesis>\))|(?P<LeftSquareBracket>\[)|(?P<RightSquareBracket>\])"
    r"|(?P<Comma>,)|(?P<Dot>\.))"
)


def is_expression(text: str) -> bool:
    """`[…]`, and not `[[…]`, which stands for the text `[…]`."""
    return len(text) > 1 and text[0] == "[" and text[-1] == "]" and text[1] != "["


def literal(text: str) -> str:
    """What a string that is no expression stands for."""
    return text[1:] if text.startswith("[[") and text.endswith("]") else text


@lru_cache(maxsize=4096)
def parse(text: str) -> Node:
    """The tree of an expression, given with its outer brackets. Raises ExpressionError."""
    if len(text) > LONGEST:
        raise ExpressionError(
            f"The language expression length limit exceeded. Limit: '{LONGEST}' and actual: '{len(text)}'. "
            "Please see https://aka.ms/arm-syntax for usage details."
        )
    parser = _Parser(text[1:-1])
    node = parser.expression()
    parser.expect("EndOfData")
    return node


def calls(node: Node) -> Iterator[Call]:
    """All calls in a tree, the outer ones first."""
    waiting: list[Node] = [node]
    while waiting:
        now = waiting.pop()
        if isinstance(now, Call):
            yield now
            waiting.extend(now.arguments)
        elif isinstance(now, Member):
            waiting += (now.of, now.name)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._split())
        self._at = 0
        self._depth = 0

    def _split(self) -> Iterator[tuple[str, str]]:
        at, text = 0, self._text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None or found.lastgroup is None:
                shown = text[at:].strip()[:20]
                raise self._wrong(f"the string literal or token at '{shown}' is not valid")
            yield found.lastgroup, found[found.lastgroup]
            at = found.end()

    def _wrong(self, reason: str) -> ExpressionError:
        return ExpressionError(
            f"Unable to parse language expression '{self._text[:500]}': {reason}. "
            "Please see https://aka.ms/arm-functions for usage details."
        )

    def _kind(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else "EndOfData"

    def _take(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1][1]

    def expect(self, kind: str) -> str:
        if self._kind() != kind:
            raise self._wrong(f"expected token '{kind}' and actual '{self._kind()}'")
        return "" if kind == "EndOfData" else self._take()

    def expression(self) -> Node:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._wrong("it is nested too deeply")
        node = self._first()
        members = 0
        while self._kind() in ("Dot", "LeftSquareBracket"):
            members += 1
            if members > DEEPEST:  # the tree is walked by recursion
                raise self._wrong("it has too many members of members")
            if self._take() == ".":
                node = Member(node, Literal(self.expect("Identifier")))
            else:
                node = Member(node, self.expression())
                self.expect("RightSquareBracket")
        self._depth -= 1
        return node

    def _first(self) -> Node:
        kind = self._kind()
        if kind == "String":
            return Literal(self._take()[1:-1].replace("''", "'"))
        if kind == "Integer":
            return Literal(self._integer(self._take()))
        if kind != "Identifier":
            raise self._wrong(f"expected token 'Identifier' and actual '{kind}'")
        name = self._take()
        while self._kind() == "Dot":  # a namespace, of which there may be two: `__bicep.ns.name`
            self._take()
            name += "." + self.expect("Identifier")
        self.expect("LeftParenthesis")
        arguments: list[Node] = []
        while self._kind() != "RightParenthesis":
            if arguments:
                self.expect("Comma")
            arguments.append(self.expression())
        self._take()
        return Call(name, tuple(arguments))

    def _integer(self, text: str) -> int:
        value = int(text) if len(text) < 21 else 1 << 64
        if not -(1 << 63) <= value < 1 << 63:
            raise self._wrong(f"the integer '{text[:30]}' does not fit in 64 bits")
        return value
