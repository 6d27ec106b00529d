"""Microsoft.Authorization/roleDefinitions: the built-in roles, the same at every scope, and custom ones.

https://learn.microsoft.com/rest/api/authorization/role-definitions
https://learn.microsoft.com/azure/role-based-access-control/custom-roles
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from sorairo.engine.errors import ArmError
from sorairo.engine.ids import ResourceId
from sorairo.engine.types import Admission, Document, Resource, ResourceType
from sorairo.identity.authorization import ROLE_ASSIGNMENTS, ROLE_DEFINITIONS, Reads, scopes_above
from sorairo.identity.roles import BUILT_IN, RoleDefinition, find_role
from sorairo.providers.microsoft_authorization.filters import parse_filter
from sorairo.providers.microsoft_authorization.times import audited

_ALLOWED = frozenset({"atscopeandbelow", "atscope", "rolename", "type"})
_LISTS = ("actions", "notActions", "dataActions", "notDataActions")
_ASSIGNABLE = re.compile(r"/subscriptions/[^/]+(/resourceGroups/[^/]+(/providers/.+)?)?", re.IGNORECASE)


def role_definitions(store: Reads) -> ResourceType[None]:
    def custom() -> list[Resource]:
        return [r for r in store.list(type=ROLE_DEFINITIONS) if not r.deleting]

    def find(id: ResourceId) -> Resource | None:
        role = find_role(id.name)
        if role is not None:
            return _built_in(role, id.text)
        stored = next((r for r in custom() if r.rid.name.lower() == id.name.lower()), None)
        if stored is None:
            raise ArmError(
                "RoleDefinitionDoesNotExist",
                f"The specified role definition with ID '{id.name.replace('-', '')}' does not exist.",
                status=404,
            )
        return stored

    def within(scope: str, filter: str) -> list[Resource]:
        terms = parse_filter(filter, _ALLOWED, "'atScopeAndBelow()', 'roleName eq '{value}'' or 'type eq '{value}''")
        at = scope.lower().rstrip("/")
        above = set(scopes_above(at))

        def assignable(role: Resource) -> bool:
            scopes = [s.lower().rstrip("/") for s in role.properties["assignableScopes"]]
            below = "atscopeandbelow" in terms and any(s.startswith(f"{at}/") for s in scopes)
            return below or bool(above & set(scopes))

        found = [_built_in(r, scope) for r in BUILT_IN] + [r for r in custom() if assignable(r)]
        return [
            r
            for r in found
            if terms.get("rolename") in (None, r.properties["roleName"].lower())
            and terms.get("type") in (None, r.properties.get("type", "CustomRole").lower())
        ]

    async def admit(admission: Admission) -> None:
        _check(admission)
        properties = admission.body["properties"]
        for other in custom():
            if other.key == admission.id.key:
                continue
            if other.rid.name.lower() == admission.id.name.lower():
                raise ArmError(
                    "RoleDefinitionExists", f"The role definition is at '{other.id}'; update it there.", status=409
                )
            if other.properties["roleName"].lower() == properties["roleName"].lower():
                raise _same_name(properties["roleName"])
        if any(r.name.lower() == properties["roleName"].lower() for r in BUILT_IN):
            raise _same_name(properties["roleName"])

    async def admit_delete(admission: Admission) -> None:
        guid = admission.id.name.lower()
        if any(
            str(a.properties.get("roleDefinitionId", "")).lower().endswith(f"/{guid}")
            for a in store.list(type=ROLE_ASSIGNMENTS)
        ):
            raise ArmError("RoleDefinitionHasAssignments", f"There are existing role assignments referencing role "
                           f"(code: RoleDefinitionHasAssignments) '{guid}'.")  # fmt: skip

    return ResourceType(
        ROLE_DEFINITIONS,
        ("2022-05-01-preview", "2022-04-01", "2018-07-01", "2018-01-01-preview", "2015-07-01"),
        admit=admit,
        admit_delete=admit_delete,
        render=_render,
        located=False,
        tracked=False,
        updated=201,
        delete_status=200,
        find=find,
        within=within,
    )


def _built_in(role: RoleDefinition, scope: str) -> Resource:
    """Built-in roles are shown below the subscription they are asked for in, or at the root."""
    parts = scope.strip("/").split("/")
    prefix = f"/subscriptions/{parts[1]}" if parts[0].lower() == "subscriptions" and len(parts) > 1 else ""
    return Resource(
        f"{prefix}/providers/{ROLE_DEFINITIONS}/{role.id}",
        {"properties": role.properties()},
        observed_generation=1,
        provisioning_state="Succeeded",
        etag=role.id,
    )


def _check(admission: Admission) -> None:
    """Holds a custom role's document to its shape, and leaves only what Azure keeps."""
    properties: Document = admission.body["properties"]
    name = admission.id.name
    try:
        uuid.UUID(name)
    except ValueError:
        raise _invalid("name", f"The role definition ID '{name}' is not valid. It must be a GUID.") from None
    if find_role(name) is not None:
        raise ArmError("RoleDefinitionUpdateNotPermitted", "A built-in role cannot be changed.", status=403)
    if not isinstance(properties.get("roleName"), str) or not 1 <= len(properties["roleName"]) <= 512:
        raise _invalid("roleName", "The role name must be 1 to 512 characters.")
    scopes = properties.get("assignableScopes")
    if not isinstance(scopes, list) or not scopes or not all(isinstance(s, str) for s in scopes):
        raise _invalid("assignableScopes", "A role definition needs at least one assignable scope.")
    wrong = next((s for s in scopes if not _ASSIGNABLE.fullmatch(s.rstrip("/"))), None)
    if wrong is not None:
        raise _invalid("assignableScopes", f"'{wrong}' is no subscription, resource group or resource.")
    permissions = properties.get("permissions")
    if not isinstance(permissions, list) or not all(isinstance(p, dict) for p in permissions):
        raise _invalid("permissions", "A role definition needs a list of permissions.")
    properties["permissions"] = [{n: _actions(p.get(n)) for n in _LISTS} for p in permissions]
    kept = ("roleName", "description", "assignableScopes", "permissions")
    admission.body["properties"] = {k: properties[k] for k in kept if k in properties}


def _actions(given: Any) -> list[str]:
    actions = [] if given is None else given
    if not isinstance(actions, list):
        raise _invalid("permissions", "Actions are a list.")
    for action in actions:
        if not isinstance(action, str) or (action != "*" and "/" not in action) or any(c.isspace() for c in action):
            raise ArmError(
                "InvalidActionOrNotAction",
                f"'{action}' does not match any of the actions supported by the providers.",
                target="permissions",
            )
    return actions


def _invalid(target: str, message: str) -> ArmError:
    return ArmError("InvalidRoleDefinition", message, target=target)


def _same_name(name: str) -> ArmError:
    return ArmError(
        "RoleDefinitionWithSameNameExists",
        f"A custom role with the same name already exists in this directory. Use a different name. '{name}'",
        status=409,
    )


def _render(resource: Resource, document: Document) -> Document:
    document.pop("etag", None)
    properties = document["properties"]
    properties.pop("provisioningState", None)
    if "type" not in properties:
        properties |= {"type": "CustomRole", "description": properties.get("description", ""), **audited(resource)}
    return document
