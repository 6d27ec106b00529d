"""`az ad`, `az login` and `az role`: who is who, how they sign in, what they may."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from azure_cli import Az
from flows_shared import GROUP
from installation import Installation

pytestmark = [pytest.mark.az, pytest.mark.timeout(900)]

PASSWORD = "Correct-Horse-1"
BROWSER = r"""
import html, re, sys, httpx
form = {"username": "ann@sorairo.internal", "password": "Correct-Horse-1"}
page = httpx.post(sys.argv[1], data=form, verify=False)
if page.is_redirect:
    httpx.get(page.headers["location"])
else:
    fields = re.findall(r'name="(\w+)" value="([^"]*)"', page.text)
    httpx.post(re.search(r'action="([^"]*)"', page.text)[1], data={k: html.unescape(v) for k, v in fields})
"""
"""What a person does with the page, as a program."""


@pytest.fixture(scope="module")
def ann(az: Az) -> str:
    """A user's object id."""
    made = az(
        "ad", "user", "create", "--display-name", "Ann", "--user-principal-name", "ann@sorairo.internal",
        "--password", PASSWORD,
    )  # fmt: skip
    return str(made["id"])


def test_create_for_rbac_with_a_role(az: Az, hollow: Installation, tmp_path: Path) -> None:
    scope = f"{hollow.subscription}/resourceGroups/{GROUP}"
    made = az("ad", "sp", "create-for-rbac", "--name", "worker", "--role", "Contributor", "--scopes", scope)
    assignments = az("role", "assignment", "list", "--assignee", made["appId"], "--all")
    assert [(a["roleDefinitionName"], a["principalName"], a["scope"]) for a in assignments] == [
        ("Contributor", made["appId"], scope)
    ]
    other = az.signed_out(tmp_path / "azure")
    other(
        "login", "--service-principal", "--username", made["appId"], "--password", made["password"],
        "--tenant", made["tenant"],
    )  # fmt: skip
    assert [g["name"] for g in other("group", "list")] == [GROUP]
    reset = az("ad", "sp", "credential", "reset", "--id", made["appId"])
    assert reset["password"] != made["password"]
    listed = az("ad", "sp", "credential", "list", "--id", made["appId"])
    assert [set(c) >= {"keyId", "endDateTime", "hint"} for c in listed] == [True]
    az("ad", "app", "delete", "--id", made["appId"])
    assert az("ad", "sp", "list", "--filter", "displayName eq 'worker'") == []


