"""Clusters whose users are the directory's: `aadProfile`, and what the API server is told of it.

AKS asks a webhook (guard) about every token. Here the API server verifies them itself, by Kubernetes' structured
authentication: our tokens are signed JWTs, the keys are fetched once and kept, so a token that has been given out goes
on opening its cluster while sorairo is down, and no request waits for a daemon. Tokens of those who are in more groups
than a token names are left to a webhook, as all are on AKS: it asks the directory. Authorization by Azure's roles is a
webhook, too, asked after Kubernetes' own RBAC and about the directory's users alone; without an answer nobody is let in
by it.

https://learn.microsoft.com/azure/aks/enable-authentication-microsoft-entra-id
https://kubernetes.io/docs/reference/access-authn-authz/authentication/#using-authentication-configuration
https://kubernetes.io/docs/reference/access-authn-authz/authorization/#using-configuration-file-for-authorization
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sorairo.drivers.protocols import File
from sorairo.engine.errors import ArmError
from sorairo.engine.types import Admission, Document, Resource
from sorairo.identity.principal import Principal
from sorairo.providers.microsoft_containerservice.kubeconfig import document

SERVER_APP = "6dae42f8-4368-4678-94ff-3960e28e3630"
"""The AKS API servers' application, the same in every tenant: the audience of their tokens."""
CLIENT_APP = "80faf920-1908-4b52-b5ef-a8e7bedfc67a"
"""The application that people sign in with, through kubelogin."""
OID = "azure.com/oid"
"""Where the object id stands in a user's `extra`. (AKS has `oid`: Kubernetes keeps such names from its issuers.)"""
ELSEWHERE = "_claim_names"
"""The claim of a token that does not name all groups."""
REVIEWS = "/aks/subjectaccessreviews"
"""Where API servers ask the daemon about Azure's roles: `REVIEWS + <cluster's resource id>`."""
TOKEN_REVIEWS = "/aks/tokenreviews"
"""Where they ask who somebody is whose groups a token does not name: `TOKEN_REVIEWS + <cluster's resource id>`."""
ALLOWED_LASTS, DENIED_LASTS = "5m0s", "30s"
"""How long an API server keeps an answer: AKS tells its users that a role may take five minutes to count."""
ADMINS = "aks-cluster-admin-binding-aad"
FOLDER = "entra"
"""Of the control plane's machine."""
AUTHENTICATION, TOKENS, AUTHORIZATION, WEBHOOK = (
    f"{FOLDER}/{n}" for n in ("authentication", "tokens", "authorization", "webhook")
)
_API_SERVER = ("kube-apiserver",)
_LEGACY = ("clientAppID", "serverAppID", "serverAppSecret")


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs users in: the token service, as clients and API servers on this machine reach it."""

    tenant: str
    base: str
    """`https://HOST:PORT`, also within a control plane's own network namespace."""
    ca: str
    """PEM of whom to trust there."""

    @property
    def issuer(self) -> str:
        return f"{self.base}/{self.tenant}/"


def profile(cluster: Resource | Document) -> Document | None:
    """The `aadProfile` of a cluster whose users are the directory's."""
    properties = cluster.properties if isinstance(cluster, Resource) else cluster["properties"]
    found = properties.get("aadProfile") or {}
    return found if found.get("managed") else None


def by_azure_roles(cluster: Resource) -> bool:
    return bool((profile(cluster) or {}).get("enableAzureRBAC"))


def admit(admission: Admission, tenant: str) -> None:
    """Fill in an `aadProfile` and hold it, and `disableLocalAccounts`, to AKS's rules. Raises ArmError."""
    properties = admission.body["properties"]
    before = profile(admission.existing) if admission.existing else None
    given = {k: v for k, v in (properties.pop("aadProfile", None) or {}).items() if v is not None}
    found = {**given} or dict(before or {})
    if any(found.get(name) for name in _LEGACY):
        raise ArmError(
            "BadRequest",
            "Azure AD integration (legacy) is no longer supported: aadProfile."
            f"{next(n for n in _LEGACY if found.get(n))} must not be set. Use AKS-managed Microsoft Entra integration "
            "(aadProfile.managed) instead. See https://aka.ms/aks/aad-legacy for more details.",
            target="aadProfile",
        )
    if found and not found.get("managed"):
        if before:
            raise ArmError(
                "BadRequest",
                "Disabling Microsoft Entra integration on a managed cluster is not supported.",
                target="aadProfile.managed",
            )
        if any(v for k, v in found.items() if k != "tenantID"):
            raise _invalid("managed", "it must be true where anything else of aadProfile is set")
        found = {}
    if found:
        properties["aadProfile"] = _completed(found, tenant)
        if properties.get("enableRBAC") is False:
            raise ArmError(
                "BadRequest", "Microsoft Entra integration needs enableRBAC to be true.", target="enableRBAC"
            )
    elif properties.get("disableLocalAccounts"):
        raise ArmError(
            "BadRequest",
            "Since kubernetes version 1.25, disableLocalAccounts can only be set on Azure AD integration enabled "
            "cluster. Please integrate your cluster with AAD.",
            target="disableLocalAccounts",
        )
    properties["disableLocalAccounts"] = bool(properties.get("disableLocalAccounts"))


def _completed(given: Document, tenant: str) -> Document:
    asked = str(given.get("tenantID") or tenant).lower()
    if asked != tenant.lower():
        raise _invalid("tenantID", f"there is one tenant here, '{tenant}'")
    groups = [str(g).lower() for g in given.get("adminGroupObjectIDs") or []]
    for group in groups:
        if not _is_guid(group):
            raise _invalid("adminGroupObjectIDs", f"'{group}' is not the object id of a group")
    return {
        "managed": True,
        "adminGroupObjectIDs": list(dict.fromkeys(groups)),
        "enableAzureRBAC": bool(given.get("enableAzureRBAC")),
        "tenantID": tenant,
    }


