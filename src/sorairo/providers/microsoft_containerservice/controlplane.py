"""The managed control plane as a machine: which programs, with which flags and files.

Flags: https://kubernetes.io/docs/reference/command-line-tools-reference/ and https://etcd.io/docs/v3.6/op-guide/configuration/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sorairo.drivers.protocols import File, Machine, Service
from sorairo.engine.ids import host_name
from sorairo.engine.types import Resource
from sorairo.providers.microsoft_containerservice import entra, kubenet, kwok, upstream
from sorairo.providers.microsoft_containerservice.entra import Authority
from sorairo.providers.microsoft_containerservice.kubeconfig import kubeconfig

ETCD = "etcd.sock:0"
"""etcd's Unix socket in the machine's root: whoever is not the machine's owner cannot open it. etcd wants host:port
even of a socket, and makes a file of that whole name."""
ETCD_PEERS = "etcd-peers.sock:0"
SEEDED, READY = "seeded", "ready"
"""Files that services wait for: etcd holds what it should; the API server is ready."""

GO = {"GOGC": "40"}
"""Collect garbage earlier, for programs that start quickly."""
KUBERNETES = {"SETTLE_AFTER": "8s", "SETTLE_GOGC": "20"}
"""The engine's own: lazy while it starts, thrifty from then on. 40 MB less for a whole cluster, and a third less of an
API server's start than with a low GOGC from the beginning."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an API server is reached, and the port KWOK uses beside it."""

    address: str
    port: int
    kwok_port: int = 0
    """Where KWOK serves its own health (hollow); 0: there is none."""
    name: str = ""
    """What its certificate says, if that is not the address."""

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.port}" if self.port != 443 else f"https://{self.address}"


def machine(
    cluster: Resource,
    endpoint: Endpoint,
    *,
    version: str,
    namespace: str | None,
    authority: Authority,
    root: Callable[[str], Path],
    advertised: str | None = None,
) -> Machine:
    """The control plane's machine. `namespace`: its own network namespace, or None on the host's loopback; `root`:
    where a machine's files are; `authority`: whose tokens it takes, if it takes any; `advertised`: the address that
    the cluster's own know it by, if that is another than its public one."""
    id = host_name(cluster.id)
    pki: Mapping[str, str] = cluster.private["pki"]
    minor = ".".join(version.split(".")[:2])
    kubernetes = f"/opt/sorairo/kubernetes-{minor}/kubernetes"
    files = {f"pki/{name}": File(text.encode(), 0o600) for name, text in pki.items() if name != "ca.key"}
    files["pki/ca.key"] = File(pki["ca.key"].encode(), 0o600)  # The controller manager signs CSRs with it.
    server = f"https://127.0.0.1:{endpoint.port}" if namespace is None else endpoint.url
    for user in ("controller-manager", "scheduler", *(["sorairo"] if endpoint.kwok_port else [])):
        files[f"{user}.kubeconfig"] = File(
            kubeconfig(
                server=server,
                ca=pki["ca.crt"],
                user=user,
                cert=pki[f"{user}.crt"],
                key=pki[f"{user}.key"],
            ).encode(),
            0o600,
        )
    if endpoint.kwok_port:
        files[kwok.CONFIG] = File(kwok.config())
    files |= entra.files(cluster, authority, root(id))
    theirs = upstream.controller(cluster) == upstream.UPSTREAM
    if theirs:
        files |= upstream.files(cluster, authority, server)
    env = kwok.KUBERNETES if endpoint.kwok_port else KUBERNETES
    return Machine(
        id=id,
        owner=cluster.id,
        services=(
            _etcd(),
            _apiserver(kubernetes, cluster, endpoint, env, advertised=advertised, loopback=namespace is None),
            _controller_manager(kubernetes, cluster, env, hollow=bool(endpoint.kwok_port)),
            _scheduler(kubernetes, endpoint, env),
            *([_kwok(endpoint)] if endpoint.kwok_port else []),
            *([upstream.service(cluster, READY)] if theirs else []),
        ),
        files=files,
        namespace=namespace,
        hostname=None,
    )


