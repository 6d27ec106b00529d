"""How a cluster comes to be, changes and goes."""

from __future__ import annotations

import asyncio
import copy
import hashlib
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from sorairo.drivers.kubernetes import NotReady, node_ready
from sorairo.drivers.naming import PublicName
from sorairo.drivers.protocols import Leg, Machine
from sorairo.engine.errors import ArmError, Retry
from sorairo.engine.ids import host_name
from sorairo.engine.types import Context, Document, Resource, Step
from sorairo.providers.microsoft_containerservice import (
    addons,
    api_access,
    controlplane,
    drain,
    entra,
    hollow_nodes,
    node_settings,
    pki,
    private_cluster,
    seeds,
)
from sorairo.providers.microsoft_containerservice.composition import Part, label, laid_over
from sorairo.providers.microsoft_containerservice.names import fqdn, names, pools
from sorairo.providers.microsoft_containerservice.observe import Actual, Node, Observer, endpoint_of, surplus_nodes
from sorairo.providers.microsoft_containerservice.substrate import Substrate, access, asks_arm
from sorairo.providers.principals import Principals

SPARE_SECONDS = 20.0
"""When the next cluster's signing key is looked for: not while this one starts."""
READY_SECONDS = 120.0
"""How long an API server or a node may take before its own logs are asked why."""


