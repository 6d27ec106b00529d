"""Which machine a connection comes from: told by its network and its address, never by what it says.

An answer goes to the NIC that a network routes the address to, so nobody else can hold a connection from there. Pods'
addresses are their node's NIC's, and Azure answers a node's pods as it answers the node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sorairo.engine.ids import parse_id
from sorairo.engine.types import Resource
from sorairo.providers.microsoft_network.network_interfaces import claimed
from sorairo.providers.microsoft_network.resolver import machine_of
from sorairo.providers.microsoft_network.virtual_networks import NIC_TYPES


class Reads(Protocol):
    """What is needed of the store."""

    def get(self, id: str, /) -> Resource | None: ...
    def naming(self, id: str, /, *, type: str | None = None) -> list[Resource]: ...


@dataclass(frozen=True, slots=True)
class Machine:
    instance: Resource
    """A virtual machine, or an instance of a scale set."""
    nic: Resource
    scale_set: Resource | None

    @property
    def model(self) -> Resource:
        """The resource that has the machine's identities."""
        return self.scale_set or self.instance


def find(reads: Reads, network: str, address: str) -> Machine | None:
    """Whose connection comes from `address` in the virtual network with this id. None: no machine's."""
    for type in NIC_TYPES:
        for nic in reads.naming(network, type=type):
            if nic.deleting or address not in claimed(nic):
                continue
            id = machine_of(nic)
            instance = reads.get(id) if id else None
            if instance is None or instance.deleting:
                return None
            scaled = instance.rid.type.lower().endswith("virtualmachinescalesets/virtualmachines")
            scale_set = reads.get(parse_id(instance.id).parent) if scaled else None
            return Machine(instance, nic, scale_set) if not scaled or scale_set else None
    return None
