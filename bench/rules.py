"""How soon a rule holds: from ARM's answer to the packet; and whether packets do as rules say.

    python bench/rules.py [--runs 15] [--rules 0,500] [--balanced 1,500] [--packets 2000] [--json]   (root, the engine)

Makes an installation of its own with one node. Security rules: a datagram a millisecond, each a connection of its own,
goes from the host by a load balancer to the node; a rule that denies them comes (PUT answered: its operation goes on)
and goes, among `--rules` others. "effect" is from the answer until the last datagram that passed, or the first; a rule
that held before it was answered counts 0. "whole" is from the request. Load balancer: one more rule among
`--balanced`, of a hundred frontends, from the request to the first datagram at the node. Packets: generated rules
on both ends of a network, written-by-hand packets, compared with what documents say.

Targets: effect at most 100 ms; one more rule among 500 at most 1.5 s; no packet that does otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests/contracts"))
from rulesets import VIRTUAL, Lane, decides, packets, rules
from test_verdicts import A, B, firewall

from installation import Installation
from sorairo.drivers.linux.netns import Namespaces
from sorairo.drivers.linux.traffic import LinuxFirewalls
from sorairo.drivers.protocols import Network
from sorairo.engine.ids import host_name
from wire import Wire

PORT, FRONTENDS = 9000, 100
PATIENCE = 30.0


class Stream:
    """A datagram a millisecond to an address, and which of them a machine's link gets."""

    def __init__(self, on: Installation, machine: str, address: str, port: int = PORT) -> None:
        self._to = (address, port)
        self.sent: list[float] = []
        self.came: set[int] = set()
        with Namespaces(on.state.fabric.run_dir / "netns").enter(host_name(machine)):
            self._in = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        self._in.bind(("eth0", 0x0800))
        self._in.settimeout(0.1)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._in.close()

    def _send(self) -> None:
        while not self._over.is_set():
            number = len(self.sent)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:  # a port of its own: a new connection
                self.sent.append(time.monotonic())
                sock.sendto(struct.pack("!4sI", b"rule", number), self._to)
            time.sleep(0.001)

    def _receive(self) -> None:
        while not self._over.is_set():
            try:
                data, sender = self._in.recvfrom(2048)
            except TimeoutError:
                continue
            head = (data[0] & 15) * 4 + 8
            if sender[2] != socket.PACKET_OUTGOING and data[head : head + 4] == b"rule":
                self.came.add(struct.unpack_from("!I", data, head + 4)[0])

    def until(self, passes: bool, *, settled: int = 60) -> None:
        """Until so many in a row do, or do not, pass."""
        until = time.monotonic() + PATIENCE
        while True:
            time.sleep(0.02)
            count = len(self.sent)
            last = [n in self.came for n in range(count - settled - 40, count - 40)]
            if count > settled + 40 and all(each == passes for each in last):
                return
            assert time.monotonic() < until, f"packets {'do not' if passes else 'still'} pass"

    def changed(self, began: float, *, passes: bool) -> float:
        """When, after `began`, the first passed; or the last that did."""
        times = [self.sent[n] for n in sorted(self.came) if self.sent[n] >= began]
        return (min(times) if passes else max(times, default=began)) if times else began


