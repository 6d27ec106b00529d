"""Microsoft.Network/virtualNetworks/virtualNetworkPeerings: two virtual networks joined, by a half in each.

https://learn.microsoft.com/azure/virtual-network/virtual-network-peering-overview
A half that has found its counterpart is Connected; if that goes, Disconnected, for good: it is made anew then.
"""

from __future__ import annotations

import ipaddress

from sorairo.drivers.routing import Peering
from sorairo.engine.errors import ArmError, not_implemented
from sorairo.engine.ids import host_name, parse_id
from sorairo.engine.types import Admission, Document, Inline, Reader, Resource, ResourceType
from sorairo.providers.microsoft_network.references import check_there
from sorairo.providers.microsoft_network.versions import API_VERSIONS

VIRTUAL_NETWORK = "Microsoft.Network/virtualNetworks"
PATH = "virtualNetworkPeerings"
_DEFAULTS = {
    "allowVirtualNetworkAccess": True,
    "allowForwardedTraffic": False,
    "allowGatewayTransit": False,
    "useRemoteGateways": False,
    "doNotVerifyRemoteGateways": False,
    "peerCompleteVnets": True,
}
_SHOWN = ("provisioningState", "peeringState", "peeringSyncLevel", "remoteAddressSpace", "resourceGuid",
          "remoteVirtualNetworkAddressSpace", "localAddressSpace", "localVirtualNetworkAddressSpace",
          "remoteVirtualNetworkEncryption", "remoteGateways")  # fmt: skip


def peerings(network: Resource) -> list[Document]:
    return network.properties.get(PATH) or []


def remote_of(peering: Document) -> str:
    return str((peering["properties"].get("remoteVirtualNetwork") or {}).get("id") or "")


def prefixes(network: Resource) -> tuple[str, ...]:
    return tuple(network.properties["addressSpace"]["addressPrefixes"])


def half_to(network: Resource | None, remote: str) -> Document | None:
    """A network's peering with another, if it stays."""
    if network is None or network.deleting:
        return None
    return next((p for p in peerings(network) if remote_of(p).lower() == remote.lower()), None)


async def peers(reader: Reader, network: Resource) -> list[tuple[Document, Resource]]:
    """The halves of a network that have found their counterparts, and the networks those are in."""
    found = []
    for peering in peerings(network):
        remote = await reader.get(remote_of(peering))
        if _noted(network, peering) != "Disconnected" and half_to(remote, network.id) and remote:
            found.append((peering, remote))
    return found


def _noted(network: Resource, peering: Document) -> str:
    return str(network.private.get("peerings", {}).get(peering["name"].lower(), {}).get("state", ""))


# --- what is refused -------------------------------------------------------------------------------------


async def admit_peerings(admission: Admission) -> None:
    """Raises ArmError. Whoever writes a virtual network without a word of its peerings leaves them as they are."""
    properties = admission.body["properties"]
    before = {p["name"].lower(): p for p in (peerings(admission.existing) if admission.existing else [])}
    if properties.get(PATH) is None:
        properties[PATH] = list(before.values())
    ours = tuple(properties["addressSpace"]["addressPrefixes"])
    moved = admission.existing is not None and prefixes(admission.existing) != ours
    remotes: dict[str, Resource] = {}
    for peering in properties[PATH]:
        for key in ("id", "type", "etag"):
            peering.pop(key, None)
        inner = peering.setdefault("properties", {})
        for key in _SHOWN:
            inner.pop(key, None)
        for key, value in _DEFAULTS.items():
            inner.setdefault(key, value)
        old = before.get(peering["name"].lower())
        remote = await _remote(admission, peering, old)
        if remote is None:
            continue
        id = f"{admission.id.text}/{PATH}/{peering['name']}"
        if remote.key in remotes:
            raise ArmError(
                "AnotherPeeringAlreadyReferencesRemoteVnet",
                f"Peering {id} cannot be added because another peering of {admission.id.text} already references "
                f"remote virtual network {remote.id}.",
                target=id,
            )
        if old is None:
            _check_counterpart(admission.id.text, id, remote)
        if old is None or moved:
            await _check_apart(admission, id, ours, remote, remotes)
        remotes[remote.key] = remote
        _check_gateways(id, inner, remote)
    kept = {p["name"].lower() for p in properties[PATH]} & before.keys()
    noted = admission.existing.private.get("peerings", {}) if admission.existing else {}
    if noted:
        admission.private["peerings"] = {name: note for name, note in noted.items() if name in kept}


async def _remote(admission: Admission, peering: Document, old: Document | None) -> Resource | None:
    id, remote_id = f"{admission.id.text}/{PATH}/{peering['name']}", remote_of(peering)
    if not remote_id:
        raise ArmError("InvalidRequestFormat", f"Peering {id} needs properties.remoteVirtualNetwork.id.", target=id)
    if old and remote_of(old).lower() != remote_id.lower():
        raise ArmError(
            "ChangingRemoteVirtualNetworkNotAllowed",
            f"Changing the remote virtual network of peering {id} is not allowed; delete it and make another.",
            target=id,
        )
    if remote_id.lower() == admission.id.key:
        raise ArmError("VnetCannotBePeeredWithItself", f"Peering {id} references its own virtual network.", target=id)
    if not peering["properties"]["peerCompleteVnets"] or peering["properties"].get("enableOnlyIPv6Peering"):
        raise not_implemented("peerings of single subnets")
    peering["properties"]["remoteVirtualNetwork"] = {"id": remote_id}
    if old is None:
        await check_there(admission.reader, remote_id, id)
    remote = await admission.reader.get(remote_id)
    if remote is not None and parse_id(remote.id).type.lower() != VIRTUAL_NETWORK.lower():
        raise ArmError("InvalidResourceReference", f"{remote_id} is not a virtual network.", target=id)
    return remote


