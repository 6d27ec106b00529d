"""Clusters and pools without a host: what admission fills in, what their parts and nodes should be."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from sorairo.engine.documents import copied
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Admission, Document, Resource
from sorairo.providers.capacity import Capacity
from sorairo.providers.microsoft_compute.sizes import SIZES
from sorairo.providers.microsoft_containerservice import api_access, node_settings, versions
from sorairo.providers.microsoft_containerservice.admission import ClusterAdmission
from sorairo.providers.microsoft_containerservice.cloud import Permits
from sorairo.providers.microsoft_containerservice.composition import parts
from sorairo.providers.microsoft_containerservice.names import names
from sorairo.providers.schemas import check

GROUP = "/subscriptions/0b1f6471-1bf0-4dda-aec3-111111111111/resourceGroups/web"
ID = f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/c"
GIB = 2**30
HOLLOW = Capacity(None)


class Nothing:
    """A store with nothing in it but these."""

    def __init__(self, *resources: Resource) -> None:
        self._resources = resources

    async def get(self, resource_id: str) -> Resource | None:
        return next((r for r in self._resources if r.key == resource_id.lower()), None)

    async def list(self, *, type: str | None = None, under: str | None = None) -> list[Resource]:
        return [r for r in self._resources if type is None or r.rid.type.lower() == type.lower()]


class Anybody:
    tenant_id = "t"

    def check_secret(self, client_id: str, secret: str) -> Any:
        return self

    object_id = client_id = "someone"


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two versions, whether an engine is built here or not."""
    found = {"1.37": "1.37.2", "1.36": "1.36.3"}
    monkeypatch.setattr(versions, "installed", lambda: found)


async def admitted(
    body: Document,
    existing: Resource | None = None,
    *others: Resource,
    capacity: Capacity = HOLLOW,
    permitted: bool = True,
    permits: Permits | None = None,
) -> Resource:
    """The cluster as it would be stored."""
    sizes = {name: (size.cpus, size.memory_bytes) for name, size in SIZES.items()}
    admit = ClusterAdmission(Anybody(), sizes, capacity, permits or (lambda *_: permitted))  # type: ignore[arg-type]
    known = [r for r in (existing, *others) if r]
    admission = Admission(parse_id(ID), copied(body), existing, "me", Nothing(*known))
    await admit(admission)
    private = {**(existing.private if existing else {}), **admission.private}
    return Resource(ID, admission.body, private=private, observed_generation=1, provisioning_state="Succeeded")


def wanted(**pool: Any) -> Document:
    pools = [{"name": "p", "mode": "System", "count": 2, **pool}]
    return {"location": "westeurope", "properties": {"agentPoolProfiles": pools}}


async def test_every_part_satisfies_its_types_schema() -> None:
    """Parts are put without being checked at run time: they are checked here."""
    cluster = await admitted(wanted(availabilityZones=["1"], tags={"a": "b"}))
    schemas = {
        "publicIPAddresses", "networkSecurityGroups", "routeTables", "virtualNetworks", "loadBalancers",
        "virtualMachineScaleSets", "userAssignedIdentities", "resourceGroups",
    }  # fmt: skip
    seen = set()
    for part in parts(cluster, {"p": "Y3VzdG9t"}, {}, {}, {}, []):
        kind = parse_id(part.id).type.rsplit("/", 1)[1]
        assert kind in schemas
        before = copy.deepcopy(part.body)
        check(kind, part.body)
        assert part.body == before, f"{kind} says what only its provider may"
        seen.add(kind)
    assert seen == schemas


NETWORK = f"{GROUP}/providers/Microsoft.Network"
SUBNET = f"{NETWORK}/virtualNetworks/v/subnets/s"


def subnet(**named: str) -> Resource:
    inner = {"addressPrefix": "10.9.0.0/16", **{key: {"id": f"{NETWORK}/{id}"} for key, id in named.items()}}
    properties = {
        "addressSpace": {"addressPrefixes": ["10.9.0.0/16"]},
        "subnets": [{"name": "s", "properties": inner}],
    }
    return Resource(f"{NETWORK}/virtualNetworks/v", {"properties": properties})


def leaving(kind: str, *, own: bool = False, **profile: Any) -> Document:
    body = wanted(**({"vnetSubnetID": SUBNET} if own else {}))
    body["properties"]["networkProfile"] = {"outboundType": kind, **profile}
    return body


def kinds(cluster: Resource) -> set[str]:
    return {parse_id(p.id).type.rsplit("/", 1)[1] for p in parts(cluster, {"p": ""}, {}, {}, {}, [])}


