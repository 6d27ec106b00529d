"""Load balancers: given a document and who is in its pools, then these rules, probes and steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.hollow.traffic import hollow_traffic
from sorairo.drivers.traffic import Backend, Balancer, BalancerRule, BalancerState, Check, Outbound, Watched, Way
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import host_name, parse_id
from sorairo.engine.types import Admission, Resource
from sorairo.providers.microsoft_network import balancing, snat
from sorairo.providers.microsoft_network.balancing import Member, Surroundings
from sorairo.providers.microsoft_network.load_balancer_admission import admit
from sorairo.providers.microsoft_network.load_balancers import Actual, LoadBalancerReconciler, _render
from sorairo.providers.microsoft_network.public_ip_users import of_new_users

from .readers import Documents

GROUP = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network"
LB, VNET, NIC = f"{GROUP}/loadBalancers/lb", f"{GROUP}/virtualNetworks/v", f"{GROUP}/networkInterfaces/n"
PIP = f"{GROUP}/publicIPAddresses/ip"
NETWORK = host_name(VNET)
VIP = "198.18.0.20"

reconciler = LoadBalancerReconciler(hollow_traffic(HollowLinks()))


def part(kind: str, name: str) -> dict[str, str]:
    return {"id": f"{LB}/{kind}/{name}"}


def rule(name: str = "web", **changes: Any) -> dict[str, Any]:
    properties = {
        "frontendIPConfiguration": part("frontendIPConfigurations", "front"),
        "backendAddressPool": part("backendAddressPools", "pool"),
        "protocol": "Tcp",
        "frontendPort": 80,
        "backendPort": 8080,
        "disableOutboundSnat": True,
    }
    return {"name": name, "properties": {**properties, **changes}}


def probe(**changes: Any) -> dict[str, Any]:
    properties = {"protocol": "Http", "port": 10256, "requestPath": "/healthz", "intervalInSeconds": 5}
    return {"name": "health", "properties": {**properties, "probeThreshold": 2, **changes}}


def lb(*rules: dict[str, Any], private: dict[str, Any] | None = None, **parts: list[Any]) -> Resource:
    properties = {
        "frontendIPConfigurations": [{"name": "front", "properties": {"publicIPAddress": {"id": PIP}}}],
        "backendAddressPools": [{"name": "pool", "properties": {}}],
        "loadBalancingRules": list(rules),
        **parts,
    }
    return Resource(LB, {"location": "westeurope", "properties": properties}, private=private or {})


def member(n: int, **changes: Any) -> Member:
    return replace(Member(f"10.0.0.{n}", VNET, f"{NIC}{n}/ipConfigurations/ipconfig1"), **changes)


def surroundings(*members: Member, **changes: Any) -> Surroundings:
    found = Surroundings({"front": VIP}, {"pool": members or (member(4), member(5))}, {}, frozenset({VNET.lower()}))
    return replace(found, **changes)


def rules_of(resource: Resource, seen: Surroundings | None = None) -> tuple[BalancerRule, ...]:
    found = balancing.balancer(resource, seen or surroundings(), {})
    return found.rules if found else ()


# --- rules -----------------------------------------------------------------------------------------------


def test_a_rule_leads_from_its_frontend_to_everyone_in_its_pool() -> None:
    backends = (Backend("10.0.0.4", 8080), Backend("10.0.0.5", 8080))
    wanted = BalancerRule("rule/web", VIP, "tcp", 80, backends, idle=240)
    assert balancing.balancer(lb(rule()), surroundings(), {}) == Balancer(host_name(LB), LB, NETWORK, (wanted,))


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"enableFloatingIP": True}, {"floating": True, "backends": (Backend("10.0.0.4"), Backend("10.0.0.5"))}),
        ({"protocol": "Udp"}, {"protocol": "udp"}),
        (
            {"protocol": "All", "frontendPort": 0, "backendPort": 0},
            {"protocol": "any", "port": 0, "backends": (Backend("10.0.0.4"), Backend("10.0.0.5"))},
        ),
        ({"loadDistribution": "SourceIP"}, {"affinity": "client"}),
        ({"loadDistribution": "SourceIPProtocol"}, {"affinity": "client-protocol"}),
        ({"idleTimeoutInMinutes": 30, "enableTcpReset": True}, {"idle": 1800, "reset": True}),
    ],
)
def test_what_a_rule_says_holds(changes: dict[str, Any], wanted: dict[str, Any]) -> None:
    (plain,) = rules_of(lb(rule()))
    assert rules_of(lb(rule(**changes))) == (replace(plain, **wanted),)


def test_an_empty_pool_is_a_rule_without_backends() -> None:
    internal = {"name": "front", "properties": {"subnet": {"id": f"{VNET}/subnets/a"}}}
    seen = surroundings(pools={}, addresses={"front": "10.0.0.9"})
    assert rules_of(lb(rule(), frontendIPConfigurations=[internal]), seen)[0].backends == ()


def test_nobody_to_send_to_and_no_network_of_its_own_is_nothing_to_do() -> None:
    assert balancing.balancer(lb(rule()), surroundings(pools={}), {}) is None
    assert balancing.balancer(lb(rule()), surroundings(networks=frozenset()), {}) is None


def test_a_frontend_without_an_address_has_no_rules_yet() -> None:
    assert balancing.balancer(lb(rule()), surroundings(addresses={}), {}) is None


def test_the_order_of_a_documents_lists_says_nothing() -> None:
    one, two = rule("a"), rule("b", frontendPort=81, backendPort=81)
    assert rules_of(lb(one, two)) == rules_of(lb(two, one))


# --- inbound NAT -----------------------------------------------------------------------------------------


def nat(**changes: Any) -> dict[str, Any]:
    properties = {
        "frontendIPConfiguration": part("frontendIPConfigurations", "front"),
        "protocol": "Tcp",
        "frontendPort": 2022,
        "backendPort": 22,
    }
    return {"name": "ssh", "properties": {**properties, **changes}}


def test_an_inbound_nat_rule_leads_to_the_one_that_names_it() -> None:
    seen = surroundings(pools={}, targets={"ssh": (member(7),)})
    wanted = (BalancerRule("nat/ssh", VIP, "tcp", 2022, (Backend("10.0.0.7", 22),), idle=600, reset=True),)
    timed = nat(idleTimeoutInMinutes=10, enableTcpReset=True)
    assert rules_of(lb(inboundNatRules=[timed]), seen) == wanted


def ranged() -> Resource:
    pool = part("backendAddressPools", "pool")
    return lb(inboundNatRules=[nat(backendAddressPool=pool, frontendPortRangeStart=500, frontendPortRangeEnd=502)])


def test_each_of_a_pool_has_a_port_of_its_own_and_keeps_it() -> None:
    first = balancing.nat_ports(ranged(), surroundings(member(4), member(5)), {})
    assert first == {"ssh": {"10.0.0.4": 500, "10.0.0.5": 501}}
    then = balancing.nat_ports(ranged(), surroundings(member(5), member(6), member(7)), first)
    assert then == {"ssh": {"10.0.0.5": 501, "10.0.0.6": 500, "10.0.0.7": 502}}
    found = balancing.balancer(ranged(), surroundings(member(5)), then)
    assert found
    backends = (Backend("10.0.0.5", 22),)
    assert found.rules == (BalancerRule("nat/ssh/501", VIP, "tcp", 501, backends, idle=240),)


def test_when_ports_run_out_the_last_have_none() -> None:
    seen = surroundings(*(member(n) for n in range(4, 9)))
    assert list(balancing.nat_ports(ranged(), seen, {})["ssh"].values()) == [500, 501, 502]


# --- probes ----------------------------------------------------------------------------------------------


def test_the_backends_of_a_rule_with_a_probe_are_asked() -> None:
    resource = lb(
        rule(probe=part("probes", "health")), rule("other", frontendPort=81, backendPort=81), probes=[probe()]
    )
    spec = balancing.balancer(resource, surroundings(), {})
    wanted = {"rule/web": Check("http", 10256, 5.0, 2, "/healthz")}
    addresses = {"rule/web": ("10.0.0.4", "10.0.0.5")}
    assert balancing.watched(resource, spec) == Watched(host_name(LB), NETWORK, wanted, addresses)


def test_nobody_is_asked_without_a_probe() -> None:
    assert balancing.watched(lb(rule()), balancing.balancer(lb(rule()), surroundings(), {})) is None


def test_what_a_probe_leaves_out_is_azures_default() -> None:
    assert balancing.check({"protocol": "Tcp", "port": 80}) == Check("tcp", 80, 15.0, 1)


# --- what leaves -----------------------------------------------------------------------------------------


def outbound_rule(pool: str = "pool", **changes: Any) -> dict[str, Any]:
    properties = {
        "frontendIPConfigurations": [part("frontendIPConfigurations", "front")],
        "backendAddressPool": part("backendAddressPools", pool),
        "protocol": "All",
    }
    return {"name": "out", "properties": {**properties, **changes}}


def test_a_pool_leaves_by_its_outbound_rules_frontends_and_pods_as_their_node() -> None:
    seen = surroundings(member(4, others=("10.0.0.5", "10.0.0.6", "10.0.0.7")), member(9))
    ways = (Way(("10.0.0.4/30",), (VIP,), (1024, 2047), 240), Way(("10.0.0.9/32",), (VIP,), (2048, 3071), 240))
    wanted = Outbound(host_name(LB), LB, NETWORK, ways)
    assert snat.outbound(lb(outboundRules=[outbound_rule()]), seen) == wanted


def test_each_member_has_the_ports_that_its_outbound_rule_says_of_every_frontend() -> None:
    """Half of them of each of two addresses; and connections end when the rule's time is over."""
    fronts = [part("frontendIPConfigurations", name) for name in ("front", "other")]
    said = outbound_rule(
        frontendIPConfigurations=fronts, allocatedOutboundPorts=10000, idleTimeoutInMinutes=30, enableTcpReset=True
    )
    found = snat.outbound(lb(outboundRules=[said]), surroundings(addresses={"front": VIP, "other": "198.18.0.21"}))
    assert found
    both = (VIP, "198.18.0.21")
    assert found.ways == (
        Way(("10.0.0.4/32",), both, (1024, 6023), 1800, True),
        Way(("10.0.0.5/32",), both, (6024, 11023), 1800, True),
    )


