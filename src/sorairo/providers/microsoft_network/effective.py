"""What holds for one network interface: its rules and routes as the host has them, in Azure's words.

https://learn.microsoft.com/azure/virtual-network/diagnose-network-traffic-filter-problem
https://learn.microsoft.com/azure/virtual-network/virtual-networks-udr-overview
Rules are those that stand on the host (a firewall is shown only while its chains in the kernel are as they should be);
the documents lend their spelling, tags for addresses.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from sorairo.drivers.protocols import Links, Nic
from sorairo.drivers.routing import RouteTable
from sorairo.drivers.traffic import Firewall, FirewallRule, Traffic
from sorairo.drivers.verdicts import guards
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import host_name, parse_id
from sorairo.engine.types import Action, Call, Document, Reader, Resource
from sorairo.providers.microsoft_network import service_tags
from sorairo.providers.microsoft_network.network_interfaces import subnet_of
from sorairo.providers.microsoft_network.security_rules import default_rules, prefixes

FIRST_DEFAULT = 65000
"""Priority from which on rules are every group's own."""
NOWHERE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
"""What Azure drops unless the network has it: https://learn.microsoft.com/azure/virtual-network/virtual-networks-udr-overview#default"""


class Effective:
    """`az network nic list-effective-nsg` and `show-effective-route-table`."""

    def __init__(self, links: Links, traffic: Traffic) -> None:
        self._links = links
        self._traffic = traffic

    def actions(self, type: str) -> tuple[Action, ...]:
        return (
            Action(
                "effectiveNetworkSecurityGroups", f"{type}/effectiveNetworkSecurityGroups/action", run=self.groups_of
            ),
            Action("effectiveRouteTable", f"{type}/effectiveRouteTable/action", run=self.routes_of),
        )

    async def standing(self, nic: Resource) -> Nic:
        """The interface as the host has it. Raises ArmError when it is in no running machine."""
        found = (await self._links.observe_links()).nics.get(host_name(nic.id))
        if found is None:
            raise ArmError(
                "NicMustBeAttachedToRunningVm",
                f"Network interface {nic.id} must be attached to a running virtual machine for this operation.",
                target=nic.id,
            )
        return found

    async def firewalls(self) -> list[Firewall]:
        return list((await self._traffic.firewalls.observe_firewalls()).whole.values())

    async def groups_of(self, call: Call) -> Document:
        nic = await self.standing(call.resource)
        found = []
        for level, firewall in guards(await self.firewalls(), nic).items():
            at = {"id": call.resource.id} if level == "nic" else {"id": subnet_of(call.resource)}
            spelling = await _spelling(call.ctx, firewall.owner)
            found.append(
                {
                    "networkSecurityGroup": {"id": firewall.owner},
                    "association": {"networkInterface" if level == "nic" else "subnet": at},
                    "effectiveSecurityRules": [effective_rule(rule, spelling) for rule in firewall.rules],
                    "tagMap": _tags(firewall, spelling),
                }
            )
        return {"value": found}

    async def routes_of(self, call: Call) -> Document:
        await self.standing(call.resource)
        return {"value": await self.routes(call.ctx, call.resource)}

    async def routes(self, reader: Reader, nic: Resource) -> list[Document]:
        """Those of the network, then those of the subnet's table, as `value` of an EffectiveRouteListResult: of all
        of them, those that stand on the host."""
        network = host_name(parse_id(subnet_of(nic)).parent)
        links = await self._links.observe_links()
        halves = (await self._traffic.peerings.observe_peerings()).whole.values()
        met = {(half.remote, half.network) for half in halves}
        peers = [half.remote for half in halves if half.network == network and (network, half.remote) in met]
        space = dict.fromkeys(links.networks[network].prefixes if network in links.networks else (), "VnetLocal")
        space |= {p: "VNetPeering" for peer in peers if peer in links.networks for p in links.networks[peer].prefixes}
        ends = (await self._traffic.private_links.observe_private_links()).whole.values()
        space |= {f"{each.address}/32": "InterfaceEndpoint" for each in ends if each.network in (network, *peers)}
        table = await self._table(links.nics.get(host_name(nic.id)))
        hops = {hop.prefix: hop.to for hop in table.hops} if table else {}
        shown = system_routes(space)
        for route in shown:
            if route["addressPrefix"][0] in hops:
                route["state"] = "Invalid"
        return shown + [_user_route(prefix, to, table.owner if table else "") for prefix, to in hops.items()]

    async def _table(self, nic: Nic | None) -> RouteTable | None:
        """That of the interface's subnet."""
        tables = (await self._traffic.tables.observe_route_tables()).whole.values() if nic else ()
        return next(
            (
                table
                for table in tables
                if nic
                and table.network == nic.network
                and any(ipaddress.IPv4Address(nic.address) in ipaddress.IPv4Network(each) for each in table.subnets)
            ),
            None,
        )


