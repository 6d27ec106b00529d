"""A substrate's drivers, and what is done to all that they made at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import structlog

from sorairo.drivers.naming import Names
from sorairo.drivers.protocols import DriverError, Links, Machines, Ran
from sorairo.drivers.screens import Screens
from sorairo.drivers.traffic import Traffic
from sorairo.state import State

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Host:
    """The drivers of a substrate."""

    control_planes: Machines
    nodes: Machines
    links: Links
    traffic: Traffic
    names: Names | None
    """None: nobody could ask."""
    screens: Screens | None = None
    """None: no packet moves."""


def engine_folders() -> dict[str, Path]:
    """The engine's folders by the names machines know them by under /opt/sorairo."""
    folders: dict[str, Path] = {}
    try:
        import sorairo_engine

        folders |= {"bin": sorairo_engine.BIN, "cni": sorairo_engine.CNI}
    except ImportError:
        log.warning("the engine is not installed: clusters cannot be made")
    for entry in entry_points(group="sorairo.kubernetes"):
        folders[f"kubernetes-{entry.name}"] = Path(entry.load().BIN)
    if upstream := upstream_folder():
        folders["cloud"] = upstream
    return folders


def upstream_folder() -> Path | None:
    """Where upstream's cloud controller manager is: the engine's, or another that somebody brings."""
    if brought := os.environ.get("SORAIRO_CLOUD_CONTROLLER_BIN"):
        return Path(brought).absolute()
    try:
        import sorairo_cloud_provider
    except ImportError:
        return None
    return Path(sorairo_cloud_provider.BIN)


def image_archives() -> dict[str, Path]:
    """The images that nodes come with, by name."""
    try:
        import sorairo_images
    except ImportError:
        return {}
    return {path.stem: path for path in sorted(Path(sorairo_images.IMAGES).glob("*.tar"))}


def make_host(substrate: str, state: State, engine: Mapping[str, Path]) -> Host:
    if substrate == "hollow":
        from sorairo.drivers.hollow.links import HollowLinks
        from sorairo.drivers.hollow.machines import HollowMachines
        from sorairo.drivers.hollow.traffic import hollow_traffic
        from sorairo.drivers.processes import ProcessMachines

        def refuse(machine: str, argv: tuple[str, ...], stdin: bytes) -> Ran:
            raise DriverError("machines are simulated on this substrate, so that nothing runs in them")

        links, nodes = HollowLinks(), HollowMachines(refuse)
        return Host(ProcessMachines(state.root, engine), nodes, links, hollow_traffic(links), None)
    from sorairo.drivers.linux.links import LinuxLinks
    from sorairo.drivers.linux.machines import LinuxMachines
    from sorairo.drivers.linux.naming import LinuxNames
    from sorairo.drivers.linux.screens import LinuxScreens
    from sorairo.drivers.linux.traffic import linux_traffic

    fabric = state.fabric
    machines = LinuxMachines(
        state.root, engine, image_archives(), namespaces=fabric.run_dir / "netns", authority=state.ca
    )
    fabric_links = LinuxLinks(fabric.run_dir, fabric.public_range, fabric.tag)
    names = LinuxNames(fabric_links, machines)
    screens = LinuxScreens(fabric_links)
    return Host(machines, machines, fabric_links, linux_traffic(fabric_links), names, screens)


async def stop(host: Host) -> None:
    """End all processes; data stays."""
    await remove_names(host)
    for machines in {id(m): m for m in (host.control_planes, host.nodes)}.values():
        await asyncio.gather(*(machines.stop_machine(m) for m in await machines.observe_machines()))
    await remove_links(host.links)


async def purge(host: Host) -> None:
    await remove_names(host)
    for machines in {id(m): m for m in (host.control_planes, host.nodes)}.values():
        await asyncio.gather(*(machines.remove_machine(m) for m in await machines.observe_machines()))
    await remove_links(host.links)


async def remove_names(host: Host) -> None:
    """They are made anew from the store."""
    if host.names:
        found = await host.names.observe_names()
        for each in (*found.whole, *found.partial):
            await host.names.remove_names(each)


async def remove_links(links: Links) -> None:
    """All of them, whole or in part; of a part nobody says what it is, and each call leaves what is not its kind."""
    found = await links.observe_links()
    for leg in (*found.legs, *found.partial):
        await links.remove_leg(leg)
    for nic in (*found.nics, *found.partial):
        await links.remove_nic(nic)
    for network in (*found.networks, *found.partial):
        await links.remove_network(network, with_rules=True)
