"""Microsoft.Network/privateEndpoints: known by name, so that asking for one says what is not built.

https://learn.microsoft.com/rest/api/virtualnetwork/private-endpoints
"""

from __future__ import annotations

from sorairo.engine.errors import not_implemented
from sorairo.engine.types import Admission, ResourceType
from sorairo.providers.microsoft_network.versions import API_VERSIONS


async def _admit(admission: Admission) -> None:
    raise not_implemented("private endpoints")


PRIVATE_ENDPOINTS: ResourceType[None] = ResourceType("Microsoft.Network/privateEndpoints", API_VERSIONS, admit=_admit)
