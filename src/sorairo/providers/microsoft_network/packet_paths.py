"""The way of a packet through routes, peerings, load balancers and security groups, by what stands on the host.

Nothing is sent. Where a load balancer may choose, every choice is followed. What comes after a machine's interface
(its own forwarding, its pods) is the caller's to say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from sorairo.drivers.protocols import Links, Nic
from sorairo.drivers.traffic import Backend, BalancerRule, BalancerState, Traffic
from sorairo.drivers.verdicts import Direction, Packet, judge
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Document, Reader
from sorairo.providers.microsoft_network.effective import rule_name
from sorairo.providers.microsoft_network.packet_fabric import Fabric, Place, Turn, machine_of, with_guests
from sorairo.providers.microsoft_network.public_ip_addresses import address_of
from sorairo.providers.microsoft_network.public_ip_users import PUBLIC_IP_TYPE


@dataclass(frozen=True, slots=True)
class Hop:
    """One station, and where it may go from there."""

    kind: str
    """`client`, `public address`, `load balancer`, `route table`, `appliance`, `peering`, `outbound` (a new source),
    `security group`, `node`, `kube-proxy`, `pod`, `nowhere`."""
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


Arrive = Callable[[Fabric, Nic, Packet], Awaitable[tuple[Hop, ...]]]
"""What a machine does with what its interface takes."""
Leave = Callable[[Fabric, Nic, Packet], Awaitable[Hop | None]]
"""What a machine does with a packet of its own before its interface sees it; None: nothing."""


class Paths:
    def __init__(self, links: Links, traffic: Traffic) -> None:
        self._links = links
        self._traffic = traffic

    async def fabric(self) -> Fabric:
        traffic = self._traffic
        firewalls = await traffic.firewalls.observe_firewalls()
        balancers = await traffic.balancers.observe_balancers()
        publics = await traffic.publics.observe_public_addresses()
        outbounds = await traffic.outbounds.observe_outbounds()
        peerings = await traffic.peerings.observe_peerings()
        tables = await traffic.tables.observe_route_tables()
        return Fabric(
            with_guests(await self._links.observe_links(), tables.whole.values()),
            list(firewalls.whole.values()),
            list(balancers.whole.values()),
            list(publics.whole.values()),
            list(outbounds.whole.values()),
            list(peerings.whole.values()),
            list(tables.whole.values()),
        )

    async def follow(self, reader: Reader, packet: Packet, client: str, leave: Leave, arrive: Arrive) -> Hop:
        """`client`: what to call where it comes from; an address of a machine's is looked up."""
        fabric = await self.fabric()
        sender = fabric.nic_at(packet.source, "")
        start = Hop("client", client, packet.source, sender.owner if sender else "")
        if sender and (taken := await leave(fabric, sender, packet)):
            return start.then(taken)
        place = Place(sender.network, sender) if sender else Place()
        return start.then(await _Journey(reader, fabric, arrive).towards(packet, place))

    async def between(self, reader: Reader, fabric: Fabric, packet: Packet, sender: Nic, arrive: Arrive) -> Hop:
        """From one machine to another of its network: what a node hands on."""
        return await _Journey(reader, fabric, arrive).towards(packet, Place(sender.network, sender))


