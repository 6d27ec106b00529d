"""Screens on real packets: two machines with pods in namespaces of their own, as a node's CNI plugin makes them."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from policy_world import OUTSIDE, PORTS, Packet, World, oracle, worlds
from sorairo.drivers.linux import nft, screens
from sorairo.drivers.linux.screens import LinuxScreens
from sorairo.drivers.protocols import DriverError, Network, Nic
from sorairo.drivers.screens import Opening, Screen, Side
from wire import PATIENCE, Wire

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

A = Nic("nica", "/owner/nica", "net1", "n0", "10.224.0.4", "10.224.0.1", 24, ("10.224.0.40/29",))
B = Nic("nicb", "/owner/nicb", "net1", "n1", "10.224.0.5", "10.224.0.1", 24, ("10.224.0.48/29",))
PODS = {"10.224.0.40": "n0", "10.224.0.41": "n0", "10.224.0.48": "n1", "10.224.0.49": "n1"}
WEB, BOX, FAR = "10.224.0.40", "10.224.0.41", "10.224.0.48"
TRACKING = "table ip kube-proxy { chain c { type filter hook prerouting priority 0; ct state new counter; }; }"
"""A node tracks connections from its first second: its kube-proxy has it do so."""
CLOSED = Screen("n0", "/n0", Side({"deny": ()}, {WEB: ("deny",)}))


def namespace(address: str) -> str:
    """A pod's, or the machine's that has the address."""
    return {"10.224.0.4": "n0", "10.224.0.5": "n1"}.get(address, f"pod{address.rsplit('.', 1)[1]}")


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    wire = Wire(tmp_path / "run")
    links = wire.links()
    try:
        await links.ensure_network(Network("net1", "/owner/net1", ("10.224.0.0/16",)))
        for nic in (A, B):
            await links.ensure_nic(nic)
            wire.nft(nic.namespace, TRACKING)
        for address, node in PODS.items():
            pod, gateway = namespace(address), A.address if node == "n0" else B.address
            wire.ns.create(pod)
            wire.ip(node, "link", "add", f"v{pod}", "type", "veth", "peer", "eth0", "netns", str(wire.ns.path(pod)))
            wire.ip(node, "link", "set", f"v{pod}", "up")
            for words in (("link", "set", "lo", "up"), ("link", "set", "eth0", "up"),
                          ("addr", "add", f"{address}/32", "dev", "eth0"),
                          ("route", "add", gateway, "dev", "eth0", "scope", "link"),
                          ("route", "add", "default", "via", gateway)):  # fmt: skip
                wire.ip(pod, *words)
            wire.ip(node, "route", "add", address, "dev", f"v{pod}")
        yield wire
        for address in PODS:
            wire.ns.delete(namespace(address))
        for each in (A, B):
            await links.remove_nic(each.id)
        await links.remove_network("net1")
    finally:
        wire.wipe()


@pytest.fixture
def driver(wire: Wire) -> LinuxScreens:
    return LinuxScreens(wire.links())


def arrive(wire: Wire, packets: Iterable[Packet]) -> set[Packet]:
    """Those that come through, all sent at once: a datagram when it is received, a connection when it is refused, for
    nobody listens."""
    found: set[Packet] = set()
    with contextlib.ExitStack() as stack:
        poll, asked, heard = select.poll(), dict[int, tuple[Packet, socket.socket]](), dict[int, socket.socket]()
        numbered = dict(enumerate(packets))
        for target, port in {(p.target, p.port) for p in numbered.values() if p.protocol == "udp"}:
            server = stack.enter_context(wire.datagram(namespace(target), port))
            heard[server.fileno()] = server
            poll.register(server, select.POLLIN)
        for number, packet in numbered.items():
            tcp = packet.protocol == "tcp"
            with wire.inside(namespace(packet.source)):
                sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
            stack.enter_context(sock).setblocking(False)
            if tcp:
                sock.connect_ex((packet.target, packet.port))
                asked[sock.fileno()] = packet, sock
                poll.register(sock, select.POLLIN)
            else:
                sock.sendto(str(number).encode(), (packet.target, packet.port))
        until = time.monotonic() + PATIENCE
        while len(found) < len(numbered) and (left := until - time.monotonic()) > 0:
            for fd, _ in poll.poll(left * 1000):
                if fd in heard:
                    found.add(numbered[int(heard[fd].recv(9))])
                    continue
                poll.unregister(fd)
                packet, sock = asked.pop(fd)
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED, packet
                found.add(packet)
    return found


def reaches(wire: Wire, source: str, target: str, port: int = 80) -> bool:
    packet = Packet(source, target, "tcp", port)
    return arrive(wire, [packet]) == {packet}


def table(wire: Wire, machine: str) -> dict[str, str]:
    with wire.inside(machine):
        return nft.standing(screens.TABLE)


async def test_what_is_closed_and_to_whom(wire: Wire, driver: LinuxScreens) -> None:
    assert reaches(wire, FAR, WEB)
    await driver.ensure_screen(CLOSED)
    assert not reaches(wire, FAR, WEB), "from another machine"
    assert not reaches(wire, BOX, WEB), "from the same"
    assert not reaches(wire, B.address, WEB)
    assert reaches(wire, A.address, WEB), "a machine reaches its guests"
    assert reaches(wire, WEB, FAR), "what it sends is another matter"
    assert reaches(wire, FAR, BOX), "so is another guest"
    await driver.ensure_screen(replace(CLOSED, inbound=Side(), outbound=CLOSED.inbound))
    assert not reaches(wire, WEB, FAR)
    assert reaches(wire, WEB, A.address), "a guest reaches its machine"
    assert reaches(wire, FAR, WEB)
    await driver.ensure_screen(Screen("n0", "/n0"))
    assert table(wire, "n0") == {}
    assert reaches(wire, WEB, FAR)
    assert "sorairo" not in wire_rules(wire, "n0")


def wire_rules(wire: Wire, machine: str) -> str:
    with wire.inside(machine):
        return subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout


async def test_a_connection_that_is_there_goes_on(wire: Wire, driver: LinuxScreens) -> None:
    with wire.listen(namespace(WEB), 80) as server, wire.connect(namespace(FAR), WEB, 80) as client:
        answer, _ = server.accept()
        answer.settimeout(PATIENCE)
        with answer:
            await driver.ensure_screen(CLOSED)
            assert not reaches(wire, FAR, WEB)
            client.sendall(b"still")
            assert answer.recv(5) == b"still"
            answer.sendall(b"there")
            assert client.recv(5) == b"there"


async def test_who_is_not_known_is_held(wire: Wire, driver: LinuxScreens) -> None:
    held = Screen("n0", "/n0", Side(hold=True), Side(hold=True), known=frozenset({BOX}))
    await driver.ensure_screen(held)
    assert not reaches(wire, FAR, WEB)
    assert not reaches(wire, WEB, FAR)
    assert reaches(wire, FAR, BOX)
    assert reaches(wire, BOX, FAR)
    await driver.ensure_screen(replace(held, known=frozenset({BOX, WEB})))
    assert reaches(wire, FAR, WEB)


async def test_a_member_more_changes_one_set_by_one_element(
    wire: Wire, driver: LinuxScreens, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = frozenset({BOX, "10.9.9.9"})
    openings = {
        "few": (Opening("few", any_port=True),),
        "web": (Opening(anybody=True, services=(("tcp", "tcp-web"),)),),
    }
    spec = Screen(
        "n0", "/n0", Side(openings, {WEB: ("few", "web")}), groups={"few": some},
        services={"tcp-web": frozenset({(WEB, 8080)})},
    )  # fmt: skip
    await driver.ensure_screen(spec)
    assert (reaches(wire, BOX, WEB), reaches(wire, FAR, WEB), reaches(wire, FAR, WEB, 8080)) == (True, False, True)
    said: list[str] = []
    apply = nft.apply

    def heard(text: str) -> None:
        said.append(text)
        apply(text)

    monkeypatch.setattr(nft, "apply", heard)
    await driver.ensure_screen(spec)
    assert said == []
    await driver.ensure_screen(replace(spec, groups={"few": frozenset({BOX, FAR})}))
    (text,) = said
    changes = [line for line in text.splitlines() if "standing" not in line and "add table" not in line]
    assert changes == [
        f"delete element ip {screens.TABLE} g-few {{ 10.9.9.9 }}",
        f"add element ip {screens.TABLE} g-few {{ {FAR} }}",
    ]
    assert reaches(wire, FAR, WEB)
    # Another sorairo knows nothing of what the first wrote, and finds all of it in place.
    said.clear()
    await LinuxScreens(wire.links()).ensure_screen(replace(spec, groups={"few": frozenset({BOX, FAR})}))
    assert said == []


async def test_rules_that_somebody_took_are_missed(wire: Wire, driver: LinuxScreens) -> None:
    await driver.ensure_screen(CLOSED)
    wire.nft("n0", "flush ruleset")
    assert reaches(wire, FAR, WEB)
    await driver.ensure_screen(CLOSED)
    assert not reaches(wire, FAR, WEB)


async def test_a_screen_needs_its_machine(driver: LinuxScreens) -> None:
    with pytest.raises(DriverError, match="n9"):
        await driver.ensure_screen(replace(CLOSED, id="n9"))
    with pytest.raises(DriverError, match="policy deny is not there"):
        await driver.ensure_screen(replace(CLOSED, inbound=Side({}, {WEB: ("deny",)})))
    with pytest.raises(DriverError, match="not a name"):
        await driver.ensure_screen(replace(CLOSED, groups={"x; flush ruleset": frozenset()}))


_everybody = (*PODS, OUTSIDE[0])
_packets = st.builds(
    Packet,
    st.sampled_from(_everybody),
    st.sampled_from(_everybody),
    st.sampled_from(["tcp", "udp"]),
    st.sampled_from([*PORTS, 444]),
)


async def test_real_packets_pass_where_the_oracle_says(wire: Wire, driver: LinuxScreens) -> None:
    """Worlds one after the other on the same machines, so that each is a change of the one before."""
    cases: list[tuple[World, list[Packet]]] = []

    @seed(20261124)
    @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(worlds(tuple(PODS.items())), st.lists(_packets, min_size=30, max_size=40, unique=True))
    def draw(world: World, packets: list[Packet]) -> None:
        cases.append((world, packets))

    draw()
    tried = passed = 0
    for world, packets in cases:
        for screen in world.screens().values():
            await driver.ensure_screen(screen)
        # A machine reaches its guests and they it, whatever the policies.
        packets = [p for p in packets if not {p.source, p.target} & {B.address} or "n1" not in _nodes(p)]
        expected = {p for p in packets if oracle(world, p)}
        assert arrive(wire, packets) == expected
        tried, passed = tried + len(packets), passed + len(expected)
    assert tried >= 400
    assert tried * 0.2 < passed < tried * 0.9, "both kinds are tried"


def _nodes(packet: Packet) -> set[str | None]:
    return {PODS.get(packet.source), PODS.get(packet.target)}
