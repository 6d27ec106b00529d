"""Microsoft.Network: virtual networks, interfaces, addresses and rules."""

from __future__ import annotations

from sorairo.drivers.naming import Names
from sorairo.drivers.protocols import Links
from sorairo.drivers.traffic import Traffic
from sorairo.engine.types import Provider
from sorairo.providers.microsoft_network.effective import Effective
from sorairo.providers.microsoft_network.load_balancers import LoadBalancerReconciler, load_balancer_types
from sorairo.providers.microsoft_network.nat_gateways import NatGatewayReconciler, nat_gateways
from sorairo.providers.microsoft_network.network_interfaces import NicReconciler, network_interface_types
from sorairo.providers.microsoft_network.network_watchers import NETWORK_WATCHERS, Watchers
from sorairo.providers.microsoft_network.peerings import PEERINGS
from sorairo.providers.microsoft_network.private_dns import private_dns_types
from sorairo.providers.microsoft_network.private_dns_zone_groups import ZONE_GROUPS
from sorairo.providers.microsoft_network.private_endpoints import PrivateEndpointReconciler, private_endpoints
from sorairo.providers.microsoft_network.public_dns import dns_zones
from sorairo.providers.microsoft_network.public_ip_addresses import public_ip_addresses
from sorairo.providers.microsoft_network.public_ip_prefixes import public_ip_prefixes
from sorairo.providers.microsoft_network.record_sets import ROUTES as DNS_ROUTES
from sorairo.providers.microsoft_network.record_sets import record_set_types
from sorairo.providers.microsoft_network.route_tables import RouteTableReconciler, route_table_types
from sorairo.providers.microsoft_network.security_groups import SecurityGroupReconciler, security_group_types
from sorairo.providers.microsoft_network.spaces import Spaces
from sorairo.providers.microsoft_network.subnet_services import available_delegations, available_endpoint_services
from sorairo.providers.microsoft_network.virtual_networks import SUBNETS, VirtualNetworkReconciler, virtual_networks


def provider(
    links: Links,
    traffic: Traffic,
    public_addresses: tuple[str, ...],
    names: Names | None = None,
    *,
    blocks: bool = False,
) -> Provider:
    """`public_addresses`: what public IPs are taken from, in order. `names` None: DNS is documents, and nobody answers.
    `blocks`: see NicReconciler; control planes are in no network then."""
    spaces = Spaces(public_addresses)
    effective = Effective(links, traffic)
    return Provider(
        "Microsoft.Network",
        (
            virtual_networks(VirtualNetworkReconciler(links, traffic.peerings, public_addresses, names)),
            SUBNETS,
            PEERINGS,
            *network_interface_types(NicReconciler(links, traffic.publics, blocks=blocks), effective.actions),
            public_ip_addresses(public_addresses, names),
            public_ip_prefixes(public_addresses),
            nat_gateways(NatGatewayReconciler(traffic.outbounds)),
            *security_group_types(SecurityGroupReconciler(traffic.firewalls, spaces)),
            *route_table_types(RouteTableReconciler(traffic.tables, spaces)),
            *load_balancer_types(LoadBalancerReconciler(traffic)),
            NETWORK_WATCHERS,
            *private_dns_types(),
            dns_zones(names),
            *record_set_types(),
            private_endpoints(PrivateEndpointReconciler(None if blocks else traffic.private_links)),
            ZONE_GROUPS,
        ),
        depends_on=("Microsoft.Compute",),
        routes=(
            ("GET", "locations/{location}/availableDelegations", available_delegations),
            ("GET", "locations/{location}/virtualNetworkAvailableEndpointServices", available_endpoint_services),
            *DNS_ROUTES,
            *Watchers(effective).routes,
        ),
    )
