"""What every Balancers and PublicAddresses driver promises; then what they do to real packets."""

from __future__ import annotations

import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.hollow.traffic import HollowBalancers, HollowPublicAddresses
from sorairo.drivers.linux import nft
from sorairo.drivers.linux.traffic import LinuxBalancers, LinuxFirewalls, LinuxPublicAddresses
from sorairo.drivers.protocols import DriverError, Leg, Links, Network, Nic
from sorairo.drivers.traffic import (
    Backend,
    Balancer,
    BalancerRule,
    Balancers,
    BalancerState,
    Firewall,
    FirewallRule,
    PublicAddress,
    PublicAddresses,
    Standing,
)
from wire import PATIENCE, Wire, linux

everyone = pytest.mark.parametrize("links", ["hollow", linux], indirect=True)
real = pytest.mark.parametrize("links", [linux], indirect=True)

A = Nic("nica", "/owner/nica", "net1", "nodea", "10.224.0.4", "10.224.0.1", 24, ("10.224.0.40",))
B = Nic("nicb", "/owner/nicb", "net1", "nodeb", "10.224.0.5", "10.224.0.1", 24)
C = Nic("nicc", "/owner/nicc", "net1", "nodec", "10.224.1.6", "10.224.1.1", 24)
FAR = Nic("nicz", "/owner/nicz", "net2", "nodez", "10.224.0.4", "10.224.0.1", 24)
PRIVATE = "10.224.0.100"


@pytest.fixture
async def links(request: pytest.FixtureRequest, wire: Wire) -> AsyncIterator[Links]:
    """Network net1 with nodes a, b, c and control plane cp1; net2, of the same prefix, with node z."""
    links: Links = HollowLinks() if request.param == "hollow" else wire.links()
    await links.ensure_network(Network("net1", "/owner/net1", ("10.224.0.0/16",), wire.public(10)))
    await links.ensure_network(Network("net2", "/owner/net2", ("10.224.0.0/16",), wire.public(11)))
    for nic in (A, B, C, FAR):
        await links.ensure_nic(nic)
    await links.ensure_leg(Leg("leg1", "/owner/leg1", "cp1", wire.public(20), "net1"))
    yield links
    for each in ("lb1", "lb2"):
        await balancers_of(links).remove_balancer(each)
    for each in ("pip1", "pip2"):
        await publics_of(links).remove_public_address(each)
    if not isinstance(links, HollowLinks):
        await LinuxFirewalls(links).remove_firewall("fw1")  # type: ignore[arg-type]
    for each in ("nica", "nicb", "nicc", "nicz"):
        await links.remove_nic(each)
    await links.remove_leg("leg1")
    for each in ("net1", "net2"):
        await links.remove_network(each)
    assert not wire.run_dir.exists()


def balancers_of(links: Links) -> Balancers:
    return HollowBalancers(links) if isinstance(links, HollowLinks) else LinuxBalancers(links)  # type: ignore[arg-type]


def publics_of(links: Links) -> PublicAddresses:
    if isinstance(links, HollowLinks):
        return HollowPublicAddresses(links)
    return LinuxPublicAddresses(links)  # type: ignore[arg-type]


@pytest.fixture
def balancers(links: Links) -> Balancers:
    return balancers_of(links)


@pytest.fixture
def publics(links: Links) -> PublicAddresses:
    return publics_of(links)


@pytest.fixture
def vip(wire: Wire) -> str:
    return wire.public(50)


BACKENDS = tuple(Backend(nic.address) for nic in (A, B, C))


def balancer(frontend: str, **changes: object) -> Balancer:
    rule = BalancerRule("web", frontend, "tcp", 80, BACKENDS, floating=True)
    return Balancer("lb1", "/owner/lb1", "net1", (replace(rule, **changes),))  # type: ignore[arg-type]


def serve(wire: Wire, vip: str, *nodes: str, port: int = 80) -> dict[str, socket.socket]:
    """Listeners in nodes which also take what is addressed to `vip` (as kube-proxy's rules would)."""
    for node in nodes:
        wire.pod(node, vip)
    return {node: wire.listen(node, port) for node in nodes}


def served(servers: dict[str, socket.socket], client: socket.socket) -> tuple[str, socket.socket]:
    """Who has the connection."""
    for node, server in servers.items():
        server.setblocking(False)
        try:
            return node, server.accept()[0]
        except BlockingIOError:
            continue
        finally:
            server.setblocking(True)
    raise AssertionError(f"nobody has {client}")


