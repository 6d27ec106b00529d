"""https://learn.microsoft.com/azure/azure-resource-manager/templates/template-functions-logical and …-comparison"""

from __future__ import annotations

from sorairo.templates.functions.registry import MANY, Invocation, function
from sorairo.templates.values import Value, same, type_name


@function("if", least=3, most=3, lazy=True)
def if_(call: Invocation) -> Value:
    """Only the branch that is taken is evaluated: the other may refer to what is not there."""
    return call.value(1) if call.boolean(0) else call.value(2)


@function("and", least=2, most=MANY, lazy=True)
def and_(call: Invocation) -> Value:
    return all(call.boolean(at) for at in range(call.count))


@function("or", least=2, most=MANY, lazy=True)
def or_(call: Invocation) -> Value:
    return any(call.boolean(at) for at in range(call.count))


@function("not", least=1, most=1)
def not_(call: Invocation) -> Value:
    return not call.boolean(0)


@function("xor", least=2, most=2)
def xor(call: Invocation) -> Value:
    return call.boolean(0) != call.boolean(1)


@function("bool", least=1, most=1)
def bool_(call: Invocation) -> Value:
    value = call.value(0)
    if isinstance(value, str) and value.lower() in ("true", "false", "1", "0"):
        return value.lower() in ("true", "1")
    if type(value) is int:
        return value != 0
    return call.boolean(0)


@function("true")
def true(call: Invocation) -> Value:
    return True


@function("false")
def false(call: Invocation) -> Value:
    return False


@function("null")
def null(call: Invocation) -> Value:
    return None


@function("coalesce", least=1, most=MANY, lazy=True)
def coalesce(call: Invocation) -> Value:
    for at in range(call.count):
        if (value := call.value(at)) is not None:
            return value
    return None


@function("equals", least=2, most=2)
def equals(call: Invocation) -> Value:
    return same(call.value(0), call.value(1))


def _order(call: Invocation) -> int:
    a, b = call.value(0), call.value(1)
    both = (int, float) if type(a) in (int, float) and type(b) in (int, float) else (str,)
    if type(a) not in both or type(b) not in both:
        raise call.wrong(f"compares two integers or two strings, and got '{type_name(a)}' and '{type_name(b)}'")
    return int(a > b) - int(a < b)


@function("less", least=2, most=2)
def less(call: Invocation) -> Value:
    return _order(call) < 0


@function("lessOrEquals", least=2, most=2)
def less_or_equals(call: Invocation) -> Value:
    return _order(call) <= 0


@function("greater", least=2, most=2)
def greater(call: Invocation) -> Value:
    return _order(call) > 0


@function("greaterOrEquals", least=2, most=2)
def greater_or_equals(call: Invocation) -> Value:
    return _order(call) >= 0
