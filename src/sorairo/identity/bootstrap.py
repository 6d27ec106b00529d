"""The first tenant, subscription and administrator, made once per installation."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from sorairo.engine.types import Resource
from sorairo.files import write_private
from sorairo.identity.directory import TENANT, Directory, Notes, Secret, Tx, add_application, new_secret
from sorairo.identity.errors import EntraError

OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
ADMIN = "sorairo-admin"
DOMAIN = "sorairo.internal"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The content of `credentials.json`: how the administrator signs in."""

    tenantId: str
    subscriptionId: str
    clientId: str
    clientSecret: str
    objectId: str

    @classmethod
    def read(cls, path: Path) -> Credentials | None:
        """None when the file is missing or not ours."""
        try:
            found = json.loads(path.read_bytes())
            return cls(**{k: str(found[k]) for k in cls.__slots__})
        except (OSError, ValueError, KeyError, TypeError):
            return None


async def bootstrap(store: Notes, directory: Directory, file: Path) -> Credentials:
    """Make what is missing: the tenant with its subscription and administrator, in one transaction, or a new secret
    for the administrator when `file` (mode 0600) is gone or no longer opens anything.

    The file is written first, so that no crash leaves a secret that nobody knows: a file that does not match the
    store is simply replaced next time.
    """
    secret = new_secret()
    tenant = store.note(TENANT, "first")
    if tenant is None:
        return await store.transact(lambda tx: _first(tx, file, secret))
    kept = Credentials.read(file)
    if kept is not None:
        try:
            directory.check_secret(kept.clientId, kept.clientSecret)
            return kept
        except EntraError:
            pass
    admin = directory.by_client_id(tenant["adminClientId"])
    if admin is None:
        raise LookupError(f"the administrator '{ADMIN}' is no longer in the directory")
    credentials = Credentials(
        tenant["tenantId"], tenant["subscriptionId"], admin.client_id, secret.value, admin.object_id
    )
    _write(file, credentials)
    await directory.add_secret(admin.client_id, secret)
    return credentials


def _first(tx: Tx, file: Path, secret: Secret) -> Credentials:
    tenant_id, subscription_id = str(uuid.uuid4()), str(uuid.uuid4())
    admin = add_application(tx, ADMIN, secret)
    tx.put_note(
        TENANT,
        "first",
        {
            "tenantId": tenant_id,
            "displayName": "sorairo",
            "domain": DOMAIN,
            "subscriptionId": subscription_id,
            "adminClientId": admin.client_id,
        },
    )
    subscription = f"/subscriptions/{subscription_id}"
    tx.put(_settled(subscription, {"displayName": "sorairo", "tenantId": tenant_id}))
    tx.put(
        _settled(
            f"{subscription}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}",
            {
                "roleDefinitionId": f"{subscription}/providers/Microsoft.Authorization/roleDefinitions/{OWNER}",
                "principalId": admin.object_id,
                "principalType": "ServicePrincipal",
                "scope": subscription,
            },
        )
    )
    credentials = Credentials(tenant_id, subscription_id, admin.client_id, secret.value, admin.object_id)
    _write(file, credentials)
    return credentials


def _settled(id: str, properties: dict[str, str]) -> Resource:
    return Resource(
        id, {"properties": properties}, observed_generation=1, provisioning_state="Succeeded", created_by=ADMIN
    )


def _write(file: Path, credentials: Credentials) -> None:
    write_private(file, json.dumps(asdict(credentials), indent=2).encode() + b"\n")
