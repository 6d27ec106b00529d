"""How many requests a second the ARM surface answers, and how long they take.

    python bench/arm.py [--seconds 4] [--clients 32] [--rounds 5] [--scheme https] [--json]

One server process as `sorairo up` runs it (uvicorn, uvloop, httptools; real store with synchronous=FULL, real tokens
verified, real role assignments), one client process with 32 connections, both on this machine. Beside each figure
stands the floor measured in the same run, in turns: a bare starlette route that answers the same JSON, and SQLite
committing the same row from one thread. Figures are medians over the rounds.

Targets: GET ≥ 2,000/s, PUT ≥ 600/s, p99 < 60 ms. Processor time for each request is what a busy machine changes least.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import sqlite3
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from sorairo.arm import Settings, create_app
from sorairo.arm.tuning import tune
from sorairo.engine import trace
from sorairo.engine.control import Control
from sorairo.engine.registry import Registry
from sorairo.engine.types import Provider, ResourceType
from sorairo.identity.authorization import Authorization
from sorairo.identity.bootstrap import Credentials, bootstrap
from sorairo.identity.directory import Directory
from sorairo.identity.keys import load_keys
from sorairo.identity.tokens import Authority, Tokens
from sorairo.identity.verify import Verifier
from sorairo.logs import log_to
from sorairo.providers import microsoft_authorization, microsoft_resources
from sorairo.providers.microsoft_network.versions import API_VERSIONS
from sorairo.state import Config, State
from sorairo.store import Store
from sorairo.tls import ensure_certificates

DOCUMENTS: ResourceType[None] = ResourceType("Microsoft.Network/routeTables", API_VERSIONS, schema="routeTables")
"""A type that is complete once it is stored: what ARM alone costs."""
TARGETS = {"GET": (2000, 60.0), "PUT": (600, 60.0)}
ROUTES = [
    {"name": f"r{n}", "properties": {"addressPrefix": f"10.{n}.0.0/16", "nextHopType": "VirtualAppliance"}}
    for n in range(4)
]
BODY = {"location": "japaneast", "tags": {"env": "bench"}, "properties": {"routes": ROUTES}}


# --- the server --------------------------------------------------------------------------------------------


async def serve(root: Path, scheme: str) -> None:
    state = State(root)
    state.make()
    log_to(state.log)
    port = _free_port()
    base = f"{scheme}://127.0.0.1:{port}"
    store = Store.open(state.database)
    trace.record_to(store.add_span)
    directory = Directory(store)
    credentials = await bootstrap(store, directory, state.credentials)
    tokens = Tokens(Authority(base), load_keys(state.signing_keys), directory)
    authorization = Authorization(store)
    store.listen(authorization.changed)
    control = Control(
        store,
        Registry(
            [
                microsoft_resources.PROVIDER,
                microsoft_authorization.provider(store, directory),
                Provider("Microsoft.Network", (DOCUMENTS,)),
            ]
        ),
    )
    verifier = Verifier(tokens)
    arm = create_app(
        control,
        verifier.authenticate,
        authorization.authorize,
        Settings(tenant=directory.tenant, base_url=base),
        challenge=verifier.challenge,
    )
    document = {"id": "/" + "x" * 120, "name": "t", "type": "Microsoft.Network/routeTables", "etag": "0" * 40, **BODY}

    async def bare(request: object) -> JSONResponse:
        return JSONResponse(document)

    floor = Starlette(routes=[Route("/bare", bare)])

    async def both(scope: dict, receive: Callable, send: Callable) -> None:  # type: ignore[type-arg]
        await (floor if scope["path"] == "/bare" else arm)(scope, receive, send)

    admin = directory.by_client_id(credentials.clientId)
    assert admin is not None
    tls: dict[str, str] = {}
    if scheme == "https":
        state.write_config(Config(port, "hollow"))
        ensure_certificates(state)
        tls = {"ssl_certfile": str(state.server_certificate), "ssl_keyfile": str(state.server_key)}
    server = uvicorn.Server(
        uvicorn.Config(
            both,
            port=port,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            **tls,  # type: ignore[arg-type]
        )
    )
    tune()
    print(json.dumps({"base": base, "token": tokens.issue(admin, base)}), flush=True)
    await server.serve()


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


# --- the client --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    rate: float
    p50: float
    p99: float
    cpu: float = 0.0
    """Microseconds of the server's processor time for each request: what a busy machine does not change much."""


class Connection(asyncio.Protocol):
    """One request after the other on one connection; only status and length of an answer are looked at."""

    def __init__(self, requests: Iterator[bytes], accepts: bytes, times: list[float]) -> None:
        self._requests, self._accepts, self._times = requests, accepts, times
        self._buffer = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def begin(self, until: float) -> None:
        self._until = until
        self._next()

    def _next(self) -> None:
        self._sent = time.perf_counter()
        if self._sent >= self._until:
            self._transport.close()
        else:
            self._transport.write(next(self._requests))  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end]
        at = head.find(b"content-length: ") + 16
        length = int(head[at : head.find(b"\r", at) if b"\r" in head[at:] else end])
        if len(self._buffer) < end + 4 + length:
            return
        if head[9:12] not in self._accepts:
            self.done.set_exception(RuntimeError(self._buffer.decode()))
            self._transport.close()
            return
        self._times.append(time.perf_counter() - self._sent)
        self._buffer = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def load(
    server: int,
    base: str,
    clients: int,
    seconds: float,
    accepts: bytes,
    requests: Callable[[int], Iterator[bytes]],
) -> Measured:
    host, port = base.split("//")[1].split(":")
    tls = ssl._create_unverified_context() if base.startswith("https") else None
    loop = asyncio.get_running_loop()
    times: list[float] = []
    made = [
        await loop.create_connection(lambda n=n: Connection(requests(n), accepts, times), host, int(port), ssl=tls)
        for n in range(clients)
    ]
    begun, used = time.perf_counter(), _processor_time(server)
    for _, protocol in made:
        protocol.begin(begun + seconds)
    await asyncio.gather(*(protocol.done for _, protocol in made))
    took, used = time.perf_counter() - begun, _processor_time(server) - used
    times.sort()
    return Measured(len(times) / took, _at(times, 0.5), _at(times, 0.99), used / len(times) * 1e6)


