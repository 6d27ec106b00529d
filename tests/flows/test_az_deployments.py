"""`az deployment`: templates as people write them, as Bicep compiles them, and as az itself sends them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from azure_cli import Az

pytestmark = pytest.mark.az

GROUP, OTHER = "templates", "templates-made"
SCHEMA = "https://schema.management.azure.com/schemas/{}#"
V = "2023-09-01"

HAND_WRITTEN = """
{
  // a network of as many subnets as are asked for
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
  "contentVersion": "1.0.0.0",
  "parameters": {
    "name": {"type": "string", "defaultValue": "[concat('net', uniqueString(resourceGroup().id))]"},
    "count": {"type": "int", "minValue": 1},
    "secret": {"type": "secureString"}
  },
  "variables": {"nsg": "rules", "place": "[resourceGroup().location]"},
  "resources": [
    {
      "type": "Microsoft.Network/networkSecurityGroups", "apiVersion": "2023-09-01",
      "name": "[variables('nsg')]", "location": "[variables('place')]",
      "tags": {"length": "[string(length(parameters('secret')))]"} /* of the secret,
        not the secret */
    },
    {
      "type": "Microsoft.Network/virtualNetworks", "apiVersion": "2023-09-01",
      "name": "[parameters('name')]", "location": "[variables('place')]",
      "dependsOn": ["[resourceId('Microsoft.Network/networkSecurityGroups', variables('nsg'))]"],
      "properties": {
        "addressSpace": {"addressPrefixes": ["10.1.0.0/16"]},
        "copy": [{"name": "subnets", "count": "[parameters('count')]", "input": {
          "name": "[format('s{0}', copyIndex('subnets'))]",
          "properties": {
            "addressPrefix": "[cidrSubnet('10.1.0.0/16', 24, copyIndex('subnets'))]",
            "networkSecurityGroup": {"id": "[resourceId('Microsoft.Network/networkSecurityGroups', variables('nsg'))]"}
          }
        }}]
      }
    }
  ],
  "outputs": {
    "first": {"type": "string", "value": "[reference(parameters('name')).subnets[0].properties.addressPrefix]"},
    "hidden": {"type": "secureString", "value": "[parameters('secret')]"}
  }
}
"""


@pytest.fixture(scope="module")
def group(az: Az) -> str:
    az("group", "create", "--name", GROUP, "--location", "westeurope")
    return GROUP


def test_a_template_by_hand_from_what_if_to_delete(az: Az, group: str) -> None:
    template = az.file("net.jsonc", HAND_WRITTEN)
    given = az.file(
        "net.parameters.json",
        {
            "$schema": SCHEMA.format("2015-01-01/deploymentParameters.json"),
            "contentVersion": "1.0.0.0",
            "parameters": {"count": {"value": 2}, "secret": {"value": "hunter2"}},
        },
    )
    how = ("--resource-group", group, "--template-file", template, "--parameters", f"@{given}")
    foretold = az("deployment", "group", "what-if", *how, "--no-pretty-print")
    assert sorted(c["changeType"] for c in foretold["changes"]) == ["Create", "Create"]
    assert (
        az("deployment", "group", "validate", *how, "--name", "net")["properties"]["provisioningState"] == "Succeeded"
    )
    made = az("deployment", "group", "create", *how, "--name", "net")["properties"]
    assert made["provisioningState"] == "Succeeded"
    assert made["outputs"] == {"first": {"type": "String", "value": "10.1.0.0/24"}, "hidden": {"type": "SecureString"}}
    assert made["parameters"]["secret"] == {"type": "SecureString"}
    assert "hunter2" not in json.dumps(made)
    name = made["parameters"]["name"]["value"]
    subnets = az("network", "vnet", "subnet", "list", "--vnet-name", name, group=group)
    assert [s["addressPrefix"] for s in subnets] == ["10.1.0.0/24", "10.1.1.0/24"]
    assert az("network", "nsg", "show", "--name", "rules", group=group)["tags"] == {"length": "7"}

    # Again with one more: what-if says exactly that, in az's own words.
    more = (*how, "--parameters", "count=3")
    told = az.text("deployment", "group", "what-if", *more)
    assert "Resource changes: 1 to modify, 1 no change." in told
    assert '"10.1.2.0/24"' in told
    az("deployment", "group", "create", *more, "--name", "net")
    assert len(az("network", "vnet", "subnet", "list", "--vnet-name", name, group=group)) == 3

    operations = az("deployment", "operation", "group", "list", "--name", "net", group=group)
    targets = {
        o["properties"]["targetResource"]["resourceType"]: o["properties"]["provisioningState"] for o in operations
    }
    assert targets == {
        "Microsoft.Network/networkSecurityGroups": "Succeeded",
        "Microsoft.Network/virtualNetworks": "Succeeded",
    }
    exported = az("deployment", "group", "export", "--name", "net", group=group)
    assert exported["variables"]["nsg"] == "rules"
    assert az("deployment", "group", "list", group=group)[0]["name"] == "net"
    az("deployment", "group", "delete", "--name", "net", group=group)
    assert az("deployment", "group", "list", group=group) == []
    # The history goes; what was made stays.
    assert az("network", "vnet", "show", "--name", name, group=group)["name"] == name


def test_what_is_wrong_is_told_in_azures_words(az: Az, group: str) -> None:
    template = az.file("net.jsonc", HAND_WRITTEN)
    how = ("--resource-group", group, "--template-file", template)
    said = az.fails("deployment", "group", "create", *how, "--parameters", "count=0", "secret=x")
    assert "InvalidTemplate" in said
    assert "should be greater than or equal to '1'" in said
    unknown = az.file("unknown.json", template_of([{"type": "Microsoft.Nothing/things", "apiVersion": V, "name": "x"}]))
    said = az.fails("deployment", "group", "create", "--template-file", unknown, group=group)
    assert "InvalidResourceNamespace" in said
    bad = az.file(
        "bad.json",
        template_of(
            [
                {"type": "Microsoft.Network/virtualNetworks/subnets", "apiVersion": V, "name": "none/s",
                 "properties": {"addressPrefix": "10.0.0.0/24"}}
            ]
        ),
    )  # fmt: skip
    said = az.fails("deployment", "group", "create", "--name", "bad", "--template-file", bad, group=group)
    assert "DeploymentFailed" in said
    assert "ParentResourceNotFound" in said
    shown = az("deployment", "group", "show", "--name", "bad", group=group)["properties"]
    assert (shown["provisioningState"], shown["error"]["code"]) == ("Failed", "DeploymentFailed")
    assert "DeploymentNotFound" in az.fails("deployment", "group", "show", "--name", "none", group=group)


def template_of(resources: Any, schema: str = "2019-04-01/deploymentTemplate.json", **more: Any) -> dict[str, Any]:
    return {"$schema": SCHEMA.format(schema), "contentVersion": "1.0.0.0", "resources": resources, **more}


def test_a_template_as_bicep_compiles_it(az: Az, group: str) -> None:
    """Symbolic names, a loop of modules, an existing resource, user-defined types and functions."""
    module = template_of(
        {
            "nsg": {
                "type": "Microsoft.Network/networkSecurityGroups",
                "apiVersion": V,
                "name": "[parameters('name')]",
                "location": "[parameters('location')]",
                "tags": "[parameters('tags')]",
            }
        },
        languageVersion="2.0",
        metadata={"_generator": {"name": "bicep", "version": "0.30.23.60470", "templateHash": "1"}},
        definitions={"tagsType": {"type": "object", "additionalProperties": {"type": "string"}}},
        parameters={
            "name": {"type": "string"},
            "location": {"type": "string", "defaultValue": "[resourceGroup().location]"},
            "tags": {"$ref": "#/definitions/tagsType", "nullable": True},
        },
        outputs={"id": {"type": "string", "value": "[resourceId('Microsoft.Network/networkSecurityGroups', "
                                                   "parameters('name'))]"}},
    )  # fmt: skip
    main = template_of(
        {
            "known": {
                "existing": True,
                "type": "Microsoft.Network/networkSecurityGroups",
                "apiVersion": V,
                "name": "rules",
            },
            "each": {
                "copy": {"name": "each", "count": "[length(parameters('teams'))]"},
                "type": "Microsoft.Resources/deployments",
                "apiVersion": "2022-09-01",
                "name": "[format('team-{0}', parameters('teams')[copyIndex()])]",
                "properties": {
                    "expressionEvaluationOptions": {"scope": "inner"},
                    "mode": "Incremental",
                    "parameters": {
                        "name": {"value": "[__bicep.called('nsg', parameters('teams')[copyIndex()])]"},
                        "tags": {"value": "[union(variables('tags'), createObject('n', string(copyIndex())))]"},
                    },
                    "template": module,
                },
            },
        },
        languageVersion="2.0",
        functions=[
            {
                "namespace": "__bicep",
                "members": {
                    "called": {
                        "parameters": [{"type": "string", "name": "kind"}, {"type": "string", "name": "of"}],
                        "output": {
                            "type": "string",
                            "value": "[format('{0}-{1}', parameters('kind'), parameters('of'))]",
                        },
                    }
                },
            }
        ],
        parameters={"teams": {"type": "array", "items": {"type": "string"}, "minLength": 1}},
        variables={"tags": {"made": "by bicep"}},
        outputs={
            "ids": {
                "type": "array",
                "copy": {
                    "count": "[length(parameters('teams'))]",
                    "input": "[reference(format('each[{0}]', copyIndex())).outputs.id.value]",
                },
            },
            "rules": {"type": "int", "value": "[length(reference('known').securityRules)]"},
        },
    )
    az("network", "nsg", "create", "--name", "rules", group=group)
    file = az.file("bicep.json", main)
    teams = "teams=" + json.dumps(["red", "blue"])
    made = az(
        "deployment", "group", "create", "--name", "b", "--template-file", file, "--parameters", teams, group=group
    )
    outputs = made["properties"]["outputs"]
    assert [i.rpartition("/")[2] for i in outputs["ids"]["value"]] == ["nsg-red", "nsg-blue"]
    assert outputs["rules"]["value"] == 0
    tags = az("network", "nsg", "show", "--name", "nsg-blue", group=group)["tags"]
    assert tags == {"made": "by bicep", "n": "1"}
    names = {d["name"] for d in az("deployment", "group", "list", group=group)}
    assert {"b", "team-red", "team-blue"} <= names


def test_a_subscription_deployment_makes_a_group_and_fills_it(az: Az) -> None:
    inner = template_of(
        [
            {
                "type": "Microsoft.Network/networkSecurityGroups",
                "apiVersion": V,
                "name": "[parameters('n')]",
                "location": "[resourceGroup().location]",
            },
            {
                "type": "Microsoft.Authorization/locks",
                "apiVersion": "2020-05-01",
                "name": "keep",
                "scope": "[format('Microsoft.Network/networkSecurityGroups/{0}', parameters('n'))]",
                "properties": {"level": "CanNotDelete"},
                "dependsOn": ["[parameters('n')]"],
            },
        ],
        parameters={"n": {"type": "string"}},
    )
    outer = template_of(
        [
            {
                "type": "Microsoft.Resources/resourceGroups",
                "apiVersion": "2024-03-01",
                "name": "[parameters('rg')]",
                "location": "[deployment().location]",
                "tags": {"by": "[deployment().name]"},
            },
            {
                "type": "Microsoft.Resources/deployments",
                "apiVersion": "2022-09-01",
                "name": "inside",
                "resourceGroup": "[parameters('rg')]",
                "dependsOn": ["[subscriptionResourceId('Microsoft.Resources/resourceGroups', parameters('rg'))]"],
                "properties": {
                    "expressionEvaluationOptions": {"scope": "inner"},
                    "mode": "Incremental",
                    "parameters": {"n": {"value": "locked"}},
                    "template": inner,
                },
            },
        ],
        schema="2018-05-01/subscriptionDeploymentTemplate.json",
        parameters={"rg": {"type": "string"}},
    )
    how = ("--location", "westeurope", "--template-file", az.file("sub.json", outer), "--parameters", f"rg={OTHER}")
    changes = az("deployment", "sub", "what-if", *how, "--no-pretty-print")["changes"]
    assert sorted(c["resourceId"].rpartition("/")[2] for c in changes) == ["keep", "locked", OTHER]
    made = az("deployment", "sub", "create", "--name", "landing", *how)
    assert made["properties"]["provisioningState"] == "Succeeded"
    assert az("group", "show", "--name", OTHER)["tags"] == {"by": "landing"}
    assert [d["name"] for d in az("deployment", "sub", "list")] == ["landing"]
    assert len(az("deployment", "operation", "sub", "list", "--name", "landing")) == 2
    assert "ScopeLocked" in az.fails("group", "delete", "--name", OTHER, "--yes")
    az("lock", "delete", "--name", "keep", "--resource", "locked", "--resource-type",
       "Microsoft.Network/networkSecurityGroups", group=OTHER)  # fmt: skip
    az("deployment", "sub", "delete", "--name", "landing")
    az("group", "delete", "--name", OTHER, "--yes")


def test_a_template_as_az_vm_create_sends_it(az: Az, group: str) -> None:
    """Names and types for ids in `dependsOn`, in any case; the machine itself is another provider's business."""
    net = "Microsoft.Network"
    where = {"apiVersion": "2015-06-15", "location": "westeurope", "tags": {}}
    resources = [
        {**where, "type": f"{net}/virtualNetworks", "name": "vm1VNET", "dependsOn": [],
         "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
                        "subnets": [{"name": "vm1Subnet", "properties": {"addressPrefix": "10.0.0.0/24"}}]}},
        {**where, "type": f"{net}/networkSecurityGroups", "name": "vm1NSG", "dependsOn": []},
        {**where, "apiVersion": "2022-11-01", "type": f"{net}/publicIPAddresses", "name": "vm1PublicIP",
         "dependsOn": [], "properties": {"publicIPAllocationMethod": "Static"}, "sku": {"name": "Standard"}},
        {**where, "type": f"{net}/networkInterfaces", "name": "vm1VMNic",
         "dependsOn": [f"{net}/virtualNetworks/vm1VNET", f"{net}/networkSecurityGroups/vm1NSG",
                       f"{net}/publicIpAddresses/vm1PublicIP"],
         "properties": {
             "ipConfigurations": [{"name": "ipconfigvm1", "properties": {
                 "privateIPAllocationMethod": "Dynamic",
                 "subnet": {"id": f"[resourceId('{net}/virtualNetworks/subnets', 'vm1VNET', 'vm1Subnet')]"},
                 "publicIPAddress": {"id": f"[resourceId('{net}/publicIPAddresses', 'vm1PublicIP')]"}}}],
             "networkSecurityGroup": {"id": f"[resourceId('{net}/networkSecurityGroups', 'vm1NSG')]"}}},
    ]  # fmt: skip
    file = az.file("vm.json", template_of(resources, parameters={}, variables={}, outputs={}))
    made = az("deployment", "group", "validate", "--template-file", file, group=group)
    needs = {
        d["resourceName"]: sorted(n["resourceName"] for n in d["dependsOn"]) for d in made["properties"]["dependencies"]
    }
    assert needs == {"vm1VMNic": ["vm1NSG", "vm1PublicIP", "vm1VNET"]}