async def test_a_managed_nat_gateway_is_one_more_part_and_the_load_balancer_is_none() -> None:
    profile = {"natGatewayProfile": {"managedOutboundIPProfile": {"count": 2}, "idleTimeoutInMinutes": 9}}
    cluster = await admitted(leaving("managedNATGateway", **profile))
    found = {part.id: part for part in parts(cluster, {"p": ""}, {}, {}, {}, [])}
    for part in found.values():
        kind = parse_id(part.id).type.rsplit("/", 1)[1]
        check(kind, copy.deepcopy(part.body))
    (gateway,) = (id for id in found if "/natGateways/" in id)
    addresses = [id for id in found if "/publicIPAddresses/" in id]
    assert found[gateway].body["properties"] == {
        "idleTimeoutInMinutes": 9,
        "publicIpAddresses": [{"id": id} for id in addresses],
    }
    assert len(addresses) == 2
    assert {*addresses} < {*found[gateway].needs}
    (network,) = (part for id, part in found.items() if "/virtualNetworks/" in id)
    assert network.body["properties"]["subnets"][0]["properties"]["natGateway"] == {"id": gateway}
    assert gateway in network.needs
    assert "loadBalancers" not in kinds(cluster)
    (nodes,) = (part for id, part in found.items() if "/virtualMachineScaleSets/" in id)
    assert "loadBalancerBackendAddressPools" not in str(nodes.body).replace("'loadBalancerBackendAddressPools': []", "")


async def test_nodes_leave_by_the_ports_and_for_the_time_that_the_profile_says() -> None:
    said = {"allocatedOutboundPorts": 16000, "idleTimeoutInMinutes": 4}
    cluster = await admitted(leaving("loadBalancer", loadBalancerProfile=said))
    (balancer,) = (p for p in parts(cluster, {"p": ""}, {}, {}, {}, []) if "/loadBalancers/" in p.id)
    (rule,) = balancer.body["properties"]["outboundRules"]
    assert {key: rule["properties"][key] for key in said} == said
    for ports in (16004, 64000):
        body = leaving("loadBalancer", loadBalancerProfile={"allocatedOutboundPorts": ports})
        body["properties"]["agentPoolProfiles"][0]["count"] = 2
        with pytest.raises(ArmError) as refused:
            await admitted(body)
        assert refused.value.code == "InvalidLoadBalancerProfileAllocatedOutboundPorts"


async def test_ways_of_ones_own_need_a_subnet_that_has_them() -> None:
    for kind, key, other in (
        ("userDefinedRouting", "routeTable", "natGateway"),
        ("userAssignedNATGateway", "natGateway", "routeTable"),
    ):
        own = subnet(**{key: "some/one"})
        cluster = await admitted(leaving(kind, own=True), None, own)
        assert cluster.properties["networkProfile"]["outboundType"] == kind
        assert kinds(cluster) & {"loadBalancers", "publicIPAddresses", "natGateways", "virtualNetworks"} == set()
        again = await admitted(cluster.body, cluster, own)
        assert again.body == cluster.body
        for body, there, code in (
            (leaving(kind), own, "InvalidParameter"),
            (leaving(kind, own=True), subnet(**{other: "some/one"}), "Existing"),
        ):
            with pytest.raises(ArmError) as refused:
                await admitted(body, None, there)
            assert refused.value.code.startswith(code)


async def test_outbound_types_that_are_not() -> None:
    for body, existing, code in (
        (leaving("managedNATGateway", own=True), None, "InvalidParameter"),
        (leaving("block"), None, "NotImplemented"),
        (leaving("managedNATGateway"), await admitted(wanted()), "NotImplemented"),
    ):
        with pytest.raises(ArmError) as refused:
            await admitted(body, existing, subnet())
        assert refused.value.code == code


async def test_what_is_stored_is_admitted_again_as_it_is() -> None:
    first = await admitted(wanted(nodeLabels={"a": "b"}))
    again = await admitted(first.body, first)
    assert again.body == first.body


async def test_more_memory_than_the_machine_may_promise() -> None:
    """8 GiB each; a machine of 16 GiB, promised twice over, carries four of them."""
    capacity = Capacity(16 * GIB, overcommit=2.0)
    fits = await admitted(wanted(count=4), capacity=capacity)
    with pytest.raises(ArmError) as refused:
        await admitted(wanted(count=5), capacity=capacity)
    assert (refused.value.code, refused.value.status) == ("AllocationFailed", 409)
    assert "40 GiB" in refused.value.message
    assert "SORAIRO_MEMORY_OVERCOMMIT" in refused.value.message
    # Fewer nodes are always allowed, on a machine that has less than it had as well.
    assert await admitted(wanted(count=3), fits, capacity=Capacity(GIB))


@pytest.mark.parametrize(
    ("asked", "code"), [("1.37", "NodePoolMcVersionIncompatible"), ("1.35", "K8sVersionNotSupported")]
)
async def test_a_pool_is_never_newer_than_its_control_plane(asked: str, code: str) -> None:
    body = wanted(orchestratorVersion=asked)
    body["properties"]["kubernetesVersion"] = "1.36"
    with pytest.raises(ArmError) as refused:
        await admitted(body)
    assert refused.value.code == code


def test_versions_one_may_upgrade_to() -> None:
    assert versions.later_than("1.36.3") == ["1.37.2"]
    assert versions.later_than("1.37.2") == []


# --- labels and taints ------------------------------------------------------------------------------------


def node(labels: dict[str, str], taints: list[dict[str, str]]) -> Document:
    return {"metadata": {"name": "n", "resourceVersion": "7", "labels": labels}, "spec": {"taints": taints}}