@pytest.mark.parametrize(
    ("allocated", "members", "addresses", "each"),
    [
        (0, 1, 1, 1024),
        (0, 50, 2, 1024),
        (0, 51, 1, 512),
        (0, 1000, 1, 32),
        (0, 1001, 1, 32),
        (64000, 1, 1, 64000),
        (1024, 3, 3, 344),
        (32000, 3, 1, 21328),  # One has come too many: what is there is shared.
        (8, 9000, 1, 8),
    ],
)
def test_how_many_ports_a_member_has(allocated: int, members: int, addresses: int, each: int) -> None:
    assert snat.share(allocated, members, addresses) == each


def test_a_rule_that_does_not_say_otherwise_lets_its_backends_leave_by_its_frontend() -> None:
    assert snat.outbound(lb(rule(disableOutboundSnat=False)), surroundings()) is not None
    assert snat.outbound(lb(rule(disableOutboundSnat=True)), surroundings()) is None


def test_internal_frontends_let_nobody_out() -> None:
    internal = {"name": "front", "properties": {"subnet": {"id": f"{VNET}/subnets/a"}}}
    resource = lb(rule(disableOutboundSnat=False), frontendIPConfigurations=[internal])
    assert snat.outbound(resource, surroundings(addresses={"front": "10.0.0.9"})) is None


