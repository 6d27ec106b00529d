"""`az aks command invoke` on the linux substrate: the command works in the cluster, and sees nothing of the host.

And at its end the same cluster for the directory's users, whose control plane has a loopback of its own.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from installation import Installation

pytestmark = [
    pytest.mark.root,
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, control groups, links"),
]


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("commands") / "state", "linux").start()
    try:
        installation.group("rg")
        assert installation.create_cluster("rg", "c")["status"] == "Succeeded"
        yield installation
    finally:
        installation.purge()


def run(on: Installation, command: str) -> tuple[int, str]:
    answer = on.arm("POST", f"{on.cluster_path('rg', 'c')}/runCommand", {"command": command})
    assert answer.status_code == 202, answer.text
    deadline = time.monotonic() + 60
    while (result := on.http.get(answer.headers["location"])).status_code == 202:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    properties = result.json()["properties"]
    assert properties["provisioningState"] == "Succeeded", properties
    return properties["exitCode"], properties["logs"]


def test_it_administers_the_cluster(on: Installation) -> None:
    code, said = run(on, "kubectl create namespace made && kubectl get nodes -o name && kubectl auth can-i '*' '*'")
    assert code == 0, said
    assert said.splitlines()[0] == "namespace/made created"
    assert said.splitlines()[1].startswith("node/aks-nodepool1-")
    assert said.splitlines()[2] == "yes"
    assert run(on, "exit 3") == (3, "")


def test_it_sees_nothing_of_the_host(on: Installation) -> None:
    _, said = run(on, "id -u; grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status; hostname")
    uid, capabilities, privileges, name = said.splitlines()
    assert uid == "65534"
    assert int(capabilities.split()[1], 16) == 0
    assert privileges.split()[1] == "1"
    assert name == "command"
    for secret in (on.state.root, on.state.credentials, "/etc/shadow", "/root/.ssh", "/var/lib/sorairo"):
        code, said = run(on, f"cat {secret} || ls -la {secret}")
        assert code != 0, said
    code, said = run(on, "mount -t tmpfs none /mnt; touch /usr/x; ls /proc | grep -c '^[0-9]'")
    assert "x" not in os.listdir("/usr")
    assert int(said.splitlines()[-1]) < 12, "it sees processes that are not its own"
    # Its kubeconfig alone opens anything, and not for long.
    code, said = run(on, "openssl version >/dev/null 2>&1 || exit 77; grep -c client-key $KUBECONFIG")
    assert code in (0, 77)


def test_it_leaves_nothing(on: Installation) -> None:
    run(on, "echo left > /tmp/left; sleep 60 & echo started")
    status = on.arm("GET", "/providers/Microsoft.Sorairo/status/default").json()["properties"]
    assert not [m for m in status["machines"] if "/commandresults/" in m["resourceId"].lower()]
    assert sorted(os.listdir(on.state.root / "machines")) == sorted(m["id"] for m in status["machines"])


def test_output_has_a_limit(on: Installation) -> None:
    code, said = run(on, "yes")
    assert code == 128 + signal.SIGXFSZ, "it was not ended"
    assert said.startswith("y\n" * (256 * 1024))
    assert len(said) < 513 * 1024  # What is more says why it was ended.


# --- users of the directory ----------------------------------------------------------------------------------

SERVER = "6dae42f8-4368-4678-94ff-3960e28e3630"
CLUSTER_ADMIN = "b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b"


def eventually(check: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def signed_in(on: Installation) -> Path:
    """The cluster, changed in place, and a kubeconfig with a token of the administrator's for it."""
    path = on.cluster_path("rg", "c")
    body = on.arm("GET", path).json()
    body["properties"]["aadProfile"] = {"managed": True, "enableAzureRBAC": True}
    ended = on.wait(on.arm("PUT", path, body))
    assert ended["status"] == "Succeeded", ended
    config = yaml.safe_load(on.kubeconfig("rg", "c").read_text())
    assert config["users"][0]["user"]["exec"]["command"] == "kubelogin"
    config["users"][0]["user"] = {"token": token(on)}
    file = on.state.root / "signed-in.kubeconfig"
    file.touch(0o600)
    file.write_text(yaml.safe_dump(config))
    return file


def token(on: Installation) -> str:
    who = on.credentials
    form = {"grant_type": "client_credentials", "client_id": who["clientId"], "client_secret": who["clientSecret"]}
    answer = on.http.post(f"/{who['tenantId']}/oauth2/v2.0/token", data={**form, "scope": f"{SERVER}/.default"})
    return str(answer.json()["access_token"])


def test_keys_and_roles_are_asked_for_from_its_own_network(on: Installation, signed_in: Path) -> None:
    seen = json.loads(on.kubectl(signed_in, "auth", "whoami", "-o", "json"))["status"]["userInfo"]
    claims = json.loads(base64.urlsafe_b64decode(token(on).split(".")[1] + "=="))
    assert seen["username"] == claims["oid"]
    with pytest.raises(AssertionError, match="User does not have access to the resource in Azure"):
        on.kubectl(signed_in, "get", "pods")
    definition = f"{on.subscription}/providers/Microsoft.Authorization/roleDefinitions/{CLUSTER_ADMIN}"
    assignment = f"{on.cluster_path('rg', 'c')}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    on.arm("PUT", assignment, {"properties": {"roleDefinitionId": definition, "principalId": claims["oid"]}})
    assert "kubernetes" in on.kubectl(signed_in, "get", "services", "-A")


def test_a_new_daemon_answers_where_the_one_before_did(on: Installation, signed_in: Path) -> None:
    on.kill()
    assert "Username" in on.kubectl(signed_in, "auth", "whoami")
    with pytest.raises(AssertionError):
        on.kubectl(signed_in, "get", "configmaps")
    on.start()
    eventually(lambda: "kube-root-ca.crt" in on.kubectl(signed_in, "get", "configmaps", check=False))


def test_a_command_is_whose_token_comes_with_it(on: Installation, signed_in: Path) -> None:
    url = f"{on.cluster_path('rg', 'c')}/runCommand"
    refused = on.wait(on.arm("POST", url, {"command": "kubectl get nodes"}))
    assert refused["error"]["target"] == "clusterToken"
    answer = on.arm("POST", url, {"command": "kubectl get nodes -o name", "clusterToken": token(on)})
    assert on.wait(answer)["status"] == "Succeeded"
    assert on.http.get(answer.headers["location"]).json()["properties"]["logs"].startswith("node/aks-nodepool1-")


def test_it_goes_with_its_network(on: Installation, signed_in: Path) -> None:
    assert on.wait(on.arm("DELETE", on.cluster_path("rg", "c")))["status"] == "Succeeded"
    assert not (on.state.fabric.run_dir / "netns").exists()
