"""Make `src/sorairo/providers/schemas/*.json` from the azure-mgmt SDKs' models: what a request body may hold.

    python tools/schemas.py            write them all
    python tools/schemas.py --check    say which are not what the installed SDKs would give; exit 1 if any

The SDKs' models are generated from Azure's own API definitions: they know names, types, enumerations and which
properties are read-only, but no ranges and no patterns. Those are in `LIMITS` below, each from the type's page in the
REST reference (https://learn.microsoft.com/rest/api/). The SDKs are a tool's dependency, not the product's.

The schemas are draft 2020-12, and say three things in a way of their own, for `sorairo.providers.schemas`:
a read-only property is `{"readOnly": true}` and nothing more; nothing is required (PATCH, defaults); and a resource
inside another (a subnet's security group) is a reference: its `id` counts, the rest of it is read-only.
"""

from __future__ import annotations

import argparse
import datetime
import enum
import importlib
import json
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Schema = dict[str, Any]
FOLDER = Path(__file__).parent.parent / "src/sorairo/providers/schemas"

ROOTS = {
    "managedClusters": ("containerservice", "ManagedCluster"),
    "agentPools": ("containerservice", "AgentPool"),
    "virtualNetworks": ("network", "VirtualNetwork"),
    "subnets": ("network", "Subnet"),
    "publicIPAddresses": ("network", "PublicIPAddress"),
    "networkSecurityGroups": ("network", "NetworkSecurityGroup"),
    "securityRules": ("network", "SecurityRule"),
    "applicationSecurityGroups": ("network", "ApplicationSecurityGroup"),
    "networkInterfaces": ("network", "NetworkInterface"),
    "loadBalancers": ("network", "LoadBalancer"),
    "backendAddressPools": ("network", "BackendAddressPool"),
    "inboundNatRules": ("network", "InboundNatRule"),
    "routeTables": ("network", "RouteTable"),
    "routes": ("network", "Route"),
    "virtualNetworkPeerings": ("network", "VirtualNetworkPeering"),
    "natGateways": ("network", "NatGateway"),
    "publicIPPrefixes": ("network", "PublicIPPrefix"),
    "privateEndpoints": ("network", "PrivateEndpoint"),
    "privateDnsZoneGroups": ("network", "PrivateDnsZoneGroup"),
    "privateEndpointConnections": ("containerservice", "PrivateEndpointConnection"),
    "virtualMachines": ("compute", "VirtualMachine"),
    "virtualMachineScaleSets": ("compute", "VirtualMachineScaleSet"),
    "resourceGroups": ("resource.resources", "ResourceGroup"),
}
"""Schema → (SDK module below azure.mgmt, model)."""

_POOL = "ManagedClusterAgentPoolProfileProperties"
LIMITS: dict[str, Schema] = {
    f"{_POOL}.count": {"minimum": 0, "maximum": 1000},
    f"{_POOL}.osDiskSizeGB": {"minimum": 0, "maximum": 2048},
    "ManagedClusterLoadBalancerProfile.allocatedOutboundPorts": {"minimum": 0, "maximum": 64000},
    "ManagedClusterLoadBalancerProfile.idleTimeoutInMinutes": {"minimum": 4, "maximum": 120},
    "ManagedClusterLoadBalancerProfileManagedOutboundIPs.count": {"minimum": 1, "maximum": 100},
    "ManagedClusterLoadBalancerProfileManagedOutboundIPs.countIPv6": {"minimum": 0, "maximum": 100},
    "ManagedClusterManagedOutboundIPProfile.count": {"minimum": 1, "maximum": 16},
    "ManagedClusterNATGatewayProfile.idleTimeoutInMinutes": {"minimum": 4, "maximum": 120},
    "ContainerServiceLinuxProfile.adminUsername": {"pattern": "^[A-Za-z][-A-Za-z0-9_]*$"},
    "InboundNatRulePropertiesFormat.idleTimeoutInMinutes": {"minimum": 4, "maximum": 100},
    "OutboundRulePropertiesFormat.idleTimeoutInMinutes": {"minimum": 4, "maximum": 120},
    "PublicIPAddressPropertiesFormat.idleTimeoutInMinutes": {"minimum": 4, "maximum": 30},
    "NatGatewayPropertiesFormat.idleTimeoutInMinutes": {"minimum": 4, "maximum": 120},
    "SecurityRulePropertiesFormat.description": {"maxLength": 140},
    "LoadBalancingRulePropertiesFormat.frontendPort": {"minimum": 0, "maximum": 65535},
    "LoadBalancingRulePropertiesFormat.backendPort": {"minimum": 0, "maximum": 65535},
    "InboundNatRulePropertiesFormat.frontendPort": {"minimum": 0, "maximum": 65534},
    "InboundNatRulePropertiesFormat.backendPort": {"minimum": 1, "maximum": 65535},
    "InboundNatRulePropertiesFormat.frontendPortRangeStart": {"minimum": 1, "maximum": 65534},
    "InboundNatRulePropertiesFormat.frontendPortRangeEnd": {"minimum": 1, "maximum": 65534},
    "ProbePropertiesFormat.probeThreshold": {"minimum": 1, "maximum": 100},
    "LoadBalancingRulePropertiesFormat.idleTimeoutInMinutes": {"minimum": 4, "maximum": 100},
    "ProbePropertiesFormat.port": {"minimum": 1, "maximum": 65535},
    "ProbePropertiesFormat.intervalInSeconds": {"minimum": 5, "maximum": 2147483646},
}
"""Model.property, as the wire writes it → what its value must also satisfy."""

