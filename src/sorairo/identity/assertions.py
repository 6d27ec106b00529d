"""Signed assertions that a client proves itself with: by a certificate of its own, or by another issuer's token.

https://learn.microsoft.com/entra/identity-platform/certificate-credentials
https://learn.microsoft.com/entra/workload-id/workload-identity-federation
"""

from __future__ import annotations

import base64
import ipaddress
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey

from sorairo.identity import errors
from sorairo.identity.credentials import alive, iso

Document = dict[str, Any]
IssuerKeys = Callable[[str], Awaitable[Document]]
"""The JWK set of an issuer, by its URL; raises EntraError when there is none to be had."""

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = ("RS256", "PS256")
SKEW = 300
"""Seconds a clock may be off."""
LONGEST = 65536
KEEP = 300.0
"""Seconds the keys of an issuer are remembered."""
_SUFFIX = ".sorairo.internal"


def read(assertion: str) -> tuple[Document, Document]:
    """Header and claims, not yet verified. Raises EntraError 50027."""
    parts = assertion.split(".")
    if len(parts) != 3 or len(assertion) > LONGEST:
        raise errors.malformed_assertion()
    try:
        header, claims = (msgspec.json.decode(_unpack(p), type=dict[str, Any]) for p in parts[:2])
    except ValueError as cause:
        raise errors.malformed_assertion() from cause
    return header, claims


def by_certificate(
    assertion: str, client_id: str, certificates: list[Document], audiences: frozenset[str], now: float
) -> None:
    """`certificates`: stored keyCredentials; `audiences`: how clients write our token endpoint.

    Raises EntraError: 700027 (no such certificate, expired, or not its signature), 700021 (another client's),
    700023 (audience), 700024 (not valid now), 50027.
    """
    header, claims = read(assertion)
    thumbprint = _thumbprint(header)
    key = next((c for c in certificates if thumbprint in (c["customKeyIdentifier"], c["sha256"].upper())), None)
    if key is None:
        raise errors.bad_certificate(client_id, "The key was not found.", thumbprint)
    if not alive(key, now):
        raise errors.bad_certificate(
            client_id, f"The key used is expired. Found key 'Start={key['startDateTime']}, End={key['endDateTime']}'",
            thumbprint,
        )  # fmt: skip
    public = x509.load_der_x509_certificate(base64.b64decode(key["key"])).public_key()
    if not isinstance(public, RSAPublicKey):
        raise errors.bad_certificate(client_id, "The key is not an RSA key.", thumbprint)
    if header.get("crit") is not None:
        raise errors.malformed_assertion()
    try:
        jws.deserialize_compact(assertion, RSAKey(public, public), algorithms=list(ALGORITHMS))
    except (JoseError, ValueError) as cause:
        raise errors.bad_certificate(
            client_id, "The key was found, but use of the key to verify the signature failed.", thumbprint
        ) from cause
    if claims.get("iss") != client_id or claims.get("sub") != client_id:
        raise errors.another_client()
    given = claims.get("aud")
    if not isinstance(given, str) or given.rstrip("/") not in audiences:
        raise errors.wrong_assertion_audience(str(given))
    _in_time(claims, now)


async def by_federation(assertion: str, trusted: list[Document], keys_of: IssuerKeys, now: float) -> None:
    """`trusted`: stored federatedIdentityCredentials.

    Raises EntraError: 700211, 700213, 700212 (issuer, subject, audience that nobody trusts), 50013 (signature),
    700024, 50027, 50166 (its keys cannot be had).
    """
    header, claims = read(assertion)
    issuer, subject, audience = (claims.get(n) for n in ("iss", "sub", "aud"))
    audiences = audience if isinstance(audience, list) else [audience]
    left = [c for c in trusted if c["issuer"] == issuer]
    if not left:
        raise errors.no_federation(700211, "issuer", str(issuer))
    left = [c for c in left if c["subject"] == subject]
    if not left:
        raise errors.no_federation(700213, "subject", str(subject))
    if not any(set(c["audiences"]) & set(map(str, audiences)) for c in left):
        raise errors.no_federation(700212, "audience", ", ".join(map(str, audiences)))
    _in_time(claims, now)
    found = await keys_of(str(issuer))
    try:
        keys = KeySet.import_key_set({"keys": [k for k in found["keys"] if k.get("kty") == "RSA"]})
        if not any(k.kid == header.get("kid") for k in keys) or header.get("crit") is not None:
            raise errors.unknown_issuer_key(str(header.get("kid")))
        jws.deserialize_compact(assertion, keys, algorithms=list(ALGORITHMS))
    except (JoseError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise errors.unknown_issuer_key(str(header.get("kid"))) from cause


def _in_time(claims: Document, now: float) -> None:
    ends, starts = claims.get("exp"), claims.get("nbf", 0)
    if not isinstance(ends, int | float) or not isinstance(starts, int | float):
        raise errors.malformed_assertion()
    if now >= ends + SKEW or now < starts - SKEW:
        raise errors.assertion_not_in_time(iso(now), iso(starts), iso(ends))


def _thumbprint(header: Document) -> str:
    """In upper case hexadecimal: SHA-1 of `x5t`, or SHA-256 of `x5t#S256`."""
    text = header.get("x5t#S256") or header.get("x5t")
    try:
        return _unpack(text).hex().upper() if isinstance(text, str) else ""
    except ValueError:
        return ""


def _unpack(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


class LoopbackIssuers:
    """Keys of issuers on this machine, fetched from their discovery document. No other is asked: nothing here calls
    out, and a credential's issuer must not make us fetch what its writer could not."""

    def __init__(self, ca: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """`ca`: whom to trust besides nobody, since an `https` issuer here has our own certificate."""
        self._ca = ca
        self._clock = clock
        self._kept: dict[str, tuple[float, Document]] = {}

    async def __call__(self, issuer: str) -> Document:
        kept = self._kept.get(issuer)
        if kept is not None and self._clock() < kept[0]:
            return kept[1]
        if not is_local(issuer):
            raise errors.issuer_unreachable(issuer, "sorairo asks issuers on this machine only")
        verify = ssl.create_default_context(cafile=str(self._ca)) if self._ca and self._ca.exists() else True
        try:
            async with httpx.AsyncClient(verify=verify, timeout=5, trust_env=False) as client:
                discovery = await _json(client, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
                if discovery.get("issuer") != issuer or not is_local(str(discovery.get("jwks_uri"))):
                    raise errors.issuer_unreachable(issuer, "its discovery document names another issuer")
                keys = await _json(client, str(discovery["jwks_uri"]))
        except (httpx.HTTPError, ValueError) as cause:
            raise errors.issuer_unreachable(issuer, type(cause).__name__) from cause
        if not isinstance(keys.get("keys"), list):
            raise errors.issuer_unreachable(issuer, "it has no keys")
        self._kept[issuer] = (self._clock() + KEEP, keys)
        if len(self._kept) > 256:
            self._kept.pop(next(iter(self._kept)))
        return keys


async def _json(client: httpx.AsyncClient, url: str) -> Document:
    answer = await client.get(url)
    answer.raise_for_status()
    return msgspec.json.decode(answer.content[: 1 << 20], type=dict[str, Any])


def is_local(url: str) -> bool:
    """Whether a URL's host is this machine, without asking a name service."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme not in ("http", "https"):
        return False
    if host == "localhost" or host.endswith(_SUFFIX):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