def _etcd() -> Service:
    return Service(
        "etcd",
        (
            "/opt/sorairo/bin/etcd",
            "--name=default",
            "--data-dir=etcd",
            f"--listen-client-urls=unix://{ETCD}",
            f"--advertise-client-urls=unix://{ETCD}",
            f"--listen-peer-urls=unix://{ETCD_PEERS}",
            f"--initial-advertise-peer-urls=unix://{ETCD_PEERS}",
            f"--initial-cluster=default=unix://{ETCD_PEERS}",
            # One member has nobody to wait for: it elects itself after at most two election timeouts.
            "--heartbeat-interval=50",
            "--election-timeout=250",
            "--log-level=warn",
        ),
        env=GO,
    )


def _apiserver(
    kubernetes: str,
    cluster: Resource,
    endpoint: Endpoint,
    env: Mapping[str, str],
    *,
    advertised: str | None,
    loopback: bool,
) -> Service:
    network = cluster.properties["networkProfile"]
    advertise = (
        # Nobody inside a hollow cluster dials the API server, and an address on loopback is refused.
        ["--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none"]
        if loopback
        else [f"--advertise-address={advertised or endpoint.address}"]
    )
    return Service(
        "kube-apiserver",
        (
            kubernetes,
            "kube-apiserver",
            f"--bind-address={endpoint.address}",
            f"--secure-port={endpoint.port}",
            *advertise,
            f"--etcd-servers=unix://{ETCD}",
            f"--service-cluster-ip-range={network['serviceCidr']}",
            "--tls-cert-file=pki/apiserver.crt",
            "--tls-private-key-file=pki/apiserver.key",
            "--client-ca-file=pki/ca.crt",
            f"--service-account-issuer=https://{cluster.private['fqdn']}",
            f"--service-account-jwks-uri=https://{cluster.private['fqdn']}/openid/v1/jwks",
            "--service-account-key-file=pki/sa.crt",
            "--service-account-signing-key-file=pki/sa.key",
            *entra.flags(cluster),
            "--anonymous-auth=false",
            "--enable-admission-plugins=NodeRestriction",
            "--enable-bootstrap-token-auth",
            "--enable-aggregator-routing",
            "--kubelet-client-certificate=pki/apiserver-kubelet-client.crt",
            "--kubelet-client-key=pki/apiserver-kubelet-client.key",
            # Hollow nodes have addresses of that kind, where somebody else may be: they have none of the other.
            f"--kubelet-preferred-address-types={'ExternalDNS' if loopback else 'InternalIP'}",
            "--proxy-client-cert-file=pki/front-proxy-client.crt",
            "--proxy-client-key-file=pki/front-proxy-client.key",
            "--requestheader-client-ca-file=pki/front-proxy-ca.crt",
            "--requestheader-allowed-names=aggregator",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            "--allow-privileged",
            "--profiling=false",
        ),
        env=env,
        wait_for=(SEEDED,),
    )


def _controller_manager(kubernetes: str, cluster: Resource, env: Mapping[str, str], *, hollow: bool) -> Service:
    return Service(
        "kube-controller-manager",
        (
            kubernetes,
            "kube-controller-manager",
            "--kubeconfig=controller-manager.kubeconfig",
            "--service-account-private-key-file=pki/sa.key",
            "--root-ca-file=pki/ca.crt",
            "--cluster-signing-cert-file=pki/ca.crt",
            "--cluster-signing-key-file=pki/ca.key",
            f"--cluster-name={cluster.rid.name}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--secure-port=0",
            # It makes an account and a token for each controller first: with the default 20 requests/s the
            # `default` service account, without which no pod is admitted, comes four seconds later.
            "--kube-api-qps=2000",
            "--kube-api-burst=2000",
            "--profiling=false",
            *kubenet.controller_manager_flags(cluster),
            *(kwok.CONTROLLER_MANAGER_FLAGS if hollow else ()),
        ),
        env=env,
        # Started earlier it would look once a second whether the API server is ready.
        wait_for=(READY,),
    )


def _scheduler(kubernetes: str, endpoint: Endpoint, env: Mapping[str, str]) -> Service:
    return Service(
        "kube-scheduler",
        (
            kubernetes,
            "kube-scheduler",
            "--kubeconfig=scheduler.kubeconfig",
            "--leader-elect=false",
            "--secure-port=0",
            "--profiling=false",
        ),
        env=env,
        # Connections that come before it answers only wait.
        wait_for=(f"tcp:{endpoint.address}:{endpoint.port}",),
    )


def _kwok(endpoint: Endpoint) -> Service:
    return kwok.service("sorairo.kubeconfig", endpoint.kwok_port, f"{endpoint.address}:{endpoint.port}", GO)
