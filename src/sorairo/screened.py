"""What network policies say of a packet, read from the node's own kernel: its screen's nftables, as `nft` shows them.

Maps lead from a pod's address to a chain that jumps to one for each policy about it, and then drops; a policy's chain
accepts what it has an opening for. See `drivers.linux.screens`, and `cluster.policy` for the chains' names.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal

from sorairo.drivers.verdicts import Packet
from sorairo.kube_proxy import Nft, among

TABLE = "ip sorairo-screen"
Way = Literal["in", "out"]

_GO = re.compile(r"\b(?:goto|jump) ([^\s,}]+)")
_SERVICE = re.compile(r"\bip daddr \. (th|tcp|udp|sctp) dport (@\S+)")
_ADDRESS = re.compile(r"\bip ([sd])addr (@\S+|\{[^}]*\}|\S+)")
_PORTS = re.compile(r"\b(tcp|udp|sctp) dport (\{[^}]*\}|[\d-]+)")
_PROTOCOL = re.compile(r"\bl4proto (\w+)")


@dataclass(frozen=True, slots=True)
class Screened:
    """`policies`: names of the chains of those about the pod, without `in-` or `out-`. `by`: the one that lets it
    pass; '' when none does."""

    policies: tuple[str, ...]
    by: str


async def screened(nft: Nft, way: Way, pod: str, packet: Packet) -> Screened | None:
    """None: no policy is about the pod. `packet`: as it is between pods, its destination an endpoint."""
    element = await nft(f"get element {TABLE} {way}-guests {{ {pod} }}")
    guest = _GO.search(element or "")
    if guest is None or packet.source == packet.destination:
        return None
    chains = _GO.findall("\n".join(await _rules(nft, guest[1])))
    names = tuple(chain.partition("-")[2] for chain in chains)
    for name, chain in zip(names, chains, strict=True):
        for rule in await _rules(nft, chain):
            if rule.endswith("accept") and await _opens(nft, rule, packet):
                return Screened(names, name)
    return Screened(names, "")


def chain_name(namespace: str, name: str) -> str:
    """What a NetworkPolicy's chains are called, as `cluster.policy.compiled` does."""
    return hashlib.sha256(f"{namespace}/{name}".encode()).hexdigest()[:16]


async def _opens(nft: Nft, rule: str, packet: Packet) -> bool:
    if (protocol := _PROTOCOL.search(rule)) and protocol[1] != packet.protocol:
        return False
    if service := _SERVICE.search(rule):
        asked = f"{packet.destination} . {packet.destination_port}"
        if service[1] not in ("th", packet.protocol) or not await _has(nft, service[2], asked):
            return False
        rule = rule[: service.start()] + rule[service.end() :]
    for end, said in _ADDRESS.findall(rule):
        address = packet.source if end == "s" else packet.destination
        if not (await _has(nft, said, address) if said.startswith("@") else among(address, said.strip("{} "))):
            return False
    ports = _PORTS.search(rule)
    if ports is None:
        return True
    numbers = (each.strip() for each in ports[2].strip("{} ").split(","))
    return ports[1] == packet.protocol and any(_within(packet.destination_port, each) for each in numbers)


async def _has(nft: Nft, name: str, element: str) -> bool:
    return await nft(f"get element {TABLE} {name[1:]} {{ {element} }}") is not None


def _within(port: int | None, text: str) -> bool:
    first, _, last = text.partition("-")
    return port is not None and int(first) <= port <= int(last or first)


async def _rules(nft: Nft, chain: str) -> list[str]:
    text = await nft(f"list chain {TABLE} {chain}") or ""
    return [line.strip() for line in text.splitlines()[2:]]
