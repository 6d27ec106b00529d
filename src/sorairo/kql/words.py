"""From the text of a query to its words."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST = 64 * 1024
"""Characters of the longest query read."""

_TOKEN = re.compile(
    r"(?P<space>\s+|//[^\n]*)"
    r"|(?P<text>@\"(?:[^\"]|\"\")*\"|@'(?:[^']|'')*'|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')"
    r"|(?P<span>\d+(?:\.\d+)?(?:microseconds?|ms|d|h|m|s)\b)"
    r"|(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_$][\w$]*(?:-(?:expand|away|rename|keep|reorder|apply|series)\b)?)"
    r"|(?P<mark>\.\.|=~|!~|==|!=|<>|<=|>=|=>|!(?=[a-z])|[|=<>~()\[\]{},.+\-*/%;:])"
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}


class QueryError(Exception):
    """A query that cannot be answered, and where: `code` is Azure's word for the kind."""

    def __init__(
        self, message: str, *, code: str = "ParserFailure", token: str = "", line: int = 1, at: int = 0
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.token = token
        self.line = line
        self.at = at
        """Position in the line, from 0."""


@dataclass(frozen=True, slots=True)
class Word:
    kind: str
    """`text`, `span`, `number`, `name`, `mark`, or `end`."""
    value: str
    """As it stands; of a text, what it says."""
    line: int
    at: int

    def wrong(self, reason: str, *, code: str = "ParserFailure") -> QueryError:
        return QueryError(reason, code=code, token=self.value, line=self.line, at=self.at)


def words(text: str) -> list[Word]:
    """Raises QueryError for what is no word, and for a query too long to read."""
    if len(text) > LONGEST:
        raise QueryError(f"The query is longer than {LONGEST} characters.")
    found: list[Word] = []
    at, line, start = 0, 1, 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise QueryError(f"'{text[at]}' was not expected.", token=text[at], line=line, at=at - start)
        kind, value = str(token.lastgroup), token[0]
        if kind != "space":
            shown = _said(value) if kind == "text" else value
            found.append(Word(kind, shown, line, at - start))
        breaks = value.count("\n")
        if breaks:
            line += breaks
            start = at + value.rindex("\n") + 1
        at = token.end()
    found.append(Word("end", "", line, at - start))
    return found


def _said(quoted: str) -> str:
    if quoted.startswith("@"):
        mark = quoted[1]
        return quoted[2:-1].replace(mark * 2, mark)
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), quoted[1:-1])
