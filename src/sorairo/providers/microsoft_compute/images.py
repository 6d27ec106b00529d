"""Platform images: names that say which userland a virtual machine starts with. Here all say the same, this host's.

https://learn.microsoft.com/azure/virtual-machines/linux/cli-ps-findimage
A machine's programs are the host's (`drivers/linux/rootfs.py`), whatever it is asked for; so only names of Linux
distributions are known whose users expect what they find: a shell, coreutils, `apt`'s world.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Document

VERSION = "1.0.0"
"""The one of each: the host's programs, as they are."""
ARCHITECTURE = "Arm64" if platform.machine() in ("aarch64", "arm64") else "x64"


@dataclass(frozen=True, slots=True)
class Image:
    publisher: str
    offer: str
    sku: str
    alias: str = ""
    """What `az vm create --image` calls it."""


_UBUNTU24, _UBUNTU22 = "ubuntu-24_04-lts", "0001-com-ubuntu-server-jammy"
IMAGES = (
    Image("Canonical", _UBUNTU24, "server", "Ubuntu2404"),
    Image("Canonical", _UBUNTU24, "server-gen1"),
    Image("Canonical", _UBUNTU24, "minimal"),
    Image("Canonical", _UBUNTU22, "22_04-lts-gen2", "Ubuntu2204"),
    Image("Canonical", _UBUNTU22, "22_04-lts"),
    Image("Debian", "debian-12", "12-gen2", "Debian12"),
    Image("Debian", "debian-12", "12"),
    Image("Debian", "debian-11", "11-backports-gen2", "Debian11"),
    Image("Debian", "debian-11", "11-gen2"),
    Image("Debian", "debian-11", "11"),
)
_PARTS = ("publisher", "offer", "sku")


def find(reference: Mapping[str, Any]) -> Image | None:
    """The image that a document's `imageReference` names, in any case."""
    wanted = tuple(str(reference.get(part, "")).lower() for part in _PARTS)
    return next((i for i in IMAGES if (i.publisher.lower(), i.offer.lower(), i.sku.lower()) == wanted), None)


def resolve(reference: Document) -> None:
    """Fill in `exactVersion`. Raises ArmError for an image there is not."""
    version = str(reference.get("version") or "")
    image = find(reference)
    if image is None or version.lower() not in ("latest", VERSION):
        urn = ":".join(str(reference.get(part, "")) for part in (*_PARTS, "version"))
        raise ArmError(
            "PlatformImageNotFound",
            f"The platform image '{urn}' is not available. Verify that all fields in the storage profile are correct. "
            "For more details about storage profile information, please refer to https://aka.ms/storageprofile. "
            f"`az vm image list` shows the images there are, each in version {VERSION}.",
            status=404,
            target="imageReference",
        )
    reference["exactVersion"] = VERSION


def aliases() -> Document:
    """The document that `az` finds image aliases in, as `vmImageAliasDoc` of the cloud's endpoints."""
    common = {"version": "latest", "architecture": ARCHITECTURE}
    linux = {i.alias: {**{part: getattr(i, part) for part in _PARTS}, **common} for i in IMAGES if i.alias}
    return {"outputs": {"aliases": {"type": "object", "value": {"Linux": linux}}}}


# --- `az vm image` --------------------------------------------------------------------------------------


async def publishers(*, scope: str, location: str, **_: Any) -> list[Document]:
    return _names(scope, location, (i.publisher for i in IMAGES), "Publishers/{}")


async def offers(*, scope: str, location: str, publisher: str, **_: Any) -> list[Document]:
    found = _of(location, publisher=publisher)
    return _names(
        scope, location, (i.offer for i in found), f"Publishers/{publisher}/ArtifactTypes/VMImage/Offers/{{}}"
    )


async def skus(*, scope: str, location: str, publisher: str, offer: str, **_: Any) -> list[Document]:
    found = _of(location, publisher=publisher, offer=offer)
    path = f"Publishers/{publisher}/ArtifactTypes/VMImage/Offers/{offer}/Skus/{{}}"
    return _names(scope, location, (i.sku for i in found), path)


async def versions(*, scope: str, location: str, publisher: str, offer: str, sku: str, **_: Any) -> list[Document]:
    """A bare list, as Azure's are."""
    _of(location, publisher=publisher, offer=offer, sku=sku)
    path = f"Publishers/{publisher}/ArtifactTypes/VMImage/Offers/{offer}/Skus/{sku}/Versions/{{}}"
    return _names(scope, location, (VERSION,), path)


async def version(
    *, scope: str, location: str, publisher: str, offer: str, sku: str, version: str, **_: Any
) -> Document:
    [shown] = await versions(scope=scope, location=location, publisher=publisher, offer=offer, sku=sku)
    if version.lower() not in ("latest", VERSION):
        raise _not_found("Version", version, location)
    properties = {"osDiskImage": {"operatingSystem": "Linux"}, "dataDiskImages": [], "architecture": ARCHITECTURE}
    return {**shown, "properties": properties}


def _of(location: str, **wanted: str) -> list[Image]:
    """Those with these parts. Raises ArmError naming the first part that none has."""
    found = list(IMAGES)
    for part, value in wanted.items():
        found = [i for i in found if getattr(i, part).lower() == value.lower()]
        if not found:
            raise _not_found(part.capitalize(), value, location)
    return found


def _not_found(part: str, value: str, location: str) -> ArmError:
    return ArmError("NotFound", f"Artifact: VMImage was not found: {part} '{value}' in {location}.", status=404)


def _names(scope: str, location: str, names: Iterable[str], path: str) -> list[Document]:
    under = f"/Subscriptions/{parse_id(scope).subscription}/Providers/Microsoft.Compute/Locations/{location}"
    return [{"name": name, "location": location, "id": f"{under}/{path.format(name)}"} for name in dict.fromkeys(names)]


_IN = "locations/{location}/publishers"
_OFFERS = f"{_IN}/{{publisher}}/artifacttypes/vmimage/offers"
_VERSIONS = f"{_OFFERS}/{{offer}}/skus/{{sku}}/versions"
ROUTES = (
    ("GET", _IN, publishers),
    ("GET", _OFFERS, offers),
    ("GET", f"{_OFFERS}/{{offer}}/skus", skus),
    ("GET", _VERSIONS, versions),
    ("GET", f"{_VERSIONS}/{{version}}", version),
)
