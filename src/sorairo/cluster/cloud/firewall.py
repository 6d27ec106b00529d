"""The rules of the nodes' security group that let Services' clients in: pure.

A rule is named after what it lets in; its destinations are the addresses of all Services that let in just that. So
what rules there should be follows from all Services together, and a Service that goes takes its address out of them.
https://cloud-provider-azure.sigs.k8s.io/topics/loadbalancer/#load-balancer-limits
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sorairo.cluster.cloud import names
from sorairo.cluster.cloud.service import Exposure

Document = dict[str, Any]

INTERNET = "Internet"


@dataclass(frozen=True, slots=True)
class Opening:
    """A Service, and the addresses its packets have when they come to a node."""

    exposure: Exposure
    destinations: tuple[str, ...]


class NoPriorityLeft(Exception):
    """All priorities from 500 to 4095 are taken."""


def change(before: Document, openings: Iterable[Opening], untouched: Iterable[str] = ()) -> tuple[Document, bool]:
    """The group's document with our rules as they should be, and whether it is another one. `untouched`: addresses
    of Services that cannot be judged now: what there is for them stays. Raises NoPriorityLeft."""
    there: list[Document] = list(before["properties"].get("securityRules") or [])
    ours = {r["name"]: r for r in there if str(r["name"]).startswith(names.RULE)}
    wanted = _wanted(openings)
    keep = set(untouched)
    for name, rule in ours.items():
        kept = keep.intersection(_destinations(rule))
        if kept and name in wanted:
            wanted[name][1].update(kept)
        elif kept:
            wanted[name] = (_ours(rule), kept)
    taken = {int(r["properties"]["priority"]) for r in there if r["name"] not in ours or r["name"] in wanted}
    result, changed = [], False
    for rule in there:
        name = rule["name"]
        if name not in ours:
            result.append(rule)
            continue
        if name not in wanted:
            changed = True
            continue
        properties, destinations = wanted.pop(name)
        if _ours(rule) == _ours({"properties": properties}) and set(_destinations(rule)) == destinations:
            result.append(rule)
            continue
        changed = True
        result.append(_rule(name, properties, destinations, int(rule["properties"]["priority"])))
    for name, (properties, destinations) in wanted.items():
        changed = True
        priority = _free(taken, from_end=properties["access"] == "Deny")
        taken.add(priority)
        result.append(_rule(name, properties, destinations, priority))
    document = copy.copy(before)
    document["properties"] = {**before["properties"], "securityRules": result}
    return document, changed


def _wanted(openings: Iterable[Opening]) -> dict[str, tuple[Document, set[str]]]:
    """By name: properties without destinations and priority, and the destinations."""
    found: dict[str, tuple[Document, set[str]]] = {}

    def add(name: str, properties: Document, destinations: tuple[str, ...]) -> None:
        found.setdefault(name, (properties, set()))[1].update(destinations)

    for opening in openings:
        if not opening.destinations:
            continue
        exposure = opening.exposure
        sources = exposure.sources
        tags = [*sources.tags, *([INTERNET] if sources.internet else [])]
        for protocol in ("Tcp", "Udp", "*"):
            ports = sorted({str(port) for p, port in exposure.ports if p == protocol})
            if not ports:
                continue
            for group in [*([tag] for tag in tags), *([sorted(sources.ranges)] if sources.ranges else [])]:
                name = names.allow_rule(protocol, group, (int(p) for p in ports))
                add(name, _allow(protocol, group, ports), opening.destinations)
        if sources.deny_others:
            add(names.DENY_ALL, _DENY, opening.destinations)
    return found


def _allow(protocol: str, sources: list[str], ports: list[str]) -> Document:
    return {
        "access": "Allow",
        "direction": "Inbound",
        "protocol": protocol,
        **({"sourceAddressPrefix": sources[0]} if len(sources) == 1 else {"sourceAddressPrefixes": sources}),
        "sourcePortRange": "*",
        "destinationPortRanges": ports,
    }


_DENY: Document = {
    "access": "Deny",
    "direction": "Inbound",
    "protocol": "*",
    "sourceAddressPrefix": "*",
    "sourcePortRange": "*",
    "destinationPortRange": "*",
}
_KEYS = ("access", "direction", "protocol", "sourceAddressPrefix", "sourceAddressPrefixes", "sourcePortRange",
         "destinationPortRange", "destinationPortRanges")  # fmt: skip


def _ours(rule: Document) -> Document:
    """What of a rule follows from its name; empty lists, which Azure adds, are as good as none."""
    return {k: v for k in _KEYS if (v := rule["properties"].get(k))}


def _destinations(rule: Document) -> list[str]:
    properties = rule["properties"]
    one = properties.get("destinationAddressPrefix")
    return [*([one] if one else []), *(properties.get("destinationAddressPrefixes") or [])]


def _rule(name: str, properties: Document, destinations: set[str], priority: int) -> Document:
    to = sorted(destinations)
    where = {"destinationAddressPrefix": to[0]} if len(to) == 1 else {"destinationAddressPrefixes": to}
    return {"name": name, "properties": {**properties, **where, "priority": priority}}


def _free(taken: set[int], *, from_end: bool) -> int:
    """What denies comes after all that allows."""
    numbers = range(names.FIRST_PRIORITY, names.LAST_PRIORITY + 1)
    for number in reversed(numbers) if from_end else numbers:
        if number not in taken:
            return number
    raise NoPriorityLeft("security rule priority exhausted")
