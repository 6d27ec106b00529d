"""Types that are documents so far: they tell what a cluster is composed of; see `parity.yaml` for what is enforced."""

from __future__ import annotations

from sorairo.engine.types import Admission, Inline, ResourceType
from sorairo.providers.microsoft_network.versions import API_VERSIONS


async def _admit_routes(admission: Admission) -> None:
    properties = admission.body["properties"]
    properties.setdefault("disableBgpRoutePropagation", False)
    properties.setdefault("routes", [])


ROUTE_TABLES: ResourceType[None] = ResourceType(
    "Microsoft.Network/routeTables", API_VERSIONS, admit=_admit_routes, schema="routeTables", moves="yes"
)
ROUTES: ResourceType[None] = ResourceType(
    "Microsoft.Network/routeTables/routes",
    API_VERSIONS,
    inline=Inline("routes"),
    schema="routes",
    located=False,
    tracked=False,
)
