"""Who may call a cluster's API server: `apiServerAccessProfile`.

https://learn.microsoft.com/azure/aks/api-server-authorized-ip-ranges
"""

from __future__ import annotations

import ipaddress
from typing import Any

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Document, Reader, Resource
from sorairo.providers.microsoft_containerservice import private_cluster
from sorairo.providers.microsoft_containerservice.composition import nat_addresses
from sorairo.providers.microsoft_containerservice.names import names, outbound_type

MOST = 200
NOBODY_ELSE = "0.0.0.0/32"
"""Azure's way to say: the cluster's own nodes alone."""
PUBLIC = ipaddress.IPv4Network("198.18.0.0/15")
"""What takes the place of the internet's addresses here; to everybody else it is reserved (RFC 2544)."""
_TARGET = "apiServerAccessProfile.authorizedIPRanges"


def admit(properties: Document) -> None:
    """Check the authorized ranges, and write them as Azure shows them, single addresses as /32."""
    profile = properties.get("apiServerAccessProfile") or {}
    given = profile.get("authorizedIPRanges")
    if not given:
        return
    if len(given) > MOST:
        raise _invalid(f"The number of APIServer Authorized IP Ranges is greater than the allowed value {MOST}.")
    if str((properties.get("networkProfile") or {}).get("loadBalancerSku", "")).lower() == "basic":
        raise _invalid("API server authorized IP ranges need a load balancer of SKU standard.")
    ranges = [_range(each) for each in given]
    if NOBODY_ELSE in ranges and len(ranges) > 1:
        raise _invalid(
            f"Setting apiServerAuthorizedIPRange to {NOBODY_ELSE} is not allowed with other IP ranges. Refer to "
            "https://aka.ms/aks/auth-ip-ranges for more details"
        )
    profile["authorizedIPRanges"] = list(dict.fromkeys(ranges))


def _range(text: Any) -> str:
    try:
        network = ipaddress.IPv4Network(str(text).strip())
    except ValueError as e:
        raise _invalid(
            f"The value of parameter {_TARGET} is invalid. Error details: '{text}' is not an IPv4 address or CIDR: {e}."
        ) from None
    if str(network) != NOBODY_ELSE and not network.is_global and not network.subnet_of(PUBLIC):
        raise _invalid(
            f"The value of parameter {_TARGET} is invalid. Error details: {network} must be a global non-reserved "
            "address or CIDR."
        )
    return str(network)


async def allowed(reader: Reader, cluster: Resource) -> tuple[str, ...] | None:
    """Whose connections the API server takes; None: anybody's. The cluster's own nodes are among them, by the public
    addresses that AKS has given them for what they send, once there are some. What leaves by a user's own gateway or
    firewall is the user's to name, as on Azure. A private cluster's takes none but those that come by private links."""
    if private_cluster.is_private(cluster):
        return ()
    ranges = (cluster.properties.get("apiServerAccessProfile") or {}).get("authorizedIPRanges")
    if not ranges:
        return None
    kind = outbound_type(cluster)
    ids = {"loadBalancer": [names(cluster).public_ip], "managedNATGateway": nat_addresses(cluster)}.get(kind, [])
    found = [own.status.get("ipAddress") for id in ids if (own := await reader.get(id))]
    return tuple(sorted({*(r for r in ranges if r != NOBODY_ELSE), *(f"{each}/32" for each in found if each)}))


def _invalid(message: str) -> ArmError:
    return ArmError("InvalidParameter", message, target=_TARGET)
