"""The shape of the fabric: names, addresses and routes, as pure functions of the specs.

    host --- sorairo-<tag>:host --- edge --- n<network>:edge --- network's namespace --- i<nic>:eth0 --- machine
                                     |                                     |
                                     +---------- c<leg>:eth0 --- leg --- network:c<leg>
                                     |                                     |
                                     +---------- names, a leg --- v<network>:dns0 --- network

    network --- p<half>:p<half> --- network
    network --- s<link>:s<link> --- leg of a network, this one or another

Every veth is a point-to-point link that carries single addresses. Between our own namespaces both ends of every link
have the same two link-local addresses (UPLINK above, DOWNLINK below), for a next hop means something on its link only;
a leg's link into a network has addresses of its own there, since answers must find back to it.
"""

from __future__ import annotations

import hashlib

from sorairo.drivers.linux.iproute import Route, route
from sorairo.drivers.linux.world import LegRecord, Peer
from sorairo.drivers.protocols import Network, Nic

EDGE = "edge"
"""Name of the edge namespace, and of a network's link to it."""
HOST = "host"
"""The edge's link to the host."""
INSIDE = "eth0"
"""A machine's or leg's own link."""
NETWORK = "net0"
"""A leg's link into its network."""
NAMES = "names"
"""Namespace, and leg, of the name server."""
DNS = "dns0"
"""A network's link to it."""

UPLINK = "169.254.191.1"
DOWNLINK = "169.254.191.2"
PEER = "169.254.191.5"
"""What the other end of a link between networks is known as, by a neighbour entry: neither end has an address, for a
network with several peers is above some of them and below others."""
METADATA = "169.254.169.254"
SERVICES = ("168.63.129.16", METADATA)
"""Addresses the network itself has: what listens on them in its namespace answers its machines (DNS, health probes,
instance metadata), and a probe sent from there comes from the first, as Azure's do."""

_QUIET = {
    f"ipv4/conf/{which}/{key}": "0"
    for key in ("rp_filter", "send_redirects", "accept_redirects", "arp_ignore", "arp_filter", "log_martians")
    for which in ("all", "default")
}
"""rp_filter: a packet may come by another link than its answer leaves by. The others: what a host may have set."""
# ip_forward first: the kernel resets others when it is written. A new namespace copies the host's ipv4 values and a new
# link its namespace's, so all of this is written before any link comes, even where it is the kernel's default.
ROUTER_SYSCTLS = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
    **_QUIET,
}
NETWORK_SYSCTLS = {
    **ROUTER_SYSCTLS,
    "ipv4/conf/all/proxy_arp": "1",
    "ipv4/conf/default/proxy_arp": "1",
    # A reset goes by the mark that the rule which sends it has given the packet (`idle`).
    "ipv4/fwmark_reflect": "1",
}
MACHINE_SYSCTLS = {"ipv4/ip_forward": "1", **_QUIET}
LEG_SYSCTLS = {"ipv4/ip_forward": "0", **_QUIET}


def network_link(network_id: str) -> str:
    """The edge's link to a network."""
    return f"n{network_id}"


def nic_link(nic_id: str) -> str:
    """A network's link to a NIC."""
    return f"i{nic_id}"


def view_link(network_id: str) -> str:
    """The name server's link to a network."""
    return f"v{network_id}"


def leg_link(leg_id: str) -> str:
    """The edge's, and a network's, link to a leg."""
    return f"c{leg_id}"


def peer_link(half_id: str) -> str:
    """A network's link to one it is peered with."""
    return f"p{half_id}"


def private_link(link_id: str) -> str:
    """A private link, by either of its ends: the network's, and the leg's."""
    return f"s{link_id}"


def mac(name: str) -> str:
    """A locally administered address, always the same for a name."""
    return "02:" + hashlib.sha256(name.encode()).digest()[:5].hex(":")


# --- the routes each spec stands by ---------------------------------------------------------------------


def network_routes(public_range: str) -> set[Route]:
    """In the network's own namespace, besides its NICs' and legs'."""
    return {route(public_range, EDGE, UPLINK)}


def nic_hops(spec: Nic) -> list[tuple[str, str | None]]:
    """(destination, via) in the network: the NIC itself, and by it its machine's other addresses, so that one
    neighbour entry serves them all (the kernel's limit of 1024 is over every namespace)."""
    return [(spec.address, None), *((each, spec.address) for each in spec.secondary)]


def nic_routes(spec: Nic) -> set[Route]:
    return {route(to, nic_link(spec.id), via) for to, via in nic_hops(spec)}


def leg_hops(record: LegRecord, network: Network) -> list[tuple[str, str | None]]:
    """(destination, via) in the leg's namespace, by its link into the network."""
    return [(record.near, None), *((prefix, record.near) for prefix in (*network.prefixes, *record.spec.reach))]


def peer_hops(peer: Peer) -> list[tuple[str, str | None]]:
    """(destination, via) in a network, by its link to the peer."""
    return [(prefix, PEER) for prefix in peer.prefixes]
