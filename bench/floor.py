"""The floor: how soon a cluster of one node can stand, with nothing but the drivers around its programs.

    python bench/floor.py --runs 5

Starts, in the best order known, what a cluster consists of, and waits until the node is Ready, the `default` service
account exists and, with `--pod`, a pod runs. Prints the median time of each phase in seconds after the start, and with
`--memory` the proportional set size of each program, 30 s after. Needs root and the engine. Everything is removed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
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
from api import Api, is_ready
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pki import Authority, kubeconfig, pem, private
from seed import learn, namespaces, seed

from sorairo.drivers.linux.machines import NAMESPACES, LinuxMachines
from sorairo.drivers.linux.probe import probe
from sorairo.drivers.protocols import File, Machine, Service

HOST_LINK = ("198.18.255.1", "198.18.255.2")
CONTROL, NODE = "floor-control", "floor-node"


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
            "controller-manager.conf": kubeconfig(
                local,
                ca,
                *self.ca.issue("system:kube-controller-manager"),
            ),
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

    def api(self, folder: Path) -> Api:
        identity = folder / "admin.pem"
        identity.write_bytes(self.admin[0] + self.admin[1])
        return Api(HOST_LINK[1], self.cluster.port, pem(self.ca.certificate), identity)

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
            self._service(
                "kube-apiserver", flags.apiserver(cluster), ("seeded",) if self.options.seed else (flags.ETCD_SOCKET,)
            ),
            self._service("kube-controller-manager", flags.controller_manager(cluster), ("ready",)),
            self._service("kube-scheduler", flags.scheduler(cluster), ("serves",) if self.options.seed else ("ready",)),
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


# --- one run -----------------------------------------------------------------------------------------------


async def run(options: argparse.Namespace) -> tuple[dict[str, float], dict[str, int]]:
    cluster = flags.Cluster(restrict_oom_score_adj=probe().restrict_oom_score_adj)
    state = Path(tempfile.mkdtemp(prefix="floor-", dir=options.state))
    folders = {**engine(), **({"kubernetes": Path(options.kubernetes)} if options.kubernetes else {})}
    machines = LinuxMachines(state, folders, {path.stem: path for path in sorairo_images.IMAGES.glob("*.tar")})
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
            if options.weight:
                for base in (Path("/sys/fs/cgroup/cpu/sorairo"), Path("/sys/fs/cgroup/sorairo")):
                    for name in ("cpu.shares", "cpu.weight"):
                        if (base.parent / "cgroup.procs").exists():
                            base.mkdir(exist_ok=True)
                            if (base / name).exists():
                                (base / name).write_text(str(options.weight))
            await machines.ensure_machine(plan.control())
            mark("control plane's processes")
            if options.seed:
                objects = json.loads(await asyncio.to_thread(Path(options.seed).read_text))
                objects |= namespaces(pem(plan.ca.certificate).decode())
                await asyncio.to_thread(seed, machines.root(CONTROL) / flags.ETCD_SOCKET, objects)
                (machines.root(CONTROL) / "seeded").touch()
                mark("etcd seeded")
            node = asyncio.create_task(machines.ensure_machine(plan.node()))
            await node
            mark("node's processes")
            api = plan.api(state)
            serves = asyncio.create_task(
                _mark(plan.api(state), "/readyz", lambda s, _: s != 0, mark, "API server serves")
            )
            if options.release == "serving":
                await serves
            elif options.release == "listening":
                await api.until_listening()
            (machines.root(NODE) / "var/lib/ready").touch()
            (machines.root(CONTROL) / "serves").touch()
            controllers = asyncio.create_task(_release(plan.api(state), machines, mark))
            watched = [
                serves,
                controllers,
                _mark(plan.api(state), f"/api/v1/nodes/{cluster.node}", lambda s, _: s == 200, mark, "node registered"),
                _mark(plan.api(state), f"/api/v1/nodes/{cluster.node}", is_ready, mark, "node Ready"),
                _mark(
                    plan.api(state),
                    "/api/v1/namespaces/default/serviceaccounts/default",
                    lambda s, _: s == 200,
                    mark,
                    "default service account",
                ),
            ]
            await asyncio.gather(*watched)
            mark("cluster stands")
            times.update({f"{name}: CPU seconds": seconds for name, seconds in sorted(cpu(machines).items())})
            if options.learn:
                await asyncio.sleep(2)  # The controllers go on making their accounts.
                learned = await asyncio.to_thread(learn, lambda path: api.get(path)[1])
                await asyncio.to_thread(Path(options.learn).write_text, json.dumps(learned))
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


async def _release(api: Api, machines: LinuxMachines, mark: Callable[[str], None]) -> None:
    """The controllers start when the API server is ready, and not before: they look once a second whether it is."""
    await api.until("/readyz", lambda status, _: status == 200)
    mark("API server ready")
    (machines.root(CONTROL) / "ready").touch()


async def _mark(
    api: Api, path: str, satisfied: Callable[[int, Any], bool], mark: Callable[[str], None], phase: str
) -> None:
    await api.until(path, satisfied)
    mark(phase)


def _pod() -> dict[str, Any]:
    container = {"name": "c", "image": "mcr.sorairo.internal/oss/kubernetes/pause:3.10", "imagePullPolicy": "Never"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}}


def cpu(machines: LinuxMachines) -> dict[str, float]:
    """User and system time by program so far: what a busy machine does not blur."""
    seconds: dict[str, float] = {}
    for pid, name in _programs(machines):
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks = text[text.rindex(")") + 2 :].split()[11:13]
        seconds[name] = seconds.get(name, 0) + sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    return {name: value for name, value in seconds.items() if value >= 0.1}


def _programs(machines: LinuxMachines) -> Iterator[tuple[int, str]]:
    for pids in machines._all_pids().values():
        for pid in pids:
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            yield pid, os.path.basename(words[1] if words[0].endswith("/kubernetes") else words[0])


def memory(machines: LinuxMachines) -> dict[str, int]:
    """Proportional set size in KiB by program; supervisors and shims in a row of their own."""
    sizes: dict[str, int] = {}
    for pid, name in _programs(machines):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
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
    parser.add_argument(
        "--release",
        choices=("now", "listening", "serving"),
        default="listening",
        help="when kubelet and scheduler start: at once, at the API server's socket, at its first answer",
    )
    parser.add_argument("--keep", action="store_true", help="wait for a line on standard input before removing")
    parser.add_argument("--env", nargs="*", default=[], metavar="NAME=VALUE", help="for every program")
    parser.add_argument("--env-of", nargs="*", default=[], metavar="SERVICE:NAME=VALUE")
    parser.add_argument("--flag", nargs="*", default=[], metavar="SERVICE:--FLAG")
    parser.add_argument("--nice", type=json.loads, default={}, metavar='{"SERVICE": LEVEL}')
    parser.add_argument("--weight", type=int, help="of sorairo's control group, against what else the machine does")
    parser.add_argument("--kubernetes", help="folder of another build of Kubernetes")
    parser.add_argument("--seed", help="objects to put into etcd first, as --learn wrote them")
    parser.add_argument("--learn", help="write the file for --seed, from a cluster that stands")
    parser.add_argument("--state", default=None, help="folder for the state (default: a temporary one)")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to wait for anything")
    options = parser.parse_args()
    Api.patience = options.patience
    runs = [asyncio.run(run(options)) for _ in range(options.runs)]
    for phase in runs[0][0]:
        values = [times[phase] for times, _ in runs if phase in times]
        print(f"{phase:<28}{statistics.median(values):8.2f}   {min(values):.2f} to {max(values):.2f}")
    if options.memory:
        print()
        for name in sorted(runs[0][1], key=lambda name: -runs[0][1][name]):
            print(f"{name:<28}{statistics.median(sizes.get(name, 0) for _, sizes in runs) / 1024:8.1f} MiB")
        print(f"{'sum':<28}{statistics.median(sum(sizes.values()) for _, sizes in runs) / 1024:8.1f} MiB")


if __name__ == "__main__":
    main()
