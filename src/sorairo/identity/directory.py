"""The directory: the tenant, applications with their secrets, service principals. Kept as notes in the store.

Documents are shaped as Microsoft Graph's, less what nobody asks for yet. Secrets are never kept, only salted
hashes: they are generated here from 190 random bits, so a fast hash is as hard to turn back as a slow one.
https://learn.microsoft.com/graph/api/resources/serviceprincipal
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from sorairo.engine.types import Resource
from sorairo.identity import errors

Document = dict[str, Any]
T = TypeVar("T")

APPLICATION = "identity/application"
"""Note kind; key: the application's id (client id)."""
SERVICE_PRINCIPAL = "identity/servicePrincipal"
"""Note kind; key: the object id."""
MANAGED = "identity/managed"
"""Note kind; key: the lower-case resource id that has the identity; value: `{"objectId"}`."""
TENANT = "identity/tenant"
"""Note kind; key `first`: `{"tenantId", "displayName", "domain", "subscriptionId"}`."""

_ALPHABET = string.ascii_letters + string.digits + "~._-"
SECRET_YEARS = 2
"""Life of a secret where nobody says otherwise."""


class Reads(Protocol):
    def note(self, kind: str, key: str, /) -> Document | None: ...


class Tx(Reads, Protocol):
    def put_note(self, kind: str, key: str, document: Document, /) -> None: ...
    def delete_note(self, kind: str, key: str, /) -> None: ...
    def put(self, resource: Resource, /) -> None: ...


class Notes(Reads, Protocol):
    """What identity needs of the store."""

    async def transact(self, fn: Callable[[Any], T], /) -> T: ...


@dataclass(frozen=True, slots=True)
class ServicePrincipal:
    object_id: str
    client_id: str
    name: str
    kind: str
    """`Application` or `ManagedIdentity`."""
    resource_id: str = ""
    """Whose managed identity it is."""
    enabled: bool = True

    @classmethod
    def of(cls, document: Document) -> ServicePrincipal:
        return cls(
            document["id"],
            document["appId"],
            document["displayName"],
            document["servicePrincipalType"],
            next((n for n in document.get("alternativeNames", []) if n.startswith("/")), ""),
            document.get("accountEnabled", True),
        )


@dataclass(frozen=True, slots=True)
class Secret:
    key_id: str
    value: str
    """Known only now: the directory keeps its hash."""
    ends: float