# --- plans -----------------------------------------------------------------------------------------------

RESOURCE = lb(rule(probe=part("probes", "health")), probes=[probe()], outboundRules=[outbound_rule()])


def actual(resource: Resource = RESOURCE, **changes: Any) -> Actual:
    """All is as it should be."""
    seen = surroundings()
    spec, out = balancing.balancer(resource, seen, {}), snat.outbound(resource, seen)
    assert spec
    right = Actual(
        balancer=BalancerState(spec, {}),
        wanted=spec,
        outbound=out,
        wanted_outbound=out,
        watched=balancing.watched(resource, spec),
    )
    return replace(right, **changes)


def names(resource: Resource, found: Actual) -> list[str]:
    return [step.name for step in reconciler.plan(resource, found)]


@pytest.mark.parametrize(
    ("reason", "found", "steps"),
    [
        ("what is right is left alone", actual(), []),
        ("nothing stands", actual(balancer=None, outbound=None, watched=None), ["balance", "outbound", "probe"]),
        ("it stands in part", actual(partial=True), ["balance", "outbound"]),
        ("its public IP has no address", actual(unaddressed=(PIP,)), ["wait for public addresses"]),
        ("the process is new", actual(watched=None), ["probe"]),
        ("somebody new was not asked yet", actual(unheard=True), ["first answers"]),
        (
            "everybody has left",
            actual(wanted=None, wanted_outbound=None),
            ["stop balancing", "stop outbound", "probe"],
        ),
        (
            "its network goes and takes the rules along",
            actual(wanted=None, wanted_outbound=None, leaving=True),
            ["probe"],
        ),
    ],
)
def test_the_difference_is_the_plan(reason: str, found: Actual, steps: list[str]) -> None:
    assert names(RESOURCE, found) == steps, reason


