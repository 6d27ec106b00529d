"""The shape of the fabric: names, addresses, routes and base rules, as pure functions of the specs.

    host --- sorairo-<tag>:host --- edge --- n<network>:edge --- network's namespace --- i<nic>:eth0 --- machine
                                     |                                     |
                                     +---------- c<leg>:eth0 --- leg --- network:c<leg>

Every veth is a point-to-point link that carries single addresses. Between our own namespaces both ends of every link
have the same two link-local addresses (UPLINK above, DOWNLINK below), for a next hop means something on its link only;
a leg's link into a network has addresses of its own there, since answers must find back to it.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from sorairo.drivers.linux import nft
from sorairo.drivers.linux.iproute import Route, route
from sorairo.drivers.protocols import DriverError, Leg, Network, Nic

EDGE = "edge"
"""Name of the edge namespace, and of a network's link to it."""
HOST = "host"
"""The edge's link to the host."""
INSIDE = "eth0"
"""A machine's or leg's own link."""
NETWORK = "net0"
"""A leg's link into its network."""

UPLINK = "169.254.191.1"
DOWNLINK = "169.254.191.2"
_LEGS = ipaddress.IPv4Network("169.254.192.0/18")
"""A /30 each for the legs of one network. Clear of 169.254.169.254 and of the 169.254.1.1 that CNI plugins like."""
LEG_SLOTS = _LEGS.num_addresses // 4

_QUIET = {
    "ipv4/conf/all/rp_filter": "0",  # a packet may come by another link than its answer leaves by
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv4/conf/all/accept_redirects": "0",
    "ipv4/conf/default/accept_redirects": "0",
    "ipv4/conf/all/arp_ignore": "0",
    "ipv4/conf/all/arp_filter": "0",
    "ipv4/conf/all/log_martians": "0",
}
# ip_forward first: the kernel resets others when it is written. A new namespace copies the host's ipv4 values, so
# what matters is written even where it is the kernel's default.
ROUTER_SYSCTLS = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
    **_QUIET,
}
NETWORK_SYSCTLS = {**ROUTER_SYSCTLS, "ipv4/conf/all/proxy_arp": "1", "ipv4/conf/default/proxy_arp": "1"}
MACHINE_SYSCTLS = {"ipv4/ip_forward": "1", **_QUIET}
LEG_SYSCTLS = {"ipv4/ip_forward": "0", **_QUIET}


@dataclass(frozen=True, slots=True)
class NicRecord:
    """`slot`: the NIC's number within its network, from 1; what a balanced connection's mark names it by."""

    spec: Nic
    slot: int


@dataclass(frozen=True, slots=True)
class LegRecord:
    """`slot`: which /30 the leg has in its network, from 0; -1 without network."""

    spec: Leg
    slot: int

    @property
    def near(self) -> str:
        """The network's address on the leg's link."""
        return str(_LEGS[self.slot * 4 + 1])

    @property
    def own(self) -> str:
        """The leg's address there: what the network's machines see it come from."""
        return str(_LEGS[self.slot * 4 + 2])


def network_link(network_id: str) -> str:
    """The edge's link to a network."""
    return f"n{network_id}"


def nic_link(nic_id: str) -> str:
    """A network's link to a NIC."""
    return f"i{nic_id}"


def leg_link(leg_id: str) -> str:
    """The edge's, and a network's, link to a leg."""
    return f"c{leg_id}"


# --- the routes each spec stands by ---------------------------------------------------------------------


def network_routes(public_range: str) -> set[Route]:
    """In the network's own namespace, besides its NICs' and legs'."""
    return {route(public_range, EDGE, UPLINK)}


def public_addresses(spec: Network) -> list[str]:
    """Public addresses that the edge routes to the network."""
    return [spec.snat] if spec.snat else []


def nic_hops(spec: Nic) -> list[tuple[str, str | None]]:
    """(destination, via) in the network: the NIC itself, and by it its machine's other addresses, so that one
    neighbour entry serves them all (the kernel's limit of 1024 is over every namespace)."""
    return [(spec.address, None), *((each, spec.address) for each in spec.secondary)]


def nic_routes(spec: Nic) -> set[Route]:
    return {route(to, nic_link(spec.id), via) for to, via in nic_hops(spec)}


