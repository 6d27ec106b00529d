"""From templates to resources: loops, conditions, ids, and which goes before which."""

from __future__ import annotations

from typing import Any

import pytest

from sorairo.engine.errors import ArmError
from sorairo.templates.content import content
from sorairo.templates.errors import Needed
from sorairo.templates.expand import Plan
from sorairo.templates.frame import Place
from sorairo.templates.outputs import outputs
from sorairo.templates.template import read
from templates.language import GROUP, PLACE, SCHEMA, SUB, SUBSCRIPTION, frame, plan, template

NET = f"{GROUP}/providers/Microsoft.Network"
V = "2024-05-01"


def vnet(name: str = "v", **more: Any) -> dict[str, Any]:
    return {"type": "Microsoft.Network/virtualNetworks", "apiVersion": V, "name": name, **more}


def subnet(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "Microsoft.Network/virtualNetworks/subnets", "apiVersion": V, "name": name, **more}


def short(made: Plan) -> dict[str, list[str]]:
    """Name → names of what goes before."""
    names = {u.key: u.name for u in made.units}
    return {u.name: [names[k] for k in u.needs] for u in made.deployed}


def test_ids_at_every_scope() -> None:
    made = plan(
        resources=[
            vnet(),
            subnet("v/s"),
            {"type": "Microsoft.Network/virtualNetworks/providers/locks", "apiVersion": V,
             "name": "v/Microsoft.Authorization/l"},
            {"type": "Microsoft.Authorization/locks", "apiVersion": V, "name": "m",
             "scope": "Microsoft.Network/virtualNetworks/v"},
            {"type": "Microsoft.Authorization/locks", "apiVersion": V, "name": "n", "scope": "[subscription().id]"},
            {"type": "Microsoft.Resources/deployments", "apiVersion": V, "name": "d", "resourceGroup": "other",
             "properties": {"template": {}}},
            {"type": "Microsoft.Resources/deployments", "apiVersion": V, "name": "e",
             "subscriptionId": "[subscription().subscriptionId]", "location": "westeurope", "properties": {}},
        ]
    )  # fmt: skip
    assert [u.id for u in made.units] == [
        f"{NET}/virtualNetworks/v",
        f"{NET}/virtualNetworks/v/subnets/s",
        f"{NET}/virtualNetworks/v/providers/Microsoft.Authorization/locks/l",
        f"{NET}/virtualNetworks/v/providers/Microsoft.Authorization/locks/m",
        f"{SUB}/providers/Microsoft.Authorization/locks/n",
        f"{SUB}/resourceGroups/other/providers/Microsoft.Resources/deployments/d",
        f"{SUB}/providers/Microsoft.Resources/deployments/e",
    ]
    sub = Place(SUBSCRIPTION)
    groups = plan(
        place=sub,
        resources=[{"type": "Microsoft.Resources/resourceGroups", "apiVersion": V, "name": "g", "location": "x"}],
    )
    assert groups.units[0].id == f"{SUB}/resourceGroups/g"


def test_loops_conditions_and_dependencies_by_every_name() -> None:
    made = plan(
        resources=[
            vnet("[format('v{0}', copyIndex(1))]", copy={"name": "nets", "count": 3}),
            vnet("off", condition="[equals(1, 2)]", dependsOn=["nets"]),
            subnet("v1/a", dependsOn=["[resourceId('Microsoft.Network/virtualNetworks', 'v1')]"]),
            subnet("v1/b", dependsOn=["Microsoft.Network/virtualNetworks/v1", "v2"]),
            subnet("v1/c", dependsOn=["nets"]),
            subnet("v1/d", dependsOn=["off"]),
        ]
    )
    assert short(made) == {
        "v1": [], "v2": [], "v3": [],
        "v1/a": ["v1"],
        "v1/b": ["v1", "v2"],
        "v1/c": ["v1", "v2", "v3"],
        # What is not deployed is not waited for: what that would have waited for is.
        "v1/d": ["v1", "v2", "v3"],
    }  # fmt: skip


