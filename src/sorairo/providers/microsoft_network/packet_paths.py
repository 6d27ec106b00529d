"""The way of a packet through public addresses, load balancers and security groups, by what stands on the host.

Nothing is sent. Where a load balancer may choose, every choice is followed. What comes after a machine's interface
(its own forwarding, its pods) is the caller's to say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from sorairo.drivers.protocols import Links, LinkState, Nic
from sorairo.drivers.traffic import Backend, BalancerRule, BalancerState, Firewall, PublicAddress, Traffic
from sorairo.drivers.verdicts import Direction, Packet, judge
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Document, Reader
from sorairo.providers.microsoft_network.effective import rule_name
from sorairo.providers.microsoft_network.public_ip_addresses import address_of
from sorairo.providers.microsoft_network.public_ip_users import PUBLIC_IP_TYPE


@dataclass(frozen=True, slots=True)
class Hop:
    """One station, and where it may go from there."""

    kind: str
    """`client`, `public address`, `load balancer`, `security group`, `node`, `kube-proxy`, `pod`, `nowhere`."""
    name: str
    text: str = ""
    """What happens there, in words."""
    id: str = ""
    """Of the resource."""
    refused: bool = False
    """The packet ends here."""
    next: tuple[Hop, ...] = ()

    def then(self, *hops: Hop) -> Hop:
        return replace(self, next=hops)

    def document(self) -> Document:
        return {
            "kind": self.kind,
            "name": self.name,
            "text": self.text,
            "id": self.id,
            "refused": self.refused,
            "next": [each.document() for each in self.next],
        }


@dataclass(frozen=True, slots=True)
class Fabric:
    """What stands, at one moment."""

    links: LinkState
    firewalls: Sequence[Firewall]
    balancers: Sequence[BalancerState]
    publics: Sequence[PublicAddress]

    def nic_at(self, address: str, network: str) -> Nic | None:
        """Whose address it is, in one network; '' for any."""
        here = IPv4Address(address)
        for nic in self.links.nics.values():
            if network in ("", nic.network) and (
                nic.address == address or any(here in IPv4Network(each) for each in nic.secondary)
            ):
                return nic
        return None

    def balanced(self, packet: Packet, network: str) -> list[tuple[BalancerState, BalancerRule]]:
        """The rule of a balancer that takes a packet: of one port before one of all. `network`: where it comes from;
        private frontends are of one network."""
        found = [
            (state, rule)
            for state in self.balancers
            for rule in state.spec.rules
            if rule.frontend == packet.destination
            and (not rule.port or (rule.protocol, rule.port) == (packet.protocol, packet.destination_port))
        ]
        near = [each for each in found if each[0].spec.network == network] or found
        return sorted(near, key=lambda each: not each[1].port)[:1]


Arrive = Callable[[Fabric, Nic, Packet], Awaitable[tuple[Hop, ...]]]
"""What a machine does with what its interface takes."""
Leave = Callable[[Fabric, Nic, Packet], Awaitable[Hop | None]]
"""What a machine does with a packet of its own before its interface sees it; None: nothing."""


class Paths:
    def __init__(self, links: Links, traffic: Traffic) -> None:
        self._links = links
        self._traffic = traffic

    async def fabric(self) -> Fabric:
        firewalls = await self._traffic.firewalls.observe_firewalls()
        balancers = await self._traffic.balancers.observe_balancers()
        publics = await self._traffic.publics.observe_public_addresses()
        return Fabric(
            await self._links.observe_links(),
            list(firewalls.whole.values()),
            list(balancers.whole.values()),
            list(publics.whole.values()),
        )

    async def follow(self, reader: Reader, packet: Packet, client: str, leave: Leave, arrive: Arrive) -> Hop:
        """`client`: what to call where it comes from; an address of a machine's is looked up."""
        fabric = await self.fabric()
        sender = fabric.nic_at(packet.source, "")
        start = Hop("client", client, packet.source, sender.owner if sender else "")
        if sender and (taken := await leave(fabric, sender, packet)):
            return start.then(taken)
        return start.then(await self._towards(reader, fabric, packet, sender, arrive))

    async def _towards(self, reader: Reader, fabric: Fabric, packet: Packet, sender: Nic | None, arrive: Arrive) -> Hop:
        network = sender.network if sender else ""
        before = await _public(reader, packet.destination)
        for state, rule in fabric.balanced(packet, network):
            hop = await self._balance(reader, fabric, packet, sender, state, rule, arrive)
            return replace(before, next=(hop,)) if before else hop
        own = next((each for each in fabric.publics if each.public_address == packet.destination), None)
        if own:
            seen = packet.to(own.address, packet.destination_port)
            hop = await self._deliver(reader, fabric, seen, sender, own.network, arrive)
            return replace(before, next=(hop,)) if before else hop
        if before:
            text = f"no load balancing rule for {packet.protocol} {packet.destination_port}, and no machine has it"
            return before.then(Hop("nowhere", "dropped", text, refused=True))
        if sender:
            return await self._deliver(reader, fabric, packet, sender, network, arrive)
        return Hop("nowhere", "dropped", f"nobody is reached at {packet.destination} from outside", refused=True)

    async def _balance(
        self,
        reader: Reader,
        fabric: Fabric,
        packet: Packet,
        sender: Nic | None,
        state: BalancerState,
        rule: BalancerRule,
        arrive: Arrive,
    ) -> Hop:
        down = state.down.get(rule.name, frozenset())
        up = [each for each in rule.backends if each.address not in down]
        text = f"{rule.protocol} {rule.port or 'all ports'} to one of {len(up)}"
        if down & {each.address for each in rule.backends}:
            text += f", {len(rule.backends) - len(up)} of {len(rule.backends)} out of rotation"
        name = f"{parse_id(state.spec.owner).name} / {rule.name.partition('/')[2]}"
        hop = Hop("load balancer", name, text, state.spec.owner)
        if not up:
            return replace(hop, text=f"{rule.protocol} {rule.port or 'all ports'}: no backend is up", refused=True)
        ways = []
        for backend in up:
            seen = packet if rule.floating else packet.to(backend.address, backend.port or packet.destination_port)
            ways.append(await self._deliver(reader, fabric, seen, sender, state.spec.network, arrive, backend))
        return hop.then(*ways)

    async def _deliver(
        self,
        reader: Reader,
        fabric: Fabric,
        packet: Packet,
        sender: Nic | None,
        network: str,
        arrive: Arrive,
        backend: Backend | None = None,
    ) -> Hop:
        """Through the security groups of both ends to the machine that has the address. `backend`: the machine's own
        address, where the packet keeps another as its destination."""
        receiver = fabric.nic_at(backend.address if backend else packet.destination, network)
        if receiver is None:
            return Hop("nowhere", "dropped", f"no machine of the network has {packet.destination}", refused=True)
        hops: list[Hop] = []
        if sender is not None and sender is not receiver:
            hops += _judged(fabric, sender, "outbound", packet)
        if not (hops and hops[-1].refused) and sender is not receiver:
            hops += _judged(fabric, receiver, "inbound", packet)
        if not (hops and hops[-1].refused):
            machine = parse_id(receiver.owner).parent
            hops.append(Hop("node", await _machine_name(reader, machine), _kept(packet, receiver), machine))
            hops[-1] = replace(hops[-1], next=await arrive(fabric, receiver, packet))
        return _chained(hops)

    async def between(self, reader: Reader, fabric: Fabric, packet: Packet, sender: Nic, arrive: Arrive) -> Hop:
        """From one machine to another of its network: what a node hands on."""
        return await self._deliver(reader, fabric, packet, sender, sender.network, arrive)


