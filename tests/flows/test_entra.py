"""A cluster whose users are the directory's: who signs in, who may what, by Kubernetes' roles and by Azure's.

The tests are one life of one cluster, in order.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from joserfc import jwt

from azure_cli import Az
from flows_shared import GROUP
from installation import Installation, kubectl_program
from sorairo.cli import links
from sorairo.identity.keys import load_keys

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

SERVER = "6dae42f8-4368-4678-94ff-3960e28e3630"
CLIENT = "80faf920-1908-4b52-b5ef-a8e7bedfc67a"
CLUSTER_ADMIN, READER, WRITER = (
    "b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b",
    "7f6c6a51-bcf8-42ba-9220-52d62157d7db",
    "a7ffa36f-339b-4b5c-8bdf-e2c188b2c0eb",
)
PASSWORD = "Correct-Horse-1"
NAME = "signed-in"


def upn(name: str) -> str:
    """The installation is shared, with an Ann of other tests."""
    return f"{name}.of.town@sorairo.internal"


@dataclass
class Ran:
    code: int
    out: str
    err: str


@dataclass
class Town:
    """People, a group, and a cluster for them."""

    on: Installation
    ids: dict[str, str] = field(default_factory=dict)
    at_graph: str = ""
    """A token for the directory."""

    @property
    def path(self) -> str:
        return self.on.cluster_path(GROUP, NAME)

    @property
    def tenant(self) -> str:
        return self.on.credentials["tenantId"]

    def graph(self, path: str, body: Any, method: str = "POST") -> Any:
        self.at_graph = self.at_graph or self.application("https://graph.microsoft.com")
        headers = {"Authorization": f"Bearer {self.at_graph}"}
        answer = self.on.http.request(method, f"/v1.0/{path}", json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def person(self, name: str) -> str:
        user = {
            "displayName": name,
            "mailNickname": name,
            "userPrincipalName": upn(name),
            "accountEnabled": True,
            "passwordProfile": {"password": PASSWORD, "forceChangePasswordNextSignIn": False},
        }
        self.ids[name] = self.graph("users", user)["id"]
        return self.ids[name]

    def group(self, name: str, *members: str) -> str:
        group = {"displayName": name, "mailNickname": name, "mailEnabled": False, "securityEnabled": True}
        self.ids[name] = self.graph("groups", group)["id"]
        for member in members:
            ref = {"@odata.id": f"{self.on.base}/v1.0/directoryObjects/{self.ids[member]}"}
            self.graph(f"groups/{self.ids[name]}/members/$ref", ref)
        return self.ids[name]

    def put(self, **properties: Any) -> None:
        document = self.on.arm("GET", self.path)
        body = document.json() if document.is_success else {
            "location": "westeurope",
            "identity": {"type": "SystemAssigned"},
            "properties": {"agentPoolProfiles": [{"name": "nodepool1", "mode": "System", "count": 1}]},
        }  # fmt: skip
        body["properties"] |= properties
        ended = self.on.wait(self.on.arm("PUT", self.path, body))
        assert ended["status"] == "Succeeded", ended

    def may(self, name: str, role: str, scope: str = "") -> None:
        definition = f"{self.on.subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}"
        assignment = f"{self.path}{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
        properties = {"roleDefinitionId": definition, "principalId": self.ids[name]}
        assert self.on.arm("PUT", assignment, {"properties": properties}).status_code == 201

    def token(self, name: str, resource: str = SERVER) -> str:
        form = {"grant_type": "password", "username": upn(name), "password": PASSWORD}
        return self._token({**form, "client_id": CLIENT, "scope": f"{resource}/.default openid"})

    def application(self, resource: str = SERVER) -> str:
        """The administrator's, which is one."""
        who = self.on.credentials
        form = {"grant_type": "client_credentials", "client_id": who["clientId"], "client_secret": who["clientSecret"]}
        return self._token({**form, "scope": f"{resource}/.default"})

    def _token(self, form: dict[str, str]) -> str:
        answer = self.on.http.post(f"/{self.tenant}/oauth2/v2.0/token", data=form)
        return str(answer.json()["access_token"])

    def kubectl(self, token: str, *arguments: str, stdin: str = "") -> Ran:
        """With a token and nothing else."""
        config = yaml.safe_load(self.credential("User").read_text())
        config["users"][0]["user"] = {"token": token}
        file = self.on.state.root / "by-token.kubeconfig"
        file.touch(0o600)
        file.write_text(yaml.safe_dump(config))
        return self._run(file, arguments, stdin)

    def _run(self, file: Path, arguments: tuple[str, ...], stdin: str = "", **env: str) -> Ran:
        command = [*kubectl_program(), f"--kubeconfig={file}", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
        return Ran(done.returncode, done.stdout, done.stderr)

    def credential(self, kind: str) -> Path:
        file = self.on.state.root / f"{kind}.kubeconfig"
        if not file.exists():
            answer = self.on.arm("POST", f"{self.path}/listCluster{kind}Credential")
            file.touch(0o600)
            file.write_bytes(base64.b64decode(answer.json()["kubeconfigs"][0]["value"]))
        return file


@pytest.fixture(scope="module")
def town(hollow: Installation) -> Iterator[Town]:
    it = Town(hollow)
    for name in ("ann", "bob", "cat", "dan"):
        it.person(name)
    admins = it.group("k8s-admins", "ann")
    it.put(aadProfile={"managed": True, "adminGroupObjectIDs": [admins]})
    yield it
    assert hollow.wait(hollow.arm("DELETE", it.path))["status"] == "Succeeded"


def test_members_of_the_administrators_group_may_do_all(town: Town) -> None:
    ann = town.token("ann")
    who = json.loads(town.kubectl(ann, "auth", "whoami", "-o", "json").out)["status"]["userInfo"]
    assert who["username"] == upn("ann")
    assert town.ids["k8s-admins"] in who["groups"]
    assert who["extra"]["azure.com/oid"] == [town.ids["ann"]]
    assert town.kubectl(ann, "create", "namespace", "shop").code == 0
    assert town.kubectl(ann, "get", "secrets", "-A").code == 0
    assert town.kubectl(ann, "auth", "can-i", "*", "*").out == "yes\n"


def test_a_stranger_is_forbidden_by_name(town: Town) -> None:
    refused = town.kubectl(town.token("dan"), "get", "pods")
    assert refused.code == 1
    assert f'pods is forbidden: User "{upn("dan")}" cannot list resource "pods"' in refused.err


def test_kubernetes_roles_name_people_and_groups_by_their_ids(town: Town) -> None:
    ann, shop = town.token("ann"), town.group("shopkeepers", "bob")
    assert (
        town.kubectl(ann, "-n", "shop", "create", "rolebinding", "b", "--clusterrole=view", f"--group={shop}").code == 0
    )
    bob = town.token("bob")
    assert town.kubectl(bob, "-n", "shop", "get", "pods").code == 0
    assert town.kubectl(bob, "get", "pods").code == 1


def test_groups_count_that_a_token_has_no_room_for(town: Town) -> None:
    """A token names 200 of them at most; API servers ask for those of who is in more, as AKS's guard does."""
    cat = {"members@odata.bind": [f"{town.on.base}/v1.0/directoryObjects/{town.ids['cat']}"]}
    group = {"mailNickname": "many", "mailEnabled": False, "securityEnabled": True, **cat}
    ids = [town.graph("groups", {**group, "displayName": f"many {n}"})["id"] for n in range(201)]
    ann, token = town.token("ann"), town.token("cat")
    binding = ("create", "rolebinding", "many", "--clusterrole=view", f"--group={ids[-1]}")
    assert town.kubectl(token, "get", "pods").code == 1
    assert town.kubectl(ann, *binding).code == 0
    assert town.kubectl(token, "get", "pods").code == 0
    seen = json.loads(town.kubectl(token, "auth", "whoami", "-o", "json").out)["status"]["userInfo"]
    assert (seen["username"], seen["extra"]["azure.com/oid"]) == (upn("cat"), [town.ids["cat"]])
    assert {*ids} <= {*seen["groups"]}
    assert town.kubectl(token[:-8] + "AAAAAAAA", "auth", "whoami").code == 1
    for id in ids:
        town.graph(f"groups/{id}", None, "DELETE")


def test_only_tokens_of_ours_for_clusters_are_taken(town: Town) -> None:
    keys = load_keys(town.on.state.signing_keys)
    claims = json.loads(base64.urlsafe_b64decode(town.token("ann").split(".")[1] + "=="))
    now, elsewhere = int(time.time()), str(uuid.uuid4())

    def signed(**changes: Any) -> str:
        header = {"typ": "JWT", "alg": "RS256", "kid": keys.current.kid}
        return jwt.encode(header, {**claims, **changes}, keys.current, algorithms=["RS256"])

    assert town.kubectl(signed(), "get", "nodes").code == 0
    elsewhere_told = {"src1": {"endpoint": f"{town.on.base}/v1.0/users/{town.ids['ann']}/getMemberObjects"}}
    too_many = signed(groups=[], _claim_names={"groups": "src1"}, _claim_sources=elsewhere_told)
    assert town.kubectl(too_many, "auth", "whoami").code == 0
    head, body, signature = signed().split(".")
    unsigned = base64.urlsafe_b64encode(b'{"typ":"JWT","alg":"none"}').rstrip(b"=").decode()
    for wrong in (
        town.token("ann", "https://management.azure.com"),
        signed(aud=f"spn:{SERVER}x"),
        signed(tid=elsewhere),
        signed(iss=f"{town.on.base}/{elsewhere}/"),
        signed(exp=now - 60),
        signed(nbf=now + 3600),
        signed(upn="system:admin"),
        signed(groups=["system:masters"]),
        f"{head}.{body}.{signature[:-8]}AAAAAAAA",
        f"{unsigned}.{body}.",
        "nonsense",
    ):
        refused = town.kubectl(wrong, "get", "nodes")
        assert (refused.code, "You must be logged in" in refused.err) == (1, True), (wrong, refused)


def test_azures_roles_count_once_they_are_asked(town: Town) -> None:
    """In place: the same cluster, its API server started anew with other flags."""
    town.may("bob", READER)
    town.may("cat", WRITER, "/namespaces/shop")
    assert town.kubectl(town.token("cat"), "-n", "shop", "get", "pods").code == 1
    town.put(aadProfile={"managed": True, "enableAzureRBAC": True, "adminGroupObjectIDs": [town.ids["k8s-admins"]]})
    shown = town.on.arm("GET", town.path).json()["properties"]["aadProfile"]
    assert (shown["enableAzureRBAC"], shown["tenantID"]) == (True, town.tenant)
    bob, cat, dan = (town.token(name) for name in ("bob", "cat", "dan"))
    assert town.kubectl(bob, "get", "pods", "-A").code == 0
    assert 'cannot list resource "secrets"' in town.kubectl(bob, "get", "secrets").err
    assert town.kubectl(bob, "create", "configmap", "a").code == 1
    assert town.kubectl(cat, "-n", "shop", "create", "configmap", "a", "--from-literal=x=y").code == 0
    assert town.kubectl(cat, "-n", "shop", "create", "secret", "generic", "a").code == 0
    assert town.kubectl(cat, "-n", "default", "create", "configmap", "a").code == 1
    assert town.kubectl(cat, "get", "configmaps", "-A").code == 1
    refused = town.kubectl(dan, "get", "pods")
    assert f'User "{upn("dan")}" cannot list resource "pods"' in refused.err
    assert "User does not have access to the resource in Azure. Update role assignment to allow access." in refused.err
    assert town.kubectl(town.token("ann"), "get", "secrets", "-A").code == 0


def test_applications_sign_in_too(town: Town) -> None:
    token = town.application()
    seen = json.loads(town.kubectl(token, "auth", "whoami", "-o", "json").out)["status"]["userInfo"]
    town.ids["application"] = seen["username"]
    assert seen["extra"]["azure.com/oid"] == [seen["username"]]
    # Owner of the subscription, which is a role for resources and not for what is in a cluster.
    assert town.kubectl(token, "get", "nodes").code == 1
    town.may("application", CLUSTER_ADMIN)
    assert town.kubectl(token, "-n", "kube-system", "get", "secrets").code == 0


def test_a_command_runs_as_who_sent_it(town: Town) -> None:
    url = f"{town.path}/runCommand"
    refused = town.on.arm("POST", url, {"command": "kubectl get pods"})
    assert town.on.wait(refused)["error"]["target"] == "clusterToken"
    command = "kubectl get pods -A >/dev/null && echo read; kubectl get secrets"
    answer = town.on.arm("POST", url, {"command": command, "clusterToken": town.token("bob")})
    assert town.on.wait(answer)["status"] == "Succeeded"
    result = town.on.http.get(answer.headers["location"]).json()["properties"]
    assert result["logs"].startswith("read\n")
    assert f'User "{upn("bob")}" cannot list resource "secrets"' in result["logs"]
    assert result["exitCode"] == 1


def test_nobody_but_the_cluster_may_ask(town: Town) -> None:
    url = f"/aks/subjectaccessreviews{town.on.subscription}/{town.path}"
    assert town.on.http.post(url, json={"spec": {}}).status_code == 401
    assert town.on.http.post(f"{url}x", json={"spec": {}}).status_code == 401


def test_while_sorairo_is_down_nobody_gets_in_by_azures_roles_and_others_go_on(town: Town) -> None:
    ann, bob = town.token("ann"), town.token("bob")
    assert town.kubectl(bob, "get", "pods").code == 0
    town.on.kill()
    try:
        assert town.kubectl(ann, "get", "secrets").code == 0
        assert town.kubectl(bob, "get", "pods").code == 0  # An answer counts for five minutes.
        refused = town.kubectl(bob, "get", "services")
        assert refused.code == 1
    finally:
        town.on.start()
    assert town.kubectl(bob, "get", "endpointslices").code == 0


def test_local_accounts_can_be_turned_off(town: Town) -> None:
    admin = town.on.arm("POST", f"{town.path}/listClusterAdminCredential")
    assert admin.status_code == 200
    town.put(disableLocalAccounts=True)
    refused = town.on.arm("POST", f"{town.path}/listClusterAdminCredential")
    assert refused.status_code == 400
    assert refused.json()["error"] == {
        "code": "BadRequest",
        "message": "Getting static credential is not allowed because this cluster is set to disable local accounts.",
    }
    user = town.on.arm("POST", f"{town.path}/listClusterUserCredential").json()
    config = base64.b64decode(user["kubeconfigs"][0]["value"]).decode()
    assert "client-key-data" not in config
    assert "kubelogin" in config
    town.put(disableLocalAccounts=False)
    assert town.on.arm("POST", f"{town.path}/listClusterAdminCredential").status_code == 200


@pytest.mark.az
def test_az_makes_shows_and_changes_it_and_kubelogin_signs_in(town: Town, az: Az, tmp_path: Path) -> None:
    this = ("--resource-group", GROUP, "--name", "by-az")
    refused = az.refused("aks", "create", *this, "--no-ssh-key", "--node-count", "1", "--disable-local-accounts")
    assert "can only be set on Azure AD integration enabled cluster" in refused.message
    more = ("--enable-aad", "--aad-admin-group-object-ids", town.ids["k8s-admins"], "--disable-local-accounts")
    made = az("aks", "create", *this, "--no-ssh-key", "--node-count", "1", *more)
    assert made["aadProfile"]["adminGroupObjectIDs"] == [town.ids["k8s-admins"]]
    assert (made["aadProfile"]["managed"], made["aadProfile"]["enableAzureRbac"]) == (True, False)
    assert (made["aadProfile"]["tenantId"], made["disableLocalAccounts"]) == (town.tenant, True)
    assert "set to disable local accounts" in az.fails("aks", "get-credentials", *this, "--admin", "--file", "-")
    az("aks", "update", *this, "--enable-azure-rbac", "--enable-local-accounts")
    shown = az("aks", "show", *this)
    assert (shown["aadProfile"]["enableAzureRbac"], shown["disableLocalAccounts"]) == (True, False)
    file = tmp_path / "config"
    az("aks", "get-credentials", *this, "--file", str(file))
    arguments = yaml.safe_load(file.read_text())["users"][0]["user"]["exec"]["args"]
    assert arguments[:9:2] == ["get-token", "AzurePublicCloud", SERVER, CLIENT, town.tenant]
    cloud = links.kubelogin()
    if cloud is None:
        pytest.skip("kubelogin is not built")
    environment = {
        **os.environ,
        "PATH": f"{cloud.parent}:{os.environ['PATH']}",
        "SSL_CERT_FILE": str(town.on.state.bundle),
        "HOME": str(tmp_path),
    }
    who = town.on.credentials
    application = {
        "AAD_LOGIN_METHOD": "spn",
        "AAD_SERVICE_PRINCIPAL_CLIENT_ID": who["clientId"],
        "AAD_SERVICE_PRINCIPAL_CLIENT_SECRET": who["clientSecret"],
    }
    command = [*kubectl_program(), f"--kubeconfig={file}", "auth", "whoami"]
    said = subprocess.check_output(command, env={**environment, **application}, text=True, timeout=60)
    assert town.ids["application"] in said
    with subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as waiting:
        assert waiting.stderr
        assert waiting.stdout
        code = re.search(r"open the page (\S+) and enter the code (\S+)", waiting.stderr.readline())
        assert code
        page = {"code": code[2], "username": upn("ann"), "password": PASSWORD}
        assert "Signed in" in town.on.http.post(code[1], data=page).text
        assert upn("ann") in waiting.stdout.read()
    az("aks", "delete", *this, "--yes", "--no-wait")
    az("aks", "wait", *this, "--deleted", "--interval", "1")
