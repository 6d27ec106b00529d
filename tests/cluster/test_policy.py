"""Network policy as a function: what generated worlds let pass is what a naive oracle says; and what is asked of
screens besides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from policy_world import NODES, OUTSIDE, PORTS, Packet, World, oracle, passes, worlds
from sorairo.cluster.policy import objects
from sorairo.drivers.linux.screens import opening_rules, pieces
from sorairo.drivers.screens import Opening, Screen

PODS = tuple((f"10.224.0.{40 + n}", NODES[n % 2]) for n in range(5))
packets = st.builds(
    Packet,
    st.sampled_from([*(a for a, _ in PODS), *OUTSIDE]),
    st.sampled_from([*(a for a, _ in PODS), *OUTSIDE]),
    st.sampled_from(["tcp", "udp"]),
    st.sampled_from([*PORTS, 444]),
)


@given(worlds(PODS), st.lists(packets, min_size=1, max_size=40))
@settings(max_examples=150, deadline=None)
def test_screens_let_pass_what_the_oracle_does(world: World, packets: list[Packet]) -> None:
    found = world.screens()
    for packet in packets:
        assert passes(world, found, packet) == oracle(world, packet), packet
    for screen in found.values():
        assert len({piece.name for piece in pieces(screen)}) == len(pieces(screen))


def pod(name: str, address: str = "", node: str = "n0", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "a", "labels": {"app": name}}
    return {"metadata": metadata, "spec": {"nodeName": node, **spec}, "status": {"podIP": address} if address else {}}


def deny(name: str, *types: str) -> dict[str, Any]:
    spec = {"podSelector": {"matchLabels": {"app": name}}, "policyTypes": list(types)}
    return {"metadata": {"name": f"deny-{name}", "namespace": "a"}, "spec": spec}


NAMESPACE = {"metadata": {"name": "a", "labels": {}}}


def test_where_no_policy_selects_there_is_no_screen() -> None:
    world = World([deny("other", "Ingress")], [NAMESPACE], [pod("web", "10.0.0.5")])
    assert world.screens() == {node: Screen(node, f"/{node}") for node in NODES}
    assert pieces(world.screens()["n0"]) == []


def test_a_pod_to_come_that_a_policy_selects_is_closed_until_its_address_is_known() -> None:
    """On its machine alone, on the sides that the policy is about, and whoever is known there is not disturbed."""
    world = World([deny("web", "Ingress")], [NAMESPACE], [pod("web"), pod("other", "10.0.0.6")])
    screen = world.screens()["n0"]
    assert (screen.inbound.hold, screen.outbound.hold, screen.known) == (True, False, {"10.0.0.6"})
    assert not world.screens()["n1"].inbound.hold
    there = replace(world, pods=[pod("web", "10.0.0.5"), pod("other", "10.0.0.6")]).screens()["n0"]
    assert (there.inbound.hold, there.known, set(there.inbound.guests)) == (False, set(), {"10.0.0.5"})
    assert not replace(world, pods=[pod("other")]).screens()["n0"].inbound.hold, "no policy selects it"


def test_pods_with_their_nodes_network_and_those_that_ended_are_apart() -> None:
    ended = pod("web", "10.0.0.5")
    ended["status"]["phase"] = "Succeeded"
    world = World([deny("web", "Ingress")], [NAMESPACE], [ended, pod("web", "10.224.0.4", hostNetwork=True)])
    assert world.screens()["n0"] == Screen("n0", "/n0")


def test_equal_peers_share_a_group() -> None:
    peer = {"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "x"}}}]}
    policies = [deny("web", "Ingress"), deny("api", "Ingress")]
    for policy in policies:
        policy["spec"]["ingress"] = [peer]
    world = World(policies, [NAMESPACE], [pod("web", "10.0.0.5"), pod("api", "10.0.0.6"), pod("x", "10.0.0.7")])
    assert list(world.screens()["n0"].groups.values()) == [{"10.0.0.7"}]


def test_policy_types_default_as_kubernetes_has_it() -> None:
    bare = {"metadata": {"name": "p", "namespace": "a"}, "spec": {"podSelector": {}}}
    assert (objects.policy(bare).ingress, objects.policy(bare).egress) == ((), None)
    bare["spec"]["egress"] = [{}]
    assert objects.policy(bare).egress == (objects.Rule(),)


def test_openings_as_rules() -> None:
    assert opening_rules("in", Opening(anybody=True, any_port=True)) == ["counter accept"]
    opening = Opening("g", ("10.0.0.0/8",), ports=(("tcp", 80, 80), ("tcp", 90, 99), ("udp", 53, 53)))
    assert opening_rules("out", opening) == [
        "ip daddr @g-g meta l4proto tcp th dport { 80, 90-99 } counter accept",
        "ip daddr @g-g meta l4proto udp th dport { 53 } counter accept",
        "ip daddr 10.0.0.0/8 meta l4proto tcp th dport { 80, 90-99 } counter accept",
        "ip daddr 10.0.0.0/8 meta l4proto udp th dport { 53 } counter accept",
    ]
    assert opening_rules("in", Opening("g", services=(("tcp", "tcp-web"),))) == [
        "ip saddr @g-g meta l4proto tcp ip daddr . th dport @s-tcp-web counter accept"
    ]