_HOPS = {"network": "VnetLocal", "edge": "Internet", "nowhere": "None"}


def _user_route(prefix: str, to: str, table: str) -> Document:
    found = _route(prefix, _HOPS.get(to, "VirtualAppliance")) | {"source": "User", "routeTableId": table}
    return found if to in _HOPS else found | {"nextHopIpAddress": [to]}


def system_routes(space: Mapping[str, str]) -> list[Document]:
    """What every network routes: its own space and its peers' (kind of next hop by prefix), everything else out, and
    private addresses elsewhere nowhere."""
    rows = [*space.items(), ("0.0.0.0/0", "Internet"), *((prefix, "None") for prefix in NOWHERE if prefix not in space)]
    return [_route(prefix, hop) for prefix, hop in rows]


def _route(prefix: str, hop: str) -> Document:
    return {
        "source": "Default",
        "state": "Active",
        "addressPrefix": [prefix],
        "nextHopType": hop,
        "nextHopIpAddress": [],
        "disableBgpRoutePropagation": False,
    }


def best(routes: Iterable[Document], destination: str) -> Document | None:
    """The active route with the longest prefix; of two alike, the user's."""
    here = ipaddress.IPv4Address(destination)
    found = [
        (ipaddress.IPv4Network(prefix).prefixlen, route["source"] == "User", n, route)
        for n, route in enumerate(routes)
        for prefix in route["addressPrefix"]
        if route["state"] == "Active" and here in ipaddress.IPv4Network(prefix)
    ]
    return max(found, key=lambda each: each[:3])[3] if found else None


# --- rules -----------------------------------------------------------------------------------------------


def rule_name(rule: FirewallRule) -> str:
    """As Azure tells it: with the list it is in."""
    return f"{'defaultSecurityRules' if rule.priority >= FIRST_DEFAULT else 'securityRules'}/{rule.name}"


def effective_rule(rule: FirewallRule, spelling: dict[str, Document]) -> Document:
    document = spelling.get(rule_name(rule).lower())
    shown: Document = {
        "name": rule_name(rule),
        "protocol": "All" if rule.protocol == "any" else rule.protocol.capitalize(),
        "access": "Allow" if rule.allow else "Deny",
        "priority": rule.priority,
        "direction": rule.direction.capitalize(),
    }
    for end, addresses, ranges in (
        ("source", rule.sources, rule.source_ports),
        ("destination", rule.destinations, rule.destination_ports),
    ):
        said = (prefixes(document, end) if document else []) or list(addresses) or ["*"]
        said = ["0.0.0.0/0" if text == "*" else text for text in said]
        shown |= _one_or_many(f"{end}AddressPrefix", f"{end}AddressPrefixes", said)
        if any(service_tags.is_tag(text) for text in said):
            shown[f"expanded{end.capitalize()}AddressPrefix"] = list(addresses)
        spans = [f"{first}-{last}" for first, last in ranges or ((0, 65535),)]
        shown |= _one_or_many(f"{end}PortRange", f"{end}PortRanges", spans)
    return shown


def _one_or_many(one: str, many: str, values: list[str]) -> Document:
    return {one: values[0], many: values} if len(values) == 1 else {many: values}


async def _spelling(reader: Reader, group: str) -> dict[str, Document]:
    """A group's rules as its document has them, by name."""
    resource = await reader.get(group)
    own = (resource.properties.get("securityRules") or []) if resource else []
    found = {f"securityRules/{rule['name']}".lower(): rule for rule in own}
    return found | {f"defaultSecurityRules/{rule['name']}".lower(): rule for rule in default_rules(group)}


def _tags(firewall: Firewall, spelling: dict[str, Document]) -> dict[str, list[str]]:
    """What the tags in a group's rules stand for. Of an end that names nothing but one tag: its addresses."""
    found: dict[str, list[str]] = {}
    for rule in firewall.rules:
        document = spelling.get(rule_name(rule).lower())
        for end, addresses in (("source", rule.sources), ("destination", rule.destinations)):
            said = prefixes(document, end) if document else []
            if len(said) == 1 and service_tags.is_tag(said[0]):
                found.setdefault(said[0], list(addresses))
    return found
