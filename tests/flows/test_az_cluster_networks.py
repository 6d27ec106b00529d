"""`az aks create` with another network than the usual: kubenet, an overlay, other ways out. On the hollow substrate,
where the cloud controller writes the same routes for simulated nodes."""

from __future__ import annotations

from typing import Any

import pytest

from azure_cli import Az
from flows_shared import GROUP, eventually
from installation import Installation

pytestmark = [pytest.mark.az, pytest.mark.engine, pytest.mark.timeout(600)]

IN = ("--resource-group", GROUP)


def create(name: str, *more: str) -> tuple[str, ...]:
    return ("aks", "create", *IN, "--name", name, "--no-ssh-key", "--node-count", "1", *more)


def delete(az: Az, *names: str) -> None:
    for name in names:
        az("aks", "delete", *IN, "--name", name, "--yes", "--no-wait")
    for name in names:
        az("aks", "wait", *IN, "--name", name, "--deleted", "--interval", "1")


def routes(hollow: Installation, table: str) -> list[dict[str, Any]]:
    return hollow.arm("GET", table).json()["properties"]["routes"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def network(hollow: Installation) -> str:
    """A virtual network with subnets `bare` and `routed`, and a route table of the latter's: their ids' beginning."""
    base = f"{hollow.subscription}/resourceGroups/{GROUP}/providers/Microsoft.Network"
    way = {"addressPrefix": "0.0.0.0/0", "nextHopType": "VirtualAppliance", "nextHopIpAddress": "10.81.200.4"}
    table = {"routes": [{"name": "out", "properties": way}]}
    hollow.wait(hollow.arm("PUT", f"{base}/routeTables/mine", {"location": "westeurope", "properties": table}))
    subnets = [
        {"name": "bare", "properties": {"addressPrefix": "10.81.0.0/24"}},
        {
            "name": "routed",
            "properties": {"addressPrefix": "10.81.1.0/24", "routeTable": {"id": f"{base}/routeTables/mine"}},
        },
    ]
    properties = {"addressSpace": {"addressPrefixes": ["10.81.0.0/16"]}, "subnets": subnets}
    hollow.wait(hollow.arm("PUT", f"{base}/virtualNetworks/nets", {"location": "westeurope", "properties": properties}))
    return base


def test_kubenet_in_a_subnet_of_ones_own(az: Az, hollow: Installation, network: str) -> None:
    """Which gets the cluster's route table, and loses it with the cluster."""
    bare = f"{network}/virtualNetworks/nets/subnets/bare"
    made = az(*create("flat", "--network-plugin", "kubenet", "--pod-cidr", "10.250.0.0/16", "--vnet-subnet-id", bare))
    profile = made["networkProfile"]
    assert (profile["networkPlugin"], profile["podCidr"], profile["networkPolicy"]) == (
        "kubenet",
        "10.250.0.0/16",
        "none",
    )
    assert (profile["networkPluginMode"], made["agentPoolProfiles"][0]["maxPods"]) == (None, 110)
    table = hollow.arm("GET", bare).json()["properties"]["routeTable"]["id"]
    assert f"/resourcegroups/{made['nodeResourceGroup']}/".lower() in table.lower()
    (route,) = eventually("a route", lambda: routes(hollow, table))
    (node,) = hollow.kubectl(hollow.kubeconfig(GROUP, "flat"), "get", "nodes", "-o", "name").split()
    assert route["name"].startswith(f"{node.removeprefix('node/')}____10250")
    network_group = hollow.arm("GET", f"{network}/virtualNetworks/nets").json()
    assert {s["name"] for s in network_group["properties"]["subnets"]} == {"bare", "routed"}
    refused = az.refused("aks", "update", *IN, "--name", "flat", "--network-policy", "azure")
    assert refused.code == "NetworkPolicyAzureNotSupportedForKubenet"
    moved = az.refused("aks", "update", *IN, "--name", "flat", "--network-plugin", "azure",
                       "--network-plugin-mode", "overlay")  # fmt: skip
    assert moved.code == "NotImplemented"
    delete(az, "flat")
    assert "routeTable" not in hollow.arm("GET", bare).json()["properties"]


def test_kubenet_behind_a_route_table_of_ones_own(az: Az, hollow: Installation, network: str) -> None:
    routed, table = f"{network}/virtualNetworks/nets/subnets/routed", f"{network}/routeTables/mine"
    options = ("--network-plugin", "kubenet", "--vnet-subnet-id", routed, "--outbound-type", "userDefinedRouting")
    identity = az("identity", "create", *IN, "--name", "byo")
    options = (*options, "--assign-identity", identity["id"])
    assert az.refused(*create("byo", *options)).code == "CustomRouteTableMissingPermission"
    az("role", "assignment", "create", "--assignee-object-id", identity["principalId"], "--assignee-principal-type",
       "ServicePrincipal", "--role", "Network Contributor", "--scope", table)  # fmt: skip
    made = az(*create("byo", *options))
    assert made["networkProfile"]["outboundType"] == "userDefinedRouting"
    out, route = eventually("a route", lambda: found if len(found := routes(hollow, table)) == 2 else None)
    assert (out["name"], route["properties"]["nextHopType"]) == ("out", "VirtualAppliance")
    assert route["properties"]["nextHopIpAddress"].startswith("10.81.1.")
    listed = hollow.arm("GET", f"{hollow.subscription}/resourceGroups/{made['nodeResourceGroup']}/resources").json()
    assert not [r for r in listed["value"] if r["type"].lower().endswith(("/routetables", "/loadbalancers"))]
    delete(az, "byo")
    assert hollow.arm("GET", routed).json()["properties"]["routeTable"]["id"].lower() == table.lower()


def test_an_overlay_behind_a_nat_gateway(az: Az, hollow: Installation) -> None:
    options = ("--network-plugin", "azure", "--network-plugin-mode", "overlay", "--pod-cidr", "10.251.0.0/16")
    made = az(*create("layer", *options, "--outbound-type", "managedNATGateway", "--nat-gateway-idle-timeout", "7"))
    profile = made["networkProfile"]
    assert (profile["networkPluginMode"], profile["podCidr"]) == ("overlay", "10.251.0.0/16")
    assert (profile["outboundType"], profile["natGatewayProfile"]["idleTimeoutInMinutes"]) == ("managedNATGateway", 7)
    assert len(profile["natGatewayProfile"]["effectiveOutboundIPs"]) == 1
    delete(az, "layer")


def test_ways_out_that_are_not_there(az: Az, network: str) -> None:
    bare = f"{network}/virtualNetworks/nets/subnets/bare"
    refused = az.refused(*create("lost", "--vnet-subnet-id", bare, "--outbound-type", "userDefinedRouting"))
    assert refused.code == "ExistingRouteTableNotAssociatedWithSubnet"
    dual = az.refused(*create("dual", "--ip-families", "IPv4,IPv6"))
    assert (dual.code, "networkProfile.ipFamilies" in dual.message) == ("NotImplemented", True)
