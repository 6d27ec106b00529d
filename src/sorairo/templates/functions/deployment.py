"""What a deployment was given, and where it happens.

https://learn.microsoft.com/azure/azure-resource-manager/templates/template-functions-deployment and …-scope
"""

from __future__ import annotations

from sorairo.templates.errors import ExpressionError
from sorairo.templates.functions.registry import Invocation, function
from sorairo.templates.values import Value


@function("parameters", least=1, most=1)
def parameters(call: Invocation) -> Value:
    name = call.text(0)
    if name.lower() not in call.frame.parameters:
        raise ExpressionError(
            f"The template parameter '{name}' is not found. Please see https://aka.ms/arm-syntax-parameters for usage "
            "details."
        )
    return call.frame.parameters[name.lower()]


@function("variables", least=1, most=1)
def variables(call: Invocation) -> Value:
    return call.frame.variables.value(call.text(0), call.frame)


@function("deployment")
def deployment(call: Invocation) -> Value:
    return call.frame.place.deployment


@function("deployer")
def deployer(call: Invocation) -> Value:
    return call.frame.place.deployer


@function("environment")
def environment(call: Invocation) -> Value:
    return call.frame.place.environment


@function("resourceGroup")
def resource_group(call: Invocation) -> Value:
    if not call.frame.place.group:
        raise call.wrong("is not expected at this location: the deployment is to a subscription, not to a group")
    return call.frame.place.group_document


@function("subscription")
def subscription(call: Invocation) -> Value:
    return call.frame.place.subscription_document


@function("tenant")
def tenant(call: Invocation) -> Value:
    return call.frame.place.tenant


@function("managementGroup")
def management_group(call: Invocation) -> Value:
    raise call.wrong("is not expected at this location: the deployment is not to a management group")


@function("copyIndex", least=0, most=2)
def copy_index(call: Invocation) -> Value:
    """`copyIndex()`, `copyIndex(offset)`, `copyIndex('loop')`, `copyIndex('loop', offset)`."""
    named = call.count > 0 and isinstance(call.value(0), str)
    offset = call.integer(1, 0) if named else call.integer(0, 0)
    index = call.frame.loops.get(call.text(0).lower()) if named else call.frame.index
    if index is None:
        raise ExpressionError(
            f"The template function 'copyIndex' is not expected at this location. "
            f"{'There is no loop ' + repr(call.text(0)) + ' around it. ' if named else ''}"
            "Please see https://aka.ms/arm-copy for usage details."
        )
    return index + offset
