"""What a node is told at its first start: the custom data of its scale set, and the secrets of one instance.

https://learn.microsoft.com/azure/aks/custom-node-configuration and
https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/
"""

from __future__ import annotations

import base64
import json
from typing import Any

from sorairo.engine.types import Document, Resource
from sorairo.providers.microsoft_containerservice import kubenet, upstream
from sorairo.providers.microsoft_containerservice.controlplane import GO, KUBERNETES, Endpoint
from sorairo.providers.microsoft_containerservice.kubeconfig import kubeconfig

PAUSE = "mcr.sorairo.internal/oss/kubernetes/pause:3.10"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
IMAGES = ("pause", "coredns", "metrics-server", "web", "busybox")
"""Names of the engine's image archives that every node has from its first second."""

CONTAINERD_CONFIG = f"""\
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.erofs", "io.containerd.differ.v1.erofs", "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.nri.v1.nri"]
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/opt/sorairo/cni"]
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      BinaryName = "/opt/sorairo/bin/runc"
      SystemdCgroup = false
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE}"
"""


def kube_reserved_memory(max_pods: int, memory_bytes: int) -> int:
    """In MiB. https://learn.microsoft.com/azure/aks/node-resource-reservations#memory-reservations"""
    return int(min(20 * max_pods + 50, memory_bytes / 2**20 * 0.25))


def kube_reserved_cpu(cpus: int) -> int:
    """In thousandths. https://learn.microsoft.com/azure/aks/node-resource-reservations#cpu-reservations"""
    return 60 + 40 * (min(cpus, 2) - 1) + 20 * max(0, min(cpus, 4) - 2) + 10 * max(0, cpus - 4)


def kubelet_config(cluster: Resource, pool: Document, memory_bytes: int) -> Document:
    network = cluster.properties["networkProfile"]
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        # Kubernetes 1.35 and later refuse cgroup v1 unless told otherwise; the machine may have nothing else.
        "failCgroupV1": False,
        "failSwapOn": False,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": "/etc/kubernetes/certs/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "clusterDNS": [network["dnsServiceIP"]],
        "clusterDomain": "cluster.local",
        "maxPods": pool["maxPods"],
        "readOnlyPort": 0,
        "serializeImagePulls": False,
        "kubeReserved": {"cpu": "100m", "memory": f"{kube_reserved_memory(pool['maxPods'], memory_bytes)}Mi"},
        # The disk is the host's: its owner decides how full it may be, and images cannot be pulled again offline.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "200Mi", "imagefs.available": "200Mi"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "providerID": "azure://{{ ds.meta_data.instance_id }}",
        "registerWithTaints": taints(pool),
        "logging": {"verbosity": 1},
    }


def taints(pool: Document) -> list[Document]:
    return [_taint(t) for t in pool.get("nodeTaints") or []]


def _taint(text: str) -> Document:
    """`key=value:Effect` (AKS's notation)."""
    key, _, effect = text.rpartition(":")
    key, _, value = key.partition("=")
    return {"key": key, "value": value, "effect": effect}


def node_labels(cluster: Resource, pool: Document) -> dict[str, str]:
    """https://learn.microsoft.com/azure/aks/use-labels#reserved-system-labels"""
    location = cluster.body["location"]
    zone = f"{location}-{{{{ ds.meta_data.zone }}}}" if pool.get("availabilityZones") else ""
    return {
        "agentpool": pool["name"],
        "kubernetes.azure.com/agentpool": pool["name"],
        "kubernetes.azure.com/cluster": cluster.properties["nodeResourceGroup"],
        "kubernetes.azure.com/mode": pool["mode"].lower(),
        "kubernetes.azure.com/role": "agent",
        "kubernetes.azure.com/os-sku": pool["osSKU"],
        "node.kubernetes.io/instance-type": pool["vmSize"],
        "topology.kubernetes.io/region": location,
        "topology.kubernetes.io/zone": zone or "0",
        "topology.disk.csi.azure.com/zone": zone,
        **(pool.get("nodeLabels") or {}),
    }


def cni_config() -> Document:
    """Azure CNI's effect with the reference plugins: pods have addresses of the subnet, and a route each.

    `@RANGES@` is filled in on the node, from the NIC's secondary addresses.
    """
    return {
        "cniVersion": "1.0.0",
        "name": "azure",
        "plugins": [
            {
                "type": "ptp",
                "mtu": 1500,
                "ipam": {"type": "host-local", "ranges": "@RANGES@", "routes": [{"dst": "0.0.0.0/0"}]},
            },
            {"type": "portmap", "capabilities": {"portMappings": True}, "backend": "nftables"},
        ],
    }


