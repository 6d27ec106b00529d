"""Resources that move to another group, those that do not, and templates of what a group holds."""

from __future__ import annotations

from typing import Any

import pytest

from arm.conftest import GROUP, RG, SUB, World
from arm.test_deployments import deploy
from arm.test_locks import lock, unlock
from sorairo.engine.types import Resource

TARGET = f"{SUB}/resourceGroups/Other"
TEST = f"{GROUP}/providers/Microsoft.Test"


@pytest.fixture
async def two(arm: World) -> World:
    """Groups `Web` and `Other`; in `Web` a widget with a part."""
    await arm.call("PUT", TARGET, {"location": "eastus"}, v=RG)
    await arm.made(f"{TEST}/widgets/w", {"tags": {"a": "b"}, "properties": {"size": 3}})
    return arm


async def ask(arm: World, *names: str, to: str = TARGET, action: str = "moveResources", **how: Any) -> dict[str, Any]:
    """The operation's end; `error` for a refusal that came at once, too."""
    body = {"resources": [n if n.startswith("/") else f"{TEST}/{n}" for n in names], "targetResourceGroup": to}
    answer = await arm.call("POST", f"{GROUP}/{action}", body, v=RG, **how)
    return await arm.ended(answer) if answer.status_code == 202 else answer.json()


async def test_what_moves_is_the_same_under_another_id(two: World) -> None:
    await two.made(f"{TEST}/widgets/x", {"properties": {"of": f"{TEST}/widgets/w/thing"}})
    assert (await ask(two, "widgets/w", "widgets/x", action="validateMoveResources"))["status"] == "Succeeded"
    assert two.store.get(f"{TEST}/widgets/w") is not None
    assert (await ask(two, "widgets/w", "widgets/x"))["status"] == "Succeeded"
    assert (await two.call("GET", f"{TEST}/widgets/w")).status_code == 404
    moved = (await two.call("GET", f"{TARGET}/providers/Microsoft.Test/widgets/w")).json()
    assert moved["id"] == f"{TARGET}/providers/Microsoft.Test/widgets/w"
    assert (moved["tags"], moved["properties"]["size"]) == ({"a": "b"}, 3)
    other = (await two.call("GET", f"{TARGET}/providers/Microsoft.Test/widgets/x")).json()
    assert other["properties"]["of"] == f"{TARGET}/providers/Microsoft.Test/widgets/w/thing"


async def test_what_is_claimed_stays_claimed(two: World) -> None:
    def claim(tx: Any) -> None:
        row: Resource = tx.get(f"{TEST}/widgets/w")
        row.private = {"claims": {"addresses": ["10.0.0.1"]}}
        tx.put(row)
        tx.put_note("claim addresses", row.key, {"values": ["10.0.0.1"]})

    await two.store.transact(claim)
    assert (await ask(two, "widgets/w"))["status"] == "Succeeded"
    new = f"{TARGET}/providers/Microsoft.Test/widgets/w".lower()
    assert two.store.notes("claim addresses") == [(new, {"values": ["10.0.0.1"]})]


async def test_what_cannot_move_says_why_and_stays(two: World) -> None:
    await two.made(f"{TEST}/accounts/a")
    await two.made(f"{TEST}/gadgets/g")
    await two.made(f"{TEST}/gadgets/g/parts/p")
    await two.made(f"{TEST}/widgets/user", {"properties": {"of": f"{TEST}/widgets/w"}})
    await two.call("PUT", f"{TARGET}/providers/Microsoft.Test/widgets/taken", {"location": "eastus"})
    await two.made(f"{TEST}/widgets/taken")
    for names, code, part in (
        (["accounts/a"], "ResourceMoveNotSupported", "'Microsoft.Test/accounts'"),
        (["gadgets/g"], "NotImplemented", "moving Microsoft.Test/gadgets"),
        (["gadgets/g/parts/p"], "InvalidMoveResourcesRequest", "child resource"),
        (["widgets/none"], "ResourceNotFound", "none"),
        (
            [f"{TARGET}/providers/Microsoft.Test/widgets/taken"],
            "InvalidMoveResourcesRequest",
            "not in the resource group",
        ),
        (["widgets/taken"], "ResourceMoveFailed", "already has 'taken'"),
        (["widgets/w"], "MissingMoveDependentResources", "all the dependent resources"),
        ([], "InvalidMoveResourcesRequest", "array of resource ids"),
    ):
        error = (await ask(two, *names))["error"]
        assert error["code"] == code, names
        assert part in error["message"], names
    for to, code in ((GROUP, "InvalidMoveResourcesRequest"), (f"{TARGET}none", "ResourceGroupNotFound"),
                     ("nonsense", "InvalidMoveResourcesRequest")):  # fmt: skip
        assert (await ask(two, "widgets/w", to=to))["error"]["code"] == code
    assert two.store.get(f"{TEST}/widgets/w") is not None


