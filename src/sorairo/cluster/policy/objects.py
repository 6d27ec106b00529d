"""NetworkPolicies, pods and namespaces, as far as network policy is concerned.

https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from sorairo.drivers.screens import Protocol

Object = dict[str, Any]
Labels = tuple[tuple[str, str], ...]
"""Sorted."""


@dataclass(frozen=True, slots=True)
class Expression:
    key: str
    operator: str
    """`In`, `NotIn`, `Exists`, `DoesNotExist`."""
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Selector:
    """A label selector: all of it must hold, and an empty one holds for everything."""

    labels: Labels = ()
    expressions: tuple[Expression, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(k) == v for k, v in self.labels) and all(_holds(e, labels) for e in self.expressions)


def _holds(wanted: Expression, labels: Mapping[str, str]) -> bool:
    there = wanted.key in labels
    if wanted.operator == "Exists":
        return there
    if wanted.operator == "DoesNotExist":
        return not there
    if wanted.operator == "In":
        return there and labels[wanted.key] in wanted.values
    return not there or labels[wanted.key] not in wanted.values


@dataclass(frozen=True, slots=True)
class Pods:
    """Some pods: those `pods` selects, in the policy's own namespace, or in those that `namespaces` selects."""

    pods: Selector
    namespaces: Selector | None = None


@dataclass(frozen=True, slots=True)
class Block:
    cidr: str
    excepted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Port:
    """`first` None: every port of the protocol, unless `name` says which."""

    protocol: Protocol
    first: int | None = None
    last: int | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """What it lets pass. Without peers anybody's, without ports any."""

    peers: tuple[Pods | Block, ...] = ()
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    namespace: str
    name: str
    pods: Selector
    """Of its namespace: those it is about."""
    ingress: tuple[Rule, ...] | None = None
    """None: it says nothing about what comes to them. An empty one lets nothing in. So `egress`."""
    egress: tuple[Rule, ...] | None = None


@dataclass(frozen=True, slots=True)
class Pod:
    namespace: str
    labels: Labels
    node: str
    """Its name; empty until it is scheduled."""
    address: str
    """IPv4; empty until it has one, and for a pod that has ended."""
    ports: tuple[tuple[str, Protocol, int], ...] = ()
    """Names of its containers' ports, and what they stand for."""
    apart: bool = False
    """Network policy is not about it: it has its node's network, or it has ended."""


def policy(obj: Object) -> Policy:
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    sides = {
        side: tuple(_rule(each, way) for each in spec.get(side) or ()) if side.capitalize() in types else None
        for side, way in (("ingress", "from"), ("egress", "to"))
    }
    return Policy(metadata["namespace"], metadata["name"], selector(spec.get("podSelector")), **sides)


def selector(obj: Object | None) -> Selector:
    obj = obj or {}
    expressions = (
        Expression(e["key"], e["operator"], tuple(sorted(e.get("values") or ())))
        for e in obj.get("matchExpressions") or ()
    )
    return Selector(labels(obj.get("matchLabels")), tuple(sorted(expressions, key=repr)))


def labels(obj: Mapping[str, str] | None) -> Labels:
    return tuple(sorted((obj or {}).items()))


def _rule(obj: Object, way: Literal["from", "to"] | str) -> Rule:
    return Rule(tuple(map(_peer, obj.get(way) or ())), tuple(map(_port, obj.get("ports") or ())))


def _peer(obj: Object) -> Pods | Block:
    if block := obj.get("ipBlock"):
        return Block(block["cidr"], tuple(block.get("except") or ()))
    within = selector(obj["namespaceSelector"]) if obj.get("namespaceSelector") is not None else None
    return Pods(selector(obj.get("podSelector")), within)


def _port(obj: Object) -> Port:
    protocol = cast(Protocol, str(obj.get("protocol") or "TCP").lower())
    port = obj.get("port")
    if isinstance(port, str) and not port.isdigit():
        return Port(protocol, name=port)
    first = None if port is None else int(port)
    return Port(protocol, first, first if obj.get("endPort") is None else int(obj["endPort"]))


def pod(obj: Object) -> Pod:
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    addresses = [status.get("podIP"), *(each.get("ip") for each in status.get("podIPs") or ())]
    address = next((a for a in addresses if a and ":" not in a), "")
    apart = bool(spec.get("hostNetwork")) or status.get("phase") in ("Succeeded", "Failed")
    ports = (
        (port["name"], cast(Protocol, str(port.get("protocol") or "TCP").lower()), int(port["containerPort"]))
        # A sidecar is a container that starts before the others: its ports count too.
        for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
        for port in container.get("ports") or ()
        if port.get("name")
    )
    return Pod(
        metadata["namespace"],
        labels(metadata.get("labels")),
        spec.get("nodeName") or "",
        "" if apart else address,
        tuple(sorted(set(ports))),
        apart,
    )


def namespace(obj: Object) -> Labels:
    return labels(obj["metadata"].get("labels"))
