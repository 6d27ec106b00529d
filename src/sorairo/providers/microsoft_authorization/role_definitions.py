"""Microsoft.Authorization/roleDefinitions: the built-in roles, the same at every scope.

https://learn.microsoft.com/rest/api/authorization/role-definitions
"""

from __future__ import annotations

from sorairo.engine.errors import ArmError
from sorairo.engine.ids import ResourceId
from sorairo.engine.types import Document, Resource, ResourceType
from sorairo.identity.roles import BUILT_IN, RoleDefinition, find_role
from sorairo.providers.microsoft_authorization.filters import parse_filter

TYPE = "Microsoft.Authorization/roleDefinitions"
_ALLOWED = frozenset({"atscopeandbelow", "atscope", "rolename", "type"})


def _resource(role: RoleDefinition, scope: str) -> Resource:
    """Built-in roles are shown below the subscription they are asked for in, or at the root."""
    parts = scope.strip("/").split("/")
    prefix = f"/subscriptions/{parts[1]}" if parts[0].lower() == "subscriptions" and len(parts) > 1 else ""
    return Resource(
        f"{prefix}/providers/{TYPE}/{role.id}",
        {"properties": role.properties()},
        observed_generation=1,
        provisioning_state="Succeeded",
        etag=role.id,
    )


def _find(id: ResourceId) -> Resource | None:
    role = find_role(id.name)
    if role is None:
        raise ArmError(
            "RoleDefinitionDoesNotExist",
            f"The specified role definition with ID '{id.name.replace('-', '')}' does not exist.",
            status=404,
        )
    return _resource(role, id.text)


def _within(scope: str, filter: str) -> list[Resource]:
    terms = parse_filter(filter, _ALLOWED, "'atScopeAndBelow()', 'roleName eq '{value}'' or 'type eq '{value}''")
    return [
        _resource(role, scope)
        for role in BUILT_IN
        if terms.get("rolename", role.name.lower()) == role.name.lower()
        and terms.get("type", "builtinrole") == "builtinrole"
    ]


def _render(resource: Resource, document: Document) -> Document:
    document.pop("etag", None)
    document["properties"].pop("provisioningState", None)
    return document


ROLE_DEFINITIONS: ResourceType[None] = ResourceType(
    TYPE,
    ("2022-05-01-preview", "2022-04-01", "2018-07-01", "2018-01-01-preview", "2015-07-01"),
    render=_render,
    located=False,
    tracked=False,
    writable=False,
    find=_find,
    within=_within,
)
