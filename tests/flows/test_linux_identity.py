"""Who the nodes of a cluster are to their cloud, on the linux substrate.

Given a cluster that is a service principal, with one node; when the node and its pods ask who they are, scripts run on
the node (`az vmss run-command invoke`), and the principal's secret expires; then what they see, and what goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from azure_cli import Az
from flows.test_linux_commands import run
from flows_shared import eventually
from installation import Installation
from sorairo.engine.ids import host_name

pytestmark = [
    pytest.mark.root,
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, control groups, links"),
]

NODES = "MC_rg_c_westeurope"
ARM = "https://management.azure.com/"
GIVEN: list[str] = []
"""Secrets that clusters were reset to."""
TOKEN = f"identity/oauth2/token?api-version=2018-02-01&resource={ARM}"


@dataclass
class Application:
    """A service principal, with the directory's own API."""

    on: Installation
    name: str
    id: str = ""
    client_id: str = ""

    def graph(self, method: str, path: str, body: Any = None) -> Any:
        who = self.on.credentials
        answer = self.on.http.post(
            f"/{who['tenantId']}/oauth2/v2.0/token",
            data={
                "grant_type": "client_credentials",
                "client_id": who["clientId"],
                "client_secret": who["clientSecret"],
                "scope": "https://graph.microsoft.com/.default",
            },
        )
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        done = self.on.http.request(method, f"/v1.0/{path}", json=body, headers=headers)
        assert done.is_success, done.text
        return done.json() if done.content else None

    def make(self) -> Application:
        made = self.graph("POST", "applications", {"displayName": self.name})
        self.id, self.client_id = made["id"], made["appId"]
        self.graph("POST", "servicePrincipals", {"appId": self.client_id})
        return self

    def secret(self, seconds: float = 3600) -> str:
        """Another one, which ends so many seconds from now."""
        ends = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
        body = {"passwordCredential": {"displayName": "test", "endDateTime": ends}}
        return str(self.graph("POST", f"applications/{self.id}/addPassword", body)["secretText"])


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("commands") / "state", "linux").start()
    try:
        installation.group("rg")
        yield installation
    finally:
        installation.purge()


@pytest.fixture(scope="module")
def application(on: Installation) -> Application:
    return Application(on, "cluster").make()


@pytest.fixture(scope="module")
def secret(application: Application) -> str:
    return application.secret()


@pytest.fixture(scope="module", autouse=True)
def cluster(on: Installation, application: Application, secret: str) -> str:
    """The path of the cluster, whose service principal is `application` with `secret`."""
    body = {
        "location": "westeurope",
        "properties": {
            "agentPoolProfiles": [{"name": "nodepool1", "mode": "System", "count": 1}],
            "servicePrincipalProfile": {"clientId": application.client_id, "secret": secret},
        },
    }
    path = on.cluster_path("rg", "c")
    ended = on.wait(on.arm("PUT", path, body))
    assert ended["status"] == "Succeeded", ended
    return path


# --- on the node ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scale_set(on: Installation, cluster: str) -> str:
    path = f"resourceGroups/{NODES}/providers/Microsoft.Compute/virtualMachineScaleSets"
    (found,) = on.arm("GET", path).json()["value"]
    return str(found["id"])


def result(on: Installation, answer: Any) -> Any:
    assert answer.status_code == 202, answer.text
    deadline = time.monotonic() + 60
    while (done := on.http.get(answer.headers["location"])).status_code == 202:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return done.json()


def script(on: Installation, scale_set: str, *lines: str, **parameters: str) -> tuple[str, str]:
    """What a script on the node says: standard output and standard error."""
    body = {
        "commandId": "RunShellScript",
        "script": list(lines),
        "parameters": [{"name": n, "value": v} for n, v in parameters.items()],
    }
    (value,) = result(on, on.arm("POST", f"{scale_set}/virtualMachines/0/runCommand", body))["value"]
    assert (value["code"], value["displayStatus"]) == ("ProvisioningState/succeeded", "Provisioning succeeded")
    start, middle, between = "Enable succeeded: \n[stdout]\n", "\n[stderr]\n", value["message"]
    assert between.startswith(start), between
    said, _, wrong = between[len(start) :].partition(middle)
    return said, wrong


