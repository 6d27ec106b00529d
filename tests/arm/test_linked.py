"""Naming a resource in another's document: what that takes besides the right to write the document."""

from __future__ import annotations

from typing import Any

import pytest

from arm.conftest import GROUP, World

WIDGET = f"{GROUP}/providers/Microsoft.Test/widgets/w"
GADGET = f"{GROUP}/providers/Microsoft.Test/gadgets/g"


def naming(value: Any) -> dict[str, Any]:
    return {"location": "eastus", "properties": {"deep": [{"inside": value}]}}


@pytest.mark.parametrize(
    "value", [{"id": WIDGET}, WIDGET.upper().replace("/SUBSCRIPTIONS/", "/subscriptions/"), {WIDGET: {}}]
)
async def test_who_may_write_but_not_join_is_refused(arm: World, value: Any) -> None:
    await arm.made(WIDGET)
    arm.roles["writer"] = [("Microsoft.Test/gadgets/", GROUP)]
    answer = await arm.call("PUT", GADGET, naming(value), token="writer")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "LinkedAuthorizationFailed")
    message = answer.json()["error"]["message"]
    assert "'Microsoft.Test/gadgets/write'" in message
    assert "'Microsoft.Test/widgets/join/action' on the linked scope(s)" in message
    assert (await arm.call("GET", GADGET)).status_code == 404
    arm.roles["writer"].append(("Microsoft.Test/widgets/join/", WIDGET))
    assert (await arm.call("PUT", GADGET, naming(value), token="writer")).status_code == 201


async def test_what_is_not_there_is_refused_alike(arm: World) -> None:
    arm.roles["writer"] = [("Microsoft.Test/gadgets/", GROUP)]
    answer = await arm.call("PUT", GADGET, naming({"id": f"{WIDGET}none"}), token="writer")
    assert answer.json()["error"]["code"] == "LinkedAuthorizationFailed"


async def test_types_that_nobody_joins_and_what_is_no_id_take_nothing(arm: World) -> None:
    arm.roles["writer"] = [("Microsoft.Test/gadgets/", GROUP)]
    for value in (f"{GADGET}2", "/subscriptions/nonsense", "/subscriptions/", f"text with {WIDGET}"):
        assert (await arm.call("PUT", GADGET, naming(value), token="writer")).status_code < 300


async def test_a_template_takes_as_much(arm: World) -> None:
    await arm.made(WIDGET)
    arm.roles["writer"] = [("Microsoft.Test/gadgets/", GROUP), ("Microsoft.Resources/", GROUP)]
    resource = {"type": "Microsoft.Test/gadgets", "apiVersion": "2024-01-01", "name": "g", **naming({"id": WIDGET})}
    template = {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "resources": [resource],
    }
    path = f"{GROUP}/providers/Microsoft.Resources/deployments/d"
    body = {"properties": {"mode": "Incremental", "template": template}}
    answer = await arm.call("PUT", path, body, v="2024-11-01", token="writer")
    if answer.status_code < 300:
        await arm.ended(answer)
    assert (await arm.call("GET", GADGET)).status_code == 404


async def test_a_link_that_is_there_may_be_written_back_and_no_other(arm: World) -> None:
    await arm.made(WIDGET)
    await arm.made(f"{WIDGET}2")
    assert (await arm.call("PUT", GADGET, naming({"id": WIDGET}))).status_code == 201
    arm.roles["writer"] = [("Microsoft.Test/gadgets/", GROUP)]
    assert (await arm.call("PUT", GADGET, naming({"id": WIDGET}), token="writer")).status_code == 200
    assert (await arm.call("PUT", GADGET, naming({"id": f"{WIDGET}2"}), token="writer")).status_code == 403
