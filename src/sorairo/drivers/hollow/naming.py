"""Names in memory: nobody asks, everything can be made to fail. For tests of what stands above the drivers."""

from __future__ import annotations

from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.naming import NameSpec, PublicName, PublicZone, View
from sorairo.drivers.protocols import DriverError
from sorairo.drivers.traffic import Standing


class HollowNames:
    """`naming.Names` in memory, for the networks of `links`. `fail` and `calls` are as those of `HollowLinks`."""

    def __init__(self, links: HollowLinks, address: str = "198.18.0.3") -> None:
        self._links = links
        self.address = address
        self.whole: dict[str, NameSpec] = {}
        self.fail: dict[tuple[str, str], Exception] = {}
        self.calls: list[tuple[str, str]] = []

    async def ensure_names(self, spec: NameSpec) -> None:
        if isinstance(spec, View) and spec.id not in self._links.networks:
            raise DriverError(f"network {spec.id} is not there")
        for other in self.whole.values():
            if other.id != spec.id and taken(other) == taken(spec) is not None:
                raise DriverError(f"{taken(spec)}: {other.owner} has it already")
        self._call("ensure_names", spec.id)
        self.whole[spec.id] = spec

    async def remove_names(self, id: str) -> None:
        self._call("remove_names", id)
        self.whole.pop(id, None)

    async def observe_names(self) -> Standing[NameSpec]:
        self._call("observe_names", "*")
        there = self._links.networks
        partial = {i: each.owner for i, each in self.whole.items() if isinstance(each, View) and i not in there}
        return Standing({i: each for i, each in self.whole.items() if i not in partial}, partial)

    def _call(self, method: str, id: str) -> None:
        self.calls.append((method, id))
        for key in ((method, id), (method, "*")):
            if key in self.fail:
                raise self.fail[key]


def taken(spec: NameSpec) -> str | None:
    """What of the public's names a spec has for itself."""
    match spec:
        case PublicZone():
            return f"zone {spec.zone.name}"
        case PublicName():
            return spec.name
        case _:
            return None
