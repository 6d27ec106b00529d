"""Who the nodes of a cluster are to their cloud, on the linux substrate.

Given a cluster that is a service principal, with one node; when the node and its pods ask who they are, scripts run on
the node (`az vmss run-command invoke`), and the principal's secret expires; then what they see, and what goes on.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from azure_cli import Az
from flows.on_nodes import (
    GIVEN,
    SIGN_IN,
    Application,
    assign,
    digest,
    expose,
    metadata,
    processes,
    reached,
    reset,
    script,
    script_on,
    secret_on,
    signed_in,
    told,
)
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
TOKEN = f"identity/oauth2/token?api-version=2018-02-01&resource={ARM}"


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
    tenant = on.credentials["tenantId"]
    # A pod finds the token service by its name; with the node's programs, and whom the node trusts, it asks there, and
    # is told to go on by that name.
    discovery = f"https://login.sorairo.internal/{tenant}/v2.0/.well-known/openid-configuration"
    command = f"nslookup login.sorairo.internal | grep 168.63.129.16 && chroot /host curl -sS -m 10 {discovery}"
    look = {**container, "command": ["sh", "-c", command], "volumeMounts": [{"name": "host", "mountPath": "/host"}]}
    looks = {"containers": [look], "volumes": [{"name": "host", "hostPath": {"path": "/"}}]}
    for name, spec in (("pod", {}), ("onhost", {"hostNetwork": True}), ("looks", looks)):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}}
        pod |= {"spec": {"restartPolicy": "Never", "containers": [container], **spec}}
        on.kubectl(config, "apply", "-f", "-", stdin=json.dumps(pod))
    for name in ("pod", "onhost"):
        on.kubectl(config, "wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
        assert on.kubectl(config, "logs", name) == compute["name"]
    on.kubectl(config, "wait", "pod/looks", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    found = json.loads(on.kubectl(config, "logs", "looks").partition("\n")[2])
    assert found["token_endpoint"] == f"https://login.sorairo.internal/{tenant}/oauth2/v2.0/token"
    assert found["issuer"] == f"{on.base}/{tenant}/v2.0"


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
    text = clouds.read_text()
    for endpoint in ("endpoint_resource_manager = ", "endpoint_active_directory = "):
        assert f"{endpoint}{on.base}" in text
        text = text.replace(f"{endpoint}{on.base}", f"{endpoint}https://168.63.129.16")
    clouds.write_text(text)
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
    # With a secret MSAL asks for the authority's discovery document, and goes on as that says.
    who = on.credentials
    principal = ("--username", who["clientId"], "--password", who["clientSecret"], "--tenant", who["tenantId"])
    (account,) = inside("login", "--service-principal", *principal)
    assert account["user"]["name"] == who["clientId"]


def test_metadata_is_there_again_after_a_kill(on: Installation, scale_set: str) -> None:
    on.kill()
    on.start()
    name = "instance/compute/name?api-version=2021-10-01&format=text"
    ask = f"curl -s -m 2 --retry 20 --retry-connrefused --retry-delay 1 -H Metadata:true 'http://169.254.169.254/metadata/{name}'"
    assert script(on, scale_set, ask)[0].endswith("_0")


# --- the principal --------------------------------------------------------------------------------------------


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
    assert {"kubelet", "kube-proxy", "containerd", "kube-apiserver"} <= {p.rpartition("/")[2] for p in pids}
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


@pytest.mark.az
def test_az_rolls_a_new_secret_to_both_of_two_nodes(on: Installation, cluster: str, scale_set: str) -> None:
    """Each node's file is root's alone, and with what it says somebody on the node signs in as the cluster does."""
    pool = {"properties": {"mode": "System", "count": 2}}
    assert on.wait(on.arm("PUT", f"{cluster}/agentPools/nodepool1", pool))["status"] == "Succeeded"
    third, az = Application(on, "third").make(), Az(on)
    GIVEN.append(secret := third.secret())
    principal = ("--service-principal", third.client_id, "--client-secret", secret)
    az("aks", "update-credentials", "--resource-group", "rg", "--name", "c", "--reset-service-principal", *principal)
    url = f"https://login.sorairo.internal/{on.credentials['tenantId']}/oauth2/v2.0/token"
    wanted = ("600 root", digest(secret), url, third.client_id)
    instance = ("--name", scale_set.rsplit("/", 1)[1], "--instance-id", "1", "--resource-group", NODES)
    told = az("vmss", "run-command", "invoke", *instance, "--command-id", "RunShellScript", "--scripts", SIGN_IN)
    said, _, wrong = told["value"][0]["message"].partition("[stdout]\n")[2].partition("\n[stderr]\n")
    assert (signed_in(said), wrong) == (wanted, "")
    assert signed_in(script(on, scale_set, SIGN_IN)[0]) == wanted


@pytest.mark.parametrize("point", ["update instance:after", "virtualMachines/machine:before"])
def test_killed_in_the_middle_both_nodes_come_to_have_it(
    on: Installation, cluster: str, scale_set: str, point: str
) -> None:
    """kill -9, one of two nodes with the old secret: the next sorairo goes on where it was."""
    before = processes(on)
    on.stop()
    on.start(SORAIRO_CRASH_AT=f"virtualMachineScaleSets/{point}")
    client = on.arm("GET", cluster).json()["properties"]["servicePrincipalProfile"]["clientId"]
    application = Application(on, "third", client_id=client)
    application.id = application.graph("GET", f"applications(appId='{client}')")["id"]
    secret = application.secret()
    answer = reset(on, cluster, client, secret)
    on.wait_dead()
    on.start()
    assert on.wait(answer)["status"] == "Succeeded"
    for node in (0, 1):
        mode, found, _, who = signed_in(script_on(on, f"{scale_set}/virtualMachines/{node}", SIGN_IN)[0])
        assert (mode, found, who) == ("600 root", digest(secret), client)
    assert processes(on) == before, "nothing was restarted for it"


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
