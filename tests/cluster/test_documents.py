"""Services in, ARM documents out."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from cluster.fakes import NETWORK, OUTBOUND, FakeArm, prefix, service
from sorairo.cluster.cloud import addresses, balancer, firewall, names
from sorairo.cluster.cloud.balancer import Change, Target
from sorairo.cluster.cloud.firewall import Opening
from sorairo.cluster.cloud.service import Exposure, InvalidService, parse

Document = dict[str, Any]
ID = f"{NETWORK}/loadBalancers/kubernetes"
FRESH = balancer.fresh("westeurope", {"a": "b"})
SUBNET = f"{NETWORK}/virtualNetworks/aks-vnet/subnets/aks-subnet"


def before() -> Document:
    document = FakeArm().get(ID)
    assert document
    return document


def ip(n: int) -> Target:
    return Target(public_ip=f"{NETWORK}/publicIPAddresses/ip{n}")


def place(document: Document | None, *wanted: tuple[Exposure, Target], unwanted: tuple[str, ...] = ()) -> Change:
    return balancer.change(ID, document, wanted, unwanted, fresh=FRESH, outbound_rule=True)


def rules(change: Change) -> dict[str, Document]:
    assert change.document
    return {r["name"]: r["properties"] for r in change.document["properties"]["loadBalancingRules"]}


def frontends(change: Change) -> list[str]:
    assert change.document
    return [f["name"] for f in change.document["properties"]["frontendIPConfigurations"]]


# --- the load balancer ------------------------------------------------------------------------------------


def test_a_service_gets_a_frontend_a_rule_and_a_probe() -> None:
    change = place(before(), (parse(service(1)), ip(1)))
    assert change.changed
    assert change.document
    properties = change.document["properties"]
    p = prefix(1)
    assert properties["frontendIPConfigurations"][-1] == {
        "name": p,
        "properties": {"publicIPAddress": {"id": f"{NETWORK}/publicIPAddresses/ip1"}},
    }
    assert properties["loadBalancingRules"] == [
        {
            "name": f"{p}-TCP-80",
            "properties": {
                "frontendIPConfiguration": {"id": f"{ID}/frontendIPConfigurations/{p}"},
                "backendAddressPool": {"id": f"{ID}/backendAddressPools/kubernetes"},
                "probe": {"id": f"{ID}/probes/{p}-TCP-80"},
                "protocol": "Tcp",
                "frontendPort": 80,
                "backendPort": 80,
                "enableFloatingIP": True,
                "enableTcpReset": True,
                "disableOutboundSnat": True,
                "idleTimeoutInMinutes": 4,
                "loadDistribution": "Default",
            },
        }
    ]
    assert properties["probes"] == [
        {
            "name": f"{p}-TCP-80",
            "properties": {"protocol": "Tcp", "port": 30100, "intervalInSeconds": 5, "probeThreshold": 2},
        }
    ]
    assert properties["outboundRules"] == before()["properties"]["outboundRules"]


def test_what_is_right_is_left_alone() -> None:
    once = place(before(), (parse(service(1)), ip(1)), (parse(service(2)), ip(2))).document
    assert once
    # As ARM shows it: with ids and states, and in other letters.
    for part in balancer.PARTS:
        for item in once["properties"][part]:
            item["id"] = f"{ID.upper()}/{part}/{item['name']}"
            item["properties"]["provisioningState"] = "Succeeded"
    for rule in once["properties"]["loadBalancingRules"]:
        rule["properties"]["probe"]["id"] = rule["properties"]["probe"]["id"].upper()
    again = place(once, (parse(service(1)), ip(1)))
    assert not again.changed
    assert again.document == once
    assert again.left == {}


@pytest.mark.parametrize(
    ("spec", "annotations", "difference"),
    [
        ({"sessionAffinity": "ClientIP"}, {}, {"loadDistribution": "SourceIP"}),
        ({}, {names.A_IDLE: "30"}, {"idleTimeoutInMinutes": 30}),
        ({}, {names.A_NO_FLOATING: "true"}, {"enableFloatingIP": False, "backendPort": 30100}),
    ],
)
def test_a_changed_wish_changes_the_rule(
    spec: Document, annotations: dict[str, str], difference: dict[str, Any]
) -> None:
    document = place(before(), (parse(service(1)), ip(1))).document
    change = place(document, (parse(service(1, annotations=annotations, **spec)), ip(1)))
    (rule,) = rules(change).values()
    assert change.changed
    assert rule == {**rules(place(before(), (parse(service(1)), ip(1))))[f"{prefix(1)}-TCP-80"], **difference}


def test_ports_come_and_go() -> None:
    document = place(before(), (parse(service(1, ports=[{"port": 80}, {"port": 81}])), ip(1))).document
    change = place(document, (parse(service(1, ports=[{"port": 81}, {"port": 82, "protocol": "UDP"}])), ip(1)))
    assert list(rules(change)) == [f"{prefix(1)}-TCP-81", f"{prefix(1)}-UDP-82"]
    assert change.document
    assert [p["name"] for p in change.document["properties"]["probes"]] == [f"{prefix(1)}-TCP-81"]
    assert "probe" not in rules(change)[f"{prefix(1)}-UDP-82"]


def test_a_service_that_goes_takes_its_own_alone() -> None:
    document = place(before(), (parse(service(1)), ip(1)), (parse(service(2)), ip(2))).document
    change = place(document, unwanted=(prefix(1),))
    assert frontends(change) == ["out", prefix(2)]
    assert list(rules(change)) == [f"{prefix(2)}-TCP-80"]
    assert change.left == {prefix(1): {f"{NETWORK}/publicIPAddresses/ip1".lower()}}


def test_services_share_an_address() -> None:
    first, second = parse(service(1)), parse(service(2, ports=[{"port": 81}]))
    change = place(before(), (first, ip(1)), (second, ip(1)))
    assert frontends(change) == ["out", prefix(1)]
    assert {r["frontendIPConfiguration"]["id"] for r in rules(change).values()} == {
        f"{ID}/frontendIPConfigurations/{prefix(1)}"
    }
    # The one the frontend is named after goes: the other one's rules keep it.
    change = place(change.document, unwanted=(prefix(1),))
    assert frontends(change) == ["out", prefix(1)]
    assert list(rules(change)) == [f"{prefix(2)}-TCP-81"]
    change = place(change.document, unwanted=(prefix(2),))
    assert frontends(change) == ["out"]


def test_the_same_port_twice_at_one_address_is_refused_and_nothing_else() -> None:
    third = parse(service(3, ports=[{"port": 443}]))
    change = place(before(), (parse(service(1)), ip(1)), (parse(service(2)), ip(1)), (third, ip(1)))
    assert list(change.refused) == ["default/web2"]
    assert "port 80 which is being referenced by an existing loadBalancing rule" in str(change.refused["default/web2"])
    assert list(rules(change)) == [f"{prefix(1)}-TCP-80", f"{prefix(3)}-TCP-443"]


def test_a_refused_service_keeps_what_it_had() -> None:
    document = place(before(), (parse(service(1)), ip(1)), (parse(service(2)), ip(2))).document
    change = place(document, (parse(service(2)), ip(1)))
    assert list(change.refused) == ["default/web2"]
    assert not change.changed
    assert change.document == document


def test_another_address_is_another_frontend_of_the_same_name() -> None:
    document = place(before(), (parse(service(1)), ip(1))).document
    change = place(document, (parse(service(1)), ip(2)))
    assert frontends(change) == ["out", prefix(1)]
    assert change.document
    assert change.document["properties"]["frontendIPConfigurations"][-1]["properties"] == {
        "publicIPAddress": {"id": f"{NETWORK}/publicIPAddresses/ip2"}
    }
    assert change.left == {prefix(1): {f"{NETWORK}/publicIPAddresses/ip1".lower()}}


def test_an_address_that_another_still_uses_stays_when_its_first_user_moves() -> None:
    second = parse(service(2, ports=[{"port": 81}]))
    document = place(before(), (parse(service(1)), ip(1)), (second, ip(1))).document
    change = place(document, (parse(service(1)), ip(2)))
    assert frontends(change) == ["out", prefix(1), f"{prefix(1)}-1"]
    assert rules(change)[f"{prefix(1)}-TCP-80"]["frontendIPConfiguration"]["id"].endswith(f"/{prefix(1)}-1")
    assert rules(change)[f"{prefix(2)}-TCP-81"]["frontendIPConfiguration"]["id"].endswith(f"/{prefix(1)}")


def test_a_service_without_rules_keeps_its_address() -> None:
    notes = {names.port_annotation(80, "no_lb_rule"): "true"}
    change = place(before(), (parse(service(1, annotations=notes)), ip(1)))
    assert frontends(change) == ["out", prefix(1)]
    again = place(change.document, (parse(service(1, annotations=notes)), ip(1)))
    assert not again.changed


def test_an_internal_load_balancer_is_made_with_its_first_service_and_goes_with_its_last() -> None:
    exposure = parse(service(1, annotations={names.A_INTERNAL: "true"}))
    change = place(None, (exposure, Target(subnet=SUBNET)))
    assert change.document
    assert change.document["sku"] == {"name": "Standard"}
    assert change.document["tags"] == {"a": "b"}
    assert change.document["properties"]["backendAddressPools"] == [{"name": "kubernetes", "properties": {}}]
    (frontend,) = change.document["properties"]["frontendIPConfigurations"]
    assert frontend["properties"] == {
        "subnet": {"id": SUBNET},
        "privateIPAddressVersion": "IPv4",
        "privateIPAllocationMethod": "Dynamic",
    }
    frontend["properties"]["privateIPAddress"] = "10.0.0.9"
    assert balancer.address_of(change.document, exposure, Target(subnet=SUBNET)) == "10.0.0.9"
    assert not place(change.document, (exposure, Target(subnet=SUBNET))).changed
    asked = place(change.document, (exposure, Target(subnet=SUBNET, address="10.0.0.7"))).document
    assert asked
    assert asked["properties"]["frontendIPConfigurations"][0]["properties"]["privateIPAddress"] == "10.0.0.7"
    gone = place(change.document, unwanted=(prefix(1),))
    assert gone.document is None
    assert gone.changed


def test_what_others_have_there_is_not_touched() -> None:
    document = before()
    theirs = {
        "name": "mine",
        "properties": {
            "frontendIPConfiguration": {"id": f"{ID}/frontendIPConfigurations/out"},
            "protocol": "Tcp",
            "frontendPort": 80,
        },
    }
    document["properties"]["loadBalancingRules"] = [theirs]
    document["properties"]["probes"] = [{"name": "mine", "properties": {"protocol": "Tcp", "port": 1}}]
    change = place(document, (parse(service(1)), ip(1)), unwanted=(prefix(2),))
    assert rules(change)["mine"] == theirs["properties"]
    outbound = place(document, (parse(service(1)), Target(public_ip=OUTBOUND)))
    assert list(outbound.refused) == ["default/web1"]  # The port is theirs at that address.


# --- security rules ---------------------------------------------------------------------------------------

NSG: Document = {"name": "nsg", "properties": {"securityRules": []}}


def opening(n: int, address: str, **spec: Any) -> Opening:
    return Opening(parse(service(n, **spec)), (address,))


def guarded(document: Document, *openings: Opening, untouched: tuple[str, ...] = ()) -> list[Document]:
    after, changed = firewall.change(document, openings, untouched)
    rules: list[Document] = after["properties"]["securityRules"]
    assert changed == (rules != document["properties"]["securityRules"])
    assert firewall.change(after, openings, untouched) == (after, False)
    return rules


def test_services_alike_share_a_rule() -> None:
    rules = guarded(NSG, opening(1, "198.18.0.1"), opening(2, "198.18.0.2"))
    assert rules == [
        {
            "name": "k8s-azure-lb_allow_IPv4_d39272f7f57ed937951650d93992ad77",
            "properties": {
                "access": "Allow",
                "direction": "Inbound",
                "protocol": "Tcp",
                "sourceAddressPrefix": "Internet",
                "sourcePortRange": "*",
                "destinationPortRanges": ["80"],
                "destinationAddressPrefixes": ["198.18.0.1", "198.18.0.2"],
                "priority": 500,
            },
        }
    ]
    (left,) = guarded({"properties": {"securityRules": rules}}, opening(2, "198.18.0.2"))
    assert left["properties"]["destinationAddressPrefix"] == "198.18.0.2"
    assert "destinationAddressPrefixes" not in left["properties"]
    assert left["properties"]["priority"] == 500
    assert guarded({"properties": {"securityRules": rules}}) == []


def test_source_ranges_are_one_rule_and_service_tags_one_each() -> None:
    notes = {names.A_TAGS: "AzureCloud,Storage"}
    rules = guarded(
        NSG, opening(1, "198.18.0.1", loadBalancerSourceRanges=["11.0.0.0/8", "10.0.0.0/8"], annotations=notes)
    )
    sources = [r["properties"].get("sourceAddressPrefix") or r["properties"]["sourceAddressPrefixes"] for r in rules]
    assert sources == ["AzureCloud", "Storage", ["10.0.0.0/8", "11.0.0.0/8"]]
    assert [r["properties"]["priority"] for r in rules] == [500, 501, 502]


def test_protocols_are_rules_of_their_own_with_all_their_ports() -> None:
    ports = [{"port": 443}, {"port": 53, "protocol": "UDP"}, {"port": 80}]
    rules = guarded(NSG, opening(1, "198.18.0.1", ports=ports))
    assert [(r["properties"]["protocol"], r["properties"]["destinationPortRanges"]) for r in rules] == [
        ("Tcp", ["443", "80"]),
        ("Udp", ["53"]),
    ]
    assert rules[0]["name"] == "k8s-azure-lb_allow_IPv4_556f7044ec033071ec0dfcf7cd85bc93"


def test_denying_all_others_comes_last() -> None:
    notes = {names.A_DENY_OTHERS: "true"}
    rules = guarded(NSG, opening(1, "198.18.0.1", loadBalancerSourceRanges=["10.0.0.0/8"], annotations=notes))
    assert [(r["name"], r["properties"]["access"], r["properties"]["priority"]) for r in rules] == [
        (names.allow_rule("Tcp", ["10.0.0.0/8"], [80]), "Allow", 500),
        ("k8s-azure-lb_deny-all_IPv4", "Deny", 4095),
    ]
    assert rules[1]["properties"]["destinationPortRange"] == "*"


def test_others_rules_and_priorities_stay() -> None:
    theirs = {"name": "ssh", "properties": {"priority": 500, "direction": "Inbound", "access": "Allow"}}
    rules = guarded({"properties": {"securityRules": [theirs]}}, opening(1, "198.18.0.1"))
    assert rules[0] == theirs
    assert rules[1]["properties"]["priority"] == 501


def test_an_internal_service_needs_no_rule_unless_it_says_who() -> None:
    notes = {names.A_INTERNAL: "true"}
    assert guarded(NSG, opening(1, "10.0.0.9", annotations=notes)) == []
    (rule,) = guarded(NSG, opening(1, "10.0.0.9", annotations=notes, loadBalancerSourceRanges=["10.1.0.0/16"]))
    assert rule["properties"]["sourceAddressPrefix"] == "10.1.0.0/16"


def test_what_cannot_be_judged_stays_as_it_is() -> None:
    rules = guarded(
        NSG, opening(1, "198.18.0.1"), opening(2, "198.18.0.2"), opening(3, "198.18.0.3", ports=[{"port": 81}])
    )
    document = {"properties": {"securityRules": rules}}
    assert guarded(document, opening(1, "198.18.0.1"), untouched=("198.18.0.2", "198.18.0.3")) == rules


def test_priorities_run_out() -> None:
    theirs = [{"name": f"r{p}", "properties": {"priority": p}} for p in range(500, 4096)]
    with pytest.raises(firewall.NoPriorityLeft):
        firewall.change({"properties": {"securityRules": theirs}}, [opening(1, "198.18.0.1")])


# --- public IPs -------------------------------------------------------------------------------------------


def wanted(exposure: Exposure, pip: Document | None) -> Document:
    return addresses.wanted(exposure, pip, location="westeurope", tags={"aks-managed-cluster-name": "c"})


def test_a_public_ip_is_made_for_its_service() -> None:
    assert wanted(parse(service(1, annotations={names.A_PIP_TAGS: "team=a"})), None) == {
        "location": "westeurope",
        "sku": {"name": "Standard"},
        "tags": {
            "aks-managed-cluster-name": "c",
            "team": "a",
            "k8s-azure-cluster-name": "kubernetes",
            "k8s-azure-service": "default/web1",
        },
        "properties": {"publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4"},
    }


def test_services_join_and_leave_a_public_ip() -> None:
    pip = wanted(parse(service(1)), None)
    assert wanted(parse(service(1)), pip) == pip
    both = wanted(parse(service(2)), pip)
    assert both["tags"]["k8s-azure-service"] == "default/web1,default/web2"
    left = addresses.released(both, "default/web1")
    assert left
    assert left["tags"]["k8s-azure-service"] == "default/web2"
    assert addresses.released(left, "default/web1") == left
    assert addresses.released(left, "default/web2") is None


def test_a_users_public_ip_is_used_and_left_as_it_is() -> None:
    theirs = {"name": "mine", "properties": {"ipAddress": "198.18.0.9"}}
    assert wanted(parse(service(1)), theirs) == theirs
    assert addresses.released(theirs, "default/web1") == theirs


def test_a_dns_label_belongs_to_one_service() -> None:
    labelled = parse(service(1, annotations={names.A_DNS_LABEL: "shop"}))
    pip = wanted(labelled, None)
    assert pip["properties"]["dnsSettings"] == {"domainNameLabel": "shop"}
    assert pip["tags"]["k8s-azure-dns-label-service"] == "default/web1"
    shown = copy.deepcopy(pip)
    shown["properties"]["dnsSettings"]["fqdn"] = "shop.westeurope.cloudapp.sorairo.internal"
    assert wanted(labelled, shown) == shown
    with pytest.raises(InvalidService, match="existing service default/web1 consuming the DNS label"):
        wanted(parse(service(2, annotations={names.A_DNS_LABEL: "other"})), pip)
    assert wanted(parse(service(1)), shown) == shown  # Without the annotation it stays; empty takes it away.
    none = wanted(parse(service(1, annotations={names.A_DNS_LABEL: ""})), shown)
    assert "dnsSettings" not in none["properties"]
    assert "k8s-azure-dns-label-service" not in none["tags"]
