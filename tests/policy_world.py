"""Network policies to try: worlds as an API server would tell them, a naive oracle of what should pass, and a judge
that says what screens let pass.

The oracle reads Kubernetes's own objects and follows the words of its documentation, one packet at a time, so that it
shares nothing with what it is held against.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from sorairo.cluster.policy import objects
from sorairo.cluster.policy.compiled import screens
from sorairo.drivers.screens import Screen, Side

Object = dict[str, Any]

NODES = ("n0", "n1")
OUTSIDE = ("10.224.0.5", "10.224.9.9")
"""Addresses that no pod has: of another machine of the network."""
PORTS = (80, 81, 443, 8080)


@dataclass(frozen=True)
class Packet:
    """The first of a connection."""

    source: str
    target: str
    protocol: str
    port: int


@dataclass(frozen=True)
class World:
    policies: list[Object]
    namespaces: list[Object]
    pods: list[Object]

    def screens(self) -> dict[str, Screen]:
        return screens(
            map(objects.policy, self.policies),
            {n["metadata"]["name"]: objects.namespace(n) for n in self.namespaces},
            map(objects.pod, self.pods),
            {node: Screen(node, f"/{node}") for node in NODES},
        )

    def node_of(self, address: str) -> str | None:
        return next((p["spec"]["nodeName"] for p in self.pods if p["status"].get("podIP") == address), None)


# --- the oracle ------------------------------------------------------------------------------------------


def oracle(world: World, packet: Packet) -> bool:
    """Whether the source may send it, and the target may get it."""
    if packet.source == packet.target:
        return True
    source, target = (_pod(world, address) for address in (packet.source, packet.target))
    return _lets(world, "Egress", source, target, packet) and _lets(world, "Ingress", target, source, packet)


def _pod(world: World, address: str) -> Object | None:
    return next((p for p in world.pods if p["status"].get("podIP") == address), None)


def _lets(world: World, kind: str, own: Object | None, other: Object | None, packet: Packet) -> bool:
    if own is None:
        return True
    selecting = [
        p
        for p in world.policies
        if kind in p["spec"]["policyTypes"]
        and p["metadata"]["namespace"] == own["metadata"]["namespace"]
        and _selects(p["spec"]["podSelector"], own["metadata"]["labels"])
    ]
    if not selecting:
        return True
    far = packet.target if kind == "Egress" else packet.source
    target = other if kind == "Egress" else own
    way = "to" if kind == "Egress" else "from"
    for policy in selecting:
        for rule in policy["spec"].get(kind.lower(), []):
            peers, ports = rule.get(way, []), rule.get("ports", [])
            if peers and not any(_peer(world, policy, peer, other, far) for peer in peers):
                continue
            if ports and not any(_port(port, packet, target) for port in ports):
                continue
            return True
    return False


def _peer(world: World, policy: Object, peer: Object, other: Object | None, address: str) -> bool:
    if "ipBlock" in peer:
        inside = ipaddress.ip_address(address) in ipaddress.ip_network(peer["ipBlock"]["cidr"])
        return inside and not any(
            ipaddress.ip_address(address) in ipaddress.ip_network(each) for each in peer["ipBlock"].get("except", [])
        )
    if other is None:
        return False
    home = other["metadata"]["namespace"]
    if "namespaceSelector" in peer:
        labels = next(n["metadata"]["labels"] for n in world.namespaces if n["metadata"]["name"] == home)
        if not _selects(peer["namespaceSelector"], labels):
            return False
    elif home != policy["metadata"]["namespace"]:
        return False
    return _selects(peer.get("podSelector", {}), other["metadata"]["labels"])


def _port(port: Object, packet: Packet, target: Object | None) -> bool:
    if port.get("protocol", "TCP").lower() != packet.protocol:
        return False
    wanted = port.get("port")
    if wanted is None:
        return True
    if isinstance(wanted, str):
        listed = [p for c in target["spec"]["containers"] for p in c["ports"]] if target else []
        return any(
            p["name"] == wanted and p["protocol"].lower() == packet.protocol and p["containerPort"] == packet.port
            for p in listed
        )
    return bool(wanted <= packet.port <= port.get("endPort", wanted))


def _selects(selector: Object, labels: Mapping[str, str]) -> bool:
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for e in selector.get("matchExpressions", []):
        value = labels.get(e["key"])
        holds = {
            "In": value is not None and value in e.get("values", []),
            "NotIn": value is None or value not in e.get("values", []),
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[e["operator"]]
        if not holds:
            return False
    return True


# --- the judge -------------------------------------------------------------------------------------------


def passes(world: World, found: Mapping[str, Screen], packet: Packet) -> bool:
    """Whether screens let it pass: its source's machine's on the way out, its target's on the way in."""
    if packet.source == packet.target:
        return True
    there, here = world.node_of(packet.source), world.node_of(packet.target)
    out = there is None or _open(found[there], found[there].outbound, packet.source, packet.target, packet)
    return out and (here is None or _open(found[here], found[here].inbound, packet.target, packet.source, packet))