class ClusterReconciler:
    def __init__(self, substrate: Substrate, principals: Principals, sizes: dict[str, tuple[int, int]]) -> None:
        self._on = substrate
        self._principals = principals
        self._sizes = sizes
        self._observer = Observer(substrate, principals, sizes)

    async def observe(self, ctx: Context, resource: Resource) -> Actual:
        return await self._observer.observe(ctx, resource)

    # --- plan: pure ----------------------------------------------------------------------------------

    def plan(self, resource: Resource, actual: Actual) -> list[Step]:
        if resource.deleting:
            return self._plan_delete(resource, actual)
        if not actual.decided:
            return [Step("decide", self.decide)]
        stopped = bool(resource.private.get("stopped"))
        plan = self._plan_commands(actual) + self._plan_parts(resource, actual)
        there = {s.name for s in plan}
        if stopped:
            if actual.machine_running:
                nodes_gone = tuple(n for n in there if n.startswith("scale set"))
                plan.append(Step("stop control plane", self.stop, needs=nodes_gone))
            return plan

        def needs(*wanted: str) -> tuple[str, ...]:
            return tuple(n for n in wanted if n in there)

        def add(step: Step) -> None:
            plan.append(step)
            there.add(step.name)

        if not actual.addressed:
            assert actual.leg_wanted
            add(Step("control plane address", self.leg, (replace(actual.leg_wanted, network=None),)))
        if actual.unaddressed:  # All else names the address that its private endpoint gets now.
            return plan
        if actual.told != actual.told_wanted:
            tell = Step("tell name", self.tell, (actual.told_wanted,))
            add(tell if actual.told_wanted else Step("tell nobody", self.untell))
        if not actual.leg:
            assert actual.leg_wanted
            own = () if actual.leg_wanted.allowed is None else ("public address",)
            way = needs("network", "control plane address", *own)
            add(Step("control plane's way in", self.leg, (actual.leg_wanted,), way))
        if actual.shut_out:
            add(Step("control plane's way to the token service", self.door, (), needs("control plane address")))
        if not actual.machine_right:
            assert actual.machine_wanted
            machine = partial(self.machine, actual.machine_wanted)
            way = needs("control plane address", "control plane's way to the token service")
            add(Step("control plane", machine, (actual.machine_wanted.id,), way))
        if actual.unseeded or not actual.machine_right:
            add(Step("seed etcd", self.seed, (), needs("control plane")))
        if not actual.api_ready or actual.held:
            add(Step("API server", self.api_ready, (), needs("control plane", "seed etcd")))
        if not actual.default_account:
            add(Step("default service account", self.default_account, (), needs("API server")))
        for name in actual.stray if actual.api_ready else ():
            add(Step(f"delete node {name}", self.delete_node, (name,)))
        scale_sets = tuple(n for n in there if n.startswith("scale set"))
        if self._on.hollow and (actual.unregistered or scale_sets or not actual.api_ready):
            add(Step("hollow nodes", self.hollow_nodes, (), (*scale_sets, *needs("API server"))))
        if actual.unready or scale_sets or not actual.api_ready:
            add(Step("nodes", self.nodes_ready, (), (*scale_sets, *needs("API server", "hollow nodes"))))
        if actual.unlike:
            add(Step("node labels and taints", self.node_settings, (), needs("API server", "nodes")))
        if not actual.addons:
            add(Step("add-ons", self.addons, (), needs("API server", "nodes", "default service account")))
        if not actual.admins or (entra.admins(resource) and not actual.api_ready):
            add(Step("administrators", self.admins, (), needs("control plane", "API server")))
        return plan

    def _plan_parts(self, resource: Resource, actual: Actual) -> list[Step]:
        plan = [Step(f"drain {n.name}", self.drain, (n.name,)) for n in surplus_nodes(resource, actual)]
        drains = tuple(s.name for s in plan)
        scale_sets = {names(resource).scale_set(p["name"]).lower() for p in pools(resource)}
        labels = {part.id: label(part.id) for part in actual.parts}
        wrong = [p for p in actual.parts if p.id in actual.wrong]
        for part in wrong:
            needs = tuple(labels[n] for n in part.needs if n in actual.wrong and n in labels)
            if part.id.lower() in scale_sets:
                needs += drains
            plan.append(Step(labels[part.id], partial(self.part, part), (part.id,), needs))
        return plan + [Step(f"delete {label(id)}", self.delete_part, (id,), drains) for id in actual.surplus]

    def _plan_commands(self, actual: Actual) -> list[Step]:
        return [Step(f"remove command {id}", self.remove_command, (id,)) for id in actual.commands]

    def _plan_delete(self, resource: Resource, actual: Actual) -> list[Step]:
        plan = self._plan_commands(actual)
        if actual.machine:
            plan.append(Step("remove control plane", self.remove_machine, needs=tuple(s.name for s in plan)))
        if actual.leg:
            plan.append(Step("remove control plane address", self.remove_leg, needs=tuple(s.name for s in plan)))
        if actual.told:
            plan.append(Step("tell nobody", self.untell))
        if actual.tied:
            plan.append(Step("let go of subnets", self.let_go, (actual.tied,)))
        if actual.group:
            needs = ("let go of subnets",) if actual.tied else ()
            plan.append(Step("delete node resource group", self.delete_group, (), needs))
        plan += [Step(f"delete {label(id)}", self.delete_part, (id,)) for id in actual.left]
        # Not only when it is noted: it may have been made in the moment before a kill. Forgotten, it is noted as None.
        if "identity" in resource.body and resource.private.get("identity", True):
            plan.append(Step("forget identity", self.forget_identity))
        return plan

    def status(self, resource: Resource, actual: Actual) -> Document:
        stopped = bool(resource.private.get("stopped"))
        name = str(resource.private.get("fqdn", ""))
        kubelet = resource.private.get("kubeletIdentity")
        return {
            "powerState": {"code": "Stopped" if stopped else "Running"},
            **private_cluster.status(resource),
            "maxAgentPools": 100,
            "resourceUID": hashlib.sha256(resource.key.encode()).hexdigest()[:24],
            "oidcIssuerProfile": {"enabled": True, "issuerURL": f"https://{name}"},
            **({"identityProfile": {"kubeletidentity": kubelet}} if kubelet else {}),
            **({"status": {"provisioningError": actual.refusal}} if actual.refusal else {}),
        }

    async def drain(self, ctx: Context, resource: Resource, node: str) -> None:
        endpoint = endpoint_of(resource)
        assert endpoint
        await ctx.say(f"draining {node}")
        await drain.drain(self._on.api, access(resource, endpoint), node)

    # --- steps ---------------------------------------------------------------------------------------

    async def decide(self, ctx: Context, resource: Resource) -> None:
        """Everything that is chosen once, stored before anything is made of it."""
        private: dict[str, Any] = {}
        kind = str((resource.body.get("identity") or {}).get("type", ""))
        if "identity" not in resource.private and kind == "SystemAssigned":
            principal = await self._principals.ensure_managed_identity(resource.id, resource.rid.name)
            private["identity"] = {"principalId": principal.object_id, "tenantId": self._principals.tenant_id}
            await ctx.save(resource, private=private)  # Clients look for it while the cluster is being made.
        if "endpoint" not in resource.private:
            private["endpoint"] = asdict(await self._on.endpoint(ctx))
            private["fqdn"] = fqdn(resource.properties["dnsPrefix"], resource.rid, resource.body["location"])
            await ctx.save(resource, private=private)
            await ctx.save(resource, status=private_cluster.status(resource))
        if "pki" not in resource.private:
            service = resource.properties["networkProfile"]["serviceCidr"].split("/")[0]
            first = ".".join([*service.split(".")[:3], str(int(service.split(".")[3]) + 1)])
            endpoint = resource.private["endpoint"]
            files = await asyncio.to_thread(
                pki.cluster_files,
                fqdn=resource.private["fqdn"],
                addresses=(*filter(None, [private_cluster.fqdn(resource)]), endpoint["address"], first),
            )
            await ctx.save(resource, private={"pki": files})
            loop = asyncio.get_running_loop()
            loop.call_later(SPARE_SECONDS, loop.run_in_executor, None, pki.prepare)

    async def part(self, part: Part, ctx: Context, resource: Resource, id: str) -> None:
        """Put one part and wait for it."""
        if "/virtualmachinescalesets/" in id.lower():  # Its custom data names the identity made since.
            part = await self._part(ctx, resource, id) or part
        stored = await ctx.get(part.id) if part.shared else None
        if part.found and stored is None:
            raise ArmError("VirtualNetworkNotFound", f"The virtual network '{part.id}' of the nodes has gone.")
        body = laid_over(stored.body, part.body) if stored else part.body
        await ctx.put(part.id, body, private=part.private, if_match=stored.etag if stored else None)
        settled = await ctx.settled(part.id)
        if settled and id == names(resource).kubelet_identity:
            identity = {
                "resourceId": settled.id,
                "clientId": settled.status["clientId"],
                "objectId": settled.status["principalId"],
            }
            status = {"identityProfile": {"kubeletidentity": identity}}
            await ctx.save(resource, private={"kubeletIdentity": identity}, status=status)

    async def _part(self, ctx: Context, resource: Resource, id: str) -> Part | None:
        endpoint = endpoint_of(resource)
        assert endpoint
        parts = await self._observer._parts(ctx, resource, endpoint)
        return next((p for p in parts if p.id == id), None)

    async def delete_part(self, ctx: Context, resource: Resource, id: str) -> None:
        await ctx.delete(id)
        if await ctx.settled(id) is not None:
            raise Retry(0.2, f"{id} is still there")

    async def leg(self, ctx: Context, resource: Resource, leg: Leg) -> None:
        if leg.network and leg.allowed is not None:  # The nodes' own public address may be known only now.
            leg = replace(leg, allowed=await api_access.allowed(ctx, resource))
        await self._on.links.ensure_leg(leg)

    async def tell(self, ctx: Context, resource: Resource, name: PublicName) -> None:
        assert self._on.names
        await self._on.names.ensure_names(name)

    async def untell(self, ctx: Context, resource: Resource) -> None:
        assert self._on.names
        await self._on.names.remove_names(private_cluster.name_id(resource))

    async def door(self, ctx: Context, resource: Resource) -> None:
        assert self._on.doors
        await self._on.doors.open(host_name(resource.id), asks_arm(resource))

    async def machine(self, wanted: Machine, ctx: Context, resource: Resource, id: str) -> None:
        await self._on.machines.ensure_machine(wanted)

    async def stop(self, ctx: Context, resource: Resource) -> None:
        await self._on.machines.stop_machine(host_name(resource.id))

    async def seed(self, ctx: Context, resource: Resource) -> None:
        """Does nothing to an etcd that has been seeded, whatever has become of it since."""
        id = host_name(resource.id)
        objects = seeds.objects(resource.properties["currentKubernetesVersion"], resource.private["pki"]["ca.crt"])
        if objects:
            await self._on.seed_etcd(self._on.machines.root(id) / controlplane.ETCD, objects)
        await self._on.machines.touch(id, controlplane.SEEDED)

    async def api_ready(self, ctx: Context, resource: Resource) -> None:
        endpoint = endpoint_of(resource)
        assert endpoint
        try:
            await self._on.api.ready(access(resource, endpoint), READY_SECONDS)
        except NotReady as e:
            log = await self._tail(host_name(resource.id), "kube-apiserver")
            raise ArmError("ControlPlaneNotReady", f"{e}. Its last log lines:\n{log}", status=500) from e
        await self._on.machines.touch(host_name(resource.id), controlplane.READY)

    async def default_account(self, ctx: Context, resource: Resource) -> None:
        """Without it no pod is admitted: a cluster is not there before it is."""
        endpoint = endpoint_of(resource)
        assert endpoint
        path = "/api/v1/namespaces/default/serviceaccounts"
        at = access(resource, endpoint)
        try:
            missing = await self._on.api.until(at, path, ["default"], seconds=READY_SECONDS)
        except NotReady as e:
            raise Retry(0.2, str(e)) from e
        if missing:
            log = await self._tail(host_name(resource.id), "kube-controller-manager")
            raise ArmError(
                "ControlPlaneNotReady",
                f"The default service account did not appear. The controller manager's last log lines:\n{log}",
                status=500,
            )

    async def nodes_ready(self, ctx: Context, resource: Resource) -> None:
        endpoint = endpoint_of(resource)
        assert endpoint
        expected = await self._observer._nodes(ctx, resource)
        await ctx.say(f"waiting for {len(expected)} node(s) to be Ready")
        try:
            missing = await self._on.api.until(
                access(resource, endpoint),
                "/api/v1/nodes",
                [n.name for n in expected],
                node_ready,
                seconds=READY_SECONDS,
            )
        except NotReady as e:
            raise Retry(0.2, str(e)) from e
        if missing:
            late = [n for n in expected if n.name in missing]
            raise ArmError("NodesNotReady", await self._why_not_ready(resource, late), status=500)

    async def _why_not_ready(self, cluster: Resource, nodes: list[Node]) -> str:
        program = "kwok" if self._on.hollow else "kubelet"
        log = await self._tail(host_name(cluster.id if self._on.hollow else nodes[0].instance), program)
        names = ", ".join(n.name for n in nodes[:5])
        return f"{len(nodes)} node(s) did not become Ready: {names}. The last log lines of {program}:\n{log}"

    async def _tail(self, machine: str, service: str, lines: int = 8) -> str:
        return "\n".join([line async for line in self._on.machines.logs(machine, service, lines=lines)])

    async def hollow_nodes(self, ctx: Context, resource: Resource) -> None:
        endpoint = endpoint_of(resource)
        assert endpoint
        wanted = {p["name"] for p in pools(resource)}
        nodes = tuple(n for n in await self._observer._nodes(ctx, resource) if n.pool in wanted)
        await hollow_nodes.ensure(self._on.api, access(resource, endpoint), ctx, resource, nodes, self._sizes)

    async def node_settings(self, ctx: Context, resource: Resource) -> None:
        endpoint = endpoint_of(resource)
        assert endpoint
        pool_of = {n.name: n.pool for n in await self._observer._nodes(ctx, resource)}
        await node_settings.apply(self._on.api, access(resource, endpoint), resource, pool_of)
        await ctx.save(resource, private={node_settings.FORMER: {}})

    async def delete_node(self, ctx: Context, resource: Resource, name: str) -> None:
        endpoint = endpoint_of(resource)
        assert endpoint
        await drain.end_pods(self._on.api, access(resource, endpoint), name)
        await self._on.api.delete(access(resource, endpoint), f"/api/v1/nodes/{name}")

    async def addons(self, ctx: Context, resource: Resource) -> None:
        endpoint = endpoint_of(resource)
        assert endpoint
        for path, obj in addons.manifests(resource, hollow=self._on.hollow):
            await self._on.api.apply(access(resource, endpoint), path, obj)

    async def admins(self, ctx: Context, resource: Resource) -> None:
        """The groups that `aadProfile` names administer the cluster, whatever Azure's roles say."""
        endpoint = endpoint_of(resource)
        assert endpoint
        at, binding = access(resource, endpoint), entra.admins(resource)
        try:
            if binding is None:
                await self._on.api.delete(at, entra.ADMINS_PATH)
            else:
                await self._on.api.apply(at, entra.ADMINS_PATH, binding)
        except NotReady as e:  # It has just been started with other flags.
            raise Retry(0.2, str(e)) from e

    async def remove_machine(self, ctx: Context, resource: Resource) -> None:
        endpoint = endpoint_of(resource)
        if endpoint and "pki" in resource.private:
            await self._on.api.forget(access(resource, endpoint))
        await self._on.machines.remove_machine(host_name(resource.id))

    async def remove_command(self, ctx: Context, resource: Resource, id: str) -> None:
        await self._on.machines.remove_machine(id)

    async def remove_leg(self, ctx: Context, resource: Resource) -> None:
        if self._on.doors:
            await self._on.doors.close(host_name(resource.id))
        await self._on.links.remove_leg(host_name(resource.id))

    async def let_go(self, ctx: Context, resource: Resource, networks: tuple[str, ...]) -> None:
        """Of users' subnets that have our route table, which is about to go."""
        table = names(resource).route_table.lower()
        for id in networks:
            stored = await ctx.get(id)
            if stored is None or stored.deleting:
                continue
            body = copy.deepcopy(stored.body)
            for subnet in body["properties"].get("subnets", []):
                if str((subnet["properties"].get("routeTable") or {}).get("id", "")).lower() == table:
                    del subnet["properties"]["routeTable"]
            await ctx.put(id, body, if_match=stored.etag)
            await ctx.settled(id)

    async def delete_group(self, ctx: Context, resource: Resource) -> None:
        group = names(resource).group
        await ctx.delete(group)
        if await ctx.settled(group) is not None:
            raise Retry(0.2, "the node resource group is still there")

    async def forget_identity(self, ctx: Context, resource: Resource) -> None:
        await self._principals.remove_managed_identity(resource.id)
        await ctx.save(resource, private={"identity": None})
