"""Microsoft.ContainerService: Kubernetes clusters."""

from __future__ import annotations

from sorairo.engine.types import Provider
from sorairo.providers.capacity import Capacity
from sorairo.providers.microsoft_containerservice import machines, private_cluster, upgrades
from sorairo.providers.microsoft_containerservice.admission import ClusterAdmission
from sorairo.providers.microsoft_containerservice.bootstrap import IMAGES as NODE_IMAGES
from sorairo.providers.microsoft_containerservice.cloud import Permits
from sorairo.providers.microsoft_containerservice.clusters import cluster_types
from sorairo.providers.microsoft_containerservice.credentials import Credentials
from sorairo.providers.microsoft_containerservice.pki import prepare
from sorairo.providers.microsoft_containerservice.reconcile import ClusterReconciler
from sorairo.providers.microsoft_containerservice.run_command import Commands
from sorairo.providers.microsoft_containerservice.substrate import Substrate
from sorairo.providers.microsoft_containerservice.versions import list_versions
from sorairo.providers.principals import Principals


def provider(
    substrate: Substrate,
    principals: Principals,
    sizes: dict[str, tuple[int, int]],
    capacity: Capacity,
    permits: Permits,
) -> Provider:
    """`sizes`: (CPUs, bytes of memory) of VM sizes by lower-case name, as Microsoft.Compute knows them. `permits`: what
    clusters' principals may do to what their users name."""
    return Provider(
        "Microsoft.ContainerService",
        cluster_types(
            ClusterAdmission(principals, sizes, capacity, permits),
            ClusterReconciler(substrate, principals, sizes),
            Commands(substrate),
            Credentials(substrate.authority),
            principals,
        ),
        depends_on=("Microsoft.Network", "Microsoft.Compute", "Microsoft.ManagedIdentity", "Microsoft.Resources"),
        routes=(
            ("GET", "locations/{location}/kubernetesVersions", list_versions),
            *upgrades.ROUTES,
            *machines.ROUTES,
            *private_cluster.ROUTES,
        ),
    )


__all__ = ["NODE_IMAGES", "prepare", "provider"]
