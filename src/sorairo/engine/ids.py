"""Azure resource ids: parsed once, compared without case, shown in the case the client first wrote.

https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class ResourceId:
    """`/subscriptions/S/resourceGroups/G/providers/NS/TYPE/NAME[/TYPE/NAME…]`, and the shorter and longer kinds.

    `type` is `NS/TYPE[/TYPE…]` of the last `providers` segment (extension resources included), or
    `Microsoft.Resources/subscriptions`, `Microsoft.Resources/resourceGroups`, `Microsoft.Resources/tenants`.
    """

    text: str
    type: str
    name: str
    subscription: str | None
    resource_group: str | None
    parent: str
    """The id one step up: the containing resource, resource group or subscription; '' above the tenant."""

    @property
    def key(self) -> str:
        """What ids are compared and stored by."""
        return self.text.lower()

    @property
    def namespace(self) -> str:
        return self.type.split("/", 1)[0]

    def child(self, child_type: str, name: str) -> ResourceId:
        return parse_id(f"{self.text}/{child_type}/{name}")

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=8192)
def parse_id(text: str) -> ResourceId:
    """Parse an id. Raises ValueError when it is not one."""
    text = "/" + text.strip("/")
    if text == "/":
        return ResourceId("/", "Microsoft.Resources/tenants", "", None, None, "")
    parts = text[1:].split("/")
    lowered = [p.lower() for p in parts]
    if "" in parts:
        raise ValueError(f"empty segment in resource id '{text}'")
    subscription = parts[1] if lowered[0] == "subscriptions" and len(parts) > 1 else None
    group = parts[3] if subscription and len(parts) > 3 and lowered[2] == "resourcegroups" else None
    if "providers" not in lowered:
        if subscription and len(parts) == 2:
            return ResourceId(text, "Microsoft.Resources/subscriptions", parts[1], subscription, None, "/")
        if group and len(parts) == 4:
            return ResourceId(
                text, "Microsoft.Resources/resourceGroups", group, subscription, group, f"/subscriptions/{subscription}"
            )
        raise ValueError(f"'{text}' is not a resource id")
    at = len(lowered) - 1 - lowered[::-1].index("providers")
    tail = parts[at + 1 :]
    if len(tail) < 3 or len(tail) % 2 == 0:
        raise ValueError(f"'{text}' is not a resource id: types and names must alternate after the provider namespace")
    types, names = tail[1::2], tail[2::2]
    parent = "/" + "/".join(parts[:-2]) if len(types) > 1 else "/" + "/".join(parts[:at])
    return ResourceId(text, "/".join([tail[0], *types]), names[-1], subscription, group, parent)


@lru_cache(maxsize=8192)
def lineage(text: str) -> tuple[str, ...]:
    """An id and the ids above it, outermost first, as far as they are a provider's resources: keys, of which one is
    stored where what it names is a part (a pool of a load balancer). Empty for what is above providers."""
    parts = text.lower().strip("/").split("/")
    if "providers" not in parts:
        return ()
    first = len(parts) - parts[::-1].index("providers")  # the provider's namespace
    return tuple("/" + "/".join(parts[:end]) for end in range(first + 3, len(parts) + 1, 2))


def group_id(subscription: str, group: str) -> str:
    return f"/subscriptions/{subscription}/resourceGroups/{group}"


@lru_cache(maxsize=8192)
def host_name(resource_id: str, prefix: str = "sr") -> str:
    """The name of the host object that stands for a resource: `prefix` and ten characters of its id's hash.

    Deterministic, so that after a crash the object is found again by the same name, and short enough (12) for
    an interface name (15 in the kernel, two left for the driver's own marks).
    """
    digest = hashlib.sha256(resource_id.lower().encode()).digest()
    return prefix + base64.b32encode(digest)[:10].decode().lower()
