"""The built programs start, and are the versions that the go.mod files pin."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import components
import pytest

pytestmark = pytest.mark.engine

OPTIONAL = {component.name for component in components.OPTIONAL}
VERSIONS = {component.name: component.version for component in components.chosen(components.minors(), OPTIONAL)}
KUBERNETES = [f"kubernetes-{minor}" for minor in components.minors()]


def output(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("component", KUBERNETES)
@pytest.mark.parametrize(
    "name", ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet"]
)
def test_kubernetes_is_each_component(built: Callable[[str], Path], component: str, name: str) -> None:
    program = built(component) / "bin" / "kubernetes"
    assert output(program, name, "--version") == f"Kubernetes v{VERSIONS[component]}\n"


@pytest.mark.parametrize("component", KUBERNETES)
def test_kubectl_by_the_name_of_a_link(built: Callable[[str], Path], component: str, tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.symlink_to(built(component) / "bin" / "kubernetes")
    version = json.loads(output(kubectl, "version", "--client", "-o", "json"))["clientVersion"]
    assert version["gitVersion"] == f"v{VERSIONS[component]}"
    assert f"{version['major']}.{version['minor']}" == component.removeprefix("kubernetes-")
    assert "Format" not in version["gitCommit"], "upstream's placeholder is not shown"


def test_kubernetes_says_how_to_call_it(built: Callable[[str], Path]) -> None:
    program = built(KUBERNETES[0]) / "bin" / "kubernetes"
    done = subprocess.run([program, "kube-nothing"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "kube-apiserver" in done.stderr


@pytest.mark.parametrize(
    ("component", "program", "flag"),
    [
        ("etcd", "etcd", "--version"),
        ("containerd", "containerd", "--version"),
        ("containerd", "containerd-shim-runc-v2", "-v"),
        ("containerd", "ctr", "--version"),
        ("runc", "runc", "--version"),
        ("coredns", "coredns", "-version"),
        ("kwok", "kwok", "--version"),
        ("kubelogin", "kubelogin", "--version"),
        ("metrics-server", "metrics-server", "--version"),
        ("cloud-provider", "cloud-controller-manager", "--version"),
        ("registry", "registry", "--version"),
    ],
)
def test_program_says_its_version(built: Callable[[str], Path], component: str, program: str, flag: str) -> None:
    assert VERSIONS[component] in output(built(component) / "bin" / program, flag)


@pytest.mark.parametrize("plugin", ["ptp", "bridge", "host-local", "loopback", "portmap", "bandwidth"])
def test_cni_plugin_says_its_version(built: Callable[[str], Path], plugin: str) -> None:
    assert f"CNI {plugin} plugin v{VERSIONS['cni']}" in output(built("cni") / "cni" / plugin)


def test_runc_has_seccomp(built: Callable[[str], Path]) -> None:
    """Without it every pod fails at init, since containerd gives each one a seccomp profile."""
    features = json.loads(output(built("runc") / "bin" / "runc", "features"))
    assert features["linux"]["seccomp"]["enabled"]


def test_runsvdir_keeps_a_service_running(built: Callable[[str], Path], tmp_path: Path) -> None:
    programs = built("supervisor") / "bin"
    service = tmp_path / "services" / "one"
    service.mkdir(parents=True)
    heard = tmp_path / "heard"
    subprocess.run(["mkfifo", heard], check=True)
    (service / "run").write_text(
        f"#!{programs}/busybox sh\necho started > {heard}\nexec {programs}/busybox sleep 1000\n"
    )
    (service / "run").chmod(0o755)
    supervisor = subprocess.Popen([programs / "runsvdir", service.parent], env={"PATH": str(programs)})
    try:
        assert heard.read_text() == "started\n"
        assert output(programs / "sv", "status", service).startswith("run:")
        output(programs / "sv", "term", service)
        assert heard.read_text() == "started\n", "a service that ends is started again"
        output(programs / "sv", "-w", "10", "stop", service)
    finally:
        supervisor.send_signal(1)  # HUP: runsvdir also stops what it started
        supervisor.wait(timeout=10)
