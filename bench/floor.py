"""The floor: how soon a cluster of one node can stand, with nothing but the drivers around its programs.

    python bench/floor.py --runs 5

Starts, in the best order known, what a cluster consists of, and waits until the node is Ready, the `default` service
account exists and, with `--pod`, a pod runs. Prints the median time of each phase in seconds after the start, and with
`--memory` the proportional set size of each program, 30 s after. Needs root and the engine. Everything is removed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import datetime
import http.client
import ipaddress
import json
import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import flags
import sorairo_engine
import sorairo_images
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sorairo.drivers.linux import cgroups
from sorairo.drivers.linux.machines import NAMESPACES, LinuxMachines
from sorairo.drivers.protocols import File, Machine, Service

HOST_LINK = ("198.18.255.1", "198.18.255.2")
CONTROL, NODE = "floor-control", "floor-node"


# --- certificates ----------------------------------------------------------------------------------------


class Authority:
    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(name)
        self.certificate = self._sign(self.name, self.key.public_key(), ca=True, names=())

    def issue(self, user: str, group: str | None = None, names: tuple[str, ...] = ()) -> tuple[bytes, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        return pem(self._sign(_name(user, group), key.public_key(), ca=False, names=names)), private(key)

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, ca: bool, names: tuple[str, ...]
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=365))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(n) for n in names]), critical=False
            )
        return builder.sign(self.key, hashes.SHA256())


def _name(user: str, group: str | None = None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
    if group:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(parts)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def kubeconfig(url: str, ca: bytes, certificate: bytes, key: bytes) -> bytes:
    def data(value: bytes) -> str:
        return base64.b64encode(value).decode()

    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority-data": data(ca)}}],
            "users": [
                {"name": "u", "user": {"client-certificate-data": data(certificate), "client-key-data": data(key)}}
            ],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
    ).encode()


# --- the cluster as machines -----------------------------------------------------------------------------


class Plan:
    """All files and services of one cluster."""

    def __init__(self, cluster: flags.Cluster, options: argparse.Namespace) -> None:
        self.cluster = cluster
        self.options = options
        self.ca = Authority("kubernetes")
        front = Authority("front-proxy")
        ca = pem(self.ca.certificate)
        account = ec.generate_private_key(ec.SECP256R1())
        names = ("kubernetes", "kubernetes.default.svc", cluster.service_ip, cluster.api, HOST_LINK[1], "127.0.0.1")
        self.admin = self.ca.issue("admin", "system:masters")
        pairs = {
            "apiserver": self.ca.issue("kube-apiserver", names=names),
            "apiserver-kubelet": self.ca.issue("kube-apiserver-kubelet-client", "system:masters"),
            "front-proxy-client": front.issue("front-proxy-client"),
        }
        node = f"system:node:{cluster.node}"
        serving = self.ca.issue(node, "system:nodes", names=(cluster.node, cluster.node_ip))
        local = cluster.url.replace(cluster.api, "127.0.0.1")
        public = account.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.control_files = {
            "pki/ca.crt": ca,
            "pki/ca.key": private(self.ca.key),
            "pki/front-proxy-ca.crt": pem(front.certificate),
            "pki/sa.key": private(account),
            "pki/sa.pub": public,
            **{f"pki/{name}.crt": pair[0] for name, pair in pairs.items()},
            **{f"pki/{name}.key": pair[1] for name, pair in pairs.items()},
            "controller-manager.conf": kubeconfig(local, ca, *self.ca.issue("system:kube-controller-manager")),
            "scheduler.conf": kubeconfig(local, ca, *self.ca.issue("system:kube-scheduler")),
        }
        self.node_files = {
            "/etc/kubernetes/pki/ca.crt": ca,
            "/etc/kubernetes/pki/kubelet.crt": serving[0],
            "/etc/kubernetes/pki/kubelet.key": serving[1],
            "/etc/kubernetes/kubelet.conf": kubeconfig(cluster.url, ca, *self.ca.issue(node, "system:nodes")),
            "/etc/kubernetes/kube-proxy.conf": kubeconfig(cluster.url, ca, *self.ca.issue("system:kube-proxy")),
            "/etc/kubernetes/kubelet.yaml": flags.kubelet_config(cluster).encode(),
            "/etc/kubernetes/kube-proxy.yaml": flags.kube_proxy_config(cluster).encode(),
            "/etc/containerd/config.toml": flags.containerd_config(cluster).encode(),
            "/etc/cni/net.d/10-azure.conflist": flags.cni_config(cluster).encode(),
        }

    def _service(self, name: str, argv: tuple[str, ...], wait_for: tuple[str, ...] = ()) -> Service:
        env = dict(each.split("=", 1) for each in self.options.env)
        for each in self.options.env_of:
            of, _, setting = each.partition(":")
            if of == name:
                env.update([setting.split("=", 1)])
        more = tuple(each.partition(":")[2] for each in self.options.flag if each.startswith(f"{name}:"))
        nice = ("nice", "-n", str(self.options.nice[name])) if name in self.options.nice else ()
        return Service(name, (*nice, *argv, *more) if not nice else (*nice, *_host(argv), *more), env, wait_for)

    def control(self) -> Machine:
        cluster = self.cluster
        services = (
            self._service("etcd", flags.etcd(cluster)),
            self._service("kube-apiserver", flags.apiserver(cluster), (flags.ETCD_SOCKET,)),
            self._service("kube-controller-manager", flags.controller_manager(cluster), ("ready",)),
            self._service("kube-scheduler", flags.scheduler(cluster), ("ready",)),
        )
        files = {path: File(content) for path, content in self.control_files.items()}
        return Machine(CONTROL, "/bench/floor/control", services, files, namespace=CONTROL)

    def node(self) -> Machine:
        cluster = self.cluster
        services = [
            self._service("containerd", flags.containerd(cluster)),
            self._service("kubelet", flags.kubelet(cluster), ("/run/containerd/containerd.sock", "/var/lib/ready")),
        ]
        if self.options.proxy:
            services.append(self._service("kube-proxy", flags.kube_proxy(cluster), ("/var/lib/ready",)))
        files = {path: File(content) for path, content in self.node_files.items()}
        return Machine(
            NODE,
            "/bench/floor/node",
            tuple(services),
            files,
            namespace=NODE,
            isolation="node",
            hostname=cluster.node,
            cpus=2,
            memory_bytes=7 << 30,
            images=tuple(self.options.images),
        )


def _host(argv: tuple[str, ...]) -> tuple[str, ...]:
    """`nice` needs the program's path as the host has it."""
    for name, path in engine().items():
        if argv[0].startswith(f"/opt/sorairo/{name}/"):
            return (str(path / argv[0].removeprefix(f"/opt/sorairo/{name}/")), *argv[1:])
    return argv


