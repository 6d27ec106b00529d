"""`az network` about ways between networks and out of them: peerings, routes, NAT gateways, public addresses."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from azure_cli import Az
from installation import Installation

pytestmark = [pytest.mark.az, pytest.mark.timeout(900)]

GROUP = "routing"


def in_group(*arguments: str) -> tuple[str, ...]:
    return ("network", *arguments, "--resource-group", GROUP)


@pytest.fixture(scope="module")
def group(az: Az) -> str:
    az("group", "create", "--name", GROUP, "--location", "westeurope")
    for name, prefix in (("hub", "10.1"), ("spoke", "10.2"), ("same", "10.1")):
        az(
            *in_group("vnet", "create"), "--name", name, "--address-prefixes", f"{prefix}.0.0/16",
            "--subnet-name", "front", "--subnet-prefixes", f"{prefix}.0.0/24",
        )  # fmt: skip
    return GROUP


def peering(az: Az, verb: str, network: str, name: str, *more: str) -> Any:
    return az(*in_group("vnet", "peering", verb), "--vnet-name", network, "--name", name, *more)


def refused(hollow: Installation, method: str, path: str, properties: Any = None) -> str:
    """The code of ARM's refusal."""
    body = None if properties is None else {"location": "westeurope", "properties": properties}
    if body and ("/subnets/" in path or "/virtualNetworkPeerings/" in path or "/routes/" in path):
        del body["location"]
    answer = hollow.arm(method, f"{network(hollow)}/{path}", body)
    assert 400 <= answer.status_code < 500, answer.text
    return str(answer.json()["error"]["code"])


def network(hollow: Installation) -> str:
    return f"{hollow.subscription}/resourceGroups/{GROUP}/providers/Microsoft.Network"


def test_a_peering_has_two_halves(az: Az, group: str, hollow: Installation) -> None:
    one = peering(az, "create", "hub", "to-spoke", "--remote-vnet", "spoke", "--allow-vnet-access")
    assert (one["peeringState"], one["allowVirtualNetworkAccess"], one["allowForwardedTraffic"]) == (
        "Initiated", True, False,
    )  # fmt: skip
    assert one["remoteAddressSpace"]["addressPrefixes"] == ["10.2.0.0/16"]
    two = peering(az, "create", "spoke", "to-hub", "--remote-vnet", "hub", "--allow-vnet-access",
                  "--allow-forwarded-traffic")  # fmt: skip
    assert (two["peeringState"], two["allowForwardedTraffic"]) == ("Connected", True)
    updated = peering(az, "update", "hub", "to-spoke", "--set", "allowForwardedTraffic=true")
    assert (updated["allowForwardedTraffic"], updated["peeringState"]) == (True, "Connected")
    for near, far, code in (
        ("spoke", "hub", "AnotherPeeringAlreadyReferencesRemoteVnet"),
        ("same", "hub", "VnetAddressSpacesOverlap"),
        ("same", "spoke", "VnetAddressSpaceOverlapsWithAlreadyPeeredVnet"),
    ):
        remote = {"remoteVirtualNetwork": {"id": f"{network(hollow)}/virtualNetworks/{far}"}}
        assert refused(hollow, "PUT", f"virtualNetworks/{near}/virtualNetworkPeerings/x", remote) == code
    peering(az, "delete", "spoke", "to-hub")
    assert peering(az, "show", "hub", "to-spoke")["peeringState"] == "Disconnected"
    remote = {"remoteVirtualNetwork": {"id": f"{network(hollow)}/virtualNetworks/hub"}}
    late = refused(hollow, "PUT", "virtualNetworks/spoke/virtualNetworkPeerings/to-hub", remote)
    assert late == "RemotePeeringIsDisconnected"
    peering(az, "delete", "hub", "to-spoke")


def test_routes_and_their_subnets(az: Az, group: str, hollow: Installation) -> None:
    az(*in_group("route-table", "create"), "--name", "rt")
    az(*in_group("route-table", "route", "create"), "--route-table-name", "rt", "--name", "hole",
       "--address-prefix", "10.9.0.0/16", "--next-hop-type", "None")  # fmt: skip
    same = {"addressPrefix": "10.9.0.0/16", "nextHopType": "VnetLocal"}
    assert refused(hollow, "PUT", "routeTables/rt/routes/b", same) == "RouteConflict"
    az(*in_group("vnet", "subnet", "update"), "--vnet-name", "spoke", "--name", "front", "--route-table", "rt")
    shown = az(*in_group("route-table", "show"), "--name", "rt")
    assert [s["id"].rsplit("/", 3)[1:] for s in shown["subnets"]] == [["spoke", "subnets", "front"]]
    assert refused(hollow, "DELETE", "routeTables/rt") == "InUseRouteTableCannotBeDeleted"
    az(*in_group("vnet", "subnet", "update"), "--vnet-name", "spoke", "--name", "front", "--remove", "routeTable")
    az(*in_group("route-table", "delete"), "--name", "rt")


