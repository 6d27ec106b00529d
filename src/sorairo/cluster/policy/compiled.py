"""What network policies mean for the pods of each machine: a pure function of what the API server holds.

Pods are looked at by kind, a namespace and its labels: those of a Deployment are all of one, so that a selector is
tried once for all of them.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from sorairo.cluster.policy.objects import Block, Labels, Pod, Pods, Policy, Port, Rule
from sorairo.drivers.screens import Opening, Protocol, Screen, Side

Kind = tuple[str, Labels]
"""Namespace and labels of pods that no policy tells apart."""


@dataclass(slots=True)
class _Alike:
    """Pods of one kind."""

    kind: Kind
    labels: dict[str, str]
    pods: list[Pod] = field(default_factory=list)


@dataclass(slots=True)
class _World:
    spaces: dict[str, dict[str, str]]
    """Labels of namespaces, by name."""
    kinds: dict[str, list[_Alike]]
    """By namespace."""
    groups: dict[str, frozenset[str]] = field(default_factory=dict)
    services: dict[str, frozenset[tuple[str, int]]] = field(default_factory=dict)

    def members(self, peers: tuple[Pods, ...], at_home: str) -> frozenset[str]:
        """Addresses of the pods that one of the peers of a policy in namespace `at_home` stands for."""
        found: set[str] = set()
        for namespace, kinds in self.kinds.items():
            here = [peer.pods for peer in peers if self._inside(peer, at_home, namespace)]
            for alike in kinds if here else ():
                if any(pods.matches(alike.labels) for pods in here):
                    found.update(pod.address for pod in alike.pods if pod.address)
        return frozenset(found)

    def _inside(self, peer: Pods, at_home: str, namespace: str) -> bool:
        if peer.namespaces is None:
            return namespace == at_home
        known = self.spaces.get(namespace)
        return known is not None and peer.namespaces.matches(known)

    def listening(self, protocol: Protocol, name: str) -> frozenset[tuple[str, int]]:
        """Addresses of pods with a port of that name, and which it is."""
        return frozenset(
            (pod.address, number)
            for kinds in self.kinds.values()
            for alike in kinds
            for pod in alike.pods
            for called, used, number in pod.ports
            if pod.address and called == name and used == protocol
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """One side of a policy."""

    name: str
    openings: tuple[Opening, ...]


def screens(
    policies: Iterable[Policy], namespaces: Mapping[str, Labels], pods: Iterable[Pod], machines: Mapping[str, Screen]
) -> dict[str, Screen]:
    """By node name, for each of `machines`, which are empty screens of theirs. `namespaces`: labels by name."""
    alikes: dict[Kind, _Alike] = {}
    by_node: dict[str, list[Pod]] = defaultdict(list)
    for pod in pods:
        if not pod.apart:
            kind = pod.namespace, pod.labels
            alike = alikes.get(kind) or alikes.setdefault(kind, _Alike(kind, dict(pod.labels)))
            alike.pods.append(pod)
            by_node[pod.node].append(pod)
    kinds: dict[str, list[_Alike]] = defaultdict(list)
    for alike in alikes.values():
        kinds[alike.kind[0]].append(alike)
    world = _World({name: dict(labels) for name, labels in namespaces.items()}, dict(kinds))
    about: dict[str, dict[Kind, list[_Part]]] = {"ingress": defaultdict(list), "egress": defaultdict(list)}
    for policy in sorted(policies, key=lambda each: (each.namespace, each.name)):
        chosen = [a.kind for a in kinds.get(policy.namespace, ()) if policy.pods.matches(a.labels)]
        if not chosen:
            continue
        for side, rules in (("ingress", policy.ingress), ("egress", policy.egress)):
            if rules is not None:
                part = _part(world, policy, rules)
                for kind in chosen:
                    about[side][kind].append(part)
    return {node: _screen(world, about, by_node.get(node, []), empty) for node, empty in machines.items()}


def _part(world: _World, policy: Policy, rules: tuple[Rule, ...]) -> _Part:
    digest = hashlib.sha256(f"{policy.namespace}/{policy.name}".encode()).hexdigest()[:16]
    return _Part(digest, tuple(found for rule in rules if (found := _opening(world, policy, rule)) is not None))


def _opening(world: _World, policy: Policy, rule: Rule) -> Opening | None:
    """None: it is for nobody, such as everything of a block but all of it."""
    peers, blocks = _peers(rule.peers)
    if rule.peers and not peers and not blocks:
        return None
    group = _group(peers, policy.namespace) if peers else None
    if group is not None and group not in world.groups:
        world.groups[group] = world.members(peers, policy.namespace)
    services = tuple(sorted({(port.protocol, port.name) for port in rule.ports if port.name}))
    for protocol, name in services:
        if f"{protocol}-{name}" not in world.services:
            world.services[f"{protocol}-{name}"] = world.listening(protocol, name)
    return Opening(
        group,
        blocks,
        anybody=not rule.peers,
        ports=_ranges(rule.ports),
        services=tuple((protocol, f"{protocol}-{name}") for protocol, name in services),
        any_port=not rule.ports,
    )


# What follows depends on a policy alone, and policies change less often than pods come and go.


@lru_cache(maxsize=4096)
def _peers(peers: tuple[Pods | Block, ...]) -> tuple[tuple[Pods, ...], tuple[str, ...]]:
    """Pods, each once and in order, and blocks."""
    pods = sorted({p for p in peers if isinstance(p, Pods)}, key=repr)
    return tuple(pods), _blocks([p for p in peers if isinstance(p, Block)])


@lru_cache(maxsize=4096)
def _group(peers: tuple[Pods, ...], namespace: str) -> str:
    """A name for the peers of a policy of this namespace: those that name namespaces are the same wherever it is."""
    home = namespace if any(p.namespaces is None for p in peers) else ""
    return hashlib.sha256(f"{home} {peers!r}".encode()).hexdigest()[:16]


def _blocks(blocks: list[Block]) -> tuple[str, ...]:
    """As CIDRs that leave out what each block excepts."""
    found: list[ipaddress.IPv4Network] = []
    for block in blocks:
        if ":" in block.cidr:
            continue
        left = [ipaddress.IPv4Network(block.cidr, strict=False)]
        for text in block.excepted:
            hole = ipaddress.IPv4Network(text, strict=False)
            left = [rest for each in left for rest in _without(each, hole)]
        found += left
    return tuple(map(str, ipaddress.collapse_addresses(found)))


def _without(whole: ipaddress.IPv4Network, hole: ipaddress.IPv4Network) -> list[ipaddress.IPv4Network]:
    if not whole.overlaps(hole):
        return [whole]
    return [] if whole.subnet_of(hole) else list(whole.address_exclude(hole))


@lru_cache(maxsize=4096)
def _ranges(ports: tuple[Port, ...]) -> tuple[tuple[Protocol, int, int], ...]:
    """In order, and apart."""
    merged: list[tuple[Protocol, int, int]] = []
    numbers = ((p.protocol, p.first or 0, 65535 if p.first is None else p.last or p.first) for p in ports if not p.name)
    for protocol, first, last in sorted(numbers):
        if merged and merged[-1][0] == protocol and first <= merged[-1][2] + 1:
            merged[-1] = (protocol, merged[-1][1], max(last, merged[-1][2]))
        else:
            merged.append((protocol, first, last))
    return tuple(merged)


def _screen(world: _World, about: Mapping[str, Mapping[Kind, list[_Part]]], pods: list[Pod], empty: Screen) -> Screen:
    inbound, outbound = _side(about["ingress"], pods), _side(about["egress"], pods)
    openings = [o for side in (inbound, outbound) for each in side.policies.values() for o in each]
    held = inbound.hold or outbound.hold
    return Screen(
        empty.id,
        empty.owner,
        inbound,
        outbound,
        {o.group: world.groups[o.group] for o in openings if o.group is not None},
        {name: world.services[name] for o in openings for _, name in o.services},
        frozenset(pod.address for pod in pods if pod.address) if held else frozenset(),
    )


def _side(about: Mapping[Kind, list[_Part]], pods: list[Pod]) -> Side:
    policies: dict[str, tuple[Opening, ...]] = {}
    guests: dict[str, tuple[str, ...]] = {}
    hold = False
    for pod in pods:
        parts = about.get((pod.namespace, pod.labels))
        if parts is None:
            continue
        if not pod.address:
            hold = True
            continue
        guests[pod.address] = tuple(part.name for part in parts)
        policies.update((part.name, part.openings) for part in parts)
    return Side(policies, guests, hold)