class Directory:
    """One tenant's. Reads go to the store each time, so several control planes agree."""

    def __init__(self, store: Notes) -> None:
        self._store = store
        self._tenant: Document | None = None

    @property
    def tenant(self) -> Document:
        """`{"tenantId", "displayName", "domain", "subscriptionId"}`; never changes. Raises LookupError before
        bootstrap."""
        self._tenant = self._tenant or self._store.note(TENANT, "first")
        if self._tenant is None:
            raise LookupError("the directory has no tenant yet")
        return self._tenant

    @property
    def tenant_id(self) -> str:
        return str(self.tenant["tenantId"])

    def is_tenant(self, name: str) -> bool:
        """Whether a tenant's id or domain, as clients write it in a path, is ours."""
        tenant = self.tenant
        return name.lower() in (tenant["tenantId"], tenant["domain"])

    def application(self, client_id: str) -> Document | None:
        return self._store.note(APPLICATION, client_id.lower())

    def service_principal(self, object_id: str) -> ServicePrincipal | None:
        return _principal(self._store, object_id)

    def by_client_id(self, client_id: str) -> ServicePrincipal | None:
        application = self.application(client_id)
        return self.service_principal(application["servicePrincipalId"]) if application else None

    def managed_identity(self, resource_id: str) -> ServicePrincipal | None:
        return _managed(self._store, resource_id)

    # --- secrets ---------------------------------------------------------------------------------------

    def check_secret(self, client_id: str, secret: str, now: float | None = None) -> ServicePrincipal:
        """The service principal that the pair signs in as.

        Raises EntraError: 700016 (unknown application), 7000215 (wrong secret), 7000222 (right, but expired),
        7000112 (disabled).
        """
        application = self.application(client_id)
        principal = self.by_client_id(client_id)
        if application is None or principal is None:
            raise errors.unknown_application(client_id, self.tenant["displayName"])
        now = time.time() if now is None else now
        matching = [c for c in application["passwordCredentials"] if _matches(c, secret)]
        if not matching:
            raise errors.bad_secret(client_id)
        if not any(c["starts"] <= now < c["ends"] for c in matching):
            raise errors.expired_secret(client_id)
        if not principal.enabled:
            raise errors.disabled(client_id, principal.name)
        return principal

    # --- writes ----------------------------------------------------------------------------------------

    async def create_application(self, name: str, *, secret: Secret | None = None) -> tuple[ServicePrincipal, Secret]:
        """A new application, its service principal and a first secret."""
        secret = secret or new_secret()
        return await self._store.transact(lambda tx: (add_application(tx, name, secret), secret))

    async def ensure_managed_identity(self, resource_id: str, name: str) -> ServicePrincipal:
        """The principal without secret that a resource (or a user assigned identity) is known as. Idempotent:
        the same one while `remove_principal` has not been called."""

        def work(tx: Tx) -> ServicePrincipal:
            there = _managed(tx, resource_id)
            if there is not None:
                return there
            object_id, client_id = str(uuid.uuid4()), str(uuid.uuid4())
            document = {
                "id": object_id,
                "appId": client_id,
                "displayName": name,
                "servicePrincipalType": "ManagedIdentity",
                "accountEnabled": True,
                "alternativeNames": [
                    f"isExplicit={'/userassignedidentities/' in resource_id.lower()}",
                    resource_id,
                ],
                "servicePrincipalNames": [client_id],
            }
            tx.put_note(SERVICE_PRINCIPAL, object_id, document)
            tx.put_note(
                APPLICATION,
                client_id,
                {
                    "appId": client_id,
                    "displayName": name,
                    "servicePrincipalId": object_id,
                    "passwordCredentials": [],
                    "managed": True,
                },
            )
            tx.put_note(MANAGED, resource_id.lower(), {"objectId": object_id})
            return ServicePrincipal.of(document)

        there = self.managed_identity(resource_id)
        return there if there is not None else await self._store.transact(work)

    async def remove_principal(self, object_id: str) -> None:
        """Forget a service principal, its application and secrets. Its tokens end by themselves within the hour,
        and its role assignments stay, naming nobody, as on Azure."""

        def work(tx: Tx) -> None:
            principal = _principal(tx, object_id)
            if principal is None:
                return
            tx.delete_note(SERVICE_PRINCIPAL, object_id.lower())
            tx.delete_note(APPLICATION, principal.client_id.lower())
            if principal.resource_id:
                tx.delete_note(MANAGED, principal.resource_id.lower())

        await self._store.transact(work)

    async def remove_managed_identity(self, resource_id: str) -> None:
        """Forget a resource's identity; nothing happens when it has none."""
        principal = self.managed_identity(resource_id)
        if principal is not None:
            await self.remove_principal(principal.object_id)

    async def add_secret(self, client_id: str, secret: Secret | None = None) -> Secret:
        """One more secret for an application. Raises LookupError when there is no such application."""
        secret = secret or new_secret()

        def work(tx: Tx) -> Secret:
            application = tx.note(APPLICATION, client_id.lower())
            if application is None:
                raise LookupError(f"no application '{client_id}'")
            tx.put_note(
                APPLICATION,
                client_id.lower(),
                {
                    **application,
                    "passwordCredentials": [*application["passwordCredentials"], _stored(secret)],
                },
            )
            return secret

        return await self._store.transact(work)


def _principal(reads: Reads, object_id: str) -> ServicePrincipal | None:
    found = reads.note(SERVICE_PRINCIPAL, object_id.lower())
    return ServicePrincipal.of(found) if found else None


def _managed(reads: Reads, resource_id: str) -> ServicePrincipal | None:
    found = reads.note(MANAGED, resource_id.lower())
    return _principal(reads, found["objectId"]) if found else None


def new_secret(years: float = SECRET_YEARS) -> Secret:
    """Forty characters that start as Entra's do, and no leading `-`, which command lines take for an option."""
    value = "sr8Q~" + "".join(secrets.choice(_ALPHABET) for _ in range(35))
    return Secret(str(uuid.uuid4()), value, time.time() + years * 365 * 86400)


def add_application(tx: Tx, name: str, secret: Secret) -> ServicePrincipal:
    """Write an application and its service principal inside a transaction of the caller's."""
    object_id, client_id = str(uuid.uuid4()), str(uuid.uuid4())
    document = {
        "id": object_id,
        "appId": client_id,
        "displayName": name,
        "servicePrincipalType": "Application",
        "accountEnabled": True,
        "servicePrincipalNames": [client_id],
    }
    tx.put_note(SERVICE_PRINCIPAL, object_id, document)
    tx.put_note(
        APPLICATION,
        client_id,
        {
            "id": str(uuid.uuid4()),
            "appId": client_id,
            "displayName": name,
            "servicePrincipalId": object_id,
            "passwordCredentials": [_stored(secret)],
        },
    )
    return ServicePrincipal.of(document)


def _stored(secret: Secret) -> Document:
    salt = secrets.token_hex(16)
    return {
        "keyId": secret.key_id,
        "hint": secret.value[:3],
        "salt": salt,
        "hash": _hash(salt, secret.value),
        "starts": time.time(),
        "ends": secret.ends,
        "endDateTime": datetime.fromtimestamp(secret.ends, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _hash(salt: str, value: str) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + value.encode()).hexdigest()


def _matches(credential: Document, secret: str) -> bool:
    return hmac.compare_digest(_hash(credential["salt"], secret), credential["hash"])
