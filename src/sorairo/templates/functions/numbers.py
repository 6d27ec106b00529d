"""Integers of 64 bits, as .NET counts: division cuts towards zero, a remainder has the dividend's sign.

https://learn.microsoft.com/azure/azure-resource-manager/templates/template-functions-numeric
"""

from __future__ import annotations

from sorairo.templates.functions.registry import MANY, Invocation, function
from sorairo.templates.values import Value

_LEAST, _MOST = -(1 << 63), (1 << 63) - 1


def _fits(call: Invocation, value: int) -> int:
    if not _LEAST <= value <= _MOST:
        raise call.wrong("overflows: its result does not fit in 64 bits")
    return value


@function("add", least=2, most=2)
def add(call: Invocation) -> Value:
    return _fits(call, call.integer(0) + call.integer(1))


@function("sub", least=2, most=2)
def sub(call: Invocation) -> Value:
    return _fits(call, call.integer(0) - call.integer(1))


@function("mul", least=2, most=2)
def mul(call: Invocation) -> Value:
    return _fits(call, call.integer(0) * call.integer(1))


@function("div", least=2, most=2)
def div(call: Invocation) -> Value:
    a, b = call.integer(0), call.integer(1)
    if b == 0:
        raise call.wrong("cannot divide by zero")
    whole = abs(a) // abs(b)
    return _fits(call, whole if (a < 0) == (b < 0) else -whole)


@function("mod", least=2, most=2)
def mod(call: Invocation) -> Value:
    a, b = call.integer(0), call.integer(1)
    if b == 0:
        raise call.wrong("cannot divide by zero")
    rest = abs(a) % abs(b)
    return -rest if a < 0 else rest


def _numbers(call: Invocation) -> list[int]:
    values = call.array(0) if isinstance(call.value(0), list) else list(call.arguments)
    if not values or not all(type(v) is int for v in values):
        raise call.wrong("expects integers, or one array of integers that is not empty")
    return values


@function("min", least=1, most=MANY)
def least(call: Invocation) -> Value:
    return min(_numbers(call))


@function("max", least=1, most=MANY)
def most(call: Invocation) -> Value:
    return max(_numbers(call))


@function("range", least=2, most=2)
def range_(call: Invocation) -> Value:
    start, count = call.integer(0), call.integer(1)
    if not 0 <= count <= 10_000 or start + count - 1 > 2_147_483_647:
        raise call.wrong(f"expects a count from 0 to 10000, and got '{count}' from '{start}'")
    return list(range(start, start + count))


@function("int", least=1, most=1)
def int_(call: Invocation) -> Value:
    value = call.value(0)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        plain = value.strip()
        if len(plain) < 21 and plain.lstrip("+-").isascii() and plain.lstrip("+-").isdigit():
            try:
                return _fits(call, int(plain))
            except ValueError:
                pass
        raise call.wrong(f"cannot make an integer of '{value[:60]}'")
    return call.integer(0)


@function("float", least=1, most=1)
def float_(call: Invocation) -> Value:
    try:
        return float(call.value(0))
    except (TypeError, ValueError, OverflowError):
        raise call.wrong("cannot make a number of its parameter") from None