def test_who_is_asked_follows_who_is_balanced() -> None:
    (*_, last) = reconciler.plan(RESOURCE, actual(balancer=None, watched=None))
    assert (last.name, last.needs) == ("probe", ("balance",))


def test_an_internal_frontend_has_its_address_first() -> None:
    internal = {"name": "front", "properties": {"subnet": {"id": f"{VNET}/subnets/a"}}}
    assert names(lb(rule(), frontendIPConfigurations=[internal]), Actual()) == ["claim addresses"]


def test_ports_are_kept_before_rules_are_made_of_them() -> None:
    ports = {"ssh": {"10.0.0.4": 500}}
    assert names(ranged(), Actual(ports=ports)) == ["assign ports"]
    assert names(lb(private={"natPorts": ports}), Actual(ports=ports)) == []


def test_deleting_leaves_nothing() -> None:
    gone = replace(RESOURCE, deleting=True)
    assert names(gone, actual()) == ["remove rules"]
    assert names(gone, Actual(partial=True)) == ["remove rules"]
    assert names(gone, Actual()) == []


# --- what is shown ---------------------------------------------------------------------------------------


def test_parts_show_who_uses_them() -> None:
    resource = lb(rule())
    resource.status = reconciler.status(resource, Actual(members={"pool": [f"{NIC}4/ipConfigurations/ipconfig1"]}))
    document = {"etag": "e", "properties": {**resource.properties, **resource.status}}
    shown = _render(resource, document)["properties"]
    assert "backendIPConfigurations" not in shown
    (pool,) = shown["backendAddressPools"]
    assert pool["properties"]["backendIPConfigurations"] == [{"id": f"{NIC}4/ipConfigurations/ipconfig1"}]
    assert pool["properties"]["loadBalancingRules"] == [part("loadBalancingRules", "web")]
    (front,) = shown["frontendIPConfigurations"]
    assert front["properties"]["loadBalancingRules"] == [part("loadBalancingRules", "web")]


# --- what is refused -------------------------------------------------------------------------------------


def public_ip(sku: str = "Standard") -> Resource:
    return Resource(PIP, {"sku": {"name": sku}, "properties": {}})


async def admitted(resource: Resource, *there: Resource) -> dict[str, Any]:
    admission = Admission(parse_id(LB), resource.body, None, "p", Documents(*there))
    await admit(admission)
    return admission.body["properties"]  # type: ignore[no-any-return]


async def test_defaults_are_azures() -> None:
    properties = await admitted(
        lb(rule(), probes=[{"name": "p", "properties": {"protocol": "Tcp", "port": 1}}]), public_ip()
    )
    assert properties["loadBalancingRules"][0]["properties"] | {"loadDistribution": "Default"} == {
        **rule()["properties"],
        "enableFloatingIP": False,
        "enableTcpReset": False,
        "idleTimeoutInMinutes": 4,
        "loadDistribution": "Default",
        "backendAddressPools": [part("backendAddressPools", "pool")],
    }
    assert properties["probes"][0]["properties"]["intervalInSeconds"] == 15