def test_a_serial_loop_goes_in_batches() -> None:
    made = plan(resources=[vnet("[format('v{0}', copyIndex())]", copy={"name": "n", "count": 5, "mode": "Serial",
                                                                      "batchSize": 2})])  # fmt: skip
    assert short(made) == {"v0": [], "v1": [], "v2": ["v0", "v1"], "v3": ["v0", "v1"], "v4": ["v2", "v3"]}


def test_children_inside_their_parent_take_its_loop_and_condition() -> None:
    parent = vnet("[format('v{0}', copyIndex())]", copy={"name": "n", "count": 2})
    made = plan(resources=[{**parent, "resources": [{"type": "subnets", "apiVersion": V, "name": "s",
                                                     "dependsOn": ["[format('v{0}', copyIndex())]"],
                                                     "properties": {"n": "[copyIndex()]"}}]}])  # fmt: skip
    assert short(made) == {"v0": [], "v1": [], "v0/s": ["v0"], "v1/s": ["v1"]}
    assert content(made.units[3]) == {"properties": {"n": 1}}


def test_references_imply_dependencies() -> None:
    made = plan(
        resources=[
            vnet("a"),
            vnet("b", properties={"x": "[reference('a').id]"}),
            vnet("c", properties={"x": "[reference(resourceId('Microsoft.Network/virtualNetworks', 'b')).id]"}),
            # With an API version it is any resource, and implies nothing.
            vnet("d", properties={"x": f"[reference(resourceId('Microsoft.Network/virtualNetworks', 'c'), '{V}').id]"}),
            vnet("e", properties={"copy": [{"name": "y", "count": 2,
                                            "input": "[listKeys(if(equals(copyIndex('y'), 0), 'a', 'b'), '2')]"}]}),
        ]
    )  # fmt: skip
    assert short(made) == {"a": [], "b": ["a"], "c": ["b"], "d": [], "e": ["a", "b"]}


def test_symbolic_names_loops_and_existing_resources() -> None:
    made = plan(
        languageVersion="2.0",
        resources={
            "old": vnet("old", existing=True),
            "nets": vnet("[format('v{0}', copyIndex())]", copy={"name": "nets", "count": 2}, dependsOn=["old"]),
            "one": subnet("v0/one", properties={"id": "[reference(format('nets[{0}]', 1)).id]"}),
            "all": subnet("v0/all", dependsOn=["nets", "nets[1]"]),
            "info": subnet("v0/info", properties={"id": "[resourceInfo('nets[0]').id]"}),
            "every": subnet(
                "v0/every", properties={"ids": "[map(references('nets'), lambda('n', lambdaVariables('n').id))]"}
            ),
        },
    )
    assert short(made) == {
        "v0": [], "v1": [], "v0/one": ["v1"], "v0/all": ["v0", "v1"], "v0/info": ["v0"], "v0/every": ["v0", "v1"],
    }  # fmt: skip
    one = next(u for u in made.units if u.name == "v0/one")
    with pytest.raises(Needed) as asked:
        content(one)
    assert asked.value.id == f"{NET}/virtualNetworks/v1"
    one.frame.answers.put(asked.value, {"properties": {"id": "x"}})
    assert content(one) == {"properties": {"id": "x"}}
    info = next(u for u in made.units if u.name == "v0/info")
    assert content(info)["properties"]["id"] == f"{NET}/virtualNetworks/v0"


