"""Whether this host can do what the fabric needs, tried and not guessed from versions."""

from __future__ import annotations

import ipaddress

from sorairo.drivers.linux import loadbalancer, nft, rules
from sorairo.drivers.linux.iproute import batch
from sorairo.drivers.linux.netns import nameless
from sorairo.drivers.linux.world import BalancerRecord, NicRecord, World
from sorairo.drivers.protocols import DriverError, Network, Nic
from sorairo.drivers.traffic import Backend, Balancer, BalancerRule, Firewall, FirewallRule, PublicAddress

_NIC = Nic("n1", "", "t", "m1", "10.0.0.4", "10.0.0.1", 24)
_TO = (Backend(_NIC.address),)
_BALANCED = (
    BalancerRule("floating", "198.18.0.10", "tcp", 80, _TO, floating=True),
    BalancerRule("rewritten", "198.18.0.11", "udp", 53, _TO),
    BalancerRule("all ports", "10.0.0.9", "any", 0, _TO, floating=True),
    BalancerRule("affinity", "10.0.0.10", "tcp", 80, _TO, affinity="client-protocol"),
)
_FIREWALL = Firewall(
    "f1", "", "t", (FirewallRule(100, "inbound", False, "tcp", ("10.0.0.0/9", "11.0.0.0/8")),), ("n1",)
)
_WORLD = World(
    Network("t", "", ("10.0.0.0/8",), "198.18.0.9"),
    ipaddress.IPv4Network("198.18.0.0/16"),
    (("tcp", 443),),
    {"n1": NicRecord(_NIC, 1)},
    {
        "f1": Firewall(
            "f1", "", "t", (FirewallRule(100, "inbound", False, "tcp", ("10.0.0.0/9", "11.0.0.0/8")),), ("n1",)
        )
    },
    {"b1": BalancerRecord(Balancer("b1", "", "t", _BALANCED))},
    {"p1": PublicAddress("p1", "", "t", "198.18.0.8", "10.0.0.4")},
)


def shortcomings() -> str | None:
    """What keeps networks from working here, in the words of the kernel or the program that says so; None when
    nothing does. Makes a network's links, rules and routes in a namespace that nobody else sees and that is gone
    when this returns. Needs root; takes about 50 ms."""
    try:
        with nameless():
            batch(["link set lo up", "link add in1 type veth peer name eth0", "link set in1 up", "link set eth0 up"])
            nft.sync(rules.network(_WORLD), {})
            batch(loadbalancer.route_lines(_WORLD))
            if not loadbalancer.routes_stand(_WORLD):
                return "routing by mark does not work"
            missing = [piece.name for piece in rules.network(_WORLD) if nft.standing().get(piece.name) != piece.digest]
            return f"nft does not show what it was given: {', '.join(missing)}" if missing else None
    except DriverError as error:
        return str(error)