def test_create_for_rbac_with_a_certificate(az: Az, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(az._environment, "HOME", str(tmp_path))  # where it writes the file
    made = az("ad", "sp", "create-for-rbac", "--name", "certified", "--create-cert")
    assert made["password"] is None
    az.signed_out(tmp_path / "azure")(
        "login", "--service-principal", "--username", made["appId"],
        "--certificate", made["fileWithCertAndPrivateKey"], "--tenant", made["tenant"], "--allow-no-subscriptions",
    )  # fmt: skip
    [key] = az("ad", "sp", "credential", "list", "--id", made["appId"], "--cert") or az(
        "ad", "app", "credential", "list", "--id", made["appId"], "--cert"
    )
    assert key["type"] == "AsymmetricX509Cert"


def test_groups_and_their_members(az: Az, ann: str, hollow: Installation, tmp_path: Path) -> None:
    group = az("ad", "group", "create", "--display-name", "team", "--mail-nickname", "team")
    az("ad", "group", "member", "add", "--group", "team", "--member-id", ann)
    assert [m["userPrincipalName"] for m in az("ad", "group", "member", "list", "--group", "team")] == [
        "ann@sorairo.internal"
    ]
    assert az("ad", "group", "member", "check", "--group", "team", "--member-id", ann) == {"value": True}
    az("role", "assignment", "create", "--assignee", group["id"], "--role", "Reader", "--scope", hollow.subscription)
    through = az("role", "assignment", "list", "--assignee", ann, "--all", "--include-groups")
    assert [(a["principalName"], a["roleDefinitionName"]) for a in through] == [("team", "Reader")]
    inherited = az("role", "assignment", "list", "--resource-group", GROUP, "--include-inherited")
    assert ("team", "Reader") in [(a["principalName"], a["roleDefinitionName"]) for a in inherited]

    app = az("ad", "app", "create", "--display-name", "hers-too")
    az("ad", "app", "owner", "add", "--id", app["appId"], "--owner-object-id", ann)
    az("ad", "group", "owner", "add", "--group", "team", "--owner-object-id", ann)
    assert [o["id"] for o in az("ad", "app", "owner", "list", "--id", app["appId"])] == [ann]

    # She signs in with a browser, and may what her group may.
    browser = tmp_path / "browser.py"
    browser.write_text(BROWSER)
    other = az.signed_out(tmp_path / "azure")
    other._environment["BROWSER"] = f"{sys.executable} {browser} %s &"
    [account] = other("login")
    assert account["user"] == {"name": "ann@sorairo.internal", "type": "user"}
    assert other("ad", "signed-in-user", "show")["id"] == ann
    assert GROUP in [g["name"] for g in other("group", "list")]
    refused = other.fails("group", "create", "--name", "hers", "--location", "westeurope")
    assert "The client 'ann@sorairo.internal' with object id" in refused
    assert "Insufficient privileges" in other.fails("ad", "app", "create", "--display-name", "hers")
    # What she owns she sees and changes.
    assert {o["displayName"] for o in other("ad", "signed-in-user", "list-owned-objects")} == {"team", "hers-too"}
    other("ad", "app", "update", "--id", app["appId"], "--display-name", "renamed")
    az("ad", "group", "owner", "remove", "--group", "team", "--owner-object-id", ann)
    assert az("ad", "group", "owner", "list", "--group", "team") == []


def test_permissions_are_granted(az: Az) -> None:
    api, client = (az("ad", "sp", "create-for-rbac", "--name", name)["appId"] for name in ("an-api", "its-client"))
    az("ad", "app", "permission", "grant", "--id", client, "--api", api, "--scope", "read", "write")
    (grant,) = az("ad", "app", "permission", "list-grants", "--id", client, "--show-resource-name")
    assert (grant["scope"], grant["consentType"], grant["resourceDisplayName"]) == (
        "read write", "AllPrincipals", "an-api"
    )  # fmt: skip


def test_a_device_code(az: Az, ann: str, hollow: Installation, tmp_path: Path) -> None:
    other = az.signed_out(tmp_path / "azure")
    login = subprocess.Popen(
        [str(other._az), "login", "--use-device-code", "--allow-no-subscriptions"],
        env=other._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert login.stderr is not None
        message = ""
        deadline = time.monotonic() + 60
        while "enter the code" not in message and time.monotonic() < deadline:
            message = login.stderr.readline()
        code = re.search(r"enter the code (\w+)", message)
        assert code, message
        answer = hollow.http.post(
            "/common/oauth2/deviceauth",
            data={"username": "ann@sorairo.internal", "password": PASSWORD, "code": code[1]},
        )
        assert "You have signed in to Microsoft Azure CLI" in answer.text
        out, _ = login.communicate(timeout=60)
        assert json.loads(out)[0]["user"]["name"] == "ann@sorairo.internal"
    finally:
        if login.poll() is None:
            login.kill()
            login.wait()


@pytest.fixture(scope="module")
def issuer(hollow: Installation, cluster: str) -> str:
    return str(hollow.arm("GET", cluster).json()["properties"]["oidcIssuerProfile"]["issuerURL"])


@pytest.fixture(scope="module")
def pod_token(hollow: Installation, cluster: str) -> str:
    kubeconfig = hollow.kubeconfig(GROUP, cluster.rpartition("/")[2])
    made = hollow.kubectl(kubeconfig, "create", "token", "default", "--audience", "api://AzureADTokenExchange")
    return made.strip()


def exchange(hollow: Installation, client_id: str, token: str) -> Any:
    """The answer to a pod that asks for a token of ARM's."""
    return hollow.http.post(
        f"/{hollow.credentials['tenantId']}/oauth2/v2.0/token",
        data={
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_assertion": token,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "scope": "https://management.azure.com/.default",
        },
    ).json()


def test_a_pods_token_opens_arm(az: Az, hollow: Installation, issuer: str, pod_token: str) -> None:
    """Workload identity: the cluster's issuer, a federated credential, a service account's token."""
    app = az("ad", "sp", "create-for-rbac", "--name", "workload")
    credential: dict[str, Any] = {
        "name": "pod",
        "issuer": issuer,
        "subject": "system:serviceaccount:default:default",
        "audiences": ["api://AzureADTokenExchange"],
    }
    az("ad", "app", "federated-credential", "create", "--id", app["appId"], "--parameters", json.dumps(credential))
    assert "access_token" in exchange(hollow, app["appId"], pod_token)


def test_a_pods_token_opens_arm_as_a_managed_identity(
    az: Az, hollow: Installation, issuer: str, pod_token: str
) -> None:
    identity = az("identity", "create", "--name", "workload", group=GROUP)
    assert exchange(hollow, identity["clientId"], pod_token)["error_codes"] == [700211]
    az(
        "identity", "federated-credential", "create", "--identity-name", "workload", "--name", "pod",
        "--issuer", issuer, "--subject", "system:serviceaccount:default:default",
        "--audiences", "api://AzureADTokenExchange", group=GROUP,
    )  # fmt: skip
    [kept] = az("identity", "federated-credential", "list", "--identity-name", "workload", group=GROUP)
    assert kept["issuer"] == issuer
    assert "access_token" in exchange(hollow, identity["clientId"], pod_token)
    az(
        "identity",
        "federated-credential",
        "delete",
        "--identity-name",
        "workload",
        "--name",
        "pod",
        "--yes",
        group=GROUP,
    )
    assert exchange(hollow, identity["clientId"], pod_token)["error_codes"] == [700211]
    az("identity", "delete", "--name", "workload", group=GROUP)


def test_a_client_id_where_an_object_id_belongs(az: Az, hollow: Installation) -> None:
    app = az("ad", "sp", "create-for-rbac", "--name", "mistaken")
    refused = az.fails(
        "role", "assignment", "create", "--assignee-object-id", app["appId"], "--role", "Reader",
        "--scope", hollow.subscription,
    )  # fmt: skip
    assert "PrincipalNotFound" in refused
    right = az("role", "assignment", "create", "--assignee", app["appId"], "--role", "Reader", "--scope",
               hollow.subscription)  # fmt: skip
    assert right["principalId"] != app["appId"]


def test_a_custom_role(az: Az, hollow: Installation) -> None:
    role = {
        "Name": "Restarter",
        "Description": "May restart",
        "Actions": ["Microsoft.Compute/virtualMachines/restart/action"],
        "AssignableScopes": [hollow.subscription],
    }
    made = az("role", "definition", "create", "--role-definition", json.dumps(role))
    assert (made["roleName"], made["roleType"]) == ("Restarter", "CustomRole")
    update = {**role, "Actions": ["Microsoft.Compute/virtualMachines/read"], "Description": "May look"}
    az("role", "definition", "update", "--role-definition", json.dumps({**update, "roleName": "Restarter"}))
    [shown] = az("role", "definition", "list", "--name", "Restarter")
    assert shown["permissions"][0]["actions"] == ["Microsoft.Compute/virtualMachines/read"]
    assert [r["roleName"] for r in az("role", "definition", "list", "--custom-role-only")] == ["Restarter"]
    az("role", "definition", "delete", "--name", "Restarter")
    assert az("role", "definition", "list", "--custom-role-only") == []
