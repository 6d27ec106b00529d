"""What a deployment gives back.

https://learn.microsoft.com/azure/azure-resource-manager/templates/outputs
"""

from __future__ import annotations

from typing import Any

from sorairo.engine.errors import ArmError
from sorairo.templates.errors import ExpressionError
from sorairo.templates.evaluate import count, resolve
from sorairo.templates.frame import Document, Frame
from sorairo.templates.parameters import check, kind_of
from sorairo.templates.template import Template


def outputs(template: Template, frame: Frame) -> Document:
    """`{name: {"type": …, "value": …}}`; secure ones without a value, those whose condition is false not at all.

    Raises ArmError 400 `DeploymentOutputEvaluationFailed`, and Needed for what must be fetched first."""
    made: Document = {}
    failed: list[Document] = []
    for name, definition in template.outputs.items():
        try:
            shown = _one(template, name, definition, frame)
        except ExpressionError as e:
            failed.append({"code": "DeploymentOutputEvaluationFailed", "target": name, "message": str(e)})
        except ArmError as e:
            failed.append({"code": "DeploymentOutputEvaluationFailed", "target": name, "message": e.message})
        else:
            if shown is not None:
                made[name] = shown
    if failed:
        names = ", ".join(f["target"] for f in failed)
        raise ArmError(
            "DeploymentOutputEvaluationFailed",
            f"Unable to evaluate template outputs: '{names}'. Please see error details and deployment operations. "
            "Please see https://aka.ms/arm-common-errors for usage details.",
            details=failed,
        )
    return made


def _one(template: Template, name: str, definition: Any, frame: Frame) -> Document | None:
    if not isinstance(definition, dict):
        raise ExpressionError(f"The template output '{name}' must be an object.")
    if resolve(definition.get("condition", True), frame) is not True:
        return None
    kind = kind_of(template, definition)
    loop = definition.get("copy")
    if isinstance(loop, dict):
        turns = count(loop.get("count"), frame, name)
        value: Any = [resolve(loop.get("input"), frame.looped(name, i, unnamed=True)) for i in range(turns)]
    else:
        value = resolve(definition.get("value"), frame)
    check(template, name, definition, value)
    return {"type": kind} if kind.startswith("Secure") else {"type": kind, "value": value}
