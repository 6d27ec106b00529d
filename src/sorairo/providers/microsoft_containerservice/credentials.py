"""`listClusterAdminCredential` and `listClusterUserCredential`: kubeconfigs.

https://learn.microsoft.com/rest/api/aks/managed-clusters/list-cluster-user-credentials
https://azure.github.io/kubelogin/
"""

from __future__ import annotations

import base64
from typing import Any

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Call, Resource
from sorairo.providers.microsoft_containerservice import entra, kubeconfig, private_cluster
from sorairo.providers.microsoft_containerservice.controlplane import Endpoint
from sorairo.providers.microsoft_containerservice.entra import Authority
from sorairo.providers.microsoft_containerservice.observe import endpoint_of

ENVIRONMENT = "AzurePublicCloud"
INSTALL_HINT = """
kubelogin is not installed which is required to connect to AAD enabled cluster.

It comes with sorairo: eval "$(sorairo env)" puts it on the PATH.
"""


class Credentials:
    def __init__(self, authority: Authority) -> None:
        self._authority = authority

    async def user(self, call: Call) -> Any:
        """Of a cluster whose users are the directory's: how they sign in, and nothing secret."""
        if entra.profile(call.resource) is None:
            return _answer(call, "clusterUser", _certificate(call.resource))
        form = call.query.get("format") or "exec"
        if form not in ("exec", "azure"):
            raise ArmError(
                "InvalidParameter",
                f"The value of parameter format is invalid. Error details: '{form}' is neither 'azure' nor 'exec'.",
                target="format",
            )
        return _answer(call, "clusterUser", self._exec() if form == "exec" else self._provider())

    async def admin(self, call: Call) -> Any:
        if call.resource.properties.get("disableLocalAccounts"):
            raise ArmError(
                "BadRequest",
                "Getting static credential is not allowed because this cluster is set to disable local accounts.",
            )
        return _answer(call, "clusterAdmin", _certificate(call.resource))

    def _exec(self) -> dict[str, Any]:
        """As AKS writes it, and where to sign in besides: kubelogin knows Microsoft's own clouds alone."""
        arguments = {
            "--environment": ENVIRONMENT,
            "--server-id": entra.SERVER_APP,
            "--client-id": entra.CLIENT_APP,
            "--tenant-id": self._authority.tenant,
            "--login": "devicecode",
            "--authority-host": f"{self._authority.base}/",
        }
        told = [part for pair in arguments.items() for part in pair]
        return {
            "exec": {
                "apiVersion": "client.authentication.k8s.io/v1beta1",
                "command": "kubelogin",
                "args": ["get-token", *told, "--disable-instance-discovery"],
                "env": None,
                "installHint": INSTALL_HINT,
                "provideClusterInfo": False,
            }
        }

    def _provider(self) -> dict[str, Any]:
        """For kubectl before 1.26, which signed in by itself."""
        config = {
            "apiserver-id": entra.SERVER_APP,
            "client-id": entra.CLIENT_APP,
            "config-mode": "1",
            "environment": ENVIRONMENT,
            "tenant-id": self._authority.tenant,
        }
        return {"auth-provider": {"name": "azure", "config": config}}


def _certificate(cluster: Resource) -> dict[str, Any]:
    pki = cluster.private.get("pki") or {}
    return kubeconfig.certificate(pki.get("admin.crt", ""), pki.get("admin.key", ""))


def _server(call: Call, endpoint: Endpoint) -> str:
    """A private cluster's is a name: outside its network that means nothing."""
    cluster = call.resource
    if not private_cluster.is_private(cluster):
        return endpoint.url
    if str(call.query.get("server-fqdn") or "").lower() != "public":
        return f"https://{private_cluster.server(cluster)}:443"
    if not private_cluster.is_told(cluster):
        raise ArmError(
            "BadRequest",
            f"Managed cluster {cluster.rid.name} has no public FQDN: it is disabled. See "
            "https://aka.ms/aks/private-cluster-public-fqdn for more details.",
            target="serverFqdn",
        )
    return f"https://{cluster.private['fqdn']}:443"


def _answer(call: Call, name: str, proof: dict[str, Any]) -> Any:
    cluster = call.resource
    endpoint, pki = endpoint_of(cluster), cluster.private.get("pki")
    if endpoint is None or not pki:
        raise ArmError(
            "BadRequest",
            f"The credentials of cluster '{cluster.rid.name}' are not there yet: it is being created.",
            status=409,
        )
    user = f"{name}_{cluster.rid.resource_group}_{cluster.rid.name}"
    text = kubeconfig.text(kubeconfig.document(_server(call, endpoint), pki["ca.crt"], user, proof, cluster.rid.name))
    return {"kubeconfigs": [{"name": name, "value": base64.b64encode(text.encode()).decode()}]}
