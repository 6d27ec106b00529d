"""Names and annotations, as cloud-provider-azure gives and reads them.

https://cloud-provider-azure.sigs.k8s.io/topics/loadbalancer/
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
"""Label of nodes that no load balancer may use, whatever its value."""

CLUSTER = "kubernetes"
"""AKS's name for every cluster towards Azure: its load balancer's, its backend pool's, the first half of its public
IPs' names."""
PUBLIC, INTERNAL = CLUSTER, f"{CLUSTER}-internal"
"""The two load balancers."""
POOL = CLUSTER

SERVICE_TAG, CLUSTER_TAG, DNS_TAG = "k8s-azure-service", "k8s-azure-cluster-name", "k8s-azure-dns-label-service"
"""Tags of a public IP: the services it is for (`ns/name,ns/name`), their cluster, the one that has its DNS label."""

RULE = "k8s-azure-lb"
"""How the names of our security rules begin."""
DENY_ALL = f"{RULE}_deny-all_IPv4"
FIRST_PRIORITY, LAST_PRIORITY = 500, 4095
NAME_LENGTH = 80

_PREFIX = "service.beta.kubernetes.io/"
A_INTERNAL = _PREFIX + "azure-load-balancer-internal"
A_SUBNET = _PREFIX + "azure-load-balancer-internal-subnet"
A_ADDRESS = _PREFIX + "azure-load-balancer-ipv4"
A_GROUP = _PREFIX + "azure-load-balancer-resource-group"
A_PIP_NAME = _PREFIX + "azure-pip-name"
A_PIP_TAGS = _PREFIX + "azure-pip-tags"
A_PIP_PREFIX = _PREFIX + "azure-pip-prefix-id"
A_DNS_LABEL = _PREFIX + "azure-dns-label-name"
A_IDLE = _PREFIX + "azure-load-balancer-tcp-idle-timeout"
A_HA_PORTS = _PREFIX + "azure-load-balancer-enable-high-availability-ports"
A_NO_FLOATING = _PREFIX + "azure-disable-load-balancer-floating-ip"
A_MORE_ADDRESSES = _PREFIX + "azure-additional-public-ips"
A_SHARED_RULE = _PREFIX + "azure-shared-securityrule"
A_TAGS = _PREFIX + "azure-allowed-service-tags"
A_RANGES = _PREFIX + "azure-allowed-ip-ranges"
A_OLD_RANGES = _PREFIX + "load-balancer-source-ranges"
A_DENY_OTHERS = _PREFIX + "azure-deny-all-except-load-balancer-source-ranges"
A_PRIVATE_LINK = _PREFIX + "azure-pls-create"
_PROBE = _PREFIX + "azure-load-balancer-health-probe-"


def probe_annotation(what: str, port: int | None = None) -> str:
    """`what`: `protocol`, `request-path`, `interval`, `num-of-probe`; for one port also `port`."""
    return f"{_PREFIX}port_{port}_health-probe_{what}" if port is not None else _PROBE + what


def port_annotation(port: int, what: str) -> str:
    """`what`: `no_lb_rule`, `no_probe_rule`."""
    return f"{_PREFIX}port_{port}_{what}"


def prefix(uid: str) -> str:
    """How the names of all that belongs to a Service begin: `a` and 31 hexadecimal digits of its uid."""
    return ("a" + uid.replace("-", ""))[:32].lower()


_OWNED = re.compile(r"a[0-9a-f]{31}(?![0-9a-zA-Z])")


def owner(name: str) -> str | None:
    """The prefix of the Service that something of this name belongs to; None when it is nobody's."""
    found = _OWNED.match(name.lower())
    return found[0] if found else None


def frontend(prefix: str, subnet: str | None) -> str:
    return (f"{prefix}-{subnet}" if subnet else prefix)[:NAME_LENGTH]


def rule(prefix: str, subnet: str | None, protocol: str, port: int) -> str:
    """`a…-TCP-80`, or with the subnet of an internal one in the middle. `protocol` as Kubernetes writes it."""
    end = f"-{protocol}-{port}"
    if not subnet:
        return prefix + end
    return f"{prefix}-{subnet}"[: NAME_LENGTH - len(end)] + end


def public_ip(prefix: str) -> str:
    return f"{CLUSTER}-{prefix}"


def allow_rule(protocol: str, sources: Iterable[str], ports: Iterable[int]) -> str:
    """A security rule is named by what it lets in, so that Services alike share one. `protocol`: Tcp, Udp or `*`."""
    text = "_".join((protocol, ",".join(sorted(sources)), ",".join(sorted(str(p) for p in ports))))
    return f"{RULE}_allow_IPv4_{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}"


def services(tag: str | None) -> list[str]:
    """Of a public IP's service tag."""
    return [name for part in (tag or "").split(",") if (name := part.strip())]
