"""Clusters whose users are the directory's, without a host: what is admitted, told to API servers, and decided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import pytest
from starlette.responses import Response

from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Admission, Document, Resource
from sorairo.identity.principal import Principal
from sorairo.providers.microsoft_containerservice import azure_rbac, entra
from sorairo.reviews import Reviews, behind_doors

GROUP = "/subscriptions/0b1f6471-1bf0-4dda-aec3-111111111111/resourceGroups/w(e)b.ü"
ID = f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/c"
TENANT = "7a1f6471-1bf0-4dda-aec3-222222222222"
ADMINS = "11111111-2222-4333-8444-555555555555"
AUTHORITY = entra.Authority(TENANT, "https://127.0.0.1:8443", "CA")
AKS = "Microsoft.ContainerService/managedClusters"


def cluster(aad: Document | None = None, **properties: Any) -> Resource:
    return Resource(ID, {"properties": {"aadProfile": aad, **properties}}, private={"pki": {"ca.key": "a key"}})


def admitted(aad: Document | None, existing: Resource | None = None, **properties: Any) -> Document:
    body = {"properties": {"enableRBAC": True, **properties} | ({"aadProfile": aad} if aad is not None else {})}
    entra.admit(Admission(parse_id(ID), body, existing, "me", reader=None), TENANT)  # type: ignore[arg-type]
    return body["properties"]


# --- what is admitted ----------------------------------------------------------------------------------------


def test_what_is_left_out_is_filled_in() -> None:
    found = admitted({"managed": True})
    assert found["aadProfile"] == {
        "managed": True,
        "adminGroupObjectIDs": [],
        "enableAzureRBAC": False,
        "tenantID": TENANT,
    }
    assert found["disableLocalAccounts"] is False


def test_without_it_nothing_is_stored() -> None:
    assert "aadProfile" not in admitted(None)
    assert "aadProfile" not in admitted({"managed": False})


def test_a_document_without_it_leaves_it_as_it_was() -> None:
    before = cluster(admitted({"managed": True, "adminGroupObjectIDs": [ADMINS]})["aadProfile"])
    assert admitted(None, before)["aadProfile"]["adminGroupObjectIDs"] == [ADMINS]
    assert admitted({"managed": True, "adminGroupObjectIDs": []}, before)["aadProfile"]["adminGroupObjectIDs"] == []


INTEGRATED = cluster({"managed": True})


@pytest.mark.parametrize(
    ("aad", "existing", "properties", "code", "words"),
    [
        ({"serverAppID": "x", "clientAppID": "y"}, None, {}, "BadRequest", "legacy"),
        ({"managed": True, "serverAppSecret": "x"}, None, {}, "BadRequest", "serverAppSecret must not be set"),
        ({"managed": False, "enableAzureRBAC": True}, None, {}, "InvalidParameter", "aadProfile.managed"),
        ({"managed": False}, INTEGRATED, {}, "BadRequest", "Disabling Microsoft Entra integration"),
        ({"managed": True, "adminGroupObjectIDs": ["all"]}, None, {}, "InvalidParameter", "'all' is not the object id"),
        ({"managed": True, "tenantID": ADMINS}, None, {}, "InvalidParameter", "aadProfile.tenantID"),
        ({"managed": True}, None, {"enableRBAC": False}, "BadRequest", "enableRBAC"),
        (None, None, {"disableLocalAccounts": True}, "BadRequest", "disableLocalAccounts can only be set on Azure AD"),
    ],
)
def test_refused(aad: Document | None, existing: Resource | None, properties: Document, code: str, words: str) -> None:
    with pytest.raises(ArmError) as refused:
        admitted(aad, existing, **properties)
    assert refused.value.code == code
    assert words in refused.value.message


# --- what API servers are told -------------------------------------------------------------------------------


def test_without_it_the_api_server_is_as_it_was() -> None:
    assert entra.flags(cluster()) == ["--authorization-mode=Node,RBAC"]
    assert entra.files(cluster(), AUTHORITY, Path("/root")) == {}


def test_with_kubernetes_roles_alone_nobody_else_is_asked() -> None:
    integrated = cluster({"managed": True})
    assert entra.flags(integrated) == [
        "--authentication-config=entra/authentication",
        "--authentication-token-webhook-config-file=entra/tokens",
        "--authentication-token-webhook-version=v1",
        "--authorization-mode=Node,RBAC",
    ]
    assert list(entra.files(integrated, AUTHORITY, Path("/root"))) == ["entra/authentication", "entra/tokens"]


def test_the_webhook_is_asked_last_with_a_secret_of_the_clusters_own() -> None:
    integrated = cluster({"managed": True, "enableAzureRBAC": True})
    files = entra.files(integrated, AUTHORITY, Path("/root"))
    assert all(f.mode == 0o600 for f in files.values())
    authorizers = json.loads(files["entra/authorization"].content)["authorizers"]
    assert [a["type"] for a in authorizers] == ["Node", "RBAC", "Webhook"]
    assert authorizers[2]["webhook"]["failurePolicy"] == "Deny"
    webhook = json.loads(files["entra/webhook"].content)
    assert webhook["users"][0]["user"]["token"] == entra.review_token(integrated)
    assert unquote(urlsplit(webhook["clusters"][0]["cluster"]["server"]).path) == f"{entra.REVIEWS}{integrated.key}"
    assert webhook["clusters"][0]["cluster"]["server"].isascii()
    other = Resource(ID, integrated.body, private={"pki": {"ca.key": "another key"}})
    assert entra.review_token(other) != entra.review_token(integrated)


def test_administrators_are_bound_as_they_are_named() -> None:
    assert entra.admins(cluster({"managed": True})) is None
    wanted = entra.admins(INTEGRATED_BY_ADMINS)
    assert wanted
    assert [s["name"] for s in wanted["subjects"]] == [ADMINS]
    assert entra.bound_rightly(INTEGRATED_BY_ADMINS, wanted)
    assert not entra.bound_rightly(INTEGRATED_BY_ADMINS, None)
    assert not entra.bound_rightly(INTEGRATED_BY_ADMINS, {**wanted, "subjects": []})
    assert not entra.bound_rightly(INTEGRATED, wanted)


INTEGRATED_BY_ADMINS = cluster({"managed": True, "adminGroupObjectIDs": [ADMINS]})


# --- what is decided -----------------------------------------------------------------------------------------


def asked(verb: str, resource: str, **more: str) -> Document:
    return {"resourceAttributes": {"verb": verb, "resource": resource, **more}}


@pytest.mark.parametrize(
    ("spec", "action"),
    [
        (asked("list", "pods"), "pods/read"),
        (asked("watch", "deployments", group="apps"), "apps/deployments/read"),
        (asked("patch", "secrets"), "secrets/write"),
        (asked("deletecollection", "configmaps"), "configmaps/delete"),
        (asked("get", "pods", subresource="log"), "pods/read"),
        (asked("create", "pods", subresource="exec"), "pods/exec/action"),
        (asked("get", "pods", subresource="exec"), "pods/exec/action"),
        (asked("create", "pods", subresource="portforward"), "pods/write"),
        (asked("impersonate", "users"), "users/impersonate/action"),
        (asked("bind", "clusterroles", group="rbac.authorization.k8s.io"),
         "rbac.authorization.k8s.io/clusterroles/bind/action"),
        (asked("approve", "signers", group="certificates.k8s.io"), "certificates.k8s.io/signers"),
        ({"nonResourceAttributes": {"path": "/healthz", "verb": "get"}}, "healthz/read"),
        ({"nonResourceAttributes": {"path": "/", "verb": "get"}}, "read"),
    ],
)  # fmt: skip
def test_data_actions_are_those_of_aks(spec: Document, action: str) -> None:
    assert azure_rbac.data_actions(spec) == [f"{AKS}/{action}"]


def test_everything_takes_what_the_least_of_it_does() -> None:
    assert f"{AKS}/namespaces/delete" in azure_rbac.data_actions(asked("*", "*", group="*"))
    assert azure_rbac.data_actions({}) == []


class Roles:
    """Who may do what where."""

    def __init__(self, *allowed: tuple[str, str]) -> None:
        self.allowed = allowed

    def allows(self, who: Principal, action: str, scope: str, *, data: bool = False) -> bool:
        return data and who.object_id == "ann" and (action, scope) in self.allowed


def nobody(authorization: str | None) -> Principal:
    raise ArmError("InvalidAuthenticationToken", "The access token is invalid.", status=401)


def decided(spec: Document, on: Resource, *, oid: str = "ann") -> Document:
    roles = Roles((f"{AKS}/pods/read", f"{ID}/namespaces/n"))
    reviews = Reviews(lambda id: on, lambda oid: Principal(oid, TENANT), roles, nobody)  # type: ignore[arg-type]
    return reviews.decide(on, {**spec, "extra": {entra.OID: [oid]} if oid else {}})


def test_a_role_counts_where_it_was_given() -> None:
    by_roles = cluster({"managed": True, "enableAzureRBAC": True})
    assert decided(asked("list", "pods", namespace="n"), by_roles)["allowed"]
    for elsewhere in (asked("list", "pods"), asked("list", "pods", namespace="m"), asked("list", "pods", namespace="")):
        assert decided(elsewhere, by_roles) == {"allowed": False, "denied": True, "reason": azure_rbac.DENIED}
    assert decided(asked("delete", "pods", namespace="n"), by_roles)["denied"]
    assert decided(asked("list", "pods", namespace="n"), by_roles, oid="bob")["denied"]


def test_of_others_and_of_clusters_that_ask_by_mistake_there_is_no_opinion() -> None:
    may = asked("list", "pods", namespace="n")
    no_opinion = {"allowed": False, "reason": azure_rbac.NO_OPINION}
    assert decided(may, cluster({"managed": True, "enableAzureRBAC": True}), oid="") == no_opinion
    assert decided(may, cluster({"managed": True})) == no_opinion


async def test_behind_a_door_there_are_keys_and_reviews_and_nothing_else() -> None:
    async def token_service(scope: Any, receive: Any, send: Any) -> None:
        await Response("keys")(scope, receive, send)

    on = cluster({"managed": True, "enableAzureRBAC": True})
    reviews = Reviews(
        lambda id: on if id == on.key else None,
        lambda oid: Principal(oid, TENANT),
        Roles(),  # type: ignore[arg-type]
        nobody,
    )
    app = behind_doors(token_service, reviews)
    asked_for = {"spec": {**asked("get", "pods"), "extra": {entra.OID: ["ann"]}}}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=AUTHORITY.base) as door:
        for path in ("/.well-known/openid-configuration", "/discovery/keys"):
            assert (await door.get(f"/{TENANT}{path}")).text == "keys"
        for path in ("/subscriptions", f"/{TENANT}/oauth2/token", f"/{TENANT}/oauth2/authorize", "/v1.0/users"):
            assert (await door.post(path)).status_code == 404
        url, proof = f"{entra.REVIEWS}{on.key}", {"Authorization": f"Bearer {entra.review_token(on)}"}
        assert (await door.post(url, json=asked_for)).status_code == 401
        assert (await door.post(f"{url}x", json=asked_for, headers=proof)).status_code == 401
        assert (await door.post(url, json=asked_for, headers={"Authorization": "Bearer x"})).status_code == 401
        assert (await door.post(url, content=b"[]", headers=proof)).status_code == 400
        assert (await door.post(url, json=asked_for, headers=proof)).json()["status"]["denied"]
        url = f"{entra.TOKEN_REVIEWS}{on.key}"
        assert (await door.post(url, json={"spec": {"token": "t"}})).status_code == 401
        review = (await door.post(url, json={"spec": {"token": "t"}}, headers=proof)).json()
        assert (review["apiVersion"], review["kind"]) == ("authentication.k8s.io/v1", "TokenReview")
        assert review["status"] == {"authenticated": False, "error": "The access token is invalid."}


ELSEWHERE = {"_claim_names": {"groups": "src1"}, "upn": "ann@x"}


@pytest.mark.parametrize(
    ("claims", "on", "name"),
    [
        (ELSEWHERE, INTEGRATED, "ann@x"),
        ({**ELSEWHERE, "upn": None}, INTEGRATED, "ann"),
        ({"upn": "ann@x"}, INTEGRATED, ""),  # Whom the API server knows without asking, it refused for a reason.
        ({**ELSEWHERE, "upn": "system:admin"}, INTEGRATED, ""),
        (ELSEWHERE, cluster(), ""),
    ],
)
def test_who_is_in_more_groups_than_a_token_names_is_told(claims: Document, on: Resource, name: str) -> None:
    def authenticate(authorization: str | None) -> Principal:
        assert authorization == "Bearer t"
        return Principal("ann", TENANT, groups=("g1", "g2"), claims=claims)

    reviews = Reviews(lambda id: on, lambda oid: Principal(oid, TENANT), Roles(), authenticate)  # type: ignore[arg-type]
    told = reviews.tell(on, "t")
    wanted = {"username": name, "groups": ["g1", "g2"], "extra": {entra.OID: ["ann"]}}
    assert told == ({"authenticated": True, "user": wanted} if name else {"authenticated": False})