def _open(screen: Screen, side: Side, guest: str, other: str, packet: Packet) -> bool:
    if guest not in side.guests:
        return not (side.hold and guest not in screen.known)
    for name in side.guests[guest]:
        for opening in side.policies[name]:
            peer = opening.anybody or (opening.group is not None and other in screen.groups[opening.group])
            peer = peer or any(ipaddress.ip_address(other) in ipaddress.ip_network(b) for b in opening.blocks)
            port = opening.any_port or any(p == packet.protocol and a <= packet.port <= b for p, a, b in opening.ports)
            port = port or any(
                p == packet.protocol and (packet.target, packet.port) in screen.services[s] for p, s in opening.services
            )
            if peer and port:
                return True
    return False


# --- worlds ----------------------------------------------------------------------------------------------

_labels = st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from(["x", "y", "z"]), max_size=2)
_expression = st.one_of(
    st.builds(
        lambda key, operator, values: {"key": key, "operator": operator, "values": values},
        st.sampled_from(["app", "tier"]),
        st.sampled_from(["In", "NotIn"]),
        st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, max_size=2, unique=True),
    ),
    st.builds(
        lambda key, operator: {"key": key, "operator": operator},
        st.sampled_from(["app", "tier"]),
        st.sampled_from(["Exists", "DoesNotExist"]),
    ),
)
_selector = st.builds(
    lambda labels, expressions: {
        **({"matchLabels": labels} if labels else {}),
        **({"matchExpressions": expressions} if expressions else {}),
    },
    st.one_of(st.just({}), _labels),
    st.lists(_expression, max_size=1),
)
_block = st.sampled_from(
    [
        {"cidr": "0.0.0.0/0"},
        {"cidr": "0.0.0.0/0", "except": ["10.224.0.40/32"]},
        {"cidr": "10.224.0.0/24", "except": ["10.224.0.40/31", "10.224.0.5/32"]},
        {"cidr": "10.224.0.0/16", "except": ["10.224.0.0/24"]},
        {"cidr": "10.224.0.5/32"},
        {"cidr": "10.224.0.0/24", "except": ["10.224.0.0/24"]},
    ]
).map(lambda block: {"ipBlock": block})
_peer_of = st.one_of(
    _block,
    _selector.map(lambda s: {"podSelector": s}),
    _selector.map(lambda s: {"namespaceSelector": s}),
    st.builds(lambda a, b: {"namespaceSelector": a, "podSelector": b}, _selector, _selector),
)
_port_of = st.one_of(
    st.builds(lambda p: {"protocol": p}, st.sampled_from(["TCP", "UDP"])),
    st.builds(lambda p, n: {"protocol": p, "port": n}, st.sampled_from(["TCP", "UDP"]), st.sampled_from(PORTS)),
    st.builds(lambda a, b: {"port": min(a, b), "endPort": max(a, b)}, st.sampled_from(PORTS), st.sampled_from(PORTS)),
    st.builds(
        lambda p, n: {"protocol": p, "port": n}, st.sampled_from(["TCP", "UDP"]), st.sampled_from(["web", "dns"])
    ),
)


@st.composite
def _policies(draw: st.DrawFn, number: int) -> Object:
    spec: Object = {
        "podSelector": draw(_selector),
        "policyTypes": draw(st.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"]])),
    }
    for side, way in (("ingress", "from"), ("egress", "to")):
        if side.capitalize() in spec["policyTypes"]:
            spec[side] = [
                {
                    **({way: peers} if (peers := draw(st.lists(_peer_of, max_size=2))) else {}),
                    **({"ports": ports} if (ports := draw(st.lists(_port_of, max_size=2))) else {}),
                }
                for _ in range(draw(st.integers(0, 2)))
            ]
    return {"metadata": {"name": f"p{number}", "namespace": draw(st.sampled_from(["a", "b"]))}, "spec": spec}


@st.composite
def worlds(draw: st.DrawFn, addresses: Iterable[tuple[str, str]]) -> World:
    """`addresses`: of pods, each with its node."""
    spaces = [{"metadata": {"name": n, "labels": draw(_labels)}} for n in ("a", "b", "c")]
    pods = [
        {
            "metadata": {"name": f"p{n}", "namespace": draw(st.sampled_from(["a", "b", "c"])), "labels": draw(_labels)},
            "spec": {
                "nodeName": node,
                "containers": [
                    {
                        "ports": [
                            {"name": "web", "protocol": "TCP", "containerPort": draw(st.sampled_from(PORTS))},
                            {"name": "dns", "protocol": "UDP", "containerPort": draw(st.sampled_from(PORTS))},
                        ]
                    }
                ],
            },
            "status": {"podIP": address, "phase": "Running"},
        }
        for n, (address, node) in enumerate(addresses)
    ]
    policies = [draw(_policies(n)) for n in range(draw(st.integers(1, 4)))]
    return World(policies, spaces, pods)
