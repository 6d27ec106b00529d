"""What `sorairo status` and `sorairo logs` show: machines, and what runs and writes in them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sorairo import __version__, tail
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Document, Resource
from sorairo.hosts import Host
from sorairo.state import Config
from sorairo.store import Store


async def status(host: Host, config: Config, store: Store) -> Document:
    """What `sorairo status` shows besides what is stored: every machine and its processes."""
    found = dict(await host.control_planes.observe_machines())
    if host.nodes is not host.control_planes:
        found |= await host.nodes.observe_machines()
    machines = [
        {
            "id": m.id,
            "resourceId": m.owner,
            "running": m.running,
            "processes": [
                {"name": p.service, "pid": p.pid, "running": p.running, "restarts": p.restarts} for p in m.processes
            ],
        }
        for m in found.values()
    ]
    clusters = [
        {
            "id": c.id,
            "name": c.rid.name,
            "resourceGroup": c.rid.resource_group,
            "provisioningState": c.provisioning_state,
            "powerState": c.status.get("powerState", {}).get("code"),
            "kubernetesVersion": c.properties.get("currentKubernetesVersion"),
            "fqdn": c.status.get("fqdn"),
            "nodeResourceGroup": c.properties.get("nodeResourceGroup"),
            "machines": [m for m in machines if _belongs(str(m["resourceId"]), c.id, c.properties)],
        }
        for c in store.list(type="Microsoft.ContainerService/managedClusters")
    ]
    return {
        "version": __version__,
        "substrate": config.substrate,
        "endpoints": {
            "resourceManager": config.endpoint,
            "login": config.endpoint,
            **({"names": host.names.address} if host.names else {}),
        },
        "clusters": clusters,
        "machines": machines,
    }


def _belongs(owner: str, cluster: str, properties: Document) -> bool:
    group = parse_id(owner).resource_group or ""
    return owner.lower() == cluster.lower() or group.lower() == str(properties.get("nodeResourceGroup", "")).lower()


async def logs(
    host: Host, store: Store, cluster: Resource, component: str, follow: bool, lines: int
) -> AsyncIterator[bytes]:
    """What a cluster's machines wrote, the control plane's first. Raises ArmError with the components there are."""
    found: list[tail.Source] = []
    for machines in {id(m): m for m in (host.control_planes, host.nodes)}.values():
        for machine in (await machines.observe_machines()).values():
            if machine.owner.lower() == cluster.key:
                found[:0] = tail.sources(machine, machines, "")
            elif _belongs(machine.owner, cluster.id, cluster.properties):
                found += tail.sources(machine, machines, _node_name(store, machine.owner))
    chosen = tail.chosen(found, component)
    if component and not chosen:
        there = ", ".join(s.label for s in found) or "none, it is stopped"
        raise ArmError(
            "ComponentNotFound", f"'{cluster.rid.name}' has no component '{component}'. It has: {there}.", status=404
        )
    return tail.tail(chosen, follow=follow, lines=lines)


def _node_name(store: Store, instance: str) -> str:
    resource = store.get(instance)
    name = (resource.properties.get("osProfile") or {}).get("computerName") if resource else None
    return str(name or parse_id(instance).name)
