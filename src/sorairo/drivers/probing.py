"""Health probes: a balancer's backends are asked from inside their network whether they are well.

One queue of who is due, one task for each question under way. Sockets are made in the network's namespace and bound to
the address that Azure's probes come from, https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import os
import random
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from sorairo.drivers.protocols import DriverError, Links
from sorairo.drivers.traffic import Balancers, Check, Health, Watched

log = structlog.get_logger(__name__)

SOURCE = "168.63.129.16"
FIRST_PAUSE = 0.05
"""Seconds after which a backend that has never been up is asked again, half as long again each time up to the check's
interval: what comes up is in rotation at once, not at the next full interval."""
NEW = 0.2
"""Seconds for which it is worth waiting for the first answers."""
TOGETHER = 16
"""Questions begun at once; then everybody else has as much time as these took."""
AGAIN = 1.0
"""Seconds after which a balancer that could not be told is told again."""
AT_ONCE = 512
"""Questions under way at the same time: enough for a machine that died with hundreds of rules to it, and half of what
descriptors a process usually may have."""


@dataclass(slots=True, eq=False)
class _Target:
    network: str
    address: str
    check: Check
    up: bool | None
    """None: nobody knows yet."""
    been_up: bool
    streak: int = 0
    """Answers in a row that differ from `up`."""
    failures: int = 0
    reason: str = "not asked yet"
    dropped: bool = False


@dataclass(slots=True)
class _Balancer:
    spec: Watched
    targets: dict[tuple[Check, str], _Target] = field(default_factory=dict)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    told: dict[str, frozenset[str]] | None = None
    """What Balancers was told last."""
    new_until: float = 0.0

    def down(self) -> dict[str, frozenset[str]]:
        found = {}
        for rule, check in self.spec.checks.items():
            targets = (self.targets[check, address] for address in self.spec.addresses[rule])
            if down := frozenset(each.address for each in targets if each.up is False):
                found[rule] = down
        return found

    def target(self, rule: str, address: str) -> _Target | None:
        check = self.spec.checks.get(rule)
        return self.targets.get((check, address)) if check else None


class Prober:
    """`Probes`. `run` until cancelled; nothing is asked without it."""

    def __init__(self, links: Links, balancers: Balancers) -> None:
        self._links = links
        self._tell = balancers.set_down
        self._balancers: dict[str, _Balancer] = {}
        self._queue: list[tuple[float, int, _Target]] = []
        self._number = itertools.count()
        self._due = asyncio.Event()
        self._stale: set[str] = set()
        """Balancers to be told of a change."""
        self._changed = asyncio.Event()
        self._limit = asyncio.Semaphore(AT_ONCE)
        self._asking: set[asyncio.Task[None]] = set()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    # --- the protocol -----------------------------------------------------------------------------------

    def watch(self, spec: Watched, down: Mapping[str, frozenset[str]], known: frozenset[str]) -> None:
        before = self._balancers.get(spec.id)
        it = _Balancer(spec, told=before.told if before else dict(down), new_until=time.monotonic() + NEW)
        for rule, check in spec.checks.items():
            for address in spec.addresses[rule]:
                if (check, address) in it.targets:
                    continue
                old = before.target(rule, address) if before and before.spec.network == spec.network else None
                if old is not None and old.check == check:
                    it.targets[check, address] = old
                    continue
                if old is not None:  # Another question, to somebody of whom something is known.
                    target = _Target(spec.network, address, check, old.up, old.been_up)
                elif before is None and rule in known:
                    up = address not in down.get(rule, ())
                    target = _Target(spec.network, address, check, up, up)
                else:
                    target = _Target(spec.network, address, check, None, False)
                it.targets[check, address] = target
                # After a restart not everybody at once.
                restarted = before is None and target.up is not None
                self._push(target, random.random() * check.interval if restarted else 0.0)
        for key, target in before.targets.items() if before else ():
            target.dropped = it.targets.get(key) is not target
        self._balancers[spec.id] = it
        self._stale.add(spec.id)
        self._changed.set()

    def unwatch(self, balancer_id: str) -> None:
        gone = self._balancers.pop(balancer_id, None)
        for target in gone.targets.values() if gone else ():
            target.dropped = True

    def watched(self, balancer_id: str) -> Watched | None:
        found = self._balancers.get(balancer_id)
        return found.spec if found else None

    def unheard(self, balancer_id: str) -> bool:
        it = self._balancers.get(balancer_id)
        if it is None or time.monotonic() > it.new_until:
            return False
        return any(each.up is None for each in it.targets.values()) or it.down() != it.told

    async def first_answers(self, balancer_id: str) -> None:
        while self.unheard(balancer_id):
            it = self._balancers[balancer_id]
            it.answered.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(it.new_until - time.monotonic()):
                    await it.answered.wait()

    def health(self, balancer_id: str) -> dict[str, dict[str, Health]]:
        it = self._balancers.get(balancer_id)
        if it is None:
            return {}
        return {
            rule: {
                address: Health(it.targets[check, address].up is not False, it.targets[check, address].reason)
                for address in it.spec.addresses[rule]
            }
            for rule, check in it.spec.checks.items()
        }

    # --- at work ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._ask())
                tasks.create_task(self._report())
        finally:
            for task in self._asking:
                task.cancel()

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._due.clear()
            now = time.monotonic()
            began = 0
            while self._queue and self._queue[0][0] <= now:
                _, _, target = heapq.heappop(self._queue)
                if not target.dropped:
                    task = loop.create_task(self._question(target))
                    self._asking.add(task)
                    task.add_done_callback(self._asking.discard)
                    began += 1
                if began == TOGETHER:
                    # On a busy machine they come late, rather than that nothing else comes at all.
                    began, at = 0, time.monotonic()
                    await asyncio.sleep(0)
                    await asyncio.sleep(time.monotonic() - at)
            left = self._queue[0][0] - now if self._queue else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._due.wait()

    def _push(self, target: _Target, seconds: float) -> None:
        at = time.monotonic() + seconds
        if not self._queue or at < self._queue[0][0]:
            self._due.set()
        heapq.heappush(self._queue, (at, next(self._number), target))

    async def _question(self, target: _Target) -> None:
        began = time.monotonic()
        async with self._limit:
            up, target.reason = await self._answer(target)
        if target.dropped:
            return
        self._judge(target, up)
        pause = target.check.interval
        target.failures = 0 if up else target.failures + 1
        if not target.been_up:
            pause = min(pause, FIRST_PAUSE * 1.5 ** min(target.failures - 1, 40))
        self._push(target, max(0.0, pause - (time.monotonic() - began)))

    def _judge(self, target: _Target, up: bool) -> None:
        if target.up is up:
            target.streak = 0
            return
        target.streak += 1
        # Of somebody of whom nothing is known, or who has not been up yet, one answer is enough.
        if target.up is not None and target.been_up and target.streak < target.check.threshold:
            return
        target.up, target.streak = up, 0
        target.been_up = target.been_up or up
        for id, it in self._balancers.items():
            if it.targets.get((target.check, target.address)) is target:
                self._stale.add(id)
        self._changed.set()

    async def _report(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for id in list(self._stale):
                self._stale.discard(id)
                it = self._balancers.get(id)
                if it is None:
                    continue
                down = it.down()
                if down != it.told:
                    try:
                        await self._tell(id, down)
                    except DriverError as e:
                        log.warning("a balancer could not be told who is down", balancer=id, cause=str(e))
                        self._stale.add(id)
                        asyncio.get_running_loop().call_later(AGAIN, self._changed.set)
                        continue
                    log.info("backends", balancer=it.spec.id, down={r: sorted(a) for r, a in down.items()})
                    it.told = down
                it.answered.set()

    # --- one question -----------------------------------------------------------------------------------

    async def _answer(self, target: _Target) -> tuple[bool, str]:
        check = target.check
        try:
            async with asyncio.timeout(check.interval):
                with self._links.socket(target.network) as sock:
                    sock.setblocking(False)
                    sock.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
                    sock.bind((SOURCE, 0))
                    await asyncio.get_running_loop().sock_connect(sock, (target.address, check.port))
                    if check.protocol == "tcp":
                        return True, "accepts connections"
                    return await self._http(sock, target)
        except TimeoutError:
            return False, f"no answer within {check.interval:g} s"
        except (OSError, ValueError, DriverError) as e:
            code = getattr(e, "errno", None)
            return False, os.strerror(code).lower() if code else str(e)

    async def _http(self, sock: socket.socket, target: _Target) -> tuple[bool, str]:
        check = target.check
        tls = self._tls if check.protocol == "https" else None
        # The transport closes its socket when it likes: it gets one of its own.
        reader, writer = await asyncio.open_connection(sock=sock.dup(), ssl=tls, server_hostname="" if tls else None)
        try:
            host = f"{target.address}:{check.port}"
            head = f"GET {check.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Load Balancer Agent\r\n"
            writer.write(f"{head}Connection: close\r\n\r\n".encode())
            line = (await reader.readline()).decode("latin-1").split(None, 2)
        finally:
            writer.transport.abort()
        if len(line) < 2 or not line[0].startswith("HTTP/"):
            return False, "answers something that is not HTTP"
        return line[1] == "200", f"answers {' '.join(line[1:]).strip()}"
