"""Microsoft.Network/networkSecurityGroups: firewalls in each virtual network where a NIC or a subnet names the group.

https://learn.microsoft.com/rest/api/virtualnetwork/network-security-groups
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from sorairo.drivers.protocols import DriverError
from sorairo.drivers.traffic import Firewall, Firewalls
from sorairo.engine.errors import ArmError, Retry
from sorairo.engine.ids import host_name, parse_id
from sorairo.engine.types import Admission, Context, Document, Inline, Reader, Resource, ResourceType, Step, named
from sorairo.providers.microsoft_network.network_interfaces import claimed, configurations, subnet_of
from sorairo.providers.microsoft_network.references import check_there, in_use, of_type
from sorairo.providers.microsoft_network.security_rules import (
    check,
    cleaned,
    default_rules,
    firewall_rules,
    named_groups,
)
from sorairo.providers.microsoft_network.spaces import Spaces
from sorairo.providers.microsoft_network.versions import API_VERSIONS
from sorairo.providers.microsoft_network.virtual_networks import NIC_TYPES, VIRTUAL_NETWORK, subnet_prefix

SECURITY_GROUP = "Microsoft.Network/networkSecurityGroups"
APPLICATION_GROUP = "Microsoft.Network/applicationSecurityGroups"


async def admit(admission: Admission) -> None:
    properties = admission.body["properties"]
    for shown in ("defaultSecurityRules", "networkInterfaces", "subnets"):
        properties.pop(shown, None)
    rules = properties["securityRules"] = [cleaned(rule) for rule in properties.get("securityRules") or []]
    check(rules)
    for id in sorted(named_groups(rules)):
        await check_there(admission.reader, id, admission.id.text)


async def admit_delete(admission: Admission) -> None:
    users = await associations(admission.reader, admission.id.text)
    if users.nics or users.subnets:
        raise in_use(
            "InUseNetworkSecurityGroupCannotBeDeleted",
            "Network security group",
            admission.id.text,
            [nic.id for nic in users.nics] + [id for id, _, _ in users.subnets],
        )


@dataclass(frozen=True, slots=True)
class Associations:
    """Who names a security group."""

    nics: list[Resource]
    subnets: list[tuple[str, str, str]]
    """Id, CIDR, virtual network."""


async def associations(reader: Reader, group: str) -> Associations:
    nics = [
        nic
        for type in NIC_TYPES
        for nic in await reader.naming(group, type=type)
        if not nic.deleting and _group(nic.properties) == group.lower()
    ]
    subnets = [
        (f"{network.id}/subnets/{subnet['name']}", subnet_prefix(subnet), network.id)
        for network in await reader.naming(group, type=VIRTUAL_NETWORK)
        for subnet in network.properties.get("subnets", [])
        if _group(subnet["properties"]) == group.lower()
    ]
    return Associations(nics, subnets)


def _group(properties: Document) -> str:
    return str((properties.get("networkSecurityGroup") or {}).get("id", "")).lower()


async def application_members(reader: Reader, groups: Iterable[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Addresses by virtual network and application security group, all in lower case."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for group in groups:
        for type in NIC_TYPES:
            for nic in await reader.naming(group, type=type):
                for address, configuration in zip(claimed(nic), configurations(nic), strict=False):
                    properties = configuration["properties"]
                    named_here = {str(g["id"]).lower() for g in properties.get("applicationSecurityGroups") or []}
                    if group in named_here and not nic.deleting:
                        found[parse_id(properties["subnet"]["id"]).parent.lower()][group].append(address)
    return {network: {g: tuple(a) for g, a in by.items()} for network, by in found.items()}


def firewall_id(group: str, network: str) -> str:
    return host_name(f"{group}|{network}")


@dataclass(frozen=True, slots=True)
class Actual:
    wanted: tuple[Firewall, ...] = ()
    standing: dict[str, Firewall] = field(default_factory=dict)
    """This group's, by id."""
    partial: tuple[str, ...] = ()
    leaving: frozenset[str] = frozenset()
    """Host names of networks that are going, and take their firewalls along."""
    nics: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()


