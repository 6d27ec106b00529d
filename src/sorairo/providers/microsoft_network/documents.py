"""Types that are documents so far: they tell what a cluster is composed of; see `parity.yaml` for what is enforced."""

from __future__ import annotations

from sorairo.engine.types import Admission, Document, Inline, Resource, ResourceType
from sorairo.providers.microsoft_network.versions import API_VERSIONS

_LB_PARTS = ("frontendIPConfigurations", "backendAddressPools", "loadBalancingRules", "probes", "inboundNatRules",
             "outboundRules", "inboundNatPools")  # fmt: skip


async def _admit_load_balancer(admission: Admission) -> None:
    admission.body.setdefault("sku", {"name": "Standard", "tier": "Regional"})
    for part in _LB_PARTS:
        for item in admission.body["properties"].setdefault(part, []):
            for key in ("id", "type", "etag"):
                item.pop(key, None)
            item.setdefault("properties", {}).pop("provisioningState", None)


def _render_load_balancer(resource: Resource, document: Document) -> Document:
    for part in _LB_PARTS:
        for item in document["properties"].get(part, []):
            item["id"] = f"{resource.id}/{part}/{item['name']}"
            item["etag"] = document["etag"]
            item["properties"]["provisioningState"] = resource.provisioning_state
    return document


async def _admit_routes(admission: Admission) -> None:
    properties = admission.body["properties"]
    properties.setdefault("disableBgpRoutePropagation", False)
    properties.setdefault("routes", [])


LOAD_BALANCERS: ResourceType[None] = ResourceType(
    "Microsoft.Network/loadBalancers",
    API_VERSIONS,
    admit=_admit_load_balancer,
    render=_render_load_balancer,
    schema="loadBalancers",
)
BACKEND_POOLS: ResourceType[None] = ResourceType(
    "Microsoft.Network/loadBalancers/backendAddressPools",
    API_VERSIONS,
    inline=Inline("backendAddressPools"),
    schema="backendAddressPools",
    located=False,
    tracked=False,
)
ROUTE_TABLES: ResourceType[None] = ResourceType(
    "Microsoft.Network/routeTables", API_VERSIONS, admit=_admit_routes, schema="routeTables"
)
ROUTES: ResourceType[None] = ResourceType(
    "Microsoft.Network/routeTables/routes",
    API_VERSIONS,
    inline=Inline("routes"),
    schema="routes",
    located=False,
    tracked=False,
)