def _processor_time(pid: int) -> float:
    """Seconds, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _at(ordered: list[float], share: float) -> float:
    return ordered[int(len(ordered) * share)] * 1000


def request(base: str, token: str, method: str, path: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: {base.split('//')[1]}\r\nAuthorization: Bearer {token}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body


def commits(folder: Path, seconds: float) -> Measured:
    """One thread that commits such a row to SQLite, each on its own, as durably: what the disk has to give."""
    path = folder / f"floor-{time.time_ns()}.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE t (key TEXT PRIMARY KEY, doc TEXT)")
        text, times, begun = json.dumps(BODY), [0.0], time.perf_counter()
        while (at := time.perf_counter()) - begun < seconds:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO t VALUES (?, ?)", (str(len(times)), text))
            connection.execute("COMMIT")
            times.append(time.perf_counter() - at)
        rate = len(times) / (time.perf_counter() - begun)
        times.sort()
        return Measured(rate, _at(times, 0.5), _at(times, 0.99))


# --- the run -----------------------------------------------------------------------------------------------


async def run(
    server: int, base: str, token: str, folder: Path, arguments: argparse.Namespace
) -> dict[str, dict[str, float]]:
    credentials = Credentials.read(State(folder).credentials)
    assert credentials is not None
    group = f"/subscriptions/{credentials.subscriptionId}/resourceGroups/bench"
    table = f"{group}/providers/Microsoft.Network/routeTables"
    version = "?api-version=2024-05-01"
    body = json.dumps(BODY).encode()
    serial = iter(range(1_000_000_000))

    def same(raw: bytes) -> Callable[[int], Iterator[bytes]]:
        return lambda client: iter(lambda: raw, None)

    def fresh(client: int) -> Iterator[bytes]:
        while True:
            yield request(base, token, "PUT", f"{table}/t{next(serial)}{version}", body)

    for path in (f"{group}?api-version=2024-11-01", f"{table}/one{version}"):
        await load(server, base, 1, 0.05, b"200 201", same(request(base, token, "PUT", path, body)))

    found: dict[str, list[Measured]] = defaultdict(list)
    for _ in range(arguments.rounds):
        for name, accepts, requests in (
            ("bare route", b"200", same(request(base, token, "GET", "/bare"))),
            ("GET", b"200", same(request(base, token, "GET", f"{table}/one{version}"))),
            ("PUT", b"201", fresh),
        ):
            found[name].append(await load(server, base, arguments.clients, arguments.seconds, accepts, requests))
        found["SQLite commits"].append(commits(folder, min(1.0, arguments.seconds)))

    def median(name: str, field: str) -> float:
        return statistics.median(getattr(m, field) for m in found[name])

    result = {name: {f: round(median(name, f), 2) for f in ("rate", "p50", "p99", "cpu")} for name in found}
    result["GET"]["floor_ratio"] = round(result["GET"]["rate"] / result["bare route"]["rate"], 2)
    result["PUT"]["floor_ratio"] = round(result["PUT"]["rate"] / result["SQLite commits"]["rate"], 2)
    return result


def table(scheme: str, result: dict[str, dict[str, float]]) -> None:
    print(f"\n{scheme:15} {'per second':>11} {'p50 ms':>8} {'p99 ms':>8} {'CPU µs':>8}  of the floor   target")
    for name, row in result.items():
        target = ""
        if name in TARGETS:
            rate, p99 = TARGETS[name]
            met = row["rate"] >= rate and row["p99"] < p99
            target = f"{'met' if met else 'MISSED'}: ≥ {rate}/s, p99 < {p99:.0f} ms"
        ratio = f"{row['floor_ratio']:.2f}" if "floor_ratio" in row else ""
        cpu = f"{row['cpu']:8.0f}" if row["cpu"] else " " * 8
        print(f"{name:15} {row['rate']:11,.0f} {row['p50']:8.1f} {row['p99']:8.1f} {cpu}  {ratio:>12}   {target}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scheme", choices=("http", "https"), action="append")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve(arguments.serve, arguments.scheme[0]))
        return
    results = {}
    for scheme in arguments.scheme or ("http", "https"):
        with tempfile.TemporaryDirectory(dir=Path.home() / ".cache") as folder:
            command = [sys.executable, __file__, "--serve", folder, "--scheme", scheme]
            server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            try:
                assert server.stdout is not None
                told = json.loads(server.stdout.readline())
                time.sleep(0.5)
                results[scheme] = uvloop.run(run(server.pid, told["base"], told["token"], Path(folder), arguments))
            finally:
                server.terminate()
                server.wait()
        if not arguments.json:
            table(scheme, results[scheme])
    if arguments.json:
        print(json.dumps(results, indent=2))
    else:
        print(f"\nload of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