def test_nat_gateways_and_prefixes(az: Az, group: str, hollow: Installation) -> None:
    prefix = az(*in_group("public-ip", "prefix", "create"), "--name", "prefix", "--length", "31")
    made = [
        az(*in_group("public-ip", "create"), "--name", f"p{n}", "--public-ip-prefix", "prefix")["publicIp"]["ipAddress"]
        for n in range(2)
    ]
    assert made == [str(each) for each in ipaddress.IPv4Network(prefix["ipPrefix"])]
    az(*in_group("public-ip", "prefix", "create"), "--name", "other", "--length", "31")
    gateway = az(
        *in_group("nat", "gateway", "create"), "--name", "nat", "--public-ip-addresses", "p0",
        "--public-ip-prefixes", "other", "--idle-timeout", "10",
    )  # fmt: skip
    assert (gateway["sku"]["name"], gateway["idleTimeoutInMinutes"]) == ("Standard", 10)
    az(*in_group("vnet", "subnet", "update"), "--vnet-name", "hub", "--name", "front", "--nat-gateway", "nat")
    shown = az(*in_group("nat", "gateway", "show"), "--name", "nat")
    assert [s["id"].rsplit("/", 3)[1] for s in shown["subnets"]] == ["hub"]
    other = {"publicIpAddresses": [{"id": f"{network(hollow)}/publicIPAddresses/p0"}]}
    spoke = {"addressPrefix": "10.2.0.0/24", "natGateway": {"id": gateway["id"]}}
    for method, path, properties, code in (
        ("PUT", "natGateways/nat2", other, "PublicIPAddressInUse"),
        (
            "PUT",
            "virtualNetworks/spoke/subnets/front",
            spoke,
            "NatGatewayCannotBeUsedBySubnetsBelongingToDifferentVirtualNetworks",
        ),
        ("DELETE", "natGateways/nat", None, "CannotDeleteNatGatewayAssociatedToSubnet"),
        ("DELETE", "publicIPAddresses/p0", None, "PublicIPAddressCannotBeDeleted"),
        ("DELETE", "publicIPPrefixes/prefix", None, "InUsePublicIpPrefixCannotBeDeleted"),
        ("DELETE", "publicIPPrefixes/other", None, "InUsePublicIpPrefixCannotBeDeleted"),
    ):
        assert refused(hollow, method, path, properties) == code
    az(*in_group("vnet", "subnet", "update"), "--vnet-name", "hub", "--name", "front", "--remove", "natGateway")
    az(*in_group("nat", "gateway", "delete"), "--name", "nat")
    az(*in_group("public-ip", "delete"), "--name", "p0")


def test_a_public_address_of_a_nic(az: Az, group: str, hollow: Installation) -> None:
    az(*in_group("public-ip", "create"), "--name", "one")
    az(*in_group("nic", "create"), "--name", "nic", "--vnet-name", "hub", "--subnet", "front")
    update = (*in_group("nic", "ip-config", "update"), "--nic-name", "nic", "--name", "ipconfig1")
    az(*update, "--public-ip-address", "one")
    shown = az(*in_group("public-ip", "show"), "--name", "one")
    assert shown["ipConfiguration"]["id"].endswith("/networkInterfaces/nic/ipConfigurations/ipconfig1")
    ip = {
        "subnet": {"id": f"{network(hollow)}/virtualNetworks/hub/subnets/front"},
        "publicIPAddress": {"id": shown["id"]},
    }
    second = {"ipConfigurations": [{"name": "a", "properties": ip}]}
    assert refused(hollow, "PUT", "networkInterfaces/two", second) == "PublicIPAddressInUse"
    assert refused(hollow, "DELETE", "publicIPAddresses/one") == "PublicIPAddressCannotBeDeleted"
    az(*update, "--remove", "publicIPAddress")
    assert "ipConfiguration" not in az(*in_group("public-ip", "show"), "--name", "one")
    az(*in_group("nic", "delete"), "--name", "nic")


def test_delegations_and_service_endpoints(az: Az, group: str, hollow: Installation) -> None:
    listed = az("network", "vnet", "subnet", "list-available-delegations", "--location", "westeurope")
    assert "Microsoft.ContainerInstance/containerGroups" in {each["serviceName"] for each in listed}
    services = az("network", "vnet", "list-endpoint-services", "--location", "westeurope")
    assert "Microsoft.Storage" in {each["name"] for each in services}
    subnet = az(
        *in_group("vnet", "subnet", "create"), "--vnet-name", "hub", "--address-prefixes", "10.1.5.0/24",
        "--name", "aci", "--delegations", "Microsoft.ContainerInstance/containerGroups",
        "--service-endpoints", "Microsoft.Storage", "Microsoft.KeyVault",
    )  # fmt: skip
    assert [d["serviceName"] for d in subnet["delegations"]] == ["Microsoft.ContainerInstance/containerGroups"]
    assert [e["service"] for e in subnet["serviceEndpoints"]] == ["Microsoft.Storage", "Microsoft.KeyVault"]
    assert {e["provisioningState"] for e in subnet["serviceEndpoints"]} == {"Succeeded"}
    wrong = {"delegations": [{"name": "a", "properties": {"serviceName": "Microsoft.Nobody/things"}}]}
    for properties, code in (
        (wrong, "InvalidServiceNameOnDelegation"),
        ({"serviceEndpoints": [{"service": "Microsoft.Nobody"}]}, "SubnetHasInvalidServiceEndpoint"),
    ):
        path = "virtualNetworks/hub/subnets/x"
        assert refused(hollow, "PUT", path, {"addressPrefix": "10.1.6.0/24", **properties}) == code