def _invalid(name: str, reason: str) -> ArmError:
    return ArmError(
        "InvalidParameter",
        f"The value of parameter aadProfile.{name} is invalid. Error details: {reason}.",
        target=f"aadProfile.{name}",
    )


def _is_guid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def flags(cluster: Resource) -> list[str]:
    """The API server's, in place of `--authorization-mode`."""
    if profile(cluster) is None:
        return ["--authorization-mode=Node,RBAC"]
    found = [f"--authentication-config={AUTHENTICATION}"]
    found += [f"--authentication-token-webhook-config-file={TOKENS}", "--authentication-token-webhook-version=v1"]
    by_flag, by_file = "--authorization-mode=Node,RBAC", f"--authorization-config={AUTHORIZATION}"
    return [*found, by_file if by_azure_roles(cluster) else by_flag]


def files(cluster: Resource, authority: Authority, root: Path) -> dict[str, File]:
    """What those flags name. `root`: of the machine; Kubernetes wants one of the paths absolute."""
    if profile(cluster) is None:
        return {}
    found = {AUTHENTICATION: _authentication(authority), TOKENS: _webhook(cluster, authority, TOKEN_REVIEWS)}
    if by_azure_roles(cluster):
        found[AUTHORIZATION] = _authorization(root / WEBHOOK)
        found[WEBHOOK] = _webhook(cluster, authority, REVIEWS)
    return {name: File(json.dumps(d, indent=1).encode(), 0o600, _API_SERVER) for name, d in found.items()}


def _authentication(authority: Authority) -> dict[str, Any]:
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "jwt": [
            {
                "issuer": {
                    "url": authority.issuer,
                    "audiences": [SERVER_APP],
                    "certificateAuthority": authority.ca,
                },
                "claimValidationRules": [
                    {"expression": f"claims.tid == '{authority.tenant}'", "message": "of another tenant"},
                    {"expression": "claims.oid != ''", "message": "nobody's"},
                    {"expression": f"!has(claims.{ELSEWHERE})", "message": "in more groups than it names"},
                ],
                "claimMappings": {
                    # People by their names, applications by their object ids.
                    "username": {"expression": "has(claims.upn) ? claims.upn : claims.oid"},
                    "groups": {"expression": "has(claims.groups) ? claims.groups : []"},
                    "extra": [{"key": OID, "valueExpression": "claims.oid"}],
                },
                "userValidationRules": [
                    {"expression": "!user.username.startsWith('system:')", "message": "a name of Kubernetes' own"},
                    {
                        "expression": "user.groups.all(g, !g.startsWith('system:'))",
                        "message": "a group of Kubernetes' own",
                    },
                ],
            }
        ],
    }


def _authorization(webhook: Path) -> dict[str, Any]:
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthorizationConfiguration",
        "authorizers": [
            {"type": "Node", "name": "node"},
            {"type": "RBAC", "name": "rbac"},
            {
                "type": "Webhook",
                "name": "azure-rbac",
                "webhook": {
                    "authorizedTTL": ALLOWED_LASTS,
                    "unauthorizedTTL": DENIED_LASTS,
                    "timeout": "3s",
                    "subjectAccessReviewVersion": "v1",
                    "matchConditionSubjectAccessReviewVersion": "v1",
                    "failurePolicy": "Deny",
                    "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": str(webhook)},
                    # Azure has nothing to say of service accounts and of those with a certificate.
                    "matchConditions": [{"expression": f"has(request.extra) && '{OID}' in request.extra"}],
                },
            },
        ],
    }


def _webhook(cluster: Resource, authority: Authority, path: str) -> dict[str, Any]:
    proof = {"token": review_token(cluster)}
    server = f"{authority.base}{path}{quote(cluster.key)}"
    found: dict[str, Any] = document(server, authority.ca, "kube-apiserver", proof)
    return found


def review_token(cluster: Resource) -> str:
    """What an API server proves itself with where it asks: nobody else has the key it is made of."""
    key = str(cluster.private["pki"]["ca.key"])
    return hmac.new(key.encode(), b"subject access reviews", hashlib.sha256).hexdigest()


def user(principal: Principal) -> Document | None:
    """Whom a verified token stands for, as the API server would have made of it by itself. None: of nobody that it lets
    in; or of somebody it knows without asking."""
    name = str(principal.claims.get("upn") or principal.object_id)
    if ELSEWHERE not in principal.claims or name.startswith("system:"):
        return None
    return {"username": name, "groups": list(principal.groups), "extra": {OID: [principal.object_id]}}


def admins(cluster: Resource) -> Document | None:
    """The binding of the administrators' groups, by AKS's name; None: there are none."""
    groups = (profile(cluster) or {}).get("adminGroupObjectIDs") or []
    if not groups:
        return None
    api = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{api}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": ADMINS, "labels": {"kubernetes.azure.com/managedby": "aks"}},
        "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": api, "kind": "Group", "name": group} for group in groups],
    }


ADMINS_PATH = f"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/{ADMINS}"


def bound_rightly(cluster: Resource, found: Document | None) -> bool:
    """Whether the binding that stands (None: none does) is the one that should."""
    wanted = admins(cluster)
    if wanted is None or found is None:
        return wanted is found
    return all(found.get(part) == wanted[part] for part in ("roleRef", "subjects"))