def _check_counterpart(network: str, id: str, remote: Resource) -> None:
    half = half_to(remote, network)
    if half and _noted(remote, half) in ("Connected", "Disconnected"):
        raise ArmError(
            "RemotePeeringIsDisconnected",
            f"Cannot create or update peering {id} because remote peering {remote.id}/{PATH}/{half['name']} "
            f"referencing parent virtual network {network} is in Disconnected state. Update or re-create the remote "
            "peering to get it back to Initiated state. Peering gets Disconnected when remote vnet or remote peering "
            "is deleted and re-created.",
            target=id,
        )


async def _check_apart(
    admission: Admission, id: str, ours: tuple[str, ...], remote: Resource, others: dict[str, Resource]
) -> None:
    """The two, and each with all that the other is peered with."""
    if shared := _overlap(ours, prefixes(remote)):
        raise ArmError(
            "VnetAddressSpacesOverlap",
            f"Cannot create or update peering {id}. Virtual networks {admission.id.text} and {remote.id} cannot be "
            f"peered because their address spaces overlap. Overlapping address prefixes: {shared}.",
            target=id,
        )
    for other in others.values():
        if shared := _overlap(prefixes(other), prefixes(remote)):
            raise _already(id, remote.id, admission.id.text, other.id, shared)
    for peering in peerings(remote):
        other_id = remote_of(peering)
        third = await admission.reader.get(other_id) if other_id.lower() != admission.id.key else None
        if third and (shared := _overlap(ours, prefixes(third))):
            raise _already(id, admission.id.text, remote.id, third.id, shared)


def _already(id: str, first: str, second: str, third: str, shared: str) -> ArmError:
    return ArmError(
        "VnetAddressSpaceOverlapsWithAlreadyPeeredVnet",
        f"Cannot create or update peering {id}. Virtual networks {first} and {second} cannot be peered because address "
        f"space of the first virtual network overlaps with address space of virtual network {third} already peered "
        f"with the second virtual network. Overlapping address prefixes: {shared}.",
        target=id,
    )


def _overlap(ours: tuple[str, ...], theirs: tuple[str, ...]) -> str:
    networks = [(ipaddress.IPv4Network(a), ipaddress.IPv4Network(b)) for a in ours for b in theirs]
    return ", ".join(f"{a}, {b}" if a != b else str(a) for a, b in networks if a.overlaps(b))


def _check_gateways(id: str, properties: Document, remote: Resource) -> None:
    """No virtual network has a gateway here."""
    if properties["useRemoteGateways"] and properties["allowGatewayTransit"]:
        raise ArmError(
            "PeeringCannotHaveBothAllowGatewayTransitAndUseRemoteGatewaysFlagsSet",
            f"Peering {id} cannot have both AllowGatewayTransit and UseRemoteGateways flags set to true.",
            target=id,
        )
    if properties["useRemoteGateways"]:
        raise ArmError(
            "RemoteVnetHasNoGateways",
            f"Peering {id} cannot have UseRemoteGateways flag set to true because remote virtual network {remote.id} "
            "referenced by the peering does not have any gateways.",
            target=id,
        )


# --- what is -----------------------------------------------------------------------------------------------


async def states(reader: Reader, network: Resource) -> Document:
    """Of each peering by its name in lower case: `state`, and `remote`: the other's prefixes, as last seen."""
    found: Document = {}
    noted: Document = network.private.get("peerings", {})
    for peering in peerings(network):
        name = peering["name"].lower()
        before: Document = noted.get(name, {})
        remote = await reader.get(remote_of(peering))
        met = half_to(remote, network.id) is not None
        if before.get("state") == "Disconnected" or (before.get("state") == "Connected" and not met):
            state = "Disconnected"
        else:
            state = "Connected" if met else "Initiated"
        found[name] = {"state": state, "remote": list(prefixes(remote)) if remote else before.get("remote", [])}
    return found


def wanted_halves(network: Resource, noted: Document) -> tuple[Peering, ...]:
    """In the words of the host."""
    return tuple(
        Peering(
            host_name(f"{network.key}/{PATH}/{peering['name']}".lower()),
            network.id,
            host_name(network.id),
            host_name(remote_of(peering)),
            bool(peering["properties"].get("allowForwardedTraffic")),
        )
        for peering in peerings(network)
        if noted[peering["name"].lower()]["state"] != "Disconnected"
    )


def render_peerings(resource: Resource, document: Document) -> Document:
    noted = resource.private.get("peerings", {})
    for peering in document["properties"].setdefault(PATH, []):
        note = noted.get(peering["name"].lower(), {"state": "Initiated", "remote": []})
        space = {"addressPrefixes": note["remote"]}
        peering["properties"] |= {
            "peeringState": note["state"],
            "peeringSyncLevel": "FullyInSync" if note["state"] == "Connected" else "RemoteNotInSync",
            "remoteAddressSpace": space,
            "remoteVirtualNetworkAddressSpace": space,
        }
    return document


PEERINGS: ResourceType[None] = ResourceType(
    f"{VIRTUAL_NETWORK}/{PATH}",
    API_VERSIONS,
    inline=Inline(PATH),
    schema="virtualNetworkPeerings",
    located=False,
    tracked=False,
)
