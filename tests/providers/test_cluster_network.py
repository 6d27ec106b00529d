"""`networkProfile` without a host: what AKS fills in, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Document, Resource
from sorairo.providers.microsoft_containerservice import versions
from sorairo.providers.microsoft_containerservice.composition import parts
from sorairo.providers.microsoft_containerservice.hollow_nodes import node_object
from sorairo.providers.microsoft_network.network_interfaces import claimed
from sorairo.providers.overlays import KEY, block_of

from .test_clusters import GROUP, ID, admitted, wanted

NETWORK = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/v"
OVERLAY = {"networkPluginMode": "overlay"}


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "installed", lambda: {"1.37": "1.37.2"})


def body(profile: Document, **pool: Any) -> Document:
    found = wanted(**pool)
    found["properties"]["networkProfile"] = profile
    return found


def network(prefix: str, subnet: str) -> Resource:
    subnets = [{"name": "s", "properties": {"addressPrefix": subnet}}]
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
        ({**OVERLAY, "podCidr": "10.0.0.0/16"}, "ServiceCidrOverlapPodCidr", "--pod-cidr"),
        ({**OVERLAY, "podCidr": "10.2.0.0/23"}, "InsufficientSubnetSize", "IPs 768 exceeds IPs available 512"),
        ({**OVERLAY, "podCidr": "10.2.0.0/33"}, "InvalidCidr", "10.2.0.0/33"),
        ({"podCidr": "10.2.0.0/16"}, "InvalidParameter", "network plugin mode overlay"),
        ({"networkPolicy": "calico"}, "NotImplemented", "networkPolicy 'calico'"),
        ({"networkPolicy": "cilium"}, "NotImplemented", "networkPolicy 'cilium'"),
        ({"networkDataplane": "cilium"}, "NotImplemented", "networkDataplane 'cilium'"),
        ({"networkPlugin": "kubenet"}, "NotImplemented", "networkPlugin 'kubenet'"),
    ],
)
async def test_what_is_refused(profile: Document, code: str, says: str) -> None:
    with pytest.raises(ArmError) as refused:
        await admitted(body(profile, vnetSubnetID=f"{NETWORK}/subnets/s"), None, network("10.1.0.0/16", "10.1.0.0/24"))
    assert refused.value.code == code
    assert says in refused.value.message


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


async def test_a_simulated_nodes_pods_have_its_block() -> None:
    cluster = await admitted(body(OVERLAY))
    pool = cluster.properties["agentPoolProfiles"][0]
    instance = Resource(f"{ID}/virtualMachines/0", {"properties": {"osProfile": {"computerName": "n"}}})
    nic = Resource(f"{ID}/n", {}, private={KEY: {"cidr": "10.244.0.0/16", "pool": "C"}})
    assert block_of(nic) is None
    nic.private["claims"] = {"subnet s": ["10.0.0.4"], "overlay c": ["10.244.3.0/24"]}
    node = node_object(cluster, pool, instance, ["10.224.0.4"], 2, 2**33, block_of(nic))
    assert node["spec"]["podCIDR"] == "10.244.3.0/24"
    assert claimed(Resource(nic.id, {"properties": {}}, private={**nic.private, "claims": {}})) == ()
