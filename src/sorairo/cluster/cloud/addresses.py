"""Public IPs of Services: what their documents should say. Pure.

A public IP with our service tag is ours: made for Services and gone with the last of them. One without is the user's:
it may be used, and is left as it is but for its DNS label.
"""

from __future__ import annotations

import copy
from typing import Any

from sorairo.cluster.cloud import names
from sorairo.cluster.cloud.service import Exposure, InvalidService

Document = dict[str, Any]


def managed(pip: Document) -> bool:
    return bool((pip.get("tags") or {}).get(names.SERVICE_TAG))


def used_by(pip: Document) -> list[str]:
    return names.services((pip.get("tags") or {}).get(names.SERVICE_TAG))


def wanted(exposure: Exposure, before: Document | None, *, location: str, tags: dict[str, str]) -> Document:
    """The document of the public IP that a Service is to be reached at; `before` itself when it is right already.
    Raises InvalidService when another Service has its DNS label."""
    if before is None:
        pip: Document = {
            "location": location,
            "sku": {"name": "Standard"},
            "tags": {
                **tags,
                **dict(exposure.pip_tags),
                names.CLUSTER_TAG: names.CLUSTER,
                names.SERVICE_TAG: exposure.key,
            },
            "properties": {"publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4"},
        }
    else:
        pip = copy.deepcopy(before)
        if managed(pip):
            there = used_by(pip)
            joined = there if exposure.key in there else [*there, exposure.key]
            pip["tags"] = {**pip["tags"], **dict(exposure.pip_tags), names.SERVICE_TAG: ",".join(joined)}
    if exposure.dns_label is not None:
        _label(pip, exposure)
    return pip


def _label(pip: Document, exposure: Exposure) -> None:
    holder = (pip.get("tags") or {}).get(names.DNS_TAG, "")
    if holder and holder.lower() != exposure.key.lower():
        raise InvalidService(
            f"there is an existing service {holder} consuming the DNS label on the public IP "
            f"{pip.get('name', '')}, so the service cannot set the DNS label annotation with this value"
        )
    properties, tags = pip["properties"], dict(pip.get("tags") or {})
    if not exposure.dns_label:
        properties.pop("dnsSettings", None)
        tags.pop(names.DNS_TAG, None)
    else:
        settings = properties.get("dnsSettings") or {}
        if settings.get("domainNameLabel") != exposure.dns_label:
            properties["dnsSettings"] = {"domainNameLabel": exposure.dns_label}
        tags[names.DNS_TAG] = exposure.key
    pip["tags"] = tags


def released(pip: Document, service: str) -> Document | None:
    """The document without a Service. None: it was ours and nobody else's, and goes."""
    pip = copy.deepcopy(pip)
    tags = dict(pip.get("tags") or {})
    if tags.get(names.DNS_TAG, "").lower() == service.lower():
        del tags[names.DNS_TAG]
    if managed(pip):
        others = [s for s in used_by(pip) if s.lower() != service.lower()]
        if not others:
            return None
        tags[names.SERVICE_TAG] = ",".join(others)
    if tags or pip.get("tags"):
        pip["tags"] = tags
    return pip
