"""Networks in memory: no packet moves, everything can be made to fail. For tests of what stands above the drivers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from socket import AddressFamily, SocketKind
from socket import socket as Socket

from sorairo.drivers.protocols import DriverError, Leg, LinkState, Network, Nic


class HollowLinks:
    """`protocols.Links` in memory.

    `fail` makes coming calls fail: `links.fail["ensure_nic", "i1"] = DriverError("no memory")` until deleted; an id of
    `"*"` stands for every object, as does the method `observe_links`, which names none. With `half` set, a failing
    `ensure_*` or `remove_*` leaves its object there in part, as a kill would. `damage` does so without a failure.
    `calls` holds each call's method and object.
    """

    def __init__(self) -> None:
        self.networks: dict[str, Network] = {}
        self.nics: dict[str, Nic] = {}
        self.legs: dict[str, Leg] = {}
        self.partial: dict[str, str] = {}
        self.fail: dict[tuple[str, str], Exception] = {}
        self.half = False
        self.calls: list[tuple[str, str]] = []
        self.guests: dict[tuple[str, str], str] = {}
        """Network by kind and id of what hollow firewalls, balancers and public addresses have put into it."""
        self.forget: dict[str, Callable[[str], None]] = {}
        """By kind: how one of them goes with its network."""

    def namespace_path(self, namespace: str) -> Path:
        """A path that does not exist."""
        return Path("/nonexistent/netns") / namespace

    def socket(self, namespace: str, kind: SocketKind = SocketKind.SOCK_STREAM) -> Socket:
        """A socket of the process's own."""
        inside = {
            *self.networks,
            *(n.namespace for n in self.nics.values()),
            *(n.namespace for n in self.legs.values()),
        }
        if namespace not in inside:
            raise DriverError(f"no network namespace {namespace}")
        return Socket(AddressFamily.AF_INET, kind)

    async def ensure_network(self, spec: Network) -> None:
        self._call("ensure_network", spec.id, spec.owner)
        self.networks[spec.id] = spec
        self.partial.pop(spec.id, None)

    async def ensure_nic(self, spec: Nic) -> None:
        self._need(spec.network)
        self._call("ensure_nic", spec.id, spec.owner)
        self.nics[spec.id] = spec
        self.partial.pop(spec.id, None)

    async def ensure_leg(self, spec: Leg) -> None:
        self._need(spec.network)
        self._call("ensure_leg", spec.id, spec.owner)
        self.legs[spec.id] = spec
        self.partial.pop(spec.id, None)

    async def remove_network(self, network_id: str, *, with_rules: bool = False) -> None:
        inside = [f"nic {i}" for i, nic in self.nics.items() if nic.network == network_id]
        inside += [f"leg {i}" for i, leg in self.legs.items() if leg.network == network_id]
        guests = [key for key, network in self.guests.items() if network == network_id]
        inside += [] if with_rules else [f"{kind} {i}" for kind, i in guests]
        if inside:
            raise DriverError(f"network {network_id} is in use by {', '.join(inside)}")
        self._call("remove_network", network_id, _owner(self.networks.get(network_id)))
        for kind, i in guests:
            self.forget[kind](i)
        self.networks.pop(network_id, None)
        self.partial.pop(network_id, None)

    async def remove_nic(self, nic_id: str) -> None:
        self._call("remove_nic", nic_id, _owner(self.nics.get(nic_id)))
        self.nics.pop(nic_id, None)
        self.partial.pop(nic_id, None)

    async def remove_leg(self, leg_id: str) -> None:
        self._call("remove_leg", leg_id, _owner(self.legs.get(leg_id)))
        self.legs.pop(leg_id, None)
        self.partial.pop(leg_id, None)

    async def observe_links(self) -> LinkState:
        self._call("observe_links", "*", None)
        part = self.partial
        networks, nics, legs = dict(self.networks), dict(self.nics), dict(self.legs)
        for whole in (networks, nics, legs):
            for object_id in part:
                whole.pop(object_id, None)
        return LinkState(networks, nics, legs, dict(part))

    # --- what a test does to them ----------------------------------------------------------------------

    def damage(self, object_id: str) -> None:
        """Someone took away a route: the object is there only in part, until it is ensured again."""
        for kept in (self.networks, self.nics, self.legs):
            if object_id in kept:
                self.partial[object_id] = kept[object_id].owner

    def lose(self) -> None:
        """The host was booted: nothing is left."""
        for kept in (self.networks, self.nics, self.legs, self.partial):
            kept.clear()

    def _need(self, network: str | None) -> None:
        if network is not None and network not in self.networks:
            raise DriverError(f"network {network} is not there")

    def _call(self, method: str, object_id: str, owner: str | None) -> None:
        self.calls.append((method, object_id))
        for key in ((method, object_id), (method, "*")):
            if key in self.fail:
                if self.half and owner is not None:
                    self.partial[object_id] = owner
                raise self.fail[key]


def _owner(spec: Network | Nic | Leg | None) -> str | None:
    return spec.owner if spec else None
