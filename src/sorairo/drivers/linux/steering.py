"""Tables of routes in the kernel: what comes by a NIC's link gets the mark of its subnet's table, and a routing rule
for each mark leads there. Where a table says nothing, or says "as without it" (`throw`), the rules after it decide.

A leg that goes by a table gets its mark for what it reaches by it, and for nothing else.

A mark does not cross to another namespace. So a network whose peer has a table with machines here as next hops has
that table too, for what comes by the peer's link from the table's subnets.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

from sorairo.drivers.linux.fabric import EDGE, PEER, UPLINK, leg_link, nic_link, peer_link
from sorairo.drivers.linux.loadbalancer import finder
from sorairo.drivers.linux.netlink import TableRoute, rule_preferences, table_routes
from sorairo.drivers.linux.nft import Piece, chain, collection
from sorairo.drivers.linux.world import NicRecord, Peer, RouteRecord, World

SLOTS = range(1, 900)
FORWARDERS = "forwarders"
"""Set of the links of NICs that may forward."""
_MAP = "routed"
STEER = f"iifname vmap @{_MAP}"
_SHIFT, MASK = 14, 0xFFFC000
"""The lower bits are the load balancer's."""
PASS_ON = (
    f'iifname @{FORWARDERS} tcp flags & rst == rst ct state invalid accept comment "seen before"',
    f'iifname "i*" iifname != @{FORWARDERS} fib saddr . iif oif missing drop comment "not its own source"',
)
"""The first before what is invalid is dropped: a connection whose first answer is a reset is forgotten at once, though
the same reset comes by a second time."""
LINK_LOCAL = "169.254.0.0/16"
"""Where legs and name servers are; never routed by a table."""
_PREFERENCES = 10
_TABLES = 40000


def names(spec_id: str) -> str:
    """The chain of a table."""
    return f"rt-{spec_id}"


def empty() -> str:
    return collection("map", _MAP, "type ifname : verdict;") + collection("set", FORWARDERS, "type ifname;")


def pieces(world: World) -> list[Piece]:
    made: list[Piece] = []
    elements: list[str] = []
    for record in world.tables.values():
        if record.spec.hops:
            name = names(record.spec.id)
            made.append(Piece(name, chain(name, _mark(record)), chain=True))
            elements += [f'"{link}" : jump {name}' for link in _links(world, record)]
    for peer in world.peers:
        marks = [
            f"ip saddr {{ {', '.join(record.spec.subnets)} }} {_mark(record)}"
            for record in peer.tables.values()
            if record.spec.hops and record.spec.subnets
        ]
        if marks:
            name = names(peer.half.id)
            made.append(Piece(name, chain(name, *marks), chain=True))
            elements.append(f'"{peer_link(peer.half.id)}" : jump {name}')
    for leg in world.legs:
        by = world.tables.get(leg.table or "")
        if by and by.spec.hops and leg.reach:
            name = names(leg.id)
            made.append(Piece(name, chain(name, f"ip daddr {{ {', '.join(leg.reach)} }} {_mark(by)}"), chain=True))
            elements.append(f'"{leg_link(leg.id)}" : jump {name}')
    forwarders = [f'"{nic_link(i)}"' for i, nic in world.nics.items() if nic.spec.forwarding]
    text = collection("map", _MAP, "type ifname : verdict;", elements)
    return [*made, Piece("steering", text + collection("set", FORWARDERS, "type ifname;", forwarders))]


def _mark(record: RouteRecord) -> str:
    return f"meta mark set meta mark | {record.slot << _SHIFT:#x}"


def _links(world: World, record: RouteRecord) -> list[str]:
    subnets = [ipaddress.IPv4Network(each) for each in record.spec.subnets]
    return [
        nic_link(i)
        for i, nic in world.nics.items()
        if any(ipaddress.IPv4Address(nic.spec.address) in subnet for subnet in subnets)
    ]


# --- tables ---------------------------------------------------------------------------------------------


def _wanted(world: World) -> dict[int, set[TableRoute]]:
    """Routes by slot."""
    find = finder(world)
    ours = [*world.network.prefixes, *(prefix for peer in world.peers for prefix in peer.prefixes)]
    private = [f"{each}/32" for each in world.private]  # The network's own way to them is longer than any prefix.
    ours += [*private, *(f"{each}/32" for peer in world.peers for each in peer.private)]
    ours += {nic.spec.overlay for nic in world.nics.values() if nic.spec.overlay}
    found = {
        record.slot: _table(record, ours, lambda address: _own_way(world, find, address))
        for record in world.tables.values()
        if record.spec.hops
    }
    for peer in world.peers:
        theirs = [*peer.prefixes, *peer.beyond, *private, *(f"{each}/32" for each in peer.private)]
        for record in peer.tables.values():
            if record.spec.hops:
                found[record.slot] = _table(
                    record, theirs, lambda address: _way_here(world, find, address), abroad=True
                )
    return found