def leg_hops(record: LegRecord, network: Network) -> list[tuple[str, str | None]]:
    """(destination, via) in the leg's namespace, by its link into the network."""
    return [(record.near, None), *((prefix, record.near) for prefix in (*network.prefixes, *record.spec.reach))]


# --- rules ----------------------------------------------------------------------------------------------


def edge_rules() -> str:
    """A network's packets reach public addresses but not the host, whose services listen on every address: what
    the host publishes is to be named here. Control planes are sorairo's own and may speak to the host."""
    chain = f"{nft.TABLE} forward"
    return (
        f"add chain ip {chain} {{ type filter hook forward priority filter; policy accept; }}\n"
        f"flush chain ip {chain}\n"
        f"add rule ip {chain} ct state established,related accept\n"
        f'add rule ip {chain} iifname "n*" oifname "{HOST}" drop\n'
    )


def network_rules(spec: Network) -> str:
    """What holds in every network, before its security rules.

    `bounce`: a packet that would leave by the link it came by is for an address nobody has there (a pod that is
    gone): without this it would go to and fro between network and machine until its TTL ends.
    """
    forward, source = f"{nft.TABLE} forward", f"{nft.TABLE} source"
    lines = [
        f"add chain ip {forward} {{ type filter hook forward priority filter; policy accept; }}",
        f"add chain ip {source} {{ type nat hook postrouting priority srcnat; policy accept; }}",
        f"add set ip {nft.TABLE} prefixes {{ type ipv4_addr; flags interval; auto-merge; }}",
        f"flush chain ip {forward}",
        f"flush chain ip {source}",
        f"flush set ip {nft.TABLE} prefixes",
        f"add element ip {nft.TABLE} prefixes {{ {', '.join(spec.prefixes)} }}" if spec.prefixes else "",
        f"add rule ip {forward} ct state established,related accept",
        f"add rule ip {forward} ct state invalid drop",
        f'add rule ip {forward} oifname "c*" drop comment "control planes are not seen"',
        f'add rule ip {forward} iifname "c*" accept',
        f'add rule ip {forward} iifname "{EDGE}" ct mark 0 ct status & dnat == 0 drop comment "not published"',
        f'add rule ip {forward} oifname "{EDGE}" ip saddr != @prefixes drop' if spec.snat else "",
        f'add rule ip {forward} oifname "{EDGE}" drop comment "no way out"' if not spec.snat else "",
        f'add rule ip {forward} ct mark 0 ct status & dnat == 0 fib daddr . iif oif exists drop comment "bounce"',
        f'add rule ip {source} oifname "{EDGE}" ip saddr @prefixes snat to {spec.snat}' if spec.snat else "",
    ]
    return "".join(f"{line}\n" for line in lines if line)


# --- checks ---------------------------------------------------------------------------------------------


def check_address(text: str) -> str:
    """An IPv4 address in canonical form. Raises DriverError."""
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError as error:
        raise DriverError(str(error)) from None


def check_prefix(text: str) -> str:
    """An IPv4 address or CIDR. Raises DriverError."""
    try:
        return str(ipaddress.IPv4Network(text))
    except ValueError as error:
        raise DriverError(str(error)) from None


def check_name(text: str) -> str:
    """A name that fits the kernel and a file system. Raises DriverError."""
    if not (0 < len(text) <= 13 and text.replace("-", "").replace("_", "").isalnum() and text.isascii()):
        raise DriverError(f"'{text}' is not a host name of at most 13 letters, digits, - or _")
    return text


def check_network(spec: Network) -> Network:
    check_name(spec.id)
    for prefix in spec.prefixes:
        check_prefix(prefix)
    if spec.snat:
        check_address(spec.snat)
    return spec


def check_nic(spec: Nic) -> Nic:
    for name in (spec.id, spec.network):
        check_name(name)
    for address in (spec.address, spec.gateway):
        check_address(address)
    for prefix in spec.secondary:
        check_prefix(prefix)
    return spec


def check_leg(spec: Leg) -> Leg:
    check_name(spec.id)
    check_address(spec.public_address)
    for prefix in spec.reach:
        check_prefix(prefix)
    return spec
