"""KWOK, which keeps hollow nodes and their pods alive: its program and the stages it moves them through.

https://kwok.sigs.k8s.io/docs/user/stages-configuration/
"""

from __future__ import annotations

import json
from typing import Any

from sorairo.drivers.protocols import Service

ANNOTATION = "kwok.x-k8s.io/node"
"""Nodes that bear it (value `fake`) are KWOK's."""
CONFIG = "kwok.yaml"
HEARTBEAT_SECONDS = (240, 300)
"""At random in between; a kubelet's is every 300. Each costs the API server as much as a pod's start does."""
GRACE_SECONDS = 900
"""How long a node may be silent before it is called unknown."""
PARALLEL = 16
KUBERNETES = {"SETTLE_AFTER": "60s", "SETTLE_GOGC": "40"}
"""The engine's own, for API server and controllers: a thousand nodes come in the first minute, and thrift in it costs
half as much CPU again."""
CONTROLLER_MANAGER_FLAGS = (
    f"--node-monitor-grace-period={GRACE_SECONDS}s",
    # It tells kubelets how long to keep secrets, anew for each node whenever there are ten times as many. None listens.
    "--controllers=*,-ttl-controller",
)

Stage = dict[str, Any]


def service(kubeconfig: str, port: int, api_server: str, env: dict[str, str]) -> Service:
    """`port`: of its own health and metrics. `api_server`: `address:port` that must listen before it starts."""
    return Service(
        "kwok",
        (
            "/opt/sorairo/bin/kwok",
            f"--kubeconfig={kubeconfig}",
            f"--config={CONFIG}",
            "--manage-all-nodes=false",
            f"--manage-nodes-with-annotation-selector={ANNOTATION}=fake",
            # No leases: KWOK has a new identity each time it starts, and would leave its nodes alone until the old
            # one's leases have run out. Nodes show that they live by their status alone.
            "--node-lease-duration-seconds=0",
            f"--server-address=127.0.0.1:{port}",
        ),
        env=env,
        # It asks twice as seldom each time that there is no answer.
        wait_for=(f"tcp:{api_server}",),
    )


def config() -> bytes:
    """The configuration file, YAML documents each of which is JSON."""
    options = {
        "nodePlayStageParallelism": PARALLEL,
        # One at a time: two may each begin the list of what is taken of a node's addresses. It is no slower.
        "podPlayStageParallelism": 1,
        "enableDebuggingHandlers": False,
    }
    documents: list[Any] = [
        {"apiVersion": "config.kwok.x-k8s.io/v1alpha1", "kind": "KwokConfiguration", "options": options},
        *STAGES,
    ]
    return "\n---\n".join(json.dumps(d, indent=1) for d in documents).encode() + b"\n"


def _stage(name: str, kind: str, match: list[tuple[str, str, list[str]]], **spec: Any) -> Stage:
    """`match`: (jq expression, operator, values)."""
    expressions = [{"key": key, "operator": op, **({"values": v} if v else {})} for key, op, v in match]
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": expressions},
            **spec,
        },
    }


_READY = '.status.conditions.[] | select( .type == "Ready" ) | .status'
_DELETED = ".metadata.deletionTimestamp"
_OWNER = ".metadata.ownerReferences.[].kind"

# Everything else of a node's status is what the node was made with. Conditions are merged by their type.
_NODE_STATUS = """\
{{ $now := Now }}
{{ $root := . }}
conditions:
{{ range $fresh := NodeConditions }}
{{ if ne $fresh.type "NetworkUnavailable" }}
{{ $since := $now }}
{{ range $root.status.conditions }}
{{ if and (eq .type $fresh.type) (eq .status $fresh.status) }}{{ $since = .lastTransitionTime }}{{ end }}
{{ end }}
- type: {{ $fresh.type }}
  status: {{ $fresh.status | Quote }}
  reason: {{ $fresh.reason }}
  message: {{ $fresh.message | Quote }}
  lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ $since | Quote }}
{{ end }}
{{ end }}
"""

_POD_RUNNING = """\
{{ $now := Now }}
{{ $host := NodeIPsWith .spec.nodeName }}
{{ $own := PodIPsWith .spec.nodeName (or .spec.hostNetwork false) .metadata.uid .metadata.name .metadata.namespace }}
phase: Running
startTime: {{ $now | Quote }}
{{ with $host }}
hostIP: {{ index . 0 | Quote }}
hostIPs: [{{ range $n, $ip := . }}{{ if $n }}, {{ end }}{ip: {{ $ip | Quote }}}{{ end }}]
{{ end }}
{{ with $own }}
podIP: {{ index . 0 | Quote }}
podIPs: [{{ range $n, $ip := . }}{{ if $n }}, {{ end }}{ip: {{ $ip | Quote }}}{{ end }}]
{{ end }}
conditions:
{{ range list "PodReadyToStartContainers" "Initialized" "ContainersReady" "Ready" }}
- {type: {{ . }}, status: "True", lastTransitionTime: {{ $now | Quote }}}
{{ end }}
{{ range .spec.readinessGates }}
- {type: {{ .conditionType | Quote }}, status: "True", lastTransitionTime: {{ $now | Quote }}}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: true
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
initContainerStatuses:
{{ range .spec.initContainers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: true
  restartCount: 0
  {{ if eq (or .restartPolicy "") "Always" }}
  started: true
  state: {running: {startedAt: {{ $now | Quote }}}}
  {{ else }}
  started: false
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}
  {{ end }}
{{ end }}
"""

_POD_SUCCEEDED = """\
{{ $now := Now }}
{{ $root := . }}
phase: Succeeded
conditions:
{{ range list "ContainersReady" "Ready" }}
- {type: {{ . }}, status: "False", reason: PodCompleted, lastTransitionTime: {{ $now | Quote }}}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: false
  started: false
  restartCount: 0
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $root.status.startTime | Quote }}, \
finishedAt: {{ $now | Quote }}}}
{{ end }}
"""

STAGES: list[Stage] = [
    _stage("node-ready", "Node", [(_READY, "NotIn", ["True"])], next={"statusTemplate": _NODE_STATUS}),
    _stage(
        "node-heartbeat",
        "Node",
        [(_READY, "In", ["True"])],
        delay={
            "durationMilliseconds": HEARTBEAT_SECONDS[0] * 1000,
            "jitterDurationMilliseconds": HEARTBEAT_SECONDS[1] * 1000,
        },
        next={"statusTemplate": _NODE_STATUS},
    ),
    _stage(
        "pod-running",
        "Pod",
        [(_DELETED, "DoesNotExist", []), (".status.phase", "In", ["Pending"])],
        next={"statusTemplate": _POD_RUNNING},
    ),
    # A Job's pod has done its work as soon as it has begun.
    _stage(
        "pod-succeeded",
        "Pod",
        [(_DELETED, "DoesNotExist", []), (".status.phase", "In", ["Running"]), (_OWNER, "In", ["Job"])],
        next={"statusTemplate": _POD_SUCCEEDED},
    ),
    # Changes nothing. But to be asked whether it would makes a KWOK that has been restarted note the pod's address as
    # taken, which it would otherwise give to the next pod.
    _stage(
        "pod-keeps-address",
        "Pod",
        [(_DELETED, "DoesNotExist", []), (".status.phase", "In", ["Running"]), (_OWNER, "NotIn", ["Job"])],
        next={"statusTemplate": "phase: Running"},
    ),
    _stage("pod-deleted", "Pod", [(_DELETED, "Exists", [])], next={"delete": True}),
]
