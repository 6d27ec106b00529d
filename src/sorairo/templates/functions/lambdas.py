"""https://learn.microsoft.com/azure/azure-resource-manager/templates/template-functions-lambda"""

from __future__ import annotations

from functools import cmp_to_key

from sorairo.templates.errors import ExpressionError
from sorairo.templates.functions.registry import Invocation, function
from sorairo.templates.values import Value


def _true(call: Invocation, value: Value) -> bool:
    if not isinstance(value, bool):
        raise call.wrong("expects a lambda that gives a Boolean")
    return value


def _key(call: Invocation, value: Value) -> str:
    if not isinstance(value, str):
        raise call.wrong("expects a lambda that gives a string")
    return value


@function("lambdaVariables", least=1, most=1)
def lambda_variables(call: Invocation) -> Value:
    name = call.text(0).lower()
    if name not in call.frame.lambdas:
        raise ExpressionError(f"The lambda variable '{call.text(0)}' is not found.")
    return call.frame.lambdas[name]


@function("map", least=2, most=2)
def map_(call: Invocation) -> Value:
    run = call.function(1)
    return [run(v, i) for i, v in enumerate(call.array(0))]


@function("filter", least=2, most=2)
def filter_(call: Invocation) -> Value:
    run = call.function(1)
    return [v for i, v in enumerate(call.array(0)) if _true(call, run(v, i))]


@function("reduce", least=3, most=3)
def reduce(call: Invocation) -> Value:
    run, made = call.function(2), call.value(1)
    for i, value in enumerate(call.array(0)):
        made = run(made, value, i)
    return made


@function("sort", least=2, most=2)
def sort(call: Invocation) -> Value:
    """The lambda says whether its first argument goes before its second."""
    run = call.function(1)

    def order(a: Value, b: Value) -> int:
        return -1 if _true(call, run(a, b)) else 1 if _true(call, run(b, a)) else 0

    return sorted(call.array(0), key=cmp_to_key(order))


@function("groupBy", least=2, most=2)
def group_by(call: Invocation) -> Value:
    run = call.function(1)
    made: dict[str, list[Value]] = {}
    for i, value in enumerate(call.array(0)):
        made.setdefault(_key(call, run(value, i)), []).append(value)
    return made


@function("toObject", least=2, most=3)
def to_object(call: Invocation) -> Value:
    key, value = call.function(1), call.function(2) if call.count > 2 else None
    return {_key(call, key(v)): value(v) if value else v for v in call.array(0)}


@function("mapValues", least=2, most=2)
def map_values(call: Invocation) -> Value:
    run = call.function(1)
    return {k: run(v) for k, v in call.object(0).items()}
