"""Command lines and configuration of a cluster's programs, as `floor.py` starts them.

Each function gives one program's arguments or one file's content. Paths are what the program sees: relative to the
control plane's root folder, absolute inside a node. A reason stands where a value is not the program's own default.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import yaml

ETCD_SOCKET = "etcd.sock:0"
"""etcd wants host:port even of a Unix socket, and makes a file of that whole name in its working folder."""


@dataclass(frozen=True)
class Cluster:
    api: str = "10.90.0.1"
    port: int = 6443
    services: str = "10.0.0.0/16"
    service_ip: str = "10.0.0.1"
    dns_ip: str = "10.0.0.10"
    node: str = "aks-nodepool1-12345678-vmss000000"
    node_ip: str = "10.90.0.2"
    pods: str = "10.91.0.0/24"
    restrict_oom_score_adj: bool = True

    @property
    def url(self) -> str:
        return f"https://{self.api}:{self.port}"


def etcd(cluster: Cluster) -> tuple[str, ...]:
    client = f"unix://{ETCD_SOCKET}"
    peer = "http://127.0.0.1:2380"
    return (
        "/opt/sorairo/bin/etcd",
        "--name=etcd",
        "--data-dir=etcd",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=etcd={peer}",
        # One member has nobody to wait for: it elects itself after at most two election timeouts.
        "--heartbeat-interval=50",  # Shorter ones cost processor time for ever: 10 ms, 0.4 % of a CPU.
        "--election-timeout=250",
        "--log-level=warn",
    )


def apiserver(cluster: Cluster) -> tuple[str, ...]:
    return (
        "/opt/sorairo/kubernetes/kubernetes",
        "kube-apiserver",
        f"--etcd-servers=unix://{ETCD_SOCKET}",
        f"--advertise-address={cluster.api}",
        f"--secure-port={cluster.port}",
        f"--service-cluster-ip-range={cluster.services}",
        "--allow-privileged=true",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--client-ca-file=pki/ca.crt",
        "--tls-cert-file=pki/apiserver.crt",
        "--tls-private-key-file=pki/apiserver.key",
        "--kubelet-client-certificate=pki/apiserver-kubelet.crt",
        "--kubelet-client-key=pki/apiserver-kubelet.key",
        "--kubelet-certificate-authority=pki/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",  # Or logs and exec look the node's name up.
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--service-account-key-file=pki/sa.pub",
        "--service-account-signing-key-file=pki/sa.key",
        "--requestheader-client-ca-file=pki/front-proxy-ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        "--proxy-client-cert-file=pki/front-proxy-client.crt",
        "--proxy-client-key-file=pki/front-proxy-client.key",
        "--enable-aggregator-routing=true",
        "--profiling=false",
    )


def controller_manager(cluster: Cluster) -> tuple[str, ...]:
    return (
        "/opt/sorairo/kubernetes/kubernetes",
        "kube-controller-manager",
        "--kubeconfig=controller-manager.conf",
        "--authentication-kubeconfig=controller-manager.conf",
        "--authorization-kubeconfig=controller-manager.conf",
        "--client-ca-file=pki/ca.crt",
        "--requestheader-client-ca-file=pki/front-proxy-ca.crt",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",  # There is one; waiting for a lease would take 15 s after a crash.
        # It makes an account and a token for each controller at first; at its default of 20 requests a second the
        # `default` account, without which no pod is admitted, comes 5 s later.
        "--kube-api-qps=2000",
        "--kube-api-burst=2000",
        "--use-service-account-credentials=true",
        "--service-account-private-key-file=pki/sa.key",
        "--root-ca-file=pki/ca.crt",
        "--cluster-signing-cert-file=pki/ca.crt",
        "--cluster-signing-key-file=pki/ca.key",
        f"--service-cluster-ip-range={cluster.services}",
        "--profiling=false",
    )


def scheduler(cluster: Cluster) -> tuple[str, ...]:
    return (
        "/opt/sorairo/kubernetes/kubernetes",
        "kube-scheduler",
        "--kubeconfig=scheduler.conf",
        "--authentication-kubeconfig=scheduler.conf",
        "--authorization-kubeconfig=scheduler.conf",
        "--client-ca-file=pki/ca.crt",
        "--requestheader-client-ca-file=pki/front-proxy-ca.crt",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--profiling=false",
    )


def containerd(cluster: Cluster) -> tuple[str, ...]:
    return ("/opt/sorairo/bin/containerd", "--config=/etc/containerd/config.toml")


def containerd_config(cluster: Cluster) -> str:
    restrict = str(cluster.restrict_oom_score_adj).lower()
    return f"""\
version = 3
disabled_plugins = [
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.native", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing", "io.containerd.nri.v1.nri",
]
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "mcr.sorairo.internal/oss/kubernetes/pause:3.10"
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = "/etc/containerd/certs.d"
[plugins.'io.containerd.cri.v1.runtime']
  # Without CAP_SYS_RESOURCE nobody may lower an oom_score_adj, and runc fails trying.
  restrict_oom_score_adj = {restrict}
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["/opt/sorairo/cni"]
  conf_dir = "/etc/cni/net.d"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = "/opt/sorairo/bin/runc"
  SystemdCgroup = false
"""


def cni_config(cluster: Cluster) -> str:
    ptp = {
        "type": "ptp",
        "ipMasq": False,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": cluster.pods}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": False}
    return json.dumps({"cniVersion": "1.0.0", "name": "azure", "plugins": [ptp, portmap]}, indent=1)


def kubelet(cluster: Cluster) -> tuple[str, ...]:
    return (
        "/opt/sorairo/kubernetes/kubernetes",
        "kubelet",
        "--config=/etc/kubernetes/kubelet.yaml",
        "--kubeconfig=/etc/kubernetes/kubelet.conf",
        f"--hostname-override={cluster.node}",
        f"--node-ip={cluster.node_ip}",
        "--node-labels=kubernetes.azure.com/agentpool=nodepool1",
    )


def kubelet_config(cluster: Cluster) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": "/etc/kubernetes/pki/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": "/etc/kubernetes/pki/kubelet.crt",
            "tlsPrivateKeyFile": "/etc/kubernetes/pki/kubelet.key",
            "clusterDNS": [cluster.dns_ip],
            "clusterDomain": "cluster.local",
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": "/",
            "failCgroupV1": False,
            "resolvConf": "/etc/resolv.conf",
            "serializeImagePulls": False,
            "maxPods": 110,
            "readOnlyPort": 0,
            "enableServer": True,
            # As above: who may not lower it had better not try.
            "oomScoreAdj": 0 if cluster.restrict_oom_score_adj else -999,
        }
    )


def kube_proxy(cluster: Cluster) -> tuple[str, ...]:
    return ("/opt/sorairo/kubernetes/kubernetes", "kube-proxy", "--config=/etc/kubernetes/kube-proxy.yaml")


def kube_proxy_config(cluster: Cluster) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": "/etc/kubernetes/kube-proxy.conf"},
            "hostnameOverride": cluster.node,
            "mode": "nftables",
            "oomScoreAdj": 0 if cluster.restrict_oom_score_adj else -999,
            "clusterCIDR": cluster.pods,
            # The table's size is one for the whole host: not a node's to set.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }
    )
