"""Death before and after each step of what is asked of a virtual machine: it ends as if nothing had been.

As `test_every_network_step` does of networks. What is asked for is a machine with an interface and an identity of its
own; it is stopped, started, made larger, and goes, with its interface or without.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sorairo.engine.types import Document

from .test_every_network_step import (
    GUARD,
    HUB,
    IN,
    NETWORK,
    Request,
    body,
    killed_everywhere,
    network,
    ref,
    standard,
    subnet,
)
from .world import GROUP, Life, quickly

NIC = f"{NETWORK}/networkInterfaces/vm"
OTHER = f"{NETWORK}/networkInterfaces/other"
MACHINE = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm"
IMAGE = {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest"}


def machine(
    size: str = "Standard_B1s", option: str = "Detach", identity: str = "SystemAssigned", nic: str = NIC
) -> Document:
    made = body(
        hardwareProfile={"vmSize": size},
        storageProfile={
            "imageReference": {
                "publisher": "Canonical",
                "offer": "ubuntu-24_04-lts",
                "sku": "server",
                "version": "latest",
            }
        },
        osProfile={"adminUsername": "azureuser", "adminPassword": "not-kept-anywhere"},
        networkProfile={"networkInterfaces": [{"id": nic, "properties": {"deleteOption": option}}]},
    )
    return {**made, "identity": {"type": identity}}


def nic(**more: Document) -> Document:
    ip = {"subnet": ref(f"{HUB}/subnets/s"), **more}
    return body(ipConfigurations=[{"name": "ip", "properties": ip}], networkSecurityGroup=ref(GUARD))


GROUND: list[Request] = [
    (IN, standard()),
    (GUARD, body()),
    (HUB, network("10.1.0.0/16", subnet("10.1.0.0/24"))),
    (NIC, nic(publicIPAddress=ref(IN))),
]
MADE: list[Request] = [*GROUND, (MACHINE, machine())]
RUNS: dict[str, tuple[list[Request], list[Request], str]] = {
    "create": (GROUND, [(MACHINE, machine())], "running"),
    "stop and start": (MADE, [(MACHINE, "powerOff"), (MACHINE, "start")], "running"),
    "restart": (MADE, [(MACHINE, "restart")], "running"),
    "deallocate": (MADE, [(MACHINE, "deallocate")], "off"),
    "another size, no identity": (MADE, [(MACHINE, machine("Standard_B2s", identity="None"))], "running"),
    "another interface": (
        [*MADE, (OTHER, nic()), (MACHINE, "deallocate")],
        [(MACHINE, machine(nic=OTHER)), (MACHINE, "start")],
        "running",
    ),
    "delete": (MADE, [(MACHINE, None), (NIC, None)], "gone"),
    "delete with its interface": ([*GROUND, (MACHINE, machine(option="Delete"))], [(MACHINE, None)], "gone"),
}
"""What is there before, what is asked, and how the machine is then."""


async def check(life: Life, state: str) -> None:
    await life.check_all()
    found = [each for each in life.host.nodes.states.values() if each.owner == MACHINE]
    assert [each.running for each in found] == {"running": [True], "off": [False], "gone": []}[state]
    assert (life.store.get(NIC) is None) == (state == "gone")
    assert len(life.host.links.nics) == (0 if state == "gone" else 1)


@pytest.mark.parametrize("what", RUNS)
async def test_killed_at_any_step_of_a_machine_it_ends_as_if_it_had_not_been(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch)
    before, asked, state = RUNS[what]
    # Of two interfaces and their network one may be so quick that the others have nothing to wait for or to tell.
    surely = what != "another interface"
    await killed_everywhere(before, asked, lambda life: check(life, state), tmp_path, surely=surely)
