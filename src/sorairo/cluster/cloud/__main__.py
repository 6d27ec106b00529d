"""The cloud controller as a program of its own.

python -m sorairo.cluster.cloud --cloud-config /etc/kubernetes/azure.json --kubeconfig FILE [--login URL] [--ca FILE]
    [--configure-cloud-routes --cluster-cidr CIDR]

`azure.json` must name a service principal; without `--login`, tokens come from Entra.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import ssl
from pathlib import Path
from typing import Any

import httpx
import yaml

from sorairo.cluster.azure_json import CloudConfig
from sorairo.cluster.cloud.arm import Arm
from sorairo.cluster.cloud.controller import CloudController
from sorairo.cluster.cloud.signin import ClientSecret
from sorairo.drivers.kubernetes import Access, KubernetesApi


def read_kubeconfig(path: Path) -> Access:
    """The current context's cluster and client certificate. Raises ValueError."""
    found = yaml.safe_load(path.read_text())

    def named(kind: str, name: str) -> dict[str, Any]:
        item = next((i for i in found.get(f"{kind}s", []) if i["name"] == name), None)
        if item is None:
            raise ValueError(f"{path} has no {kind} '{name}'")
        return item[kind]  # type: ignore[no-any-return]

    def pem(of: dict[str, Any], name: str) -> str:
        if data := of.get(f"{name}-data"):
            return base64.b64decode(data).decode()
        if file := of.get(name):
            return (path.parent / str(file)).read_text()
        raise ValueError(f"{path} has no {name}")

    context = named("context", str(found.get("current-context", "")))
    cluster, user = named("cluster", context["cluster"]), named("user", context["user"])
    return Access(
        cluster["server"],
        pem(cluster, "certificate-authority"),
        pem(user, "client-certificate"),
        pem(user, "client-key"),
    )


async def run(
    config: CloudConfig, at: Access, login: str, audience: str, ca: Path | None, pod_cidr: str | None = None
) -> None:
    verify = ssl.create_default_context(cafile=str(ca) if ca else None)
    api = KubernetesApi()
    try:
        async with httpx.AsyncClient(verify=verify, timeout=httpx.Timeout(60, connect=5)) as http:
            secret = ClientSecret(http, login, config.tenant_id, config.client_id, config.client_secret, audience)
            await CloudController(config, Arm(http, config.resource_manager, secret), api, at, pod_cidr).run()
    finally:
        await api.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sorairo.cluster.cloud", description=__doc__)
    parser.add_argument("--cloud-config", type=Path, required=True)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--login", default="https://login.microsoftonline.com", help="the token service")
    parser.add_argument("--audience", default="https://management.azure.com", help="what tokens are for")
    parser.add_argument("--configure-cloud-routes", action="store_true", help="write routes to nodes' blocks of pods")
    parser.add_argument("--cluster-cidr", help="the pods' addresses, with --configure-cloud-routes")
    parser.add_argument("--ca", type=Path, help="authorities to trust besides the system's")
    arguments = parser.parse_args()
    config = CloudConfig.parse(arguments.cloud_config.read_bytes())
    if config.managed:
        parser.error(f"{arguments.cloud_config} names no service principal")
    if arguments.configure_cloud_routes and not (arguments.cluster_cidr and config.route_table):
        parser.error("--configure-cloud-routes needs --cluster-cidr, and a routeTableName in the cloud's configuration")
    pod_cidr = arguments.cluster_cidr if arguments.configure_cloud_routes else None
    at = read_kubeconfig(arguments.kubeconfig)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(
            run(config, at, arguments.login.rstrip("/"), arguments.audience.rstrip("/"), arguments.ca, pod_cidr)
        )


if __name__ == "__main__":
    main()
