"""What a cluster is made on: `main` chooses it once."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from sorairo.drivers import etcd
from sorairo.drivers.kubernetes import Access, KubernetesApi
from sorairo.drivers.naming import Names
from sorairo.drivers.protocols import Leg, Links, Machines
from sorairo.engine.ids import host_name
from sorairo.engine.types import Context, Resource
from sorairo.providers.microsoft_containerservice import entra, kubenet, upstream
from sorairo.providers.microsoft_containerservice.controlplane import Endpoint
from sorairo.providers.microsoft_containerservice.entra import Authority
from sorairo.providers.microsoft_containerservice.names import names
from sorairo.providers.microsoft_containerservice.network import overlay
from sorairo.providers.overlays import table_name

PUBLIC_POOL = "public addresses"
PORT_POOL = "loopback ports"


class Doors(Protocol):
    """Ways from control planes' network namespaces to the daemon: the token service's keys, and what Azure's roles say;
    with `whole` all that the daemon is.

    They go with the daemon, and are opened again by the next."""

    def is_open(self, namespace: str, whole: bool = False) -> bool: ...
    async def open(self, namespace: str, whole: bool = False) -> None:
        """Raises DriverError when there is no such namespace."""
        ...

    async def close(self, namespace: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Substrate:
    """`linux`: control planes in namespaces of their own with a public address, nodes are machines.
    `hollow`: control planes on the host's loopback, nodes are objects that KWOK keeps alive."""

    name: Literal["linux", "hollow"]
    machines: Machines
    """For control planes."""
    links: Links
    api: KubernetesApi
    public_addresses: tuple[str, ...]
    ports: tuple[int, ...]
    """Loopback ports that hollow control planes may take."""
    authority: Authority
    """Whose users clusters may be for."""
    doors: Doors | None
    """None: control planes are where the daemon is, and need none."""
    seed_etcd: Callable[[Path, Mapping[str, Any]], Awaitable[None]] = etcd.seed
    names: Names | None = None
    """None: nobody answers for names."""
    commands: set[str] = field(default_factory=set)
    """Ids of machines that run a command now (`az aks command invoke`); one that is not here was left behind."""

    @property
    def hollow(self) -> bool:
        return self.name == "hollow"

    async def endpoint(self, ctx: Context) -> Endpoint:
        """Claim where a cluster's API server answers."""
        if not self.hollow:
            (address,) = await ctx.claim(PUBLIC_POOL, reversed(self.public_addresses))
            return Endpoint(address, 443)
        api, kwok = await ctx.claim(PORT_POOL, (str(p) for p in self.ports if _is_free(p)), 2)
        return Endpoint("127.0.0.1", int(api), int(kwok))

    def namespace(self, cluster: Resource) -> str | None:
        return None if self.hollow else host_name(cluster.id)

    def shut_out(self, cluster: Resource) -> bool:
        """A control plane that should reach the daemon, and does not."""
        whole = asks_arm(cluster)
        wanted = self.doors is not None and (whole or entra.profile(cluster) is not None)
        return wanted and not self.doors.is_open(host_name(cluster.id), whole)  # type: ignore[union-attr]

    def leg(self, cluster: Resource, endpoint: Endpoint, network: str, allowed: tuple[str, ...] | None) -> Leg | None:
        """The control plane's way to the public range and into the cluster's virtual network (its resource id).
        `allowed`: who may call the API server; None: anybody."""
        if self.hollow:
            return None
        id = host_name(cluster.id)
        pods = overlay(cluster)
        reach = (pods,) if pods else ()
        table = table_name(names(cluster).route_table, network) if kubenet.pods(cluster) else None
        return Leg(id, cluster.id, id, endpoint.address, host_name(network), reach, allowed, table)


def asks_arm(cluster: Resource) -> bool:
    """One of its control plane's programs is a client of the resource manager."""
    return upstream.controller(cluster) == upstream.UPSTREAM


def _is_free(port: int) -> bool:
    """Whether nobody on this host listens there, another installation of sorairo among them."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # As servers do: TIME_WAIT is no use.
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def access(cluster: Resource, endpoint: Endpoint) -> Access:
    """Sorairo's own way to the API server: on linux from beside it, whoever else may call it."""
    pki = cluster.private["pki"]
    inside = None if endpoint.kwok_port else host_name(cluster.id)
    return Access(endpoint.url, pki["ca.crt"], pki["sorairo.crt"], pki["sorairo.key"], inside)
