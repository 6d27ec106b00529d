"""Requests that a client might send, well-formed and otherwise: from the types there are and their schemas."""

from __future__ import annotations

import json
import uuid
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

from fuzz.anything import FILTERS, Request
from fuzz.origin import Origin
from fuzz.people import People
from sorairo.engine.types import Document, ResourceType
from sorairo.providers import schemas

GROUPS = ("g0", "g0", "g0", "g0", "g1", "g1", "G1", "nowhere")
NAMES = ("a", "b", "B", "kubernetes", "default")
PREFIXES = (
    "10.0.0.0/16",
    "10.0.0.0/24",
    "10.0.1.0/24",
    "10.0.0.0/28",
    "192.168.0.0/24",
    "10.0.0.4",
    "0.0.0.0/0",
    "fd00::/64",
    "*",
    "Internet",
    "10.0.0.0/8",
    "10.1.2.3/16",
    "300.0.0.1/8",
)


@cache
def _schema(name: str) -> Document:
    found: Document = json.loads((Path(schemas.__file__).parent / f"{name}.json").read_bytes())
    return found


class Sender(People):
    """One who asks for anything that there is, and for what there is not."""

    def __init__(self, it: Origin, random: Random, wild: float) -> None:
        self._it = it
        super().__init__(random, wild)
        self._types = [t for p in it.control.registry.providers.values() for t in p.types]
        self._extra = [
            (p, method, pattern) for p in it.control.registry.providers.values() for method, pattern, _ in p.routes
        ]

    def request(self) -> Request:
        make = self._random.choices(
            (self._resource, self._action, self._list, self._path, self._graph, self._token, self._noise),
            (50, 10, 10, 10, 15, 1, 4),
        )[0]
        while (request := make()).path.lower() in self._it.kept:  # Without its role the sender could do nothing more.
            pass
        return request

    # --- what is asked -----------------------------------------------------------------------------------------

    def _resource(self) -> Request:
        type = self._type()
        method = self._random.choices(("PUT", "PATCH", "DELETE", "GET", "HEAD"), (60, 12, 14, 12, 2))[0]
        if type.name.endswith("resourceGroups") and method == "DELETE" and self._random.random() < 0.8:
            method = "GET"
        body = self._document(type) if method in ("PUT", "PATCH") else None
        known = self._some_id(type) if method != "PUT" and self._random.random() < 0.7 else ""
        return Request(method, known or self._id(type), self._version(type), body)

    def _action(self) -> Request:
        type = self._pick([t for t in self._types if t.actions])
        action = self._pick(list(type.actions))
        known = self._some_id(type) or self._id(type)
        return Request("POST", f"{known}/{action.name}", self._version(type), self._pick([None, self.thing()]))

    def _list(self) -> Request:
        type = self._type()
        path = self._id(type).rpartition("/")[0]
        more = self._pick(("", f"&$filter={quote(self._pick(FILTERS))}", "&$top=2", "&$top=x", "&$skiptoken=%"))
        return Request("GET", path, self._version(type) + more)

    def _path(self) -> Request:
        sub, group = self._it.subscription, self._pick(GROUPS)
        if self._extra and self._random.random() < 0.3:
            provider, method, pattern = self._pick(self._extra)
            named = "/".join(
                "westeurope" if s == "{location}" else self._pick(NAMES) if s[0] == "{" else s
                for s in pattern.split("/")
            )
            scope = self._pick((sub, f"{sub}/resourceGroups/{group}"))
            version = f"api-version={provider.types[0].api_versions[0]}"
            return Request(method, f"{scope}/providers/{provider.namespace}/{named}", version, self.thing())
        at = f"{sub}/resourceGroups/{group}"
        ids = [r.id for r in self._it.store.list(under=at)] or [at]
        moved = {
            "resources": self._random.sample(ids, min(len(ids), 2)),
            "targetResourceGroup": f"{sub}/resourceGroups/{self._pick(GROUPS)}",
        }
        tags = {
            "operation": self._pick(("Merge", "Replace", "Delete", "x")),
            "properties": {"tags": self.tags()},
        }
        template = {"properties": {"mode": self._pick(("Incremental", "Complete")), "template": self._template()}}
        v = "api-version=2022-09-01"
        path, method, body = self._pick(
            (
                (f"{at}/moveResources", "POST", moved),
                (f"{at}/validateMoveResources", "POST", moved),
                (f"{at}/exportTemplate", "POST", {"resources": ["*"]}),
                (f"{at}/exportTemplate", "POST", self.thing()),
                (f"{at}/providers/Microsoft.Resources/tags/default", "PATCH", tags),
                (f"{self._pick(ids)}/providers/Microsoft.Resources/tags/default", "PUT", tags),
                (f"{sub}/providers/Microsoft.Resources/tags/default", "PATCH", tags),
                (f"{at}/providers/Microsoft.Resources/deployments/d", "PUT", template),
                (f"{at}/providers/Microsoft.Resources/deployments/d/whatIf", "POST", template),
                (f"{at}/providers/Microsoft.Resources/deployments/d/validate", "POST", template),
                (f"{at}/resources", "GET", None),
                (f"{sub}/resources", "GET", None),
                (f"{sub}/resourceGroups", "GET", None),
                (f"{sub}/providers/Microsoft.Network/register", "POST", None),
                (f"{sub}/locations", "GET", None),
                (f"{sub}/providers/Microsoft.Features/providers/Microsoft.X/features/f/register", "POST", None),
                (f"{sub}/providers/Microsoft.Insights/eventtypes/management/values", "GET", None),
                (
                    "/providers/Microsoft.ResourceGraph/resources",
                    "POST",
                    {"query": self._query(), "options": self.thing()},
                ),
                (f"{at}/providers/Microsoft.Authorization/policyAssignments", "GET", None),
            )
        )
        if "Insights" in path:
            v = "api-version=2015-04-01"
        if "ResourceGraph" in path:
            v = "api-version=2022-10-01"
        if "Features" in path:
            v = "api-version=2021-07-01"
        if method == "GET":
            v += self._pick(("", f"&$filter={quote(self._pick(FILTERS))}", "&$top=3", "&$expand=x"))
        return Request(method, path, v, body)

    def _noise(self) -> Request:
        """A path or body that is hardly one."""
        base = self._resource()
        segments = base.path.split("/")
        at = self._random.randrange(len(segments))
        segments[at] = self._pick(("", "..", "%", "providers", "é", "a" * 300, "\u0000", "*", "$", segments[at] * 2))
        raw = self._pick(
            (b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a":' * 2000, b'{"location":NaN}', b'{"a":1,"a":2}', base.body)
        )
        query = self._pick(
            (base.query, "", "api-version=", "api-version=2024-01-01", "api-version=%00", base.query * 2)
        )
        return Request(self._pick((base.method, "PUT", "POST", "TRACE")), "/".join(segments), query, raw)

    # --- names and versions ------------------------------------------------------------------------------------

    def _type(self) -> ResourceType[Any]:
        weights = [
            0.1
            if not t.writable
            else 0.15
            if "ContainerService" in t.name
            else 0.5
            if t.name.endswith("/deployments")
            else 1
            for t in self._types
        ]
        return self._random.choices(self._types, weights)[0]

    def _version(self, type: ResourceType[Any]) -> str:
        version = self._pick((type.api_versions[0], type.api_versions[0], type.api_versions[-1]))
        return f"api-version={version if self._random.random() < 0.98 else '2000-01-01'}"

    def _some_id(self, type: ResourceType[Any]) -> str:
        there = self._it.store.list(type=type.name)
        return self._pick(there).id if there else ""

    def _id(self, type: ResourceType[Any]) -> str:
        group = f"{self._it.subscription}/resourceGroups/{self._pick(GROUPS)}"
        if type.name == "Microsoft.Resources/resourceGroups":
            return group
        if type.name == "Microsoft.Resources/subscriptions":
            return self._it.subscription
        namespace, *kinds = type.name.split("/")
        scope = group
        if namespace == "Microsoft.Authorization":
            everything = self._it.store.list()
            scope = self._pick((group, self._it.subscription, "", self._pick(everything).id))
            names = [
                str(uuid.UUID(int=self._random.randrange(3))) if "role" in type.name.lower() else self._pick(NAMES)
            ]
        else:
            if len(kinds) > 1 and self._random.random() < 0.6:
                parent = self._it.store.list(type="/".join([namespace, *kinds[:-1]]))
                if parent:
                    return f"{self._pick(parent).id}/{kinds[-1]}/{self._pick(NAMES)}"
            names = [self._pick(NAMES) for _ in kinds]
        path = "/".join(f"{k}/{n}" for k, n in zip(kinds, names, strict=True))
        return f"{scope}/providers/{namespace}/{path}"

    # --- bodies ------------------------------------------------------------------------------------------------

    def _document(self, type: ResourceType[Any]) -> Any:
        if self._random.random() < self._wild / 2:
            return self.junk()
        there = self._some_id(type)
        if there and self._random.random() < 0.2:  # what was got, with one thing changed
            try:
                return self.spoiled(self._it.control.show(self._it.store.get(there).rid))  # type: ignore[union-attr]
            except Exception:
                return {}
        if type.schema:
            schema = _schema(type.schema)
            body = self._value(schema, schema["$defs"], "", 0)
            body = body if isinstance(body, dict) else {}
        else:
            body = {"properties": self._properties(type)}
        if type.located or type.name.endswith("resourceGroups"):
            body.setdefault("location", self._pick(("westeurope", "westeurope", "West Europe", "moon", self.junk())))
        return body

    def _properties(self, type: ResourceType[Any]) -> Any:
        admin = self._it.admin.objectId
        owner = "/providers/Microsoft.Authorization/roleDefinitions/8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
        usual: dict[str, Any] = {
            "level": self._pick(("CanNotDelete", "ReadOnly", "x")),
            "notes": "n",
            "roleDefinitionId": f"{self._it.subscription}{owner}",
            "principalId": self._pick((admin, str(uuid.UUID(int=1)))),
            "principalType": self._pick(("ServicePrincipal", "User")),
            "roleName": self._pick(("r", "s")),
            "assignableScopes": [self._it.subscription],
            "permissions": [{"actions": ["*/read"], "notActions": self._pick(([], self.junk()))}],
            "mode": "Incremental",
            "template": self._template(),
        }
        if self._random.random() < 0.5 and "roleAssignments" not in type.name:
            return self.spoiled({k: v for k, v in usual.items() if self._random.random() < 0.8})
        return (
            self.spoiled(usual)
            if "roleAssignments" not in type.name
            else {
                **self.thing(),
                **(
                    {}
                    if self._random.random() < 0.5
                    else {"principalId": str(uuid.UUID(int=1)), "roleDefinitionId": "x"}
                ),
            }
        )

    def _template(self) -> Any:
        type = self._pick(("Microsoft.Network/networkSecurityGroups", "Microsoft.Network/routeTables", "Microsoft.X/y"))
        one = {
            "type": type,
            "apiVersion": "2023-09-01",
            "name": self._pick(("a", "[concat('a', 'b')]", "[parameters('p')]", "[copyIndex()]", "[")),
            "location": "[resourceGroup().location]",
            "copy": self._pick((None, {"name": "c", "count": 2}, {"count": -1})),
            "dependsOn": self._pick(([], ["a"], self.junk())),
        }
        one = {k: v for k, v in one.items() if v is not None}
        return self.spoiled(
            {
                "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
                "contentVersion": "1.0.0.0",
                "parameters": {"p": {"type": "string", "defaultValue": "x"}},
                "variables": {"v": "[uniqueString('a')]"},
                "resources": [one],
                "outputs": {"o": {"type": "string", "value": "[variables('v')]"}},
            }
        )

    def _query(self) -> Any:
        return self._pick(
            (
                "Resources | project name, type",
                "Resources | where name =~ 'a' | count",
                "resourcecontainers | take 3",
                "Resources | where",
                "Resources | summarize count() by type | order by count_ desc",
                "Resources | extend x = tostring(tags.a) | where isnotempty(x)",
                "Resources | mv-expand properties.subnets | project name",
                "Resources | join (ResourceContainers) on id",
                "|",
                "",
                self.junk(),
                "Resources | where properties.a.b[0] > 3 and not(name in ('a', 'b'))",
                "Nothing | take 1",
                "Resources | project x = 1 / 0",
            )
        )

    def _value(self, schema: Document, defs: Document, name: str, depth: int) -> Any:
        if self._random.random() < self._wild:
            return self.junk()
        if (ref := schema.get("$ref")) is not None:
            schema = defs[ref.removeprefix("#/$defs/")]
        if "enum" in schema:
            return self._pick(schema["enum"])
        kind = schema.get("type")
        kind = self._pick(kind) if isinstance(kind, list) else kind
        if kind == "object" or "properties" in schema:
            return self._fields(schema, defs, depth)
        if kind == "array":
            return [
                self._value(schema.get("items", {}), defs, name, depth + 1) for _ in range(self._random.randrange(3))
            ]
        if kind in ("integer", "number"):
            return self._pick((0, 1, 2, 3, 4, 30, 100, 110, 443, 1000, 65000, -1))
        if kind == "boolean":
            return self._random.random() < 0.5
        return self._text(name)

    def _fields(self, schema: Document, defs: Document, depth: int) -> Document:
        required = schema.get("required", [])
        found: Document = {}
        for key, inner in schema.get("properties", {}).items():
            if inner.get("readOnly") and self._random.random() < 0.95:
                continue
            usual = key in required or key in (
                "properties",
                "name",
                "addressPrefix",
                "addressSpace",
                "addressPrefixes",
                "agentPoolProfiles",
                "sku",
            )
            if usual or self._random.random() < (0.25 if depth < 3 else 0.08):
                found[key] = self._value(inner, defs, key, depth + 1)
        if isinstance(rest := schema.get("additionalProperties"), dict) and self._random.random() < 0.3:
            found[self._pick(NAMES)] = self._value(rest, defs, "", depth + 1)
        return found

    def _text(self, name: str) -> str:
        low = name.lower()
        if low.endswith("id") and self._random.random() < 0.9:
            everything = self._it.store.list()
            found = self._pick(everything).id
            return found + self._pick(("", "", "/subnets/a", "/backendAddressPools/b", "/frontendIPConfigurations/a"))
        if "prefix" in low or "cidr" in low or "address" in low or "ip" in low:
            return self._pick(PREFIXES)
        if "version" in low:
            return self._pick(("1.37", "1.37.2", "1.2", ""))
        if "vmsize" in low:
            return self._pick(("Standard_D2s_v3", "Standard_B2s", "x"))
        if "port" in low:
            return self._pick(("*", "80", "80-90", "90-80", "99999"))
        if low == "location":
            return "westeurope"
        return self._pick(NAMES)
