"""Access tokens: RS256 JWTs with the claims Azure's carry, for the audiences we know.

https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
"""

from __future__ import annotations

import base64
import re
import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from joserfc import jwt

from sorairo.identity.directory import Directory, ServicePrincipal
from sorairo.identity.keys import SigningKeys

LIFETIME = 3600
"""Seconds a token lives, as Entra's for applications."""
MOST_GROUPS = 200
"""That a token names."""
SKEW = 300
"""Entra dates its tokens five minutes back, for clocks that lag."""

# Resources a token may be for besides ourselves. Real Azure's names are accepted, because SDKs ask for them by
# default whatever the endpoint; the tokens are still signed by us and worth nothing elsewhere.
_MANAGEMENT = ("https://management.azure.com", "https://management.core.windows.net")
_GRAPH = ("https://graph.microsoft.com", "https://graph.sorairo.internal", "00000003-0000-0000-c000-000000000000")
_OWN_NAMES = ("127.0.0.1", "localhost", "168.63.129.16",
              *(f"{name}.sorairo.internal" for name in ("login", "management", "graph")))  # fmt: skip
"""Of our origin, on this machine and inside virtual networks."""
_OWN_HOST = re.compile(f"({'|'.join(map(re.escape, _OWN_NAMES))})(:[0-9]{{1,5}})?", re.IGNORECASE)
_OTHERS = (
    *_GRAPH,
    "https://containerregistry.azure.net",
    "https://storage.azure.com",
    "https://vault.azure.net",
    "https://kubernetes.azure.com",
    "6dae42f8-4368-4678-94ff-3960e28e3630",  # the AKS API servers' application, the same in every tenant
)


@dataclass(frozen=True, slots=True)
class Authority:
    """Where the token service lives and what it speaks for. `base`: `https://HOST:PORT`, no slash at the end."""

    base: str

    def issuer(self, tenant: str) -> str:
        """Of the tokens resource servers see: version 1.0, which is what ARM's own are."""
        return f"{self.base}/{tenant}/"

    def issuer_v2(self, tenant: str) -> str:
        return f"{self.base}/{tenant}/v2.0"

    def seen_as(self, host: str) -> str:
        """`https://HOST[:PORT]` as somebody sees us who came by a `Host` header: inside a virtual network by another
        name than outside. `base`, for a name that is none of ours. Issuers are the same for all."""
        return f"https://{host.lower()}" if _OWN_HOST.fullmatch(host) else self.base

    def endpoints(self, path: str) -> frozenset[str]:
        """How clients may call what is at a path of ours, by whichever name."""
        port = urlsplit(self.base).port
        found = {f"https://{name}{at}" for name in _OWN_NAMES for at in {"", f":{port}" if port else ""}}
        return frozenset(f"{each}/{path}".rstrip("/") for each in {self.base, *found})

    @property
    def management(self) -> frozenset[str]:
        """Audiences of Azure Resource Manager, each with and without the closing slash."""
        port = urlsplit(self.base).port
        own = [self.base, *(f"https://{host}" for host in ("management.sorairo.internal", "localhost", "127.0.0.1"))]
        own += [f"{o}:{port}" for o in own if port and urlsplit(o).port is None]
        return frozenset(a + slash for a in (*own, *_MANAGEMENT) for slash in ("", "/"))

    @property
    def graph(self) -> frozenset[str]:
        """Audiences of Microsoft Graph, which answers on our own origin, too; never those of Azure's management."""
        own = {a for a in self.management if a.removesuffix("/") not in _MANAGEMENT}
        return frozenset(own | {a + slash for a in _GRAPH for slash in ("", "/")})

    def knows(self, resource: str, directory: Directory) -> bool:
        """Whether a token may be asked for this resource: a service we stand for, or an application of the tenant
        by its id or `api://` URI."""
        if resource in self.management or resource.removesuffix("/") in _OTHERS:
            return True
        return directory.application(resource.removeprefix("api://").rstrip("/")) is not None


class Tokens:
    def __init__(self, authority: Authority, keys: SigningKeys, directory: Directory) -> None:
        self.authority = authority
        self.keys = keys
        self.directory = directory

    def claims(
        self, principal: ServicePrincipal, audience: str, *, now: float | None = None, proof: str = "1"
    ) -> dict[str, Any]:
        """`proof`: how the client proved itself, 1 a secret, 2 a certificate or a federated token."""
        tenant = self.directory.tenant["tenantId"]
        issuer = self.authority.issuer(tenant)
        issued = int(time.time() if now is None else now)
        managed = principal.kind == "ManagedIdentity"
        claims = {
            "aud": audience,
            "iss": issuer,
            "iat": issued - SKEW,
            "nbf": issued - SKEW,
            "exp": issued + LIFETIME,
            "appid": principal.client_id,
            # Managed identities use a certificate.
            "appidacr": "2" if managed else proof,
            "idp": issuer,
            "idtyp": "app",
            "oid": principal.object_id,
            "sub": principal.object_id,
            "tid": tenant,
            "uti": _b64(secrets.token_bytes(16)),
            "ver": "1.0",
        }
        if managed:
            claims["xms_mirid"] = principal.resource_id
        return {**claims, **self.groups(principal.object_id, "servicePrincipals")}

    def groups(self, object_id: str, kind: str) -> dict[str, Any]:
        """The claims that say what groups a user or service principal (`kind`, as Graph's paths have it) is in; of
        more than fit in a token, only where to ask.

        https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference#groups-overage-claim
        """
        found = self.directory.groups_of(object_id)
        if len(found) <= MOST_GROUPS:
            return {"groups": found} if found else {}
        endpoint = f"{self.authority.base}/v1.0/{kind}/{object_id}/getMemberObjects"
        return {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": endpoint}}}

    def issue(self, principal: ServicePrincipal, audience: str, *, now: float | None = None) -> str:
        """A token for `audience`, taken at its word: callers ask `authority.knows` first."""
        return self.sign(self.claims(principal, audience, now=now))

    def sign(self, claims: dict[str, Any]) -> str:
        key = self.keys.current
        header = {"typ": "JWT", "alg": "RS256", "x5t": key.kid, "kid": key.kid}
        return jwt.encode(header, claims, key, algorithms=["RS256"])


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