@pytest.mark.parametrize(
    ("resources", "part"),
    [
        ([vnet("a", dependsOn=["b"]), vnet("b", dependsOn=["a"])], "Circular dependency detected on resource"),
        ([vnet("a", properties={"x": "[reference('b').y]"}), vnet("b", dependsOn=["a"])], "Circular dependency"),
        ([vnet("a", dependsOn=["a"])], "Circular dependency detected on resource"),
        (
            [vnet("[format('v{0}', copyIndex())]", copy={"name": "n", "count": 2}, dependsOn=["n"])],
            "Circular dependency",
        ),
        ([vnet("a", dependsOn=["nobody"])], "The resource 'nobody' is not defined in the template"),
        ([vnet("a"), vnet("A")], "is defined multiple times in a template"),
        ([subnet("a")], "has incorrect segment lengths"),
        ([vnet("[reference('x').name]")], "neither"),
        ([vnet("[listKeys('/a/b', '2020')]")], "The template function 'listKeys' is not expected at this location"),
        ([{"type": "Microsoft.Network/virtualNetworks", "name": "a"}], "has no 'apiVersion'"),
        ([vnet("")], "must be a string, and not empty"),
        ([vnet("a", copy={"name": "n", "count": 801})], "invalid 'count'"),
        ([vnet("a", copy={"name": "n", "count": -1})], "invalid 'count'"),
        ([vnet("[parameters('nope')]")], "Unable to process template language expressions"),
        ([vnet("a", condition=3)], "must be a Boolean"),
    ],
)
def test_what_is_no_deployment_is_refused(resources: list[Any], part: str) -> None:
    with pytest.raises(ArmError) as refused:
        plan(resources=resources)
    assert (refused.value.code, refused.value.status) == ("InvalidTemplate", 400)
    assert part in refused.value.message


@pytest.mark.parametrize(
    ("document", "code", "part"),
    [
        ([], "InvalidRequestContent", "must be an object"),
        ({"contentVersion": "1", "resources": []}, "InvalidRequestContent", "'$schema' not found"),
        ({"$schema": SCHEMA, "contentVersion": "1"}, "InvalidRequestContent", "'resources' not found"),
        ({"$schema": SCHEMA, "contentVersion": "1", "resources": [], "x": 1}, "InvalidRequestContent", "member 'x'"),
        ({"$schema": SCHEMA, "contentVersion": "1", "resources": [{"name": "a"}]}, "InvalidRequestContent", "'type'"),
        ({"$schema": SCHEMA, "contentVersion": "1", "resources": {"a": vnet()}}, "InvalidTemplate", "languageVersion"),
        (
            {"$schema": SCHEMA, "contentVersion": "1", "resources": [], "imports": {"k8s": {}}},
            "NotImplemented",
            "Bicep",
        ),
    ],
)
def test_what_is_no_template_is_refused(document: Any, code: str, part: str) -> None:
    with pytest.raises(ArmError) as refused:
        read(document)
    assert refused.value.code == code
    assert part in refused.value.message


def test_what_is_sent_for_a_resource() -> None:
    made = plan(
        resources=[
            vnet(location="[resourceGroup().location]", tags={"a": "b"}, comments="c", metadata={"m": 1},
                 dependsOn=[], condition=True, sku=None, properties={"[concat('k', 1)]": "[[literal]"}),
        ]
    )  # fmt: skip
    assert content(made.units[0]) == {
        "location": "westeurope",
        "tags": {"a": "b"},
        "properties": {"k1": "[literal]"},
    }


INNER = {
    "$schema": SCHEMA,
    "contentVersion": "1.0.0.0",
    "parameters": {"p": {"type": "string"}},
    "resources": [vnet("[parameters('p')]")],
}


def nested(**properties: Any) -> dict[str, Any]:
    return {"type": "Microsoft.Resources/deployments", "apiVersion": V, "name": "n",
            "properties": {"mode": "Incremental", **properties}}  # fmt: skip


def test_a_nested_template_of_inner_scope_is_sent_as_it_stands() -> None:
    made = plan(
        resources=[nested(expressionEvaluationOptions={"scope": "Inner"}, template=INNER,
                          parameters={"p": {"value": "[concat('a', 'b')]"}})]
    )  # fmt: skip
    sent = content(made.units[0])["properties"]
    assert sent["template"] == INNER
    assert sent["parameters"] == {"p": {"value": "ab"}}