@pytest.mark.parametrize(
    ("code", "resource"),
    [
        ("InvalidResourceReference", lb(rule(backendAddressPool=part("backendAddressPools", "gone")))),
        ("InvalidResourceReference", lb(rule(probe=part("probes", "gone")))),
        ("RulesUseSameFrontendPortProtocolAndIPConfig", lb(rule("a"), rule("b", backendPort=81))),
        ("RulesUseSameBackendPortProtocolAndPool", lb(rule("a"), rule("b", frontendPort=81))),
        ("LoadBalancingRuleInvalidPort", lb(rule(frontendPort=0))),
        ("LoadBalancingRuleInvalidPort", lb(rule(protocol="All"))),
        (
            "LoadBalancingRuleMustDisableSNATSinceSameFrontendIPConfigurationIsReferencedByOutboundRule",
            lb(rule(disableOutboundSnat=False), outboundRules=[outbound_rule()]),
        ),
        (
            "FrontendIPConfigHasBothSubnetAndPublicIP",
            lb(frontendIPConfigurations=[
                {"name": "f", "properties": {"publicIPAddress": {"id": PIP}, "subnet": {"id": f"{VNET}/subnets/a"}}}
            ]),
        ),
        (
            "SpecifiedAllocatedOutboundPortsForOutboundRuleIsNotAMultipleOfEight",
            lb(outboundRules=[outbound_rule(allocatedOutboundPorts=1001)]),
        ),
        (
            "SpecifiedAllocatedOutboundPortsForOutboundRuleExceedsTotalNumberOfAllowedPortsPerRule",
            lb(outboundRules=[outbound_rule(allocatedOutboundPorts=64008)]),
        ),
        ("NotImplemented", lb(inboundNatPools=[{"name": "p", "properties": {}}])),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused(code: str, resource: Resource) -> None:
    with pytest.raises(ArmError) as refused:
        await admitted(resource, public_ip())
    assert refused.value.code == code


async def test_ports_are_refused_that_are_not_there_for_all_of_a_pool() -> None:
    members = [
        {"name": f"m{n}", "properties": {"ipAddress": f"10.0.0.{n}", "virtualNetwork": {"id": VNET}}} for n in (4, 5)
    ]
    pools = [{"name": "pool", "properties": {"loadBalancerBackendAddresses": members}}]

    def asked(ports: int) -> Resource:
        return lb(backendAddressPools=pools, outboundRules=[outbound_rule(allocatedOutboundPorts=ports)])

    await admitted(asked(32000), public_ip())
    with pytest.raises(ArmError, match="exceeds total number of available ports 32000") as refused:
        await admitted(asked(32008), public_ip())
    assert refused.value.code.endswith("ExceedsTotalNumberOfAvailablePorts")


async def test_a_public_address_is_one_configurations() -> None:
    other = Resource(f"{GROUP}/loadBalancers/other", lb().body)
    with pytest.raises(ArmError, match="PublicIPAddressInUse"):
        await admitted(lb(), public_ip(), other)
    same = Resource(LB, lb().body)
    await admitted(lb(), public_ip(), same)


async def test_skus_do_not_mix() -> None:
    with pytest.raises(ArmError, match="DifferentSku"):
        await admitted(lb(), public_ip("Basic"))


async def test_a_change_matters_to_the_addresses_that_it_is_about() -> None:
    """Of a load balancer's frontends: to whom one has come or gone, and to nobody else."""

    def front(*ns: int) -> Resource:
        configurations = [{"name": f"f{n}", "properties": {"publicIPAddress": {"id": f"{PIP}{n}"}}} for n in ns]
        return lb(frontendIPConfigurations=configurations)

    def address(n: int, holder: str | None) -> Resource:
        return Resource(f"{PIP}{n}", {"properties": {}}, status={"ipConfiguration": {"id": holder}} if holder else {})

    held = [address(n, f"{LB}/frontendIPConfigurations/f{n}") for n in (1, 2)]
    before, after = front(1, 2), front(2, 3)
    there = Documents(*held, address(3, None), after)
    assert [*await of_new_users(there, before)] == [f"{PIP}1".lower()]
    assert [*await of_new_users(there, after)] == [f"{PIP}3".lower()]
    assert [*await of_new_users(Documents(*held), before)] == [f"{PIP}1".lower(), f"{PIP}2".lower()]
