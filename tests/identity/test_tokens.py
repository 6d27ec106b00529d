"""The token service over HTTP, as MSAL and scripts use it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from sorairo.identity.directory import new_secret
from sorairo.identity.http import PATHS, create_app
from sorairo.identity.keys import load_keys

from .conftest import BASE, Installation


@pytest.fixture
async def client(installation: Installation) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(installation.tokens))
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as it:
        yield it


def form(installation: Installation, **changes: str) -> dict[str, str]:
    filled = {
        "grant_type": "client_credentials",
        "client_id": installation.admin.clientId,
        "client_secret": installation.admin.clientSecret,
        "scope": f"{BASE}//.default",
        "client_info": "1",
        **changes,
    }
    return {k: v for k, v in filled.items() if v != "-"}


async def test_sign_in_with_a_secret(installation: Installation, client: httpx.AsyncClient) -> None:
    answer = await client.post(f"/{installation.admin.tenantId}/oauth2/v2.0/token", data=form(installation))
    assert answer.status_code == 200
    body = answer.json()
    assert body["token_type"] == "Bearer"
    assert body["expires_in"] == 3599
    principal = installation.verifier.authenticate(f"Bearer {body['access_token']}")
    assert principal.object_id == installation.admin.objectId
    # `…//.default` names the resource with its slash: exactly `/.default` is taken off.
    assert principal.claims["aud"] == f"{BASE}/"
    assert answer.headers["cache-control"] == "no-store, no-cache"


async def test_version_one_writes_numbers_as_text(installation: Installation, client: httpx.AsyncClient) -> None:
    answer = await client.post(
        f"/{installation.admin.tenantId}/oauth2/token",
        data=form(installation, scope="-", resource="https://management.azure.com/"),
    )
    body = answer.json()
    assert answer.status_code == 200
    assert body["resource"] == "https://management.azure.com/"
    assert {type(body[k]) for k in ("expires_in", "expires_on", "not_before")} == {str}
    installation.verifier.authenticate(f"Bearer {body['access_token']}")


async def test_the_secret_in_a_basic_header(installation: Installation, client: httpx.AsyncClient) -> None:
    basic = base64.b64encode(f"{installation.admin.clientId}:{installation.admin.clientSecret}".encode()).decode()
    answer = await client.post(
        f"/{installation.admin.tenantId}/oauth2/v2.0/token",
        data=form(installation, client_id="-", client_secret="-"),
        headers={"Authorization": f"Basic {basic}"},
    )
    assert answer.status_code == 200


async def test_the_tenant_by_its_domain(installation: Installation, client: httpx.AsyncClient) -> None:
    answer = await client.post("/sorairo.internal/oauth2/v2.0/token", data=form(installation))
    assert answer.status_code == 200


async def test_a_persons_scopes_beside_the_resource_mean_nothing(
    installation: Installation, client: httpx.AsyncClient
) -> None:
    """As MSAL for Go asks, and with it kubelogin and Terraform."""
    asked = form(installation, scope=f"{BASE}//.default openid offline_access profile")
    answer = await client.post(f"/{installation.admin.tenantId}/oauth2/v2.0/token", data=asked)
    principal = installation.verifier.authenticate(f"Bearer {answer.json()['access_token']}")
    assert principal.claims["aud"] == f"{BASE}/"


@pytest.mark.parametrize(
    ("changes", "status", "error", "code"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_secret": "-"}, 401, "invalid_client", 7000218),
        ({"client_secret": "-", "client_assertion": "x"}, 400, "invalid_request", 50027),
        ({"client_id": "6c4b1f5e-0000-0000-0000-000000000000"}, 400, "unauthorized_client", 700016),
        ({"grant_type": "-"}, 400, "invalid_request", 900144),
        ({"client_id": "-"}, 400, "invalid_request", 900144),
        ({"scope": "-"}, 400, "invalid_request", 900144),
        ({"scope": "a/.default b/.default"}, 400, "invalid_scope", 70011),
        ({"scope": f"{BASE}/user_impersonation"}, 400, "invalid_scope", 1002012),
        ({"scope": "https://nobody.example/.default"}, 400, "invalid_resource", 500011),
        ({"grant_type": "implicit"}, 400, "unsupported_grant_type", 70003),
    ],
)
async def test_refusals_are_entras(
    installation: Installation,
    client: httpx.AsyncClient,
    changes: dict[str, str],
    status: int,
    error: str,
    code: int,
) -> None:
    answer = await client.post(f"/{installation.admin.tenantId}/oauth2/v2.0/token", data=form(installation, **changes))
    body = answer.json()
    assert (answer.status_code, body["error"], body["error_codes"]) == (status, error, [code])
    assert body["error_description"].startswith(f"AADSTS{code}: ")
    assert {"timestamp", "trace_id", "correlation_id", "error_uri"} <= body.keys()
    assert installation.admin.clientSecret not in answer.text


async def test_an_expired_secret(installation: Installation, client: httpx.AsyncClient) -> None:
    principal, secret = await installation.directory.create_application("old", secret=new_secret(years=-1))
    answer = await client.post(
        f"/{installation.admin.tenantId}/oauth2/v2.0/token",
        data=form(installation, client_id=principal.client_id, client_secret=secret.value),
    )
    assert (answer.status_code, answer.json()["error_codes"]) == (401, [7000222])


async def test_an_unknown_tenant(installation: Installation, client: httpx.AsyncClient) -> None:
    other = "11111111-1111-1111-1111-111111111111"
    for answer in (
        await client.post(f"/{other}/oauth2/v2.0/token", data=form(installation)),
        await client.get(f"/{other}/v2.0/.well-known/openid-configuration"),
    ):
        assert (answer.status_code, answer.json()["error_codes"]) == (400, [90002])
    shared = await client.post("/common/oauth2/v2.0/token", data=form(installation))
    assert (shared.status_code, shared.json()["error_codes"]) == (400, [50059])


@pytest.mark.parametrize("name", ["{tenant}", "common", "organizations"])
async def test_discovery(installation: Installation, client: httpx.AsyncClient, name: str) -> None:
    name = name.format(tenant=installation.admin.tenantId)
    found = (await client.get(f"/{name}/v2.0/.well-known/openid-configuration")).json()
    assert found["token_endpoint"] == f"{BASE}/{name}/oauth2/v2.0/token"
    assert found["issuer"].startswith(f"{BASE}/")
    keys = (await client.get(found["jwks_uri"])).json()["keys"]
    assert [k["kid"] for k in keys] == [installation.tokens.keys.current.kid]
    assert not {"d", "p", "q", "dp", "dq", "qi"} & {name for k in keys for name in k}
    older = (await client.get(f"/{name}/.well-known/openid-configuration")).json()
    assert older["token_endpoint"] == f"{BASE}/{name}/oauth2/token"


@pytest.mark.parametrize(
    "host", ["login.sorairo.internal", "168.63.129.16", "localhost:9443", "Login.Sorairo.Internal:8443"]
)
async def test_discovery_names_the_host_that_one_came_by(
    installation: Installation, client: httpx.AsyncClient, host: str
) -> None:
    """Inside a virtual network 127.0.0.1 is another. Who issues tokens is one and the same, wherever they are got."""
    tenant, headers = installation.admin.tenantId, {"host": host}
    found = (await client.get(f"/{tenant}/v2.0/.well-known/openid-configuration", headers=headers)).json()
    base = f"https://{host.lower()}"
    assert found["token_endpoint"] == f"{base}/{tenant}/oauth2/v2.0/token"
    assert found["authorization_endpoint"] == f"{base}/{tenant}/oauth2/v2.0/authorize"
    assert found["issuer"] == f"{BASE}/{tenant}/v2.0"
    older = (await client.get(f"/{tenant}/.well-known/openid-configuration", headers=headers)).json()
    assert (older["jwks_uri"], older["issuer"]) == (f"{base}/{tenant}/discovery/keys", f"{BASE}/{tenant}/")
    instance = (await client.get("/common/discovery/instance", headers=headers)).json()
    assert instance["tenant_discovery_endpoint"].startswith(f"{base}/{tenant}/")


@pytest.mark.parametrize(
    "host",
    ["elsewhere.example", "login.sorairo.internal.elsewhere.example", "a@login.sorairo.internal", "localhost:x", ""],
)
async def test_a_host_that_is_none_of_ours_is_not_named(
    installation: Installation, client: httpx.AsyncClient, host: str
) -> None:
    path = f"/{installation.admin.tenantId}/v2.0/.well-known/openid-configuration"
    found = (await client.get(path, headers={"host": host})).json()
    assert found["token_endpoint"].startswith(f"{BASE}/")


async def test_instance_discovery_and_the_paths_that_are_ours(client: httpx.AsyncClient) -> None:
    found = (await client.get("/common/discovery/instance")).json()
    assert found["metadata"][0]["preferred_network"] == "127.0.0.1:9443"
    for path in ("/common/discovery/instance", "/t/oauth2/v2.0/token", "/t/oauth2/token", "/t/discovery/v2.0/keys"):
        assert PATHS.fullmatch(path)
    for path in ("/subscriptions", "/subscriptions/s", "/metadata/endpoints", "/providers/Microsoft.X/operations"):
        assert not PATHS.fullmatch(path)


async def test_an_oversized_request(installation: Installation, client: httpx.AsyncClient) -> None:
    answer = await client.post(f"/{installation.admin.tenantId}/oauth2/v2.0/token", content=b"x" * 100_000)
    assert answer.status_code == 413


def test_a_key_signs_for_a_while_and_verifies_longer(tmp_path: Path) -> None:
    file, day = tmp_path / "keys.json", 86400.0
    first = load_keys(file, now=0).current.kid
    assert load_keys(file, now=89 * day).current.kid == first
    second = load_keys(file, now=90 * day)
    assert second.current.kid != first
    assert second.find(first) is not None
    assert load_keys(file, now=90 * day).current.kid == second.current.kid
    third = load_keys(file, now=181 * day)
    assert third.find(first) is None
    assert third.find(second.current.kid) is not None
    assert file.stat().st_mode & 0o777 == 0o600