def test_a_nested_template_of_outer_scope_gets_its_parents_values_but_never_its_secrets() -> None:
    resources = [
        vnet("[variables('name')]", tags={"secret": "[variables('hidden')]", "group": "[resourceGroup().name]",
                                          "turn": "[copyIndex()]"}, copy={"name": "x", "count": 1}),
    ]  # fmt: skip
    sections: dict[str, Any] = {
        "parameters": {"password": {"type": "secureString"}, "plain": {"type": "string"}},
        "variables": {"name": "[parameters('plain')]", "hidden": "[concat(parameters('password'), '!')]"},
    }
    inside = {"$schema": SCHEMA, "contentVersion": "1.0.0.0", "resources": resources}
    made = plan({"password": "hunter2", "plain": "v"}, **sections, resources=[nested(template=inside)])
    sent = content(made.units[0])["properties"]
    (one,) = sent["template"]["resources"]
    assert one["name"] == "v"
    assert one["tags"] == {"secret": "[variables('hidden')]", "group": "rg", "turn": "[copyIndex()]"}
    assert sent["template"]["parameters"] == sections["parameters"]
    assert sent["parameters"]["password"] == {"value": "hunter2"}
    assert "hunter2" not in str(sent["template"])


def test_linked_templates_are_refused_by_name() -> None:
    made = plan(resources=[nested(templateLink={"uri": "https://example.com/t.json"})])
    with pytest.raises(ArmError) as refused:
        content(made.units[0])
    assert refused.value.code == "NotImplemented"
    assert "templateLink" in refused.value.message


def test_outputs_with_loops_conditions_and_secrets() -> None:
    declared = {
        "a": {"type": "string", "value": "[concat('x', 'y')]"},
        "many": {"type": "array", "copy": {"count": 2, "input": "[copyIndex(5)]"}},
        "off": {"type": "int", "condition": "[false()]", "value": "[fail('never')]"},
        "hidden": {"type": "secureString", "value": "hunter2"},
    }
    made = template(outputs=declared)
    assert outputs(made, frame(outputs=declared)) == {
        "a": {"type": "String", "value": "xy"},
        "many": {"type": "Array", "value": [5, 6]},
        "hidden": {"type": "SecureString"},
    }


def test_outputs_that_have_no_value_are_told_by_name() -> None:
    declared = {"a": {"type": "int", "value": "x"}, "b": {"type": "string", "value": "[createArray()[0]]"}}
    made = template(outputs=declared)
    with pytest.raises(ArmError) as refused:
        outputs(made, frame(outputs=declared))
    assert refused.value.code == "DeploymentOutputEvaluationFailed"
    assert [d["target"] for d in refused.value.details or []] == ["a", "b"]


def test_the_same_template_has_the_same_hash_whatever_its_case() -> None:
    a, b = template(resources=[vnet("a")]), template(resources=[vnet("A")])
    assert a.hash == b.hash
    assert a.hash.isdigit()
    assert a.hash != template(resources=[vnet("b")]).hash


def test_a_long_chain_is_no_harder_than_a_short_one() -> None:
    made = plan(resources=[vnet("[format('v{0}', copyIndex())]", copy={"name": "n", "count": 800, "mode": "serial"})])
    assert len(made.deployed) == 800
    assert made.units[-1].needs == (f"{NET}/virtualNetworks/v798".lower(),)


def test_where_things_are_when_a_template_has_a_scope_of_its_own() -> None:
    assert PLACE.scope == GROUP
    schema = "https://schema.management.azure.com/schemas/2018-05-01/subscriptionDeploymentTemplate.json#"
    assert read({"$schema": schema, "contentVersion": "1", "resources": []}).scope == "subscription"


@pytest.mark.parametrize("needs", [3, 1e300, "v", {"a": "b"}])
def test_what_is_no_list_of_what_goes_before(needs: Any) -> None:
    with pytest.raises(ArmError) as refused:
        plan(resources=[vnet(dependsOn=needs)])
    assert refused.value.code == "InvalidTemplate"
