"""The packet rules of a network, as pure functions. The edge has none, so that it tracks no connections.

A network's table, in the order its packets meet it:

    steer    prerouting, mangle     what is of a forgotten connection ends; balanced connections that keep their
                                    destination get their machine's mark
    routes   prerouting, mangle     what comes from a subnet with a table of routes gets that one's mark besides
    target   prerouting, dstnat     other balanced connections, and public addresses, get their new destination
    forward  forward, filter        what may pass: first the fabric's own rules, then firewalls
    own      output, filter         what the network itself asks of machines (probes) meets their firewalls too
    source   postrouting, srcnat    what leaves through the edge gets its public source
"""

from __future__ import annotations

import ipaddress

from sorairo.drivers.linux import firewall, idle, loadbalancer, outbound, peering, steering
from sorairo.drivers.linux.fabric import DNS, EDGE, INSIDE, SERVICES
from sorairo.drivers.linux.nft import Piece, chain, collection
from sorairo.drivers.linux.world import World
from sorairo.drivers.protocols import Leg, Network, Nic

_ADDRESS_TO_ADDRESS = "type ipv4_addr : ipv4_addr;"


def network(world: World) -> list[Piece]:
    parts = (firewall, loadbalancer, outbound, steering, peering)
    made = (piece for part in parts for piece in part.pieces(world))
    return [base(world), idle.times(world), *made, *idle.ends(world), _publics(world), names(world)]


def base(world: World) -> Piece:
    """What holds in every network.

    "host": its services listen on every address it has; only what it publishes is for networks.
    "not published": only balancing and public addresses let anything in. "bounce": a packet that would leave by the
    link it came by is for an address nobody has there (a pod that is gone, a frontend the machine does not know);
    without this it would go to and fro between network and machine until its TTL ends.
    """
    spec = world.network
    known = ["implicit"] if spec.snat else []
    nobody = " ".join(f"ip saddr != @{each}" for each in (*known, "pub_sources", outbound.SOURCES))
    unbalanced = "ct mark 0 ct status ! dnat"
    text = (
        collection("set", "implicit", "type ipv4_addr; flags interval; auto-merge;", _implicit(spec))
        + collection("set", "pub_sources", "type ipv4_addr;")
        + collection("map", "pub_in", _ADDRESS_TO_ADDRESS)
        + collection("map", "pub_out", _ADDRESS_TO_ADDRESS)
        + collection("map", "names_in", _ADDRESS_TO_ADDRESS)
        + outbound.empty()
        + steering.empty()
        + peering.empty()
        + "".join(collection("map", each, "type ifname : verdict;") for each in firewall.MAPS)
        + "".join(collection("map", each, f"type {key} : verdict;") for each, key in loadbalancer.MAPS.items())
        + idle.base()
        + chain("answers", idle.ANSWERS, hook="type route hook output priority mangle; policy accept;")
        + chain(
            "steer", idle.STEER, *loadbalancer.STEER, hook="type filter hook prerouting priority mangle; policy accept;"
        )
        + chain("routes", steering.STEER, hook="type filter hook prerouting priority mangle + 1; policy accept;")
        + chain(
            "target",
            *loadbalancer.TARGET,
            "meta l4proto { tcp, udp } th dport 53 dnat to ip daddr map @names_in",
            "dnat to ip daddr map @pub_in",
            hook="type nat hook prerouting priority dstnat; policy accept;",
        )
        + chain("host", *(f"{protocol} dport {port} return" for protocol, port in world.published), "drop")
        + chain(firewall.CLOSED, "counter drop")
        + chain(
            "forward",
            'meta mark != 0 fib daddr . mark . iif oif exists drop comment "bounce"',
            "ct state established,related accept",
            idle.FORWARD,
            steering.PASS_ON[0],
            "ct state invalid drop",
            f'oifname "{DNS}" ct status dnat accept comment "names are for all"',
            f'oifname "{DNS}" drop',
            f'iifname "{DNS}" drop',
            'oifname "c*" drop comment "control planes are not seen"',
            'iifname "c*" accept',
            'iifname "s*" drop comment "control planes only answer by private links"',
            *steering.PASS_ON[1:],
            *peering.FORWARD,
            f'iifname "{EDGE}" {unbalanced} drop comment "not published"',
            f'oifname "{EDGE}" {nobody} drop comment "no way out"',
            f'oifname "{EDGE}" ip daddr {world.host} jump host',
            f'{unbalanced} fib daddr . iif oif exists drop comment "bounce"',
            *firewall.JUDGE,
            hook="type filter hook forward priority filter; policy accept;",
        )
        + chain(
            "own",
            "ct state established,related accept",
            *firewall.JUDGE_OWN,
            hook="type filter hook output priority filter; policy accept;",
        )
        + chain(
            "source",
            f'oifname "{DNS}" masquerade',
            'oifname "s*" masquerade',
            f'oifname "{EDGE}" ip saddr vmap @out_first',
            f'oifname "{EDGE}" snat to ip saddr map @pub_out',
            f'oifname "{EDGE}" ip saddr vmap @out_rest',
            f'oifname "{EDGE}" ip saddr @implicit snat to {spec.snat}' if spec.snat else "",
            hook="type nat hook postrouting priority srcnat; policy accept;",
        )
    )
    return Piece("base", text)


