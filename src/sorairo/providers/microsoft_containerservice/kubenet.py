"""Network plugin kubenet: nodes have a /24 of the pod CIDR each, and a route table leads to them.

The controller manager gives each node its block, containerd makes the node's plugins of it, and the cloud controller
writes the routes. To everybody but pods, what pods send comes from their node.
https://learn.microsoft.com/azure/aks/configure-kubenet
"""

from __future__ import annotations

import json

from sorairo.engine.types import Document, Resource

KUBENET = "kubenet"
BLOCK_LENGTH = 24
TEMPLATE_PATH = "/etc/containerd/kubenet_template.conf"


def pods(cluster: Resource | Document) -> str | None:
    """The pod CIDR of a cluster with kubenet."""
    properties = cluster.properties if isinstance(cluster, Resource) else cluster["properties"]
    profile = properties.get("networkProfile") or {}
    return str(profile["podCidr"]) if profile.get("networkPlugin") == KUBENET else None


def template() -> str:
    """What containerd makes a node's plugins of, as soon as the kubelet tells it the node's block.

    As AKS has it, but for two things: a pod reaches itself by its Service through the bridge's hairpin rather than by
    a promiscuous bridge, which sees each packet twice; and who is masqueraded is the network interface's to say.
    """
    ranges = '{{range $i, $range := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet": "{{$range}}"}]{{end}}'
    routes = '{{range $i, $route := .Routes}}{{if $i}}, {{end}}{"dst": "{{$route}}"}{{end}}'
    bridge: Document = {
        "type": "bridge",
        "bridge": "cbr0",
        "mtu": 1500,
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": ["@RANGES@"], "routes": ["@ROUTES@"]},
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "backend": "nftables"}
    text = json.dumps({"cniVersion": "1.0.0", "name": KUBENET, "plugins": [bridge, portmap]}, indent=2)
    return text.replace('"@RANGES@"', ranges).replace('"@ROUTES@"', routes)


def controller_manager_flags(cluster: Resource) -> tuple[str, ...]:
    """It gives nodes their blocks; routes to them are the cloud controller's."""
    cidr = pods(cluster)
    if cidr is None:
        return ()
    return (
        "--allocate-node-cidrs",
        f"--cluster-cidr={cidr}",
        f"--node-cidr-mask-size={BLOCK_LENGTH}",
    )
