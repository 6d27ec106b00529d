"""What a cluster is like now: its parts, its control plane, its nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sorairo.drivers.kubernetes import Access, NotReady, node_ready
from sorairo.drivers.naming import NameSpec, PublicName
from sorairo.drivers.protocols import Leg, Machine, MachineState, digest
from sorairo.engine.ids import host_name
from sorairo.engine.types import Context, Document, Resource
from sorairo.providers.microsoft_containerservice import (
    addons,
    api_access,
    bootstrap,
    cloud,
    composition,
    controlplane,
    entra,
    node_settings,
    pki,
    principal,
    private_cluster,
)
from sorairo.providers.microsoft_containerservice.composition import Part, holds
from sorairo.providers.microsoft_containerservice.controlplane import Endpoint
from sorairo.providers.microsoft_containerservice.names import is_command, names, pools
from sorairo.providers.microsoft_containerservice.substrate import Substrate, access
from sorairo.providers.principals import Principals

INSTANCE = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines"


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    """Host name, and the Node's."""
    instance: str
    """Resource id of the scale set instance."""
    pool: str

    @property
    def scale_set(self) -> str:
        """Its name."""
        return self.instance.rsplit("/", 3)[1]


@dataclass(frozen=True, slots=True)
class Actual:
    """Everything `plan` decides on. What could not be seen (API server down) is as if it were not there."""

    decided: bool = False
    """Keys, address and identity are chosen and stored."""
    group: bool = False
    parts: tuple[Part, ...] = ()
    """All parts wanted, in order."""
    wrong: frozenset[str] = frozenset()
    """Ids of parts that are missing, different or not settled."""
    surplus: tuple[str, ...] = ()
    """Scale sets of pools that are no longer wanted, and a lockdown that is not."""
    leg: bool = False
    """The control plane has its address, and its way into the network."""
    addressed: bool = False
    """It has its address."""
    leg_wanted: Leg | None = None
    unaddressed: bool = False
    """It is private, and has no address in the network yet: what names that cannot be made."""
    told: NameSpec | str | None = None
    """What everybody is told of its name; an owner, if that stands only in part."""
    told_wanted: PublicName | None = None
    left: tuple[str, ...] = ()
    """Of a cluster that is to go: what of it is elsewhere than in its node resource group."""
    shut_out: bool = False
    """It should reach the token service, and does not."""
    machine: bool = False
    """There is a control plane machine of some kind."""
    machine_running: bool = False
    machine_right: bool = False
    machine_wanted: Machine | None = None
    unseeded: bool = False
    """The API server waits for etcd to hold what it should."""
    held: bool = False
    """The scheduler or the controller manager waits for the API server."""
    api_ready: bool = False
    default_account: bool = False
    addons: bool = False
    admins: bool = True
    """Administrators' groups are bound as they should be, or nobody can see."""
    nodes: tuple[Node, ...] = ()
    """That there should be: one for each scale set instance."""
    unregistered: tuple[Node, ...] = ()
    unready: tuple[str, ...] = ()
    stray: tuple[str, ...] = ()
    """Names of Node objects whose instance has gone."""
    unlike: tuple[str, ...] = ()
    """Names of Node objects without their pool's labels and taints, or still with former ones."""
    refusal: Document | None = None
    """Why its principal cannot sign in: an error's code and message."""
    tied: tuple[str, ...] = ()
    """Users' virtual networks with subnets that have its route table; of a cluster that is to go."""
    commands: tuple[str, ...] = ()
    """Machines of commands that nobody waits for any more; of a cluster that is to go, of all commands."""


def endpoint_of(cluster: Resource) -> Endpoint | None:
    stored = cluster.private.get("endpoint")
    return Endpoint(**stored) if stored else None


def running_access(cluster: Resource) -> Access | None:
    """Sorairo's way to its API server; None: it has none, or it is stopped."""
    at = endpoint_of(cluster)
    if at is None or "pki" not in cluster.private or cluster.private.get("stopped"):
        return None
    return access(cluster, at)


def _address(leg: Leg | None) -> str | None:
    return leg.public_address if leg else None


def _waits(state: MachineState | None, *services: str) -> bool:
    return state is not None and any(p.pid is None for p in state.processes if p.service in services)


