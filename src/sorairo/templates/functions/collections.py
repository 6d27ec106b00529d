"""Arrays and objects.

https://learn.microsoft.com/azure/azure-resource-manager/templates/template-functions-array and …-object
"""

from __future__ import annotations

from sorairo.templates.errors import ExpressionError
from sorairo.templates.functions.registry import MANY, Invocation, function
from sorairo.templates.values import Value, find, member, merged, same, type_name


@function("array", least=1, most=1)
def array(call: Invocation) -> Value:
    value = call.value(0)
    return value if isinstance(value, list) else [value]


@function("createArray", least=0, most=MANY)
def create_array(call: Invocation) -> Value:
    return list(call.arguments)


@function("createObject", least=0, most=MANY)
def create_object(call: Invocation) -> Value:
    if call.count % 2:
        raise call.wrong("expects an even number of parameters: keys and values")
    return {call.text(at): call.value(at + 1) for at in range(0, call.count, 2)}


@function("length", least=1, most=1)
def length(call: Invocation) -> Value:
    value = call.value(0)
    if not isinstance(value, str | list | dict):
        raise call.wrong(f"expects an array, an object or a string, and got '{type_name(value)}'")
    return len(value)


@function("empty", least=1, most=1)
def empty(call: Invocation) -> Value:
    value = call.value(0)
    return value is None or length(call) == 0


@function("contains", least=2, most=2)
def contains(call: Invocation) -> Value:
    where, what = call.value(0), call.value(1)
    if isinstance(where, list):
        return any(same(v, what) for v in where)
    if isinstance(where, dict):
        return any(k.lower() == call.text(1).lower() for k in where)
    return (str(what) if type(what) is int else call.text(1)) in call.text(0)


@function("first", least=1, most=1)
def first(call: Invocation) -> Value:
    """Of nothing, null: or the empty string."""
    value = call.value(0)
    if isinstance(value, str):
        return value[:1]
    return next(iter(call.array(0)), None)


@function("last", least=1, most=1)
def last(call: Invocation) -> Value:
    value = call.value(0)
    if isinstance(value, str):
        return value[-1:]
    return next(reversed(call.array(0)), None)


@function("skip", least=2, most=2)
def skip(call: Invocation) -> Value:
    value = call.value(0)
    start = max(0, call.integer(1))
    return value[start:] if isinstance(value, str) else call.array(0)[start:]


@function("take", least=2, most=2)
def take(call: Invocation) -> Value:
    value = call.value(0)
    end = max(0, call.integer(1))
    return value[:end] if isinstance(value, str) else call.array(0)[:end]


@function("union", least=1, most=MANY)
def union(call: Invocation) -> Value:
    """Of arrays: every element once, in order. Of objects: the later ones win, objects in objects are merged."""
    if isinstance(call.value(0), dict):
        made: dict[str, Value] = {}
        for at in range(call.count):
            made = merged(made, call.object(at))
        return made
    found: list[Value] = []
    for at in range(call.count):
        found += [v for v in call.array(at) if not any(same(v, f) for f in found)]
    return found


@function("shallowMerge", least=1, most=1)
def shallow_merge(call: Invocation) -> Value:
    made: dict[str, Value] = {}
    for part in call.array(0):
        if not isinstance(part, dict):
            raise call.wrong("expects an array of objects")
        made = merged(made, part, deep=False)
    return made


@function("intersection", least=1, most=MANY)
def intersection(call: Invocation) -> Value:
    if isinstance(call.value(0), dict):
        objects = [call.object(at) for at in range(call.count)]
        return {k: v for k, v in objects[0].items() if all(k in o and same(o[k], v) for o in objects[1:])}
    arrays = [call.array(at) for at in range(call.count)]
    return [v for v in arrays[0] if all(any(same(v, w) for w in a) for a in arrays[1:])]


@function("flatten", least=1, most=1)
def flatten(call: Invocation) -> Value:
    return [item for part in call.array(0) for item in (part if isinstance(part, list) else [part])]


def _sorted_keys(of: dict[str, Value]) -> list[str]:
    return sorted(of, key=lambda k: (k.lower(), k))


@function("items", least=1, most=1)
def items(call: Invocation) -> Value:
    """In order of key."""
    of = call.object(0)
    return [{"key": k, "value": of[k]} for k in _sorted_keys(of)]


@function("objectKeys", least=1, most=1)
def object_keys(call: Invocation) -> Value:
    return _sorted_keys(call.object(0))


@function("indexFromEnd", least=2, most=2)
def index_from_end(call: Invocation) -> Value:
    return _from_end(call.array(0), call.integer(1))


def _from_end(of: list[Value], at: int) -> Value:
    return member(of, len(of) - at if at > 0 else -1)


@function("tryGet", least=2, most=MANY)
def try_get(call: Invocation) -> Value:
    """`.?` of Bicep: null where there is no such member, all the way down."""
    found = call.value(0)
    for at in range(1, call.count):
        name = call.value(at)
        if isinstance(found, dict) and isinstance(name, str):
            found = find(found, name)
        elif isinstance(found, list) and type(name) is int:
            found = found[name] if 0 <= name < len(found) else None
        else:
            return None
    return found


@function("tryIndexFromEnd", least=2, most=2)
def try_index_from_end(call: Invocation) -> Value:
    if not isinstance(call.value(0), list):
        return None
    try:
        return _from_end(call.array(0), call.integer(1))
    except ExpressionError:
        return None
