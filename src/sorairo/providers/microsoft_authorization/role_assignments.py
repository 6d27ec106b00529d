"""Microsoft.Authorization/roleAssignments: who may do what, at any scope.

https://learn.microsoft.com/rest/api/authorization/role-assignments
"""

from __future__ import annotations

import uuid

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Admission, Document, Resource, ResourceType
from sorairo.identity.authorization import ROLE_ASSIGNMENTS, Reads, any_role, scopes_above
from sorairo.identity.directory import Directory
from sorairo.identity.roles import RoleDefinition
from sorairo.providers.microsoft_authorization.filters import parse_filter
from sorairo.providers.microsoft_authorization.times import audited

_ALLOWED = frozenset({"atscope", "principalid", "assignedto"})
_SUPPORTED = "'atScope()' or 'principalId eq '{value}' or assignedTo('{value}')'"
_TYPES = ("User", "Group", "ServicePrincipal", "ForeignGroup", "Device")
_READ_ONLY = ("scope", "createdOn", "updatedOn", "createdBy", "updatedBy")


def role_assignments(store: Reads, directory: Directory) -> ResourceType[None]:
    async def admit(admission: Admission) -> None:
        properties = admission.body["properties"]
        for name in _READ_ONLY:
            properties.pop(name, None)
        _check_name(admission.id.name)
        for name in ("roleDefinitionId", "principalId"):
            if not isinstance(properties.get(name), str) or not properties[name]:
                raise ArmError("InvalidCreateRoleAssignmentRequest", f"The request needs a '{name}'.", target=name)
        role = any_role(store, properties["roleDefinitionId"])
        if role is None:
            wrong = properties["roleDefinitionId"].rpartition("/")[2]
            raise ArmError(
                "RoleDefinitionDoesNotExist", f"The specified role definition with ID '{wrong}' does not exist."
            )
        _check_condition(properties)
        _check_principal(properties, directory)
        scope = admission.id.parent.rstrip("/")
        _check_assignable(role, scope)
        if admission.existing:
            _check_unchanged(admission.existing, properties)
        for other in store.list(type=ROLE_ASSIGNMENTS, under=scope or "/"):
            if (
                other.key != admission.id.key
                and other.rid.parent.lower().rstrip("/") == scope.lower()
                and other.properties["principalId"].lower() == properties["principalId"].lower()
                and _guid(other.properties["roleDefinitionId"]) == role.id
            ):
                raise ArmError(
                    "RoleAssignmentExists",
                    "The role assignment already exists. The ID of the existing role assignment is "
                    f"{other.rid.name.replace('-', '')}.",
                    status=409,
                )

    def within(scope: str, filter: str) -> list[Resource]:
        """Assignments that hold at a scope: those of the scope and above, and without `atScope()` those below too."""
        terms = parse_filter(filter, _ALLOWED, _SUPPORTED)
        principal = terms.get("principalid", terms.get("assignedto"))
        # `assignedTo` also finds what somebody has through groups.
        whose = {principal, *(directory.groups_of(principal) if principal and "assignedto" in terms else ())}
        at = scope.lower().rstrip("/")
        above = set(scopes_above(at))

        def shown(assignment: Resource) -> bool:
            where = assignment.rid.parent.lower().rstrip("/")
            reaches = where in above or ("atscope" not in terms and where.startswith(f"{at}/"))
            return reaches and (principal is None or assignment.properties["principalId"].lower() in whose)

        return [a for a in store.list(type=ROLE_ASSIGNMENTS) if shown(a)]

    return ResourceType(
        ROLE_ASSIGNMENTS,
        ("2022-04-01", "2021-04-01-preview", "2020-10-01-preview", "2020-08-01-preview", "2020-04-01-preview",
         "2020-03-01-preview", "2018-09-01-preview", "2018-07-01", "2018-01-01-preview", "2017-10-01-preview",
         "2015-07-01"),
        admit=admit,
        render=_render,
        located=False,
        tracked=False,
        delete_status=200,
        within=within,
    )  # fmt: skip


def _check_name(name: str) -> None:
    try:
        uuid.UUID(name)
    except ValueError:
        raise ArmError(
            "InvalidRoleAssignmentId",
            f"The role assignment ID '{name}' is not valid. The role assignment ID must be a GUID.",
        ) from None


def _check_principal(properties: Document, directory: Directory) -> None:
    """Without `principalType` the principal must be found, and its kind is filled in; with it Azure takes the
    caller's word where it finds nobody (the directory may lag), so that a client id written for an object id is
    stored and opens nothing. A kind that is not the principal's is refused either way."""
    found, said = directory.principal_type(properties["principalId"]), properties.get("principalType")
    if said is None and found is None:
        raise ArmError(
            "PrincipalNotFound",
            f"Principal {properties['principalId'].replace('-', '')} does not exist in the directory "
            f"{directory.tenant['tenantId']}. Check that you have the correct principal ID. If you are creating this "
            "principal and then immediately assigning a role, this error might be related to a replication delay. In "
            "this case, set the role assignment principalType property to a value, such as ServicePrincipal, User, or "
            "Group. See https://aka.ms/docs-principaltype",
        )
    if said is not None and said not in _TYPES:
        raise ArmError("InvalidPrincipalType", f"The principal type '{said}' is none of {', '.join(_TYPES)}.")
    if said is not None and found not in (None, said):
        raise ArmError(
            "UnmatchedPrincipalType",
            f"The PrincipalId '{properties['principalId'].replace('-', '')}' has type '{found}', which is different "
            f"from specified PrincipalType '{said}'.",
        )
    properties["principalType"] = said or found


def _check_condition(properties: Document) -> None:
    """A condition narrows what a role opens. Storing one without evaluating it would open more than was asked for."""
    if properties.get("condition"):
        raise ArmError(
            "RoleAssignmentConditionNotSupported",
            "sorairo does not evaluate conditions of role assignments, so it does not take any. Assign the role at a "
            "narrower scope instead.",
            target="condition",
        )


def _guid(role_definition_id: str) -> str:
    return role_definition_id.rstrip("/").rpartition("/")[2].lower()


def _check_assignable(role: RoleDefinition, scope: str) -> None:
    if "/" not in role.assignable and not set(role.assignable) & set(scopes_above(scope)):
        raise ArmError(
            "RoleAssignmentScopeNotAssignableToRoleDefinition",
            f"The scope '{scope or '/'}' in the role assignment is not within the assignable scopes of the role "
            f"definition '{role.name}': {', '.join(role.assignable)}.",
        )


def _check_unchanged(existing: Resource, properties: Document) -> None:
    same_role = _guid(existing.properties["roleDefinitionId"]) == _guid(properties["roleDefinitionId"])
    if not same_role or existing.properties["principalId"].lower() != properties["principalId"].lower():
        raise ArmError(
            "RoleAssignmentUpdateNotPermitted",
            "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.",
        )


def _render(resource: Resource, document: Document) -> Document:
    document.pop("etag", None)
    document["properties"] = {
        "condition": None,
        "conditionVersion": None,
        "description": None,
        "delegatedManagedIdentityResourceId": None,
        **document["properties"],
        "scope": resource.rid.parent or "/",
        **audited(resource),
    }
    document["properties"].pop("provisioningState", None)
    return document