class Observer:
    def __init__(self, substrate: Substrate, principals: Principals, sizes: dict[str, tuple[int, int]]) -> None:
        self._on = substrate
        self._principals = principals
        self._sizes = sizes

    async def observe(self, ctx: Context, cluster: Resource) -> Actual:
        endpoint = endpoint_of(cluster)
        it = names(cluster)
        group = await ctx.get(it.group) is not None
        machines = await self._on.machines.observe_machines()
        state = machines.get(host_name(cluster.id))
        links = await self._on.links.observe_links()
        legs = links.legs
        commands = tuple(
            m.id
            for m in machines.values()
            if is_command(m.owner, cluster) and (cluster.deleting or m.id not in self._on.commands)
        )
        running = state is not None and any(p.running for p in state.processes)
        if cluster.deleting or endpoint is None or "pki" not in cluster.private:
            return Actual(
                decided=False,
                group=group,
                leg=host_name(cluster.id) in legs or host_name(cluster.id) in links.partial,
                machine=state is not None,
                machine_running=running,
                commands=commands,
                told=await self._told(cluster),
                left=await private_cluster.left(ctx, cluster) if cluster.deleting else (),
                tied=await self._tied(ctx, cluster) if cluster.deleting else (),
            )
        private = private_cluster.is_private(cluster)
        address = await private_cluster.address(ctx, cluster) if private else None
        wanted_machine = controlplane.machine(
            cluster,
            endpoint,
            version=cluster.properties["currentKubernetesVersion"],
            namespace=self._on.namespace(cluster),
            authority=self._on.authority,
            root=self._on.machines.root,
            advertised=address,
        )
        wanted_leg = self._on.leg(cluster, endpoint, it.network, await api_access.allowed(ctx, cluster))
        parts = await self._parts(ctx, cluster, endpoint)
        unaddressed = private and address is None
        wrong = set()
        for part in parts:
            stored = await ctx.get(part.id)
            if (
                stored is None
                or not stored.settled
                or stored.error
                or not holds(stored.body, part.body, shared=part.shared)
                or not holds(stored.private, part.private)
            ):
                wrong.add(part.id)
        wanted = {part.id.lower() for part in parts}
        there = await ctx.list(type="Microsoft.Compute/virtualMachineScaleSets", under=it.group)
        there += await ctx.list(type=cloud.DENY_ASSIGNMENTS, under=it.group)
        nodes = await self._nodes(ctx, cluster)
        inside = await self._inside(cluster, endpoint, nodes) if running else {}
        return Actual(
            decided=True,
            group=group,
            parts=tuple(parts),
            wrong=frozenset(wrong),
            surplus=() if unaddressed else tuple(s.id for s in there if s.key not in wanted),
            unaddressed=unaddressed,
            told=await self._told(cluster),
            told_wanted=private_cluster.public_name(cluster, address) if private and self._on.names else None,
            leg=wanted_leg is None or legs.get(wanted_leg.id) == wanted_leg,
            addressed=wanted_leg is None or _address(legs.get(wanted_leg.id)) == wanted_leg.public_address,
            leg_wanted=wanted_leg,
            shut_out=self._on.shut_out(cluster),
            machine=state is not None,
            machine_running=running,
            machine_right=running and state is not None and state.digest == digest(wanted_machine),
            unseeded=_waits(state, "kube-apiserver"),
            held=_waits(state, "kube-controller-manager", "kube-scheduler"),
            machine_wanted=wanted_machine,
            nodes=nodes,
            refusal=principal.refusal(self._principals, cluster),
            commands=commands,
            **inside,
        )

    async def _told(self, cluster: Resource) -> NameSpec | str | None:
        if self._on.names is None:
            return None
        state, id = await self._on.names.observe_names(), private_cluster.name_id(cluster)
        return state.whole.get(id) or state.partial.get(id)

    async def _tied(self, ctx: Context, cluster: Resource) -> tuple[str, ...]:
        it = names(cluster)
        inside = f"{it.group.lower()}/"
        if not it.route_table.lower().startswith(inside):
            return ()
        networks = await ctx.naming(it.route_table, type="Microsoft.Network/virtualNetworks")
        return tuple(n.id for n in networks if not n.key.startswith(inside) and not n.deleting)

    async def _parts(self, ctx: Context, cluster: Resource, endpoint: Endpoint) -> list[Part]:
        private = private_cluster.is_private(cluster)
        address = await private_cluster.address(ctx, cluster) if private else None
        reached = private_cluster.reached(cluster, endpoint, address)
        custom: dict[str, str] = {}
        secrets: dict[str, Document] = {}
        joined: dict[str, list[str]] = {}
        assigned: dict[str, Document] = {}
        it = names(cluster)
        for pool in pools(cluster) if address or not private else ():
            name = pool["name"]
            scale_set = await ctx.get(it.scale_set(name))
            joined[name] = _joined(scale_set, it.load_balancer)
            assigned[name] = (scale_set.body.get("identity") or {}) if scale_set else {}
            if self._on.hollow:
                custom[name] = ""
                continue
            memory = self._sizes[pool["vmSize"].lower()][1]
            custom[name] = bootstrap.custom_data(cluster, pool, reached, memory_bytes=memory, cloud=cloud.node_files())
            count = 0 if cluster.private.get("stopped") else int(pool["count"])
            have = await ctx.list(type=INSTANCE, under=it.scale_set(name)) if scale_set else []
            first = int(scale_set.private.get("next", 0)) if scale_set else 0
            known = scale_set.private.get("instanceSecrets", {}) if scale_set else {}
            coming = {}
            for number in range(first, first + max(0, count - sum(not i.deleting for i in have))):
                host = bootstrap.host(it.scale_set(name), number)
                if host in known:
                    coming[host] = known[host]
                else:
                    pair = pki.node(cluster.private["pki"], host)
                    coming[host] = bootstrap.instance_secrets(cluster, reached, pair.cert, pair.key)
            secrets[name] = coming
        files = [] if self._on.hollow else [cloud.credentials(cluster, tenant_id=self._principals.tenant_id)]
        rights = (await cloud.role_assignment(ctx, cluster), await cloud.deny_assignment(ctx, cluster))
        found = composition.parts(cluster, custom, secrets, joined, assigned, files, *rights)
        return [*found, *(await private_cluster.parts(ctx, cluster, address) if private else ())]

    async def _nodes(self, ctx: Context, cluster: Resource) -> tuple[Node, ...]:
        """Of every scale set in the node resource group: those of a pool that is being deleted too."""
        found = []
        for instance in await ctx.list(type=INSTANCE, under=names(cluster).group):
            if not instance.deleting:
                host = instance.properties["osProfile"]["computerName"]
                pool = instance.body.get("tags", {}).get("aks-managed-poolName", "")
                found.append(Node(host, instance.id, pool))
        return tuple(found)

    async def _inside(self, cluster: Resource, endpoint: Endpoint, nodes: tuple[Node, ...]) -> dict[str, Any]:
        """What the API server says; nothing when it does not answer."""
        at = access(cluster, endpoint)
        api = self._on.api
        try:
            ready = (await api.request(at, "GET", "/readyz")).status_code == 200
            if not ready:
                return {}
            listed = (await api.get(at, "/api/v1/nodes", resourceVersion="0")) or {"items": []}
            account = await api.get(at, "/api/v1/namespaces/default/serviceaccounts/default")
            path, revision = addons.marker()
            marker = await api.get(at, path)
            bound = await api.get(at, entra.ADMINS_PATH) if "aadProfile" in cluster.properties else None
        except NotReady:
            return {}
        objects = {n["metadata"]["name"]: n for n in listed["items"]}
        expected = {n.name for n in nodes}
        return {
            "api_ready": True,
            "default_account": account is not None,
            "addons": marker is not None and marker.get("data", {}).get("revision") == revision,
            "admins": entra.bound_rightly(cluster, bound),
            "unregistered": tuple(n for n in nodes if n.name not in objects),
            "unready": tuple(n for n in sorted(expected) if not node_ready(objects.get(n, {}))),
            "stray": tuple(n for n in objects if n not in expected),
            "unlike": tuple(n.name for n in nodes if n.name in objects and unlike(cluster, n, objects[n.name])),
        }