async def test_locks_and_rights_hold_for_moves(two: World) -> None:
    for scope, level in ((f"{TEST}/widgets/w", "CanNotDelete"), (TARGET, "ReadOnly"), (GROUP, "ReadOnly")):
        await lock(two, scope, level)
        assert (await ask(two, "widgets/w"))["error"]["code"] == "ScopeLocked"
        await unlock(two, scope)
    two.roles["dev"] = [("Microsoft.", GROUP)]
    assert (await ask(two, "widgets/w", token="dev"))["error"]["code"] == "AuthorizationFailed"


async def test_an_exported_template_makes_the_same_again(two: World) -> None:
    await two.made(f"{TEST}/gadgets/g-1", {"properties": {"of": f"{TEST}/widgets/w", "slot": f"{TEST}/widgets/w/s/t"}})
    await two.made(f"{TEST}/gadgets/g-1/parts/p", {"properties": {"text": "[not an expression]"}})
    exported = await two.call("POST", f"{GROUP}/exportTemplate", {"resources": ["*"]}, v=RG)
    assert exported.status_code == 200, exported.text
    template = exported.json()["template"]
    assert template["parameters"] == {
        "widgets_w_name": {"type": "String", "defaultValue": "w"},
        "gadgets_g_1_name": {"type": "String", "defaultValue": "g-1"},
    }
    by_type = {r["type"]: r for r in template["resources"]}
    gadget = by_type["Microsoft.Test/gadgets"]
    reference = "[resourceId('Microsoft.Test/widgets', parameters('widgets_w_name'))]"
    assert gadget["name"] == "[parameters('gadgets_g_1_name')]"
    assert gadget["dependsOn"] == [reference]
    assert gadget["properties"]["of"] == reference
    assert gadget["properties"]["slot"] == (
        "[resourceId('Microsoft.Test/widgets/s', parameters('widgets_w_name'), 't')]"
    )
    assert by_type["Microsoft.Test/gadgets/parts"]["name"] == "[concat(parameters('gadgets_g_1_name'), '/', 'p')]"
    request = {"properties": {"mode": "Incremental", "template": template, "parameters": {}}}
    made = await deploy(two, "again", request, at=f"{TARGET}/providers/Microsoft.Resources/deployments")
    assert made["properties"]["provisioningState"] == "Succeeded", made
    part = await two.call("GET", f"{TARGET}/providers/Microsoft.Test/gadgets/g-1/parts/p")
    assert part.json()["properties"]["text"] == "[not an expression]"
    copy = (await two.call("GET", f"{TARGET}/providers/Microsoft.Test/gadgets/g-1")).json()
    assert copy["properties"]["of"] == f"{TARGET}/providers/Microsoft.Test/widgets/w"


async def test_an_export_of_some_without_parameters(two: World) -> None:
    await two.made(f"{TEST}/widgets/x")
    body = {"resources": [f"{TEST}/widgets/x"], "options": "SkipAllParameterization,IncludeComments"}
    template = (await two.call("POST", f"{GROUP}/exportTemplate", body, v=RG)).json()["template"]
    assert template["parameters"] == {}
    assert [(r["name"], r["comments"]) for r in template["resources"]] == [
        ("x", f"Generalized from resource: '{TEST}/widgets/x'.")
    ]
    for wrong, code in (
        ({"resources": [f"{TEST}/widgets/none"]}, "ResourceNotFound"),
        ({"resources": ["*"], "options": "Everything"}, "InvalidRequestContent"),
    ):
        answer = await two.call("POST", f"{GROUP}/exportTemplate", wrong, v=RG)
        assert answer.json()["error"]["code"] == code
    missing = await two.call("POST", f"{TARGET}none/exportTemplate", {"resources": ["*"]}, v=RG)
    assert missing.json()["error"]["code"] == "ResourceGroupNotFound"
