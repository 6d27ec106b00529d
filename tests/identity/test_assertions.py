"""Clients that prove themselves with a certificate, or with another issuer's token."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc import jwt
from joserfc.jwk import RSAKey

from sorairo.identity.assertions import JWT_BEARER, LoopbackIssuers, is_local
from sorairo.identity.credentials import stored_certificate
from sorairo.identity.directory import APPLICATION
from sorairo.identity.errors import EntraError
from sorairo.identity.http import create_app
from sorairo.identity.keys import generate_key

from .conftest import BASE, Installation

ISSUER, SUBJECT, AUDIENCE = "https://issuer.example", "system:serviceaccount:a:b", "api://AzureADTokenExchange"


@dataclass
class Signer:
    key: RSAKey
    der: bytes


@pytest.fixture(scope="module")
def signers() -> list[Signer]:
    """Two keys with their certificates: one in its time, one that has ended."""
    made = []
    for start, end in ((-10, 30), (-10, -1)):
        private = rsa.generate_private_key(65537, 2048)
        name, now = x509.Name.from_rfc4514_string("CN=test"), datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
        dated = builder.not_valid_before(now + timedelta(days=start)).not_valid_after(now + timedelta(days=end))
        signed = dated.serial_number(1).sign(private, hashes.SHA256())
        made.append(Signer(RSAKey(private, private), signed.public_bytes(Encoding.DER)))
    return made


@pytest.fixture(scope="module")
def issuer_key() -> RSAKey:
    return generate_key()


@pytest.fixture
async def client(installation: Installation, issuer_key: RSAKey) -> AsyncIterator[httpx.AsyncClient]:
    async def keys_of(issuer: str) -> dict[str, Any]:
        assert issuer == ISSUER
        return {"keys": [issuer_key.as_dict(private=False)]}

    transport = httpx.ASGITransport(create_app(installation.tokens, keys_of))
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as it:
        yield it


@pytest.fixture
async def app_id(installation: Installation, signers: list[Signer]) -> str:
    principal, _ = await installation.directory.create_application("app")
    credentials = [stored_certificate({"key": base64.b64encode(s.der).decode()}) for s in signers]
    trusted = {"id": "1", "name": "pod", "issuer": ISSUER, "subject": SUBJECT, "audiences": [AUDIENCE]}

    def work(tx: Any) -> None:
        document = tx.note(APPLICATION, principal.client_id)
        more = {"keyCredentials": credentials, "federatedIdentityCredentials": [trusted]}
        tx.put_note(APPLICATION, principal.client_id, {**document, **more})

    await installation.store.transact(work)
    return principal.client_id


def assertion(installation: Installation, app_id: str, signer: Signer, header: dict[str, Any], **claims: Any) -> str:
    now = int(time.time())
    digest = hashlib.sha1(signer.der).digest()
    said = {
        "aud": f"{BASE}/{installation.admin.tenantId}/oauth2/v2.0/token",
        "iss": app_id,
        "sub": app_id,
        "exp": now + 600,
        "nbf": now,
        "jti": "1",
        **claims,
    }
    full = {"alg": "RS256", "typ": "JWT", "x5t": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), **header}
    return jwt.encode(full, said, signer.key, algorithms=["RS256", "PS256"])


async def asked(client: httpx.AsyncClient, installation: Installation, app_id: str, proof: str) -> httpx.Response:
    form = {
        "grant_type": "client_credentials",
        "client_id": app_id,
        "client_assertion": proof,
        "client_assertion_type": JWT_BEARER,
        "scope": f"{BASE}/.default",
    }
    return await client.post(f"/{installation.admin.tenantId}/oauth2/v2.0/token", data=form)


async def test_sign_in_with_a_certificate(
    client: httpx.AsyncClient, installation: Installation, app_id: str, signers: list[Signer]
) -> None:
    sha256 = base64.urlsafe_b64encode(hashlib.sha256(signers[0].der).digest()).rstrip(b"=").decode()
    for header in ({}, {"alg": "PS256", "x5t#S256": sha256, "x5t": None}):
        proof = assertion(installation, app_id, signers[0], {k: v for k, v in header.items() if v is not None})
        answer = await asked(client, installation, app_id, proof)
        assert answer.status_code == 200, answer.text
        principal = installation.verifier.authenticate(f"Bearer {answer.json()['access_token']}")
        assert (principal.client_id, principal.claims["appidacr"]) == (app_id, "2")
    # As somebody calls the token service who is in a virtual network.
    named = f"https://login.sorairo.internal/{installation.admin.tenantId}/oauth2/v2.0/token"
    proof = assertion(installation, app_id, signers[0], {}, aud=named)
    assert (await asked(client, installation, app_id, proof)).status_code == 200


@pytest.mark.parametrize(
    ("which", "claims", "header", "code"),
    [
        (1, {}, {}, 700027),
        (0, {}, {"x5t": "AAAA"}, 700027),
        (0, {"aud": "https://elsewhere.example"}, {}, 700023),
        (0, {"exp": int(time.time()) - 3600}, {}, 700024),
        (0, {"nbf": int(time.time()) + 3600}, {}, 700024),
        (0, {"iss": "someone", "sub": "someone"}, {}, 700021),
    ],
)
async def test_certificates_refused(
    client: httpx.AsyncClient,
    installation: Installation,
    app_id: str,
    signers: list[Signer],
    which: int,
    claims: dict[str, Any],
    header: dict[str, Any],
    code: int,
) -> None:
    answer = await asked(
        client, installation, app_id, assertion(installation, app_id, signers[which], header, **claims)
    )
    assert answer.json()["error_codes"] == [code]


async def test_a_signature_of_another_key(
    client: httpx.AsyncClient, installation: Installation, app_id: str, signers: list[Signer]
) -> None:
    forged = assertion(installation, app_id, Signer(signers[1].key, signers[0].der), {})
    answer = await asked(client, installation, app_id, forged)
    assert answer.json()["error_codes"] == [700027]
    assert "verify the signature failed" in answer.json()["error_description"]


def token(key: RSAKey, **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": SUBJECT, "aud": [AUDIENCE], "exp": now + 600, "iat": now, **changes}
    return jwt.encode({"alg": "RS256", "kid": str(key.kid)}, claims, key, algorithms=["RS256"])


async def test_sign_in_with_a_pods_token(
    client: httpx.AsyncClient, installation: Installation, app_id: str, issuer_key: RSAKey
) -> None:
    answer = await asked(client, installation, app_id, token(issuer_key))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": "https://other.example"}, 700211),
        ({"sub": "system:serviceaccount:a:c"}, 700213),
        ({"aud": ["other"]}, 700212),
        ({"exp": int(time.time()) - 3600}, 700024),
    ],
)
async def test_federated_tokens_refused(
    client: httpx.AsyncClient,
    installation: Installation,
    app_id: str,
    issuer_key: RSAKey,
    changes: dict[str, Any],
    code: int,
) -> None:
    answer = await asked(client, installation, app_id, token(issuer_key, **changes))
    assert answer.json()["error_codes"] == [code]


async def test_a_federated_token_signed_by_someone_else(
    client: httpx.AsyncClient, installation: Installation, app_id: str, issuer_key: RSAKey, signers: list[Signer]
) -> None:
    other = RSAKey.import_key({**signers[0].key.as_dict(private=True), "kid": str(issuer_key.kid)})
    answer = await asked(client, installation, app_id, token(other))
    assert answer.json()["error_codes"] == [50013]


async def test_only_issuers_on_this_machine_are_asked() -> None:
    with pytest.raises(EntraError) as refused:
        await LoopbackIssuers()("https://token.actions.githubusercontent.com")
    assert refused.value.code == 50166
    for url in ("http://127.0.0.1:1/x", "https://[::1]/", "https://a.oidc.sorairo.internal/"):
        assert is_local(url)
    for url in ("http://10.0.0.1", "https://sorairo.internal.example", "file:///etc/passwd", "http://[", ""):
        assert not is_local(url)
