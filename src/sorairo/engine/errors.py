"""The two things a provider may raise. Anything else that escapes one is a bug and is logged as such.

Body: https://github.com/microsoft/api-guidelines/blob/vNext/azure/Guidelines.md#handling-errors
"""

from __future__ import annotations

from typing import Any


class ArmError(Exception):
    """Azure's error, on the wire `{"error": {code, message, target?, details?}}`. Terminal for an operation."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 400,
        target: str | None = None,
        details: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.target = target
        self.details = details

    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.target is not None:
            error["target"] = self.target
        if self.details:
            error["details"] = self.details
        return error

    @classmethod
    def from_body(cls, error: dict[str, Any], status: int = 400) -> ArmError:
        return cls(
            error.get("code", "InternalServerError"),
            error.get("message", ""),
            status=status,
            target=error.get("target"),
            details=error.get("details"),
        )


class Canceled(ArmError):
    """What was asked for was taken back while it was under way: the operation ends `Canceled`, not `Failed`."""


class Retry(Exception):
    """Not yet: look again after `after` seconds. `reason` is shown while the operation is in progress."""

    def __init__(self, after: float, reason: str) -> None:
        super().__init__(reason)
        self.after = after
        self.reason = reason


def not_found(resource_id: str) -> ArmError:
    """As ARM words it, for a resource in a group that exists."""
    from sorairo.engine.ids import parse_id

    rid = parse_id(resource_id)
    if rid.type.lower() == "microsoft.resources/resourcegroups":
        return ArmError("ResourceGroupNotFound", f"Resource group '{rid.name}' could not be found.", status=404)
    if rid.type.lower() == "microsoft.resources/deployments":
        return ArmError("DeploymentNotFound", f"Deployment '{rid.name}' could not be found.", status=404)
    return ArmError(
        "ResourceNotFound",
        f"The Resource '{rid.type}/{rid.name}' under resource group '{rid.resource_group}' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix",
        status=404,
    )


def not_implemented(feature: str) -> ArmError:
    """What sorairo has not built says so, by name, instead of pretending."""
    return ArmError("NotImplemented", f"sorairo does not implement {feature} yet.", status=501, target=feature)
