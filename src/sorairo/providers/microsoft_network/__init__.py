"""Microsoft.Network: virtual networks, interfaces, addresses and rules."""

from __future__ import annotations

from sorairo.drivers.protocols import Links
from sorairo.drivers.traffic import Traffic
from sorairo.engine.types import Provider
from sorairo.providers.microsoft_network.documents import ROUTE_TABLES, ROUTES
from sorairo.providers.microsoft_network.load_balancers import LoadBalancerReconciler, load_balancer_types
from sorairo.providers.microsoft_network.network_interfaces import NicReconciler, network_interface_types
from sorairo.providers.microsoft_network.public_ip_addresses import public_ip_addresses
from sorairo.providers.microsoft_network.security_groups import SECURITY_GROUPS, SECURITY_RULES
from sorairo.providers.microsoft_network.virtual_networks import SUBNETS, VirtualNetworkReconciler, virtual_networks


def provider(links: Links, traffic: Traffic, public_addresses: tuple[str, ...], *, blocks: bool = False) -> Provider:
    """`public_addresses`: what public IPs are taken from, in order. `blocks`: see NicReconciler."""
    return Provider(
        "Microsoft.Network",
        (
            virtual_networks(VirtualNetworkReconciler(links, public_addresses)),
            SUBNETS,
            *network_interface_types(NicReconciler(links, blocks=blocks)),
            public_ip_addresses(public_addresses),
            SECURITY_GROUPS,
            SECURITY_RULES,
            ROUTE_TABLES,
            ROUTES,
            *load_balancer_types(LoadBalancerReconciler(traffic)),
        ),
        depends_on=("Microsoft.Compute",),
    )
