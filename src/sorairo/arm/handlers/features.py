"""Microsoft.Features: preview features that a subscription asks to take part in.

Here none of them gates anything: what is built is there, so any name of a known provider is registered at once.

https://learn.microsoft.com/rest/api/resources/features
"""

from __future__ import annotations

import re

from sorairo.arm.errors import invalid_namespace
from sorairo.arm.exchange import Answer, Exchange
from sorairo.engine.errors import ArmError
from sorairo.engine.types import Document
from sorairo.store import Tx

VERSIONS = ("2021-07-01", "2015-12-01", "2014-08-01-preview")
REGISTERED, UNREGISTERED = "Registered", "NotRegistered"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,127}")


async def every(x: Exchange) -> Answer:
    """Of all providers, or of the one that the path names: those that were ever asked for."""
    found = [_feature(x, d["namespace"], d["name"], d["state"]) for d in _stored(x)]
    return Answer(200, {"value": found})


async def one(x: Exchange) -> Answer:
    namespace, name = _named(x)
    return Answer(200, _feature(x, namespace, name, _state(x, namespace, name)))


async def register(x: Exchange) -> Answer:
    return await _put(x, REGISTERED)


async def unregister(x: Exchange) -> Answer:
    return await _put(x, UNREGISTERED)


async def registrations(x: Exchange) -> Answer:
    found = [_registration(x, d["namespace"], d["name"], d["state"]) for d in _stored(x) if d["state"] == REGISTERED]
    return Answer(200, {"value": found})


async def registration(x: Exchange) -> Answer:
    namespace, name = _named(x)
    state = _state(x, namespace, name)
    if state != REGISTERED:
        raise ArmError(
            "SubscriptionFeatureRegistrationNotFound",
            f"The subscription is not registered for the feature '{namespace}/{name}'.",
            status=404,
        )
    return Answer(200, _registration(x, namespace, name, state))


async def create_registration(x: Exchange) -> Answer:
    namespace, name = _named(x)
    await _put(x, REGISTERED)
    return Answer(200, _registration(x, namespace, name, REGISTERED))


async def delete_registration(x: Exchange) -> Answer:
    await _put(x, UNREGISTERED)
    return Answer(200)


def _named(x: Exchange) -> tuple[str, str]:
    """The provider in its own spelling, and the feature."""
    given, name = x.target.params["namespace"], x.target.params["name"]
    provider = x.control.registry.providers.get(given.lower())
    if provider is None:
        raise invalid_namespace(given)
    if not _NAME.fullmatch(name):
        raise ArmError("FeatureNotFound", f"The feature '{name[:80]}' could not be found.", status=404)
    return provider.namespace, name


def _kind(x: Exchange) -> str:
    return f"feature {x.target.subscription.lower()}"


def _stored(x: Exchange) -> list[Document]:
    only = x.target.params.get("namespace", "").lower()
    return [d for _, d in x.control.store.notes(_kind(x)) if only in ("", d["namespace"].lower())]


def _state(x: Exchange, namespace: str, name: str) -> str:
    found = x.control.store.note(_kind(x), f"{namespace}/{name}".lower())
    return found["state"] if found else UNREGISTERED


async def _put(x: Exchange, state: str) -> Answer:
    namespace, name = _named(x)
    kind, key = _kind(x), f"{namespace}/{name}".lower()

    def write(tx: Tx) -> None:
        tx.put_note(kind, key, {"namespace": namespace, "name": name, "state": state})

    await x.control.store.transact(write)
    return Answer(200, _feature(x, namespace, name, state))


def _feature(x: Exchange, namespace: str, name: str, state: str) -> Document:
    base = f"/subscriptions/{x.target.subscription}/providers/Microsoft.Features/providers/{namespace}/features"
    return {
        "id": f"{base}/{name}",
        "name": f"{namespace}/{name}",
        "type": "Microsoft.Features/providers/features",
        "properties": {"state": state},
    }


def _registration(x: Exchange, namespace: str, name: str, state: str) -> Document:
    base = f"/subscriptions/{x.target.subscription}/providers/Microsoft.Features/featureProviders/{namespace}"
    return {
        "id": f"{base}/subscriptionFeatureRegistrations/{name}",
        "name": name,
        "type": "Microsoft.Features/featureProviders/subscriptionFeatureRegistrations",
        "properties": {
            "subscriptionId": x.target.subscription,
            "tenantId": x.principal.tenant_id,
            "providerNamespace": namespace,
            "featureName": name,
            "state": state,
            "approvalType": "AutoApproval",
        },
    }