Way = Callable[[str], tuple[str, str, str]]
"""From the address of a machine to kind, via and link of the route to it."""


def _table(record: RouteRecord, system: list[str], way: Way, *, abroad: bool = False) -> set[TableRoute]:
    """`system`: prefixes that the network of the table routes itself. `abroad`: in a peer of it."""
    number = _TABLES + record.slot
    rows = dict.fromkeys((*system, LINK_LOCAL), ("throw", "", ""))
    for hop in record.spec.hops:
        prefix = str(ipaddress.IPv4Network(hop.prefix))
        if hop.to == "network":
            rows[prefix] = ("throw", "", "")
        elif hop.to == "nowhere":
            rows[prefix] = ("blackhole", "", "")
        elif hop.to == "edge":
            rows[prefix] = ("throw", "", "") if abroad else ("unicast", UPLINK, EDGE)
        else:
            rows[prefix] = way(hop.to)
            if rows[prefix][0] == "blackhole":  # What is for a machine that does not forward still reaches it.
                rows.setdefault(f"{hop.to}/32", ("throw", "", ""))
    return {TableRoute(number, kind, prefix, via, link) for prefix, (kind, via, link) in rows.items()}


def _own_way(world: World, find: Callable[[str], NicRecord | None], address: str) -> tuple[str, str, str]:
    if nic := find(address):
        return _to(nic)
    if peer := _peer_of(world, address):
        return "unicast", PEER, peer_link(peer.half.id)
    return "blackhole", "", ""


def _way_here(world: World, find: Callable[[str], NicRecord | None], address: str) -> tuple[str, str, str]:
    if nic := find(address):
        return _to(nic)
    return ("blackhole" if _within(address, world.network.prefixes) else "throw"), "", ""


def _to(nic: NicRecord) -> tuple[str, str, str]:
    if not nic.spec.forwarding:
        return "blackhole", "", ""
    return "unicast", nic.spec.address, nic_link(nic.spec.id)


def _peer_of(world: World, address: str) -> Peer | None:
    return next((peer for peer in world.peers if _within(address, peer.prefixes)), None)


def _within(address: str, prefixes: Iterable[str]) -> bool:
    return any(ipaddress.IPv4Address(address) in ipaddress.IPv4Network(each) for each in prefixes)


def _rules(wanted: dict[int, set[TableRoute]]) -> dict[int, str]:
    return {_PREFERENCES + slot: f"fwmark {slot << _SHIFT:#x}/{MASK:#x} lookup {_TABLES + slot}" for slot in wanted}


def _now() -> tuple[set[int], set[TableRoute]]:
    """Preferences of rules, and routes, of the namespace the thread is in."""
    rules = {each for each in rule_preferences() if each - _PREFERENCES in SLOTS}
    return rules, {each for each in table_routes() if each.table - _TABLES in SLOTS}


def lines(world: World) -> list[str]:
    """`ip` lines that bring tables in line in the namespace the thread is in."""
    wanted = _wanted(world)
    rules, (there, routes) = _rules(wanted), _now()
    rows = {row for each in wanted.values() for row in each}
    places = {(row.table, row.prefix) for row in rows}
    made = [f"route replace {_words(row)}" for row in sorted(rows - routes)]
    made += [f"rule add pref {each} {rules[each]}" for each in sorted(rules.keys() - there)]
    made += [f"rule del pref {each}" for each in sorted(there - rules.keys())]
    gone = sorted(row for row in routes - rows if (row.table, row.prefix) not in places)
    return made + [f"route del {_words(row)}" for row in gone]


def _words(row: TableRoute) -> str:
    if row.kind == "unicast":
        return f"{row.prefix} via {row.via} dev {row.link} onlink table {row.table}"
    return f"{row.kind} {row.prefix} table {row.table}"


def stand(world: World) -> bool:
    """Whether tables are as they should be, of the namespace the thread is in."""
    wanted = _wanted(world)
    there, routes = _now()
    return there == _rules(wanted).keys() and routes == {row for each in wanted.values() for row in each}
