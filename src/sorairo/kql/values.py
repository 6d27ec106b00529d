"""Values of a query: what they are as text, how they compare, what is inside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

Value: TypeAlias = Any
"""None, bool, int, float, str, datetime, timedelta, list, dict."""
Row: TypeAlias = Mapping[str, Value]

_encode = msgspec.json.Encoder().encode


def text(value: Value) -> str:
    """`tostring()`: nothing is the empty string, objects are JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
    if isinstance(value, list | dict):
        return _encode(plain(value)).decode()
    return str(value)


def plain(value: Value) -> Value:
    """As JSON has it."""
    if isinstance(value, datetime):
        return text(value)
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, list):
        return [plain(v) for v in value]
    return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def inside(value: Value, name: Value) -> Value:
    """`value.name` and `value[name]`; nothing where there is nothing."""
    if isinstance(value, dict):
        key = text(name)
        if key in value:
            return value[key]
        return next((v for k, v in value.items() if k.lower() == key.lower()), None)
    if isinstance(value, list) and type(name) is int:
        return value[name] if -len(value) <= name < len(value) else None
    return None


def number(value: Value) -> int | float | None:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
        try:
            return float(value)
        except ValueError:
            return None
    return None


def moment(value: Value) -> datetime | None:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", value.strip()))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def equal(a: Value, b: Value) -> bool:
    """`==`: a property that is compared with a text is read as text, with a number as a number."""
    if a is None or b is None:
        return a is None and b is None
    if isinstance(a, datetime) or isinstance(b, datetime):
        return moment(a) == moment(b)
    if isinstance(a, bool) or isinstance(b, bool):
        return text(a).lower() == text(b).lower()
    if isinstance(a, int | float) or isinstance(b, int | float):
        return number(a) == number(b)
    return bool(a == b) if type(a) is type(b) else text(a) == text(b)


def order(a: Value, b: Value) -> int | None:
    """Negative, zero or positive; None when they cannot be compared."""
    if a is None or b is None:
        return None
    left: Any
    right: Any
    if isinstance(a, datetime) or isinstance(b, datetime):
        left, right = moment(a), moment(b)
    elif isinstance(a, timedelta) and isinstance(b, timedelta):
        left, right = a, b
    elif isinstance(a, int | float) or isinstance(b, int | float):
        left, right = number(a), number(b)
    else:
        left, right = text(a), text(b)
    if left is None or right is None:
        return None
    return int(left > right) - int(left < right)


@lru_cache(maxsize=1024)
def term(word: str) -> re.Pattern[str]:
    """`has`: a whole word, between what is neither letter nor digit."""
    return re.compile(rf"(?<![0-9A-Za-z]){re.escape(word)}(?![0-9A-Za-z])", re.IGNORECASE)


def key(value: Value) -> Value:
    """What equal values have in common, to be found by."""
    if isinstance(value, list | dict):
        return text(value)
    if isinstance(value, bool) or value is None:
        return (str(value),)
    return value
