"""What a Service asks for."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.fakes import prefix, service
from sorairo.cluster.cloud import names
from sorairo.cluster.cloud.service import InvalidService, Probe, Rule, Sources, held, parse, wanted

BETA = "service.beta.kubernetes.io/"
P = prefix(1)


def test_a_plain_service_gets_a_rule_and_a_probe_of_its_node_port() -> None:
    it = parse(service(1))
    assert it.key == "default/web1"
    assert it.frontend == P
    assert it.rules == (Rule(f"{P}-TCP-80", "Tcp", 80, 80, f"{P}-TCP-80"),)
    assert it.probes == (Probe(f"{P}-TCP-80", "Tcp", 30100),)
    assert it.ports == (("Tcp", 80),)
    assert (it.floating, it.affinity, it.idle_minutes, it.internal) == (True, False, 4, False)
    assert it.sources == Sources(internet=True)


def test_udp_has_no_probe() -> None:
    it = parse(service(1, ports=[{"port": 53, "protocol": "UDP"}, {"port": 53}]))
    assert [(r.name, r.probe) for r in it.rules] == [(f"{P}-UDP-53", None), (f"{P}-TCP-53", f"{P}-TCP-53")]
    assert it.ports == (("Udp", 53), ("Tcp", 53))


def test_without_node_ports_there_is_a_rule_and_nothing_to_probe() -> None:
    """`allocateLoadBalancerNodePorts: false`: the rule leads to the Service's own port on the node."""
    it = parse(service(1, ports=[{"port": 80, "nodePort": 0}], allocateLoadBalancerNodePorts=False))
    assert it.rules == (Rule(f"{P}-TCP-80", "Tcp", 80, 80, None),)
    assert it.probes == ()
    without = {BETA + "azure-disable-load-balancer-floating-ip": "true"}
    with pytest.raises(InvalidService, match="port 80 has no node port"):
        parse(service(1, annotations=without, ports=[{"port": 80, "nodePort": 0}], allocateLoadBalancerNodePorts=False))


def test_local_traffic_is_probed_at_the_health_check_port_by_all_rules() -> None:
    it = parse(
        service(
            1,
            ports=[{"port": 80}, {"port": 53, "protocol": "UDP"}],
            externalTrafficPolicy="Local",
            healthCheckNodePort=31999,
        )
    )
    assert it.probes == (Probe(f"{P}-TCP-31999", "Http", 31999, "/healthz"),)
    assert {r.probe for r in it.rules} == {f"{P}-TCP-31999"}


@pytest.mark.parametrize(
    ("annotations", "port", "probe"),
    [
        ({"azure-load-balancer-health-probe-protocol": "http"}, {}, ("Http", 30100, "/", 5, 2)),
        (
            {
                "azure-load-balancer-health-probe-protocol": "https",
                "azure-load-balancer-health-probe-request-path": "/ok",
                "azure-load-balancer-health-probe-interval": "10",
                "azure-load-balancer-health-probe-num-of-probe": "4",
            },
            {},
            ("Https", 30100, "/ok", 10, 4),
        ),
        ({"azure-load-balancer-health-probe-request-path": "/ok"}, {}, ("Tcp", 30100, None, 5, 2)),
        (
            {"azure-load-balancer-health-probe-request-path": "/ok"},
            {"appProtocol": "http"},
            ("Http", 30100, "/ok", 5, 2),
        ),
        ({"azure-load-balancer-health-probe-protocol": "strange"}, {}, ("Tcp", 30100, None, 5, 2)),
        (
            {
                "azure-load-balancer-health-probe-protocol": "http",
                "port_80_health-probe_protocol": "https",
                "port_80_health-probe_request-path": "/80",
                "port_80_health-probe_interval": "20",
            },
            {},
            ("Https", 30100, "/80", 20, 2),
        ),
        ({"port_80_health-probe_port": "10256"}, {}, ("Tcp", 10256, None, 5, 2)),
        ({"port_80_health-probe_port": "80"}, {}, ("Tcp", 30100, None, 5, 2)),
        ({"port_80_health-probe_port": "p0"}, {}, ("Tcp", 30100, None, 5, 2)),
    ],
)
def test_probes_by_annotation(annotations: dict[str, str], port: dict[str, Any], probe: tuple[Any, ...]) -> None:
    it = parse(service(1, annotations={BETA + k: v for k, v in annotations.items()}, ports=[{"port": 80, **port}]))
    assert it.probes == (Probe(f"{P}-TCP-80", *probe),)


@pytest.mark.parametrize(
    ("annotations", "spec", "message"),
    [
        ({"azure-load-balancer-health-probe-interval": "4"}, {}, "the minimum value of interval is 5"),
        ({"azure-load-balancer-health-probe-num-of-probe": "1"}, {}, "the minimum value of num-of-probe is 2"),
        (
            {
                "azure-load-balancer-health-probe-interval": "60",
                "azure-load-balancer-health-probe-num-of-probe": "2",
            },
            {},
            "total probe should be less than 120",
        ),
        ({"port_80_health-probe_port": "nope"}, {}, "port nope not found in service"),
        ({"azure-load-balancer-tcp-idle-timeout": "3"}, {}, "between 4 and 30, actual value: 3"),
        ({"azure-load-balancer-tcp-idle-timeout": "x"}, {}, "'x' is not a whole number"),
        ({"azure-shared-securityrule": "true"}, {}, "does not implement"),
        ({"azure-pls-create": "true"}, {}, "does not implement"),
        ({"azure-allowed-ip-ranges": "1.0.0.0/8"}, {"loadBalancerSourceRanges": ["2.0.0.0/8"]}, "cannot set both"),
        ({}, {"ports": [{"port": 80, "protocol": "SCTP"}]}, "SCTP"),
        ({}, {"loadBalancerIP": "fe80::1"}, "is not an IPv4 address"),
        ({}, {"ipFamilies": ["IPv6"]}, "IPv6"),
    ],
)
def test_what_cannot_be(annotations: dict[str, str], spec: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidService, match=message):
        parse(service(1, annotations={BETA + k: v for k, v in annotations.items()}, **spec))


