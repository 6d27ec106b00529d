"""What Azure's roles say of a request to a Kubernetes API: its data action, and the scope it is asked at.

https://learn.microsoft.com/azure/aks/entra-id-authorization
https://learn.microsoft.com/azure/role-based-access-control/permissions/containers#microsoftcontainerservice
"""

from __future__ import annotations

from typing import Any

CLUSTERS = "Microsoft.ContainerService/managedClusters"
ALLOWED = "Access allowed by Azure RBAC"
DENIED = "User does not have access to the resource in Azure. Update role assignment to allow access."
NO_OPINION = "Azure does not have opinion for this user."

_VERBS = {
    **dict.fromkeys(("get", "list", "watch"), "read"),
    **dict.fromkeys(("create", "update", "patch"), "write"),
    **dict.fromkeys(("delete", "deletecollection"), "delete"),
    **{verb: f"{verb}/action" for verb in ("bind", "escalate", "use", "impersonate")},
    "*": "*",
}
_TAKEN = tuple(f"{kind}/{verb}" for kind in ("namespaces", "resourcequotas") for verb in ("write", "delete"))
"""What a built-in role takes out of everything it grants."""

Spec = dict[str, Any]
"""A SubjectAccessReview's."""


def data_actions(spec: Spec) -> list[str]:
    """All of which it takes; none for a request that names nothing. A verb that Azure does not know has no action of
    its own: whoever may do everything may do that, too."""
    if (asked := spec.get("resourceAttributes")) is not None:
        group, kind, verb = (str(asked.get(k) or "") for k in ("group", "resource", "verb"))
        exec_ = kind == "pods" and asked.get("subresource") == "exec"
        action = "/".join(p for p in (kind, "exec/action" if exec_ else _VERBS.get(verb, "")) if p)
        found = [f"{CLUSTERS}/{group}/{action}" if group else f"{CLUSTERS}/{action}"]
        # Only `can-i` asks so: of everything at once, which takes what the least of it does.
        return found + [f"{CLUSTERS}/{t}" for t in _TAKEN if "*" in (group, kind, verb)]
    if (path := spec.get("nonResourceAttributes")) is not None:
        parts = (str(path.get("path") or "").strip("/"), _VERBS.get(str(path.get("verb")), ""))
        return ["/".join(p for p in (CLUSTERS, *parts) if p)]
    return []


def scope(cluster: str, spec: Spec) -> str:
    """The cluster, or a namespace of it: `…/managedClusters/c/namespaces/n`."""
    namespace = (spec.get("resourceAttributes") or {}).get("namespace")
    return f"{cluster}/namespaces/{namespace}" if namespace else cluster
