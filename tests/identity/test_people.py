"""Users who sign in: with a password, a browser, a device; and what their groups open."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Resource
from sorairo.identity.authorization import ROLE_ASSIGNMENTS, Authorization
from sorairo.identity.graph import changes
from sorairo.identity.http import DEVICE_GRANT, create_app
from sorairo.identity.tokens import MOST_GROUPS

from .conftest import BASE, Installation

CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
SCOPE = f"{BASE}//.default openid profile offline_access"
PASSWORD = "Correct-Horse-1"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"


@pytest.fixture
async def client(installation: Installation) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(installation.tokens))
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as it:
        yield it


@pytest.fixture
async def ann(installation: Installation) -> dict[str, Any]:
    body = {
        "displayName": "Ann",
        "mailNickname": "ann",
        "userPrincipalName": "ann@sorairo.internal",
        "passwordProfile": {"password": PASSWORD},
    }
    return await installation.store.transact(lambda tx: changes.create_user(tx, body))


async def ask(client: httpx.AsyncClient, **form: str) -> httpx.Response:
    data = {"client_id": CLI, "scope": SCOPE, "client_info": "1", **form}
    return await client.post("/organizations/oauth2/v2.0/token", data=data)


async def with_password(client: httpx.AsyncClient, password: str = PASSWORD) -> httpx.Response:
    return await ask(client, grant_type="password", username="Ann@sorairo.internal", password=password)


def unpacked(part: str) -> dict[str, Any]:
    return json.loads(base64.urlsafe_b64decode(part + "=="))  # type: ignore[no-any-return]


async def test_a_password(client: httpx.AsyncClient, installation: Installation, ann: dict[str, Any]) -> None:
    realm = (await client.get("/common/userrealm/ann@sorairo.internal")).json()
    assert realm["account_type"] == "Managed"
    body = (await with_password(client)).json()
    principal = installation.verifier.authenticate(f"Bearer {body['access_token']}")
    assert (principal.object_id, principal.client) == (ann["id"], "ann@sorairo.internal")
    identity = unpacked(body["id_token"].split(".")[1])
    assert (identity["aud"], identity["preferred_username"]) == (CLI, "ann@sorairo.internal")
    assert unpacked(body["client_info"]) == {"uid": ann["id"], "utid": installation.admin.tenantId}


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"password": "wrong"}, 50126),
        ({"username": "bob@sorairo.internal"}, 50034),
        ({"client_id": "11111111-1111-1111-1111-111111111111"}, 700016),
        ({"scope": "https://nobody.example/.default"}, 500011),
    ],
)
async def test_refusals(client: httpx.AsyncClient, ann: dict[str, Any], form: dict[str, str], code: int) -> None:
    whole = {"grant_type": "password", "username": "ann@sorairo.internal", "password": PASSWORD, **form}
    assert (await ask(client, **whole)).json()["error_codes"] == [code]


async def test_refresh_tokens_hold_until_the_password_changes(
    client: httpx.AsyncClient, installation: Installation, ann: dict[str, Any]
) -> None:
    first = (await with_password(client)).json()
    again = await ask(client, grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert again.status_code == 200
    # It is no access token, an access token is no refresh token, and another client cannot use it.
    with pytest.raises(ArmError):
        installation.verifier.authenticate(f"Bearer {first['refresh_token']}")
    for form in (
        {"refresh_token": first["access_token"]},
        {"refresh_token": first["refresh_token"], "client_id": "1950a258-227b-4e31-a9cf-717495945fc2"},
        {"refresh_token": "nonsense"},
    ):
        assert (await ask(client, grant_type="refresh_token", **form)).json()["error_codes"] == [9002313]
    body = {"passwordProfile": {"password": "Another-Horse-2"}}
    await installation.store.transact(lambda tx: changes.update(tx, "user", ann["id"], body))
    stale = await ask(client, grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert stale.json()["error_codes"] == [50173]


def authorize(**more: str) -> dict[str, str]:
    verifier = hashlib.sha256(b"verifier").digest()
    return {
        "client_id": CLI,
        "response_type": "code",
        "redirect_uri": "http://localhost:8400",
        "scope": SCOPE,
        "state": "s t&te",
        "nonce": "n",
        "code_challenge": base64.urlsafe_b64encode(verifier).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        **more,
    }


async def test_a_browser(client: httpx.AsyncClient, ann: dict[str, Any]) -> None:
    url = "/organizations/oauth2/v2.0/authorize"
    page = await client.get(url, params=authorize())
    assert page.status_code == 200
    assert "Microsoft Azure CLI" in page.text
    assert page.headers["x-frame-options"] == "DENY"
    signed = {"username": "ann@sorairo.internal", "password": PASSWORD}
    wrong = await client.post(url, params=authorize(), data={**signed, "password": "<b>wrong"})
    assert wrong.status_code == 401
    assert "AADSTS50126" in wrong.text
    assert "<b>wrong" not in wrong.text
    back = await client.post(url, params=authorize(), data=signed)
    assert back.status_code == 302
    query = parse_qs(urlsplit(back.headers["location"]).query)
    assert query["state"] == ["s t&te"]

    form = {"grant_type": "authorization_code", "code": query["code"][0], "redirect_uri": "http://localhost:8400"}
    answer = await ask(client, **form, code_verifier="verifier")
    assert answer.status_code == 200, answer.text
    assert unpacked(answer.json()["id_token"].split(".")[1])["nonce"] == "n"
    spent = await ask(client, **form, code_verifier="verifier")
    assert spent.json()["error_codes"] == [54005]

    posted = await client.post(url, params=authorize(response_mode="form_post"), data=signed)
    assert 'action="http://localhost:8400"' in posted.text
    fragment = await client.post(url, params=authorize(response_mode="fragment"), data=signed)
    code = parse_qs(urlsplit(fragment.headers["location"]).fragment)["code"][0]
    stolen = await ask(client, **{**form, "code": code}, code_verifier="another")
    assert stolen.json()["error_codes"] == [501481]


@pytest.mark.parametrize(
    "uri", ["https://elsewhere.example/", "http://localhost.elsewhere.example", "javascript:alert(1)", ""]
)
async def test_nobody_is_sent_elsewhere(client: httpx.AsyncClient, uri: str) -> None:
    page = await client.get("/common/oauth2/v2.0/authorize", params=authorize(redirect_uri=uri))
    assert page.status_code == 400
    assert "AADSTS50011" in page.text


async def test_a_device(client: httpx.AsyncClient, installation: Installation, ann: dict[str, Any]) -> None:
    device = (
        await client.post("/organizations/oauth2/v2.0/devicecode", data={"client_id": CLI, "scope": SCOPE})
    ).json()
    form = {"grant_type": DEVICE_GRANT, "device_code": device["device_code"]}
    waiting = await ask(client, **form)
    assert (waiting.status_code, waiting.json()["error"]) == (400, "authorization_pending")
    page = urlsplit(device["verification_uri"]).path
    assert (await client.get(page)).status_code == 200
    signed = {"username": "ann@sorairo.internal", "password": PASSWORD}
    assert (await client.post(page, data={**signed, "code": "WRONG"})).status_code == 401
    approved = await client.post(page, data={**signed, "code": device["user_code"].lower()})
    assert "You have signed in to Microsoft Azure CLI" in approved.text
    answer = await ask(client, **form)
    assert installation.verifier.authenticate(f"Bearer {answer.json()['access_token']}").object_id == ann["id"]
    assert (await ask(client, **form)).json()["error"] == "expired_token"


async def test_a_device_that_is_declined(client: httpx.AsyncClient) -> None:
    device = (await client.post("/common/oauth2/v2.0/devicecode", data={"client_id": CLI, "scope": SCOPE})).json()
    page = urlsplit(device["verification_uri"]).path
    await client.post(page, data={"code": device["user_code"], "decline": "1"})
    answer = await ask(client, grant_type=DEVICE_GRANT, device_code=device["device_code"])
    assert answer.json()["error"] == "authorization_declined"


async def test_what_a_group_of_a_group_may_its_members_may(
    client: httpx.AsyncClient, installation: Installation, ann: dict[str, Any]
) -> None:
    def work(tx: Any) -> str:
        inner, outer = (
            changes.create_group(tx, {"displayName": n, "mailNickname": n}, "")["id"] for n in ("inner", "outer")
        )
        changes.add_reference(tx, "group", inner, "members", {"@odata.id": f"x/{ann['id']}"})
        changes.add_reference(tx, "group", outer, "members", {"@odata.id": f"x/{inner}"})
        # A circle ends, too.
        changes.add_reference(tx, "group", inner, "members", {"@odata.id": f"x/{outer}"})
        return str(outer)

    outer = await installation.store.transact(work)
    subscription = f"/subscriptions/{installation.admin.subscriptionId}"
    assignment = Resource(
        f"{subscription}/providers/{ROLE_ASSIGNMENTS}/{uuid.uuid4()}",
        {"properties": {"roleDefinitionId": f"/x/{READER}", "principalId": outer}},
    )
    await installation.store.transact(lambda tx: tx.put(assignment))
    body = (await with_password(client)).json()
    principal = installation.verifier.authenticate(f"Bearer {body['access_token']}")
    assert outer in principal.groups
    assert Authorization(installation.store).allows(principal, "Microsoft.Network/virtualNetworks/read", subscription)


async def test_more_groups_than_a_token_holds_are_asked_for(
    client: httpx.AsyncClient, installation: Installation, ann: dict[str, Any]
) -> None:
    def work(tx: Any) -> None:
        for n in range(MOST_GROUPS + 1):
            group = changes.create_group(tx, {"displayName": f"g{n}", "mailNickname": f"g{n}"}, "")["id"]
            changes.add_reference(tx, "group", group, "members", {"@odata.id": f"x/{ann['id']}"})

    await installation.store.transact(work)
    principal = installation.verifier.authenticate(f"Bearer {(await with_password(client)).json()['access_token']}")
    assert "groups" not in principal.claims
    where = principal.claims["_claim_sources"][principal.claims["_claim_names"]["groups"]]["endpoint"]
    assert where.endswith(f"/v1.0/users/{ann['id']}/getMemberObjects")
    assert len(principal.groups) == MOST_GROUPS + 1


async def test_a_disabled_user(client: httpx.AsyncClient, installation: Installation, ann: dict[str, Any]) -> None:
    refresh = (await with_password(client)).json()["refresh_token"]
    await installation.store.transact(lambda tx: changes.update(tx, "user", ann["id"], {"accountEnabled": False}))
    assert (await with_password(client)).json()["error_codes"] == [50057]
    assert (await ask(client, grant_type="refresh_token", refresh_token=refresh)).json()["error_codes"] == [50057]