@pytest.mark.parametrize(
    ("internal", "annotations", "ranges", "sources"),
    [
        (False, {}, ["10.0.0.0/8", "192.168.1.1/32"], Sources(("10.0.0.0/8", "192.168.1.1/32"), internet=False)),
        (False, {}, ["0.0.0.0/0"], Sources(("0.0.0.0/0",), internet=True)),
        (True, {}, [], Sources(internet=False)),
        (True, {}, ["0.0.0.0/0"], Sources(("0.0.0.0/0",), internet=True)),
        (True, {}, ["10.1.0.0/16"], Sources(("10.1.0.0/16",), internet=False)),
        (
            False,
            {"azure-allowed-service-tags": "AzureCloud, Storage"},
            [],
            Sources((), ("AzureCloud", "Storage"), False),
        ),
        (
            False,
            {"azure-allowed-service-tags": "AzureCloud"},
            ["10.0.0.0/8"],
            Sources(("10.0.0.0/8",), ("AzureCloud",), False),
        ),
        (
            False,
            {"azure-allowed-ip-ranges": "10.0.0.0/8,11.0.0.0/8"},
            [],
            Sources(("10.0.0.0/8", "11.0.0.0/8"), (), False),
        ),
        (
            False,
            {"azure-deny-all-except-load-balancer-source-ranges": "true"},
            ["10.0.0.0/8"],
            Sources(("10.0.0.0/8",), (), False, True),
        ),
        (False, {"azure-deny-all-except-load-balancer-source-ranges": "true"}, [], Sources(internet=True)),
        (False, {}, ["10.0.0.1/8"], Sources((), (), False, True, ("10.0.0.1/8",))),
    ],
)
def test_who_may_connect(internal: bool, annotations: dict[str, str], ranges: list[str], sources: Sources) -> None:
    notes = {BETA + k: v for k, v in annotations.items()} | ({names.A_INTERNAL: "true"} if internal else {})
    assert parse(service(1, annotations=notes, loadBalancerSourceRanges=ranges)).sources == sources


def test_names_of_an_internal_one_carry_its_subnet_and_are_at_most_80_long() -> None:
    notes = {names.A_INTERNAL: "true", names.A_SUBNET: "apps"}
    it = parse(service(1, annotations=notes))
    assert (it.frontend, it.rules[0].name) == (f"{P}-apps", f"{P}-apps-TCP-80")
    notes[names.A_SUBNET] = "s" * 70
    it = parse(service(1, annotations=notes, ports=[{"port": 65535}]))
    assert len(it.frontend) == len(it.rules[0].name) == 80
    assert it.rules[0].name.endswith("s-TCP-65535")


def test_without_floating_ip_the_node_port_is_what_packets_come_to() -> None:
    it = parse(service(1, annotations={names.A_NO_FLOATING: "true"}))
    assert (it.rules[0].port, it.rules[0].backend_port, it.ports) == (80, 30100, (("Tcp", 30100),))


def test_high_availability_ports_are_one_rule_for_all() -> None:
    notes = {names.A_INTERNAL: "true", names.A_HA_PORTS: "true"}
    it = parse(service(1, annotations=notes, ports=[{"port": 80}, {"port": 443}]))
    assert it.rules == (Rule(f"{P}-TCP-80", "All", 0, 0, f"{P}-TCP-80"),)
    assert it.probes == (Probe(f"{P}-TCP-80", "Tcp", 30100),)


def test_ports_may_do_without_rule_or_probe() -> None:
    notes = {BETA + "port_80_no_lb_rule": "true", BETA + "port_443_no_probe_rule": "true"}
    it = parse(service(1, annotations=notes, ports=[{"port": 80}, {"port": 443}]))
    assert it.rules == (Rule(f"{P}-TCP-443", "Tcp", 443, 443, None),)
    assert it.probes == ()


def test_whose_services_these_are() -> None:
    assert wanted(service(1))
    assert not wanted(service(1, type="ClusterIP"))
    assert not wanted(service(1, loadBalancerClass="example.com/other"))
    going = service(1)
    going["metadata"] |= {"deletionTimestamp": "now", "finalizers": [names.FINALIZER]}
    assert not wanted(going)
    assert held(going)


def test_names() -> None:
    assert names.prefix("9a6a3f6e-1c2d-4b7a-8f00-2f6f1e0c9d11") == "a9a6a3f6e1c2d4b7a8f002f6f1e0c9d1"
    assert names.owner("a9a6a3f6e1c2d4b7a8f002f6f1e0c9d1-TCP-80") == "a9a6a3f6e1c2d4b7a8f002f6f1e0c9d1"
    assert names.owner("a9a6a3f6e1c2d4b7a8f002f6f1e0c9d1") == "a9a6a3f6e1c2d4b7a8f002f6f1e0c9d1"
    assert names.owner("a9a6a3f6e1c2d4b7a8f002f6f1e0c9d11") is None
    assert names.owner("aksOutboundRule") is None
    # As found on AKS clusters whose ingress controller listens at 80 and 443.
    allowed = names.allow_rule("Tcp", ["Internet"], [80, 443])
    assert allowed == "k8s-azure-lb_allow_IPv4_556f7044ec033071ec0dfcf7cd85bc93"
