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


def test_a_peering_has_two_halves(az: Az, group: str, hollow: Installation) -> None:
    one = peering(az, "create", "hub", "to-spoke", "--remote-vnet", "spoke", "--allow-vnet-access")
    assert (one["peeringState"], one["allowVirtualNetworkAccess"], one["allowForwardedTraffic"]) == (
        "Initiated", True, False,
    )  # fmt: skip
    assert one["remoteAddressSpace"]["addressPrefixes"] == ["10.2.0.0/16"]
    two = peering(az, "create", "spoke", "to-hub", "--remote-vnet", "hub", "--allow-vnet-access",
                  "--allow-forwarded-traffic")  # fmt: skip
    assert (two["peeringState"], two["allowForwardedTraffic"]) == ("Connected", True)
    shown = peering(az, "show", "hub", "to-spoke")
    assert (shown["peeringState"], shown["peeringSyncLevel"]) == ("Connected", "FullyInSync")
    updated = peering(az, "update", "hub", "to-spoke", "--set", "allowForwardedTraffic=true")
    assert (updated["allowForwardedTraffic"], updated["peeringState"]) == (True, "Connected")
    refused = az.refused(*in_group("vnet", "peering", "create"), "--vnet-name", "spoke", "--name", "again",
                         "--remote-vnet", "hub")  # fmt: skip
    assert refused.code == "AnotherPeeringAlreadyReferencesRemoteVnet"
    overlap = az.refused(*in_group("vnet", "peering", "create"), "--vnet-name", "same", "--name", "x",
                         "--remote-vnet", "hub")  # fmt: skip
    assert overlap.code == "VnetAddressSpacesOverlap"
    third = az.refused(*in_group("vnet", "peering", "create"), "--vnet-name", "same", "--name", "x",
                       "--remote-vnet", "spoke")  # fmt: skip
    assert third.code == "VnetAddressSpaceOverlapsWithAlreadyPeeredVnet"
    gateway = az.refused(*in_group("vnet", "peering", "update"), "--vnet-name", "hub", "--name", "to-spoke",
                         "--set", "useRemoteGateways=true")  # fmt: skip
    assert gateway.code == "RemoteVnetHasNoGateways"
    peering(az, "delete", "spoke", "to-hub")
    assert peering(az, "show", "hub", "to-spoke")["peeringState"] == "Disconnected"
    late = az.refused(*in_group("vnet", "peering", "create"), "--vnet-name", "spoke", "--name", "to-hub",
                      "--remote-vnet", "hub")  # fmt: skip
    assert late.code == "RemotePeeringIsDisconnected"
    peering(az, "delete", "hub", "to-spoke")
    assert az(*in_group("vnet", "peering", "list"), "--vnet-name", "hub") == []


def test_routes_and_their_subnets(az: Az, group: str) -> None:
    az(*in_group("route-table", "create"), "--name", "rt")
    add = in_group("route-table", "route", "create")
    az(*add, "--route-table-name", "rt", "--name", "fw", "--address-prefix", "0.0.0.0/0",
       "--next-hop-type", "VirtualAppliance", "--next-hop-ip-address", "10.1.0.4")  # fmt: skip
    az(*add, "--route-table-name", "rt", "--name", "hole", "--address-prefix", "10.9.0.0/16", "--next-hop-type", "None")
    same = az.refused(*add, "--route-table-name", "rt", "--name", "b", "--address-prefix", "10.9.0.0/16",
                      "--next-hop-type", "VnetLocal")  # fmt: skip
    assert same.code == "RouteConflict"
    nowhere = az.refused(*add, "--route-table-name", "rt", "--name", "b", "--address-prefix", "10.8.0.0/16",
                         "--next-hop-type", "VirtualAppliance")  # fmt: skip
    assert "NextHopIpAddress cannot be Null or Empty" in nowhere.message
    az(*in_group("vnet", "subnet", "update"), "--vnet-name", "spoke", "--name", "front", "--route-table", "rt")
    shown = az(*in_group("route-table", "show"), "--name", "rt")
    assert [s["id"].rsplit("/", 3)[1:] for s in shown["subnets"]] == [["spoke", "subnets", "front"]]
    assert az.refused(*in_group("route-table", "delete"), "--name", "rt").code == "InUseRouteTableCannotBeDeleted"
    az(*in_group("vnet", "subnet", "update"), "--vnet-name", "spoke", "--name", "front", "--remove", "routeTable")
    az(*in_group("route-table", "delete"), "--name", "rt")


