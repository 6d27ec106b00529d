"""Security groups: given rules, tags and who names the group, then these firewalls; and what is refused."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.hollow.traffic import HollowFirewalls
from sorairo.drivers.traffic import Firewall, FirewallRule
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import host_name, parse_id
from sorairo.engine.types import Admission, Resource
from sorairo.providers.microsoft_network import service_tags
from sorairo.providers.microsoft_network.security_groups import (
    Actual,
    SecurityGroupReconciler,
    admit,
    admit_delete,
    firewall_id,
)
from sorairo.providers.microsoft_network.security_rules import firewall_rule, firewall_rules
from sorairo.providers.microsoft_network.service_tags import Space
from sorairo.providers.microsoft_network.spaces import Spaces

from .readers import Documents

GROUP = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network"
NSG, VNET, ASG = (f"{GROUP}/{t}/{n}" for t, n in (("networkSecurityGroups", "nsg"), ("virtualNetworks", "v"),
                                                  ("applicationSecurityGroups", "web")))  # fmt: skip
SPACE = Space(("10.0.0.0/16",), "198.18.0.0/28")
HOST = "168.63.129.16/32"


def rule(name: str = "r", **changes: Any) -> dict[str, Any]:
    properties = {
        "priority": 100,
        "direction": "Inbound",
        "access": "Allow",
        "protocol": "Tcp",
        "sourceAddressPrefix": "*",
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": "*",
    }
    return {"name": name, "properties": {k: v for k, v in {**properties, **changes}.items() if v is not None}}


WIDE = FirewallRule(100, "inbound", True, "tcp", name="r")


# --- what a rule means ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, WIDE),
        ({"access": "Deny", "direction": "Outbound"}, replace(WIDE, allow=False, direction="outbound")),
        ({"protocol": "*", "destinationPortRange": "80"}, replace(WIDE, protocol="any", destination_ports=((80, 80),))),
        (
            {
                "destinationPortRange": None,
                "destinationPortRanges": ["80", "8000-8999"],
                "sourcePortRange": "1024-65535",
            },
            replace(WIDE, destination_ports=((80, 80), (8000, 8999)), source_ports=((1024, 65535),)),
        ),
        ({"protocol": "Icmp", "destinationPortRange": "80"}, replace(WIDE, protocol="icmp")),
        ({"sourceAddressPrefix": "10.1.2.3"}, replace(WIDE, sources=("10.1.2.3/32",))),
        (
            {"sourceAddressPrefix": None, "sourceAddressPrefixes": ["10.1.0.0/16", "10.2.0.0/16"]},
            replace(WIDE, sources=("10.1.0.0/16", "10.2.0.0/16")),
        ),
        ({"sourceAddressPrefix": "0.0.0.0/0"}, WIDE),
        ({"sourceAddressPrefix": "VirtualNetwork"}, replace(WIDE, sources=("10.0.0.0/16", HOST))),
        ({"sourceAddressPrefix": "VIRTUAL_NETWORK"}, replace(WIDE, sources=("10.0.0.0/16", HOST))),
        ({"sourceAddressPrefix": "AzureLoadBalancer"}, replace(WIDE, sources=(HOST,))),
        ({"destinationAddressPrefix": "Storage.WestEurope"}, replace(WIDE, destinations=("198.18.0.0/28",))),
    ],
)
def test_what_a_rule_means(changes: dict[str, Any], wanted: FirewallRule) -> None:
    assert firewall_rule(rule(**changes), SPACE, {}) == wanted


def test_a_rule_about_nobody_is_no_rule() -> None:
    group = {"sourceAddressPrefix": None, "sourceApplicationSecurityGroups": [{"id": ASG}]}
    assert firewall_rule(rule(**group), SPACE, {}) is None
    assert firewall_rule(rule(sourceAddressPrefix="::/0"), SPACE, {}) is None
    found = firewall_rule(rule(**group), SPACE, {ASG.lower(): ("10.0.0.4", "10.0.0.5")})
    assert found == replace(WIDE, sources=("10.0.0.4", "10.0.0.5"))


def test_the_six_default_rules_come_after_all_others() -> None:
    found = firewall_rules(NSG, [rule(priority=4096)], SPACE, {})
    assert [(r.direction, r.priority, r.name) for r in found] == [
        ("inbound", 4096, "r"),
        ("inbound", 65000, "AllowVnetInBound"),
        ("inbound", 65001, "AllowAzureLoadBalancerInBound"),
        ("inbound", 65500, "DenyAllInBound"),
        ("outbound", 65000, "AllowVnetOutBound"),
        ("outbound", 65001, "AllowInternetOutBound"),
        ("outbound", 65500, "DenyAllOutBound"),
    ]


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=6), st.integers(0, 2**32 - 1))
def test_internet_is_all_that_the_virtual_network_is_not(networks: list[tuple[int, int]], address: int) -> None:
    virtual = [str(ipaddress.ip_network((number, length), strict=False)) for number, length in networks]
    internet = service_tags.complement(virtual)
    here = ipaddress.ip_address(address)

    def within(prefixes: Any) -> bool:
        return any(here in ipaddress.ip_network(p) for p in prefixes)

    assert within(virtual) != within(internet)


# --- who is guarded ---------------------------------------------------------------------------------------


def nic(
    name: str, group: str | None = NSG, subnet: str = "a", asg: str | None = None, address: str = "10.0.0.4"
) -> Resource:
    ip: dict[str, Any] = {"subnet": {"id": f"{VNET}/subnets/{subnet}"}}
    if asg:
        ip["applicationSecurityGroups"] = [{"id": asg}]
    properties: dict[str, Any] = {"ipConfigurations": [{"name": "one", "properties": ip}]}
    if group:
        properties["networkSecurityGroup"] = {"id": group}
    return Resource(f"{GROUP}/networkInterfaces/{name}", {"properties": properties}, private={"addresses": [address]})


def network(group: str | None = None, **changes: Any) -> Resource:
    subnet: dict[str, Any] = {"name": "a", "properties": {"addressPrefix": "10.0.0.0/24"}}
    if group:
        subnet["properties"]["networkSecurityGroup"] = {"id": group}
    properties = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [subnet]}
    return replace(Resource(VNET, {"properties": properties}), **changes)


def group(*rules: dict[str, Any], **changes: Any) -> Resource:
    return replace(Resource(NSG, {"location": "l", "properties": {"securityRules": list(rules)}}), **changes)


def reconciler() -> tuple[SecurityGroupReconciler, HollowFirewalls]:
    firewalls = HollowFirewalls(HollowLinks())
    return SecurityGroupReconciler(firewalls, Spaces(("198.18.0.16",))), firewalls


async def test_nics_and_subnets_that_name_it_are_guarded() -> None:
    it, _ = reconciler()
    found = await it.observe(Documents(network(NSG), nic("n"), nic("other", None)), group())
    rules = firewall_rules(NSG, [], SPACE, {})
    wanted = Firewall(
        firewall_id(NSG.lower(), VNET.lower()),
        NSG,
        host_name(VNET),
        rules,
        (host_name(f"{GROUP}/networkInterfaces/n"),),
        ("10.0.0.0/24",),
    )
    assert found.wanted == (wanted,)
    assert it.status(group(), found) == {
        "networkInterfaces": [{"id": f"{GROUP}/networkInterfaces/n"}],
        "subnets": [{"id": f"{VNET}/subnets/a"}],
    }


async def test_application_groups_stand_for_who_names_them() -> None:
    it, _ = reconciler()
    to_web = rule(destinationAddressPrefix=None, destinationApplicationSecurityGroups=[{"id": ASG}])
    there = Documents(network(), nic("n"), nic("w", None, asg=ASG, address="10.0.0.9"))
    found = await it.observe(there, group(to_web))
    assert found.wanted[0].rules[0].destinations == ("10.0.0.9",)


async def test_a_network_that_goes_is_let_go_of() -> None:
    it, _ = reconciler()
    found = await it.observe(Documents(network(NSG, deleting=True)), group())
    assert found.wanted == ()


FW = Firewall("fw", NSG, "net", ())


@pytest.mark.parametrize(
    ("reason", "found", "steps"),
    [
        ("what is right is left alone", Actual((FW,), {"fw": FW}), []),
        ("nothing stands", Actual((FW,)), ["guard fw"]),
        ("a rule has changed", Actual((FW,), {"fw": replace(FW, nics=("x",))}), ["guard fw"]),
        ("it stands in part", Actual((FW,), {}, ("fw",)), ["guard fw"]),
        ("nobody names it any more", Actual((), {"fw": FW}), ["stop guarding fw"]),
        ("what is left is a part", Actual((), {}, ("fw",)), ["stop guarding fw"]),
        ("its network takes it along", Actual((), {"fw": FW}, leaving=frozenset({"net"})), []),
    ],
)
def test_the_difference_is_the_plan(reason: str, found: Actual, steps: list[str]) -> None:
    it, _ = reconciler()
    assert [s.name for s in it.plan(group(), found)] == steps, reason
    if not found.wanted:
        assert [s.name for s in it.plan(group(deleting=True), replace(found, leaving=frozenset()))] == (
            steps or ["stop guarding fw"]
        )


# --- what is refused --------------------------------------------------------------------------------------


async def admitted(resource: Resource, *there: Resource) -> dict[str, Any]:
    admission = Admission(parse_id(NSG), resource.body, None, "p", Documents(*there))
    await admit(admission)
    return admission.body["properties"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("code", "rules"),
    [
        ("SecurityRuleInvalidPriority", [rule(priority=99)]),
        ("SecurityRuleInvalidPriority", [rule(priority=None)]),
        ("SecurityRuleConflict", [rule("a"), rule("b")]),
        ("SecurityRuleParameterMissing", [rule(access=None)]),
        ("SecurityRuleParameterMissing", [rule(sourceAddressPrefix=None)]),
        ("SecurityRuleInvalidAddressPrefix", [rule(sourceAddressPrefix="Nobody")]),
        ("SecurityRuleInvalidAddressPrefix", [rule(sourceAddressPrefix="10.0.0.1/16")]),
        ("SecurityRuleInvalidPortRange", [rule(destinationPortRange="80,81")]),
        ("SecurityRuleInvalidPortRange", [rule(destinationPortRange="90-80")]),
        ("InvalidResourceReference", [rule(sourceAddressPrefix=None, sourceApplicationSecurityGroups=[{"id": ASG}])]),
        (
            "SecurityRuleCannotHaveBothAddressPrefixAndApplicationSecurityGroup",
            [rule(sourceApplicationSecurityGroups=[{"id": ASG}])],
        ),
    ],
)
async def test_what_cannot_be_is_refused(code: str, rules: list[dict[str, Any]]) -> None:
    with pytest.raises(ArmError) as refused:
        await admitted(group(*rules))
    assert refused.value.code == code


async def test_one_priority_may_be_used_in_both_directions() -> None:
    properties = await admitted(group(rule("a"), rule("b", direction="Outbound")))
    assert [r["name"] for r in properties["securityRules"]] == ["a", "b"]


async def test_a_group_in_use_stays() -> None:
    there = Documents(network(NSG), nic("n"))
    with pytest.raises(ArmError, match="InUseNetworkSecurityGroupCannotBeDeleted") as refused:
        await admit_delete(Admission(parse_id(NSG), group().body, group(), "p", there))
    assert f"{VNET}/subnets/a" in refused.value.message
    await admit_delete(Admission(parse_id(NSG), group().body, group(), "p", Documents(network())))
