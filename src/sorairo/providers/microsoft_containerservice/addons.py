"""What AKS runs in `kube-system` of every cluster: CoreDNS, metrics-server, and the accounts they need.

Applied by server-side apply; CoreDNS reads `coredns-custom` as on AKS.
https://learn.microsoft.com/azure/aks/coredns-custom
"""

from __future__ import annotations

from typing import Any

from sorairo.engine.types import Resource

Object = dict[str, Any]

COREDNS = "mcr.sorairo.internal/oss/kubernetes/coredns:v1.15.0"
METRICS_SERVER = "mcr.sorairo.internal/oss/kubernetes/metrics-server:v0.9.0"
REVISION = "3"
"""Raised when a manifest here changes, so that clusters that have the old one get the new."""

COREFILE = """\
.:53 {
    errors
    ready
    health {
      lameduck 5s
    }
    kubernetes cluster.local in-addr.arpa ip6.arpa {
      pods insecure
      fallthrough in-addr.arpa ip6.arpa
      ttl 30
    }
    forward . /etc/resolv.conf
    cache 30
    loop
    reload
    loadbalance
    import custom/*.override
}
import custom/*.server
"""

_LABELS = {"kubernetes.azure.com/managedby": "aks", "addonmanager.kubernetes.io/mode": "Reconcile"}
_SETTLE: list[Object] = [{"name": "SETTLE_AFTER", "value": "8s"}, {"name": "SETTLE_GOGC", "value": "20"}]
"""Of the engine's builds: lazy garbage collection while they start, thrifty afterwards."""
_CRITICAL: list[Object] = [
    {"key": "CriticalAddonsOnly", "operator": "Exists"},
    {"key": "node-role.kubernetes.io/master", "effect": "NoSchedule"},
]


def marker() -> tuple[str, str]:
    """Path of the object whose presence says that this revision has been applied, and the revision."""
    return "/api/v1/namespaces/kube-system/configmaps/aks-addons", REVISION


def manifests(cluster: Resource, *, hollow: bool = False) -> list[tuple[str, Object]]:
    """(API path, object), in order; the marker last.

    `hollow`: pods run nothing. An API group whose server never answers would keep every namespace from being deleted.
    """
    dns = cluster.properties["networkProfile"]["dnsServiceIP"]
    found = [*_roles(), *_coredns(dns), *([] if hollow else _metrics_server())]
    path, revision = marker()
    found.append((path, _object("v1", "ConfigMap", "aks-addons", data={"revision": revision})))
    return found


def _object(api: str, kind: str, name: str, namespace: str | None = "kube-system", **rest: Any) -> Object:
    metadata: Object = {"name": name, "labels": dict(_LABELS)}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}


_RBAC = "/apis/rbac.authorization.k8s.io/v1"


def _cluster_role(name: str, rules: list[Object]) -> tuple[str, Object]:
    return f"{_RBAC}/clusterroles/{name}", _object(
        "rbac.authorization.k8s.io/v1", "ClusterRole", name, None, rules=rules
    )


def _binding(name: str, role: str, subjects: list[Object]) -> tuple[str, Object]:
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    obj = _object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", name, None, roleRef=ref, subjects=subjects)
    return f"{_RBAC}/clusterrolebindings/{name}", obj


def _account(name: str) -> tuple[str, Object]:
    return f"/api/v1/namespaces/kube-system/serviceaccounts/{name}", _object("v1", "ServiceAccount", name)


def _roles() -> list[tuple[str, Object]]:
    group = {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "kubelet-api-admins"}
    proxy = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "system:kube-proxy"}
    return [
        # The API server's own way to kubelets: logs, exec, port-forward.
        _binding("sorairo:kubelet-api-admin", "system:kubelet-api-admin", [group]),
        _binding("sorairo:kube-proxy", "system:node-proxier", [proxy]),
    ]


def _deployment(name: str, pod: Object, labels: dict[str, str]) -> tuple[str, Object]:
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "strategy": {"rollingUpdate": {"maxUnavailable": 1}},
        "template": {"metadata": {"labels": {**labels, **_LABELS}}, "spec": pod},
    }
    path = f"/apis/apps/v1/namespaces/kube-system/deployments/{name}"
    return path, _object("apps/v1", "Deployment", name, spec=spec)


def _service(name: str, labels: dict[str, str], **spec: Any) -> tuple[str, Object]:
    obj = _object("v1", "Service", name, spec={"selector": labels, **spec})
    return f"/api/v1/namespaces/kube-system/services/{name}", obj


def _get(port: int, path: str, scheme: str = "HTTP", **rest: int) -> Object:
    return {"httpGet": {"path": path, "port": port, "scheme": scheme}, **rest}


