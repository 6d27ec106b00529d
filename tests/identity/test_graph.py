"""The directory over Graph, as `az ad` and the SDKs use it."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from sorairo.identity.graph import http
from sorairo.identity.graph.errors import GraphError
from sorairo.identity.graph.filters import parse_filter
from sorairo.identity.principal import Principal
from sorairo.identity.verify import Verifier

from .conftest import BASE, Installation


@pytest.fixture
async def graph(installation: Installation) -> AsyncIterator[httpx.AsyncClient]:
    """Signed in as the administrator."""
    directory, tokens = installation.directory, installation.tokens

    def administers(caller: Principal) -> bool:
        return caller.object_id == installation.admin.objectId

    verifier = Verifier(tokens, tokens.authority.graph)
    app = http.create_app(directory, installation.store, verifier.authenticate, administers, BASE)
    admin = directory.by_client_id(installation.admin.clientId)
    assert admin is not None
    headers = {"Authorization": f"Bearer {tokens.issue(admin, 'https://graph.microsoft.com')}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url=f"{BASE}/v1.0", headers=headers
    ) as client:
        yield client


async def made(graph: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await graph.post(path, json=body)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()  # type: ignore[no-any-return]


async def listed(graph: httpx.AsyncClient, path: str, **query: str) -> list[dict[str, Any]]:
    answer = await graph.get(path, params={f"${k}": v for k, v in query.items()})
    assert answer.status_code == 200, answer.text
    return answer.json()["value"]  # type: ignore[no-any-return]


def person(name: str, **more: Any) -> dict[str, Any]:
    return {
        "accountEnabled": True,
        "displayName": name.title(),
        "mailNickname": name,
        "userPrincipalName": f"{name}@sorairo.internal",
        "passwordProfile": {"password": "Correct-Horse-1"},
        **more,
    }


def group(name: str) -> dict[str, Any]:
    return {"displayName": name, "mailNickname": name, "mailEnabled": False, "securityEnabled": True}


def certificate(days: int = 30) -> str:
    key = rsa.generate_private_key(65537, 2048)
    name, now = x509.Name.from_rfc4514_string("CN=test"), datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    signed = (
        builder.serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return base64.b64encode(signed.public_bytes(Encoding.DER)).decode()


async def test_an_application_its_principal_and_its_secret(
    graph: httpx.AsyncClient, installation: Installation
) -> None:
    app = await made(graph, "/applications", {"displayName": "ci", "identifierUris": ["api://ci"]})
    secret = await made(
        graph, f"/applications/{app['id']}/addPassword", {"passwordCredential": {"displayName": "rbac"}}
    )
    principal = await made(graph, "/servicePrincipals", {"appId": app["appId"]})
    assert principal["servicePrincipalNames"] == [app["appId"], "api://ci"]
    signed_in = installation.directory.check_secret(app["appId"], secret["secretText"])
    assert signed_in.object_id == principal["id"]

    for name in (app["appId"], "api://ci"):
        [found] = await listed(graph, "/servicePrincipals", filter=f"servicePrincipalNames/any(c:c eq '{name}')")
        assert found["id"] == principal["id"]
    shown = (await graph.get(f"/applications/{app['id']}")).json()
    assert [c["keyId"] for c in shown["passwordCredentials"]] == [secret["keyId"]]
    assert secret["secretText"] not in str(shown)
    assert not {"salt", "hash"} & shown["passwordCredentials"][0].keys()
    by_key = await graph.get(f"/applications(appId='{app['appId']}')")
    assert by_key.json()["id"] == app["id"]

    assert (await graph.delete(f"/applications/{app['id']}")).status_code == 204
    assert (await graph.get(f"/servicePrincipals/{principal['id']}")).status_code == 404


async def test_a_second_principal_of_an_application_conflicts(graph: httpx.AsyncClient) -> None:
    app = await made(graph, "/applications", {"displayName": "once"})
    await made(graph, "/servicePrincipals", {"appId": app["appId"]})
    again = await graph.post("/servicePrincipals", json={"appId": app["appId"]})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "Request_MultipleObjectsWithSameKeyValue")
    nobody = await graph.post("/servicePrincipals", json={"appId": "11111111-1111-1111-1111-111111111111"})
    assert "does not reference a valid application object" in nobody.json()["error"]["message"]


async def test_certificates_come_back_without_their_key_and_stay(graph: httpx.AsyncClient) -> None:
    app = await made(
        graph, "/applications", {"displayName": "cert", "keyCredentials": [{"key": certificate(), "displayName": "a"}]}
    )
    [first] = app["keyCredentials"]
    assert first["key"] is None
    path = f"/applications/{app['id']}"
    more = {"keyCredentials": [first, {"key": certificate()}]}
    assert (await graph.patch(path, json=more)).status_code == 204
    kept = (await graph.get(path, params={"$select": "keyCredentials"})).json()["keyCredentials"]
    assert len(kept) == 2
    assert all(c["key"] for c in kept)
    assert first["keyId"] in {c["keyId"] for c in kept}
    wrong = await graph.patch(path, json={"keyCredentials": [{"key": "bm90IGEgY2VydGlmaWNhdGU="}]})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "KeyCredentialsInvalidValue")


async def test_groups_hold_groups(graph: httpx.AsyncClient) -> None:
    ann = await made(graph, "/users", person("ann"))
    inner, outer = await made(graph, "/groups", group("inner")), await made(graph, "/groups", group("outer"))
    for where, who in ((inner, ann), (outer, inner)):
        reference = {"@odata.id": f"{BASE}/v1.0/directoryObjects/{who['id']}"}
        assert (await graph.post(f"/groups/{where['id']}/members/$ref", json=reference)).status_code == 204
    twice = await graph.post(f"/groups/{outer['id']}/members/$ref", json=reference)
    assert "already exist" in twice.json()["error"]["message"]

    [member] = await listed(graph, f"/groups/{outer['id']}/members")
    assert (member["@odata.type"], member["id"]) == ("#microsoft.graph.group", inner["id"])
    assert {m["id"] for m in await listed(graph, f"/groups/{outer['id']}/transitiveMembers")} == {
        inner["id"],
        ann["id"],
    }
    held = await made(graph, f"/users/{ann['userPrincipalName']}/getMemberGroups", {"securityEnabledOnly": False})
    assert set(held["value"]) == {inner["id"], outer["id"]}
    checked = await made(graph, f"/directoryObjects/{ann['id']}/checkMemberGroups", {"groupIds": [outer["id"], "x"]})
    assert checked["value"] == [outer["id"]]

    assert (await graph.delete(f"/groups/{outer['id']}/members/{inner['id']}/$ref")).status_code == 204
    assert (await graph.delete(f"/users/{ann['id']}")).status_code == 204
    assert await listed(graph, f"/groups/{inner['id']}/members") == []


async def test_names_of_many_objects_at_once(graph: httpx.AsyncClient, installation: Installation) -> None:
    ann = await made(graph, "/users", person("ann"))
    ids = [ann["id"], installation.admin.objectId, "11111111-1111-1111-1111-111111111111"]
    found = await made(graph, "/directoryObjects/getByIds", {"ids": ids, "types": ["user", "servicePrincipal"]})
    assert {o["@odata.type"]: o["id"] for o in found["value"]} == {
        "#microsoft.graph.user": ann["id"],
        "#microsoft.graph.servicePrincipal": installation.admin.objectId,
    }


async def test_pages_hold_everything_once(graph: httpx.AsyncClient) -> None:
    for n in range(7):
        await made(graph, "/groups", group(f"g{n}"))
    names, url = [], "/groups?$top=3&$orderby=displayName desc&$count=true&$filter=startswith(displayName,'g')"
    while url:
        body = (await graph.get(url)).json()
        assert body["@odata.count"] == 7
        names += [g["displayName"] for g in body["value"]]
        url = body.get("@odata.nextLink", "")
    assert names == [f"g{n}" for n in reversed(range(7))]


async def test_search_wants_eventual_consistency(graph: httpx.AsyncClient) -> None:
    await made(graph, "/groups", group("Blue Sky"))
    query = {"$search": '"displayName:sky"'}
    assert (await graph.get("/groups", params=query)).status_code == 400
    found = await graph.get("/groups", params=query, headers={"ConsistencyLevel": "eventual"})
    assert [g["displayName"] for g in found.json()["value"]] == ["Blue Sky"]


async def test_federated_credentials(graph: httpx.AsyncClient) -> None:
    app = await made(graph, "/applications", {"displayName": "wi"})
    path = f"/applications/{app['id']}/federatedIdentityCredentials"
    body = {
        "name": "pod",
        "issuer": "https://issuer",
        "subject": "system:serviceaccount:a:b",
        "audiences": ["api://AzureADTokenExchange"],
    }
    one = await made(graph, path, body)
    assert (await graph.post(path, json=body)).status_code == 409
    assert (await graph.patch(f"{path}/{one['id']}", json={"subject": "other"})).status_code == 204
    [kept] = await listed(graph, path)
    assert (kept["id"], kept["subject"]) == (one["id"], "other")
    assert (await graph.delete(f"{path}/{one['id']}")).status_code == 204
    assert await listed(graph, path) == []


async def test_permissions_granted_to_applications(graph: httpx.AsyncClient) -> None:
    apps = [await made(graph, "applications", {"displayName": name}) for name in ("client", "api")]
    client, api = [await made(graph, "servicePrincipals", {"appId": a["appId"]}) for a in apps]
    body = {"clientId": client["id"], "consentType": "AllPrincipals", "resourceId": api["id"], "scope": "read write"}
    grant = await made(graph, "oauth2PermissionGrants", body)
    assert {k: grant[k] for k in body} == body
    assert (await graph.post("oauth2PermissionGrants", json=body)).status_code == 409
    for wrong, status in (
        ({"clientId": "x"}, 404),
        ({"resourceId": None}, 404),
        ({"consentType": "Some"}, 400),
        ({"consentType": "Principal", "principalId": "x"}, 404),
        ({"principalId": client["id"]}, 400),
        ({"scope": None}, 400),
    ):
        assert (await graph.post("oauth2PermissionGrants", json=body | wrong)).status_code == status, wrong
    ann = await made(graph, "users", person("granted"))
    await made(graph, "oauth2PermissionGrants", body | {"consentType": "Principal", "principalId": ann["id"]})
    at = f"oauth2PermissionGrants/{grant['id']}"
    assert (await graph.patch(at, json={"scope": "read"})).status_code == 204
    assert (await graph.patch(at, json={"clientId": api["id"]})).status_code == 400
    assert (await graph.get(at)).json()["scope"] == "read"
    of_client = {"$filter": f"clientId eq '{client['id']}'"}
    assert [g["scope"] for g in await listed(graph, "oauth2PermissionGrants", **of_client)] in (
        ["read", "read write"],
        ["read write", "read"],
    )
    assert (await graph.delete(f"users/{ann['id']}")).status_code == 204
    assert [g["id"] for g in await listed(graph, "oauth2PermissionGrants", **of_client)] == [grant["id"]]
    assert (await graph.delete(at)).status_code == 204
    assert (await graph.delete(at)).status_code == 404
    await made(graph, "oauth2PermissionGrants", body)
    assert (await graph.delete(f"servicePrincipals/{api['id']}")).status_code == 204
    assert await listed(graph, "oauth2PermissionGrants") == []


async def test_who_may(graph: httpx.AsyncClient, installation: Installation) -> None:
    stranger, _ = await installation.directory.create_application("stranger")
    token = installation.tokens.issue(stranger, f"{BASE}/")
    theirs = {"Authorization": f"Bearer {token}"}
    assert (await graph.get("/users", headers=theirs)).status_code == 200
    refused = await graph.post("/applications", json={"displayName": "x"}, headers=theirs)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "Authorization_RequestDenied")
    app = await made(graph, "/applications", {"displayName": "theirs"})
    reference = {"@odata.id": f"{BASE}/v1.0/directoryObjects/{stranger.object_id}"}
    assert (await graph.post(f"/applications/{app['id']}/owners/$ref", json=reference)).status_code == 204
    owned = await graph.post(f"/applications/{app['id']}/addPassword", json={}, headers=theirs)
    assert owned.status_code == 200

    nobody = await graph.get("/users", headers={"Authorization": ""})
    assert (nobody.status_code, nobody.json()["error"]["code"]) == (401, "InvalidAuthenticationToken")
    management = installation.tokens.issue(stranger, "https://management.azure.com")
    assert (await graph.get("/users", headers={"Authorization": f"Bearer {management}"})).status_code == 401
    me = await graph.get("/me")
    assert "delegated authentication flow" in me.json()["error"]["message"]


async def test_the_administrator_stays(graph: httpx.AsyncClient, installation: Installation) -> None:
    refused = await graph.delete(f"/servicePrincipals/{installation.admin.objectId}")
    assert refused.status_code == 403
    identity = await installation.directory.ensure_managed_identity("/subscriptions/s/x", "mi")
    assert (await graph.delete(f"/servicePrincipals/{identity.object_id}")).status_code == 403


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/users", person("a", passwordProfile={"password": "short"}), "complexity"),
        ("/users", person("a", userPrincipalName="a@elsewhere.example"), "domain portion"),
        ("/applications", {"displayName": ""}, "displayName"),
        ("/applications", {"displayName": "x", "colour": "blue"}, "Invalid property 'colour'"),
        ("/applications", {"displayName": "x", "tags": "not a list"}, "property 'tags'"),
        ("/groups", {"displayName": "x"}, "mailNickname"),
    ],
)
async def test_refusals(graph: httpx.AsyncClient, path: str, body: dict[str, Any], message: str) -> None:
    answer = await graph.post(path, json=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/users", {**person("x"), "passwordProfile": "secret"}),
        ("/users", {**person("x"), "displayName": {"a": 1}}),
        ("/applications", {"displayName": "x", "keyCredentials": 1e300}),
        ("/applications", {"displayName": "x", "keyCredentials": [3]}),
        ("/applications", {"displayName": "x", "identifierUris": [{}]}),
        ("/groups", {**group("x"), "members@odata.bind": 3}),
        ("/directoryObjects/getByIds", {"ids": [{}]}),
        ("/directoryObjects/getByIds", {"ids": [], "types": True}),
    ],
)
async def test_values_of_another_kind_are_refused(graph: httpx.AsyncClient, path: str, body: dict[str, Any]) -> None:
    answer = await graph.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "Request_BadRequest"), answer.text


DOCUMENT = {"displayName": "It's Ann", "n": 3, "on": True, "none": None, "names": ["a", "B"], "in": {"deep": "x"}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("displayname eq 'it''s ann'", True),
        ("IN/DEEP eq 'x'", True),
        ("displayName eq 'it''s ann'", True),
        ("startswith(displayName,'it') and not (n eq 4)", True),
        ("n eq 4 or on eq true", True),
        ("n eq 4 or on eq true and n gt 5", False),
        ("names/any(c:c eq 'b')", True),
        ("names/any(c:startswith(c,'z'))", False),
        ("in/deep in ('y', 'x')", True),
        ("none eq null and missing eq null", True),
        ("displayName ne 'x'", True),
        ("n gt 'text'", False),
    ],
)
def test_filters(text: str, expected: bool) -> None:
    assert parse_filter(text)(DOCUMENT) is expected


@given(st.text(alphabet="ab/ '(),:eqandornotin1$", max_size=40))
def test_a_filter_is_understood_or_refused(text: str) -> None:
    with contextlib.suppress(GraphError):
        parse_filter(text)(DOCUMENT)
