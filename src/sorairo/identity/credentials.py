"""What applications and service principals prove themselves with (secrets, certificates), and users (a password).

Stored shapes are Graph's `passwordCredential` and `keyCredential` with members of our own beside them. Secrets are
never kept, only salted hashes: they are generated here from 190 random bits, so a fast hash is as hard to turn back as
a slow one. A user's password is a person's choice, so it gets a slow one.
https://learn.microsoft.com/graph/api/resources/passwordcredential
https://learn.microsoft.com/graph/api/resources/keycredential
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import string
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

Document = dict[str, Any]

_ALPHABET = string.ascii_letters + string.digits + "~._-"
SECRET_YEARS = 2
"""Life of a secret where nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Secret:
    key_id: str
    value: str
    """Known only now: the directory keeps its hash."""
    ends: float
    """Unix seconds."""
    starts: float = 0.0
    """Unix seconds; 0: from when it was stored."""
    name: str | None = None


def new_secret(years: float = SECRET_YEARS) -> Secret:
    """Forty characters that start as Entra's do, and no leading `-`, which command lines take for an option."""
    value = "sr8Q~" + "".join(secrets.choice(_ALPHABET) for _ in range(35))
    return Secret(str(uuid.uuid4()), value, time.time() + years * 365 * 86400)


def stored(secret: Secret) -> Document:
    salt = secrets.token_hex(16)
    starts = secret.starts or time.time()
    return {
        "keyId": secret.key_id,
        "displayName": secret.name,
        "hint": secret.value[:3],
        "salt": salt,
        "hash": _hash(salt, secret.value),
        "starts": starts,
        "ends": secret.ends,
        "startDateTime": iso(starts),
        "endDateTime": iso(secret.ends),
    }


def matches(credential: Document, secret: str) -> bool:
    return hmac.compare_digest(_hash(credential["salt"], secret), credential["hash"])


def alive(credential: Document, now: float) -> bool:
    return bool(credential["starts"] <= now < credential["ends"])


def shown_secret(credential: Document, value: str | None = None) -> Document:
    """As Graph shows it; the value only in the answer to `addPassword`."""
    return {
        "customKeyIdentifier": None,
        "displayName": credential.get("displayName"),
        "endDateTime": credential["endDateTime"],
        "hint": credential["hint"],
        "keyId": credential["keyId"],
        "secretText": value,
        "startDateTime": credential.get("startDateTime") or iso(credential["starts"]),
    }


# --- certificates --------------------------------------------------------------------------------------------


def stored_certificate(given: Document, now: float | None = None) -> Document:
    """A `keyCredential` as a client sends it, checked. Its life is what it says, within the certificate's own.

    Raises ValueError: no certificate, or dates outside its own.
    """
    certificate = read_certificate(given.get("key"))
    starts, ends = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    asked_start = parse_time(given.get("startDateTime"), starts)
    asked_end = parse_time(given.get("endDateTime"), ends)
    # Clients cut microseconds off differently; a second either way is not a mistake.
    if asked_start < starts - 1 or asked_end > ends + 1:
        raise ValueError("Key credential start and end dates must lie within those of the certificate.")
    der = certificate.public_bytes(Encoding.DER)
    return {
        "customKeyIdentifier": hashlib.sha1(der, usedforsecurity=False).hexdigest().upper(),
        "displayName": given.get("displayName") or certificate.subject.rfc4514_string(),
        "keyId": str(given.get("keyId") or uuid.uuid4()),
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
        "key": base64.b64encode(der).decode(),
        "sha256": hashlib.sha256(der).hexdigest(),
        "starts": asked_start,
        "ends": asked_end,
        "startDateTime": iso(asked_start),
        "endDateTime": iso(asked_end),
    }


def read_certificate(key: object) -> x509.Certificate:
    """From base64 of DER or of PEM, as clients write it. Raises ValueError."""
    if not isinstance(key, str):
        raise ValueError("Key value is missing.")
    try:
        raw = base64.b64decode("".join(key.split()), validate=True)
        if raw.lstrip().startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(raw)
        return x509.load_der_x509_certificate(raw)
    except (binascii.Error, ValueError) as cause:
        raise ValueError("Key value is invalid certificate.") from cause


def shown_certificate(credential: Document, *, key: bool = False) -> Document:
    """Without the certificate itself unless it was selected, as Graph does."""
    names = ("customKeyIdentifier", "displayName", "endDateTime", "keyId", "startDateTime", "type", "usage")
    return {**{n: credential[n] for n in names}, "key": credential["key"] if key else None}


# --- passwords -----------------------------------------------------------------------------------------------


def stored_password(password: str) -> Document:
    salt = secrets.token_bytes(16)
    return {"salt": salt.hex(), "hash": _slow(salt, password), "changed": time.time()}


def is_password(kept: Document, password: str) -> bool:
    """Costs about 50 ms, which is its purpose."""
    return hmac.compare_digest(_slow(bytes.fromhex(kept["salt"]), password), kept["hash"])


def is_strong(password: str) -> bool:
    """Entra's rule: 8 to 256 characters, three of the four kinds.

    https://learn.microsoft.com/entra/identity/authentication/concept-sspr-policy#password-policies-that-only-apply-to-cloud-user-accounts
    """
    kinds = (str.islower, str.isupper, str.isdigit, lambda c: not c.isalnum())
    return 8 <= len(password) <= 256 and sum(any(kind(c) for c in password) for kind in kinds) >= 3


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: object, default: float) -> float:
    """Unix seconds of an RFC 3339 time; `default` when there is none. Raises ValueError."""
    if text in (None, ""):
        return default
    at = datetime.fromisoformat(str(text))
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _hash(salt: str, value: str) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + value.encode()).hexdigest()


def _slow(salt: bytes, password: str) -> str:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1).hex()
