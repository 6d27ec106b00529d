"""Whose tokens federated credentials may trust: our own clusters' service accounts, and issuers on this machine.

https://learn.microsoft.com/azure/aks/workload-identity-overview
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from joserfc.jwk import RSAKey

from sorairo.identity.assertions import LoopbackIssuers
from sorairo.providers.microsoft_containerservice.admission import CLUSTER
from sorairo.providers.microsoft_managedidentity.federated_credentials import TYPE as CREDENTIALS
from sorairo.store import Store


class WorkloadIssuers:
    """The JWK set of an issuer. A cluster's are read from what it was made with: no name to resolve, no API server to
    wait for."""

    def __init__(self, store: Store, ca: Path) -> None:
        self._store = store
        self._others = LoopbackIssuers(ca)

    async def __call__(self, issuer: str) -> dict[str, Any]:
        for cluster in self._store.list(type=CLUSTER):
            fqdn, pki = cluster.private.get("fqdn"), cluster.private.get("pki") or {}
            if issuer.rstrip("/") == f"https://{fqdn}" and "sa.crt" in pki:
                return {"keys": [_jwk(pki["sa.crt"])]}
        return await self._others(issuer)

    def trusts(self, identity: str) -> list[dict[str, Any]]:
        """The federated credentials of a user assigned identity, by its resource id."""
        return [r.properties for r in self._store.list(type=CREDENTIALS, under=identity) if not r.deleting]


def _jwk(pem: str) -> dict[str, Any]:
    """With the key id that API servers give it: the SHA-256 of the key itself."""
    public = load_pem_public_key(pem.encode())
    assert isinstance(public, RSAPublicKey)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    kid = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
    return {**RSAKey(public, public).as_dict(private=False), "kid": kid, "alg": "RS256"}
