"""Identity as a client of ARM meets it: 401 and 403 with Azure's codes, and what a role opens."""

from __future__ import annotations

import base64
import hmac
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sorairo.arm.app import create_app
from sorairo.arm.settings import Settings
from sorairo.engine.control import Control
from sorairo.engine.registry import Registry
from sorairo.engine.types import Provider
from sorairo.identity import http as identity_http
from sorairo.identity.authorization import Authorization
from sorairo.identity.directory import ServicePrincipal
from sorairo.providers.microsoft_authorization import provider
from sorairo.providers.microsoft_resources.groups import RESOURCE_GROUPS
from sorairo.providers.microsoft_resources.subscriptions import SUBSCRIPTIONS

from .conftest import BASE, Installation

READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
GROUPS, ROLES = {"api-version": "2024-11-01"}, {"api-version": "2022-04-01"}


@pytest.fixture
async def arm(installation: Installation) -> AsyncIterator[httpx.AsyncClient]:
    """The whole origin, as `main` puts it together."""
    control = Control(
        installation.store,
        Registry(
            [
                Provider("Microsoft.Resources", (SUBSCRIPTIONS, RESOURCE_GROUPS)),
                provider(installation.store, installation.directory),
            ]
        ),
    )
    authorization = Authorization(installation.store)
    installation.store.listen(authorization.changed)
    app = create_app(
        control,
        installation.verifier.authenticate,
        authorization.authorize,
        Settings(tenant=installation.directory.tenant, base_url=BASE),
        challenge=installation.verifier.challenge,
        mounts=[(identity_http.PATHS, identity_http.create_app(installation.tokens))],
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as client:
        yield client


async def signed_in(arm: httpx.AsyncClient, installation: Installation, who: str, secret: str) -> dict[str, str]:
    form = {
        "grant_type": "client_credentials",
        "client_id": who,
        "client_secret": secret,
        "scope": f"{BASE}//.default",
    }
    answer = await arm.post(f"/{installation.admin.tenantId}/oauth2/v2.0/token", data=form)
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


@pytest.fixture
async def admin(arm: httpx.AsyncClient, installation: Installation) -> dict[str, str]:
    return await signed_in(arm, installation, installation.admin.clientId, installation.admin.clientSecret)


@pytest.fixture
async def other(installation: Installation) -> tuple[ServicePrincipal, str]:
    principal, secret = await installation.directory.create_application("other")
    return principal, secret.value


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({}, "AuthenticationFailed"),
        ({"Authorization": "Basic eDp5"}, "AuthenticationFailed"),
        ({"Authorization": "Bearer nonsense"}, "InvalidAuthenticationToken"),
    ],
)
async def test_who_does_not_say_who_they_are(
    arm: httpx.AsyncClient, installation: Installation, header: dict[str, str], code: str
) -> None:
    answer = await arm.get("/subscriptions", params={"api-version": "2022-12-01"}, headers=header)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)
    assert answer.headers["www-authenticate"].startswith(
        f'Bearer authorization_uri="{BASE}/{installation.admin.tenantId}", error="invalid_token"'
    )


async def test_a_stranger_sees_and_changes_nothing(
    arm: httpx.AsyncClient, installation: Installation, other: tuple[ServicePrincipal, str]
) -> None:
    principal, secret = other
    token = await signed_in(arm, installation, principal.client_id, secret)
    seen = await arm.get("/subscriptions", params={"api-version": "2022-12-01"}, headers=token)
    assert seen.json()["value"] == []
    group = f"/subscriptions/{installation.admin.subscriptionId}/resourceGroups/g"
    refused = await arm.put(group, params=GROUPS, json={"location": "westeurope"}, headers=token)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (403, "AuthorizationFailed")
    assert error["message"].startswith(
        f"The client '{principal.client_id}' with object id '{principal.object_id}' does not have authorization to "
        "perform action 'Microsoft.Resources/subscriptions/resourceGroups/write' over scope "
    )


