"""What a machine is told of itself: given ARM documents, when it asks from an address, then these answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from sorairo.engine.types import Document, Resource
from sorairo.identity.bootstrap import bootstrap
from sorairo.identity.directory import Directory
from sorairo.identity.keys import load_keys
from sorairo.identity.tokens import Authority, Tokens
from sorairo.identity.verify import Verifier
from sorairo.imds.service import create_app
from sorairo.imds.versions import INTRODUCED, VERSIONS
from sorairo.store import Store

RG = "/subscriptions/9f2d2c4e-6a1f-4b19-8c61-5f4b3f6d1a11/resourceGroups/rg"
NETWORK = f"{RG}/providers/Microsoft.Network/virtualNetworks/v"
OTHER = f"{RG}/providers/Microsoft.Network/virtualNetworks/w"
SET = f"{RG}/providers/Microsoft.Compute/virtualMachineScaleSets/s"
INSTANCE = f"{SET}/virtualMachines/3"
NIC = f"{INSTANCE}/networkInterfaces/s"
BALANCER = f"{RG}/providers/Microsoft.Network/loadBalancers/lb"
PIP = f"{RG}/providers/Microsoft.Network/publicIPAddresses/p"
IDS = f"{RG}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
ARM = "https://management.azure.com/"


def configuration(name: str, network: str = NETWORK, **more: Any) -> Document:
    return {"name": name, "properties": {"subnet": {"id": f"{network}/subnets/a"}, **more}}


def documents() -> list[Resource]:
    joined = {"loadBalancerBackendAddressPools": [{"id": f"{BALANCER}/backendAddressPools/kubernetes"}]}
    frontend = {"id": f"{BALANCER}/frontendIPConfigurations/f"}
    pool = {"id": f"{BALANCER}/backendAddressPools/kubernetes"}
    rule = {"frontendIPConfiguration": frontend, "backendAddressPool": pool, "protocol": "Tcp", "frontendPort": 80}
    out = {"frontendIPConfigurations": [frontend], "backendAddressPool": pool, "protocol": "All"}
    return [
        Resource(NETWORK, {"properties": {}}),
        Resource(SET, {"identity": {"type": "None"}, "properties": {}}),
        Resource(
            INSTANCE,
            {
                "location": "westeurope",
                "tags": {"team": "blue", "tier": "web"},
                "zones": ["2"],
                "properties": {
                    "hardwareProfile": {"vmSize": "Standard_B2s"},
                    "osProfile": {"computerName": "s000003", "adminUsername": "azureuser"},
                },
            },
            {"vmId": "11111111-2222-3333-4444-555555555555"},
            {"customData": "c2VjcmV0"},
        ),
        Resource(
            NIC,
            {"properties": {"ipConfigurations": [configuration("ipconfig1", **joined), configuration("ipconfig2")]}},
            private={"addresses": ["10.0.0.4", "10.0.0.5"], "prefix": "10.0.0.0/24"},
        ),
        Resource(
            BALANCER,
            {
                "properties": {
                    "frontendIPConfigurations": [{"name": "f", "properties": {"publicIPAddress": {"id": PIP}}}],
                    "loadBalancingRules": [{"name": "r", "properties": {**rule, "backendPort": 8080}}],
                    "outboundRules": [{"name": "o", "properties": out}],
                }
            },
        ),
        Resource(PIP, {"properties": {}}, private={"claims": {"public addresses": ["198.18.0.16"]}}),
    ]


@dataclass
class World:
    store: Store
    directory: Directory
    tokens: Tokens

    async def ask(self, path: str, *, source: str = "10.0.0.4", network: str = NETWORK, **more: Any) -> httpx.Response:
        transport = httpx.ASGITransport(create_app(self.store, self.tokens, network), client=(source, 4711))
        headers = {"Metadata": "true", **more.pop("headers", {})}
        async with httpx.AsyncClient(transport=transport, base_url="http://169.254.169.254") as client:
            return await client.request(more.pop("method", "GET"), f"/metadata/{path}", headers=headers, **more)

    async def token(self, **query: str) -> httpx.Response:
        params = {"api-version": "2018-02-01", "resource": ARM, **query}
        return await self.ask("identity/oauth2/token", params=params)

    async def assign(self, kind: str, *names: str) -> list[Any]:
        """Give the machine identities; the principals, in order."""
        ids = [f"{IDS}/{n}" for n in names]
        body = {"identity": {"type": kind, "userAssignedIdentities": {i: {} for i in ids}}, "properties": {}}
        await self.store.transact(lambda tx: tx.put(Resource(SET, body)))
        return [await self.directory.ensure_managed_identity(i, i.rsplit("/", 1)[1]) for i in ids]


@pytest.fixture(scope="module")
def signing_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "signing.json"
    load_keys(file)
    return file


@pytest.fixture
async def world(tmp_path: Path, signing_keys: Path) -> AsyncIterator[World]:
    store = Store.open(f"sqlite:///{tmp_path / 'state.db'}")
    directory = Directory(store)
    await bootstrap(store, directory, tmp_path / "credentials.json")
    for document in documents():
        await store.transact(lambda tx, it=document: tx.put(it))
    yield World(store, directory, Tokens(Authority("https://127.0.0.1:9443"), load_keys(signing_keys), directory))
    await store.close()


async def test_a_machine_is_told_what_it_is(world: World) -> None:
    found = (await world.ask("instance?api-version=2021-10-01")).json()
    compute = found["compute"]
    assert compute["name"] == "s_3"
    assert compute["resourceId"] == INSTANCE
    assert (compute["vmScaleSetName"], compute["virtualMachineScaleSet"]["id"]) == ("s", SET)
    assert (compute["vmSize"], compute["zone"], compute["location"]) == ("Standard_B2s", "2", "westeurope")
    assert compute["tags"] == "team:blue;tier:web"
    assert compute["tagsList"] == [{"name": "team", "value": "blue"}, {"name": "tier", "value": "web"}]
    assert compute["customData"] == "", "what it was told at its first start is not told again"
    (interface,) = found["network"]["interface"]
    assert [a["privateIpAddress"] for a in interface["ipv4"]["ipAddress"]] == ["10.0.0.4", "10.0.0.5"]
    assert interface["ipv4"]["subnet"] == [{"address": "10.0.0.0", "prefix": "24"}]
    assert len(interface["macAddress"]) == 12


async def test_who_asks_is_told_by_where_the_packet_comes_from(world: World) -> None:
    pod = await world.ask("instance/compute/name?api-version=2021-10-01&format=text", source="10.0.0.5")
    assert pod.text == "s_3", "a pod is its node"
    stranger = await world.ask("instance?api-version=2021-10-01", source="10.0.0.9")
    assert (stranger.status_code, stranger.json()["error"]) == (401, "unknown_source")
    elsewhere = await world.ask("instance?api-version=2021-10-01", network=OTHER)
    assert elsewhere.status_code == 401, "the same address in another network is another machine's"
    for header in ("X-Forwarded-For", "x-forwarded-for"):
        passed_on = await world.ask("instance?api-version=2021-10-01", headers={header: "10.0.0.4"})
        assert passed_on.status_code == 400


async def test_leaves_are_text_and_folders_are_either(world: World) -> None:
    json = await world.ask("instance/network/interface/0/ipv4?api-version=2017-04-02")
    assert json.json()["subnet"][0]["prefix"] == "24"
    folder = await world.ask("instance/network/interface/0/ipv4/ipAddress/?api-version=2017-04-02&format=text")
    assert folder.text == "0/\n1/"
    leaf = "instance/network/interface/0/ipv4/ipAddress/1/privateIpAddress?api-version=2017-04-02"
    assert (await world.ask(leaf)).status_code == 400
    assert (await world.ask(f"{leaf}&format=text")).text == "10.0.0.5"
    assert (await world.ask("instance/compute?api-version=2021-02-01&format=xml")).status_code == 400
    for path in ("instance/compute/none", "instance/network/interface/1", "instance/network/interface/-1", "no", ""):
        assert (await world.ask(f"{path}?api-version=2021-02-01")).status_code == 404, path


async def test_an_api_version_has_what_came_by_then(world: World) -> None:
    assert (await world.ask("versions")).json() == {"apiVersions": list(VERSIONS)}
    for version in VERSIONS:
        compute = (await world.ask(f"instance/compute?api-version={version}")).json()
        assert {n for n, since in INTRODUCED.items() if since <= version} == compute.keys()
    for query in ("", "?api-version=", "?api-version=2020-02-30"):
        refused = await world.ask(f"instance{query}")
        assert refused.status_code == 400
        assert refused.json()["error"].startswith("Bad request. api-version ")
        assert refused.json()["newest-versions"] == [VERSIONS[-1], VERSIONS[-2], VERSIONS[-3]]


@pytest.mark.parametrize("value", [None, "", "false", "1"])
async def test_without_the_header_nothing_is_told(world: World, value: str | None) -> None:
    headers = {"Metadata": value} if value is not None else {}
    transport = httpx.ASGITransport(create_app(world.store, world.tokens, NETWORK), client=("10.0.0.4", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://169.254.169.254") as client:
        plain = await client.get("/metadata/instance?api-version=2021-02-01", headers=headers)
        token = await client.get(
            f"/metadata/identity/oauth2/token?api-version=2018-02-01&resource={ARM}", headers=headers
        )
    assert (plain.status_code, plain.json()) == (400, {"error": "Bad request. Required metadata header not specified"})
    said = {"error": "invalid_request", "error_description": "Required metadata header not specified"}
    assert (token.status_code, token.json()) == (400, said)


async def test_load_balancers_of_a_machine(world: World) -> None:
    found = (await world.ask("loadbalancer?api-version=2020-10-01")).json()["loadbalancer"]
    assert found["inboundRules"] == [
        {
            "frontendIpAddress": "198.18.0.16",
            "protocol": "tcp",
            "frontendPort": 80,
            "backendPort": 8080,
            "privateIpAddress": "10.0.0.4",
        }
    ]
    assert found["outboundRules"] == [{"frontendIpAddress": "198.18.0.16", "privateIpAddress": "10.0.0.4"}]
    missing = await world.ask("loadbalancer")
    assert missing.json()["error"] == 'Missing required parameter "api-version". Fix the request and retry.'
    await world.store.transact(lambda tx: tx.delete(BALANCER))
    none = await world.ask("loadbalancer?api-version=2020-10-01")
    assert none.status_code == 404
    assert none.json()["error"].startswith("No load balancer metadata is found.")


async def test_nothing_is_scheduled(world: World) -> None:
    path = "scheduledevents?api-version=2020-07-01"
    assert (await world.ask(path)).status_code == 400
    path = "scheduledevents?api-version=2020-07-15"
    assert (await world.ask(path)).json() == {"DocumentIncarnation": 1, "Events": []}
    for body in (b"", b"[]", b'{"StartRequests": [{"EventId": "x"}]}'):
        assert (await world.ask(path, method="POST", content=body)).status_code == 400
    assert (await world.ask(path, method="DELETE")).status_code == 405


async def test_a_machine_without_identity_gets_no_token(world: World) -> None:
    refused = await world.token()
    assert refused.status_code == 400
    assert refused.json() == {"error": "invalid_request", "error_description": "Identity not found"}
    info = await world.ask("identity/info?api-version=2018-02-01")
    assert info.json() == {"tenantId": world.directory.tenant_id}


async def test_its_only_identity_is_the_one(world: World) -> None:
    (kubelet,) = await world.assign("UserAssigned", "kubelet")
    answer = (await world.token()).json()
    assert answer["client_id"] == kubelet.client_id
    assert (answer["token_type"], answer["resource"], answer["expires_in"]) == ("Bearer", ARM, "3599")
    who = Verifier(world.tokens).authenticate(f"Bearer {answer['access_token']}")
    assert who.object_id == kubelet.object_id
    assert who.claims["xms_mirid"] == f"{IDS}/kubelet"


async def test_of_several_one_is_chosen(world: World) -> None:
    one, two = await world.assign("UserAssigned", "one", "two")
    several = await world.token()
    assert several.status_code == 400
    assert several.json()["error_description"] == (
        "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the "
        "token request"
    )
    for choice in (
        {"client_id": two.client_id},
        {"object_id": two.object_id.upper()},
        {"msi_res_id": f"{IDS}/TWO"},
        {"mi_res_id": f"{IDS}/two"},
    ):
        assert (await world.token(**choice)).json()["client_id"] == two.client_id, choice
    both = await world.token(client_id=one.client_id, object_id=two.object_id)
    assert both.json()["error"] == "invalid_request"


async def test_its_own_goes_before_those_assigned(world: World) -> None:
    (other,) = await world.assign("SystemAssigned, UserAssigned", "other")
    own = await world.directory.ensure_managed_identity(SET, "s")
    assert (await world.token()).json()["client_id"] == own.client_id
    assert (await world.token(client_id=other.client_id)).json()["client_id"] == other.client_id


async def test_others_identities_are_not_to_be_had(world: World) -> None:
    """Nor by naming them: neither another machine's, nor an application's, nor one that was taken away."""
    await world.assign("UserAssigned", "mine")
    others = await world.directory.ensure_managed_identity(f"{IDS}/others", "others")
    application, _ = await world.directory.create_application("app")
    for choice in (
        {"client_id": others.client_id},
        {"msi_res_id": f"{IDS}/others"},
        {"client_id": application.client_id},
        {"object_id": application.object_id},
        {"client_id": "'"},
    ):
        refused = await world.token(**choice)
        assert (refused.status_code, refused.json()["error_description"]) == (400, "Identity not found"), choice
    await world.assign("None")
    assert (await world.token()).json()["error_description"] == "Identity not found"


async def test_a_token_is_for_something(world: World) -> None:
    await world.assign("UserAssigned", "mine")
    assert (await world.token(resource="")).json() == {
        "error": "invalid_request",
        "error_description": "Required audience parameter not specified",
    }
    nowhere = (await world.token(resource="https://nowhere.example/")).json()
    assert nowhere["error"] == "invalid_resource"
    assert nowhere["error_description"].startswith("AADSTS500011: ")
    assert (await world.ask("identity/oauth2/token?api-version=2017-08-01")).status_code == 400
