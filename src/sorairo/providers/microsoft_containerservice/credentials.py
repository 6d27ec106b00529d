"""`listClusterAdminCredential` and `listClusterUserCredential`: kubeconfigs.

https://learn.microsoft.com/rest/api/aks/managed-clusters/list-cluster-user-credentials
"""

from __future__ import annotations

import base64
from typing import Any

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Call
from sorairo.providers.microsoft_containerservice.kubeconfig import kubeconfig
from sorairo.providers.microsoft_containerservice.observe import endpoint_of


async def user(call: Call) -> Any:
    return _credentials(call, "clusterUser")


async def admin(call: Call) -> Any:
    return _credentials(call, "clusterAdmin")


def _credentials(call: Call, name: str) -> Any:
    cluster = call.resource
    endpoint = endpoint_of(cluster)
    pki = cluster.private.get("pki")
    if endpoint is None or not pki:
        raise ArmError(
            "BadRequest",
            f"The credentials of cluster '{cluster.rid.name}' are not there yet: it is being created.",
            status=409,
        )
    text = kubeconfig(
        server=endpoint.url,
        ca=pki["ca.crt"],
        user=f"{name}_{cluster.rid.resource_group}_{cluster.rid.name}",
        cert=pki["admin.crt"],
        key=pki["admin.key"],
        cluster=cluster.rid.name,
    )
    return {"kubeconfigs": [{"name": name, "value": base64.b64encode(text.encode()).decode()}]}
