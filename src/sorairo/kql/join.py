"""`join`: rows of two tables that have something in common.

https://learn.microsoft.com/azure/data-explorer/kusto/query/join-operator
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sorairo.kql.expressions import Words
from sorairo.kql.values import Value, key

KINDS = ("innerunique", "inner", "leftouter", "leftanti", "leftsemi")
Rows = list[dict[str, Value]]


def read_kind(words: Words) -> str:
    """`kind=leftouter`; without it, `innerunique`."""
    if not words.name("kind"):
        return "innerunique"
    words.expect("=")
    word = words.any_name("a kind of join")
    kind = word.value.lower()
    if kind not in KINDS:
        raise word.wrong(
            f"sorairo does not implement joins of kind '{word.value}' yet; there are {', '.join(KINDS)}.",
            code="UnsupportedFeature",
        )
    return kind


def read_keys(words: Words, left: Sequence[str], right: Sequence[str]) -> list[tuple[str, str]]:
    """`on id, $left.a == $right.b`: pairs of columns."""
    words.expect("on")
    pairs: list[tuple[str, str]] = []
    while True:
        word = words.any_name("a column")
        if word.value in ("$left", "$right"):
            words.expect(".")
            first = words.any_name("a column").value
            words.expect("==")
            side = words.any_name("$left or $right")
            words.expect(".")
            second = words.any_name("a column").value
            pair = (first, second) if word.value == "$left" else (second, first)
            if {word.value, side.value} != {"$left", "$right"}:
                raise side.wrong("A join compares a column of $left with one of $right.")
        else:
            pair = (word.value, word.value)
        for name, columns in zip(pair, (left, right), strict=True):
            if name not in columns:
                raise word.wrong(f"Failed to resolve column named '{name}'.", code="InvalidQuery")
        pairs.append(pair)
        if not words.mark(","):
            return pairs


def columns(left: Sequence[str], right: Sequence[str], kind: str) -> tuple[list[str], dict[str, str]]:
    """Those of the result, and what each of the right's is called in it: `name1` where the left has a `name`."""
    if kind in ("leftanti", "leftsemi"):
        return list(left), {}
    names: dict[str, str] = {}
    taken = set(left)
    for name in right:
        made, n = name, 1
        while made in taken:
            made, n = f"{name}{n}", n + 1
        names[name] = made
        taken.add(made)
    return [*left, *names.values()], names


def joined(left: Rows, right: Rows, pairs: list[tuple[str, str]], names: dict[str, str], kind: str) -> Rows:
    def common(row: dict[str, Value], side: int) -> Any:
        found = tuple(key(row.get(pair[side])) for pair in pairs)
        return None if any(row.get(pair[side]) is None for pair in pairs) else found

    others: dict[Any, Rows] = {}
    for row in right:
        others.setdefault(common(row, 1), []).append(row)
    others.pop(None, None)
    if kind == "innerunique":
        left = list({common(row, 0): row for row in reversed(left)}.values())[::-1]
    made: Rows = []
    for row in left:
        found = others.get(common(row, 0), [])
        if kind in ("leftanti", "leftsemi"):
            if bool(found) == (kind == "leftsemi"):
                made.append(row)
            continue
        empty: Rows = [{}] if kind == "leftouter" else []
        for other in found or empty:
            made.append({**row, **{new: other.get(old) for old, new in names.items()}})
    return made