class _Journey:
    """One packet's, with all ways it may take. What a machine hands on may come by the same one again; so it ends
    somewhere, as the kernel's do."""

    def __init__(self, reader: Reader, fabric: Fabric, arrive: Arrive) -> None:
        self._reader = reader
        self._fabric = fabric
        self._arrive = arrive
        self._lives = 64

    async def towards(self, packet: Packet, place: Place) -> Hop:
        self._lives -= 1
        if self._lives < 0:
            return Hop("nowhere", "dropped", "it goes round in a circle", refused=True)
        if not self._fabric.translated(packet, place.network) and (turn := self._fabric.turn(place, packet)):
            return await self._by_table(turn, packet, place)
        return await self._by_network(packet, place)

    async def _by_network(self, packet: Packet, place: Place) -> Hop:
        """Without a table of routes."""
        before = await _public(self._reader, packet.destination)
        for state, rule in self._fabric.balanced(packet, place.network, public=before is not None):
            hop = await self._balance(packet, place, state, rule)
            return replace(before, next=(hop,)) if before else hop
        if own := self._fabric.public(packet.destination):
            seen = packet.to(own.address, packet.destination_port)
            if own.network == place.network:
                hop = await self._deliver(seen, place)
            else:
                hop = await self._leaving(packet, place, own.network, seen)
            return replace(before, next=(hop,)) if before else hop
        if before:
            text = f"no load balancing rule for {packet.protocol} {packet.destination_port}, and no machine has it"
            return before.then(Hop("nowhere", "dropped", text, refused=True))
        if not place.network:
            return Hop("nowhere", "dropped", f"nobody is reached at {packet.destination} from outside", refused=True)
        peer = self._fabric.peer_with(packet.destination, place.network)
        if peer and self._fabric.nic_at(packet.destination, place.network) is None:
            return await self._cross(packet, place, peer)
        return await self._deliver(packet, place)

    # --- load balancers ------------------------------------------------------------------------------

    async def _balance(self, packet: Packet, place: Place, state: BalancerState, rule: BalancerRule) -> Hop:
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
            if state.spec.network == place.network:
                ways.append(await self._deliver(seen, place, backend))
            else:
                ways.append(await self._leaving(packet, place, state.spec.network, seen, backend))
        return hop.then(*ways)

    # --- routes --------------------------------------------------------------------------------------

    async def _by_table(self, turn: Turn, packet: Packet, place: Place) -> Hop:
        to = turn.hop.to
        hop = Hop("route table", parse_id(turn.table.owner).name, f"{turn.hop.prefix} to {to}", turn.table.owner)
        if turn.way == "nowhere":
            who = f"{to}, {'which may not forward' if turn.appliance else 'which no machine has'}"
            text = f"{turn.hop.prefix} to {'nowhere' if to == 'nowhere' else who}"
            return replace(hop, text=text, refused=True)
        if turn.way == "appliance" and turn.appliance:
            return hop.then(await self._hand_on(packet, place, turn.appliance))
        if turn.way == "peer":
            return hop.then(await self._cross(packet, place, turn.network))
        if await _public(self._reader, packet.destination):
            return hop.then(await self._by_network(packet, place))
        text = f"nobody is reached at {packet.destination} from outside"
        return hop.then(Hop("nowhere", "dropped", text, refused=True))

    async def _hand_on(self, packet: Packet, place: Place, appliance: Nic) -> Hop:
        """To a machine that is not meant, and from there onward, if it forwards as its interface allows it to."""
        hops = self._past_groups(packet, place, appliance)
        if not hops or not hops[-1].refused:
            machine = machine_of(appliance)
            name = await _machine_name(self._reader, machine)
            hops.append(Hop("appliance", name, f"forwards for others, at {appliance.address}", machine))
            hops[-1] = hops[-1].then(await self.towards(packet, Place(appliance.network, appliance)))
        return _chained(hops)

    async def _cross(self, packet: Packet, place: Place, peer: str) -> Hop:
        """By the peering of two networks."""
        fabric = self._fabric
        out = _judged(fabric, place.sender, "outbound", packet)
        if out and out[-1].refused:
            return _chained(out)
        near, far = (parse_id(fabric.links.networks[each].owner).name for each in (place.network, peer))
        owner = fabric.links.networks[peer].owner
        hop = Hop("peering", f"{near} to {far}", f"{packet.source} to {packet.destination}", owner)
        other = fabric.half(peer, place.network)
        foreign = not any(IPv4Address(packet.source) in IPv4Network(each) for each in fabric.prefixes(place.network))
        if place.peer:
            hop = replace(hop, text="a peer of a peer is none", refused=True)
        elif foreign and not (other and other.forwarded):
            text = f"{packet.source} is not of {near}, and {far} takes no forwarded traffic from there"
            hop = replace(hop, text=text, refused=True)
        else:
            hop = hop.then(await self.towards(packet, Place(peer, peer=place.network)))
        return _chained([*out, hop])

    async def _leaving(
        self, packet: Packet, place: Place, network: str, seen: Packet, backend: Backend | None = None
    ) -> Hop:
        """Into a network from outside of it. What a machine sends gets a public source on the way. `seen`: as it is
        there."""
        if not place.network:
            return await self._deliver(seen, Place(network), backend)
        if place.peer:
            return Hop("nowhere", "dropped", "a peer leaves by its own edge", refused=True)
        out = _judged(self._fabric, place.sender, "outbound", packet)
        if out and out[-1].refused:
            return _chained(out)
        sources = self._fabric.leaves_as(place.sender, packet.source) if place.sender else ()
        if not sources:
            return _chained([*out, Hop("nowhere", "dropped", f"{packet.source} has no way out", refused=True)])
        text = "" if len(sources) == 1 else f", or another of {len(sources)}"
        hop = Hop("outbound", sources[0], f"the source of what {packet.source} sends{text}")
        seen = replace(seen, source=sources[0])
        return _chained([*out, hop.then(await self._deliver(seen, Place(network), backend))])

    # --- machines ------------------------------------------------------------------------------------

    async def _deliver(self, packet: Packet, place: Place, backend: Backend | None = None) -> Hop:
        """Through the security groups of both ends to the machine that has the address. `backend`: the machine's own
        address, where the packet keeps another as its destination."""
        receiver = self._fabric.nic_at(backend.address if backend else packet.destination, place.network)
        if receiver is None:
            return Hop("nowhere", "dropped", f"no machine of the network has {packet.destination}", refused=True)
        hops = self._past_groups(packet, place, receiver)
        if not (hops and hops[-1].refused):
            machine = machine_of(receiver)
            hops.append(Hop("node", await _machine_name(self._reader, machine), _kept(packet, receiver), machine))
            hops[-1] = replace(hops[-1], next=await self._arrive(self._fabric, receiver, packet))
        return _chained(hops)

    def _past_groups(self, packet: Packet, place: Place, receiver: Nic) -> list[Hop]:
        """What the groups of both ends say, up to who refuses it. Between pods of one machine nothing is judged."""
        if place.sender is receiver:
            return []
        hops = _judged(self._fabric, place.sender, "outbound", packet)
        return hops if hops and hops[-1].refused else hops + _judged(self._fabric, receiver, "inbound", packet)


def _kept(packet: Packet, nic: Nic) -> str:
    kept = "" if packet.destination == nic.address else f", addressed to {packet.destination}"
    port = "" if packet.destination_port is None else f" port {packet.destination_port}"
    return f"{packet.protocol}{port} from {packet.source}{kept}"


def _judged(fabric: Fabric, nic: Nic | None, direction: Direction, packet: Packet) -> list[Hop]:
    """What its groups say, up to the one that refuses it; nothing of what no machine sent."""
    if nic is None:
        return []
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
    if found and (inside := (found.status.get("virtualMachine") or {}).get("id")):
        found = await reader.get(inside)  # An interface by itself says what it is in.
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
