"""The state directory: everything sorairo keeps, and the agreement between the command line and the daemon.

    config.json          what `up` was asked for or chose: host, port, substrate, public range; read by the daemon
    state.db             the store
    credentials.json     how the administrator signs in (0600)
    identity/            the keys tokens are signed with (0600)
    tls/                 our certificate authority, the server's certificate, the bundle clients trust
    logs/                sorairo.log (rotated), sorairo.out (what was printed before logging stood)
    daemon.lock          held by the daemon while it lives; says who it is
    bin/                 what `sorairo env` puts on PATH
    azure/               the Azure CLI's configuration
    machines/ …          what the drivers keep

The daemon is `python -m sorairo.main --state DIR`. It takes `hold_daemon` before anything else (a second one ends
with exit code 3), serves https on `config.host:config.port`, and ends cleanly on SIGTERM, leaving clusters running.
With `--stop` it also ends every process of theirs but keeps their data, with `--purge` it removes them, and all
the host objects that are ours, whether the store knows them or not.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import ipaddress
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ALREADY_RUNNING = 3
"""Exit code of a daemon that finds another one at work."""
PORT = 8443
"""Tried first; whatever is chosen stays, since clients remember it."""


def default_state() -> Path:
    """`$SORAIRO_STATE`, or /var/lib/sorairo for root, or a folder of the user's own."""
    if told := os.environ.get("SORAIRO_STATE"):
        return Path(told).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/sorairo")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "sorairo"


@dataclass(frozen=True, slots=True)
class Config:
    port: int
    substrate: str
    """`linux` or `hollow`."""
    host: str = "127.0.0.1"
    public_range: str = ""
    """What public addresses are taken from; that of the state directory's name where it does not say."""

    @property
    def endpoint(self) -> str:
        return f"https://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Fabric:
    """What of the host's network an installation takes: no two may share any of it."""

    run_dir: Path
    """Namespaces and what is known of links; gone after a reboot, as they are."""
    public_range: str
    """What public addresses are taken from: RFC 2544's, never routed on the internet."""
    tag: str
    """Tells this installation's one link on the host from others'."""

    @property
    def host_address(self) -> str:
        """This machine's own, as the fabric sees it."""
        return str(ipaddress.IPv4Network(self.public_range)[1])

    @property
    def public_addresses(self) -> tuple[str, ...]:
        """In order; the first 15 of the range are the fabric's own, and a thousand are enough."""
        network = ipaddress.IPv4Network(self.public_range)
        return tuple(str(network[n]) for n in range(16, min(network.num_addresses - 1, 1024)))


def _pieces(tag: str) -> list[str]:
    """Every /24 of 198.19.0.0/16, the one of the tag first."""
    first = int(tag[:2], 16)
    return [f"198.19.{(first + n) % 256}.0/24" for n in range(256)]


def _routed(network: str) -> bool:
    """Whether this machine has a route to just this network already."""
    address = ipaddress.IPv4Network(network).network_address
    written = f"\t{int.from_bytes(address.packed, sys.byteorder):08X}\t"
    return written in Path("/proc/net/route").read_text()


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that is alive."""

    pid: int
    started_at: float
    version: str


@dataclass(frozen=True, slots=True)
class State:
    root: Path

    @property
    def database(self) -> str:
        """The store's URL."""
        return f"sqlite:///{self.root / 'state.db'}"

    @property
    def credentials(self) -> Path:
        return self.root / "credentials.json"

    @property
    def signing_keys(self) -> Path:
        return self.root / "identity" / "signing-keys.json"

    @property
    def tls(self) -> Path:
        return self.root / "tls"

    @property
    def ca(self) -> Path:
        """Our authority's certificate alone."""
        return self.tls / "ca.pem"

    @property
    def bundle(self) -> Path:
        """The public authorities and ours: what clients are told to trust."""
        return self.tls / "bundle.pem"

    @property
    def server_certificate(self) -> Path:
        return self.tls / "server.pem"

    @property
    def server_key(self) -> Path:
        return self.tls / "server.key"

    @property
    def log(self) -> Path:
        return self.root / "logs" / "sorairo.log"

    @property
    def output(self) -> Path:
        return self.root / "logs" / "sorairo.out"

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def azure(self) -> Path:
        return self.root / "azure"

    @property
    def fabric(self) -> Fabric:
        """The default installation has the documented range; each other one (a test's) a piece of the next, so that it
        can run beside: the one chosen when it was first started."""
        if self.root == Path("/var/lib/sorairo"):
            return Fabric(Path("/run/sorairo"), "198.18.0.0/16", "main")
        tag = hashlib.sha256(os.fsencode(self.root.resolve())).hexdigest()[:4]
        config = self.config()
        chosen = config.public_range if config else ""
        return Fabric(Path(f"/run/sorairo-{tag}"), chosen or _pieces(tag)[0], tag)

    def choose_public_range(self) -> str:
        """What was chosen stays, since public addresses do. At first: the first piece that this machine routes nowhere
        yet, from the one of this directory's name on (two names in 256 share theirs)."""
        fabric = self.fabric
        if fabric.tag == "main" or self.config() is not None:
            return fabric.public_range
        return next((piece for piece in _pieces(fabric.tag) if not _routed(piece)), fabric.public_range)

    def make(self) -> None:
        """The directory itself, for its owner alone: it holds keys and secrets."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        self.log.parent.mkdir(exist_ok=True)

    def config(self) -> Config | None:
        """None before the first `up`. Raises ValueError when the file is damaged."""
        try:
            found = json.loads((self.root / "config.json").read_bytes())
        except FileNotFoundError:
            return None
        try:
            return Config(
                int(found["port"]),
                str(found["substrate"]),
                str(found.get("host", "127.0.0.1")),
                str(found.get("public_range", "")),
            )
        except (KeyError, TypeError, ValueError) as cause:
            raise ValueError(f"{self.root / 'config.json'} is damaged: {cause!r}") from cause

    def write_config(self, config: Config) -> None:
        beside = self.root / ".config.json"
        beside.write_text(json.dumps(asdict(config), indent=2) + "\n")
        beside.replace(self.root / "config.json")

    # --- one daemon ------------------------------------------------------------------------------------

    def hold_daemon(self, version: str) -> int:
        """Become the daemon of this state directory until the process ends (whichever way it ends, the kernel lets
        the lock go). Returns the descriptor to keep open. Ends the process with `ALREADY_RUNNING` otherwise."""
        descriptor = os.open(self.root / "daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another sorairo is at work in {self.root}", file=sys.stderr)
            sys.exit(ALREADY_RUNNING)
        os.ftruncate(descriptor, 0)
        who: dict[str, Any] = {"pid": os.getpid(), "startedAt": time.time(), "version": version}
        os.pwrite(descriptor, json.dumps(who).encode(), 0)
        return descriptor

    def daemon(self) -> Daemon | None:
        """Who holds this state directory now."""
        try:
            descriptor = os.open(self.root / "daemon.lock", os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                found = json.loads(os.read(descriptor, 4096))
                return Daemon(found["pid"], found["startedAt"], found["version"])
            except (ValueError, KeyError):
                return Daemon(0, time.time(), "")  # it has just taken the lock
        finally:
            os.close(descriptor)
        return None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """One `up` or `down` at a time."""
        descriptor = os.open(self.root / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
