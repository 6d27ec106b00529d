"""What may change in the directory, each inside a transaction of the caller's; raises GraphError and changes nothing.

https://learn.microsoft.com/graph/api/resources/azure-ad-overview
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from sorairo.identity import credentials
from sorairo.identity.directory import APPLICATION, GROUP, SERVICE_PRINCIPAL, TENANT, USER, Tx, find_user
from sorairo.identity.graph import grants
from sorairo.identity.graph.errors import GraphError, bad, denied, not_found, taken
from sorairo.identity.graph.shapes import TYPES, WRITABLE, find_object

Document = dict[str, Any]


def create_application(tx: Tx, body: Document, creator: str) -> Document:
    """`creator`: the object id of a user, who comes to own it; '' for an application, which does not."""
    values = _values("application", body, also=("keyCredentials", "passwordCredentials"))
    _named(values)
    document = {
        "id": str(uuid.uuid4()),
        "appId": str(uuid.uuid4()),
        "createdDateTime": credentials.iso(time.time()),
        "passwordCredentials": [],
        "keyCredentials": _keys(values.pop("keyCredentials", None), []),
        "owners": [creator] if creator else [],
        **{k: v for k, v in values.items() if k != "passwordCredentials"},
    }
    if values.get("passwordCredentials"):
        raise bad("New password credentials must be generated with service actions.")
    _check_uris(tx, document)
    tx.put_note(APPLICATION, document["appId"], document)
    return document


def create_service_principal(tx: Tx, body: Document, creator: str) -> Document:
    app_id = str(body.get("appId") or "").lower()
    application = tx.note(APPLICATION, app_id)
    if application is None or application.get("managed"):
        raise bad(f"The appId '{app_id}' of the service principal does not reference a valid application object.")
    if application.get("servicePrincipalId"):
        raise GraphError(
            409, "Request_MultipleObjectsWithSameKeyValue", "The service principal cannot be created, updated, or "
            f"restored because the service principal name {app_id} is already in use.",
        )  # fmt: skip
    values = _values("servicePrincipal", {k: v for k, v in body.items() if k != "appId"}, also=("keyCredentials",))
    document = {
        "id": str(uuid.uuid4()),
        "appId": app_id,
        "createdDateTime": credentials.iso(time.time()),
        "displayName": application["displayName"],
        "servicePrincipalType": "Application",
        "accountEnabled": True,
        "owners": [creator] if creator else [],
        **values,
        "keyCredentials": _keys(values.get("keyCredentials"), []),
    }
    tx.put_note(SERVICE_PRINCIPAL, document["id"], document)
    tx.put_note(APPLICATION, app_id, {**application, "servicePrincipalId": document["id"]})
    return document


def create_user(tx: Tx, body: Document) -> Document:
    values = _values("user", body, also=("passwordProfile",))
    password = (values.pop("passwordProfile", None) or {}).get("password")
    for name in ("displayName", "mailNickname", "userPrincipalName"):
        if not values.get(name):
            raise bad(f"A value is required for property '{name}' of resource 'User'.")
    _check_upn(tx, str(values["userPrincipalName"]))
    document = {
        "id": str(uuid.uuid4()),
        "createdDateTime": credentials.iso(time.time()),
        "accountEnabled": True,
        **values,
        "password": _password(password),
    }
    tx.put_note(USER, document["id"], document)
    return document


def create_group(tx: Tx, body: Document, creator: str) -> Document:
    bound = {k: [_referred(tx, r) for r in _list(body.pop(f"{k}@odata.bind", None), k)] for k in ("members", "owners")}
    values = _values("group", body)
    _named(values)
    if not values.get("mailNickname"):
        raise bad("A value is required for property 'mailNickname' of resource 'Group'.")
    document = {
        "id": str(uuid.uuid4()),
        "createdDateTime": credentials.iso(time.time()),
        **values,
        "members": bound["members"],
        "owners": bound["owners"] or ([creator] if creator else []),
    }
    tx.put_note(GROUP, document["id"], document)
    return document


def update(tx: Tx, kind: str, id: str, body: Document) -> None:
    document = stored(tx, kind, id)
    values = _values(kind, body, also=("keyCredentials", "passwordCredentials", "passwordProfile"))
    _not_managed(document)
    if "keyCredentials" in values:
        values["keyCredentials"] = _keys(values["keyCredentials"], document.get("keyCredentials", []))
    kept = values.pop("passwordCredentials", None)
    if kept is not None:  # Only fewer of what is there: new ones come from addPassword.
        ids = {c.get("keyId") for c in kept}
        values["passwordCredentials"] = [c for c in document.get("passwordCredentials", []) if c["keyId"] in ids]
        if len(values["passwordCredentials"]) != len(kept):
            raise bad("New password credentials must be generated with service actions.")
    profile = values.pop("passwordProfile", None)
    if profile and profile.get("password"):
        values["password"] = _password(profile["password"])
    if kind == "user" and values.get("userPrincipalName", document.get("userPrincipalName")) != document.get(
        "userPrincipalName"
    ):
        _check_upn(tx, str(values["userPrincipalName"]))
    changed = {**document, **values}
    if kind == "application":
        _check_uris(tx, changed)
    put(tx, kind, changed)


def delete(tx: Tx, kind: str, id: str) -> None:
    """An application takes its service principal with it. Role assignments stay, naming nobody, as on Azure."""
    document = stored(tx, kind, id)
    _not_managed(document)
    if document.get("appId") == (tx.note(TENANT, "first") or {}).get("adminClientId"):
        raise denied("This is the administrator that the installation itself signs in as; it cannot be removed.")
    if kind == "application":
        tx.delete_note(APPLICATION, document["appId"])
        principal = document.get("servicePrincipalId")
        if principal:
            tx.delete_note(SERVICE_PRINCIPAL, principal)
            _leave(tx, principal)
        return
    if kind == "servicePrincipal":
        application = tx.note(APPLICATION, document["appId"])
        if application:
            tx.put_note(APPLICATION, document["appId"], {**application, "servicePrincipalId": None})
    tx.delete_note(TYPES[kind], document["id"])
    _leave(tx, document["id"])


def add_password(tx: Tx, kind: str, id: str, body: Document) -> tuple[Document, str]:
    """The stored credential, and its value: the only time it is known."""
    document = stored(tx, kind, id)
    _not_managed(document)
    given = body.get("passwordCredential") or {}
    if not isinstance(given, dict):
        raise bad("Invalid value specified for property 'passwordCredential'.")
    fresh = credentials.new_secret()
    now = time.time()
    try:
        starts = credentials.parse_time(given.get("startDateTime"), now)
        ends = credentials.parse_time(given.get("endDateTime"), starts + credentials.SECRET_YEARS * 365 * 86400)
    except ValueError:
        raise bad("Invalid value specified for property 'endDateTime' of resource 'PasswordCredential'.") from None
    if ends <= starts:
        raise bad("Credential lifetime is invalid: endDateTime must be later than startDateTime.")
    # A client whose clock is ahead must be able to use at once what it was just given.
    starts = min(starts, now) if starts < now + 300 else starts
    made = credentials.stored(credentials.Secret(fresh.key_id, fresh.value, ends, starts, given.get("displayName")))
    put(tx, kind, {**document, "passwordCredentials": [*document.get("passwordCredentials", []), made]})
    return made, fresh.value


def remove_password(tx: Tx, kind: str, id: str, body: Document) -> None:
    document = stored(tx, kind, id)
    there = document.get("passwordCredentials", [])
    left = [c for c in there if c["keyId"] != body.get("keyId")]
    if len(left) == len(there):
        raise bad(f"No password credential found with keyId '{body.get('keyId')}'.")
    put(tx, kind, {**document, "passwordCredentials": left})


def add_reference(tx: Tx, kind: str, id: str, relation: str, body: Document) -> None:
    """`members` of a group, `owners` of anything."""
    document = stored(tx, kind, id)
    member = _referred(tx, body.get("@odata.id"))
    there = document.get(relation, [])
    if member in there:
        raise bad(
            f"One or more added object references already exist for the following modified properties: '{relation}'."
        )
    if member == document["id"]:
        raise bad("An object cannot be a member of itself.")
    put(tx, kind, {**document, relation: [*there, member]})


def remove_reference(tx: Tx, kind: str, id: str, relation: str, member: str) -> None:
    document = stored(tx, kind, id)
    there = document.get(relation, [])
    if member.lower() not in there:
        raise not_found(member)
    put(tx, kind, {**document, relation: [m for m in there if m != member.lower()]})


def add_federated(tx: Tx, id: str, body: Document, replaces: str = "") -> Document:
    """A federated identity credential of an application; `replaces`: id or name of the one that is updated."""
    document = stored(tx, "application", id)
    there = document.get("federatedIdentityCredentials", [])
    old = next((c for c in there if replaces and replaces in (c["id"], c["name"])), None)
    if replaces and old is None and not body.get("name"):
        raise not_found(replaces)
    made = {"id": str(uuid.uuid4()), "description": None, **(old or {}), **body}
    made = {k: made.get(k) for k in ("id", "name", "issuer", "subject", "audiences", "description")}
    for name in ("name", "issuer", "subject", "audiences"):
        if not made[name]:
            raise bad(f"The property '{name}' of a federated identity credential is missing.")
        if name != "audiences" and not isinstance(made[name], str):
            raise bad(f"The property '{name}' of a federated identity credential is a text.")
    audiences = made["audiences"]
    if not isinstance(audiences, list) or len(audiences) != 1 or not isinstance(audiences[0], str):
        raise bad("A federated identity credential has exactly one audience.")
    others = [c for c in there if c is not old]
    if any(c["name"] == made["name"] for c in others):
        raise GraphError(409, "Request_MultipleObjectsWithSameKeyValue",
                         f"FederatedIdentityCredential with name {made['name']} already exists.")  # fmt: skip
    if any((c["issuer"], c["subject"]) == (made["issuer"], made["subject"]) for c in others):
        raise bad("FederatedIdentityCredential with the same issuer and subject already exists.")
    if len(others) >= 20:
        raise bad("An application can have at most 20 federated identity credentials.")
    put(tx, "application", {**document, "federatedIdentityCredentials": [*others, made]})
    return made


def remove_federated(tx: Tx, id: str, name: str) -> None:
    document = stored(tx, "application", id)
    there = document.get("federatedIdentityCredentials", [])
    left = [c for c in there if name not in (c["id"], c["name"])]
    if len(left) == len(there):
        raise not_found(name)
    put(tx, "application", {**document, "federatedIdentityCredentials": left})


# --- shared ----------------------------------------------------------------------------------------------------


def stored(reads: Tx, kind: str, id: str) -> Document:
    """By object id; a user by name, too; an application or service principal by `appId=…`. Raises GraphError 404."""
    found: Document | None = None
    if kind == "user":
        found = find_user(reads, id)
    elif id.startswith("appId="):
        application = reads.note(APPLICATION, id.removeprefix("appId=").lower())
        if application is not None and kind == "servicePrincipal":
            found = reads.note(SERVICE_PRINCIPAL, str(application.get("servicePrincipalId")))
        else:
            found = application
    elif kind == "application":
        found = next((d for _, d in reads.notes(APPLICATION) if d.get("id") == id.lower()), None)
    else:
        found = reads.note(TYPES[kind], id.lower())
    if found is None:
        raise not_found(id)
    return found


def put(tx: Tx, kind: str, document: Document) -> None:
    tx.put_note(TYPES[kind], document["appId" if kind == "application" else "id"], document)


def _list(value: Any, name: str) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise bad(f"Invalid value specified for property '{name}': a list was expected.")
    return value or []


def _values(kind: str, body: Document, also: tuple[str, ...] = ()) -> Document:
    allowed = WRITABLE[kind].keys() | set(also)
    values = {k: v for k, v in body.items() if not k.startswith("@")}
    wrong = next((k for k in values if k not in allowed), None)
    if wrong is not None:
        raise bad(f"Invalid property '{wrong}'.")
    for name, value in values.items():
        default = WRITABLE[kind].get(name)
        wanted = _OTHER_THAN_TEXT.get(name, str if default is None else type(default))
        if value is not None and not (isinstance(value, wanted) and _holds(name, value)):
            raise bad(f"Invalid value specified for property '{name}' of resource '{kind[0].upper()}{kind[1:]}'.")
        if isinstance(default, dict) and value is not None:
            values[name] = {**default, **values[name]}
    return values


_OTHER_THAN_TEXT: dict[str, type] = {
    "isAssignableToRole": bool,
    "isDeviceOnlyAuthSupported": bool,
    "isFallbackPublicClient": bool,
    "keyCredentials": list,
    "optionalClaims": dict,
    "passwordCredentials": list,
    "passwordProfile": dict,
}
"""Of the members that nothing is given for where nobody set them."""
_OF_TEXTS = ("alternativeNames", "businessPhones", "groupTypes", "identifierUris", "notificationEmailAddresses",
             "replyUrls", "servicePrincipalNames", "tags")  # fmt: skip


def _holds(name: str, value: Any) -> bool:
    """Whether what is in a list is of the right kind."""
    if not isinstance(value, list):
        return True
    return all(isinstance(each, str if name in _OF_TEXTS else dict) for each in value)


def _named(values: Document) -> None:
    name = values.get("displayName")
    if not isinstance(name, str) or not 1 <= len(name) <= 256:
        raise bad("Invalid value specified for property 'displayName': 1 to 256 characters.")


def _keys(given: Any, there: list[Document]) -> list[Document]:
    """Certificates as they are to be. One that comes back without its key, as lists show it, stays what it is."""
    made = []
    known = {c["keyId"]: c for c in there}
    for each in given or []:
        if each.get("key") is None and each.get("keyId") in known:
            made.append(known[each["keyId"]])
            continue
        try:
            made.append(credentials.stored_certificate(each))
        except ValueError as cause:
            raise GraphError(400, "KeyCredentialsInvalidValue", str(cause)) from cause
    return made


def _password(password: Any) -> Document:
    if not isinstance(password, str) or not credentials.is_strong(password):
        raise bad("The specified password does not comply with password complexity requirements. Please provide a "
                  "different password.")  # fmt: skip
    return credentials.stored_password(password)


def _check_upn(tx: Tx, name: str) -> None:
    domain = (tx.note(TENANT, "first") or {}).get("domain")
    if name.rpartition("@")[2].lower() != domain or not name.rpartition("@")[0]:
        raise bad("The domain portion of the userPrincipalName property is invalid. You must use one of the verified "
                  f"domain names in your organization: {domain}.")  # fmt: skip
    if find_user(tx, name) is not None:
        raise taken("userPrincipalName")


def _check_uris(tx: Tx, document: Document) -> None:
    uris = set(document.get("identifierUris") or [])
    if not uris:
        return
    for _, other in tx.notes(APPLICATION):
        if other["appId"] != document["appId"] and uris & set(other.get("identifierUris") or []):
            raise taken("identifierUris")


def _not_managed(document: Document) -> None:
    if document.get("servicePrincipalType") == "ManagedIdentity" or document.get("managed"):
        raise denied("A managed identity is changed where it was made, in Azure Resource Manager.")


def _referred(tx: Tx, reference: Any) -> str:
    """The object id at the end of `…/directoryObjects/{id}`. Raises GraphError 404 when there is no such object."""
    id = str(reference or "").rstrip("/").rpartition("/")[2].lower()
    if not id or find_object(tx, id) is None:
        raise not_found(id)
    return id


def _leave(tx: Tx, id: str) -> None:
    """Out of every group; what it was granted goes with it."""
    grants.forget(tx, id)
    for _, group in tx.notes(GROUP):
        if id in group["members"] or id in group.get("owners", []):
            put(tx, "group", {**group, **{r: [m for m in group.get(r, []) if m != id] for r in ("members", "owners")}})