def test_nat_gateways_and_prefixes(az: Az, group: str) -> None:
    prefix = az(*in_group("public-ip", "prefix", "create"), "--name", "prefix", "--length", "30")
    network = ipaddress.IPv4Network(prefix["ipPrefix"])
    made = [
        az(*in_group("public-ip", "create"), "--name", f"p{n}", "--public-ip-prefix", "prefix")["publicIp"]["ipAddress"]
        for n in range(4)
    ]
    assert made == [str(each) for each in network]
    full = az.refused(*in_group("public-ip", "create"), "--name", "p4", "--public-ip-prefix", "prefix")
    assert full.code == "PublicIpPrefixOutOfIpAddresses"
    az(*in_group("public-ip", "delete"), "--name", "p4")
    az(*in_group("public-ip", "prefix", "create"), "--name", "other", "--length", "31")
    gateway = az(
        *in_group("nat", "gateway", "create"), "--name", "nat", "--public-ip-addresses", "p0",
        "--public-ip-prefixes", "other", "--idle-timeout", "10",
    )  # fmt: skip
    assert (gateway["sku"]["name"], gateway["idleTimeoutInMinutes"]) == ("Standard", 10)
    assert az(*in_group("public-ip", "show"), "--name", "p0")["natGateway"]["id"] == gateway["id"]
    busy = az.refused(*in_group("nat", "gateway", "create"), "--name", "nat2", "--public-ip-addresses", "p0")
    assert busy.code == "PublicIPAddressInUse"
    az(*in_group("vnet", "subnet", "update"), "--vnet-name", "hub", "--name", "front", "--nat-gateway", "nat")
    shown = az(*in_group("nat", "gateway", "show"), "--name", "nat")
    assert [s["id"].rsplit("/", 3)[1] for s in shown["subnets"]] == ["hub"]
    two = az.refused(*in_group("vnet", "subnet", "update"), "--vnet-name", "spoke", "--name", "front",
                     "--nat-gateway", "nat")  # fmt: skip
    assert two.code == "NatGatewayInUseByMultipleVirtualNetworks"
    for code, command in (
        ("InUseNatGatewayCannotBeDeleted", ("nat", "gateway", "delete", "--name", "nat")),
        ("PublicIPAddressCannotBeDeleted", ("public-ip", "delete", "--name", "p0")),
        ("InUsePublicIpPrefixCannotBeDeleted", ("public-ip", "prefix", "delete", "--name", "prefix")),
        ("InUsePublicIpPrefixCannotBeDeleted", ("public-ip", "prefix", "delete", "--name", "other")),
    ):
        assert az.refused(*in_group(*command)).code == code
    az(*in_group("vnet", "subnet", "update"), "--vnet-name", "hub", "--name", "front", "--remove", "natGateway")
    az(*in_group("nat", "gateway", "delete"), "--name", "nat")
    for n in range(4):
        az(*in_group("public-ip", "delete"), "--name", f"p{n}")
    for name in ("prefix", "other"):
        az(*in_group("public-ip", "prefix", "delete"), "--name", name)


def test_a_public_address_of_a_nic(az: Az, group: str) -> None:
    for name in ("one", "two"):
        az(*in_group("public-ip", "create"), "--name", name)
        az(*in_group("nic", "create"), "--name", f"nic-{name}", "--vnet-name", "hub", "--subnet", "front")
    update = in_group("nic", "ip-config", "update")
    az(*update, "--nic-name", "nic-one", "--name", "ipconfig1", "--public-ip-address", "one")
    shown = az(*in_group("public-ip", "show"), "--name", "one")
    assert shown["ipConfiguration"]["id"].endswith("/networkInterfaces/nic-one/ipConfigurations/ipconfig1")
    busy = az.refused(*update, "--nic-name", "nic-two", "--name", "ipconfig1", "--public-ip-address", "one")
    assert busy.code == "PublicIPAddressInUse"
    held = az.refused(*in_group("public-ip", "delete"), "--name", "one")
    assert held.code == "PublicIPAddressCannotBeDeleted"
    az(*update, "--nic-name", "nic-one", "--name", "ipconfig1", "--public-ip-address", "two")
    az(*update, "--nic-name", "nic-two", "--name", "ipconfig1", "--public-ip-address", "one")
    az(*update, "--nic-name", "nic-two", "--name", "ipconfig1", "--remove", "publicIPAddress")
    assert "ipConfiguration" not in az(*in_group("public-ip", "show"), "--name", "one")
    for name in ("one", "two"):
        az(*in_group("nic", "delete"), "--name", f"nic-{name}")
        az(*in_group("public-ip", "delete"), "--name", name)


def test_delegations_and_service_endpoints(az: Az, group: str) -> None:
    listed = az("network", "vnet", "subnet", "list-available-delegations", "--location", "westeurope")
    assert "Microsoft.ContainerInstance/containerGroups" in {each["serviceName"] for each in listed}
    services = az("network", "vnet", "list-endpoint-services", "--location", "westeurope")
    assert "Microsoft.Storage" in {each["name"] for each in services}
    create = (*in_group("vnet", "subnet", "create"), "--vnet-name", "hub", "--address-prefixes", "10.1.5.0/24")
    subnet = az(
        *create, "--name", "aci", "--delegations", "Microsoft.ContainerInstance/containerGroups",
        "--service-endpoints", "Microsoft.Storage", "Microsoft.KeyVault",
    )  # fmt: skip
    assert [d["serviceName"] for d in subnet["delegations"]] == ["Microsoft.ContainerInstance/containerGroups"]
    assert [e["service"] for e in subnet["serviceEndpoints"]] == ["Microsoft.Storage", "Microsoft.KeyVault"]
    assert {e["provisioningState"] for e in subnet["serviceEndpoints"]} == {"Succeeded"}
    az(*in_group("vnet", "subnet", "delete"), "--vnet-name", "hub", "--name", "aci")
    wrong = az.refused(*create, "--name", "x", "--delegations", "Microsoft.Nobody/things")
    assert wrong.code == "SubnetDelegationServiceNameInvalid"
    unknown = az.refused(*create, "--name", "x", "--service-endpoints", "Microsoft.Nobody")
    assert unknown.code == "SubnetHasInvalidServiceEndpoint"