def spread(
    wire: Wire, servers: dict[str, socket.socket], client: str | None, address: str, times: int = 60
) -> Counter[str]:
    """How many connections each node gets."""
    counts: Counter[str] = Counter()
    for _ in range(times):
        with wire.connect(client, address, 80) as connection:
            node, answer = served(servers, connection)
            answer.close()
            counts[node] += 1
    return counts


# --- everyone --------------------------------------------------------------------------------------------


@everyone
async def test_what_was_ensured_stands_until_it_is_removed(balancers: Balancers, vip: str) -> None:
    for spec in (balancer(vip), balancer(vip), balancer(vip, floating=False), balancer(PRIVATE)):
        await balancers.ensure_balancer(spec)
        assert await balancers.observe_balancers() == Standing({"lb1": BalancerState(spec, {})})
    for _ in range(2):
        await balancers.remove_balancer("lb1")
        assert await balancers.observe_balancers() == Standing()


@everyone
async def test_who_is_down_is_kept_with_its_rule(balancers: Balancers, vip: str) -> None:
    with pytest.raises(DriverError, match="lb1"):
        await balancers.set_down("lb1", {})
    await balancers.ensure_balancer(balancer(vip))
    await balancers.set_down("lb1", {"web": frozenset({A.address})})
    changed = balancer(vip, affinity="client")
    await balancers.ensure_balancer(changed)
    state = (await balancers.observe_balancers()).whole["lb1"]
    assert state == BalancerState(changed, {"web": frozenset({A.address})})
    await balancers.ensure_balancer(balancer(vip, name="other"))
    assert (await balancers.observe_balancers()).whole["lb1"].down == {}


@everyone
async def test_a_frontend_port_is_one_balancers(links: Links, balancers: Balancers, vip: str) -> None:
    await balancers.ensure_balancer(balancer(vip))
    with pytest.raises(DriverError, match="balanced by lb1"):
        await balancers.ensure_balancer(replace(balancer(vip), id="lb2"))
    with pytest.raises(DriverError, match="net9"):
        await balancers.ensure_balancer(replace(balancer(vip), id="lb2", network="net9"))


@everyone
async def test_a_public_address_stands_until_it_is_removed(publics: PublicAddresses, wire: Wire) -> None:
    spec = PublicAddress("pip1", "/owner/pip1", "net1", wire.public(60), A.address)
    for _ in range(2):
        await publics.ensure_public_address(spec)
        assert await publics.observe_public_addresses() == Standing({"pip1": spec})
    with pytest.raises(DriverError, match="pip1"):
        await publics.ensure_public_address(replace(spec, id="pip2", address=B.address))
    for _ in range(2):
        await publics.remove_public_address("pip1")
        assert await publics.observe_public_addresses() == Standing()


# --- packets: where they come from and go to -------------------------------------------------------------


@real
@pytest.mark.parametrize("floating", [True, False])
async def test_connections_are_spread_and_keep_their_clients_address(
    balancers: Balancers, wire: Wire, vip: str, floating: bool
) -> None:
    await balancers.ensure_balancer(balancer(vip, floating=floating))
    servers = (
        serve(wire, vip, "nodea", "nodeb", "nodec") if floating else serve(wire, "192.0.2.9", "nodea", "nodeb", "nodec")
    )
    counts = spread(wire, servers, None, vip)
    assert set(counts) == {"nodea", "nodeb", "nodec"}
    assert min(counts.values()) >= 6
    with wire.connect(None, vip, 80) as client:
        _, answer = served(servers, client)
        with answer:
            assert answer.getpeername()[0] == wire.host
            assert (answer.getsockname()[0] == vip) is floating
            answer.sendall(b"hello")
            assert client.recv(5) == b"hello"


@real
@pytest.mark.parametrize("floating", [True, False])
async def test_every_kind_of_client_gets_through(balancers: Balancers, wire: Wire, vip: str, floating: bool) -> None:
    """From the host, another network, a control plane and a machine of the network itself that is no backend."""
    await balancers.ensure_balancer(balancer(vip, floating=floating, backends=BACKENDS[1:]))
    for node in ("nodeb", "nodec"):
        if floating:
            wire.pod(node, vip)
    servers = {node: wire.listen(node, 80) for node in ("nodeb", "nodec")}
    for client, source in (
        (None, wire.host),
        ("nodez", wire.public(11)),
        ("cp1", wire.public(20)),
        ("nodea", A.address),
    ):
        with wire.connect(client, vip, 80) as connection:
            _, answer = served(servers, connection)
            with answer:
                assert answer.getpeername()[0] == source
                answer.sendall(b"hello")
                assert connection.recv(5) == b"hello"