def metadata(on: Installation, scale_set: str, path: str) -> Any:
    """What the node's own `curl` is told by instance metadata."""
    said, wrong = script(on, scale_set, f"curl -sS -m 5 -H Metadata:true 'http://169.254.169.254/metadata/{path}'")
    assert not wrong, wrong
    return json.loads(said) if said.startswith("{") else said


def assign(on: Installation, scale_set: str, kind: str, *ids: str) -> dict[str, Any]:
    body = {"identity": {"type": kind, "userAssignedIdentities": {i: {} for i in ids}}}
    assert on.wait(on.arm("PATCH", scale_set, body))["status"] == "Succeeded"
    return on.arm("GET", scale_set).json()["identity"]  # type: ignore[no-any-return]


def test_a_script_runs_as_root_on_the_node(on: Installation, scale_set: str) -> None:
    said, wrong = script(
        on, scale_set, "id -u; hostname; echo $1-$2-$colour", "echo oops >&2; exit 3", one="1", colour="blue"
    )
    assert said.splitlines() == ["0", scale_set.rsplit("/", 1)[1] + "000000", "1-blue-blue"]
    assert wrong == "oops\n", "a script that fails has run, too"
    said, _ = script(on, scale_set, "seq 1 100000")
    assert len(said) == 4096
    assert said.endswith("100000\n")
    for body, code in (
        ({"commandId": "RunPowerShellScript", "script": ["ls"]}, "InvalidParameter"),
        ({"commandId": "Nonsense", "script": ["ls"]}, "NotFound"),
        ({"commandId": "RunShellScript", "script": []}, "InvalidParameter"),
    ):
        answer = on.arm("POST", f"{scale_set}/virtualMachines/0/runCommand", body)
        ended = on.wait(answer)
        assert (ended["status"], ended["error"]["code"]) == ("Failed", code)


def test_the_principal_is_in_a_file_of_roots_alone(
    on: Installation, scale_set: str, application: Application, secret: str
) -> None:
    said, _ = script(on, scale_set, "stat -c '%a %U' /etc/kubernetes/azure.json", "cat /etc/kubernetes/azure.json")
    mode, _, text = said.partition("\n")
    assert mode == "600 root"
    found = json.loads(text)
    assert (found["aadClientId"], found["aadClientSecret"]) == (application.client_id, secret)
    assert (found["useManagedIdentityExtension"], found["resourceGroup"]) == (False, NODES)
    _, said = run(on, "cat /etc/kubernetes/azure.json 2>&1")
    assert secret not in said, "a command in the cluster is not on the node"