class Bench:
    def __init__(self, on: Installation) -> None:
        self.on = on
        self.group = "resourceGroups/MC_bench_c_westeurope/providers/Microsoft.Network"
        scale_set = self.one("resourceGroups/MC_bench_c_westeurope/providers/Microsoft.Compute/virtualMachineScaleSets")
        self.machine = f"{scale_set['id']}/virtualMachines/0"
        self.nsg = self.one(f"{self.group}/networkSecurityGroups")["id"]
        network = self.one(f"{self.group}/virtualNetworks")
        nic = on.http.get(f"{self.machine}/networkInterfaces", params={"api-version": "2025-07-01"}).json()["value"][0]
        address = nic["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"]
        self.pool = {"name": "p", "properties": {"loadBalancerBackendAddresses": [
            {"name": "n", "properties": {"ipAddress": address, "virtualNetwork": {"id": network["id"]}}}
        ]}}  # fmt: skip

    def one(self, path: str) -> dict[str, Any]:
        return self.on.arm("GET", path).json()["value"][0]  # type: ignore[no-any-return]

    def put(self, path: str, body: dict[str, Any]) -> None:
        assert self.on.wait(self.on.arm("PUT", path, body))["status"] == "Succeeded"

    def address(self, name: str) -> str:
        path = f"{self.group}/publicIPAddresses/{name}"
        self.put(path, {"location": "westeurope", "sku": {"name": "Standard"}})
        return str(self.on.arm("GET", path).json()["properties"]["ipAddress"])

    def balancer(self, count: int) -> dict[str, Any]:
        """Its document, with so many rules: of the addresses `b0` to `b99` at one port, then at the next."""
        lb = f"{self.on.subscription}/{self.group}/loadBalancers/bench"
        ips = f"{self.on.subscription}/{self.group}/publicIPAddresses"
        names = range(count)
        used = range(min(count, FRONTENDS))
        fronts = [{"name": f"f{n}", "properties": {"publicIPAddress": {"id": f"{ips}/b{n}"}}} for n in used]
        made = [{"name": f"r{n}", "properties": {
            "protocol": "Udp", "frontendPort": _port(n), "backendPort": _port(n), "enableFloatingIP": True,
            "disableOutboundSnat": True,
            "frontendIPConfiguration": {"id": f"{lb}/frontendIPConfigurations/f{n % FRONTENDS}"},
            "backendAddressPool": {"id": f"{lb}/backendAddressPools/p"}}} for n in names]  # fmt: skip
        properties = {
            "frontendIPConfigurations": fronts,
            "backendAddressPools": [self.pool],
            "loadBalancingRules": made,
        }
        return {"location": "westeurope", "sku": {"name": "Standard"}, "properties": properties}

    def allow(self, others: int) -> None:
        """The group's rules: one that lets the datagrams in, and so many that say nothing of them."""
        found = [_rule(f"o{n}", 1000 + n, "Deny", f"10.{n % 250}.{n // 250}.0/24", "Tcp") for n in range(others)]
        shown = self.on.arm("GET", self.nsg).json()
        shown["properties"]["securityRules"] = [*found, _rule("bench", 4000, "Allow", "*", "Udp")]
        self.put(self.nsg, {"location": shown["location"], "properties": shown["properties"]})

    def rule_changes(self, runs: int, others: int) -> dict[str, list[float]]:
        self.allow(others)
        stream = Stream(self.on, self.machine, self.address("b0"))
        took: dict[str, list[float]] = {
            f"{word} {what}": [] for word in ("deny", "allow") for what in ("effect", "whole")
        }
        changes: tuple[tuple[str, Callable[[], Any]], ...] = (
            ("deny", lambda: self.on.arm("PUT", f"{self.nsg}/securityRules/no", _rule("no", 200, "Deny", "*", "Udp"))),
            ("allow", lambda: self.on.arm("DELETE", f"{self.nsg}/securityRules/no")),
        )
        try:
            stream.until(True)
            for run in range(runs + 1):
                for word, change in changes:
                    began = time.monotonic()
                    answer = change()
                    answered = time.monotonic()
                    stream.until(word == "allow")
                    at = stream.changed(began, passes=word == "allow")
                    assert self.on.wait(answer)["status"] == "Succeeded"
                    if run:  # the first warms up
                        took[f"{word} effect"].append(max(0.0, at - answered))
                        took[f"{word} whole"].append(at - began)
        finally:
            stream.close()
        return took

    def one_more(self, runs: int, count: int) -> list[float]:
        addresses = [self.address(f"b{n}") for n in range(min(count + runs + 1, FRONTENDS))]
        path = f"{self.group}/loadBalancers/bench"
        self.put(path, self.balancer(count))
        took = []
        for run in range(runs + 1):
            number = count + run
            stream = Stream(self.on, self.machine, addresses[number % FRONTENDS], _port(number))
            try:
                time.sleep(0.3)
                began = time.monotonic()
                answer = self.on.arm("PUT", path, self.balancer(number + 1))
                stream.until(True)
                if run:
                    took.append(stream.changed(began, passes=True) - began)
                assert self.on.wait(answer)["status"] == "Succeeded"
            finally:
                stream.close()
        return took