def _pod_network(cluster: Resource) -> list[Document]:
    """Files that say how pods get their addresses, as `write_files` has them."""
    config = CONTAINERD_CONFIG
    if kubenet.pods(cluster):
        # Encoded, for its braces are containerd's to fill in.
        template = base64.b64encode(kubenet.template().encode()).decode()
        folder = 'conf_dir = "/etc/cni/net.d"'
        config = config.replace(folder, f'{folder}\n    conf_template = "{kubenet.TEMPLATE_PATH}"')
        found = {"path": kubenet.TEMPLATE_PATH, "content": template, "encoding": "b64", "permissions": "0644"}
    else:
        plugins = json.dumps(cni_config()).replace('"@RANGES@"', "@RANGES@")
        found = {"path": "/etc/cni/net.d/10-azure.conflist", "content": plugins, "permissions": "0644"}
    return [{"path": "/etc/containerd/config.toml", "content": config, "permissions": "0644"}, found]


def custom_data(
    cluster: Resource, pool: Document, endpoint: Endpoint, *, memory_bytes: int, cloud: dict[str, tuple[str, str]]
) -> str:
    """Base64 `#cloud-config` for a pool's scale set. The same for all its instances, and without secrets but one:
    kube-proxy's certificate. `cloud`: files with where the cloud is (content and mode by path)."""
    pki = cluster.private["pki"]
    minor = ".".join(pool["currentOrchestratorVersion"].split(".")[:2])
    kubernetes = f"/opt/sorairo/kubernetes-{minor}/kubernetes"
    labels = ",".join(f"{k}={v}" for k, v in node_labels(cluster, pool).items())
    proxy = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        # Rules change one by one in this mode, so there is little to save by waiting for more of them (1 s by default):
        # a Service is reachable that much sooner after it has got its address.
        "nftables": {"minSyncPeriod": "50ms"},
        "clientConnection": {"kubeconfig": "/etc/kubernetes/kube-proxy.kubeconfig"},
        "hostnameOverride": "{{ v1.local_hostname }}",
        "nodeIPOverride": ["{{ ds.meta_data.local_ipv4 }}"],
        # The machine's connection tracking table is the host's to size.
        "conntrack": {"maxPerCore": 0, "min": 0},
    }
    files = {
        **cloud,
        "/etc/kubernetes/certs/ca.crt": (pki["ca.crt"], "0644"),
        "/etc/kubernetes/kubelet.json": (json.dumps(kubelet_config(cluster, pool, memory_bytes)), "0644"),
        "/etc/kubernetes/kube-proxy.json": (json.dumps(proxy), "0644"),
        "/etc/kubernetes/kube-proxy.kubeconfig": (
            kubeconfig(
                server=endpoint.url,
                ca=pki["ca.crt"],
                user="kube-proxy",
                cert=pki["kube-proxy.crt"],
                key=pki["kube-proxy.key"],
                tls_server_name=endpoint.name or None,
            ),
            "0600",
        ),
    }
    services: list[dict[str, Any]] = [
        {
            "name": "containerd",
            "argv": ["/opt/sorairo/bin/containerd", "--config=/etc/containerd/config.toml", "--log-level=warn"],
            "env": {**GO, "PATH": "/opt/sorairo/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        },
        {
            "name": "kubelet",
            "argv": [
                kubernetes,
                "kubelet",
                "--config=/etc/kubernetes/kubelet.json",
                "--kubeconfig=/var/lib/kubelet/kubeconfig",
                "--hostname-override={{ v1.local_hostname }}",
                "--node-ip={{ ds.meta_data.local_ipv4 }}",
                f"--node-labels={labels}",
                *([upstream.KUBELET_FLAG] if upstream.controller(cluster) == upstream.UPSTREAM else []),
            ],
            "env": {**KUBERNETES, "PATH": "/opt/sorairo/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            # Earlier it would only take CPU from the API server it waits for.
            "wait_for": [CONTAINERD_SOCKET, f"connect:{endpoint.address}:{endpoint.port}"],
        },
        {
            "name": "kube-proxy",
            "argv": [kubernetes, "kube-proxy", "--config=/etc/kubernetes/kube-proxy.json"],
            "env": {**KUBERNETES, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            # After the kubelet: a node is Ready without it, and the first seconds are short of CPU.
            "wait_for": ["/var/lib/kubelet/pki/kubelet.crt"],
        },
    ]
    document = {
        "write_files": [
            *({"path": path, "content": content, "permissions": mode} for path, (content, mode) in files.items()),
            *_pod_network(cluster),
        ],
        "sorairo": {"services": services, "images": list(IMAGES)},
    }
    text = "## template: jinja\n#cloud-config\n" + json.dumps(document)
    text = text.replace("@RANGES@", "{{ ds.meta_data.secondary_ranges }}")
    return base64.b64encode(text.encode()).decode()


def instance_secrets(cluster: Resource, endpoint: Endpoint, cert: str, key: str) -> dict[str, str]:
    """Files of one instance alone: the kubelet's own credentials."""
    return {
        "/var/lib/kubelet/kubeconfig": kubeconfig(
            server=endpoint.url,
            ca=cluster.private["pki"]["ca.crt"],
            user="kubelet",
            cert=cert,
            key=key,
            tls_server_name=endpoint.name or None,
        ),
    }


def host(scale_set: str, number: int) -> str:
    """The host name of an instance to come: the scale set's name and six digits in base 36, as Azure numbers them."""
    digits = ""
    for _ in range(6):
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return scale_set.rsplit("/", 1)[1] + digits