async def test_a_role_opens_its_scope_at_once_and_closes_it_again(
    arm: httpx.AsyncClient, installation: Installation, admin: dict[str, str], other: tuple[ServicePrincipal, str]
) -> None:
    principal, secret = other
    token = await signed_in(arm, installation, principal.client_id, secret)
    subscription = f"/subscriptions/{installation.admin.subscriptionId}"
    for name in ("mine", "theirs"):
        made = await arm.put(
            f"{subscription}/resourceGroups/{name}", params=GROUPS, json={"location": "westeurope"}, headers=admin
        )
        assert made.status_code == 201
    group = f"{subscription}/resourceGroups/mine"
    assignment = f"{group}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    body = {
        "properties": {
            "roleDefinitionId": f"{subscription}/providers/Microsoft.Authorization/roleDefinitions/{READER}",
            "principalId": principal.object_id,
        }
    }
    # A reader could not grant it to themselves.
    assert (await arm.put(assignment, params=ROLES, json=body, headers=token)).status_code == 403
    created = await arm.put(assignment, params=ROLES, json=body, headers=admin)
    assert created.status_code == 201, created.text

    assert (await arm.get(group, params=GROUPS, headers=token)).status_code == 200
    other_group = f"{subscription}/resourceGroups/theirs"
    assert (await arm.get(other_group, params=GROUPS, headers=token)).status_code == 403
    assert (await arm.put(group, params=GROUPS, json={"location": "x"}, headers=token)).status_code == 403
    assert (await arm.put(assignment, params=ROLES, json=body, headers=token)).status_code == 403

    listed = await arm.get(
        f"{group}/providers/Microsoft.Authorization/roleAssignments",
        params={**ROLES, "$filter": f"principalId eq '{principal.object_id}'"},
        headers=token,
    )
    assert [a["id"] for a in listed.json()["value"]] == [assignment]

    gone = await arm.delete(assignment, params=ROLES, headers=admin)
    assert gone.status_code == 200
    assert (await arm.get(group, params=GROUPS, headers=token)).status_code == 403


KINDS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.text(max_size=20),
    st.lists(st.text(max_size=5), max_size=2),
    st.sampled_from(["none", "HS256", "RS384", "PS256", BASE, f"{BASE}/", "https://graph.microsoft.com", "1.0", "2.0"]),
)


def unpacked(part: str) -> dict[str, Any]:
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))


def packed(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_a_token_with_any_one_field_changed_opens_nothing(
    arm: httpx.AsyncClient, installation: Installation, admin: dict[str, str], data: st.DataObject
) -> None:
    """Without the key. Whatever is changed, the answer is a 401 that tells where to sign in."""
    parts = admin["Authorization"].removeprefix("Bearer ").split(".")
    which = data.draw(st.sampled_from((0, 1)))
    fields = unpacked(parts[which])
    name = data.draw(st.sampled_from([*fields, "crit", "jwk", "kid2", "roles", "wids"]))
    value = data.draw(KINDS)
    assume(value != fields.get(name, ...))
    changed = {**fields, name: value} if data.draw(st.booleans()) else {k: v for k, v in fields.items() if k != name}
    assume(changed != fields)
    parts[which] = packed(changed)
    answer = await arm.get("/subscriptions", params=GROUPS, headers={"Authorization": f"Bearer {'.'.join(parts)}"})
    refused_as(answer, installation, "InvalidAuthenticationToken")


def refused_as(answer: httpx.Response, installation: Installation, code: str) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, code), answer.text
    challenge = f'Bearer authorization_uri="{BASE}/{installation.admin.tenantId}", error="invalid_token"'
    assert answer.headers["www-authenticate"].startswith(challenge)


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": 1_000_000_000}, "ExpiredAuthenticationToken"),
        ({"nbf": 4_000_000_000}, "InvalidAuthenticationToken"),
        ({"aud": "https://graph.microsoft.com"}, "InvalidAuthenticationTokenAudience"),
        ({"aud": ["https://management.azure.com/"]}, "InvalidAuthenticationTokenAudience"),
        ({"iss": "https://sts.windows.net/x/"}, "InvalidAuthenticationTokenTenant"),
        ({"tid": str(uuid.UUID(int=1))}, "InvalidAuthenticationTokenTenant"),
        ({"oid": None}, "InvalidAuthenticationToken"),
        ({"ver": "2.0"}, "InvalidAuthenticationToken"),
    ],
    ids=str,
)
async def test_a_token_of_ours_for_another_time_place_or_service(
    arm: httpx.AsyncClient, installation: Installation, claims: dict[str, Any], code: str
) -> None:
    principal = installation.directory.service_principal(installation.admin.objectId)
    assert principal
    token = installation.tokens.sign({**installation.tokens.claims(principal, f"{BASE}/"), **claims})
    answer = await arm.get("/subscriptions", params=GROUPS, headers={"Authorization": f"Bearer {token}"})
    refused_as(answer, installation, code)


@pytest.mark.parametrize("alg", ["none", "None", "HS256", "RS384", "PS256", "ES256"])
async def test_an_algorithm_that_is_not_ours(
    arm: httpx.AsyncClient, installation: Installation, admin: dict[str, str], alg: str
) -> None:
    """Unsigned, or signed with the public key as a shared secret."""
    header, claims, signature = admin["Authorization"].removeprefix("Bearer ").split(".")
    text = f"{packed({**unpacked(header), 'alg': alg})}.{claims}"
    public = installation.tokens.keys.current.as_pem(private=False)
    forged = base64.urlsafe_b64encode(hmac.digest(public, text.encode(), "sha256")).rstrip(b"=").decode()
    for tail in ("", signature, forged):
        answer = await arm.get("/subscriptions", params=GROUPS, headers={"Authorization": f"Bearer {text}.{tail}"})
        refused_as(answer, installation, "InvalidAuthenticationToken")