@real
@pytest.mark.parametrize("floating", [True, False])
async def test_a_private_frontend_is_for_the_network_alone(balancers: Balancers, wire: Wire, floating: bool) -> None:
    await balancers.ensure_balancer(balancer(PRIVATE, floating=floating, backends=BACKENDS[1:]))
    for node in ("nodeb", "nodec"):
        if floating:
            wire.pod(node, PRIVATE)
    servers = {node: wire.listen(node, 80) for node in ("nodeb", "nodec")}
    for client in ("nodea", "cp1"):
        with wire.connect(client, PRIVATE, 80) as connection:
            served(servers, connection)[1].close()
    assert not wire.reaches("nodez", PRIVATE, 80)


@real
async def test_a_rule_may_lead_to_another_port_and_to_a_pod(balancers: Balancers, wire: Wire, vip: str) -> None:
    wire.pod("nodea", "10.224.0.40")
    await balancers.ensure_balancer(balancer(vip, floating=False, backends=(Backend("10.224.0.40", 8080),)))
    with wire.listen("nodea", 8080) as server, wire.connect(None, vip, 80):
        assert server.accept()[0].getsockname()[0] == "10.224.0.40"


@real
async def test_only_what_is_balanced_gets_in(balancers: Balancers, wire: Wire, vip: str) -> None:
    await balancers.ensure_balancer(balancer(vip, backends=BACKENDS[1:]))
    serve(wire, vip, "nodeb", "nodec", port=81)
    for client in (None, "nodea", "nodez"):
        assert wire.reaches(client, vip, 80)
        assert not wire.reaches(client, vip, 81)
    await balancers.remove_balancer("lb1")
    assert not wire.reaches(None, vip, 80)


@real
@pytest.mark.parametrize("floating", [True, False])
async def test_udp_is_balanced(balancers: Balancers, wire: Wire, vip: str, floating: bool) -> None:
    await balancers.ensure_balancer(balancer(vip, protocol="udp", port=53, floating=floating, backends=BACKENDS[:1]))
    if floating:
        wire.pod("nodea", vip)
    with wire.datagram("nodea", 53, vip if floating else A.address) as server, wire.datagram(None) as client:
        client.sendto(b"ask", (vip, 53))
        data, sender = server.recvfrom(9)
        assert sender[0] == wire.host
        server.sendto(b"answer", sender)
        assert (data, client.recvfrom(9)) == (b"ask", (b"answer", (vip, 53)))


@real
@pytest.mark.parametrize("floating", [True, False])
async def test_all_ports_at_once(balancers: Balancers, wire: Wire, floating: bool) -> None:
    spec = balancer(PRIVATE, protocol="any", port=0, floating=floating, backends=BACKENDS[1:2])
    await balancers.ensure_balancer(spec)
    if floating:
        wire.pod("nodeb", PRIVATE)
    for port in (80, 9999):
        with wire.listen("nodeb", port) as server:
            assert wire.seen(server, "nodea", PRIVATE) == A.address


# --- packets: who gets them ------------------------------------------------------------------------------


@real
@pytest.mark.parametrize("floating", [True, False])
async def test_a_clients_affinity(balancers: Balancers, wire: Wire, vip: str, floating: bool) -> None:
    await balancers.ensure_balancer(balancer(vip, floating=floating, affinity="client"))
    servers = serve(wire, vip if floating else "192.0.2.9", "nodea", "nodeb", "nodec")
    assert len(spread(wire, servers, None, vip, 20)) == 1


