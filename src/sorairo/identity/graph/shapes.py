"""Directory objects as Graph shows them: what is stored, less our own members, with defaults for what nobody set."""

from __future__ import annotations

from typing import Any

from sorairo.identity.credentials import shown_certificate, shown_secret
from sorairo.identity.directory import APPLICATION, GROUP, SERVICE_PRINCIPAL, USER, Reads

Document = dict[str, Any]

TYPES = {
    "application": APPLICATION,
    "servicePrincipal": SERVICE_PRINCIPAL,
    "user": USER,
    "group": GROUP,
}
"""Graph's names of the kinds of object, and the notes they are."""

WRITABLE: dict[str, dict[str, Any]] = {
    "application": {
        "displayName": None, "description": None, "identifierUris": [], "signInAudience": "AzureADMyOrg",
        "isFallbackPublicClient": None, "notes": None, "tags": [], "serviceManagementReference": None,
        "groupMembershipClaims": None, "optionalClaims": None, "appRoles": [], "requiredResourceAccess": [],
        "api": {"acceptMappedClaims": None, "knownClientApplications": [], "oauth2PermissionScopes": [],
                "preAuthorizedApplications": [], "requestedAccessTokenVersion": None},
        "info": {}, "web": {"homePageUrl": None, "logoutUrl": None, "redirectUris": [],
                            "implicitGrantSettings": {"enableAccessTokenIssuance": False,
                                                      "enableIdTokenIssuance": False}},
        "spa": {"redirectUris": []}, "publicClient": {"redirectUris": []}, "isDeviceOnlyAuthSupported": None,
        "uniqueName": None, "parentalControlSettings": {}, "defaultRedirectUri": None, "addIns": [],
    },
    "servicePrincipal": {
        "accountEnabled": True, "appRoleAssignmentRequired": False, "displayName": None, "description": None,
        "alternativeNames": [], "homepage": None, "notes": None, "tags": [], "loginUrl": None, "logoutUrl": None,
        "notificationEmailAddresses": [], "preferredSingleSignOnMode": None, "replyUrls": [],
        "servicePrincipalNames": [], "appRoles": [], "oauth2PermissionScopes": [], "info": {}, "addIns": [],
    },
    "user": {
        "accountEnabled": True, "displayName": None, "givenName": None, "surname": None, "jobTitle": None,
        "mail": None, "mailNickname": None, "mobilePhone": None, "officeLocation": None, "preferredLanguage": None,
        "userPrincipalName": None, "businessPhones": [], "department": None, "usageLocation": None,
        "onPremisesImmutableId": None, "userType": "Member",
    },
    "group": {
        "displayName": None, "description": None, "mailEnabled": False, "mailNickname": None, "securityEnabled": True,
        "groupTypes": [], "visibility": None, "isAssignableToRole": None,
    },
}  # fmt: skip
"""Members a client may set, with what they are until then."""


def shown(kind: str, document: Document, reads: Reads, *, key: bool = False) -> Document:
    """`key`: certificates in full."""
    out = {
        "id": document.get("id"),
        "deletedDateTime": None,
        "createdDateTime": document.get("createdDateTime"),
        **WRITABLE[kind],
        **{k: v for k, v in document.items() if k in WRITABLE[kind]},
    }
    if kind == "servicePrincipal":
        application = reads.note(APPLICATION, document["appId"]) or {}
        out |= {
            "appId": document["appId"],
            "appDisplayName": application.get("displayName"),
            "appOwnerOrganizationId": (reads.note("identity/tenant", "first") or {}).get("tenantId"),
            "servicePrincipalType": document["servicePrincipalType"],
            "servicePrincipalNames": [document["appId"], *application.get("identifierUris", [])],
            "signInAudience": application.get("signInAudience", "AzureADMyOrg"),
        }
    if kind == "application":
        out |= {"appId": document["appId"], "publisherDomain": "sorairo.internal", "verifiedPublisher": {}}
    if kind == "group":
        out |= {"mail": None, "securityIdentifier": None, "proxyAddresses": []}
    if kind in ("application", "servicePrincipal"):
        out["passwordCredentials"] = [shown_secret(c) for c in document.get("passwordCredentials", [])]
        out["keyCredentials"] = [shown_certificate(c, key=key) for c in document.get("keyCredentials", [])]
    return out


def typed(kind: str, document: Document, reads: Reads) -> Document:
    """As part of a list that mixes kinds."""
    return {"@odata.type": f"#microsoft.graph.{kind}", **shown(kind, document, reads)}


def find_object(reads: Reads, id: str) -> tuple[str, Document] | None:
    """Kind and stored document of any directory object, by object id."""
    for kind in ("servicePrincipal", "user", "group"):
        document = reads.note(TYPES[kind], id.lower())
        if document is not None:
            return kind, document
    for _, document in reads.notes(APPLICATION):
        if document.get("id") == id.lower():
            return "application", document
    return None
