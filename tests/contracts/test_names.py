"""What every Names driver promises; then what machines, the host and other networks are really told."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dig import Make, answers, ask
from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.hollow.naming import HollowNames
from sorairo.drivers.linux.links import LinuxLinks
from sorairo.drivers.linux.machines import LinuxMachines
from sorairo.drivers.linux.naming import LinuxNames
from sorairo.drivers.linux.traffic import LinuxFirewalls
from sorairo.drivers.naming import SERVERS, Names, PublicName, PublicZone, View, Zone
from sorairo.drivers.protocols import DriverError, Links, Network, Nic
from sorairo.drivers.traffic import Firewall, FirewallRule, Standing
from wire import Wire

linux = pytest.param(
    "linux", marks=[pytest.mark.skipif(os.geteuid() != 0, reason="needs root"), pytest.mark.root, pytest.mark.engine]
)
everyone = pytest.mark.parametrize("there", ["hollow", linux], indirect=True)
real = pytest.mark.parametrize("there", [linux], indirect=True)

AZURE = "168.63.129.16"


def zone(name: str, *lines: str, serial: int = 1) -> Zone:
    soa = f"{name}. 60 IN SOA ns. host. {serial} 3600 300 2419200 5\n"
    return Zone(name, soa + "".join(f"{line}\n" for line in lines))


ONE = View("net1", "/owner/net1", (zone("corp.example", "www.corp.example. 60 IN A 10.0.0.9"),))
TWO = View("net2", "/owner/net2", ())
PUBLIC = PublicZone("zone1", "/owner/zone1", zone("shop.example", "www.shop.example. 60 IN A 198.18.0.77"))
LABEL = PublicName("pip1", "/owner/pip1", "web.westeurope.cloudapp.sorairo.internal", "198.18.0.78")
EVERYTHING = (ONE, TWO, PUBLIC, LABEL)


@dataclass
class There:
    """Two networks of one address space, a machine in each, both at 10.0.0.4."""

    links: Links
    names: Names
    wire: Wire
    state: Path

    def machine(self, n: int) -> Make:
        """Sockets in a network's machine."""

        def make(kind: int) -> socket.socket:
            with self.wire.inside(f"vm{n}"):
                return socket.socket(socket.AF_INET, kind)

        return make


def engine() -> dict[str, Path]:
    sorairo_engine = pytest.importorskip("sorairo_engine")
    return {"bin": sorairo_engine.BIN}


@pytest.fixture
async def there(request: pytest.FixtureRequest, wire: Wire, tmp_path: Path) -> AsyncIterator[There]:
    links: Links
    names: Names
    machines = None
    if request.param == "hollow":
        links = hollow = HollowLinks()
        names = HollowNames(hollow)
    else:
        links = real_links = wire.links()
        machines = LinuxMachines(tmp_path / "state", engine(), namespaces=wire.run_dir / "netns")
        names = LinuxNames(real_links, machines)
    for n in (1, 2):
        await links.ensure_network(Network(f"net{n}", f"/owner/net{n}", ("10.0.0.0/16",), wire.public(9 + n)))
        await links.ensure_nic(Nic(f"nic{n}", f"/owner/nic{n}", f"net{n}", f"vm{n}", "10.0.0.4", "10.0.0.1", 24))
    yield There(links, names, wire, tmp_path / "state")
    for spec in EVERYTHING:
        await names.remove_names(spec.id)
    for n in (1, 2):
        await links.remove_nic(f"nic{n}")
        await links.remove_network(f"net{n}", with_rules=True)
    assert not wire.run_dir.exists()
    assert machines is None or await machines.observe_machines() == {}


def tells(address: str):  # type: ignore[no-untyped-def]
    return lambda answer: answer.data == [address]


def code(word: str):  # type: ignore[no-untyped-def]
    return lambda answer: answer.code == word


# --- everybody's ----------------------------------------------------------------------------------------


@everyone
async def test_what_is_ensured_is_observed_until_it_is_removed(there: There) -> None:
    assert await there.names.observe_names() == Standing()
    for spec in (*EVERYTHING, *EVERYTHING):
        await there.names.ensure_names(spec)
    assert await there.names.observe_names() == Standing({spec.id: spec for spec in EVERYTHING})
    changed = replace(ONE, zones=(zone("other.example"),))
    await there.names.ensure_names(changed)
    for spec in (TWO, LABEL, LABEL):
        await there.names.remove_names(spec.id)
    assert await there.names.observe_names() == Standing({ONE.id: changed, PUBLIC.id: PUBLIC})
    for spec in EVERYTHING:
        await there.names.remove_names(spec.id)
    assert await there.names.observe_names() == Standing()


