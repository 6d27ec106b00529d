"""Which resource providers there are, and the types and api-versions of each.

https://learn.microsoft.com/rest/api/resources/providers
"""

from __future__ import annotations

from sorairo.arm import regions
from sorairo.arm.errors import invalid_namespace
from sorairo.arm.exchange import Answer, Exchange
from sorairo.arm.routing import versions_of
from sorairo.engine.errors import ArmError
from sorairo.engine.types import Document, Provider


async def every(x: Exchange) -> Answer:
    return Answer(200, {"value": [_document(x, p) for _, p in sorted(x.control.registry.providers.items())]})


async def one(x: Exchange) -> Answer:
    return Answer(200, _document(x, _named(x)))


async def register(x: Exchange) -> Answer:
    """All providers are registered always; asking for it again is no error."""
    return Answer(200, _document(x, _named(x)))


async def unregister(x: Exchange) -> Answer:
    provider = _named(x)
    raise ArmError(
        "CannotUnregisterProvider",
        f"The resource provider '{provider.namespace}' cannot be unregistered: sorairo's providers are always there.",
        status=409,
    )


def _named(x: Exchange) -> Provider:
    provider = x.control.registry.providers.get(x.target.params["namespace"].lower())
    if provider is None:
        raise invalid_namespace(x.target.params["namespace"])
    return provider


def _document(x: Exchange, provider: Provider) -> Document:
    scope = f"/subscriptions/{x.target.subscription}" if x.target.subscription else ""
    types: list[Document] = [
        {
            "resourceType": type.name.split("/", 1)[1],
            "locations": list(regions.DISPLAY_NAMES) if type.located else [],
            "apiVersions": list(type.api_versions),
            "defaultApiVersion": next((v for v in type.api_versions if "preview" not in v), type.api_versions[0]),
            "capabilities": "SupportsTags, SupportsLocation" if type.located else "None",
        }
        for type in provider.types
    ]
    versions = versions_of(provider)
    types += [
        {"resourceType": name, "locations": [], "apiVersions": versions, "capabilities": "None"}
        for name in ("locations", "locations/operations", "locations/operationresults")
    ]
    return {
        "id": f"{scope}/providers/{provider.namespace}",
        "namespace": provider.namespace,
        "registrationPolicy": "RegistrationFree",
        "registrationState": "Registered",
        "resourceTypes": types,
    }
