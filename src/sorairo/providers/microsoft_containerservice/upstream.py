"""Upstream's cloud controller manager in place of ours: the tag `sorairo-cloud-controller: upstream` of a cluster.

It is a program of the hidden control plane, as on Azure, is told of its cloud by the same azure.json as nodes are, and
signs in as the cluster's principal. Nodes register uninitialized then: it gives them addresses and zone, and takes the
taint away. https://kubernetes.io/docs/concepts/architecture/cloud-controller/
https://cloud-provider-azure.sigs.k8s.io/install/azure-ccm/
"""

from __future__ import annotations

import json

from sorairo.cluster import azure_json
from sorairo.drivers.protocols import File, Service
from sorairo.engine.errors import ArmError
from sorairo.engine.types import Document, Resource
from sorairo.providers.microsoft_containerservice import cloud
from sorairo.providers.microsoft_containerservice.entra import Authority
from sorairo.providers.microsoft_containerservice.kubeconfig import kubeconfig

TAG = "sorairo-cloud-controller"
OURS, UPSTREAM, NONE = "sorairo", "upstream", "none"
FOLDER = "cloud"
"""Of its programs, below `/opt/sorairo`."""
PROGRAM = "cloud-controller-manager"
CONFIG, ENVIRONMENT, CA, KUBECONFIG = (
    f"{PROGRAM}/{name}" for name in ("azure.json", "environment.json", "ca.crt", "kubeconfig")
)
KUBELET_FLAG = "--cloud-provider=external"


def controller(cluster: Resource | Document) -> str:
    """Which cloud controller a cluster has: OURS, UPSTREAM, or NONE."""
    body = cluster.body if isinstance(cluster, Resource) else cluster
    return str((body.get("tags") or {}).get(TAG, OURS)).lower()


def admit(body: Document, installed: bool) -> None:
    """`installed`: its programs are. Raises ArmError."""
    asked = controller(body)
    if asked not in (OURS, UPSTREAM, NONE):
        raise ArmError(
            "InvalidParameter",
            f"The value of the tag {TAG} is invalid. Error details: '{asked}' is none of '{OURS}', '{UPSTREAM}' and "
            f"'{NONE}'.",
            target=f"tags.{TAG}",
        )
    if asked == UPSTREAM and not installed:
        raise ArmError(
            "BadRequest",
            f"The tag {TAG} asks for upstream's cloud controller manager, which is not installed: build it with "
            "'engine/build.py --with cloud-provider', or name a directory that has a program cloud-controller-manager "
            "in SORAIRO_CLOUD_CONTROLLER_BIN, and start sorairo again.",
            target=f"tags.{TAG}",
        )


def service(cluster: Resource, ready: str) -> Service:
    """`ready`: the file that says that the API server is."""
    return Service(
        PROGRAM,
        (
            f"/opt/sorairo/{FOLDER}/{PROGRAM}",
            "--cloud-provider=azure",
            f"--cloud-config={CONFIG}",
            f"--kubeconfig={KUBECONFIG}",
            "--controllers=cloud-node,cloud-node-lifecycle,service",
            # The network routes to pods by itself, and kube-controller-manager gives out no addresses.
            "--configure-cloud-routes=false",
            "--allocate-node-cidrs=false",
            # Names of what it makes, and of the load balancer, begin with it; the same in every AKS cluster.
            "--cluster-name=kubernetes",
            "--leader-elect=false",
            "--secure-port=0",
            "--profiling=false",
            "--v=2",
        ),
        env={"SSL_CERT_FILE": CA, "AZURE_ENVIRONMENT_FILEPATH": ENVIRONMENT, "GOGC": "40"},
        wait_for=(ready,),
    )


def files(cluster: Resource, authority: Authority, server: str) -> dict[str, File]:
    """What those flags name. `server`: its own API server's URL."""
    config = cloud.config(cluster, tenant_id=authority.tenant, resource_manager=authority.base)
    where = azure_json.environment(authority.base, authority.base, cloud.AUDIENCE)
    pki = cluster.private["pki"]
    access = kubeconfig(server=server, ca=pki["ca.crt"], user=PROGRAM, cert=pki["sorairo.crt"], key=pki["sorairo.key"])
    found = {CONFIG: config.text(), ENVIRONMENT: json.dumps(where, indent=4), CA: authority.ca, KUBECONFIG: access}
    return {name: File(text.encode(), 0o600, (PROGRAM,)) for name, text in found.items()}