def test_a_node_and_its_pods_are_told_what_they_are(on: Installation, scale_set: str) -> None:
    compute = metadata(on, scale_set, "instance/compute?api-version=2021-10-01")
    assert compute["resourceId"].lower() == f"{scale_set}/virtualMachines/0".lower()
    assert (compute["vmSize"], compute["location"]) == ("Standard_D2s_v3", "westeurope")
    network = metadata(on, scale_set, "instance/network?api-version=2021-10-01")
    own = script(on, scale_set, "ip -4 -o address show eth0")[0].split()[3].partition("/")[0]
    assert network["interface"][0]["ipv4"]["ipAddress"][0]["privateIpAddress"] == own
    balancer = metadata(on, scale_set, "loadbalancer?api-version=2020-10-01")["loadbalancer"]
    assert [r["privateIpAddress"] for r in balancer["outboundRules"]] == [own]
    config = on.kubeconfig("rg", "c")
    url = "http://169.254.169.254/metadata/instance/compute/name?api-version=2021-10-01&format=text"
    ask = ["wget", "-qO-", "--header=Metadata: true", url]
    container = {"name": "c", "image": "docker.io/library/busybox:1", "imagePullPolicy": "IfNotPresent", "command": ask}
    for name, spec in (("pod", {}), ("onhost", {"hostNetwork": True})):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}}
        pod |= {"spec": {"restartPolicy": "Never", "containers": [container], **spec}}
        on.kubectl(config, "apply", "-f", "-", stdin=json.dumps(pod))
    for name in ("pod", "onhost"):
        on.kubectl(config, "wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
        assert on.kubectl(config, "logs", name) == compute["name"]


def test_tokens_are_for_the_nodes_own_identities(on: Installation, scale_set: str) -> None:
    assert metadata(on, scale_set, TOKEN) == {"error": "invalid_request", "error_description": "Identity not found"}
    ids = []
    for name in ("one", "two"):
        path = f"resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
        made = on.arm("PUT", path, {"location": "westeurope"})
        ids.append(made.json()["id"])
    shown = assign(on, scale_set, "UserAssigned", ids[0])
    token = metadata(on, scale_set, TOKEN)
    assert token["client_id"] == shown["userAssignedIdentities"][ids[0]]["clientId"]
    # It opens what its role says, and no more.
    group, headers = f"{on.subscription}/resourceGroups/rg", {"Authorization": f"Bearer {token['access_token']}"}
    principal = shown["userAssignedIdentities"][ids[0]]["principalId"]
    assert on.http.get(group, params={"api-version": "2024-11-01"}, headers=headers).status_code == 403
    reader = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
    role = {"roleDefinitionId": f"{on.subscription}/providers/Microsoft.Authorization/roleDefinitions/{reader}"}
    name = "0f6c2f0e-3a52-4a0e-9c4e-0a0a0a0a0a0a"
    body = {"properties": {**role, "principalId": principal, "principalType": "ServicePrincipal"}}
    on.arm("PUT", f"{group}/providers/Microsoft.Authorization/roleAssignments/{name}", body).raise_for_status()
    assert on.http.get(group, params={"api-version": "2024-11-01"}, headers=headers).status_code == 200
    assign(on, scale_set, "UserAssigned", *ids)
    assert metadata(on, scale_set, TOKEN)["error_description"].startswith("Multiple user assigned identities exist")
    assert metadata(on, scale_set, f"{TOKEN}&msi_res_id={ids[0]}")["client_id"] == token["client_id"]
    shown = assign(on, scale_set, "SystemAssigned,UserAssigned", *ids)  # as `az` writes it
    own = metadata(on, scale_set, f"{TOKEN}&object_id={shown['principalId']}")
    assert metadata(on, scale_set, TOKEN)["client_id"] == own["client_id"]


@pytest.mark.az
def test_az_login_by_identity_on_the_node(on: Installation, scale_set: str, tmp_path: Path) -> None:
    """The real `az`, in the node's network: metadata gives it a token, and Azure is at Azure's own address there."""
    az = Az(on).signed_out(tmp_path / "azure")
    clouds = tmp_path / "azure" / "clouds.config"
    manager = "endpoint_resource_manager = "
    clouds.write_text(clouds.read_text().replace(f"{manager}{on.base}", f"{manager}https://168.63.129.16"))
    namespace = on.state.fabric.run_dir / "netns" / host_name(f"{scale_set}/virtualMachines/0")

    def inside(*arguments: str) -> Any:
        command = ["nsenter", f"--net={namespace}", str(az._az), *arguments, "--only-show-errors", "--output", "json"]
        done = subprocess.run(command, env=az._environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout)

    one = f"{on.subscription}/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one"
    (account,) = inside("login", "--identity", "--resource-id", one)
    assert (account["user"]["name"], account["user"]["type"]) == ("userAssignedIdentity", "servicePrincipal")
    assert inside("group", "show", "--name", "rg")["id"] == f"{on.subscription}/resourceGroups/rg"


def test_metadata_is_there_again_after_a_kill(on: Installation, scale_set: str) -> None:
    on.kill()
    on.start()
    name = "instance/compute/name?api-version=2021-10-01&format=text"
    ask = f"curl -s -m 2 --retry 20 --retry-connrefused --retry-delay 1 -H Metadata:true 'http://169.254.169.254/metadata/{name}'"
    assert script(on, scale_set, ask)[0].endswith("_0")


# --- the principal --------------------------------------------------------------------------------------------


def reset(on: Installation, cluster: str, client_id: str, secret: str) -> Any:
    GIVEN.append(secret)
    return on.arm("POST", f"{cluster}/resetServicePrincipalProfile", {"clientId": client_id, "secret": secret})


def secret_on(on: Installation, scale_set: str) -> str:
    """A digest of the secret in the node's file: what a script says is kept with its operation."""
    value = """sed -n 's/.*"aadClientSecret": "\\(.*\\)",/\\1/p' /etc/kubernetes/azure.json | tr -d '\\n' | sha256sum"""
    return script(on, scale_set, value)[0].split()[0]


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def processes(on: Installation) -> dict[str, int]:
    machines = on.arm("GET", "/providers/Microsoft.Sorairo/status/default").json()["properties"]["machines"]
    return {p["name"]: p["pid"] for m in machines for p in m["processes"]}


def expose(on: Installation, config: Path, name: str) -> None:
    spec = {"type": "LoadBalancer", "selector": {"app": "none"}, "ports": [{"port": 80}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
    on.kubectl(config, "apply", "-f", "-", stdin=json.dumps(service))


def reached(on: Installation, config: Path, name: str) -> None:
    on.kubectl(config, "wait", f"service/{name}", "--for=jsonpath={.status.loadBalancer.ingress}", "--timeout=90s")


def told(on: Installation, config: Path, name: str, word: str) -> None:
    def look() -> bool:
        return word in on.kubectl(config, "get", "events", f"--field-selector=involvedObject.name={name}")

    eventually(f"an event with {word}", look)


@pytest.mark.az
def test_az_rolls_a_new_secret_to_the_node(
    on: Installation, scale_set: str, application: Application, tmp_path: Path
) -> None:
    """What docs/identity.md says to do when a cluster's secret was replaced."""
    az, fresh = Az(on), application.secret()
    principal = ("--service-principal", application.client_id, "--client-secret", fresh)
    az("aks", "update-credentials", "--resource-group", "rg", "--name", "c", "--reset-service-principal", *principal)
    instance = ("--name", scale_set.rsplit("/", 1)[1], "--instance-id", "0", "--resource-group", NODES)
    show = ("--command-id", "RunShellScript", "--scripts", "cat /etc/kubernetes/$1", "--parameters", "azure.json")
    said = az("vmss", "run-command", "invoke", *instance, *show)["value"][0]["message"]
    assert fresh in said
    command = ("aks", "command", "invoke", "--resource-group", "rg", "--name", "c", "--command", _ON_THE_NODE)
    assert fresh in az.text(*command)


_ON_THE_NODE = r"""
pod=$(kubectl debug $(kubectl get nodes -o name) --image=docker.io/library/busybox:1 --profile=sysadmin -- \
  cat /host/etc/kubernetes/azure.json 2>&1 | sed -n 's/.*debugging pod \([^ ]*\) .*/\1/p')
kubectl wait pod/$pod --for=jsonpath={.status.phase}=Succeeded --timeout=60s
kubectl logs $pod
kubectl delete pod $pod --wait=false
"""


def test_a_secret_that_expires_stops_the_cloud_and_not_the_pods(
    on: Installation, cluster: str, scale_set: str, application: Application
) -> None:
    config = on.kubeconfig("rg", "c")
    expose(on, config, "before")
    reached(on, config, "before")
    pids = processes(on)
    assert {"kubelet", "kube-proxy", "containerd", "kube-apiserver"} <= pids.keys()
    short = application.secret(8)
    ends = time.monotonic() + 8
    assert on.wait(reset(on, cluster, application.client_id, short))["status"] == "Succeeded"
    assert secret_on(on, scale_set) == digest(short)

    def shown() -> Any:
        properties = on.arm("GET", cluster).json()["properties"]
        return (properties.get("status") or {}).get("provisioningError")

    error = eventually("the cluster says it", shown)
    assert time.monotonic() > ends - 0.5
    assert error["code"] == "ServicePrincipalValidationClientError"
    assert "AADSTS7000222" in error["message"]
    expose(on, config, "after")
    told(on, config, "after", "AADSTS7000222")
    # A change is refused, with the same words, and changes nothing.
    pool = on.arm("GET", f"{cluster}/agentPools/nodepool1").json()
    pool["properties"]["count"] = 2
    refused = on.arm("PUT", f"{cluster}/agentPools/nodepool1", pool)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "ServicePrincipalValidationClientError")
    # What is there goes on.
    assert "Ready" in on.kubectl(config, "get", "nodes")
    reached(on, config, "before")
    for client, wrong, word in (
        (application.client_id, "nonsense", "AADSTS7000215"),
        ("00000000-1111-2222-3333-444444444444", short, "AADSTS700016"),
        (application.client_id, short, "AADSTS7000222"),
    ):
        refused = reset(on, cluster, client, wrong)
        assert refused.status_code == 400
        assert word in refused.json()["error"]["message"]
    fresh = application.secret()
    assert on.wait(reset(on, cluster, application.client_id, fresh))["status"] == "Succeeded"
    reached(on, config, "after")
    eventually("the cluster is well", lambda: not shown())
    assert secret_on(on, scale_set) == digest(fresh)
    assert processes(on) == pids, "nothing was restarted for it"


def test_a_principal_that_is_deleted_is_told_and_another_takes_its_place(
    on: Installation, cluster: str, scale_set: str, application: Application
) -> None:
    config = on.kubeconfig("rg", "c")
    application.graph("DELETE", f"applications/{application.id}")

    def shown() -> str:
        properties = on.arm("GET", cluster).json()["properties"]
        return str((properties.get("status") or {}).get("provisioningError", {}).get("message", ""))

    eventually("the cluster says it", lambda: "AADSTS700016" in shown())
    other = Application(on, "other").make()
    secret = other.secret()
    assert on.wait(reset(on, cluster, other.client_id, secret))["status"] == "Succeeded"
    assert on.arm("GET", cluster).json()["properties"]["servicePrincipalProfile"] == {"clientId": other.client_id}
    assert secret_on(on, scale_set) == digest(secret)
    expose(on, config, "anew")
    reached(on, config, "anew")
    assert not shown()


def test_only_what_a_cluster_has_can_be_reset(on: Installation, cluster: str) -> None:
    refused = on.arm("POST", f"{cluster}/resetAADProfile", {"clientAppID": "a", "serverAppID": "b"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "BadRequest")
    for body in ({}, {"clientId": "x"}, {"secret": "x"}):
        refused = on.arm("POST", f"{cluster}/resetServicePrincipalProfile", body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "InvalidParameter")


def test_no_secret_was_written_down(on: Installation, secret: str, scale_set: str) -> None:
    """Neither a principal's nor a token's, in anything the daemon and the machines have logged, nor in operations."""
    token = metadata(on, scale_set, TOKEN)["access_token"]
    words = [w.encode() for w in (*GIVEN, secret, token, token.rsplit(".", 1)[1])]
    looked_at = 0
    for file in on.state.root.rglob("*"):
        if "log" in str(file.relative_to(on.state.root)) and file.is_file() and stat.S_ISREG(file.stat().st_mode):
            content = file.read_bytes()
            assert not [w for w in words if w in content], file
            looked_at += 1
    assert looked_at > 5
