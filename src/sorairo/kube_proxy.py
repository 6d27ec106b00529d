"""What a node's kube-proxy does with a packet, read from the node's own kernel: its nftables, as `nft` shows them.

https://kubernetes.io/docs/reference/networking/virtual-ips/#proxy-mode-nftables
Maps lead from an address, protocol and port to a chain; chains lead on, or to endpoints. Chains are named
`KIND-HASH-NAMESPACE/NAME/PROTOCOL/PORT`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

TABLE = "ip kube-proxy"
Nft = Callable[[str], Awaitable[str | None]]
"""What `nft WORDS` prints; None when there is no such thing."""

_GO = re.compile(r"\b(goto|jump) ([^\s,}]+)")
_ONE = re.compile(r"\bdnat(?: ip)? to ([\d.]+):(\d+)")
_MANY = re.compile(r"\d+ : ([\d.]+) \. (\d+)")
_SOURCE = re.compile(r"\bip saddr (!= )?(?:\{ )?([\d./, -]+)")
_SERVICE = re.compile(r"\w+-\w+-(?P<service>[^/\s]+/[^/\s]+)/(?:tcp|udp|sctp)/")


@dataclass(frozen=True, slots=True)
class Sent:
    """`service`: NAMESPACE/NAME. Without endpoints, `refusal` says why."""

    service: str
    endpoints: tuple[tuple[str, int], ...] = ()
    masqueraded: bool = False
    """It goes on as coming from the node."""
    refusal: str = ""


async def sent(nft: Nft, source: str, node: str, destination: str, protocol: str, port: int) -> Sent | None:
    """None: it is not for a Service. `node`: the node's own address."""
    key = f"{{ {destination} . {protocol} . {port} }}"
    fence = await nft(f"get element {TABLE} firewall-ips {key}")
    if fence and (chain := _target(fence)):
        for rule in await _rules(nft, chain):
            if "drop" in rule.split() and _applies(rule, source, node):
                return Sent(service_of(chain), refusal=f"{source} is in none of loadBalancerSourceRanges")
    none = await nft(f"get element {TABLE} no-endpoint-services {key}")
    if none:
        named = re.search(r'comment "([^"]+)"', none)
        word = "rejected" if "reject" in none else "dropped"
        return Sent(named[1] if named else destination, refusal=f"{word}: the Service has no endpoint")
    element = await nft(f"get element {TABLE} service-ips {key}")
    chain = _target(element or "")
    if not chain:
        return None
    endpoints, masqueraded = await _walk(nft, chain, source, node, frozenset())
    refusal = "" if endpoints else "dropped: the Service has no endpoint on this node"
    return Sent(service_of(chain), tuple(sorted(set(endpoints))), masqueraded, refusal)


async def _walk(
    nft: Nft, chain: str, source: str, node: str, seen: frozenset[str]
) -> tuple[list[tuple[str, int]], bool]:
    """Endpoints that a chain may choose, and whether it marks the packet to leave as the node's."""
    masqueraded = "mark-for-masquerade" in chain
    for rule in await _rules(nft, chain) if chain not in seen else []:
        if not _applies(rule, source, node):
            continue
        masqueraded = masqueraded or "meta mark set meta mark |" in rule
        if found := [(address, int(port)) for address, port in (*_ONE.findall(rule), *_MANY.findall(rule))]:
            return found, masqueraded
        if go := _GO.search(rule):
            found, also = await _walk(nft, go[2], source, node, seen | {chain})
            masqueraded = masqueraded or also
            if found or go[1] == "goto":
                return found, masqueraded
    return [], masqueraded


def _applies(rule: str, source: str, node: str) -> bool:
    """Whether a rule's conditions on the source hold. Those on the destination do: they led to the chain."""
    if "fib saddr type local" in rule and source != node:
        return False
    if said := _SOURCE.search(rule):
        return among(source, said[2]) != bool(said[1])
    return True


def among(address: str, text: str) -> bool:
    """Whether an address is one of a list of addresses, CIDRs and ranges."""
    here = IPv4Address(address)
    for part in filter(None, (each.strip() for each in text.split(","))):
        first, dash, last = part.partition("-")
        if IPv4Address(first) <= here <= IPv4Address(last) if dash else here in IPv4Network(part):
            return True
    return False


async def _rules(nft: Nft, chain: str) -> list[str]:
    text = await nft(f"list chain {TABLE} {chain}") or ""
    return [line.strip() for line in text.splitlines()[2:]]


def _target(element: str) -> str:
    found = _GO.search(element)
    return found[2] if found else ""


def service_of(chain: str) -> str:
    found = _SERVICE.match(chain)
    return found["service"] if found else chain
