"""Role definitions and assignments as ARM resources."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from sorairo.engine.control import Control
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id
from sorairo.engine.registry import Registry
from sorairo.engine.types import Provider
from sorairo.identity.authorization import Authorization
from sorairo.identity.principal import Principal
from sorairo.identity.roles import BUILT_IN
from sorairo.providers.microsoft_authorization import provider
from sorairo.providers.microsoft_resources.groups import RESOURCE_GROUPS
from sorairo.providers.microsoft_resources.subscriptions import SUBSCRIPTIONS

from .conftest import Installation

READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
TYPE = "Microsoft.Authorization/roleAssignments"


@pytest.fixture
def control(installation: Installation) -> Control:
    return Control(
        installation.store,
        Registry(
            [
                Provider("Microsoft.Resources", (SUBSCRIPTIONS, RESOURCE_GROUPS)),
                provider(installation.store, installation.directory),
            ]
        ),
    )


def subscription_of(installation: Installation) -> str:
    return f"/subscriptions/{installation.admin.subscriptionId}"


async def assign(
    control: Control, installation: Installation, principal: str, scope: str, name: str = "", **more: Any
) -> dict[str, Any]:
    subscription = subscription_of(installation)
    properties = {
        "roleDefinitionId": f"{subscription}/providers/Microsoft.Authorization/roleDefinitions/{READER}",
        "principalId": principal,
        **more,
    }
    id = parse_id(f"{scope}/providers/{TYPE}/{name or uuid.uuid4()}")
    accepted = await control.put(id, {"properties": properties}, principal=installation.admin.objectId)
    assert accepted.operation is None
    return accepted.document


async def test_an_assignment_opens_what_its_role_says(control: Control, installation: Installation) -> None:
    authorization = Authorization(installation.store)
    installation.store.listen(authorization.changed)
    other, _ = await installation.directory.create_application("other")
    principal = Principal(other.object_id, installation.admin.tenantId, other.client_id)
    scope = subscription_of(installation)
    assert not authorization.allows(principal, "Microsoft.Network/virtualNetworks/read", scope)

    document = await assign(control, installation, other.object_id, scope)
    assert document["properties"]["principalType"] == "ServicePrincipal"
    assert document["properties"]["scope"] == scope
    assert "etag" not in document
    assert authorization.allows(principal, "Microsoft.Network/virtualNetworks/read", scope)
    assert not authorization.allows(principal, "Microsoft.Network/virtualNetworks/write", scope)

    await control.delete(parse_id(document["id"]), principal=installation.admin.objectId)
    assert not authorization.allows(principal, "Microsoft.Network/virtualNetworks/read", scope)


async def test_lists_reach_above_and_below(control: Control, installation: Installation) -> None:
    subscription = subscription_of(installation)
    await control.put(
        parse_id(f"{subscription}/resourceGroups/g"), {"location": "westeurope"}, principal=installation.admin.objectId
    )
    group = f"{subscription}/resourceGroups/g"
    other, _ = await installation.directory.create_application("other")
    below = await assign(control, installation, other.object_id, group)
    await assign(control, installation, other.object_id, subscription)
    assert len(control.list(TYPE, subscription)) == 3
    assert len(control.list(TYPE, subscription, "atScope()")) == 2
    assert len(control.list(TYPE, group)) == 3
    assert len(control.list(TYPE, group, f"principalId eq '{other.object_id.upper()}'")) == 2
    assert len(control.list(TYPE, group, f"atScope() and assignedTo('{other.object_id}')")) == 2
    assert below["id"] in {d["id"] for d in control.list(TYPE, subscription, f"principalId eq '{other.object_id}'")}
    with pytest.raises(ArmError, match="UnsupportedQuery"):
        control.list(TYPE, group, "name eq 'x'")


@pytest.mark.parametrize(
    ("changes", "name", "code", "status"),
    [
        ({}, "not-a-guid", "InvalidRoleAssignmentId", 400),
        ({"principalId": "11111111-1111-1111-1111-111111111111"}, "", "PrincipalNotFound", 400),
        ({"principalId": None}, "", "InvalidCreateRoleAssignmentRequest", 400),
        ({"roleDefinitionId": "/x/22222222-2222-2222-2222-222222222222"}, "", "RoleDefinitionDoesNotExist", 400),
    ],
)
async def test_refusals(
    control: Control, installation: Installation, changes: dict[str, Any], name: str, code: str, status: int
) -> None:
    changes = {"principal": installation.admin.objectId, **changes}
    with pytest.raises(ArmError) as refused:
        await assign(
            control,
            installation,
            changes.pop("principal"),
            subscription_of(installation),
            name,
            **changes,
        )
    assert (refused.value.code, refused.value.status) == (code, status)


async def test_the_same_assignment_under_another_name_conflicts_and_under_its_own_does_not(
    control: Control, installation: Installation
) -> None:
    scope, who, name = subscription_of(installation), installation.admin.objectId, str(uuid.uuid4())
    await assign(control, installation, who, scope, name)
    await assign(control, installation, who, scope, name)
    with pytest.raises(ArmError) as refused:
        await assign(control, installation, who, scope)
    assert (refused.value.code, refused.value.status) == ("RoleAssignmentExists", 409)


async def test_role_definitions_by_name_and_id_at_any_scope(control: Control, installation: Installation) -> None:
    kind, scope = "Microsoft.Authorization/roleDefinitions", subscription_of(installation)
    assert len(control.list(kind, scope)) == len(BUILT_IN)
    [acr] = control.list(kind, f"{scope}/resourceGroups/g", "roleName eq 'acrpull'")
    assert acr["id"] == f"{scope}/providers/{kind}/7f951dda-4ed3-4680-a7ca-43fe172d538d"
    assert control.show(parse_id(acr["id"])) == acr
    assert control.show(parse_id(f"/providers/{kind}/{READER}"))["properties"]["roleName"] == "Reader"
    assert control.list(kind, scope, "type eq 'CustomRole'") == []
    with pytest.raises(ArmError, match="RoleDefinitionDoesNotExist"):
        control.show(parse_id(f"{scope}/providers/{kind}/{uuid.uuid4()}"))


def custom(installation: Installation, **changes: Any) -> dict[str, Any]:
    return {
        "properties": {
            "roleName": "Restarter",
            "description": "May restart",
            "assignableScopes": [f"{subscription_of(installation)}/resourceGroups/g"],
            "permissions": [
                {
                    "actions": ["Microsoft.Compute/*/read", "Microsoft.Compute/virtualMachines/restart/action"],
                    "notActions": ["Microsoft.Compute/disks/read"],
                    "dataActions": ["Microsoft.Storage/*/blobs/read"],
                }
            ],
            **changes,
        }
    }


@pytest.fixture
async def group(control: Control, installation: Installation) -> str:
    id = f"{subscription_of(installation)}/resourceGroups/g"
    await control.put(parse_id(id), {"location": "westeurope"}, principal=installation.admin.objectId)
    return id


async def define(control: Control, installation: Installation, scope: str, name: str = "", **changes: Any) -> str:
    id = f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{name or uuid.uuid4()}"
    body = custom(installation, **changes)
    await control.put(parse_id(id), body, principal=installation.admin.objectId)
    return id


async def test_a_custom_role_opens_what_it_says_and_what_it_says_later(
    control: Control, installation: Installation, group: str
) -> None:
    authorization = Authorization(installation.store)
    installation.store.listen(authorization.changed)
    other, _ = await installation.directory.create_application("other")
    principal = Principal(other.object_id, installation.admin.tenantId, other.client_id)
    role = await define(control, installation, group)
    shown = control.show(parse_id(role))
    assert (shown["properties"]["type"], shown["properties"]["roleName"]) == ("CustomRole", "Restarter")
    await assign(control, installation, other.object_id, group, roleDefinitionId=role)

    def may(action: str, data: bool = False) -> bool:
        return authorization.allows(principal, action, f"{group}/providers/Microsoft.Compute/x/y", data=data)

    assert may("Microsoft.Compute/virtualMachines/restart/action")
    assert may("Microsoft.Compute/virtualMachines/read")
    assert not may("Microsoft.Compute/disks/read")
    assert not may("Microsoft.Compute/virtualMachines/delete")
    assert may("Microsoft.Storage/storageAccounts/blobs/read", data=True)
    assert not may("Microsoft.Storage/storageAccounts/blobs/read")

    permissions = [{"actions": ["Microsoft.Compute/virtualMachines/delete"]}]
    await define(control, installation, group, role.rpartition("/")[2], permissions=permissions)
    assert may("Microsoft.Compute/virtualMachines/delete")
    assert not may("Microsoft.Compute/virtualMachines/read")
    # As one that starts again sees it, too.
    assert Authorization(installation.store).allows(principal, "Microsoft.Compute/virtualMachines/delete", group)


async def test_a_custom_role_is_listed_where_it_can_be_assigned(
    control: Control, installation: Installation, group: str
) -> None:
    kind, subscription = "Microsoft.Authorization/roleDefinitions", subscription_of(installation)
    role = await define(control, installation, group)
    assert [d["id"] for d in control.list(kind, group, "type eq 'CustomRole'")] == [role]
    assert [d["id"] for d in control.list(kind, group, "roleName eq 'restarter'")] == [role]
    assert control.list(kind, subscription, "type eq 'CustomRole'") == []
    assert len(control.list(kind, subscription, "atScopeAndBelow() and type eq 'CustomRole'")) == 1
    with pytest.raises(ArmError) as refused:
        await assign(control, installation, installation.admin.objectId, subscription, roleDefinitionId=role)
    assert refused.value.code == "RoleAssignmentScopeNotAssignableToRoleDefinition"


async def test_a_custom_role_goes_when_nobody_has_it(control: Control, installation: Installation, group: str) -> None:
    role = await define(control, installation, group)
    assigned = await assign(control, installation, installation.admin.objectId, group, roleDefinitionId=role)
    with pytest.raises(ArmError, match="RoleDefinitionHasAssignments"):
        await control.delete(parse_id(role), principal=installation.admin.objectId)
    await control.delete(parse_id(assigned["id"]), principal=installation.admin.objectId)
    await control.delete(parse_id(role), principal=installation.admin.objectId)
    with pytest.raises(ArmError, match="RoleDefinitionDoesNotExist"):
        control.show(parse_id(role))


@pytest.mark.parametrize(
    ("changes", "name", "code"),
    [
        ({"roleName": "Reader"}, "", "RoleDefinitionWithSameNameExists"),
        ({"roleName": ""}, "", "InvalidRoleDefinition"),
        ({"assignableScopes": ["/"]}, "", "InvalidRoleDefinition"),
        ({"assignableScopes": []}, "", "InvalidRoleDefinition"),
        ({"permissions": [{"actions": ["nonsense"]}]}, "", "InvalidActionOrNotAction"),
        ({"permissions": "x"}, "", "InvalidRoleDefinition"),
        ({}, READER, "RoleDefinitionUpdateNotPermitted"),
        ({}, "not-a-guid", "InvalidRoleDefinition"),
    ],
)
async def test_custom_roles_refused(
    control: Control, installation: Installation, group: str, changes: dict[str, Any], name: str, code: str
) -> None:
    with pytest.raises(ArmError) as refused:
        await define(control, installation, group, name, **changes)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"condition": "@Resource[x] StringEquals 'y'"}, "RoleAssignmentConditionNotSupported"),
        ({"principalType": "User"}, "UnmatchedPrincipalType"),
        ({"principalType": "Robot"}, "InvalidPrincipalType"),
    ],
)
async def test_assignments_refused(
    control: Control, installation: Installation, group: str, more: dict[str, Any], code: str
) -> None:
    with pytest.raises(ArmError) as refused:
        await assign(control, installation, installation.admin.objectId, group, **more)
    assert refused.value.code == code


async def test_deny_assignments_can_be_asked_for(control: Control, group: str) -> None:
    assert control.list("Microsoft.Authorization/denyAssignments", group) == []
