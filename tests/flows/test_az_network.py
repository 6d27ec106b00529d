"""`az network`: what a network is made of, and what Azure refuses, leaving everything as it was."""

from __future__ import annotations

from typing import Any

import pytest

from azure_cli import Az
from installation import Installation

pytestmark = [pytest.mark.az, pytest.mark.timeout(900)]

GROUP = "network"


@pytest.fixture(scope="module")
def net(az: Az) -> Any:
    az("group", "create", "--name", GROUP, "--location", "westeurope")
    return az(
        "network", "vnet", "create", "--resource-group", GROUP, "--name", "net", "--address-prefixes", "10.1.0.0/16",
        "--subnet-name", "front", "--subnet-prefixes", "10.1.0.0/24", "--tags", "a=b",
    )["newVNet"]  # fmt: skip


def in_group(*arguments: str) -> tuple[str, ...]:
    return ("network", *arguments, "--resource-group", GROUP)


def test_networks_and_subnets(az: Az, net: Any) -> None:
    assert net["provisioningState"] == "Succeeded"
    assert [(s["name"], s["addressPrefix"]) for s in net["subnets"]] == [("front", "10.1.0.0/24")]
    back = az(
        *in_group("vnet", "subnet", "create"), "--vnet-name", "net", "--name", "back",
        "--address-prefixes", "10.1.1.0/24", "--service-endpoints", "Microsoft.Storage",
    )  # fmt: skip
    assert back["serviceEndpoints"][0]["service"] == "Microsoft.Storage"
    assert back["id"] == f"{net['id']}/subnets/back"
    az(*in_group("vnet", "update"), "--name", "net", "--add", "addressSpace.addressPrefixes", "10.2.0.0/16")
    shown = az(*in_group("vnet", "show"), "--name", "NET")
    assert shown["addressSpace"]["addressPrefixes"] == ["10.1.0.0/16", "10.2.0.0/16"]
    assert shown["tags"] == {"a": "b"}
    table = az.text(*in_group("vnet", "list"), "--output", "table").splitlines()
    assert table[2].split()[:4] == ["net", GROUP, "westeurope", "2"]
    az(*in_group("vnet", "subnet", "delete"), "--vnet-name", "net", "--name", "back")
    listed = az(*in_group("vnet", "subnet", "list"), "--vnet-name", "net")
    assert [s["name"] for s in listed] == ["front"]


def test_security_groups_and_route_tables_on_a_subnet(az: Az, net: Any) -> None:
    created = az(*in_group("nsg", "create"), "--name", "nsg")["NewNSG"]
    assert [r["priority"] for r in created["defaultSecurityRules"]] == [65000, 65001, 65500] * 2
    rule = az(
        *in_group("nsg", "rule", "create"), "--nsg-name", "nsg", "--name", "web", "--priority", "200",
        "--destination-port-ranges", "80", "443", "--access", "Allow", "--protocol", "Tcp",
    )  # fmt: skip
    assert (rule["destinationPortRanges"], rule["direction"]) == (["80", "443"], "Inbound")
    az(*in_group("nsg", "rule", "update"), "--nsg-name", "nsg", "--name", "web", "--priority", "300")
    assert [r["priority"] for r in az(*in_group("nsg", "rule", "list"), "--nsg-name", "nsg")] == [300]
    az(*in_group("route-table", "create"), "--name", "routes")
    route = az(
        *in_group("route-table", "route", "create"), "--route-table-name", "routes", "--name", "out",
        "--address-prefix", "10.9.0.0/16", "--next-hop-type", "VirtualAppliance", "--next-hop-ip-address", "10.1.0.9",
    )  # fmt: skip
    assert route["nextHopIpAddress"] == "10.1.0.9"
    subnet = az(
        *in_group("vnet", "subnet", "update"), "--vnet-name", "net", "--name", "front",
        "--network-security-group", "nsg", "--route-table", "routes",
    )  # fmt: skip
    assert subnet["networkSecurityGroup"]["id"] == created["id"]
    assert subnet["routeTable"]["id"].endswith("/routes")
    az(*in_group("nsg", "rule", "delete"), "--nsg-name", "nsg", "--name", "web")


def test_interfaces_and_addresses(az: Az, net: Any) -> None:
    public = az(*in_group("public-ip", "create"), "--name", "ip", "--sku", "Standard")["publicIp"]
    assert public["publicIPAllocationMethod"] == "Static"
    assert public["ipAddress"].startswith("198.1")
    nic = az(
        *in_group("nic", "create"), "--name", "nic", "--vnet-name", "net", "--subnet", "front",
    )["NewNIC"]  # fmt: skip
    assert nic["ipConfigurations"][0]["privateIPAddress"] == "10.1.0.4"
    second = az(*in_group("nic", "ip-config", "create"), "--nic-name", "nic", "--name", "two")
    assert second["privateIPAddress"] == "10.1.0.5"
    az(*in_group("nic", "update"), "--name", "nic", "--ip-forwarding", "true")
    shown = az(*in_group("nic", "show"), "--name", "nic")
    assert shown["enableIPForwarding"] is True
    assert shown["macAddress"].startswith("00-0D-3A-")
    busy = az.refused(*in_group("vnet", "subnet", "delete"), "--vnet-name", "net", "--name", "front")
    assert busy.code == "InUseSubnetCannotBeDeleted"
    assert nic["id"] in busy.message
    az(*in_group("nic", "delete"), "--name", "nic")
    az(*in_group("public-ip", "delete"), "--name", "ip")
    assert az(*in_group("public-ip", "list")) == []


def test_what_azure_refuses(az: Az, net: Any, hollow: Installation, unchanged: None) -> None:
    subnet = in_group("vnet", "subnet", "create")
    outside = az.refused(*subnet, "--vnet-name", "net", "--name", "x", "--address-prefixes", "10.77.0.0/24")
    assert outside.code == "NetcfgInvalidSubnet"
    overlap = az.refused(*subnet, "--vnet-name", "net", "--name", "x", "--address-prefixes", "10.1.0.128/25")
    assert overlap.code == "NetcfgSubnetRangesOverlap"
    nowhere = az.refused(*subnet, "--vnet-name", "other", "--name", "x", "--address-prefixes", "10.1.9.0/24")
    assert nowhere.code in ("ParentResourceNotFound", "ResourceNotFound")
    long = az.refused(*in_group("public-ip", "create"), "--name", "y", "--sku", "Standard", "--idle-timeout", "99")
    assert long.code == "InvalidParameter"
    assert "idleTimeoutInMinutes" in long.message