def engine() -> dict[str, Path]:
    minors = {entry.name: entry for entry in entry_points(group="sorairo.kubernetes")}
    newest = minors[max(minors, key=lambda minor: tuple(map(int, minor.split("."))))].load()
    return {"bin": sorairo_engine.BIN, "cni": sorairo_engine.CNI, "kubernetes": newest.BIN}


# --- network ---------------------------------------------------------------------------------------------


def ip(batch: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)


@contextmanager
def networks(cluster: flags.Cluster) -> Iterator[None]:
    """Two namespaces, a link between them and one from the host to the control plane's."""
    NAMESPACES.mkdir(parents=True, exist_ok=True)
    try:
        for name in (CONTROL, NODE):
            (NAMESPACES / name).touch()
            subprocess.run(["unshare", f"--net={NAMESPACES / name}", "true"], check=True)
        handles = {name: f"/run/netns/{name}" for name in (CONTROL, NODE)}
        Path("/run/netns").mkdir(exist_ok=True)
        for name, link in handles.items():  # Where `ip` looks for names.
            if not os.path.lexists(link):
                os.symlink(NAMESPACES / name, link)
        ip(
            f"link add floor0 type veth peer name host netns {CONTROL}\n"
            f"addr add {HOST_LINK[0]}/30 dev floor0\n"
            f"link set floor0 up\n"
        )
        for name, lines in (
            (
                CONTROL,
                f"link add node type veth peer name eth0 netns {NODE}\nlink set lo up\nlink set host up\n"
                f"link set node up\naddr add {HOST_LINK[1]}/30 dev host\naddr add {cluster.api}/30 dev node\n"
                f"route add {cluster.pods} via {cluster.node_ip}\n",
            ),
            (
                NODE,
                f"link set lo up\nlink set eth0 up\naddr add {cluster.node_ip}/30 dev eth0\n"
                f"route add default via {cluster.api}\n",
            ),
        ):
            subprocess.run(["ip", "-netns", name, "-batch", "-"], input=lines, text=True, check=True)
        yield
    finally:
        subprocess.run(["ip", "link", "del", "floor0"], check=False, capture_output=True)
        for name in (CONTROL, NODE):
            Path("/run/netns", name).unlink(missing_ok=True)
            subprocess.run(["umount", str(NAMESPACES / name)], check=False, capture_output=True)
            (NAMESPACES / name).unlink(missing_ok=True)


