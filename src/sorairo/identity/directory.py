"""The directory: the tenant, applications, service principals, users, groups. Kept as notes in the store.

Documents are shaped as Microsoft Graph's, with members of our own (hashes of secrets) that are never shown.
https://learn.microsoft.com/graph/api/resources/serviceprincipal
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sorairo.engine.types import Resource
from sorairo.identity import errors
from sorairo.identity.credentials import Secret as Secret
from sorairo.identity.credentials import alive, is_password, matches, stored
from sorairo.identity.credentials import new_secret as new_secret

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
USER = "identity/user"
"""Note kind; key: the object id."""
GROUP = "identity/group"
"""Note kind; key: the object id; `members` and `owners` are object ids."""


class Reads(Protocol):
    def note(self, kind: str, key: str, /) -> Document | None: ...
    def notes(self, kind: str, /) -> list[tuple[str, Document]]: ...


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
        found = application.get("servicePrincipalId") if application else None
        return self.service_principal(found) if found else None

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
        matching = [c for c in self.credentials(client_id, "passwordCredentials") if matches(c, secret)]
        if not matching:
            raise errors.bad_secret(client_id)
        if not any(alive(c, now) for c in matching):
            raise errors.expired_secret(client_id)
        if not principal.enabled:
            raise errors.disabled(client_id, principal.name)
        return principal

    def credentials(self, client_id: str, kind: str) -> list[Document]:
        """`passwordCredentials` or `keyCredentials` that a client may prove itself with: its application's and its
        service principal's own."""
        application = self.application(client_id) or {}
        principal = self._store.note(SERVICE_PRINCIPAL, str(application.get("servicePrincipalId", ""))) or {}
        return [*application.get(kind, []), *principal.get(kind, [])]

    # --- people ----------------------------------------------------------------------------------------

    def user(self, name: str) -> Document | None:
        """By object id or user principal name."""
        return find_user(self._store, name)

    def check_password(self, name: str, password: str) -> Document:
        """The user who signs in. Raises EntraError: 50034 (unknown), 50126 (wrong password), 50057 (disabled)."""
        user = self.user(name)
        if user is None:
            raise errors.unknown_user(name, self.tenant["displayName"])
        if not is_password(user["password"], password):
            raise errors.bad_password()
        if not user["accountEnabled"]:
            raise errors.disabled_user()
        return user

    def groups_of(self, object_id: str) -> list[str]:
        """Object ids of the groups that hold it, through other groups too; in order of id."""
        return groups_of(self._store.notes(GROUP), object_id)

    def principal_type(self, object_id: str) -> str | None:
        """`User`, `Group` or `ServicePrincipal`, as role assignments call it; None when there is no such object."""
        kinds = {SERVICE_PRINCIPAL: "ServicePrincipal", USER: "User", GROUP: "Group"}
        return next((kinds[k] for k in kinds if self._store.note(k, object_id.lower()) is not None), None)

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
        await self._store.transact(lambda tx: _remove(tx, _principal(tx, object_id)))

    async def remove_managed_identity(self, resource_id: str) -> None:
        """Forget a resource's identity; nothing happens when it has none.

        It is looked for where it is removed, in the writer's turn: one whose making was given up half-way may be
        waiting there before it."""
        await self._store.transact(lambda tx: _remove(tx, _managed(tx, resource_id)))

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
                    "passwordCredentials": [*application["passwordCredentials"], stored(secret)],
                },
            )
            return secret

        return await self._store.transact(work)


def find_user(reads: Reads, name: str) -> Document | None:
    """By object id or user principal name; case does not count."""
    name = name.lower()
    if "@" not in name:
        return reads.note(USER, name)
    return next((u for _, u in reads.notes(USER) if u["userPrincipalName"].lower() == name), None)


def groups_of(groups: Iterable[tuple[str, Document]], object_id: str) -> list[str]:
    """Of `(id, group)` pairs, the ids of those that an object is in, directly or through others."""
    groups, found, looked_for = list(groups), set[str](), [object_id.lower()]
    while looked_for:
        member = looked_for.pop()
        above = {key for key, group in groups if member in group["members"]} - found
        found |= above
        looked_for += above
    return sorted(found)


def _principal(reads: Reads, object_id: str) -> ServicePrincipal | None:
    found = reads.note(SERVICE_PRINCIPAL, object_id.lower())
    return ServicePrincipal.of(found) if found else None


def _remove(tx: Tx, principal: ServicePrincipal | None) -> None:
    if principal is None:
        return
    tx.delete_note(SERVICE_PRINCIPAL, principal.object_id.lower())
    tx.delete_note(APPLICATION, principal.client_id.lower())
    if principal.resource_id:
        tx.delete_note(MANAGED, principal.resource_id.lower())


def _managed(reads: Reads, resource_id: str) -> ServicePrincipal | None:
    found = reads.note(MANAGED, resource_id.lower())
    return _principal(reads, found["objectId"]) if found else None


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
            "passwordCredentials": [stored(secret)],
        },
    )
    return ServicePrincipal.of(document)
