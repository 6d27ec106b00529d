"""What a deployment is given, held to what its template says."""

from __future__ import annotations

from typing import Any

import pytest

from sorairo.engine.errors import ArmError
from sorairo.templates import parameters
from sorairo.templates.bind import frame_for
from templates.language import PLACE, template


def bind(declared: dict[str, Any], given: dict[str, Any], **sections: Any) -> dict[str, Any]:
    made = template(parameters=declared, **sections)
    values = {k: v if isinstance(v, dict) and "reference" in v else {"value": v} for k, v in given.items()}
    return parameters.bind(made, values, frame_for(made, PLACE, {}))


def test_values_defaults_and_defaults_of_defaults() -> None:
    declared = {
        "Name": {"type": "string"},
        "size": {"type": "int", "defaultValue": "[add(length(parameters('LONG')), 1)]"},
        "long": {"type": "String", "defaultValue": "[concat(parameters('name'), '!', resourceGroup().name)]"},
        "maybe": {"type": "object", "nullable": True},
        "stamp": {"type": "string", "defaultValue": "[utcNow('yyyy')]"},
    }
    values = bind(declared, {"NAME": "web"})
    assert values["name"] == "web"
    assert values["long"] == "web!rg"
    assert values["size"] == 7
    assert values["maybe"] is None
    assert values["stamp"].startswith("20")


def test_a_null_is_as_good_as_nothing() -> None:
    assert bind({"a": {"type": "string", "defaultValue": "d"}}, {"a": None}) == {"a": "d"}


@pytest.mark.parametrize(
    ("declared", "given", "part"),
    [
        ({"a": {"type": "string"}}, {}, "The value for the template parameter 'a' is not provided"),
        ({}, {"b": 1}, "The template parameters 'b' in the parameters file are not valid"),
        (
            {"a": {"type": "int"}},
            {"a": "1"},
            "type 'Integer', but received a value of type 'String'",
        ),
        ({"a": {"type": "bool"}}, {"a": 1}, "Expected a value of type 'Boolean'"),
        ({"a": {"type": "nonsense"}}, {"a": 1}, "The type 'nonsense' is not one of"),
        ({"a": {"type": "string", "allowedValues": ["x", "y"]}}, {"a": "z"}, "not part of the allowed value(s): 'x,y'"),
        ({"a": {"type": "array", "allowedValues": ["x", "y"]}}, {"a": ["x", "z"]}, "not part of the allowed value(s)"),
        ({"a": {"type": "string", "minLength": 3}}, {"a": "ab"}, "greater than or equal to '3'. Actual length: '2'"),
        ({"a": {"type": "int", "maxValue": 3}}, {"a": 4}, "less than or equal to '3'. Actual value: '4'"),
        (
            {"a": {"type": "string", "defaultValue": "[reference('x')]"}},
            {},
            "The default value of the template parameter",
        ),
        (
            {"a": {"type": "string", "defaultValue": "[parameters('a')]"}},
            {},
            "Circular reference among the template parameters",
        ),
        ({"a": {"$ref": "#/definitions/none"}}, {"a": 1}, "is not among the template's definitions"),
    ],
)
def test_what_is_wrong_is_told(declared: dict[str, Any], given: dict[str, Any], part: str) -> None:
    with pytest.raises(ArmError) as refused:
        bind(declared, given)
    assert (refused.value.code, refused.value.status) == ("InvalidTemplate", 400)
    assert part in refused.value.message


def test_a_secret_is_never_in_a_message_or_shown() -> None:
    declared = {"p": {"type": "secureString", "allowedValues": ["x"]}}
    with pytest.raises(ArmError) as refused:
        bind(declared, {"p": "hunter2"})
    assert "hunter2" not in refused.value.message
    made = template(parameters={"p": {"type": "secureString"}, "o": {"type": "secureObject"}, "n": {"type": "int"}})
    shown = parameters.shown(made, {"p": "hunter2", "o": {"k": "v"}, "n": 1})
    assert shown == {"p": {"type": "SecureString"}, "o": {"type": "SecureObject"}, "n": {"type": "Int", "value": 1}}
    assert parameters.secure(made) == {"p", "o"}


def test_types_of_ones_own() -> None:
    definitions = {
        "port": {"type": "int", "minValue": 1, "maxValue": 65535},
        "rule": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "port": {"$ref": "#/definitions/port"}},
            "additionalProperties": False,
        },
    }
    declared = {"rules": {"type": "array", "items": {"$ref": "#/definitions/rule"}}}
    good = [{"name": "a", "port": 80}]
    assert bind(declared, {"rules": good}, definitions=definitions) == {"rules": good}
    for wrong, part in (
        ([{"name": "a", "port": 0}], "'rules[0].port'"),
        ([{"name": "a"}], "The property 'port' is missing"),
        ([{"name": "a", "port": 1, "x": 1}], "not permitted: 'x'"),
    ):
        with pytest.raises(ArmError, match="InvalidTemplate") as refused:
            bind(declared, {"rules": wrong}, definitions=definitions)
        assert part in refused.value.message


def test_a_key_vault_is_refused_by_name() -> None:
    with pytest.raises(ArmError) as refused:
        bind({"p": {"type": "secureString"}}, {"p": {"reference": {"keyVault": {"id": "x"}, "secretName": "s"}}})
    assert refused.value.code == "NotImplemented"
    assert "key vault" in refused.value.message


def test_a_whole_parameter_file_is_understood() -> None:
    made = template(parameters={"a": {"type": "int"}})
    file = {"$schema": "…/deploymentParameters.json#", "contentVersion": "1.0.0.0", "parameters": {"a": {"value": 3}}}
    assert parameters.bind(made, file, frame_for(made, PLACE, {})) == {"a": 3}
