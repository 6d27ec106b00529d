"""What is sent for a resource: its body evaluated, without what speaks to the template engine alone.

https://learn.microsoft.com/azure/azure-resource-manager/templates/linked-templates#expression-evaluation-scope-in-nested-templates
"""

from __future__ import annotations

from typing import Any

from sorairo.engine.errors import ArmError, not_implemented
from sorairo.templates.errors import ExpressionError, invalid, unprocessable
from sorairo.templates.evaluate import evaluate, resolve
from sorairo.templates.expand import Unit
from sorairo.templates.frame import Document, Frame
from sorairo.templates.parser import Call, Literal, calls, is_expression, parse
from sorairo.templates.values import Value, find

_OURS = frozenset(
    ("type", "name", "apiversion", "dependson", "condition", "copy", "scope", "comments", "metadata", "resources",
     "existing", "resourcegroup", "subscriptionid", "asserts", "resourceids")
)  # fmt: skip


def content(unit: Unit) -> Document:
    """The body of its PUT. Raises ArmError 400 `InvalidTemplate`, and Needed for what must be fetched first."""
    body = {k: v for k, v in unit.body.items() if k.lower() not in _OURS}
    try:
        if unit.nested:
            return _nested(body, unit)
        made: Document = resolve(body, unit.frame)
    except ExpressionError as e:
        raise unprocessable(f"resource '{unit.id}'", e) from None
    # A null stands for a member that is left out, as Bicep writes optional ones.
    return {k: v for k, v in made.items() if v is not None}


def _nested(body: Document, unit: Unit) -> Document:
    properties = body.get("properties")
    if not isinstance(properties, dict):
        raise invalid(f"The nested deployment '{unit.name}' has no 'properties'.", target=unit.id)
    if find(properties, "templateLink") is not None:
        raise not_implemented("linked templates (templateLink)")
    template = find(properties, "template")
    if not isinstance(template, dict):
        raise invalid(f"The nested deployment '{unit.name}' has no 'template'.", target=unit.id)
    rest = {k: v for k, v in properties.items() if k.lower() != "template"}
    made: Document = resolve({k: v for k, v in body.items() if k != "properties"} | {"properties": rest}, unit.frame)
    inside = made["properties"]
    if str((find(inside, "expressionEvaluationOptions") or {}).get("scope", "outer")).lower() == "inner":
        inside["template"] = template
        return made
    if find(inside, "parameters"):
        raise _outer_parameters(unit)
    frame = unit.frame
    sections = ("parameters", "variables", "functions")
    inside["template"] = {
        **{k: _settled(v, frame) for k, v in template.items() if k.lower() not in sections},
        **{k: v for k, v in frame.template.items() if k.lower() in sections},
    }
    inside["parameters"] = {name: {"value": frame.parameters[name.lower()]} for name in
                            find(frame.template, "parameters") or {}}  # fmt: skip
    return made


def _outer_parameters(unit: Unit) -> ArmError:
    return invalid(
        f"The nested deployment '{unit.name}' has 'parameters', which need its expression evaluation scope to be "
        "'inner'. Please see https://aka.ms/arm-template-nested for usage details.",
        target=unit.id,
    )


def _settled(value: Any, frame: Frame, *, looped: bool = False) -> Value:
    """A nested template of outer scope: what has a value in the template around it gets that value now.

    What has none yet stays as it is, for the nested deployment to evaluate with the same parameters and variables:
    loops of its own, and what speaks of secrets, which must not end up in a template that can be shown."""
    if isinstance(value, list):
        return [_settled(v, frame, looped=looped) for v in value]
    if isinstance(value, dict):
        looped = looped or any(k.lower() == "copy" for k in value)
        return {k: _settled(v, frame, looped=looped) for k, v in value.items()}
    if not isinstance(value, str) or not is_expression(value):
        return value
    try:
        node = parse(value)
        found = list(calls(node))
        if _secret(found, frame) or (looped and any(c.name.lower() == "copyindex" for c in found)):
            return value
        return _escaped(evaluate(node, frame))
    except ExpressionError:
        return value


def _escaped(value: Value) -> Value:
    """A value as a template holds it: text that looks like an expression must not become one."""
    if isinstance(value, str):
        return f"[{value}" if value.startswith("[") and value.endswith("]") else value
    if isinstance(value, list):
        return [_escaped(v) for v in value]
    if isinstance(value, dict):
        return {_escaped(k): _escaped(v) for k, v in value.items()}
    return value


def _secret(found: list[Call], frame: Frame, seen: frozenset[str] = frozenset()) -> bool:
    """Whether an expression speaks of a secure parameter, itself or through a variable."""
    for call in found:
        low = call.name.lower()
        name = call.arguments[0] if call.arguments else None
        if low not in ("parameters", "variables"):
            continue
        if not isinstance(name, Literal):
            return bool(frame.secrets)  # a name that is made: it could be any
        called = str(name.value).lower()
        if low == "parameters" and called in frame.secrets:
            return True
        if low == "variables" and called not in seen:
            section = find(frame.template, "variables") or {}
            if any(_secret(c, frame, seen | {called}) for c in _all_calls(find(section, called))):
                return True
    return False


def _all_calls(value: Any) -> list[list[Call]]:
    if isinstance(value, str):
        return [list(calls(parse(value)))] if is_expression(value) else []
    inner = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return [found for v in inner for found in _all_calls(v)]