def unlike(cluster: Resource, node: Node, obj: Document) -> Document | None:
    """What to patch a Node object with, if its pool is still there."""
    pool = next((p for p in pools(cluster) if p["name"] == node.pool), None)
    return node_settings.patch(cluster, pool, obj) if pool else None


def _joined(scale_set: Resource | None, balancer: str) -> list[str]:
    """Backend pools that others have put a scale set's instances into (the internal load balancer's)."""
    profile = scale_set.properties["virtualMachineProfile"] if scale_set else {}
    nics = profile.get("networkProfile", {}).get("networkInterfaceConfigurations") or []
    ips = nics[0]["properties"].get("ipConfigurations") or [] if nics else []
    found = ips[0]["properties"].get("loadBalancerBackendAddressPools") or [] if ips else []
    return [p["id"] for p in found if not p["id"].lower().startswith(f"{balancer}/".lower())]


def surplus_nodes(resource: Resource, actual: Actual) -> list[Node]:
    """Nodes that are about to go while their cluster stays, and can be emptied first: the newest of a pool that
    shrinks (as scale sets choose), and all of a pool that is deleted."""
    if resource.private.get("stopped") or not actual.api_ready:
        return []
    found = []
    counts = {p["name"]: int(p["count"]) for p in pools(resource)}
    for pool in {n.pool for n in actual.nodes}:
        mine = sorted((n for n in actual.nodes if n.pool == pool), key=lambda n: int(n.instance.rsplit("/", 1)[1]))
        found += mine[counts.get(pool, 0) :]
    return sorted(found, key=lambda n: n.name)
