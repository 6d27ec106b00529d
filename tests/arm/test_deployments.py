"""Template deployments over ARM, in this process: what is put, in what order, on whose behalf, and how it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from arm.conftest import GROUP, RG, SUB, Start, V, World

SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
SUB_SCHEMA = "https://schema.management.azure.com/schemas/2018-05-01/subscriptionDeploymentTemplate.json#"
DEPLOYMENTS = f"{GROUP}/providers/Microsoft.Resources/deployments"
TEST = f"{GROUP}/providers/Microsoft.Test"


def widget(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "Microsoft.Test/widgets", "apiVersion": V, "name": name, "location": "eastus", **more}


def gadget(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "Microsoft.Test/gadgets", "apiVersion": V, "name": name, "location": "eastus", **more}


def body(resources: Any, *, mode: str = "Incremental", given: dict[str, Any] | None = None, schema: str = SCHEMA,
         **sections: Any) -> dict[str, Any]:  # fmt: skip
    template = {"$schema": schema, "contentVersion": "1.0.0.0", "resources": resources, **sections}
    parameters = {k: {"value": v} for k, v in (given or {}).items()}
    return {"properties": {"mode": mode, "template": template, "parameters": parameters}}


async def deploy(
    arm: World, name: str, request: dict[str, Any], *, at: str = DEPLOYMENTS, **how: Any
) -> dict[str, Any]:
    """PUT, wait for the end, and the document as it is then."""
    answer = await arm.call("PUT", f"{at}/{name}", request, v=RG, **how)
    assert answer.status_code in (200, 201), answer.text
    if "azure-asyncoperation" in answer.headers:
        await arm.ended(answer)
    return (await arm.call("GET", f"{at}/{name}", v=RG)).json()


async def refused(arm: World, request: dict[str, Any], *, at: str = DEPLOYMENTS, **how: Any) -> dict[str, Any]:
    answer = await arm.call("PUT", f"{at}/no", request, v=RG, **how)
    assert answer.status_code >= 400, answer.text
    assert (await arm.call("GET", f"{at}/no", v=RG)).json()["error"]["code"] == "DeploymentNotFound"
    return answer.json()["error"]


async def operations(arm: World, name: str, *, at: str = DEPLOYMENTS) -> dict[str, dict[str, Any]]:
    value = (await arm.call("GET", f"{at}/{name}/operations", v=RG)).json()["value"]
    return {o["properties"]["targetResource"]["resourceName"]: o["properties"] for o in value}


async def test_resources_outputs_and_the_document(arm: World) -> None:
    request = body(
        [
            widget(
                "[parameters('name')]", tags={"a": "[parameters('Name')]"}, properties={"secret": "[parameters('p')]"}
            ),
            gadget("g", properties={"of": "[reference('w').secret]"}, dependsOn=["w"]),
            {"type": "Microsoft.Test/gadgets/parts", "apiVersion": V, "name": "g/p", "dependsOn": ["g"]},
        ],
        given={"name": "w", "p": "hunter2"},
        parameters={"name": {"type": "string"}, "p": {"type": "secureString"}},
        outputs={
            "address": {"type": "string", "value": "[reference('g').address]"},
            "keys": {"type": "array", "value": f"[listKeys(resourceId('Microsoft.Test/gadgets', 'g'), '{V}').keys]"},
            "group": {"type": "string", "value": "[resourceGroup().tags.ENV]"},
            "unseen": {"type": "secureString", "value": "[parameters('p')]"},
        },
    )
    made = await deploy(arm, "first", request, x_ms_correlation_request_id="c-1")
    properties = made["properties"]
    assert properties["provisioningState"] == "Succeeded", made
    assert properties["outputs"] == {
        "address": {"type": "String", "value": "10.0.0.1"},
        "keys": {"type": "Array", "value": ["g"]},
        "group": {"type": "String", "value": "dev"},
        "unseen": {"type": "SecureString"},
    }
    assert properties["parameters"] == {"name": {"type": "String", "value": "w"}, "p": {"type": "SecureString"}}
    assert properties["outputResources"] == [
        {"id": f"{TEST}/widgets/w"}, {"id": f"{TEST}/gadgets/g"}, {"id": f"{TEST}/gadgets/g/parts/p"}
    ]  # fmt: skip
    assert properties["providers"][0]["namespace"] == "Microsoft.Test"
    assert [d["resourceName"] for d in properties["dependencies"]] == ["g", "g/p"]
    assert (properties["correlationId"], properties["mode"]) == ("c-1", "Incremental")
    assert properties["duration"].startswith("PT")
    assert "template" not in properties
    assert "etag" not in made
    found = (await arm.call("GET", f"{TEST}/gadgets/g")).json()
    assert found["properties"]["of"] == "hunter2"
    # What was a secret is in no document of the deployment, nor kept once it is over.
    stored = arm.store.get(f"{DEPLOYMENTS}/first")
    assert stored is not None
    assert "hunter2" not in str(stored)
    template = (await arm.call("POST", f"{DEPLOYMENTS}/first/exportTemplate", v=RG)).json()["template"]
    assert template == request["properties"]["template"]


async def test_independent_resources_go_side_by_side_and_dependent_ones_in_turn(arm: World) -> None:
    arm.gate.open.clear()
    request = body([gadget("a"), gadget("b"), gadget("c", dependsOn=["a", "b"]), widget("d", dependsOn=["c"])])
    answer = await arm.call("PUT", f"{DEPLOYMENTS}/order", request, v=RG)
    async with asyncio.timeout(10):
        while len(await operations(arm, "order")) < 2:
            await arm.control.loop.wait_change(f"{TEST}/gadgets/b".lower(), 0.05)
    assert arm.store.get(f"{TEST}/gadgets/c") is None
    running = (await arm.call("GET", f"{DEPLOYMENTS}/order", v=RG)).json()["properties"]
    assert running["provisioningState"] == "Running"
    assert {o["provisioningState"] for o in (await operations(arm, "order")).values()} == {"Running"}
    again = await arm.call("PUT", f"{DEPLOYMENTS}/order", request, v=RG)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "DeploymentActive")
    arm.gate.open.set()
    assert (await arm.ended(answer))["status"] == "Succeeded"
    found = await operations(arm, "order")
    assert set(found) == {"a", "b", "c", "d"}
    assert {o["statusCode"] for o in found.values()} == {"Created"}
    times = {name: o["timestamp"] for name, o in found.items()}
    assert max(times["a"], times["b"]) <= times["c"] <= times["d"]


async def test_one_failure_is_told_with_its_cause_and_the_rest_goes_on(arm: World) -> None:
    from sorairo.engine.errors import ArmError

    arm.gate.refusal = ArmError("NoMoreGadgets", "there are no more")
    request = body([gadget("bad"), widget("after", dependsOn=["bad"]), widget("other"),
                    {"type": "Microsoft.Test/instances", "apiVersion": V, "name": "i"}])  # fmt: skip
    assert (await refused(arm, request))["code"] == "MethodNotAllowed"
    request["properties"]["template"]["resources"].pop()
    made = await deploy(arm, "partly", request)
    assert made["properties"]["provisioningState"] == "Failed"
    error = made["properties"]["error"]
    assert error["code"] == "DeploymentFailed"
    assert "At least one resource deployment operation failed" in error["message"]
    (detail,) = error["details"]
    assert (detail["code"], detail["target"]) == ("ResourceDeploymentFailure", f"{TEST}/gadgets/bad")
    assert detail["details"][0]["code"] == "NoMoreGadgets"
    found = await operations(arm, "partly")
    assert {n: o["provisioningState"] for n, o in found.items()} == {"bad": "Failed", "other": "Succeeded"}
    assert found["bad"]["statusMessage"]["error"]["code"] == "ResourceDeploymentFailure"
    assert made["properties"]["outputResources"] == [{"id": f"{TEST}/widgets/other"}]
    # Asked for again once the cause is gone, all is well.
    arm.gate.refusal = None
    made = await deploy(arm, "partly", request)
    assert made["properties"]["provisioningState"] == "Succeeded"
    assert "error" not in made["properties"]


async def test_a_refusal_by_the_resource_itself_is_told_as_it_is(arm: World) -> None:
    request = body([{"type": "Microsoft.Test/gadgets/parts", "apiVersion": V, "name": "none/p"}])
    made = await deploy(arm, "orphan", request)
    assert made["properties"]["error"]["details"][0]["code"] == "ParentResourceNotFound"
    assert (await operations(arm, "orphan"))["none/p"]["statusCode"] == "NotFound"


@pytest.mark.parametrize(
    ("resources", "code", "part"),
    [
        ([widget("a", type="Microsoft.Nothing/things")], "InvalidResourceNamespace", "'Microsoft.Nothing'"),
        ([widget("a", type="Microsoft.Test/nothings")], "InvalidResourceType", "'nothings'"),
        ([widget("a", apiVersion="1999-01-01")], "NoRegisteredProviderFound", "1999-01-01"),
        ([widget("[parameters('no')]")], "InvalidTemplate", "'no' is not found"),
        ([widget("a", dependsOn=["b"]), widget("b", dependsOn=["a"])], "InvalidTemplate", "Circular dependency"),
    ],
)
async def test_what_cannot_be_deployed_is_refused_before_anything_is(
    arm: World, resources: Any, code: str, part: str
) -> None:
    error = await refused(arm, body(resources))
    assert error["code"] == code
    assert part in error["message"]
    validated = await arm.call("POST", f"{DEPLOYMENTS}/no/validate", body(resources), v=RG)
    assert validated.json()["error"] == error


async def test_requests_that_are_none(arm: World) -> None:
    for change, code in (
        ({"mode": "Sometimes"}, "InvalidRequestContent"),
        ({"template": None}, "InvalidDeployment"),
        ({"templateLink": {"uri": "https://x"}}, "NotImplemented"),
        ({"onErrorDeployment": {"type": "LastSuccessful"}}, "NotImplemented"),
        ({"nonsense": 1}, "InvalidRequestContent"),
    ):
        request = body([])
        request["properties"] |= change
        assert (await refused(arm, request))["code"] == code, change
    assert (await refused(arm, {"properties": []}))["code"] == "InvalidRequestContent"
    missing = await arm.call("PUT", f"{SUB}/resourceGroups/None/providers/Microsoft.Resources/deployments/d",
                             body([]), v=RG)  # fmt: skip
    assert missing.json()["error"]["code"] == "ResourceGroupNotFound"
    at_sub = f"{SUB}/providers/Microsoft.Resources/deployments"
    assert (await refused(arm, body([]), at=at_sub))["code"] == "LocationRequired"
    assert (await refused(arm, {**body([], mode="Complete"), "location": "eastus"}, at=at_sub))["code"] == (
        "InvalidDeploymentMode"
    )
    for scope in (
        "/providers/Microsoft.Resources/deployments",
        f"{TEST}/widgets/w/providers/Microsoft.Resources/deployments",
    ):
        answer = await arm.call("PUT", f"{scope}/d", {**body([]), "location": "eastus"}, v=RG)
        assert answer.json()["error"]["code"] == "NotImplemented", scope


async def test_a_deployment_may_do_what_its_caller_may_and_no_more(arm: World) -> None:
    arm.roles["dev"] = [
        ("Microsoft.Resources/deployments/", GROUP),
        ("Microsoft.Test/widgets/", GROUP),
    ]
    await deploy(arm, "mine", body([widget("w")]), token="dev")
    error = await refused(arm, body([widget("x"), gadget("g")]), token="dev")
    assert error["code"] == "InvalidTemplateDeployment"
    assert "Authorization failed for template resource 'g' of type 'Microsoft.Test/gadgets'" in error["message"]
    assert arm.store.get(f"{TEST}/widgets/x") is None
    # Nor may it read for them what they may not: a reference is a request of theirs too.
    await arm.made(f"{TEST}/gadgets/g")
    made = await deploy(
        arm,
        "peep",
        body([widget("y", properties={"of": f"[reference(resourceId('Microsoft.Test/gadgets', 'g'), '{V}').x]"})]),
        token="dev",
    )
    assert made["properties"]["error"]["details"][0]["code"] == "AuthorizationFailed"
    (event,) = [e for e in arm.store.activity(under=f"{TEST}/widgets/w") if e["operationName"].endswith("/write")]
    assert event["caller"] == "dev"


async def test_validate_says_what_it_would_be_and_makes_nothing(arm: World) -> None:
    answer = await arm.call("POST", f"{DEPLOYMENTS}/v/validate", body([widget("w")]), v=RG)
    properties = answer.json()["properties"]
    assert (answer.status_code, properties["provisioningState"]) == (200, "Succeeded")
    assert properties["validatedResources"] == [{"id": f"{TEST}/widgets/w"}]
    assert arm.store.get(f"{TEST}/widgets/w") is None
    assert arm.store.get(f"{DEPLOYMENTS}/v") is None


def nested(
    name: str, resources: list[Any], *, scope: str = "inner", outputs: Any = None, **more: Any
) -> dict[str, Any]:
    template = {"$schema": SCHEMA, "contentVersion": "1.0.0.0", "resources": resources, "outputs": outputs or {}}
    return {
        "type": "Microsoft.Resources/deployments",
        "apiVersion": "2022-09-01",
        "name": name,
        "properties": {"mode": "Incremental", "expressionEvaluationOptions": {"scope": scope}, "template": template},
        **more,
    }


async def test_nested_deployments_and_what_they_give_back(arm: World) -> None:
    outputs = {"id": {"type": "string", "value": "[resourceId('Microsoft.Test/widgets', 'inner')]"}}
    request = body(
        [
            nested("module", [widget("inner")], outputs=outputs),
            widget("outer", properties={"of": "[reference('module').outputs.id.value]"}),
        ]
    )
    made = await deploy(arm, "modules", request)
    assert made["properties"]["provisioningState"] == "Succeeded", made
    assert (await arm.call("GET", f"{TEST}/widgets/outer")).json()["properties"]["of"] == f"{TEST}/widgets/inner"
    listed = (await arm.call("GET", DEPLOYMENTS, v=RG)).json()["value"]
    assert [d["name"] for d in listed] == ["module", "modules"]
    failing = body([nested("broken", [{"type": "Microsoft.Test/gadgets/parts", "apiVersion": V, "name": "no/p"}])])
    error = (await deploy(arm, "outer", failing))["properties"]["error"]
    assert error["details"][0]["code"] == "DeploymentFailed"
    assert error["details"][0]["details"][0]["code"] == "ParentResourceNotFound"


async def test_a_subscription_deployment_makes_groups_and_deploys_into_them(arm: World) -> None:
    at = f"{SUB}/providers/Microsoft.Resources/deployments"
    group = {"type": "Microsoft.Resources/resourceGroups", "apiVersion": RG, "name": "made", "location": "eastus"}
    inner = nested("inside", [widget("w")], resourceGroup="made", dependsOn=["made"])
    request = {**body([group, inner], schema=SUB_SCHEMA), "location": "westeurope"}
    # What is in the group that is not there yet is foretold, and looked at, too.
    asked = await arm.call("POST", f"{at}/landing/whatIf", request, v=RG)
    await arm.ended(asked)
    changes = (await arm.call("GET", asked.headers["location"], v=None)).json()["properties"]["changes"]
    assert [(c["resourceId"].rpartition("/")[2], c["changeType"]) for c in changes] == [
        ("made", "Create"), ("w", "Create")
    ]  # fmt: skip
    wrong = {
        **body([group, nested("in", [widget("w", apiVersion="1999-01-01")], resourceGroup="made")]),
        "location": "x",
    }
    assert (await refused(arm, wrong, at=at))["code"] == "NoRegisteredProviderFound"
    made = await deploy(arm, "landing", request, at=at)
    assert made["properties"]["provisioningState"] == "Succeeded", made
    assert made["location"] == "westeurope"
    assert arm.store.get(f"{SUB}/resourceGroups/made/providers/Microsoft.Test/widgets/w") is not None
    assert [d["name"] for d in (await arm.call("GET", at, v=RG)).json()["value"]] == ["landing"]
    moved = await arm.call("PUT", f"{at}/landing", {**request, "location": "eastus"}, v=RG)
    assert (moved.status_code, moved.json()["error"]["code"]) == (409, "InvalidDeploymentLocation")


async def test_complete_mode_leaves_only_what_the_template_names(arm: World) -> None:
    for name in ("stay", "go"):
        await arm.made(f"{TEST}/widgets/{name}")
    await arm.made(f"{TEST}/gadgets/g")
    await arm.made(f"{TEST}/gadgets/g/parts/p")
    request = body([widget("stay"), nested("n", [widget("nested")]), widget("off", condition=False)], mode="Complete")
    made = await deploy(arm, "complete", request)
    assert made["properties"]["provisioningState"] == "Succeeded", made
    left = {r.rid.name for r in arm.store.list(under=f"{GROUP}/providers/Microsoft.Test")}
    assert left == {"stay", "nested"}
    found = await operations(arm, "complete")
    assert {n: o["provisioningOperation"] for n, o in found.items()} == {
        "stay": "Create", "n": "Create", "go": "Delete", "g": "Delete", "p": "Delete"
    }  # fmt: skip


async def test_what_if_tells_what_would_change(arm: World) -> None:
    await arm.made(f"{TEST}/widgets/same", {"properties": {"size": 1}})
    await arm.made(
        f"{TEST}/widgets/changed", {"properties": {"size": 1, "gone": True, "list": [{"name": "a", "v": 1}]}}
    )
    await arm.made(f"{TEST}/widgets/apart")
    request = body(
        [
            widget("same", properties={"size": 1}),
            widget("changed", properties={"size": 2, "list": [{"name": "a", "v": 2}], "new": "x"}),
            widget(
                "created", properties={"of": f"[reference(resourceId('Microsoft.Test/widgets', 'later'), '{V}').y]"}
            ),
            nested("module", [widget("inner")]),
        ]
    )
    for mode, other in (("Incremental", "Ignore"), ("Complete", "Delete")):
        request["properties"]["mode"] = mode
        answer = await arm.call("POST", f"{DEPLOYMENTS}/w/whatIf", request, v=RG)
        assert answer.status_code == 202
        ended = await arm.ended(answer)
        assert ended["status"] == "Succeeded"
        result = (await arm.call("GET", answer.headers["location"], v=None)).json()
        assert result["status"] == "Succeeded", result
        changes = {c["resourceId"].rpartition("/")[2]: c for c in result["properties"]["changes"]}
        assert {n: c["changeType"] for n, c in changes.items()} == {
            "same": "NoChange", "changed": "Modify", "created": "Create", "inner": "Create", "apart": other,
        }  # fmt: skip
        assert changes["created"]["after"]["properties"]["of"].startswith("[reference(")
        assert {d["path"]: d["propertyChangeType"] for d in changes["changed"]["delta"]} == {
            "properties.gone": "Delete", "properties.list": "Array", "properties.new": "Create",
            "properties.size": "Modify",
        }  # fmt: skip
    assert arm.store.get(f"{TEST}/widgets/created") is None
    wrong = await arm.call("POST", f"{DEPLOYMENTS}/w/whatIf", body([widget("[no()]")]), v=RG)
    await arm.ended(wrong)
    result = (await arm.call("GET", wrong.headers["location"], v=None)).json()
    assert (result["status"], result["error"]["code"]) == ("Failed", "InvalidTemplate")


async def test_cancel_ends_it_and_leaves_what_was_begun(arm: World) -> None:
    arm.gate.open.clear()
    answer = await arm.call("PUT", f"{DEPLOYMENTS}/c", body([gadget("a"), gadget("b", dependsOn=["a"])]), v=RG)
    early = await arm.call("DELETE", f"{DEPLOYMENTS}/c", v=RG)
    assert (early.status_code, early.json()["error"]["code"]) == (409, "DeploymentActive")
    assert (await arm.call("POST", f"{DEPLOYMENTS}/c/cancel", v=RG)).status_code == 204
    assert (await arm.ended(answer))["status"] == "Canceled"
    found = (await arm.call("GET", f"{DEPLOYMENTS}/c", v=RG)).json()["properties"]
    assert found["provisioningState"] == "Canceled"
    again = await arm.call("POST", f"{DEPLOYMENTS}/c/cancel", v=RG)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "DeploymentCannotBeCancelled")
    arm.gate.open.set()
    assert arm.store.get(f"{TEST}/gadgets/b") is None
    assert (await arm.call("HEAD", f"{DEPLOYMENTS}/c", v=RG)).status_code == 204
    gone = await arm.call("DELETE", f"{DEPLOYMENTS}/c", v=RG)
    assert gone.status_code == 202
    await arm.ended(gone)
    assert arm.store.notes(f"deployment {DEPLOYMENTS.lower()}/c") == []
    assert (await arm.call("HEAD", f"{DEPLOYMENTS}/c", v=RG)).status_code == 404


async def test_az_sends_the_template_as_its_file_stands(arm: World) -> None:
    text = """{"properties": {"mode": "Incremental", "parameters": {}, template: {
      // made by hand
      "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
      "contentVersion": "1.0.0.0", /* and
      not by a machine */
      "resources": [{'type': "Microsoft.Test/widgets", "apiVersion": "2024-01-01", "name": "[concat('a',
        'b')]", location: "eastus",},],
    }}}"""
    headers = {"authorization": "Bearer owner", "content-type": "application/json"}
    answer = await arm.client.put(f"{DEPLOYMENTS}/file?api-version={RG}", content=text.encode(), headers=headers)
    assert answer.status_code == 201, answer.text
    bad = await arm.client.put(f"{DEPLOYMENTS}/file?api-version={RG}", content=b"{template: ]", headers=headers)
    assert (bad.status_code, bad.json()["error"]["code"]) == (400, "InvalidRequestContent")


async def test_many_resources_and_a_filter_of_the_history(start: Start) -> None:
    arm: World = await start(patience=30)
    await arm.made(GROUP)
    many = [widget("[format('w{0}', copyIndex())]", copy={"name": "ws", "count": 60})]
    made = await deploy(arm, "many", body(many))
    assert made["properties"]["provisioningState"] == "Succeeded"
    assert len(arm.store.list(type="Microsoft.Test/widgets")) == 60
    await deploy(arm, "fails", body([{"type": "Microsoft.Test/gadgets/parts", "apiVersion": V, "name": "no/p"}]))
    failed = await arm.call("GET", f"{DEPLOYMENTS}?$filter=provisioningState eq 'Failed'", v=RG)
    assert [d["name"] for d in failed.json()["value"]] == ["fails"]
    one = (await arm.call("GET", f"{DEPLOYMENTS}/many/operations", v=RG)).json()["value"][0]
    assert (await arm.call("GET", f"{DEPLOYMENTS}/many/operations/{one['operationId']}", v=RG)).json() == one