async def registered(cluster: Resource) -> Document:
    """A node as it registers with its pool's settings."""
    change = node_settings.patch(cluster, cluster.properties["agentPoolProfiles"][0], node({}, []))
    assert change
    return node(change["metadata"]["labels"], change.get("spec", {}).get("taints", []))


async def test_a_node_that_is_right_is_left_alone() -> None:
    cluster = await admitted(wanted(nodeLabels={"a": "b"}, nodeTaints=["k=v:NoSchedule"]))
    pool = cluster.properties["agentPoolProfiles"][0]
    there = await registered(cluster)
    assert node_settings.patch(cluster, pool, there) is None
    there["metadata"]["labels"]["someone's"] = "own"
    there["spec"]["taints"].append({"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"})
    assert node_settings.patch(cluster, pool, there) is None


async def test_a_change_of_the_pool_reaches_the_node_and_leaves_what_is_not_the_pools() -> None:
    before = await admitted(wanted(nodeLabels={"a": "1", "b": "2"}, nodeTaints=["k=v:NoSchedule", "x:NoExecute"]))
    there = await registered(before)
    there["metadata"]["labels"]["someone's"] = "own"
    ill = {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}
    there["spec"]["taints"].append(ill)
    after = await admitted(wanted(nodeLabels={"a": "3"}, nodeTaints=["k=w:NoSchedule"]), before)
    change = node_settings.patch(after, after.properties["agentPoolProfiles"][0], there)
    assert change == {
        "metadata": {"resourceVersion": "7", "labels": {"a": "3", "b": None}},
        "spec": {"taints": [ill, {"key": "k", "value": "w", "effect": "NoSchedule"}]},
    }


async def test_what_was_a_label_is_remembered_until_it_is_gone_and_no_longer() -> None:
    first = await admitted(wanted(nodeLabels={"a": "1"}))
    second = await admitted(wanted(nodeLabels={"b": "2"}), first)
    assert second.private[node_settings.FORMER] == {"p": {"labels": ["a"], "taints": []}}
    third = await admitted(wanted(nodeLabels={}), second)
    assert third.private[node_settings.FORMER] == {"p": {"labels": ["a", "b"], "taints": []}}
    back = await admitted(wanted(nodeLabels={"a": "1"}), third)
    assert back.private[node_settings.FORMER] == {"p": {"labels": ["b"], "taints": []}}


# --- who may call the API server --------------------------------------------------------------------------


def limited(*ranges: str) -> Document:
    body = wanted()
    body["properties"]["apiServerAccessProfile"] = {"authorizedIPRanges": list(ranges)}
    return body


async def test_authorized_ranges_are_shown_as_azure_shows_them() -> None:
    cluster = await admitted(limited("73.140.245.0/24", "8.8.8.8", "8.8.8.8/32", "198.18.0.1"))
    shown = cluster.properties["apiServerAccessProfile"]["authorizedIPRanges"]
    assert shown == ["73.140.245.0/24", "8.8.8.8/32", "198.18.0.1/32"]


@pytest.mark.parametrize(
    ("ranges", "says"),
    [
        ([f"8.8.{n // 250}.{n % 250}" for n in range(201)], "greater than the allowed value 200"),
        (["0.0.0.0/32", "8.8.8.8"], "not allowed with other IP ranges"),
        (["10.0.0.0/8"], "must be a global non-reserved"),
        (["192.168.1.1"], "must be a global non-reserved"),
        (["127.0.0.1"], "must be a global non-reserved"),
        (["8.8.8.8/24"], "host bits"),
        (["2001:db8::1"], "not an IPv4 address"),
        (["here"], "'here' is not an IPv4 address or CIDR"),
    ],
)
async def test_ranges_that_cannot_be_authorized(ranges: list[str], says: str) -> None:
    with pytest.raises(ArmError) as refused:
        await admitted(limited(*ranges))
    assert (refused.value.code, refused.value.target) == (
        "InvalidParameter",
        "apiServerAccessProfile.authorizedIPRanges",
    )
    assert says in refused.value.message


async def test_the_clusters_own_nodes_are_always_authorized() -> None:
    cluster = await admitted(limited("0.0.0.0/32"))
    assert await api_access.allowed(Nothing(), cluster) == ()
    own = Resource(names(cluster).public_ip, {}, status={"ipAddress": "198.18.0.9"})
    assert await api_access.allowed(Nothing(own), cluster) == ("198.18.0.9/32",)
    cluster = await admitted(limited("8.8.8.0/24"))
    assert await api_access.allowed(Nothing(own), cluster) == ("198.18.0.9/32", "8.8.8.0/24")
    assert await api_access.allowed(Nothing(own), await admitted(limited())) is None
    body = limited("8.8.8.0/24")
    body["properties"]["networkProfile"] = {"outboundType": "managedNATGateway"}
    cluster = await admitted(body)
    own = Resource(names(cluster).nat_address(1), {}, status={"ipAddress": "198.18.0.7"})
    assert await api_access.allowed(Nothing(own), cluster) == ("198.18.0.7/32", "8.8.8.0/24")
