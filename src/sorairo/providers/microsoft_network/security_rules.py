"""Security rules: what they may say, and what they mean to a firewall of one virtual network. Pure.

https://learn.microsoft.com/azure/virtual-network/network-security-groups-overview
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from sorairo.drivers.traffic import FirewallRule
from sorairo.engine.errors import ArmError
from sorairo.engine.types import Document
from sorairo.providers.microsoft_network import service_tags
from sorairo.providers.microsoft_network.service_tags import Space

ENDS = ("source", "destination")
_DEFAULTS = (
    ("AllowVnetInBound", 65000, "Inbound", "Allow", "VirtualNetwork", "VirtualNetwork"),
    ("AllowAzureLoadBalancerInBound", 65001, "Inbound", "Allow", "AzureLoadBalancer", "*"),
    ("DenyAllInBound", 65500, "Inbound", "Deny", "*", "*"),
    ("AllowVnetOutBound", 65000, "Outbound", "Allow", "VirtualNetwork", "VirtualNetwork"),
    ("AllowInternetOutBound", 65001, "Outbound", "Allow", "*", "Internet"),
    ("DenyAllOutBound", 65500, "Outbound", "Deny", "*", "*"),
)
PROTOCOLS: dict[str, Literal["tcp", "udp", "icmp", "esp", "ah", "any"]] = {
    "tcp": "tcp", "udp": "udp", "icmp": "icmp", "esp": "esp", "ah": "ah", "*": "any",
}  # fmt: skip


def default_rules(group: str) -> list[Document]:
    """The six that every group has."""
    return [
        {
            "name": name,
            "id": f"{group}/defaultSecurityRules/{name}",
            "type": "Microsoft.Network/networkSecurityGroups/defaultSecurityRules",
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


# --- what a rule names ------------------------------------------------------------------------------------


def prefixes(rule: Document, end: str) -> list[str]:
    """Addresses, CIDRs, tags and `*` of one end."""
    return _both(rule["properties"], f"{end}AddressPrefix", f"{end}AddressPrefixes")


def ports(rule: Document, end: str) -> list[str]:
    return _both(rule["properties"], f"{end}PortRange", f"{end}PortRanges")


def groups(rule: Document, end: str) -> list[str]:
    """Ids of application security groups."""
    return [str(each["id"]) for each in rule["properties"].get(f"{end}ApplicationSecurityGroups") or []]


def _both(properties: Document, one: str, many: str) -> list[str]:
    single = properties.get(one)
    return [
        str(each).strip() for each in [*([single] if single not in (None, "") else []), *(properties.get(many) or [])]
    ]


# --- what it may say --------------------------------------------------------------------------------------


def check(rules: list[Document]) -> None:
    """Raises ArmError with Azure's code and words."""
    taken: dict[tuple[str, int], str] = {}
    for rule in rules:
        name, properties = str(rule.get("name")), rule["properties"]
        for key in ("access", "direction", "protocol"):
            if not properties.get(key):
                raise ArmError(
                    "SecurityRuleParameterMissing", f"Security rule {name} has no {key}.", target=f"{name}.{key}"
                )
        priority, direction = properties.get("priority"), str(properties["direction"])
        if not isinstance(priority, int) or not 100 <= priority <= 4096:
            raise ArmError(
                "SecurityRuleInvalidPriority",
                f"Security rule has invalid Priority. Value provided: {priority}. Allowed range 100-4096.",
                target=name,
            )
        other = taken.setdefault((direction.lower(), priority), name)
        if other != name:
            raise ArmError(
                "SecurityRuleConflict",
                f"Security rules {other} and {name} conflict: rules cannot have the same Priority {priority} and "
                f"Direction {direction}.",
                target=name,
            )
        for end in ENDS:
            _check_end(name, rule, end)


