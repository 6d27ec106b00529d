"""How a template is refused, in Azure's codes and words.

https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-invalid-template
"""

from __future__ import annotations

from typing import Any

from sorairo.engine.errors import ArmError


class ExpressionError(Exception):
    """An expression that cannot be read or has no value. Whoever knows where it stands makes an ArmError of it."""


class Needed(Exception):
    """An expression's value depends on something outside the template: fetch it and evaluate again.

    Not an error. `key` is what the answer is to be remembered by; the other members say what to ask for.
    """

    def __init__(self, kind: str, id: str, api_version: str, *, action: str = "", body: Any = None) -> None:
        super().__init__(f"{kind} of {id}")
        self.kind = kind
        """`reference` (GET), `list` (POST of `action`) or `providers`."""
        self.id = id
        self.api_version = api_version
        self.action = action
        self.body = body

    @property
    def key(self) -> str:
        return "\n".join((self.kind, self.id.lower(), self.api_version.lower(), self.action.lower(), repr(self.body)))


def invalid(reason: str, *, target: str | None = None) -> ArmError:
    """400 `InvalidTemplate`; `reason` is a sentence or two."""
    return ArmError("InvalidTemplate", f"Deployment template validation failed: '{reason}'.", target=target)


def unprocessable(where: str, cause: ExpressionError) -> ArmError:
    """For an expression in `where` (`resource '/subscriptions/…'`, `output 'x'`)."""
    return ArmError(
        "InvalidTemplate",
        f"Unable to process template language expressions for {where}: '{cause}'",
    )


def circular(where: str) -> ArmError:
    return invalid(
        f"Circular dependency detected on resource: '{where}'. "
        "Please see https://aka.ms/arm-syntax-resources for usage details."
    )


def undefined(what: str) -> ArmError:
    """For a `dependsOn` that names nothing."""
    return invalid(
        f"The resource '{what}' is not defined in the template. Please see https://aka.ms/arm-syntax for usage details."
    )
