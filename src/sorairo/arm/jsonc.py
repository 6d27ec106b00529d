"""JSON as templates are written: comments, commas too many, text over several lines, names without quotes.

`az deployment` sends a template's file as it stands, in the middle of its request, and ARM reads it.
https://learn.microsoft.com/azure/azure-resource-manager/templates/syntax#comments-and-metadata
"""

from __future__ import annotations

import json
import re

_TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*")|(?P<single>\'(?:[^\'\\]|\\.)*\')|(?P<comment>//[^\n]*|/\*.*?\*/)'
    r"|(?P<word>[A-Za-z_$][\w$]*)|(?P<number>-?\d[\d.eE+-]*)|(?P<mark>[{}\[\],:])|(?P<space>\s+)",
    re.DOTALL,
)
_LITERALS = frozenset(("true", "false", "null"))
_CONTROL = re.compile(r"[\x00-\x1f]")
_BARE_QUOTE = re.compile(r'\\\'|(?<!\\)"')


def strict(text: str) -> str:
    """The same as JSON that every reader takes. Raises ValueError, with where, for what is not even this."""
    found: list[str] = []
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            line = text.count("\n", 0, at) + 1
            raise ValueError(f"Unexpected character encountered: {text[at]!r}. Line {line}.")
        at = token.end()
        kind, word = token.lastgroup, token[0]
        if kind in ("comment", "space"):
            continue
        if kind == "string":
            word = _CONTROL.sub(_escaped, word)
        elif kind == "single":
            inner = _BARE_QUOTE.sub(lambda m: "'" if m[0] == "\\'" else '\\"', word[1:-1])
            word = f'"{_CONTROL.sub(_escaped, inner)}"'
        elif kind == "word" and word not in _LITERALS:
            word = json.dumps(word)
        elif word in "}]" and found and found[-1] == ",":
            found.pop()
        found.append(word)
    return "".join(found)


def _escaped(control: re.Match[str]) -> str:
    return json.dumps(control[0])[1:-1]