@real
async def test_a_clients_affinity_is_the_same_for_all_ports(balancers: Balancers, wire: Wire, vip: str) -> None:
    rules = tuple(
        BalancerRule(f"p{port}", vip, "tcp", port, BACKENDS, floating=True, affinity="client") for port in range(80, 86)
    )
    await balancers.ensure_balancer(Balancer("lb1", "/owner/lb1", "net1", rules))
    for node in ("nodea", "nodeb", "nodec"):
        wire.pod(node, vip)
    nodes = set()
    for port in range(80, 86):
        servers = {node: wire.listen(node, port) for node in ("nodea", "nodeb", "nodec")}
        with wire.connect(None, vip, port) as client:
            nodes.add(served(servers, client)[0])
        for server in servers.values():
            server.close()
    assert len(nodes) == 1


@real
@pytest.mark.parametrize("floating", [True, False])
async def test_who_is_down_gets_nothing_new_and_keeps_what_it_has(
    balancers: Balancers, wire: Wire, vip: str, floating: bool
) -> None:
    await balancers.ensure_balancer(balancer(vip, floating=floating))
    servers = serve(wire, vip if floating else "192.0.2.9", "nodea", "nodeb", "nodec")
    held = []
    for _ in range(40):  # That one of three gets none of them is one in ten million.
        client = wire.connect(None, vip, 80)
        held.append((client, *served(servers, client)))
    assert {node for _, node, _ in held} == {"nodea", "nodeb", "nodec"}
    await balancers.set_down("lb1", {"web": frozenset({A.address, C.address})})
    assert set(spread(wire, servers, None, vip, 20)) == {"nodeb"}
    await balancers.set_down("lb1", {"web": frozenset(each.address for each in BACKENDS)})
    assert not wire.reaches(None, vip, 80)
    await balancers.ensure_balancer(balancer(vip, floating=floating, backends=BACKENDS[1:2]))
    for client, _, answer in held:
        client.sendall(b"still")
        assert answer.recv(5) == b"still"
        answer.sendall(b"here")
        assert client.recv(4) == b"here"
    await balancers.set_down("lb1", {})
    assert set(spread(wire, servers, None, vip, 20)) == {"nodeb"}
    for client, _, answer in held:
        client.close()
        answer.close()


@real
async def test_a_backend_may_come_later_than_its_rule_and_go(
    links: Links, balancers: Balancers, wire: Wire, vip: str
) -> None:
    await balancers.ensure_balancer(balancer(vip, backends=(*BACKENDS[:1], Backend("10.224.1.7"))))
    servers = serve(wire, vip, "nodea")
    assert set(spread(wire, servers, None, vip, 10)) == {"nodea"}
    await links.ensure_nic(replace(C, namespace="noded", address="10.224.1.7"))
    servers |= serve(wire, vip, "noded")
    assert set(spread(wire, servers, None, vip, 40)) == {"nodea", "noded"}
    await links.remove_nic("nicc")
    assert set(spread(wire, servers, None, vip, 20)) == {"nodea"}


@real
@pytest.mark.parametrize("client", [None, "nodea"])
async def test_a_machine_that_does_not_know_the_frontend_gets_its_packets_once(
    balancers: Balancers, wire: Wire, vip: str, client: str | None
) -> None:
    """It sends them back, by its default route; and nobody gets through to itself by a balancer."""
    await balancers.ensure_balancer(balancer(vip, backends=BACKENDS[:1]))

    def received() -> int:
        with wire.inside("nodea"):
            return int(Path("/proc/thread-self/net/dev").read_text().partition("eth0:")[2].split()[1])

    before = received()
    assert not wire.reaches(client, vip, 80)
    assert received() - before < 8


@real
async def test_a_connection_of_a_machine_that_is_gone_ends_without_a_loop(
    links: Links, balancers: Balancers, wire: Wire, vip: str
) -> None:
    await balancers.ensure_balancer(balancer(vip, backends=BACKENDS[:2]))
    servers = serve(wire, vip, "nodea", "nodeb")
    while True:
        client = wire.connect(None, vip, 80)
        node, _ = served(servers, client)
        if node == "nodea":
            break
    await links.remove_nic("nica")

    def forwarded() -> int:
        with wire.inside("edge"):
            return int(Path("/proc/thread-self/net/dev").read_text().partition("nnet1:")[2].split()[1])

    before = forwarded()
    client.sendall(b"anyone?")
    with pytest.raises(TimeoutError):
        client.recv(1)
    assert forwarded() - before < 8
    assert (await balancers.observe_balancers()).partial == {}


# --- packets: together with the rest ---------------------------------------------------------------------


