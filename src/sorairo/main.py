"""The daemon, and the sole wiring: which drivers, which providers, one process.

python -m sorairo.main --state DIR            serve ARM until SIGTERM; clusters go on without it
python -m sorairo.main --state DIR --stop     end every process of every cluster, keep their data
python -m sorairo.main --state DIR --purge    leave nothing on this host but the state directory itself
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path

if __name__ == "__main__":
    # The daemon draws nothing: structlog and httpx would each load rich, for 0.2 s and 15 MB.
    sys.modules["rich"] = None  # type: ignore[assignment]

import structlog
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from sorairo import __version__
from sorairo.arm.app import Arm, create_app
from sorairo.arm.inside import Inside
from sorairo.arm.settings import Settings
from sorairo.arm.tuning import tune
from sorairo.clouds import Clouds
from sorairo.doors import Doors
from sorairo.drivers.kubernetes import KubernetesApi
from sorairo.drivers.protocols import DriverError
from sorairo.engine import trace
from sorairo.engine.control import AsyncReader, Control
from sorairo.engine.errors import not_implemented
from sorairo.engine.ids import host_name
from sorairo.engine.registry import Registry
from sorairo.engine.types import Document, Resource
from sorairo.hosts import Host, engine_folders, make_host, purge, stop, upstream_folder
from sorairo.identity import http as identity_http
from sorairo.identity.authorization import Authorization
from sorairo.identity.bootstrap import bootstrap
from sorairo.identity.directory import Directory
from sorairo.identity.graph import http as graph_http
from sorairo.identity.keys import load_keys
from sorairo.identity.principal import Principal
from sorairo.identity.tokens import Authority, Tokens
from sorairo.identity.verify import Verifier
from sorairo.imds import control_plane
from sorairo.imds import service as instance_metadata
from sorairo.imds.listeners import Door, Listeners
from sorairo.logs import log_to
from sorairo.mend import mend
from sorairo.packets import Packets
from sorairo.policies import Policies
from sorairo.providers import (
    microsoft_authorization,
    microsoft_compute,
    microsoft_containerservice,
    microsoft_managedidentity,
    microsoft_network,
    microsoft_resources,
    schemas,
)
from sorairo.providers.capacity import Capacity
from sorairo.providers.microsoft_authorization.locks import Locks
from sorairo.providers.microsoft_compute import images
from sorairo.providers.microsoft_compute.sizes import SIZES
from sorairo.providers.microsoft_containerservice import entra
from sorairo.providers.microsoft_containerservice.admission import CLUSTER
from sorairo.providers.microsoft_containerservice.cloud import GRAPH, LOGIN, RESOURCE_MANAGER
from sorairo.providers.microsoft_containerservice.substrate import Substrate
from sorairo.reviews import PATHS as REVIEWS
from sorairo.reviews import Reviews, behind_doors
from sorairo.state import Config, State
from sorairo.status import logs, status
from sorairo.store import Store
from sorairo.workload import WorkloadIssuers

log = structlog.get_logger(__name__)

METADATA, PLATFORM = "169.254.169.254", "168.63.129.16"
"""Inside virtual networks: where machines ask who they are, and where Azure is, for those who have a token."""
HOLLOW_PORTS = range(20000, 30000)
"""What hollow control planes listen on. Below what the kernel gives out by itself (32768 and up)."""


def principal_of(directory: Directory, object_id: str) -> Principal:
    """Who an object id stands for now: what a deployment goes on as, long after the token it was asked for with."""
    found = directory.service_principal(object_id)
    groups = tuple(directory.groups_of(object_id))
    return Principal(object_id, directory.tenant_id, found.client_id if found else "", groups)


def make_doors(
    state: State, config: Config, host: Host, app: ASGIApp, inside: Inside, store: Store, tokens: Tokens
) -> Doors | None:
    """None: control planes are on the same loopback as the daemon. `app`: what all of them see of it."""
    if config.substrate == "hollow":
        return None

    async def everything(scope: Scope, receive: Receive, send: Send) -> None:
        await inside.arm(scope, receive, send)

    def own(served: ASGIApp) -> Door:
        return Door(config.host, config.port, lambda _: served, state.server_certificate, state.server_key)

    def cluster(namespace: str) -> Resource | None:
        return next((c for c in store.list(type=CLUSTER) if host_name(c.id) == namespace), None)

    def identity(namespace: str) -> ASGIApp:
        return control_plane.create_app(tokens, lambda: cluster(namespace))

    return Doors(host.links, (own(app),), (own(everything), Door(METADATA, 80, identity)))


def make_control(
    store: Store,
    directory: Directory,
    host: Host,
    config: Config,
    api: KubernetesApi,
    public_addresses: tuple[str, ...],
    inside: Inside,
    locks: Locks,
    authority: entra.Authority,
    authorization: Authorization,
    doors: Doors | None,
) -> Control:
    substrate = Substrate(
        "hollow" if config.substrate == "hollow" else "linux",
        host.control_planes,
        host.links,
        api,
        public_addresses,
        _from(HOLLOW_PORTS, config.port),
        authority,
        doors,
        names=host.names,
    )

    def permits(object_id: str, action: str, scope: str) -> bool:
        return authorization.allows(principal_of(directory, object_id), action, scope)

    sizes = {name: (size.cpus, size.memory_bytes) for name, size in SIZES.items()}
    memory = None if substrate.hollow else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    overcommit = float(os.environ.get("SORAIRO_MEMORY_OVERCOMMIT", "4"))
    capacity = Capacity(memory, overcommit, upstream=upstream_folder() is not None)
    providers = [
        microsoft_resources.provider(store, inside),
        microsoft_authorization.provider(store, directory),
        microsoft_managedidentity.provider(directory),
        microsoft_network.provider(host.links, host.traffic, public_addresses, host.names, blocks=substrate.hollow),
        microsoft_compute.provider(host.nodes, directory, capacity),
        microsoft_containerservice.provider(substrate, directory, sizes, capacity, permits),
    ]
    return Control(store, Registry(providers), schemas.check, locks.check)


def _from(ports: range, seed: int) -> tuple[int, ...]:
    """All ports, from a place that two installations on one host are unlikely to share."""
    start = seed * 7919 % len(ports)
    return (*ports[start:], *ports[:start])


class Server(uvicorn.Server):
    """Says when it listens, so that nothing else delays that."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._listening = asyncio.Event()
        self.background: list[asyncio.Task[None]] = []
        """Ended before connections are waited for: some are its own."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for task in self.background:
            task.cancel()
        await asyncio.gather(*self.background, return_exceptions=True)
        await super().shutdown(sockets)

    async def then(self, work: Coroutine[None, None, None]) -> None:
        try:
            await self._listening.wait()
        except BaseException:
            work.close()
            raise
        await work


async def serve(state: State, config: Config) -> None:
    store = Store.open(state.database)
    trace.record_to(store.add_span)
    directory = Directory(store)
    await bootstrap(store, directory, state.credentials)
    authorization = Authorization(store)
    store.listen(authorization.changed)
    tokens = Tokens(Authority(config.endpoint), load_keys(state.signing_keys), directory)
    verifier, graph = Verifier(tokens), Verifier(tokens, tokens.authority.graph)
    host = make_host(config.substrate, state, engine_folders())
    api = KubernetesApi(host.links.socket)
    inside = Inside(lambda object_id: principal_of(directory, object_id))
    locks = Locks(store)
    store.listen(locks.changed)
    workload = WorkloadIssuers(store, state.ca)
    issuer = identity_http.create_app(tokens, workload, workload.trusts)
    for_clusters = Verifier(tokens, frozenset({entra.SERVER_APP}))
    reviews = Reviews(
        store.get, lambda object_id: principal_of(directory, object_id), authorization, for_clusters.authenticate
    )
    doors = make_doors(state, config, host, behind_doors(issuer, reviews), inside, store, tokens)
    authority = entra.Authority(directory.tenant_id, config.endpoint, state.ca.read_text())
    addresses = state.fabric.public_addresses
    control = make_control(
        store, directory, host, config, api, addresses, inside, locks, authority, authorization, doors
    )

    def administers(caller: Principal) -> bool:
        """Who may give roles on the subscription administers the directory, too."""
        subscription = f"/subscriptions/{directory.tenant['subscriptionId']}"
        return authorization.allows(caller, "Microsoft.Authorization/roleAssignments/write", subscription)

    async def status_now() -> Document:
        return await status(host, config, store)

    async def logs_of(cluster: Resource, component: str, follow: bool, lines: int) -> AsyncIterator[bytes]:
        return await logs(host, store, cluster, component, follow, lines)

    packets = Packets(host.links, host.traffic, host.nodes, api, state.fabric.host_address)

    async def packet_path(client: str, address: str, port: int, protocol: str) -> Document:
        if config.substrate == "hollow":
            raise not_implemented("tracing packets among simulated nodes, which carry none,")
        return await packets.trace(AsyncReader(store), client, address, port, protocol)

    def surface(base_url: str, login: str = "", graph_url: str = "") -> Arm:
        """What clients speak to, as it calls itself in what it answers."""
        return create_app(
            control,
            verifier.authenticate,
            authorization.authorize,
            Settings(directory.tenant, "sorairo", base_url, login, graph_url, image_aliases=images.aliases()),
            challenge=lambda error: verifier.challenge(error, login),
            status=status_now,
            logs=logs_of,
            packet=packet_path,
            mounts=[
                (identity_http.PATHS, issuer),
                (REVIEWS, reviews),
                (
                    graph_http.PATHS,
                    graph_http.create_app(directory, store, graph.authenticate, administers, graph_url or base_url),
                ),
            ],
        )

    app = surface(config.endpoint)
    inside.bind(app)
    server = Server(
        uvicorn.Config(
            app,
            host=config.host,
            port=config.port,
            ssl_certfile=str(state.server_certificate),
            ssl_keyfile=str(state.server_key),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=3,
        )
    )
    clouds = Clouds(
        store, api, directory, tokens, config.endpoint, state.ca, lambda key: control.loop.wake(key, drift=True)
    )
    await control.loop.start()
    server.background = [
        asyncio.create_task(server.then(prepare(host))),
        asyncio.create_task(server.then(host.traffic.probes.run())),
        asyncio.create_task(server.then(mend(control, (host.control_planes, host.nodes), host.names))),
        asyncio.create_task(server.then(clouds.run())),
    ]
    if config.substrate == "linux":
        within = surface(RESOURCE_MANAGER, LOGIN, GRAPH)
        served = (
            Door(METADATA, 80, lambda network: instance_metadata.create_app(store, tokens, network)),
            Door(PLATFORM, 443, lambda network: within, state.server_certificate, state.server_key),
        )
        listeners = Listeners(store, host.links, served)
        server.background.append(asyncio.create_task(server.then(listeners.run())))
    if host.screens is not None:
        server.background.append(asyncio.create_task(server.then(Policies(store, api, host.screens).run())))
    tune()
    log.info("serving", endpoint=config.endpoint, substrate=config.substrate, version=__version__)
    try:
        await server.serve()
    finally:
        for task in server.background:
            task.cancel()
        await control.loop.stop()
        if doors:
            await doors.close_all()
        await api.close()
        await store.close()


async def prepare(host: Host) -> None:
    """What would make the first cluster slower than the others."""
    from sorairo.drivers.linux.machines import LinuxMachines

    await asyncio.to_thread(microsoft_containerservice.prepare)
    if isinstance(host.nodes, LinuxMachines):
        try:
            await host.nodes.prepare_images(microsoft_containerservice.NODE_IMAGES)
        except DriverError:
            log.exception("images could not be prepared; the first node tries again")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sorairo.main", description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    doing = parser.add_mutually_exclusive_group()
    doing.add_argument("--stop", action="store_true", help="end all processes of clusters, keep data")
    doing.add_argument("--purge", action="store_true", help="remove everything from this host")
    arguments = parser.parse_args()
    os.umask(0o022)  # What nodes see must be readable there; the state directory itself is 0700.
    state = State(arguments.state.absolute())
    state.make()
    state.hold_daemon(__version__)
    log_to(state.log)
    config = state.config()
    if config is None:
        sys.exit("there is no config.json: start sorairo with `sorairo up`")
    if arguments.stop or arguments.purge:
        host = make_host(config.substrate, state, engine_folders())
        asyncio.run(stop(host) if arguments.stop else purge(host))
        return
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # uvicorn, done with its own shutdown, raises the signal once more: by default that would end us before the rest.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        import uvloop

        uvloop.run(serve(state, config))
    except KeyboardInterrupt:
        pass
    except Exception:
        log.exception("sorairo stopped")
        raise


if __name__ == "__main__":
    main()
