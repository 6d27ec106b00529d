"""Scalar functions and aggregates, by name.

https://learn.microsoft.com/azure/data-explorer/kusto/query/scalar-functions
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from sorairo.kql.values import Row, Value, equal, key, moment, number, order, text
from sorairo.kql.words import QueryError

Scalar = Callable[..., Value]
Compiled = Callable[[Row], Value]
Aggregate = Callable[[Sequence[Row], Sequence[Compiled]], Value]


def now() -> datetime:
    return datetime.now(UTC)


def _whole(value: Value) -> int | None:
    found = number(value)
    return None if found is None or math.isnan(found) or math.isinf(found) else int(found)


def _boolean(value: Value) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"true": True, "1": True, "false": False, "0": False}.get(text(value).lower())


def _json(value: Value) -> Value:
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return value


def _case(*arguments: Value) -> Value:
    for at in range(0, len(arguments) - 1, 2):
        if arguments[at] is True:
            return arguments[at + 1]
    return arguments[-1]


def _extract(pattern: Value, group: Value, source: Value) -> Value:
    try:
        found = re.search(text(pattern), text(source))
        return found[_whole(group) or 0] if found else ""
    except (re.error, IndexError) as e:
        raise QueryError(f"extract(): {e}", code="InvalidQuery") from None


def _substring(value: Value, start: Value, length: Value = None) -> Value:
    begin = max(0, _whole(start) or 0)
    return text(value)[begin:] if length is None else text(value)[begin : begin + max(0, _whole(length) or 0)]


def _split(value: Value, by: Value, at: Value = None) -> Value:
    parts = text(value).split(text(by)) if text(by) else [text(value)]
    if at is None:
        return parts
    index = _whole(at) or 0
    return parts[index : index + 1] if index >= 0 else []


def _round(value: Value, digits: Value = 0) -> Value:
    found = number(value)
    return None if found is None else round(found, _whole(digits) or 0)


def _trimmed(side: str) -> Scalar:
    def trim(pattern: Value, value: Value) -> Value:
        made = text(value)
        try:
            if side != "end":
                made = re.sub(rf"\A(?:{text(pattern)})+", "", made)
            return made if side == "start" else re.sub(rf"(?:{text(pattern)})+\Z", "", made)
        except re.error as e:
            raise QueryError(f"trim(): {e}", code="InvalidQuery") from None

    return trim


def _packed(*arguments: Value) -> Value:
    return {text(arguments[at]): arguments[at + 1] for at in range(0, len(arguments) - 1, 2)}


def _least(arguments: Sequence[Value], sign: int) -> Value:
    found: Value = None
    for value in arguments:
        compared = order(value, found)
        if value is not None and (found is None or (compared is not None and compared * sign < 0)):
            found = value
    return found


def _numeric(run: Callable[[float], Value]) -> Scalar:
    def apply(value: Value) -> Value:
        found = number(value)
        return None if found is None else run(found)

    return apply


SCALARS: dict[str, tuple[Scalar, int, int | None]] = {
    # name: what it does, least and most arguments
    "tostring": (text, 1, 1),
    "toint": (_whole, 1, 1),
    "tolong": (_whole, 1, 1),
    "todouble": (lambda v: None if number(v) is None else float(number(v) or 0), 1, 1),
    "toreal": (lambda v: None if number(v) is None else float(number(v) or 0), 1, 1),
    "tobool": (_boolean, 1, 1),
    "toboolean": (_boolean, 1, 1),
    "todatetime": (moment, 1, 1),
    "datetime": (moment, 1, 1),
    "todynamic": (_json, 1, 1),
    "parse_json": (_json, 1, 1),
    "tolower": (lambda v: text(v).lower(), 1, 1),
    "toupper": (lambda v: text(v).upper(), 1, 1),
    "strlen": (lambda v: len(text(v)), 1, 1),
    "strcat": (lambda *v: "".join(text(x) for x in v), 1, None),
    "strcat_delim": (lambda d, *v: text(d).join(text(x) for x in v), 2, None),
    "strcat_array": (lambda v, d: text(d).join(text(x) for x in v) if isinstance(v, list) else "", 2, 2),
    "substring": (_substring, 2, 3),
    "split": (_split, 2, 3),
    "replace_string": (lambda v, a, b: text(v).replace(text(a), text(b)) if text(a) else text(v), 3, 3),
    "trim": (_trimmed("both"), 2, 2),
    "trim_start": (_trimmed("start"), 2, 2),
    "trim_end": (_trimmed("end"), 2, 2),
    "indexof": (lambda v, s: text(v).find(text(s)), 2, 2),
    "extract": (_extract, 3, 3),
    "isempty": (lambda v: text(v) == "", 1, 1),
    "isnotempty": (lambda v: text(v) != "", 1, 1),
    "notempty": (lambda v: text(v) != "", 1, 1),
    "isnull": (lambda v: v is None, 1, 1),
    "isnotnull": (lambda v: v is not None, 1, 1),
    "notnull": (lambda v: v is not None, 1, 1),
    "not": (lambda v: None if _boolean(v) is None else not _boolean(v), 1, 1),
    "iff": (lambda c, a, b: a if c is True else b, 3, 3),
    "iif": (lambda c, a, b: a if c is True else b, 3, 3),
    "case": (_case, 3, None),
    "coalesce": (lambda *v: next((x for x in v if x not in (None, "")), None), 2, None),
    "array_length": (lambda v: len(v) if isinstance(v, list) else None, 1, 1),
    "bag_keys": (lambda v: list(v) if isinstance(v, dict) else None, 1, 1),
    "pack": (_packed, 2, None),
    "bag_pack": (_packed, 2, None),
    "pack_array": (lambda *v: list(v), 0, None),
    "array_index_of": (
        lambda v, x: next((i for i, e in enumerate(v) if equal(e, x)), -1) if isinstance(v, list) else None, 2, 2,
    ),
    "set_has_element": (lambda v, x: any(equal(e, x) for e in v) if isinstance(v, list) else False, 2, 2),
    "abs": (_numeric(abs), 1, 1),
    "floor": (_numeric(math.floor), 1, 1),
    "ceiling": (_numeric(math.ceil), 1, 1),
    "round": (_round, 1, 2),
    "min_of": (lambda *v: _least(v, 1), 1, None),
    "max_of": (lambda *v: _least(v, -1), 1, None),
    "now": (now, 0, 0),
    "ago": (lambda span: now() - span if isinstance(span, timedelta) else None, 1, 1),
}  # fmt: skip


def _values(rows: Sequence[Row], arguments: Sequence[Compiled]) -> list[Value]:
    return [v for row in rows if (v := arguments[0](row)) is not None]


def _numbers(rows: Sequence[Row], arguments: Sequence[Compiled]) -> list[int | float]:
    return [n for v in _values(rows, arguments) if (n := number(v)) is not None]


def _distinct(values: Sequence[Value]) -> list[Value]:
    return list({key(v): v for v in values}.values())


def _average(rows: Sequence[Row], arguments: Sequence[Compiled]) -> Value:
    found = _numbers(rows, arguments)
    return sum(found) / len(found) if found else None


def _where(rows: Sequence[Row], arguments: Sequence[Compiled], at: int) -> list[Row]:
    return [row for row in rows if arguments[at](row) is True]


AGGREGATES: dict[str, tuple[Aggregate, int, int]] = {
    "count": (lambda rows, a: len(rows), 0, 0),
    "countif": (lambda rows, a: len(_where(rows, a, 0)), 1, 1),
    "dcount": (lambda rows, a: len(_distinct(_values(rows, a))), 1, 1),
    "dcountif": (lambda rows, a: len(_distinct(_values(_where(rows, a, 1), a))), 2, 2),
    "sum": (lambda rows, a: sum(_numbers(rows, a)), 1, 1),
    "sumif": (lambda rows, a: sum(_numbers(_where(rows, a, 1), a)), 2, 2),
    "avg": (_average, 1, 1),
    "min": (lambda rows, a: _least(_values(rows, a), 1), 1, 1),
    "max": (lambda rows, a: _least(_values(rows, a), -1), 1, 1),
    "make_list": (lambda rows, a: _values(rows, a), 1, 1),
    "makelist": (lambda rows, a: _values(rows, a), 1, 1),
    "make_set": (lambda rows, a: _distinct(_values(rows, a)), 1, 1),
    "makeset": (lambda rows, a: _distinct(_values(rows, a)), 1, 1),
    "any": (lambda rows, a: next(iter(_values(rows, a)), None), 1, 1),
    "take_any": (lambda rows, a: next(iter(_values(rows, a)), None), 1, 1),
}
"""Name: what it does, least and most arguments. Its column is called `name_argument` unless the query names it."""


def constant(value: Any) -> Compiled:
    return lambda row: value