def _implicit(spec: Network) -> list[str]:
    """Prefixes whose connections out need nothing made for them."""
    left = [ipaddress.IPv4Network(each) for each in spec.prefixes]
    for private in map(ipaddress.IPv4Network, spec.private):
        left = [
            part
            for each in left
            if not each.subnet_of(private)
            for part in (each.address_exclude(private) if private.subnet_of(each) else [each])
        ]
    return [str(each) for each in sorted(left)]


def names(world: World) -> Piece:
    """Where questions go that machines ask 168.63.129.16. No firewall judges them, as on Azure."""
    server = [f"{SERVICES[0]} : {world.view.server}"] if world.view else []
    return Piece("names", collection("map", "names_in", _ADDRESS_TO_ADDRESS, server))


def _publics(world: World) -> Piece:
    pairs = [(each.public_address, each.address) for each in world.publics.values()]
    into = [f"{each.public_address} : {each.address}" for each in world.publics.values() if each.inbound]
    return Piece(
        "publics",
        collection("map", "pub_in", _ADDRESS_TO_ADDRESS, into)
        + collection("map", "pub_out", _ADDRESS_TO_ADDRESS, [f"{own} : {out}" for out, own in pairs])
        + collection("set", "pub_sources", "type ipv4_addr;", [own for _, own in pairs]),
    )


def nic(spec: Nic) -> list[Piece]:
    """A machine's own rules, in its namespace: what leaves an overlay does so under the machine's address."""
    if spec.overlay is None:
        return []
    text = chain(
        "overlay",
        f'oifname "{INSIDE}" ip saddr {spec.overlay} ip daddr != {spec.overlay} snat to {spec.address}',
        hook="type nat hook postrouting priority srcnat; policy accept;",
    )
    return [Piece("overlay", text, chain=True)]


def leg(spec: Leg, *, linked: bool = False) -> list[Piece]:
    """A leg's own rules, in its namespace: who may connect to it, if not everybody. `linked`: it has private links."""
    found = []
    if linked:
        hook = "type nat hook prerouting priority dstnat; policy accept;"
        text = chain("links", f'iifname "s*" dnat to {spec.public_address}', hook=hook)
        found.append(Piece("links", text, chain=True))
    if spec.allowed is None:
        return found
    rules = [*firewall.matching("saddr", spec.allowed), "accept"] if spec.allowed else []
    text = chain(
        "door",
        "iif lo accept",
        "ct state established,related accept",
        'iifname "s*" ct status dnat accept',
        " ".join(rules),
        "counter drop",
        hook="type filter hook input priority filter; policy accept;",
    )
    return [*found, Piece("door", text, chain=True)]