def _coredns(address: str) -> list[tuple[str, Object]]:
    labels = {"k8s-app": "kube-dns"}
    pod = {
        "serviceAccountName": "coredns",
        "priorityClassName": "system-node-critical",
        "dnsPolicy": "Default",
        "tolerations": _CRITICAL,
        "containers": [
            {
                "name": "coredns",
                "image": COREDNS,
                "imagePullPolicy": "IfNotPresent",
                "args": ["-conf", "/etc/coredns/Corefile"],
                "env": _SETTLE,
                "resources": {"limits": {"memory": "500Mi"}, "requests": {"cpu": "100m", "memory": "70Mi"}},
                "ports": [
                    {"name": "dns", "containerPort": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
                ],
                "volumeMounts": [
                    {"name": "config-volume", "mountPath": "/etc/coredns", "readOnly": True},
                    {"name": "custom-config-volume", "mountPath": "/etc/coredns/custom", "readOnly": True},
                ],
                "livenessProbe": _get(8080, "/health", initialDelaySeconds=60, periodSeconds=10, failureThreshold=5),
                "readinessProbe": _get(8181, "/ready", periodSeconds=2),
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                },
            }
        ],
        "volumes": [
            {
                "name": "config-volume",
                "configMap": {"name": "coredns", "items": [{"key": "Corefile", "path": "Corefile"}]},
            },
            {"name": "custom-config-volume", "configMap": {"name": "coredns-custom", "optional": True}},
        ],
    }
    rules: list[Object] = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    return [
        _account("coredns"),
        _cluster_role("system:coredns", rules),
        _binding("system:coredns", "system:coredns", [_subject("coredns")]),
        (
            "/api/v1/namespaces/kube-system/configmaps/coredns",
            _object("v1", "ConfigMap", "coredns", data={"Corefile": COREFILE}),
        ),
        _service(
            "kube-dns",
            labels,
            clusterIP=address,
            ports=[
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
            ],
        ),
        _deployment("coredns", pod, labels),
    ]


def _subject(account: str) -> Object:
    return {"kind": "ServiceAccount", "name": account, "namespace": "kube-system"}


def _metrics_server() -> list[tuple[str, Object]]:
    labels = {"k8s-app": "metrics-server"}
    pod = {
        "serviceAccountName": "metrics-server",
        "priorityClassName": "system-cluster-critical",
        "tolerations": _CRITICAL,
        "containers": [
            {
                "name": "metrics-server",
                "image": METRICS_SERVER,
                "imagePullPolicy": "IfNotPresent",
                "args": [
                    "--cert-dir=/tmp",
                    "--secure-port=4443",
                    "--kubelet-preferred-address-types=InternalIP",
                    "--kubelet-insecure-tls",
                    "--metric-resolution=15s",
                ],
                "env": _SETTLE,
                "resources": {"limits": {"memory": "400Mi"}, "requests": {"cpu": "44m", "memory": "55Mi"}},
                "ports": [{"name": "https", "containerPort": 4443}],
                "readinessProbe": _get(4443, "/readyz", "HTTPS", periodSeconds=5),
                "livenessProbe": _get(4443, "/livez", "HTTPS", initialDelaySeconds=60, periodSeconds=10),
                "securityContext": {"readOnlyRootFilesystem": True, "runAsNonRoot": True, "runAsUser": 1000},
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    rules: list[Object] = [
        {"apiGroups": [""], "resources": ["nodes/metrics", "nodes/stats"], "verbs": ["get"]},
        {
            "apiGroups": [""],
            "resources": ["pods", "nodes", "namespaces", "configmaps"],
            "verbs": ["get", "list", "watch"],
        },
    ]
    reader = {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": "extension-apiserver-authentication-reader",
    }
    aggregated: list[Object] = [
        {"apiGroups": ["metrics.k8s.io"], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]}
    ]
    read_path, read_role = _cluster_role("system:aggregated-metrics-reader", aggregated)
    for role in ("view", "edit", "admin"):
        read_role["metadata"]["labels"][f"rbac.authorization.k8s.io/aggregate-to-{role}"] = "true"
    return [
        _account("metrics-server"),
        _cluster_role("system:metrics-server", rules),
        (read_path, read_role),
        _binding("system:metrics-server", "system:metrics-server", [_subject("metrics-server")]),
        _binding("metrics-server:system:auth-delegator", "system:auth-delegator", [_subject("metrics-server")]),
        (
            f"{_RBAC}/namespaces/kube-system/rolebindings/metrics-server-auth-reader",
            _object(
                "rbac.authorization.k8s.io/v1",
                "RoleBinding",
                "metrics-server-auth-reader",
                roleRef=reader,
                subjects=[_subject("metrics-server")],
            ),
        ),
        _service("metrics-server", labels, ports=[{"name": "https", "port": 443, "targetPort": 4443}]),
        _deployment("metrics-server", pod, labels),
        (
            "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io",
            _object(
                "apiregistration.k8s.io/v1",
                "APIService",
                "v1beta1.metrics.k8s.io",
                None,
                spec={
                    "service": {"name": "metrics-server", "namespace": "kube-system"},
                    "group": "metrics.k8s.io",
                    "version": "v1beta1",
                    "insecureSkipTLSVerify": True,
                    "groupPriorityMinimum": 100,
                    "versionPriority": 100,
                },
            ),
        ),
    ]
