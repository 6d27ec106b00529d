"""What a host can do for sorairo, as small protocols.

A driver knows namespaces, processes, links and rules; it never hears an ARM word. Every spec carries
`id` (a host-safe name, from `sorairo.engine.ids.host_name(resource_id)`: at most 13 characters, so that it
also fits where the kernel allows 15) and `owner` (the resource id it stands for, recorded beside the host
object so that `observe()` can say whose it is). All `ensure_*` and `remove_*` calls are idempotent and may be
killed half-way: the next call finishes the work. Failures raise `DriverError` with the cause's own words.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from socket import SocketKind
from socket import socket as Socket
from typing import Literal, Protocol


class DriverError(Exception):
    """The host refused. `str(e)` is the tool's or kernel's own message (an `nft` line, an errno text)."""


# --- machines: processes with walls around them ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class File:
    """A file a machine needs before its services start. `content` is compared: equal content is left alone."""

    content: bytes
    mode: int = 0o600
    restarts: tuple[str, ...] | None = None
    """Services that read it only when they start, so have to be started anew when it changes. `None`: those whose
    argv or env name the file or its directory, or every service if none does. `()`: whoever reads it watches it."""


@dataclass(frozen=True, slots=True)
class Service:
    """One supervised process of a machine: restarted within about a second of its end, its output kept in a
    rotated log.

    A program of the engine is called by the path it has in a node, `/opt/sorairo/<folder>/<program>`, with
    either isolation, also where it is an argument by itself. A service starts in `/` of a node, else in
    `Machines.root(id)`, so that relative paths name `files`.
    """

    name: str
    """Also the name of its log: letters, digits, `-`, `_`, and `.` but not first."""
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    wait_for: tuple[str, ...] = ()
    """Paths (sockets, files) as the service sees them, which must exist before it is executed; `tcp:ADDRESS:PORT`
    (IPv4): a socket of its network namespace that must listen at exactly that address; `connect:ADDRESS:PORT` (IPv4):
    a server, of whatever namespace, that must take a connection."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A set of services behind common walls.

    `isolation="process"`: the host's file system, services in `namespace` (a network namespace that Links
    made; None: the host's own). Paths in `files` are relative to `Machines.root(id)`.
    `isolation="node"`: own mount, uts, pid and cgroup namespaces besides, and a root file system of its own:
    the host's /usr read-only, own /etc /var /run /tmp, engine programs at /opt/sorairo. Paths are absolute inside.
    """

    id: str
    owner: str
    services: tuple[Service, ...]
    files: Mapping[str, File] = field(default_factory=dict)
    namespace: str | None = None
    isolation: Literal["process", "node"] = "process"
    hostname: str | None = None
    cpus: float | None = None
    """CPUs the machine shows and may use (node isolation)."""
    memory_bytes: int | None = None
    """Memory the machine shows and is held to by its cgroup (node isolation)."""
    images: tuple[str, ...] = ()
    """Names of image stores to lay under /var/lib/containerd before the first start (node isolation)."""


def digest(spec: Machine) -> str:
    """What `MachineState.digest` shows once `spec` has been ensured: 32 hexadecimal digits, equal for equal specs."""

    def plain(value: object) -> str:
        if isinstance(value, bytes):
            return hashlib.sha256(value).hexdigest()
        raise TypeError(f"{type(value).__name__} in a machine's spec")

    document = json.dumps(asdict(spec), sort_keys=True, default=plain)
    return hashlib.sha256(document.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Process:
    """A service as it is now."""

    service: str
    pid: int | None
    """As the host numbers it; None while it is down or still waits for its `wait_for`."""
    running: bool
    restarts: int
    """How often the supervisor has started it, less one; -1 if never."""


@dataclass(frozen=True, slots=True)
class MachineState:
    id: str
    owner: str
    digest: str
    """`digest(spec)` of the spec the machine was last ensured with, to its end; empty while that has not happened."""
    processes: tuple[Process, ...]

    @property
    def running(self) -> bool:
        return bool(self.processes) and all(p.running for p in self.processes)


class Machines(Protocol):
    """Starts, watches and removes machines. Their processes outlive sorairo."""

    def root(self, machine_id: str) -> Path:
        """Where the machine's files live, seen from the host."""
        ...

    async def ensure_machine(self, spec: Machine) -> None:
        """Make it exist as described: write files, start what is missing, restart services whose definition or
        files changed, stop services no longer named. Data the services wrote is kept."""
        ...

    async def touch(self, machine_id: str, path: str) -> None:
        """Make an empty file below `root`, which services with that `wait_for` are waiting for. It stays."""
        ...

    async def stop_machine(self, machine_id: str) -> None:
        """End every process, keep files and data (`az aks stop`, deallocated VM)."""
        ...

    async def remove_machine(self, machine_id: str) -> None:
        """Leave nothing: processes, namespaces, mounts, cgroups, files."""
        ...

    async def observe_machines(self) -> dict[str, MachineState]:
        """Every machine on this host that is ours, found on the host, not remembered."""
        ...

    async def run(self, machine_id: str, argv: tuple[str, ...], *, stdin: bytes = b"", timeout: float = 90.0) -> Ran:
        """Execute a command inside the machine (run-command)."""
        ...

    def logs(self, machine_id: str, service: str, *, follow: bool = False, lines: int = 100) -> AsyncIterator[str]:
        """Lines of a service's log, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class Ran:
    exit_code: int
    stdout: bytes
    stderr: bytes


# --- links: a routed network -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Network:
    """A virtual network: one namespace that routes between its NICs. No L2; prefixes of two networks may overlap.

    Its namespace is called by its `id`. Prefixes and addresses are IPv4, in canonical form.
    """

    id: str
    owner: str
    prefixes: tuple[str, ...]
    snat: str | None = None
    """Address (from the public range) that connections from `prefixes` leaving through the edge come from; None:
    nothing leaves. "Through the edge" is towards other public addresses; beyond them, and to the host, nothing goes.
    The range's first four addresses are the fabric's own (the host has .1, the edge .2)."""
    private: tuple[str, ...] = ()
    """CIDRs within `prefixes` of whom this does not hold: they leave only by what was made for it."""


@dataclass(frozen=True, slots=True)
class Nic:
    """A machine's network interface `eth0` in namespace `namespace` (made when missing; one NIC a namespace).

    All its traffic goes by the gateway, its subnet's neighbours' too. Its namespace forwards (a node's pods need it);
    whether the network passes on what that forwards for others is `forwarding`.
    """

    id: str
    owner: str
    network: str
    namespace: str
    address: str
    gateway: str
    """The subnet's first address, which the network answers for."""
    prefix_length: int
    """Of the subnet: shown on the machine's address; there is no route by it."""
    secondary: tuple[str, ...] = ()
    """Addresses routed to this NIC but not configured on it (pods'). CIDR or single addresses."""
    mac: str | None = None
    guarded: bool = False
    """A firewall is going to guard it (as itself, not by its subnet): while none does, no new connection passes."""
    overlay: str | None = None
    """A CIDR that `secondary` is part of, and that only machines in it know: connections from there to addresses that
    are not of it come from `address`."""
    forwarding: bool = False
    """Its machine may send what has another's source, and be sent what is for another (`drivers.routing`)."""


@dataclass(frozen=True, slots=True)
class Leg:
    """A namespace outside any virtual network (a control plane's), reached at a public address, which can itself
    reach into `network`, unseen there: it takes no address of the network's. Machines see its connections come from
    a link-local address, which they can answer but not connect to. Unlike machines it may also reach the host.
    """

    id: str
    owner: str
    namespace: str
    public_address: str
    network: str | None = None
    reach: tuple[str, ...] = ()
    """Prefixes beyond the network's own which it also reaches through it (an overlay's pods)."""
    allowed: tuple[str, ...] | None = None
    """Whose connections to it are taken (CIDRs); None: anybody's. What runs inside its namespace is always one of them,
    what comes by private links too (`drivers.private_links`), and connections that are there go on."""
    table: str | None = None
    """Id of the table of routes (`drivers.routing`) that leads to `reach`, there or not; None: the network's own do."""


@dataclass(frozen=True, slots=True)
class LinkState:
    """What stands on the host, by id."""

    networks: dict[str, Network]
    nics: dict[str, Nic]
    legs: dict[str, Leg]
    partial: dict[str, str] = field(default_factory=dict)
    """Owners, by id, of what is there in part: half made, half removed, or damaged. To be ensured or removed again."""


class Links(Protocol):
    """The routed fabric: networks, NICs and the edge between them and the host.

    The edge and the host's one veth and one route are made on first use and go when the last network and leg go.
    Namespaces named by NICs and legs are made with them and go with them.
    """

    def namespace_path(self, namespace: str) -> Path:
        """Where a namespace is, or will be, mounted: what a process joins it by."""
        ...

    def socket(self, namespace: str, kind: SocketKind = SocketKind.SOCK_STREAM) -> Socket:
        """An IPv4 socket inside a namespace for a caller outside (a probe, a service for a network's machines): for
        life it connects from there and listens there. A network has the addresses 168.63.129.16 and 169.254.169.254
        for such services, whether by a socket or by a machine whose `namespace` is the network's id.
        DriverError when there is no such namespace."""
        ...

    async def ensure_network(self, spec: Network) -> None:
        """Also brings what stands in it in line when `prefixes` or `snat` change."""
        ...

    async def ensure_nic(self, spec: Nic) -> None:
        """DriverError when its network is not there. Moves the NIC if network or namespace are others than before."""
        ...

    async def ensure_leg(self, spec: Leg) -> None:
        """DriverError when its network is named but not there."""
        ...

    async def remove_network(self, network_id: str, *, with_rules: bool = False) -> None:
        """DriverError while NICs or legs are in it; or rules (`drivers.traffic`), unless these go with it."""
        ...

    async def remove_nic(self, nic_id: str) -> None: ...
    async def remove_leg(self, leg_id: str) -> None: ...
    async def observe_links(self) -> LinkState:
        """Read from the kernel (and owner records beside it), never remembered: a spec is shown only while its
        namespace, link and routes all stand, so that a half-made one is planned again."""
        ...
