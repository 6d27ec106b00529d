"""`networkProfile` without a host: what AKS fills in, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from sorairo.cluster.azure_json import CloudConfig
from sorairo.engine.errors import ArmError
from sorairo.engine.types import Document, Resource
from sorairo.providers.microsoft_compute.cloud_config import parse
from sorairo.providers.microsoft_containerservice import bootstrap, cloud, kubenet, versions
from sorairo.providers.microsoft_containerservice.composition import holds, laid_over, parts
from sorairo.providers.microsoft_containerservice.controlplane import Endpoint
from sorairo.providers.microsoft_containerservice.hollow_nodes import node_object
from sorairo.providers.microsoft_containerservice.names import names
from sorairo.providers.microsoft_network.network_interfaces import claimed
from sorairo.providers.overlays import KEY, block_of

from .test_clusters import GROUP, ID, admitted, wanted

NETWORK = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/v"
OVERLAY = {"networkPluginMode": "overlay"}
KUBENET = {"networkPlugin": "kubenet"}
TABLE = f"{GROUP}/providers/Microsoft.Network/routeTables/mine"
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "installed", lambda: {"1.37": "1.37.2"})


def body(profile: Document, **pool: Any) -> Document:
    found = wanted(**pool)
    found["properties"]["networkProfile"] = profile
    return found


def network(prefix: str, subnet: str, **properties: Any) -> Resource:
    subnets = [{"name": "s", "properties": {"addressPrefix": subnet, **properties}}]
    return Resource(NETWORK, {"properties": {"addressSpace": {"addressPrefixes": [prefix]}, "subnets": subnets}})


async def test_what_is_filled_in() -> None:
    shown = (await admitted(wanted())).properties["networkProfile"]
    assert (shown["networkPlugin"], shown["networkPolicy"], shown["serviceCidrs"]) == ("azure", "none", ["10.0.0.0/16"])
    assert "podCidr" not in shown
    cluster = await admitted(body({**OVERLAY, "networkPolicy": "azure"}))
    shown = cluster.properties["networkProfile"]
    assert (shown["podCidr"], shown["podCidrs"]) == ("10.244.0.0/16", ["10.244.0.0/16"])
    assert cluster.properties["agentPoolProfiles"][0]["maxPods"] == 250


async def test_a_node_of_an_overlay_has_one_address_of_the_subnet_and_a_block_of_pods() -> None:
    cluster = await admitted(body({**OVERLAY, "podCidr": "10.250.0.0/16"}))
    scale_set = parts(cluster, {"p": ""}, {}, {}, {}, [])[-1]
    (nic,) = scale_set.body["properties"]["virtualMachineProfile"]["networkProfile"]["networkInterfaceConfigurations"]
    assert len(nic["properties"]["ipConfigurations"]) == 1
    assert scale_set.private[KEY] == {"cidr": "10.250.0.0/16", "pool": ID}
    # A /29 has three addresses for machines: two nodes fit where pods would not.
    subnet = f"{NETWORK}/subnets/s"
    await admitted(body(OVERLAY, vnetSubnetID=subnet), None, network("10.1.0.0/16", "10.1.0.0/29"))


@pytest.mark.parametrize(
    ("profile", "code", "says"),
    [
        ({**OVERLAY, "podCidr": "10.1.128.0/17"}, "NetworkProfileCIDROverlapVNET", "overlaps with reserved VNET CIDR"),
        ({**OVERLAY, "podCidr": "10.0.0.0/16"}, "PodCidrOverlapServiceCidr", "--pod-cidr"),
        ({**OVERLAY, "podCidr": "10.2.0.0/23"}, "InsufficientSubnetSize", "IPs 768 exceeds IPs available 512"),
        ({**OVERLAY, "podCidr": "10.2.0.0/33"}, "InvalidCidr", "10.2.0.0/33"),
        ({"podCidr": "10.2.0.0/16"}, "InvalidParameter", "network plugin mode overlay"),
        ({"networkPolicy": "calico"}, "NotImplemented", "networkPolicy 'calico'"),
        ({"networkPolicy": "cilium"}, "NotImplemented", "networkPolicy 'cilium'"),
        ({"networkDataplane": "cilium"}, "NotImplemented", "networkDataplane 'cilium'"),
        ({"networkPlugin": "none"}, "NotImplemented", "networkPlugin 'none'"),
        ({**KUBENET, **OVERLAY}, "NetworkModeNotSupported", "not supported for network plugin kubenet"),
        ({**KUBENET, "networkPolicy": "azure"}, "NetworkPolicyAzureNotSupportedForKubenet", "network plugin kubenet"),
        ({**KUBENET, "networkPolicy": "calico"}, "NotImplemented", "networkPolicy 'calico'"),
        ({**KUBENET, "podCidr": "10.1.0.0/17"}, "PodCidrOverlapExistingSubnetsCidr", "subnet CIDR 10.1.0.0/24"),
        ({**KUBENET, "podCidr": "10.0.0.0/16"}, "PodCidrOverlapServiceCidr", "--pod-cidr"),
        ({**KUBENET, "podCidr": "10.2.0.0/24"}, "InsufficientPodCidr", "IPs 768 exceeds IPs available 256 in Pod Cidr"),
    ],
)
async def test_what_is_refused(profile: Document, code: str, says: str) -> None:
    with pytest.raises(ArmError) as refused:
        await admitted(body(profile, vnetSubnetID=f"{NETWORK}/subnets/s"), None, network("10.1.0.0/16", "10.1.0.0/24"))
    assert refused.value.code == code
    assert says in refused.value.message


async def test_kubenet_is_filled_in() -> None:
    cluster = await admitted(body({**KUBENET, "podCidr": "10.250.0.0/16"}))
    shown = cluster.properties["networkProfile"]
    assert (shown["networkPlugin"], shown["networkPolicy"], shown["podCidrs"]) == ("kubenet", "none", ["10.250.0.0/16"])
    assert cluster.properties["agentPoolProfiles"][0]["maxPods"] == 110
    found = {part.id: part for part in parts(cluster, {"p": ""}, {}, {}, {}, [])}
    nodes = found[names(cluster).scale_set("p")]
    (nic,) = nodes.body["properties"]["virtualMachineProfile"]["networkProfile"]["networkInterfaceConfigurations"]
    assert len(nic["properties"]["ipConfigurations"]) == 1
    assert nodes.private[KEY] == {"cidr": "10.250.0.0/16"}, "of which nobody claims blocks"
    assert names(cluster).route_table in found
    flags = kubenet.controller_manager_flags(cluster)
    assert flags == ("--allocate-node-cidrs", "--cluster-cidr=10.250.0.0/16", "--node-cidr-mask-size=24")
    assert (await admitted(cluster.body, cluster)).body == cluster.body


async def test_nodes_with_kubenet_make_their_plugins_of_a_template() -> None:
    """Whose braces are left alone on the way."""
    cluster = await admitted(body(KUBENET))
    cluster.private["pki"] = dict.fromkeys(("ca.crt", "kube-proxy.crt", "kube-proxy.key"), "x")
    pool = cluster.properties["agentPoolProfiles"][0]
    data = bootstrap.custom_data(cluster, pool, Endpoint("198.18.0.9", 443), memory_bytes=2**33, cloud={})
    known = {"v1.local_hostname": "n", "ds.meta_data.local_ipv4": "10.224.0.4", "ds.meta_data.instance_id": "i",
             "ds.meta_data.zone": "1", "ds.meta_data.secondary_ranges": "[]"}  # fmt: skip
    files = parse(data, known).files
    assert files[kubenet.TEMPLATE_PATH].content.decode() == kubenet.template()
    assert f'conf_template = "{kubenet.TEMPLATE_PATH}"' in files["/etc/containerd/config.toml"].content.decode()
    assert not any(path.startswith("/etc/cni/") for path in files)


async def test_a_subnet_of_ones_own_gets_a_route_table_or_has_one() -> None:
    bare = network("10.1.0.0/16", "10.1.0.0/24")
    wanted = body(KUBENET, vnetSubnetID=f"{NETWORK}/subnets/s")
    cluster = await admitted(wanted, None, bare)
    found = {part.id: part for part in parts(cluster, {"p": ""}, {}, {}, {}, [])}
    mine = names(cluster).route_table
    part = found[NETWORK]
    assert (part.found, part.shared, part.needs) == (True, True, (mine,))
    assert not holds(bare.body, part.body, shared=True)
    merged = laid_over(bare.body, part.body)
    (subnet,) = merged["properties"]["subnets"]
    assert subnet["properties"] == {"addressPrefix": "10.1.0.0/24", "routeTable": {"id": mine}}
    assert merged["properties"]["addressSpace"] == bare.properties["addressSpace"]
    # What it was given is no reason to refuse the next change; another's is.
    again = network("10.1.0.0/16", "10.1.0.0/24", routeTable={"id": mine})
    assert (await admitted(cluster.body, cluster, again)).body == cluster.body
    with pytest.raises(ArmError) as refused:
        await admitted(cluster.body, cluster, network("10.1.0.0/16", "10.1.0.0/24", routeTable={"id": TABLE}))
    assert refused.value.code == "CustomRouteTableInvalidUpdateAttempt"


async def test_a_route_table_of_ones_own_needs_an_identity_of_ones_own_and_its_rights() -> None:
    there = network("10.1.0.0/16", "10.1.0.0/24", routeTable={"id": TABLE})
    identity = Resource(IDENTITY, {}, status={"principalId": "me", "clientId": "c"})
    wanted = body(KUBENET, vnetSubnetID=f"{NETWORK}/subnets/s")
    with pytest.raises(ArmError) as refused:
        await admitted(wanted, None, there)
    assert refused.value.code == "CustomRouteTableWithUnsupportedMSIType"
    wanted["identity"] = {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}}
    asked: list[tuple[str, str, str]] = []

    def permits(principal: str, action: str, scope: str) -> bool:
        asked.append((principal, action, scope))
        return "read" in action

    with pytest.raises(ArmError) as refused:
        await admitted(wanted, None, there, identity, permits=permits)
    assert refused.value.code == "CustomRouteTableMissingPermission"
    assert TABLE in refused.value.message
    assert asked == [("me", f"Microsoft.Network/routeTables/{verb}", TABLE) for verb in ("read", "write")]
    cluster = await admitted(wanted, None, there, identity)
    found = {part.id for part in parts(cluster, {"p": ""}, {}, {}, {}, [])}
    assert not any("/routeTables/" in id or id == NETWORK for id in found), "both are the user's"
    config = cloud.config(cluster, tenant_id="t", resource_manager="https://arm")
    assert (config.route_table, config.route_table_group) == ("mine", "web")
    read = CloudConfig.parse(config.text())
    assert (read.route_table, read.route_table_group) == ("mine", "web")
    two = network("10.1.0.0/16", "10.1.0.0/24", routeTable={"id": TABLE})
    two.properties["subnets"].append({"name": "t", "properties": {"addressPrefix": "10.1.1.0/24"}})
    wanted["properties"]["agentPoolProfiles"].append({"name": "q", "vnetSubnetID": f"{NETWORK}/subnets/t"})
    with pytest.raises(ArmError) as refused:
        await admitted(wanted, None, two, identity)
    assert refused.value.code == "SubnetMissingRouteTableAssociation"
    two.properties["subnets"][1]["properties"]["routeTable"] = {"id": f"{TABLE}2"}
    with pytest.raises(ArmError) as refused:
        await admitted(wanted, None, two, identity)
    assert refused.value.code == "TooManyCustomRouteTables"


async def test_nodes_are_in_no_subnet_that_is_delegated() -> None:
    delegations = [{"name": "d", "properties": {"serviceName": "Microsoft.ContainerService/managedClusters"}}]
    there = network("10.1.0.0/16", "10.1.0.0/24", delegations=delegations)
    with pytest.raises(ArmError) as refused:
        await admitted(body({}, vnetSubnetID=f"{NETWORK}/subnets/s"), None, there)
    assert refused.value.code == "SubnetIsDelegated"


async def test_network_policy_has_at_most_250_nodes() -> None:
    await admitted(body({"networkPolicy": "azure"}, count=250))
    with pytest.raises(ArmError) as refused:
        await admitted(body({"networkPolicy": "azure"}, count=251))
    assert refused.value.code == "InvalidNodeCountForNPM"


async def test_what_can_be_changed_of_a_cluster_that_is_there() -> None:
    """Its network policy, and nothing else of this."""
    first = await admitted(body(OVERLAY))
    again = await admitted(body({"networkPolicy": "azure"}), first)
    assert again.properties["networkProfile"] == {**first.properties["networkProfile"], "networkPolicy": "azure"}
    for change in ({"podCidr": "10.9.0.0/16"}, {"serviceCidr": "10.9.0.0/16"}, {"dnsServiceIP": "10.0.0.11"}):
        with pytest.raises(ArmError) as refused:
            await admitted(body(change), first)
        assert refused.value.code == "PropertyChangeNotAllowed"
    with pytest.raises(ArmError) as refused:
        await admitted(body(OVERLAY), await admitted(wanted()))
    assert refused.value.code == "NotImplemented"


async def test_the_network_plugin_stays() -> None:
    first = await admitted(body(KUBENET))
    for change, code in (
        ({"networkPlugin": "azure"}, "PropertyChangeNotAllowed"),
        ({"networkPlugin": "azure", **OVERLAY}, "NotImplemented"),
        ({"networkPolicy": "azure"}, "NetworkPolicyAzureNotSupportedForKubenet"),
        ({"podCidr": "10.9.0.0/16"}, "PropertyChangeNotAllowed"),
    ):
        with pytest.raises(ArmError) as refused:
            await admitted(body(change), first)
        assert refused.value.code == code
    with pytest.raises(ArmError) as refused:
        await admitted(body(KUBENET), await admitted(wanted()))
    assert refused.value.code == "PropertyChangeNotAllowed"


@pytest.mark.parametrize("families", [["IPv4", "IPv6"], ["IPv6"]])
async def test_two_families_of_addresses_are_not_built(families: list[str]) -> None:
    with pytest.raises(ArmError) as refused:
        await admitted(body({"ipFamilies": families}))
    assert (refused.value.status, refused.value.code) == (501, "NotImplemented")
    assert "networkProfile.ipFamilies" in refused.value.message


async def test_a_simulated_nodes_pods_have_its_block() -> None:
    cluster = await admitted(body(OVERLAY))
    pool = cluster.properties["agentPoolProfiles"][0]
    instance = Resource(f"{ID}/virtualMachines/0", {"properties": {"osProfile": {"computerName": "n"}}})
    nic = Resource(f"{ID}/n", {}, private={KEY: {"cidr": "10.244.0.0/16", "pool": "C"}})
    assert block_of(nic) is None
    nic.private["claims"] = {"subnet s": ["10.0.0.4"], "overlay c": ["10.244.3.0/24"]}
    node = node_object(cluster, pool, instance, ["10.224.0.4"], 2, 2**33, block_of(nic))
    assert node["spec"]["podCIDR"] == "10.244.3.0/24"
    # The controller manager's to say, with kubenet.
    routed = await admitted(body(KUBENET))
    pool = routed.properties["agentPoolProfiles"][0]
    assert "podCIDR" not in node_object(routed, pool, instance, ["10.224.0.4"], 2, 2**33)["spec"]
    alone = Resource(nic.id, {"properties": {}}, private={KEY: {"cidr": "10.244.0.0/16"}, "addresses": ["10.0.0.4"]})
    assert (block_of(alone), claimed(alone)) == (None, ("10.0.0.4",))
    assert claimed(Resource(nic.id, {"properties": {}}, private={**nic.private, "claims": {}})) == ()