def _check_end(name: str, rule: Document, end: str) -> None:
    if not prefixes(rule, end) and not groups(rule, end):
        raise ArmError(
            "SecurityRuleParameterMissing", f"Security rule {name} has no {end} address prefix.", target=name
        )
    if prefixes(rule, end) and groups(rule, end):
        raise ArmError(
            "SecurityRuleCannotHaveBothAddressPrefixAndApplicationSecurityGroup",
            f"Security rule {name} cannot have both a {end} address prefix and {end} application security groups.",
            target=name,
        )
    for text in prefixes(rule, end):
        if text != "*" and not service_tags.is_tag(text) and not _network(text):
            raise ArmError(
                "SecurityRuleInvalidAddressPrefix",
                f"Security rule {name} has invalid Address prefix. Value provided: {text}",
                target=name,
            )
    for text in ports(rule, end):
        if _ports(text) is None:
            raise ArmError(
                "SecurityRuleInvalidPortRange",
                f"Security rule has invalid Port range. Value provided: {text}. Value should be an integer OR integer "
                "range with '-' delimiter. Valid range 0-65535.",
                target=name,
            )


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _ports(text: str) -> tuple[int, int] | None:
    first, dash, last = text.partition("-")
    if text == "*":
        return (0, 65535)
    if not first.isdigit() or (dash and not last.isdigit()):
        return None
    found = (int(first), int(last or first))
    return found if found[0] <= found[1] <= 65535 else None


# --- what it means ----------------------------------------------------------------------------------------


def firewall_rules(
    group: str, rules: list[Document], space: Space, members: Mapping[str, tuple[str, ...]]
) -> tuple[FirewallRule, ...]:
    """A group's own rules and the default ones, in order. `members`: addresses by application security group, in lower
    case. A rule with an end that nobody is at is left out."""
    every = [*rules, *default_rules(group)]
    found = (firewall_rule(rule, space, members) for rule in every)
    return tuple(sorted((r for r in found if r), key=lambda r: (r.direction, r.priority)))


def firewall_rule(rule: Document, space: Space, members: Mapping[str, tuple[str, ...]]) -> FirewallRule | None:
    properties = rule["properties"]
    protocol = PROTOCOLS[str(properties["protocol"]).lower()]
    ends = {end: expand(rule, end, space, members) for end in ENDS}
    if None in ends.values():
        return None
    with_ports = protocol in ("tcp", "udp", "any")
    return FirewallRule(
        int(properties["priority"]),
        "inbound" if str(properties["direction"]).lower() == "inbound" else "outbound",
        str(properties["access"]).lower() == "allow",
        protocol,
        ends["source"] or (),
        ends["destination"] or (),
        tuple(_ranges(rule, "source")) if with_ports else (),
        tuple(_ranges(rule, "destination")) if with_ports else (),
        str(rule["name"]),
    )


def expand(rule: Document, end: str, space: Space, members: Mapping[str, tuple[str, ...]]) -> tuple[str, ...] | None:
    """One end as CIDRs; () is everywhere, None nowhere."""
    found: list[str] = []
    for text in prefixes(rule, end):
        if text == "*":
            return ()
        if service_tags.is_tag(text):
            found += service_tags.addresses(text, space)
        elif isinstance(network := _network(text), ipaddress.IPv4Network):
            if network.prefixlen == 0:
                return ()
            found.append(str(network))
    for id in groups(rule, end):
        found += members.get(id.lower(), ())
    return tuple(found) or None


def _ranges(rule: Document, end: str) -> Iterator[tuple[int, int]]:
    """None at all stands for every port."""
    every = [found for text in ports(rule, end) if (found := _ports(text))]
    if (0, 65535) not in every:
        yield from every


def named_groups(rules: list[Document]) -> set[str]:
    """Application security groups that rules name, in lower case."""
    return {id.lower() for rule in rules for end in ENDS for id in groups(rule, end)}


def cleaned(rule: Document) -> dict[str, Any]:
    """A rule without what only sorairo says of it."""
    kept = {k: v for k, v in rule.items() if k not in ("id", "type", "etag")}
    kept["properties"] = {k: v for k, v in (rule.get("properties") or {}).items() if k != "provisioningState"}
    return kept
