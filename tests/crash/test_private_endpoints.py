"""Death before and after each step of what is asked of private endpoints: every address leads somewhere or is gone.

As `test_every_network_step`, beside a private cluster: an endpoint in another network, its zone group, and what remains
of them when the cluster goes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from .test_every_network_step import Request, body, killed_everywhere, network, ref, subnet
from .world import CLUSTER, GROUP, Life, cluster, quickly

NETWORK = f"{GROUP}/providers/Microsoft.Network"
OTHER, ENDPOINT = f"{NETWORK}/virtualNetworks/other", f"{NETWORK}/privateEndpoints/mine"
ZONE, ZONES = f"{NETWORK}/privateDnsZones/privatelink.westeurope.azmk8s.io", f"{ENDPOINT}/privateDnsZoneGroups/default"
CONNECTION = {"name": "c", "properties": {"privateLinkServiceId": CLUSTER, "groupIds": ["management"]}}

GIVEN: list[Request] = [
    (CLUSTER, cluster(private=True, one=1)),
    (OTHER, network("10.224.0.0/16", subnet("10.224.0.0/24"))),
    (ZONE, {"location": "global", "properties": {}}),
]
CREATE: list[Request] = [
    (ENDPOINT, body(subnet=ref(f"{OTHER}/subnets/s"), privateLinkServiceConnections=[CONNECTION])),
    (ZONES, {"properties": {"privateDnsZoneConfigs": [{"name": "z", "properties": {"privateDnsZoneId": ZONE}}]}}),
]
DELETE: list[Request] = [(ENDPOINT, None), (ZONE, None), (OTHER, None), (CLUSTER, None)]
RUNS: dict[str, tuple[list[Request], list[Request], int]] = {
    "create": (GIVEN, CREATE, 2),
    "delete": ([*GIVEN, *CREATE], DELETE, 0),
    "delete the cluster first": ([*GIVEN, *CREATE], [(CLUSTER, None), *DELETE[:-1]], 0),
}
"""What is there before, what is asked, and how many private links there are in the end."""


async def check(life: Life, links: int) -> None:
    await life.check_all()
    assert len(life.host.traffic.private_links.whole) == links  # type: ignore[attr-defined]
    names = {each.rid.type.rsplit("/", 1)[1] for each in life.store.list()}
    if links:
        (record,) = life.store.list(type="Microsoft.Network/privateDnsZones/A", under=ZONE)
        assert record.properties["aRecords"] == [{"ipv4Address": "10.224.0.4"}]
        connections = life.store.list(type="Microsoft.ContainerService/managedClusters/privateEndpointConnections")
        assert len(connections) == links
    else:
        assert life.host.objects == {}
        assert names <= {"subscriptions", "resourceGroups"}


@pytest.mark.parametrize("what", RUNS)
async def test_killed_at_any_step_of_an_endpoint_it_ends_as_if_it_had_not_been(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch)
    before, asked, links = RUNS[what]
    # A cluster and its endpoint both forget the connection between them: who comes first does it.
    await killed_everywhere(before, asked, lambda life: check(life, links), tmp_path, surely=False, among=_points)


def _points(passed: Sequence[str]) -> list[str]:
    """Those of endpoints, groups and the cluster: the others' are gone through elsewhere."""
    points = [each for each in passed if each.startswith(("privateEndpoints/", "managedClusters/"))]
    assert len(points) > 5
    return points
