"""Which resource providers there are, the types and api-versions of each, and whether a subscription uses them.

https://learn.microsoft.com/azure/azure-resource-manager/management/resource-providers-and-types
"""

from __future__ import annotations

from sorairo.arm import regions
from sorairo.arm.errors import invalid_namespace
from sorairo.arm.exchange import Answer, Exchange
from sorairo.arm.routing import versions_of
from sorairo.engine.errors import ArmError
from sorairo.engine.types import Document, Provider
from sorairo.store import Tx

FREE = frozenset(("microsoft.resources", "microsoft.authorization", "microsoft.features", "microsoft.resourcegraph",
                  "microsoft.insights", "microsoft.sorairo"))  # fmt: skip
"""Those that every subscription uses, and that cannot be unregistered."""


async def every(x: Exchange) -> Answer:
    return Answer(200, {"value": [_document(x, p) for _, p in sorted(x.control.registry.providers.items())]})


async def one(x: Exchange) -> Answer:
    return Answer(200, _document(x, _named(x)))


async def register(x: Exchange) -> Answer:
    """All are registered to begin with; asking for it again is no error."""
    provider = _named(x)
    kind, key = _note(x.target.subscription, provider.namespace)
    await x.control.store.transact(lambda tx: tx.delete_note(kind, key))
    return Answer(200, _document(x, provider))


async def unregister(x: Exchange) -> Answer:
    """Raises ArmError 409 for a provider that is free of registration, or of which there are resources."""
    provider = _named(x)
    if provider.namespace.lower() in FREE:
        raise ArmError(
            "CannotUnregisterProvider",
            f"The resource provider '{provider.namespace}' cannot be unregistered: it is free of registration.",
            status=409,
        )
    here = f"/subscriptions/{x.target.subscription}"
    used = next((r for t in provider.types for r in x.control.store.list(type=t.name, under=here)), None)
    if used is not None:
        raise ArmError(
            "CannotUnregisterProvider",
            f"The resource provider '{provider.namespace}' cannot be unregistered while the subscription has resources "
            f"of it, such as '{used.id}'.",
            status=409,
        )
    kind, key = _note(x.target.subscription, provider.namespace)

    def write(tx: Tx) -> None:
        tx.put_note(kind, key, {"namespace": provider.namespace})

    await x.control.store.transact(write)
    return Answer(200, _document(x, provider))


def check_registered(x: Exchange) -> None:
    """A PUT of a resource whose provider the subscription does not use. Clients read the code and register it.

    https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-register-resource-provider"""
    if x.method != "PUT" or x.target.type is None or not x.target.subscription:
        return
    namespace = x.target.type.namespace
    if x.control.store.note(*_note(x.target.subscription, namespace)) is None:
        return
    message = (
        f"The subscription is not registered to use namespace '{namespace}'. See https://aka.ms/rps-not-found for how "
        "to register subscriptions."
    )
    raise ArmError(
        "MissingSubscriptionRegistration",
        message,
        status=409,
        details=[{"code": "MissingSubscriptionRegistration", "target": namespace, "message": message}],
    )


def _note(subscription: str, namespace: str) -> tuple[str, str]:
    """Where it is written down that a provider is not registered: all others are."""
    return f"unregistered {subscription.lower()}", namespace.lower()


def _named(x: Exchange) -> Provider:
    provider = x.control.registry.providers.get(x.target.params["namespace"].lower())
    if provider is None:
        raise invalid_namespace(x.target.params["namespace"])
    return provider


def _document(x: Exchange, provider: Provider) -> Document:
    subscription = x.target.subscription
    scope = f"/subscriptions/{subscription}" if subscription else ""
    free = provider.namespace.lower() in FREE
    gone = bool(subscription) and x.control.store.note(*_note(subscription, provider.namespace)) is not None
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
        "registrationPolicy": "RegistrationFree" if free else "RegistrationRequired",
        "registrationState": "NotRegistered" if gone else "Registered",
        "resourceTypes": types,
    }
