"""A pool's machines, as AKS shows them: its scale set's instances under their host names. `az aks machine list`.

https://learn.microsoft.com/rest/api/aks/machines
"""

from __future__ import annotations

from typing import Any

from sorairo.engine.errors import not_found
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Document, Reader, Resource
from sorairo.providers.microsoft_containerservice.names import names
from sorairo.providers.microsoft_containerservice.observe import INSTANCE
from sorairo.providers.microsoft_containerservice.upgrades import cluster_and_pool

MACHINES = "Microsoft.ContainerService/managedClusters/agentPools/machines"


async def every(*, scope: str, reader: Reader, **_: Any) -> Document:
    return {"value": await _machines(reader, scope)}


async def one(*, scope: str, reader: Reader, **_: Any) -> Document:
    for machine in await _machines(reader, parse_id(scope).parent):
        if machine["name"].lower() == parse_id(scope).name.lower():
            return machine
    raise not_found(scope)


async def _machines(reader: Reader, pool_id: str) -> list[Document]:
    cluster, pool = await cluster_and_pool(reader, pool_id)
    instances = await reader.list(type=INSTANCE, under=names(cluster).scale_set(pool["name"]))
    return [_machine(pool_id, pool, i, await _address(reader, i)) for i in instances if not i.deleting]


async def _address(reader: Reader, instance: Resource) -> str | None:
    for nic in await reader.list(type=f"{INSTANCE}/networkInterfaces", under=instance.id):
        for address in nic.private.get("addresses", ())[:1]:
            return str(address)
    return None


def _machine(pool_id: str, pool: Document, instance: Resource, address: str | None) -> Document:
    name = instance.properties["osProfile"]["computerName"]
    return {
        "id": f"{pool_id}/machines/{name}",
        "name": name,
        "type": MACHINES,
        "zones": instance.body.get("zones", []),
        "properties": {
            "network": {"ipAddresses": [{"family": "IPv4", "ip": address}] if address else []},
            "resourceId": instance.id,
            "provisioningState": instance.provisioning_state,
            "hardware": {"vmSize": pool["vmSize"]},
            "kubernetes": {"orchestratorVersion": pool["currentOrchestratorVersion"]},
        },
    }


ROUTES = (
    ("GET", "managedClusters/{cluster}/agentPools/{pool}/machines", every),
    ("GET", "managedClusters/{cluster}/agentPools/{pool}/machines/{machine}", one),
)
