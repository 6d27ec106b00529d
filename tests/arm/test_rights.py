"""Rights as they really are in one place: roles of groups, deployments, the directory, tokens."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fuzz.origin import BASE, Origin, origin

CONTRIBUTOR = "b24988ac-6180-42a0-ab88-20f7382dd24c"
V, ROLES = "api-version=2022-09-01", "api-version=2022-04-01"


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Origin]:
    async with origin(tmp_path) as found:
        yield found


async def made(it: Origin, path: str, body: dict[str, Any]) -> str:
    answer = await it.call("POST", f"/v1.0{path}", "", body)
    assert answer.status == 201, answer.raw
    return str(answer.body["id"])


async def test_a_member_of_a_group_of_a_group_deploys(it: Origin) -> None:
    """A deployment goes on as the one who asked for it, groups included, long after the token."""
    group = f"{it.subscription}/resourceGroups/g"
    for name in ("g", "other"):
        where = f"{it.subscription}/resourceGroups/{name}"
        assert (await it.call("PUT", where, V, {"location": "westeurope"})).status == 201
    application = await it.call("POST", "/v1.0/applications", "", {"displayName": "ci"})
    ci = await made(it, "/servicePrincipals", {"appId": application.body["appId"]})
    inner, outer = [
        await made(it, "/groups", {"displayName": n, "mailNickname": n, "mailEnabled": False, "securityEnabled": True})
        for n in ("inner", "outer")
    ]
    for holder, member in ((inner, ci), (outer, inner)):
        reference = {"@odata.id": f"https://graph.microsoft.com/v1.0/directoryObjects/{member}"}
        assert (await it.call("POST", f"/v1.0/groups/{holder}/members/$ref", "", reference)).status == 204
    role = f"{it.subscription}/providers/Microsoft.Authorization/roleDefinitions/{CONTRIBUTOR}"
    body = {"properties": {"roleDefinitionId": role, "principalId": outer}}
    assignment = f"{group}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    assert (await it.call("PUT", assignment, ROLES, body)).status == 201

    token = it.issue(ci, f"{BASE}/")
    table = {"type": "Microsoft.Network/routeTables", "apiVersion": "2023-09-01", "name": "t", "location": "westeurope"}
    template = {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "resources": [table],
    }
    asked = {"properties": {"mode": "Incremental", "template": template}}
    deployment = "providers/Microsoft.Resources/deployments/d"
    assert (await it.call("PUT", f"{group}/{deployment}", V, asked, token=token)).status in (200, 201)
    await it.quiet()
    ended = await it.call("GET", f"{group}/{deployment}", V, token=token)
    assert ended.body["properties"]["provisioningState"] == "Succeeded", ended.body
    assert it.store.get(f"{group}/providers/Microsoft.Network/routeTables/t")
    elsewhere = f"{it.subscription}/resourceGroups/other/{deployment}"
    assert (await it.call("PUT", elsewhere, V, asked, token=token)).code == "AuthorizationFailed"
