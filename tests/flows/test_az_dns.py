"""`az network private-dns` and `az network dns`: zones, record sets, links, and what Azure refuses.

Nobody answers on simulated nodes; `test_linux_cluster.py` and `contracts/test_names.py` ask real name servers.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from azure_cli import Az
from installation import VERSIONS, Installation

pytestmark = [pytest.mark.az, pytest.mark.timeout(900)]

GROUP = "names"


@pytest.fixture(scope="module")
def networks(az: Az, hollow: Installation) -> list[str]:
    """Ids of two virtual networks."""
    hollow.group(GROUP)
    ids = [
        f"{hollow.subscription}/resourceGroups/{GROUP}/providers/Microsoft.Network/virtualNetworks/n{n}" for n in "12"
    ]
    for id in ids:
        body = {
            "location": "westeurope",
            "properties": {
                "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
                "dhcpOptions": {"dnsServers": ["10.0.0.53"]},
                "subnets": [{"name": "s", "properties": {"addressPrefix": "10.0.0.0/24"}}],
            },
        }
        hollow.wait(hollow.arm("PUT", id, body))
    return ids


def private(*arguments: str) -> tuple[str, ...]:
    return ("network", "private-dns", *arguments, "--resource-group", GROUP)


def public(*arguments: str) -> tuple[str, ...]:
    return ("network", "dns", *arguments, "--resource-group", GROUP)


class Rest:
    """The same by plain requests, which take a hundredth of the time."""

    def __init__(self, on: Installation) -> None:
        self._on = on

    def __call__(self, method: str, path: str, properties: Any = None, **headers: str) -> httpx.Response:
        url = f"{self._on.subscription}/resourceGroups/{GROUP}/providers/Microsoft.Network/{path}"
        kind = path.split("/")[0].lower()
        version = VERSIONS.get(f"microsoft.network/{kind}", VERSIONS["microsoft.network"])
        location = "global" if "Zones/" in path else "westeurope"
        body = None if properties is None else {"location": location, "properties": properties}
        return self._on.http.request(method, url, params={"api-version": version}, json=body, headers=headers)

    def done(self, method: str, path: str, properties: Any = None) -> Any:
        answer = self(method, path, properties)
        assert self._on.wait(answer)["status"] == "Succeeded"
        return answer.json() if answer.content else None

    def refused(self, method: str, path: str, properties: Any = None, **headers: str) -> tuple[int, str, str]:
        answer = self(method, path, properties, **headers)
        error = answer.json()["error"]
        return answer.status_code, error["code"], error["message"]


@pytest.fixture
def rest(hollow: Installation, networks: list[str]) -> Rest:
    return Rest(hollow)


def test_a_private_zone_its_records_and_links(az: Az, networks: list[str], tmp_path: Path) -> None:
    zone = az(*private("zone", "create"), "--name", "corp.example")
    assert (zone["location"], zone["maxNumberOfRecordSets"], zone["numberOfRecordSets"]) == ("global", 25000, 1)
    made = az(*private("record-set", "a", "add-record"), "--zone-name", "corp.example", "-n", "www", "-a", "10.0.0.9")
    assert (made["fqdn"], made["ttl"], made["aRecords"]) == ("www.corp.example.", 3600, [{"ipv4Address": "10.0.0.9"}])
    more = az(*private("record-set", "a", "add-record"), "--zone-name", "corp.example", "-n", "www", "-a", "10.0.0.10")
    assert [each["ipv4Address"] for each in more["aRecords"]] == ["10.0.0.9", "10.0.0.10"]
    changed = az(
        *private("record-set", "a", "update"), "--zone-name", "corp.example", "-n", "www", "--set", "ttl=60",
        "--metadata", "who=me",
    )  # fmt: skip
    assert (changed["ttl"], changed["metadata"]) == (60, {"who": "me"})
    table = az.text(*private("record-set", "list"), "--zone-name", "corp.example", "--output", "table").splitlines()
    assert [line.split()[0] for line in table[2:]] == ["www", "@"]
    link = az(
        *private("link", "vnet", "create"), "--zone-name", "corp.example", "--name", "l",
        "--virtual-network", networks[0], "--registration-enabled", "true",
    )  # fmt: skip
    assert (link["virtualNetworkLinkState"], link["registrationEnabled"]) == ("Completed", True)
    assert az.refused(*private("zone", "delete", "--yes"), "--name", "corp.example").code == "CannotDeleteResource"
    exported = tmp_path / "zone.txt"
    az.text(*private("zone", "export"), "--name", "corp.example", "--file-name", str(exported))
    again = exported.read_text().replace("corp.example", "copy.example")
    exported.write_text(again)
    az.text(*private("zone", "import"), "--name", "copy.example", "--file-name", str(exported))
    copy = az(*private("record-set", "a", "show"), "--zone-name", "copy.example", "-n", "www")
    assert (copy["ttl"], len(copy["aRecords"])) == (60, 2)
    left = az(
        *private("record-set", "a", "remove-record"), "--zone-name", "corp.example", "-n", "www", "-a", "10.0.0.9",
        "--keep-empty-record-set",
    )  # fmt: skip
    assert [each["ipv4Address"] for each in left["aRecords"]] == ["10.0.0.10"]
    az(*private("record-set", "a", "delete", "--yes"), "--zone-name", "corp.example", "-n", "www")
    az(*private("link", "vnet", "delete", "--yes"), "--zone-name", "corp.example", "--name", "l")
    for name in ("corp.example", "copy.example"):
        az(*private("zone", "delete", "--yes"), "--name", name)
    assert az(*private("zone", "list")) == []


def test_a_public_zone_its_name_servers_and_aliases(az: Az, networks: list[str], hollow: Installation) -> None:
    zone = az(*public("zone", "create"), "--name", "shop.example")
    assert zone["nameServers"] == [f"ns{n}-01.azure-dns.sorairo.internal." for n in range(1, 5)]
    pip = az(
        "network", "public-ip", "create", "--resource-group", GROUP, "--name", "pip", "--dns-name", "names-shop"
    )["publicIp"]  # fmt: skip
    assert pip["dnsSettings"]["fqdn"] == "names-shop.westeurope.cloudapp.sorairo.internal"
    az(*public("record-set", "a", "create"), "--zone-name", "shop.example", "-n", "@", "--target-resource", pip["id"])
    mail = ("--zone-name", "shop.example", "-n", "@", "--exchange", "mail.shop.example", "--preference", "10")
    az(*public("record-set", "mx", "add-record"), *mail)
    az(*public("record-set", "a", "add-record"), "--zone-name", "shop.example", "-n", "*", "-a", "203.0.113.10")
    soa = az(*public("record-set", "soa", "update"), "--zone-name", "shop.example", "--email", "me.shop.example")
    assert soa["SOARecord"]["email"] == "me.shop.example"
    listed = az(*public("record-set", "list"), "--zone-name", "shop.example")
    assert [(each["type"].rsplit("/", 1)[1], each["name"]) for each in listed] == [
        ("A", "*"), ("A", "@"), ("MX", "@"), ("NS", "@"), ("SOA", "@"),
    ]  # fmt: skip
    found = az("network", "dns", "list-references", "--parameters", pip["id"])["dnsResourceReferences"]
    assert [each["id"].rsplit("/", 2)[1:] for each in found[0]["dnsResources"]] == [["A", "@"]]
    az(*public("zone", "create"), "--name", "eu.shop.example", "--parent-name", "shop.example")
    delegated = az(*public("record-set", "ns", "show"), "--zone-name", "shop.example", "-n", "eu")
    assert len(delegated["NSRecords"]) == 4
    assert az.refused(
        *public("record-set", "ns", "delete", "--yes"), "--zone-name", "shop.example", "-n", "@"
    ).code == ("BadRequest")
    for name in ("eu.shop.example", "shop.example"):
        az(*public("zone", "delete", "--yes"), "--name", name)
    assert az(*public("zone", "list")) == []
    hollow.wait(hollow.arm("DELETE", pip["id"]))


def test_what_azure_refuses(rest: Rest, networks: list[str]) -> None:
    zone = "privateDnsZones/no.example"
    assert rest.refused("PUT", "privateDnsZones/example", {})[1:] == (
        "BadRequest",
        "The zone name 'example' does not have enough labels. Zone names must have two or more labels.",
    )
    assert rest.refused("PUT", f"{zone}/A/x", {"ttl": 1})[:2] == (404, "ParentResourceNotFound")
    rest.done("PUT", zone, {})
    one = {"ttl": 60, "aRecords": [{"ipv4Address": "10.0.0.1"}]}
    made = rest("PUT", f"{zone}/A/www", one)
    assert made.status_code == 201
    assert rest.refused("PUT", f"{zone}/A/www", one, **{"If-None-Match": "*"})[:2] == (412, "PreconditionFailed")
    assert rest.refused("PUT", f"{zone}/A/www", one, **{"If-Match": "other"})[:2] == (412, "PreconditionFailed")
    assert rest("PUT", f"{zone}/A/www", one, **{"If-Match": made.json()["etag"]}).status_code == 200
    assert rest.refused("PUT", f"{zone}/CNAME/WWW", {"ttl": 1, "cnameRecord": {"cname": "a.b"}}) == (
        409,
        "Conflict",
        "The CNAME record could not be created because another record with the same name already exists in this zone.",
    )
    rest.done("PUT", f"{zone}/CNAME/c", {"ttl": 1, "cnameRecord": {"cname": "a.b"}})
    assert rest.refused("PUT", f"{zone}/TXT/c", {"ttl": 1})[:2] == (409, "Conflict")
    for path, properties in (
        ("A/w*", one),
        ("A/x", {"ttl": 60, "aRecords": [{"ipv4Address": "10.0.0.256"}]}),
        ("A/x", {"aRecords": []}),
        ("CNAME/@", {"ttl": 1, "cnameRecord": {"cname": "a.b"}}),
        ("SOA/x", {"ttl": 1, "soaRecord": {}}),
    ):
        assert rest.refused("PUT", f"{zone}/{path}", properties)[:2] == (400, "BadRequest"), path
    assert rest.refused("DELETE", f"{zone}/SOA/@")[:2] == (400, "BadRequest")
    assert rest("PUT", f"{zone}/CAA/x", {}).status_code == 404, "no such type in private zones"
    assert rest("DELETE", f"{zone}/A/nobody").status_code == 204
    rest.done("DELETE", zone)
    assert rest("GET", f"{zone}/A/www").status_code == 404, "records go with their zone"


def test_a_network_has_one_link_to_a_zone_and_one_that_registers(
    rest: Rest, networks: list[str], hollow: Installation
) -> None:
    def link(network: str, registers: bool = False) -> dict[str, Any]:
        return {"virtualNetwork": {"id": network}, "registrationEnabled": registers}

    for name in ("a.example", "b.example"):
        rest.done("PUT", f"privateDnsZones/{name}", {})
    first = "privateDnsZones/a.example/virtualNetworkLinks"
    rest.done("PUT", f"{first}/one", link(networks[0], True))
    assert rest.refused("PUT", f"{first}/again", link(networks[0]))[:2] == (409, "Conflict")
    second = "privateDnsZones/b.example/virtualNetworkLinks"
    assert rest.refused("PUT", f"{second}/one", link(networks[0], True))[1:] == (
        "Conflict",
        "A virtual network can only be linked to 1 Private DNS zone(s) with auto-registration enabled; conflicting "
        "Private DNS zone is 'a.example'.",
    )
    rest.done("PUT", f"{second}/one", link(networks[0]))
    assert rest.refused("PUT", f"{second}/none", link(networks[0] + "x"))[:2] == (400, "BadRequest")
    assert rest.refused("PUT", f"{second}/one", link(networks[1]))[:2] == (400, "BadRequest"), "it keeps its network"
    policy = {**link(networks[1]), "resolutionPolicy": "NxDomainRedirect"}
    assert rest.refused("PUT", f"{second}/two", policy)[:2] == (501, "NotImplemented")
    shown = rest.done("GET", "privateDnsZones/a.example")["properties"]
    assert (shown["numberOfVirtualNetworkLinks"], shown["numberOfVirtualNetworkLinksWithRegistration"]) == (1, 1)
    hollow.wait(hollow.arm("DELETE", networks[0]))
    assert rest.done("GET", first)["value"] == [], "links go with their network"
    for name in ("a.example", "b.example"):
        rest.done("DELETE", f"privateDnsZones/{name}")


def test_interfaces_say_whom_their_machines_ask(hollow: Installation, networks: list[str]) -> None:
    nic = networks[1].replace("virtualNetworks/n2", "networkInterfaces/i")
    ip = {"name": "ip", "properties": {"subnet": {"id": f"{networks[1]}/subnets/s"}}}
    for asked, applied in (({}, ["10.0.0.53"]), ({"dnsServers": ["10.0.0.54"]}, ["10.0.0.54"])):
        properties = {"ipConfigurations": [ip], "dnsSettings": {"internalDnsNameLabel": "web", **asked}}
        hollow.wait(hollow.arm("PUT", nic, {"location": "westeurope", "properties": properties}))
        dns = hollow.arm("GET", nic).json()["properties"]["dnsSettings"]
        assert dns["appliedDnsServers"] == applied
        assert re.fullmatch(r"n\w{10}\.internal\.cloudapp\.sorairo\.internal", dns["internalDomainNameSuffix"])
        assert dns["internalFqdn"] == f"web.{dns['internalDomainNameSuffix']}"
    again = hollow.arm("GET", nic).json()
    assert json.loads(json.dumps(again))["properties"]["dnsSettings"]["dnsServers"] == ["10.0.0.54"]
    hollow.wait(hollow.arm("PUT", nic, {"location": "westeurope", "properties": {"ipConfigurations": [ip]}}))
    network = hollow.arm("GET", networks[1]).json()
    network["properties"]["dhcpOptions"] = {"dnsServers": []}
    hollow.wait(hollow.arm("PUT", networks[1], network))
    until = time.monotonic() + 30
    while hollow.arm("GET", nic).json()["properties"]["dnsSettings"]["appliedDnsServers"] != ["168.63.129.16"]:
        assert time.monotonic() < until, "the network's servers are the NIC's, too"
    wrong = {"ipConfigurations": [ip], "dnsSettings": {"dnsServers": ["ten"]}}
    assert hollow.arm("PUT", nic, {"location": "westeurope", "properties": wrong}).status_code == 400
    hollow.wait(hollow.arm("DELETE", nic))
    label = {"publicIPAllocationMethod": "Static", "dnsSettings": {"domainNameLabel": "Not-So"}}
    body = {"location": "westeurope", "sku": {"name": "Standard"}, "properties": label}
    refused = hollow.arm("PUT", networks[1].replace("virtualNetworks/n2", "publicIPAddresses/p"), body).json()["error"]
    assert refused["code"] == "InvalidDomainNameLabel"