def _port(number: int) -> int:
    return PORT + number // FRONTENDS


def _rule(name: str, priority: int, access: str, source: str, protocol: str) -> dict[str, Any]:
    return {"name": name, "properties": {
        "priority": priority, "direction": "Inbound", "access": access, "protocol": protocol,
        "sourceAddressPrefix": source, "sourcePortRange": "*", "destinationAddressPrefix": "*",
        "destinationPortRange": f"{PORT}-{PORT + 99}"}}  # fmt: skip


def compared(count: int) -> dict[str, Any]:
    """Packets by generated rules: how many did as their documents say, and how long that took."""
    with tempfile.TemporaryDirectory(prefix="sorairo-bench-") as folder:
        wire = Wire(Path(folder) / "run")
        links = wire.links()
        chance = random.Random(0)
        agreed = passed = 0
        began = time.monotonic()

        async def made() -> None:
            await links.ensure_network(Network("net1", "/bench/net1", (VIRTUAL,)))
            await links.ensure_nic(A)
            await links.ensure_nic(B)

        try:
            asyncio.run(made())
            lane, firewalls = Lane(wire, "nodea", "nodeb", B.address), LinuxFirewalls(links)
            for _ in range(0, count, 50):
                out, into = rules(chance, 30), rules(chance, 30)
                for spec in (firewall(out, "fw1", ("nica",)), firewall(into, "fw2", ("nicb",))):
                    asyncio.run(firewalls.ensure_firewall(spec))
                sent = packets(chance, 50)
                for packet, arrived in zip(sent, lane.arrive(sent), strict=True):
                    wanted = decides(out, "outbound", packet)[1] and decides(into, "inbound", packet)[1]
                    agreed += arrived == wanted
                    passed += arrived
            lane.close()
        finally:
            wire.wipe()
    return {"sent": count, "as documents say": agreed, "passed": passed, "seconds": round(time.monotonic() - began, 1)}


def milliseconds(values: list[float]) -> dict[str, float]:
    return {
        "median": round(1000 * statistics.median(values), 1),
        "least": round(1000 * min(values), 1),
        "most": round(1000 * max(values), 1),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    results: dict[str, Any] = {"packets": compared(options.packets)} if options.packets else {}
    with tempfile.TemporaryDirectory(prefix="sorairo-bench-") as folder:
        on = Installation(Path(folder) / "state", "linux")
        try:
            on.start().group("bench")
            assert on.create_cluster("bench", "c")["status"] == "Succeeded"
            bench = Bench(on)
            bench.address("b0")
            bench.put(f"{bench.group}/loadBalancers/bench", bench.balancer(1))
            for others in options.rules:
                took = bench.rule_changes(options.runs, others)
                results |= {f"{word}, {others} other rules (ms)": milliseconds(each) for word, each in took.items()}
            bench.allow(0)
            for count in options.balanced:
                took_one = bench.one_more(options.runs, count)
                results[f"one more balancing rule among {count} (ms)"] = milliseconds(took_one)
        finally:
            on.purge()
    return results


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",") if each]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--rules", type=_numbers, default=[0, 500])
    parser.add_argument("--balanced", type=_numbers, default=[1, 500])
    parser.add_argument("--packets", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = measure(options)
    if options.json:
        print(json.dumps(results, indent=2))
        return
    for word, value in results.items():
        print(f"{word:50} {value}")


if __name__ == "__main__":
    main()