@real
@pytest.mark.parametrize("floating", [True, False])
async def test_a_firewall_judges_what_is_balanced(
    links: Links, balancers: Balancers, wire: Wire, vip: str, floating: bool
) -> None:
    """By the frontend's address when it floats, by the backend's when not."""
    firewalls = LinuxFirewalls(links)  # type: ignore[arg-type]
    await balancers.ensure_balancer(balancer(vip, floating=floating, backends=BACKENDS[:1]))
    if floating:
        wire.pod("nodea", vip)
    deny = FirewallRule(4096, "inbound", False)
    await firewalls.ensure_firewall(Firewall("fw1", "/owner/fw1", "net1", (deny,), nics=("nica",)))
    assert not wire.reaches(None, vip, 80)
    allow = FirewallRule(100, "inbound", True, "tcp", (wire.host,), (vip if floating else A.address,))
    await firewalls.ensure_firewall(Firewall("fw1", "/owner/fw1", "net1", (deny, allow), nics=("nica",)))
    assert wire.reaches(None, vip, 80)
    assert not wire.reaches("nodez", vip, 80)


@real
async def test_the_frontend_may_be_where_the_networks_connections_come_from(balancers: Balancers, wire: Wire) -> None:
    """As in a cluster whose balancer also gives its nodes their way out."""
    await balancers.ensure_balancer(balancer(wire.public(10), floating=False))
    servers = serve(wire, "192.0.2.9", "nodea", "nodeb", "nodec")
    assert spread(wire, servers, None, wire.public(10), 5)
    with wire.listen("cp1", 443) as server:
        assert wire.seen(server, "nodea", wire.public(20)) == wire.public(10)
    await balancers.remove_balancer("lb1")
    with wire.listen("cp1", 443) as server:
        assert wire.seen(server, "nodea", wire.public(20)) == wire.public(10)


@real
@pytest.mark.parametrize(
    ("where", "damage"),
    [("net1", "rule del pref 1001"), ("net1", "route flush table 1001"), ("edge", "route del {vip}")],
)
async def test_damage_is_seen_and_mended(balancers: Balancers, wire: Wire, vip: str, where: str, damage: str) -> None:
    wire.pod("nodea", vip)
    await balancers.ensure_balancer(balancer(vip, backends=BACKENDS[:1]))
    wire.ip(where, *damage.format(vip=vip).split())
    assert (await balancers.observe_balancers()).partial == {"lb1": "/owner/lb1"}
    await balancers.ensure_balancer(balancer(vip, backends=BACKENDS[:1]))
    assert (await balancers.observe_balancers()).partial == {}
    assert wire.reaches(None, vip, 80)


@real
async def test_nothing_is_left_of_a_balancer(balancers: Balancers, wire: Wire, vip: str) -> None:
    def network() -> list[str]:
        with wire.inside("net1"):
            rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
        kept = [line for line in rules.splitlines() if "comment" not in line and "counter" not in line]
        return [
            *kept,
            wire.ip("net1", "rule"),
            wire.ip("net1", "route", "show", "table", "main"),
            wire.ip("edge", "route"),
        ]

    await balancers.ensure_balancer(balancer(vip))
    await balancers.remove_balancer("lb1")
    before = network()
    await balancers.ensure_balancer(balancer(vip))
    assert network() != before
    await balancers.remove_balancer("lb1")
    assert network() == before


@real
async def test_a_machines_own_public_address(links: Links, publics: PublicAddresses, wire: Wire) -> None:
    address = wire.public(60)
    await publics.ensure_public_address(PublicAddress("pip1", "/owner/pip1", "net1", address, A.address))
    with wire.listen("nodea", 22) as server:
        assert wire.seen(server, None, address) == wire.host
        assert wire.seen(server, "nodez", address) == wire.public(11)
        assert wire.seen(server, "nodeb", address) == B.address
    with wire.listen("cp1", 443) as server:
        assert wire.seen(server, "nodea", wire.public(20)) == address
        assert wire.seen(server, "nodeb", wire.public(20)) == wire.public(10)
    await links.ensure_network(Network("net1", "/owner/net1", ("10.224.0.0/16",), None))
    with wire.listen("cp1", 443) as server:
        assert wire.seen(server, "nodea", wire.public(20)) == address
        assert not wire.reaches("nodeb", wire.public(20), 443)
    await publics.remove_public_address("pip1")
    assert not wire.reaches(None, address, 22)


# --- packets: connections that are idle ------------------------------------------------------------------


