"""From an expression to its value, and from a document with expressions to one without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sorairo.templates.errors import ExpressionError
from sorairo.templates.frame import Frame, Lambda
from sorairo.templates.functions import FUNCTIONS
from sorairo.templates.functions.registry import Invocation
from sorairo.templates.parser import Call, Literal, Member, Node, is_expression, literal, parse
from sorairo.templates.values import Value, member

MOST_TURNS = 800
"""Of a loop; Azure's limit."""


def resolve(value: Value, frame: Frame) -> Value:
    """A document with every expression in it evaluated, keys too, and loops of properties spelt out.

    Raises ExpressionError, and Needed for what must be fetched first."""
    try:
        return _resolve(value, frame)
    except RecursionError:
        raise ExpressionError("The template language expressions are nested too deeply.") from None


def _resolve(value: Value, frame: Frame) -> Value:
    if isinstance(value, str):
        return _evaluate(parse(value), frame) if is_expression(value) else literal(value)
    if isinstance(value, list):
        return [_resolve(v, frame) for v in value]
    if isinstance(value, dict):
        loops = property_loops(value)
        result = {_key(k, frame): _resolve(v, frame) for k, v in value.items() if loops is None or k.lower() != "copy"}
        for loop in loops or ():
            result |= run_loop(loop, frame)
        return result
    return value


def evaluate(node: Node, frame: Frame) -> Value:
    """The value of a tree. Raises as `resolve` does."""
    try:
        return _evaluate(node, frame)
    except RecursionError:
        raise ExpressionError("The template language expressions are nested too deeply.") from None


def _key(key: str, frame: Frame) -> str:
    if not is_expression(key):
        return literal(key)
    found = _evaluate(parse(key), frame)
    if not isinstance(found, str):
        raise ExpressionError(f"The property name expression '{key}' must give a string.")
    return found


def property_loops(value: Mapping[str, Value]) -> list[dict[str, Any]] | None:
    """The loops of an object's properties: `"copy": [{"name": …, "count": …, "input": …}]`; None when it has none."""
    loops = next((v for k, v in value.items() if k.lower() == "copy"), None)
    if isinstance(loops, list) and loops and all(isinstance(e, dict) and {"name", "count"} <= e.keys() for e in loops):
        return loops
    return None


def run_loop(loop: Mapping[str, Value], frame: Frame) -> dict[str, Value]:
    """The one property that a loop makes."""
    name = _resolve(loop["name"], frame)
    turns = count(loop["count"], frame, str(name))
    return {str(name): [_resolve(loop.get("input"), frame.looped(str(name), i, unnamed=False)) for i in range(turns)]}


def count(value: Value, frame: Frame, name: str) -> int:
    """How often a loop turns."""
    turns = _resolve(value, frame)
    if type(turns) is not int or not 0 <= turns <= MOST_TURNS:
        raise ExpressionError(
            f"The 'copy' property '{name}' has an invalid 'count': '{turns}'. It must be an integer from 0 to "
            f"{MOST_TURNS}. Please see https://aka.ms/arm-copy for usage details."
        )
    return turns


def _evaluate(node: Node, frame: Frame) -> Value:
    chain: list[Node] = []
    while isinstance(node, Member):  # unwound, so that a long chain of members costs no recursion
        chain.append(node.name)
        node = node.of
    value = node.value if isinstance(node, Literal) else _call(node, frame)
    for name in reversed(chain):
        value = member(value, _evaluate(name, frame))
    return value


def _call(call: Call, frame: Frame) -> Value:
    name = call.name.lower()
    if name == "lambda":
        return _lambda(call, frame)
    if "." in name:
        return _user_function(call, frame)
    function = FUNCTIONS.get(name) or (FUNCTIONS["list*"] if name.startswith("list") else None)
    if function is None:
        raise ExpressionError(
            f"The template function '{call.name}' is not valid. "
            "Please see https://aka.ms/arm-functions for usage details."
        )
    function.check(call.name, len(call.arguments))
    if function.lazy:
        lazy = Invocation(call.name, frame, (), lambda i: _evaluate(call.arguments[i], frame), len(call.arguments))
        return function.run(lazy)
    arguments = tuple(_evaluate(a, frame) for a in call.arguments)
    return function.run(Invocation(call.name, frame, arguments, lambda i: arguments[i], len(arguments)))


def _lambda(call: Call, frame: Frame) -> Lambda:
    if len(call.arguments) < 1:
        raise ExpressionError("The template function 'lambda' needs a body.")
    *heads, body = call.arguments
    names = [h.value for h in heads if isinstance(h, Literal) and isinstance(h.value, str)]
    if len(names) != len(heads):
        raise ExpressionError("The parameters of 'lambda' must be string literals.")

    def run(values: Mapping[str, Value]) -> Value:
        inner = {n.lower(): v for n, v in values.items()}
        return _evaluate(body, replace(frame, lambdas={**frame.lambdas, **inner}))

    return Lambda(tuple(names), run)


def _user_function(call: Call, frame: Frame) -> Value:
    function = frame.functions.get(call.name.lower())
    if function is None:
        raise ExpressionError(
            f"The template function '{call.name}' is not valid: it is not among the template's 'functions'."
        )
    if len(function.parameters) != len(call.arguments):
        raise ExpressionError(
            f"The template function '{call.name}' expects {len(function.parameters)} arguments, "
            f"and got {len(call.arguments)}."
        )
    values = (_evaluate(a, frame) for a in call.arguments)
    given = {p.lower(): v for p, v in zip(function.parameters, values, strict=True)}
    return _resolve(function.body, replace(frame.outside(), parameters=given))