class SecurityGroupReconciler:
    def __init__(self, firewalls: Firewalls, spaces: Spaces) -> None:
        self._firewalls = firewalls
        self._spaces = spaces

    async def observe(self, ctx: Context, resource: Resource) -> Actual:
        found = await self._firewalls.observe_firewalls()
        standing = {i: each for i, each in found.whole.items() if each.owner.lower() == resource.key}
        partial = tuple(i for i, owner in found.partial.items() if owner.lower() == resource.key)
        if resource.deleting:
            return Actual((), standing, partial)
        users = await associations(ctx, resource.id)
        networks = {*(parse_id(subnet_of(nic)).parent.lower() for nic in users.nics)}
        networks |= {network.lower() for _, _, network in users.subnets}
        there = {n: stored for n in sorted(networks) if (stored := await ctx.get(n))}
        rules = resource.properties.get("securityRules") or []
        members = await application_members(ctx, named_groups(rules))
        wanted = [
            Firewall(
                firewall_id(resource.key, key),
                resource.id,
                host_name(key),
                firewall_rules(resource.id, rules, await self._spaces.of(ctx, network), members.get(key, {})),
                tuple(sorted(host_name(n.id) for n in users.nics if parse_id(subnet_of(n)).parent.lower() == key)),
                tuple(sorted(prefix for _, prefix, at in users.subnets if at.lower() == key)),
            )
            for key, network in there.items()
            if not network.deleting
        ]
        return Actual(
            tuple(wanted),
            standing,
            partial,
            await self._leaving(ctx, standing),
            tuple(sorted(nic.id for nic in users.nics)),
            tuple(sorted(id for id, _, _ in users.subnets)),
        )

    async def _leaving(self, ctx: Context, standing: dict[str, Firewall]) -> frozenset[str]:
        networks = {each.network for each in standing.values()}
        listed = await ctx.list(type=VIRTUAL_NETWORK) if networks else []
        return frozenset(host_name(n.id) for n in listed if n.deleting) & networks

    def plan(self, resource: Resource, actual: Actual) -> list[Step]:
        plan = []
        for firewall in actual.wanted:
            if actual.standing.get(firewall.id) != firewall:
                plan.append(Step(f"guard {firewall.id}", self.ensure, (firewall,)))
        wanted = {firewall.id for firewall in actual.wanted}
        stale = [i for i, each in actual.standing.items() if i not in wanted and each.network not in actual.leaving]
        for id in (*stale, *(i for i in actual.partial if i not in wanted)):
            plan.append(Step(f"stop guarding {id}", self.remove, (id,)))
        return plan

    def status(self, resource: Resource, actual: Actual) -> Document:
        shown = {"networkInterfaces": actual.nics, "subnets": actual.subnets}
        return {key: [{"id": id} for id in ids] for key, ids in shown.items() if ids}

    async def ensure(self, ctx: Context, resource: Resource, firewall: Firewall) -> None:
        try:
            await self._firewalls.ensure_firewall(firewall)
        except DriverError as e:
            # Another group that is about to let go of the same NIC; or after a reboot, a network that is still to come.
            if "guarded by firewall" in str(e) or f"network {firewall.network} is not there" in str(e):
                raise Retry(0.05, str(e)) from e
            raise

    async def remove(self, ctx: Context, resource: Resource, id: str) -> None:
        await self._firewalls.remove_firewall(id)


# --- who is looked at, when -------------------------------------------------------------------------------


async def _by_nic(reader: Reader, nic: Resource) -> Iterable[str]:
    found = list(await named(reader, nic))
    groups = of_type(found, APPLICATION_GROUP)
    return found + [g.id for id in groups for g in await reader.naming(id, type=SECURITY_GROUP)]


async def _by_network(reader: Reader, network: Resource) -> Iterable[str]:
    """Those of its subnets and NICs, and of its peers': VirtualNetwork means something else to them now."""
    found = list(await named(reader, network))
    peers = of_type(found, VIRTUAL_NETWORK)
    peers |= {peer.key for peer in await reader.naming(network.id, type=VIRTUAL_NETWORK)}
    for id in (network.key, *peers - {network.key}):
        if id != network.key and (peer := await reader.get(id)):
            found += await named(reader, peer)
        for type in NIC_TYPES:
            found += {_group(nic.properties) for nic in await reader.naming(id, type=type)} - {""}
    return found


def _render(resource: Resource, document: Document) -> Document:
    document["properties"]["defaultSecurityRules"] = default_rules(resource.id)
    return document


def security_group_types(reconciler: SecurityGroupReconciler) -> tuple[ResourceType[Actual] | ResourceType[None], ...]:
    groups = ResourceType(
        SECURITY_GROUP,
        API_VERSIONS,
        reconciler=reconciler,
        admit=admit,
        admit_delete=admit_delete,
        linked=f"{SECURITY_GROUP}/join/action",
        render=_render,
        schema="networkSecurityGroups",
        watches={**dict.fromkeys(NIC_TYPES, _by_nic), VIRTUAL_NETWORK: _by_network},
    )
    rules: ResourceType[None] = ResourceType(
        f"{SECURITY_GROUP}/securityRules",
        API_VERSIONS,
        inline=Inline("securityRules"),
        schema="securityRules",
        located=False,
        tracked=False,
    )
    applications: ResourceType[None] = ResourceType(
        APPLICATION_GROUP,
        API_VERSIONS,
        admit=_admit_application_group,
        admit_delete=_keep_application_group,
        linked=f"{APPLICATION_GROUP}/joinIpConfiguration/action",
        schema="applicationSecurityGroups",
    )
    return groups, rules, applications


async def _admit_application_group(admission: Admission) -> None:
    admission.body["properties"] = {}


async def _keep_application_group(admission: Admission) -> None:
    users = [user for user in await admission.reader.naming(admission.id.text) if not user.deleting]
    if not users:
        return
    configurations_ = [
        ip["name"]
        for user in users
        for ip in user.properties.get("ipConfigurations") or []
        if any(
            str(g["id"]).lower() == admission.id.key for g in ip["properties"].get("applicationSecurityGroups") or []
        )
    ]
    what = f"IpConfiguration(s) {', '.join(configurations_)}" if configurations_ else users[0].id
    raise ArmError(
        "ApplicationSecurityGroupInUse",
        f"Application Security Group {admission.id.name} cannot be deleted because it is referenced by {what}.",
        target=admission.id.text,
    )
