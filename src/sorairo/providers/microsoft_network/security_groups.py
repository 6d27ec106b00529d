"""Microsoft.Network/networkSecurityGroups: rules, with the six that Azure adds to every group.

https://learn.microsoft.com/azure/virtual-network/network-security-groups-overview#default-security-rules
"""

from __future__ import annotations

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Admission, Document, Inline, Resource, ResourceType
from sorairo.providers.microsoft_network.versions import API_VERSIONS

_DEFAULTS = (
    ("AllowVnetInBound", 65000, "Inbound", "Allow", "VirtualNetwork", "VirtualNetwork"),
    ("AllowAzureLoadBalancerInBound", 65001, "Inbound", "Allow", "AzureLoadBalancer", "*"),
    ("DenyAllInBound", 65500, "Inbound", "Deny", "*", "*"),
    ("AllowVnetOutBound", 65000, "Outbound", "Allow", "VirtualNetwork", "VirtualNetwork"),
    ("AllowInternetOutBound", 65001, "Outbound", "Allow", "*", "Internet"),
    ("DenyAllOutBound", 65500, "Outbound", "Deny", "*", "*"),
)


def default_rules(group: str) -> list[Document]:
    return [
        {
            "name": name,
            "id": f"{group}/defaultSecurityRules/{name}",
            "properties": {
                "protocol": "*",
                "sourcePortRange": "*",
                "destinationPortRange": "*",
                "sourceAddressPrefix": source,
                "destinationAddressPrefix": destination,
                "access": access,
                "priority": priority,
                "direction": direction,
                "provisioningState": "Succeeded",
            },
        }
        for name, priority, direction, access, source, destination in _DEFAULTS
    ]


async def admit(admission: Admission) -> None:
    properties = admission.body["properties"]
    properties.pop("defaultSecurityRules", None)
    rules = properties.setdefault("securityRules", [])
    taken: dict[tuple[str, int], str] = {}
    for rule in rules:
        for key in ("id", "type", "etag"):
            rule.pop(key, None)
        inner = rule.setdefault("properties", {})
        inner.pop("provisioningState", None)
        priority, direction = inner.get("priority"), str(inner.get("direction"))
        if not isinstance(priority, int) or not 100 <= priority <= 4096:
            raise ArmError(
                "SecurityRuleInvalidPriority",
                f"Security rule has invalid Priority. Value provided: {priority}. Allowed range 100-4096.",
                target=rule.get("name"),
            )
        other = taken.setdefault((direction.lower(), priority), str(rule.get("name")))
        if other != rule.get("name"):
            raise ArmError(
                "SecurityRuleConflict",
                f"Security rules {other} and {rule.get('name')} conflict: rules cannot have the same Priority "
                f"{priority} and Direction {direction}.",
                target=rule.get("name"),
            )


def _render(resource: Resource, document: Document) -> Document:
    document["properties"]["defaultSecurityRules"] = default_rules(resource.id)
    return document


SECURITY_GROUPS: ResourceType[None] = ResourceType(
    "Microsoft.Network/networkSecurityGroups",
    API_VERSIONS,
    admit=admit,
    render=_render,
    schema="networkSecurityGroups",
    moves="yes",
)
SECURITY_RULES: ResourceType[None] = ResourceType(
    "Microsoft.Network/networkSecurityGroups/securityRules",
    API_VERSIONS,
    inline=Inline("securityRules"),
    schema="securityRules",
    located=False,
    tracked=False,
)
