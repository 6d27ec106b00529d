"""Locks: what they forbid, where they reach, and that they can always be taken off by who may."""

from __future__ import annotations

from typing import Any

import pytest

from arm.conftest import GROUP, RG, SUB, World
from arm.test_deployments import body, deploy, widget

L = "2020-05-01"
WIDGET = f"{GROUP}/providers/Microsoft.Test/widgets/w"
GADGET = f"{GROUP}/providers/Microsoft.Test/gadgets/g"
LOCK = "providers/Microsoft.Authorization/locks"


async def lock(arm: World, scope: str, level: str, name: str = "l") -> dict[str, Any]:
    answer = await arm.call("PUT", f"{scope}/{LOCK}/{name}", {"properties": {"level": level, "notes": "why"}}, v=L)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


async def unlock(arm: World, scope: str, name: str = "l") -> None:
    assert (await arm.call("DELETE", f"{scope}/{LOCK}/{name}", v=L)).status_code == 200


async def refused(arm: World, method: str, path: str, content: Any = None, **how: Any) -> str:
    answer = await arm.call(method, path, content, **how)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "ScopeLocked"), answer.text
    return answer.json()["error"]["message"]


async def test_a_lock_is_a_resource_of_its_own(arm: World) -> None:
    made = await lock(arm, GROUP, "cannotdelete")
    assert made == {
        "id": f"{GROUP}/{LOCK}/l",
        "name": "l",
        "type": "Microsoft.Authorization/locks",
        "properties": {"level": "CanNotDelete", "notes": "why"},
    }
    await arm.made(WIDGET)
    await lock(arm, WIDGET, "ReadOnly", "m")
    await lock(arm, SUB, "CanNotDelete", "n")

    async def listed(scope: str, filter: str = "") -> list[str]:
        more = f"?$filter={filter}" if filter else ""
        return [e["name"] for e in (await arm.call("GET", f"{scope}/{LOCK}{more}", v=L)).json()["value"]]

    assert await listed(SUB) == ["n", "l", "m"]
    assert await listed(GROUP) == ["l", "m"]
    assert await listed(GROUP, "atScope()") == ["l"]
    assert await listed(WIDGET) == ["m"]
    for wrong, code in (({"level": "Sometimes"}, "InvalidRequestContent"), ({"level": "ReadOnly", "notes": "x" * 513},
                         "InvalidRequestContent")):  # fmt: skip
        answer = await arm.call("PUT", f"{GROUP}/{LOCK}/bad", {"properties": wrong}, v=L)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    answer = await arm.call("PUT", f"{WIDGET}none/{LOCK}/bad", {"properties": {"level": "ReadOnly"}}, v=L)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ResourceNotFound")


@pytest.mark.parametrize("scope", [SUB, GROUP, WIDGET])
async def test_what_cannot_be_deleted_can_be_changed(arm: World, scope: str) -> None:
    await arm.made(WIDGET)
    await lock(arm, scope, "CanNotDelete")
    assert (await arm.call("PUT", WIDGET, {"location": "eastus"})).status_code == 200
    message = await refused(arm, "DELETE", WIDGET)
    assert message == (
        f"The scope '{WIDGET}' cannot perform delete operation because following scope(s) are locked: '{scope}'. "
        "Please remove the lock and try again."
    )
    await unlock(arm, scope)
    assert (await arm.call("DELETE", WIDGET)).status_code == 200


async def test_a_group_with_something_locked_in_it_stays_whole(arm: World) -> None:
    await arm.made(WIDGET)
    await arm.made(f"{WIDGET}2")
    await lock(arm, WIDGET, "CanNotDelete")
    assert f"locked: '{WIDGET}'" in await refused(arm, "DELETE", GROUP, v=RG)
    assert (await arm.call("GET", f"{WIDGET}2")).status_code == 200
    assert (await arm.call("DELETE", f"{WIDGET}2")).status_code == 200


@pytest.mark.parametrize("scope", [SUB, GROUP, GADGET])
async def test_what_is_read_only_is_only_read(arm: World, scope: str) -> None:
    await arm.made(GADGET)
    await lock(arm, scope, "ReadOnly")
    assert (await arm.call("GET", GADGET)).status_code == 200
    await refused(arm, "PUT", GADGET, {"location": "eastus"})
    await refused(arm, "PATCH", GADGET, {"tags": {"a": "b"}})
    await refused(arm, "DELETE", GADGET)
    await refused(arm, "PUT", f"{GADGET}/parts/p", {})
    # A POST may change what it is about, and hand out keys with which more can be changed.
    await refused(arm, "POST", f"{GADGET}/listKeys", {})
    await refused(arm, "POST", f"{GADGET}/restart", {})
    tags = {"operation": "Merge", "properties": {"tags": {"a": "b"}}}
    await refused(arm, "PATCH", f"{GADGET}/providers/Microsoft.Resources/tags/default", tags, v=RG)
    await unlock(arm, scope)
    assert (await arm.call("PATCH", GADGET, {"tags": {"a": "b"}})).status_code == 200


async def test_a_deployment_meets_locks_as_its_caller_would(arm: World) -> None:
    await arm.made(WIDGET)
    await lock(arm, WIDGET, "ReadOnly")
    made = await deploy(arm, "d", body([widget("w"), widget("x")]))
    (detail,) = made["properties"]["error"]["details"]
    assert detail["code"] == "ScopeLocked"
    await lock(arm, GROUP, "ReadOnly", "all")
    at = f"{GROUP}/providers/Microsoft.Resources/deployments/e"
    await refused(arm, "PUT", at, body([]), v=RG)
    # To look is no change.
    assert (await arm.call("POST", f"{at}/validate", body([]), v=RG)).status_code == 200


async def test_who_may_not_lock_may_not_unlock(arm: World) -> None:
    arm.roles["dev"] = [("Microsoft.Test/", GROUP), ("Microsoft.Authorization/locks/read", GROUP)]
    await arm.made(WIDGET)
    await lock(arm, WIDGET, "CanNotDelete")
    refusal = await arm.call("DELETE", f"{WIDGET}/{LOCK}/l", v=L, token="dev")
    assert (refusal.status_code, refusal.json()["error"]["code"]) == (403, "AuthorizationFailed")
    await refused(arm, "DELETE", WIDGET, token="dev")


async def test_a_cluster_does_not_go_while_its_node_group_is_locked(arm: World) -> None:
    """As a cluster's node resource group: made on behalf of a resource elsewhere, and gone with it."""
    from sorairo.engine.ids import parse_id

    await arm.made(WIDGET)
    nodes = f"{SUB}/resourceGroups/MC_nodes"
    await arm.control.put(parse_id(nodes), {"location": "eastus"}, principal="system", managed_by=WIDGET)
    await lock(arm, nodes, "CanNotDelete")
    assert f"locked: '{nodes}'" in await refused(arm, "DELETE", WIDGET)
    await unlock(arm, nodes)
    assert (await arm.call("DELETE", WIDGET)).status_code == 200
