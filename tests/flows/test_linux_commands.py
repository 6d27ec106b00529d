"""`az aks command invoke` on the linux substrate: the command works in the cluster, and sees nothing of the host."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

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