def _kept(packet: Packet, nic: Nic) -> str:
    kept = "" if packet.destination == nic.address else f", addressed to {packet.destination}"
    port = "" if packet.destination_port is None else f" port {packet.destination_port}"
    return f"{packet.protocol}{port} from {packet.source}{kept}"


def _judged(fabric: Fabric, nic: Nic, direction: Direction, packet: Packet) -> list[Hop]:
    found = []
    for verdict in judge(fabric.firewalls, nic, direction, packet):
        word = "allows" if verdict.allow else "refuses"
        if verdict.firewall is None:
            found.append(Hop("security group", "closed", f"{nic.address}'s group is not enforced yet", refused=True))
            continue
        rule = f"rule {rule_name(verdict.rule)} ({verdict.rule.priority})" if verdict.rule else "no rule"
        text = f"{direction}, of the {'interface' if verdict.level == 'nic' else 'subnet'}: {rule} {word} it"
        owner = verdict.firewall.owner
        found.append(Hop("security group", parse_id(owner).name, text, owner, not verdict.allow))
    return found


def _chained(hops: Sequence[Hop]) -> Hop:
    """The first, with the others one after the other below it; the last keeps its own."""
    below = hops[-1]
    for hop in reversed(hops[:-1]):
        below = hop.then(below)
    return below


async def _machine_name(reader: Reader, machine: str) -> str:
    """The one it calls itself by."""
    found = await reader.get(machine)
    named = (found.properties.get("osProfile") or {}).get("computerName") if found else None
    return str(named or parse_id(machine).name)


async def _public(reader: Reader, address: str) -> Hop | None:
    for pip in await reader.list(type=PUBLIC_IP_TYPE):
        if address_of(pip) == address:
            fqdn = str((pip.properties.get("dnsSettings") or {}).get("fqdn") or "")
            return Hop("public address", pip.rid.name, f"{address} {fqdn}".strip(), pip.id)
    return None


def refusals(hop: Hop) -> list[Hop]:
    """Where a packet may end without arriving."""
    return ([hop] if hop.refused else []) + [each for below in hop.next for each in refusals(below)]


def arrivals(hop: Hop) -> list[Hop]:
    """Where it may arrive."""
    if not hop.next:
        return [] if hop.refused else [hop]
    return [each for below in hop.next for each in arrivals(below)]