# --- watching it stand up --------------------------------------------------------------------------------


class Api:
    """Requests as the administrator, over one connection."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        (folder / "admin.pem").write_bytes(plan.admin[0] + plan.admin[1])
        self.tls = ssl.create_default_context(cadata=pem(plan.ca.certificate).decode())
        self.tls.load_cert_chain(folder / "admin.pem")
        self.port = plan.cluster.port
        self.connection: http.client.HTTPSConnection | None = None

    def get(self, path: str, method: str = "GET", body: Any = None) -> tuple[int, Any]:
        try:
            if self.connection is None:
                self.connection = http.client.HTTPSConnection(HOST_LINK[1], self.port, context=self.tls, timeout=5)
            self.connection.request(
                method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"}
            )
            answer = self.connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text.startswith(b"{") else text
        except (OSError, http.client.HTTPException):
            self.connection = None
            return 0, None

    async def until(self, path: str, satisfied: Callable[[int, Any], bool], seconds: float = 60.0) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            status, body = await asyncio.to_thread(self.get, path)
            if satisfied(status, body):
                return body
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path}: {status} {body}")
            await asyncio.sleep(0.02)


def is_ready(status: int, body: Any) -> bool:
    conditions = body.get("status", {}).get("conditions", []) if status == 200 else []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


async def run(options: argparse.Namespace) -> tuple[dict[str, float], dict[str, int]]:
    cluster = flags.Cluster(cgroup_v1=cgroups.version() == 1)
    state = Path(tempfile.mkdtemp(prefix="floor-", dir=options.state))
    machines = LinuxMachines(state, engine(), {path.stem: path for path in sorairo_images.IMAGES.glob("*.tar")})
    times: dict[str, float] = {}

    def mark(phase: str) -> None:
        times[phase] = time.monotonic() - begun

    if options.images:
        await machines.prepare_images(tuple(options.images))
    begun = time.monotonic()
    try:
        plan = Plan(cluster, options)
        mark("certificates")
        with networks(cluster):
            mark("networks")
            await machines.ensure_machine(plan.control())
            mark("control plane's processes")
            node = asyncio.create_task(machines.ensure_machine(plan.node()))
            await node
            mark("node's processes")
            api = Api(plan, state)
            listening = asyncio.create_task(_listening(cluster.port, mark))
            if options.early:
                await listening
            else:
                await api.until("/readyz", lambda status, _: status == 200)
            (machines.root(CONTROL) / "ready").touch()
            (machines.root(NODE) / "var/lib/ready").touch()
            await api.until("/readyz", lambda status, _: status == 200)
            mark("API server ready")
            await asyncio.gather(
                _mark(api, f"/api/v1/nodes/{cluster.node}", lambda s, _: s == 200, mark, "node registered"),
                _mark(Api(plan, state), f"/api/v1/nodes/{cluster.node}", is_ready, mark, "node Ready"),
                _mark(
                    Api(plan, state),
                    "/api/v1/namespaces/default/serviceaccounts/default",
                    lambda s, _: s == 200,
                    mark,
                    "default service account",
                ),
            )
            mark("cluster stands")
            if options.pod:
                await asyncio.to_thread(api.get, "/api/v1/namespaces/default/pods", "POST", _pod())
                await api.until("/api/v1/namespaces/default/pods/p", lambda _, b: b["status"].get("phase") == "Running")
                mark("a pod runs")
            sizes = {}
            if options.memory:
                await asyncio.sleep(options.memory)
                sizes = memory(machines)
            if options.keep:
                print(f"kept: {state}; press return", file=sys.stderr)
                await asyncio.to_thread(sys.stdin.readline)
            return times, sizes
    except Exception:
        for name in (CONTROL, NODE):
            for log in sorted((state / "machines" / name / "log").glob("*/current")):
                print(f"--- {log.parent.name}\n" + "\n".join(log.read_text().splitlines()[-15:]), file=sys.stderr)
        raise
    finally:
        for name in (NODE, CONTROL):
            await machines.remove_machine(name)
        shutil.rmtree(state)


async def _mark(
    api: Api, path: str, satisfied: Callable[[int, Any], bool], mark: Callable[[str], None], phase: str
) -> None:
    await api.until(path, satisfied)
    mark(phase)


async def _listening(port: int, mark: Callable[[str], None]) -> None:
    while True:
        with socket.socket() as probe:
            probe.setblocking(False)
            try:
                await asyncio.wait_for(asyncio.get_running_loop().sock_connect(probe, (HOST_LINK[1], port)), 1)
            except OSError:
                await asyncio.sleep(0.01)
                continue
        mark("API server listens")
        return


def _pod() -> dict[str, Any]:
    container = {"name": "c", "image": "mcr.sorairo.internal/oss/kubernetes/pause:3.10", "imagePullPolicy": "Never"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}}


def memory(machines: LinuxMachines) -> dict[str, int]:
    """Proportional set size in KiB by program; supervisors and shims in a row of their own."""
    sizes: dict[str, int] = {}
    for pids in machines._all_pids().values():
        for pid in pids:
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            name = os.path.basename(words[1] if words[0].endswith("/kubernetes") else words[0])
            size = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
            sizes[name] = sizes.get(name, 0) + size
    return sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--memory", type=float, default=0, metavar="SECONDS", help="measure memory that long after")
    parser.add_argument("--pod", action="store_true", help="also start a pod (needs --images)")
    parser.add_argument("--proxy", action="store_true", help="also start kube-proxy")
    parser.add_argument("--images", nargs="*", default=[], help="image stores to give the node")
    parser.add_argument("--early", action="store_true", help="let clients start when the API server listens")
    parser.add_argument("--keep", action="store_true", help="wait for a line on standard input before removing")
    parser.add_argument("--env", nargs="*", default=[], metavar="NAME=VALUE", help="for every program")
    parser.add_argument("--env-of", nargs="*", default=[], metavar="SERVICE:NAME=VALUE")
    parser.add_argument("--flag", nargs="*", default=[], metavar="SERVICE:--FLAG")
    parser.add_argument("--nice", type=json.loads, default={}, metavar='{"SERVICE": LEVEL}')
    parser.add_argument("--state", default=None, help="folder for the state (default: a temporary one)")
    options = parser.parse_args()
    runs = [asyncio.run(run(options)) for _ in range(options.runs)]
    for phase in runs[0][0]:
        values = [times[phase] for times, _ in runs]
        print(f"{phase:<28}{statistics.median(values):8.2f}   {min(values):.2f} to {max(values):.2f}")
    if options.memory:
        print()
        for name in sorted(runs[0][1], key=lambda name: -runs[0][1][name]):
            print(f"{name:<28}{statistics.median(sizes.get(name, 0) for _, sizes in runs) / 1024:8.1f} MiB")
        print(f"{'sum':<28}{statistics.median(sum(sizes.values()) for _, sizes in runs) / 1024:8.1f} MiB")


if __name__ == "__main__":
    main()