def conntrack(wire: Wire, network: str, port: int) -> int:
    """Seconds that the kernel still gives the one TCP connection to a port, in a network."""
    with wire.inside(network):
        args = ["conntrack", "-L", "-p", "tcp", "--orig-port-dst", str(port)]
        listed = subprocess.run(args, capture_output=True, text=True, check=True).stdout
    return int(listed.split()[2])


@real
@pytest.mark.parametrize("floating", [True, False])
async def test_a_connection_has_its_rules_time(balancers: Balancers, wire: Wire, vip: str, floating: bool) -> None:
    """Four minutes; those there keep theirs when the rule changes."""
    await balancers.ensure_balancer(balancer(vip, floating=floating, backends=BACKENDS[:1], idle=240))
    servers = serve(wire, vip, "nodea")
    with wire.connect(None, vip, 80) as client, served(servers, client)[1] as answer:
        answer.sendall(b"hello")
        assert client.recv(5) == b"hello"
        assert 230 < conntrack(wire, "net1", 80) <= 240
        await balancers.ensure_balancer(balancer(vip, floating=floating, backends=BACKENDS[:1], idle=1800))
        answer.sendall(b"again")
        assert client.recv(5) == b"again"
        assert 230 < conntrack(wire, "net1", 80) <= 240


@real
async def test_a_connection_that_was_idle_too_long_ends(balancers: Balancers, wire: Wire, vip: str) -> None:
    """In silence, or by a reset for whoever speaks first: the client or the machine."""
    ways = [(at, floating, reset) for at in (vip, PRIVATE) for floating in (True, False) for reset in (True, False)]
    rules = tuple(
        BalancerRule(f"r{n}", at, "tcp", 80 + n, BACKENDS[:1], floating=floating, idle=1, reset=reset)
        for n, (at, floating, reset) in enumerate(ways)
    )
    await balancers.ensure_balancer(Balancer("lb1", "/owner/lb1", "net1", rules))
    wire.pod("nodea", vip)
    wire.pod("nodea", PRIVATE)
    held = []
    for n, (at, _, _) in enumerate(ways):
        server = wire.listen("nodea", 80 + n)
        for speaker in ("client", "machine"):
            near = wire.connect("nodeb" if at == PRIVATE else None, at, 80 + n)
            far = server.accept()[0]
            far.sendall(b"hello")
            assert near.recv(5) == b"hello"
            held.append((n, (near, far) if speaker == "client" else (far, near)))
    wire.forgotten("net1")
    for _, (speaks, _) in held:
        speaks.sendall(b"anyone?")
    for n, (speaks, hears) in held:
        for each in (speaks, hears):
            each.settimeout(PATIENCE / 4)
        with pytest.raises(ConnectionResetError if ways[n][2] else TimeoutError):
            speaks.recv(1)
        with pytest.raises(TimeoutError):
            hears.recv(1)
    for n, (at, _, _) in enumerate(ways):
        assert wire.reaches("nodeb" if at == PRIVATE else None, at, 80 + n)
    for _, ends in held:
        for end in ends:
            end.close()


@real
async def test_one_rule_more_is_told_by_itself(
    balancers: Balancers, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among a hundred: what the kernel is told is about one. And if somebody else has been at it, all of it."""
    told: list[str] = []
    apply = nft.apply
    monkeypatch.setattr(nft, "apply", lambda text: (told.append(text), apply(text)))
    rules = tuple(BalancerRule(f"r{n}", wire.public(50), "tcp", 80 + n, BACKENDS, True, idle=240) for n in range(102))
    for count in (100, 101):
        await balancers.ensure_balancer(Balancer("lb1", "/owner/lb1", "net1", rules[:count]))
    assert len(told[0]) > 20000
    assert len(told[1]) < 1500
    wire.nft("net1", f"delete element ip sorairo midway {{ {wire.public(50)} . 80 : goto forgotten }}")
    for some in (rules[:102], rules[1:102], rules[1:100]):
        await balancers.ensure_balancer(Balancer("lb1", "/owner/lb1", "net1", some))
    assert (await balancers.observe_balancers()).partial == {}
    assert ends_of(wire) == 99


def ends_of(wire: Wire) -> int:
    with wire.inside("net1"):
        words = ["nft", "list", "map", "ip", "sorairo", "midway"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.count("goto forgotten")
