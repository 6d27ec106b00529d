"""https://learn.microsoft.com/azure/azure-resource-manager/templates/template-functions-string

Searches look at no case where Azure's do not (`indexOf`, `startsWith`, `endsWith`), and do where they do (`contains`,
`replace`).
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urljoin

from sorairo.templates.functions.registry import MANY, Invocation, function
from sorairo.templates.values import Value, text, type_name

_HOLE = re.compile(r"\{\{|\}\}|\{(\d+)(?:,(-?\d+))?(?::([^{}]*))?\}|[{}]")
LONGEST = 131_072
"""Characters of the longest text a function makes; Azure's limit."""


@function("concat", least=1, most=MANY)
def concat(call: Invocation) -> Value:
    if isinstance(call.value(0), list):
        return [item for at in range(call.count) for item in call.array(at)]
    for at in range(call.count):
        if isinstance(call.value(at), list | dict):
            raise call.wrong(
                "requires arguments of one kind, either text or arrays; "
                f"position {at + 1} is of type '{type_name(call.value(at))}'"
            )
    return _bounded(call, "".join(text(a) for a in call.arguments))


@function("format", least=1, most=MANY)
def format_(call: Invocation) -> Value:
    def hole(found: re.Match[str]) -> str:
        if found[0] in ("{{", "}}"):
            return found[0][0]
        if found[1] is None:
            raise call.wrong("has a brace that is not closed or not doubled in its format string")
        at = int(found[1]) + 1 if len(found[1]) < 5 else call.count
        if at >= call.count:
            raise call.wrong(f"has no argument for '{found[0]}'")
        shown = _formatted(call, call.value(at), found[3] or "")
        width = int(found[2]) if found[2] and len(found[2]) < 6 else 0
        return shown.ljust(-width) if width < 0 else shown.rjust(width)

    return _bounded(call, _HOLE.sub(hole, call.text(0)))


def _formatted(call: Invocation, value: Value, style: str) -> str:
    """A .NET format of a number (`D4`, `X2`, `N0`, `F2`, `000`), or plain text."""
    if not style or isinstance(value, bool) or not isinstance(value, int | float):
        return text(value)
    kind, digits = style[0].upper(), style[1:]
    if re.fullmatch(r"0+", style):
        return f"{value:0{len(style)}d}" if isinstance(value, int) else f"{value:0{len(style)}.0f}"
    if digits and (not digits.isdigit() or len(digits) > 2):
        raise call.wrong(f"does not know the format '{style}'")
    places = int(digits) if digits else None
    if kind == "D" and isinstance(value, int):
        return f"{'-' if value < 0 else ''}{abs(value):0{places or 1}d}"
    if kind == "X" and isinstance(value, int):
        return f"{value & 0xFFFFFFFFFFFFFFFF:0{places or 1}{'X' if style[0] == 'X' else 'x'}}"
    if kind in "NF":
        grouped = "," if kind == "N" else ""
        return f"{value:{grouped}.{2 if places is None else places}f}"
    if kind == "G":
        return text(value)
    raise call.wrong(f"does not know the format '{style}'")


@function("string", least=1, most=1)
def string(call: Invocation) -> Value:
    return text(call.value(0))


@function("toLower", least=1, most=1)
def to_lower(call: Invocation) -> Value:
    return call.text(0).lower()


@function("toUpper", least=1, most=1)
def to_upper(call: Invocation) -> Value:
    return call.text(0).upper()


@function("trim", least=1, most=1)
def trim(call: Invocation) -> Value:
    return call.text(0).strip()


@function("replace", least=3, most=3)
def replace(call: Invocation) -> Value:
    if not call.text(1):
        raise call.wrong("cannot replace an empty string")
    return _bounded(call, call.text(0).replace(call.text(1), call.text(2)))


@function("split", least=2, most=2)
def split(call: Invocation) -> Value:
    delimiters = call.array(1) if isinstance(call.value(1), list) else [call.text(1)]
    if not all(isinstance(d, str) for d in delimiters):
        raise call.wrong("expects its delimiters to be strings")
    marks = [d for d in delimiters if d]
    return re.split("|".join(map(re.escape, marks)), call.text(0)) if marks else [call.text(0)]


@function("join", least=2, most=2)
def join(call: Invocation) -> Value:
    return _bounded(call, call.text(1).join(text(v) for v in call.array(0)))


@function("substring", least=2, most=3)
def substring(call: Invocation) -> Value:
    value, start = call.text(0), call.integer(1)
    length = call.integer(2, len(value) - start)
    if start < 0 or length < 0 or start + length > len(value):
        raise call.wrong(
            f"has parameters out of range: index '{start}' and length '{length}' must refer to a location within the "
            f"string, whose length is '{len(value)}'"
        )
    return value[start : start + length]


@function("padLeft", least=2, most=3)
def pad_left(call: Invocation) -> Value:
    value, width, pad = text(call.value(0)), call.integer(1), call.text(2, " ")
    if len(pad) != 1 or width > 16 * 1024:
        raise call.wrong("expects one character to pad with, and a length up to 16384")
    return value.rjust(width, pad)


@function("indexOf", least=2, most=2)
def index_of(call: Invocation) -> Value:
    if isinstance(call.value(0), list):
        return next((i for i, v in enumerate(call.array(0)) if v == call.value(1)), -1)
    return call.text(0).lower().find(call.text(1).lower())


@function("lastIndexOf", least=2, most=2)
def last_index_of(call: Invocation) -> Value:
    if isinstance(call.value(0), list):
        found = [i for i, v in enumerate(call.array(0)) if v == call.value(1)]
        return found[-1] if found else -1
    return call.text(0).lower().rfind(call.text(1).lower())


@function("startsWith", least=2, most=2)
def starts_with(call: Invocation) -> Value:
    return call.text(0).lower().startswith(call.text(1).lower())


@function("endsWith", least=2, most=2)
def ends_with(call: Invocation) -> Value:
    return call.text(0).lower().endswith(call.text(1).lower())


@function("uri", least=2, most=2)
def uri(call: Invocation) -> Value:
    return urljoin(call.text(0), call.text(1))


@function("uriComponent", least=1, most=1)
def uri_component(call: Invocation) -> Value:
    return quote(call.text(0), safe="-_.~")


@function("uriComponentToString", least=1, most=1)
def uri_component_to_string(call: Invocation) -> Value:
    return unquote(call.text(0))


@function("fail", least=1, most=1)
def fail(call: Invocation) -> Value:
    raise call.wrong(f"was called: {call.text(0)}")


def _bounded(call: Invocation, made: str) -> str:
    if len(made) > LONGEST:
        raise call.wrong(f"makes a string longer than {LONGEST} characters")
    return made