@everyone
async def test_a_view_needs_its_network_and_public_names_are_one_owners(there: There) -> None:
    with pytest.raises(DriverError, match="net9"):
        await there.names.ensure_names(replace(ONE, id="net9"))
    await there.names.ensure_names(PUBLIC)
    await there.names.ensure_names(LABEL)
    with pytest.raises(DriverError, match=r"shop\.example: /owner/zone1"):
        await there.names.ensure_names(replace(PUBLIC, id="zone2"))
    with pytest.raises(DriverError, match=r"web\..*: /owner/pip1"):
        await there.names.ensure_names(replace(LABEL, id="pip2"))
    assert await there.names.observe_names() == Standing({spec.id: spec for spec in (PUBLIC, LABEL)})


# --- on real packets ------------------------------------------------------------------------------------


@real
async def test_each_is_told_what_is_for_it(there: There) -> None:
    for spec in EVERYTHING:
        await there.names.ensure_names(spec)
    server, first, second = there.names.address, there.machine(1), there.machine(2)
    await answers(tells("10.0.0.9"), AZURE, "www.corp.example", make=first)
    for who, where in ((first, AZURE), (second, AZURE), (None, server), (first, server), (second, server)):
        asked = {} if who is None else {"make": who}
        await answers(tells("198.18.0.77"), where, "www.shop.example", **asked)
        await answers(tells("198.18.0.78"), where, LABEL.name, **asked)
    assert ask(AZURE, "www.shop.example", make=first, tcp=True).data == ["198.18.0.77"]
    assert ask(AZURE, "nobody.corp.example", make=first).code == "NXDOMAIN"
    assert ask(AZURE, "www.corp.example", make=second).code == "NXDOMAIN", "another network's zone"
    assert ask(AZURE, "example.com", make=first).code == "NXDOMAIN"
    assert ask(server, "www.corp.example").code == ask(server, "example.com").code == "REFUSED"
    assert ask(server, SERVERS[0]).data == [server]


@real
async def test_changes_are_told_without_a_new_start(there: There) -> None:
    await there.names.ensure_names(ONE)
    first, second = there.machine(1), there.machine(2)
    await answers(tells("10.0.0.9"), AZURE, "www.corp.example", make=first)
    moved = zone("corp.example", "www.corp.example. 60 IN A 10.0.0.10", serial=2)
    await there.names.ensure_names(replace(ONE, zones=(moved, zone("new.example", "a.new.example. 9 IN A 10.0.0.11"))))
    await answers(tells("10.0.0.10"), AZURE, "www.corp.example", make=first)
    await answers(tells("10.0.0.11"), AZURE, "a.new.example", make=first)
    await there.names.ensure_names(replace(TWO, zones=ONE.zones))
    await answers(tells("10.0.0.9"), AZURE, "www.corp.example", make=second)
    await there.names.ensure_names(replace(ONE, zones=()))
    await answers(code("NXDOMAIN"), AZURE, "www.corp.example", make=first)
    await there.names.remove_names(TWO.id)
    with pytest.raises(OSError, match=r"refused|timed out|unreachable"):
        ask(AZURE, "www.corp.example", make=second, wait=0.5)


@real
async def test_no_firewall_stands_in_the_way_and_no_way_leads_through(there: There) -> None:
    await there.names.ensure_names(ONE)
    assert isinstance(there.links, LinuxLinks)
    nothing = FirewallRule(100, "outbound", False, name="nothing out")
    await LinuxFirewalls(there.links).ensure_firewall(Firewall("fw1", "/owner/fw1", "net1", (nothing,), nics=("nic1",)))
    await answers(tells("10.0.0.9"), AZURE, "www.corp.example", make=there.machine(1))
    record = there.links.ground.views.get("net1")
    assert record
    for make in (there.machine(1), there.machine(2)):  # its address on the link is nobody's to ask
        with pytest.raises(OSError, match=r"timed out|unreachable"):
            ask(record.server, "www.corp.example", make=make, wait=0.3)


@real
async def test_what_is_damaged_is_seen_and_mended(there: There) -> None:
    for spec in EVERYTHING:
        await there.names.ensure_names(spec)
    whole = Standing({spec.id: spec for spec in EVERYTHING})
    wire = there.wire
    wire.ip("net1", "link", "del", "dns0")
    assert (await there.names.observe_names()).partial == {"net1": "/owner/net1"}
    await there.names.ensure_names(ONE)
    assert await there.names.observe_names() == whole
    (wire.run_dir / "names/zones/public/shop.example").unlink()
    assert (await there.names.observe_names()).partial == {"zone1": "/owner/zone1"}
    await there.names.ensure_names(PUBLIC)
    assert await there.names.observe_names() == whole
    machines = LinuxMachines(there.state, engine(), namespaces=wire.run_dir / "netns")
    for pid in machines._pids("names"):
        os.kill(pid, signal.SIGKILL)
    assert set((await there.names.observe_names()).partial) == {spec.id for spec in EVERYTHING}
    await there.names.ensure_names(LABEL)
    assert await there.names.observe_names() == whole
    await answers(tells("10.0.0.9"), AZURE, "www.corp.example", make=there.machine(1))