OPEN = ("HardwareProfile.vmSize",)
"""Of these the SDKs list what there was years ago; the type says what there is."""

_USER_ASSIGNED_IDENTITY: Schema = {
    "$ref": "#/$defs/UserAssignedIdentity",
    "$defs": {
        "UserAssignedIdentity": {
            "type": "object",
            "properties": {
                **{name: {"readOnly": True} for name in ("id", "name", "type", "systemData", "etag")},
                "location": {"type": "string"},
                "tags": {"type": "object", "additionalProperties": {"type": "string"}},
                "properties": {"$ref": "#/$defs/UserAssignedIdentityProperties"},
            },
            "additionalProperties": False,
        },
        "UserAssignedIdentityProperties": {
            "type": "object",
            "properties": {
                **{name: {"readOnly": True} for name in ("tenantId", "principalId", "clientId")},
                "isolationScope": {"type": "string", "enum": ["None", "Regional"]},
                "assignmentRestrictions": {"type": "object"},
            },
            "additionalProperties": False,
        },
    },
}
"""https://learn.microsoft.com/rest/api/managedidentity/user-assigned-identities (a whole SDK for four properties)."""

_REFERENCE: Schema = {
    "type": "object",
    "properties": {"id": {"type": "string"}},
    "additionalProperties": {"readOnly": True},
}
_ENVELOPE = ("id", "name", "type", "etag", "systemData")
"""Of the top of any resource, what the path says or the server does; some models call it writable."""


class Generator:
    """One SDK's models, as definitions."""

    def __init__(self, module: str) -> None:
        self._models = importlib.import_module(f"azure.mgmt.{module}.models")
        self._space = {**vars(importlib.import_module(f"azure.mgmt.{module}.models._models")), "_models": self._models}
        self._defs: dict[str, Schema] = {}

    def schema(self, model: str) -> Schema:
        """The schema of `model` as the whole body of a request."""
        cls = getattr(self._models, model)
        root = self._object(cls)
        root["properties"] |= {name: {"readOnly": True} for name in _ENVELOPE}
        self._defs[cls.__name__] = root
        return {"$ref": f"#/$defs/{cls.__name__}", "$defs": dict(sorted(self._defs.items()))}

    def _object(self, cls: Any) -> Schema:
        cls({})  # Fields are worked out when the first instance is made.
        hints = typing.get_type_hints(cls, self._space)
        properties: Schema = {}
        for attribute, field in cls._attr_to_rest_field.items():
            name = field._rest_name
            if field._visibility == ["read"]:
                properties[name] = {"readOnly": True}
                continue
            named = f"{cls.__name__}.{name}"
            properties[name] = {"type": "string"} if named in OPEN else self._type(hints[attribute])
            for ancestor in cls.__mro__:
                properties[name] |= LIMITS.get(f"{ancestor.__name__}.{name}", {})
        # A base of several kinds, told apart by a property: the others' properties are none of its own.
        closed = not getattr(cls, "__mapping__", None)
        return {"type": "object", "properties": properties, **({"additionalProperties": False} if closed else {})}

    def _type(self, hint: Any) -> Schema:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is typing.Union:
            kinds = [a for a in arguments if a is not type(None)]
            enums = [a for a in kinds if isinstance(a, type) and issubclass(a, enum.Enum)]
            if enums:
                return {"type": "string", "enum": [str(v.value) for v in enums[0]]}
            if len(kinds) != 1:
                return {}
            return self._type(kinds[0])
        if origin is typing.Literal:
            return {"type": "string", "enum": [str(getattr(a, "value", a)) for a in arguments]}
        if origin is list:
            return {"type": "array", "items": self._type(arguments[0])}
        if origin is dict:
            return {"type": "object", "additionalProperties": self._type(arguments[1])}
        if hasattr(hint, "_attr_to_rest_field") or getattr(hint, "_is_model", False):
            return self._model(hint)
        plain = {str: "string", bool: "boolean", int: "integer", float: "number", bytes: "string"}
        if hint in plain:
            return {"type": plain[hint]}
        if hint in (datetime.datetime, datetime.date, datetime.timedelta):
            return {"type": "string"}
        return {}

    def _model(self, cls: Any) -> Schema:
        cls({})
        fields = {f._rest_name for f in cls._attr_to_rest_field.values()}
        name = cls.__name__
        if {"id", "location", "properties"} <= fields:
            name = "Reference"
            self._defs[name] = _REFERENCE
        elif name not in self._defs:
            self._defs[name] = {}  # Models refer to one another in circles.
            self._defs[name] = self._object(cls)
        return {"$ref": f"#/$defs/{name}"}


def all_schemas() -> Iterator[tuple[str, str]]:
    """(name, text of the file)."""
    for name, (module, model) in ROOTS.items():
        yield name, _text(Generator(module).schema(model))
    yield "userAssignedIdentities", _text(_USER_ASSIGNED_IDENTITY)


def _text(schema: Schema) -> str:
    """Compact, but a line for each definition, so that what an SDK's new version changed can be read."""
    lines = [f"{json.dumps(name)}: {json.dumps(d, separators=(',', ':'))}" for name, d in schema["$defs"].items()]
    return f'{{"$ref": {json.dumps(schema["$ref"])},\n"$defs": {{\n' + ",\n".join(lines) + "\n}}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    stale = []
    for name, text in all_schemas():
        file = FOLDER / f"{name}.json"
        if file.exists() and file.read_text() == text:
            continue
        stale.append(name)
        if not check:
            file.write_text(text)
    print("\n".join(f"{'stale' if check else 'written'}: {name}" for name in stale) or "all as the SDKs say")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
