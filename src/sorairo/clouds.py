"""Which clusters have a cloud controller: all that are there and not stopped, one each.

On Azure it is a program of the hidden control plane. Here it is a few tasks of the daemon, since a process each would
cost 40 MB; it still signs in as its cluster's principal and asks ARM over HTTPS, and can do no more than that may.
`python -m sorairo.cluster.cloud` is the same as a program of its own. A cluster's tag `sorairo-cloud-controller`
(`upstream`, or `none` for one that somebody runs), or `SORAIRO_CLOUD_CONTROLLER=none` for all, lets another work in
place of these.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import structlog

from sorairo.cluster.azure_json import CloudConfig
from sorairo.cluster.cloud.arm import Arm
from sorairo.cluster.cloud.controller import CloudController
from sorairo.cluster.cloud.signin import ClientSecret, Credential, Issued
from sorairo.drivers.kubernetes import Access, KubernetesApi
from sorairo.engine.types import Resource
from sorairo.identity.directory import Directory
from sorairo.identity.tokens import LIFETIME, Tokens
from sorairo.members import Members
from sorairo.providers.microsoft_containerservice import cloud, kubenet, principal, upstream
from sorairo.providers.microsoft_containerservice.admission import CLUSTER
from sorairo.providers.microsoft_containerservice.observe import running_access
from sorairo.store import Store

log = structlog.get_logger(__name__)

AUDIENCE = "https://management.azure.com"
LOOK = 3.0
"""Seconds between looks at whether clusters' principals can still sign in."""


@dataclass(frozen=True, slots=True)
class Member:
    """What a cluster's controller is made of; another one is made when it changes."""

    access: Access
    config: CloudConfig
    identity: str | None
    pod_cidr: str | None = None
    """Whose nodes' blocks it writes routes to."""


def member(cluster: Resource, *, tenant_id: str, endpoint: str) -> Member | None:
    """None: it has no control plane to control anything for, or it is stopped; or another one works there."""
    way = running_access(cluster)
    if cluster.deleting or way is None or upstream.controller(cluster) != upstream.OURS:
        return None
    config = cloud.config(cluster, tenant_id=tenant_id, resource_manager=endpoint)
    return Member(way, config, cloud.identity_id(cluster), kubenet.pods(cluster))


class Clouds:
    def __init__(
        self,
        store: Store,
        api: KubernetesApi,
        directory: Directory,
        tokens: Tokens,
        endpoint: str,
        ca: Path,
        look: Callable[[str], None],
    ) -> None:
        """`endpoint`: our own, of ARM and the token service; `ca`: whom to trust there. `look`: have a cluster's
        reconciler look at it, by key."""
        self._look = look
        self._store = store
        self._api = api
        self._directory = directory
        self._tokens = tokens
        self._endpoint = endpoint
        self._ca = ca
        self._credentials: dict[str, Credential] = {}
        """Of the controllers that run, by cluster."""

    async def run(self) -> None:
        """Until cancelled."""
        if os.environ.get("SORAIRO_CLOUD_CONTROLLER") == "none":
            log.info("clusters have no cloud controller: somebody else runs it")
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self._ca)
        async with (
            httpx.AsyncClient(verify=context, timeout=httpx.Timeout(60, connect=5), trust_env=False) as http,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(self._watch_principals())

            def of(cluster: Resource) -> Member | None:
                return member(cluster, tenant_id=self._directory.tenant_id, endpoint=self._endpoint)

            await Members(self._store, "cloud controller", of, lambda key, it: self._control(key, it, http)).run()

    async def _watch_principals(self) -> None:
        """A secret expires and a principal is deleted without a word to the cluster, whose document is to say it."""
        while True:
            await asyncio.sleep(LOOK)
            for cluster in self._store.list(type=CLUSTER):
                if not cluster.settled or running_access(cluster) is None:
                    continue
                told = (cluster.status.get("status") or {}).get("provisioningError")
                if principal.refusal(self._directory, cluster) != told:
                    if credential := self._credentials.get(cluster.key):
                        credential.forget()
                    self._look(cluster.key)

    async def _control(self, key: str, it: Member, http: httpx.AsyncClient) -> None:
        credential = self._credentials[key] = self._credential(it, http)
        try:
            arm = Arm(http, self._endpoint, credential)
            await CloudController(it.config, arm, self._api, it.access, it.pod_cidr).run()
        finally:
            self._credentials.pop(key, None)

    def _credential(self, it: Member, http: httpx.AsyncClient) -> Credential:
        identity, config = it.identity, it.config
        if identity is None:
            return ClientSecret(
                http, self._endpoint, config.tenant_id, config.client_id, config.client_secret, AUDIENCE
            )

        def issue() -> str:
            principal = self._directory.managed_identity(identity)
            if principal is None:
                raise LookupError(identity)
            return self._tokens.issue(principal, AUDIENCE)

        return Issued(issue, LIFETIME)
