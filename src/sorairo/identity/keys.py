"""The RSA keys tokens are signed with: a JWK set in a file of the state directory, readable by its owner alone."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateNumbers, RSAPublicNumbers
from joserfc.jwk import RSAKey

from sorairo.files import write_private

BITS = 2048
"""What Entra uses; verifying costs 30 µs."""


class SigningKeys:
    """The newest key signs, all of them verify: a key is retired by dropping it once its last token has ended."""

    def __init__(self, keys: list[RSAKey]) -> None:
        if not keys:
            raise ValueError("a token service needs a signing key")
        self._by_kid = {str(k.kid): k for k in keys}
        self.current = keys[-1]

    def find(self, kid: object) -> RSAKey | None:
        return self._by_kid.get(kid) if isinstance(kid, str) else None

    def public(self) -> dict[str, Any]:
        """The JWK set that clients fetch."""
        return {"keys": [{**k.as_dict(private=False), "use": "sig"} for k in self._by_kid.values()]}


def generate_key() -> RSAKey:
    key = RSAKey.generate_key(BITS)
    return RSAKey.import_key({**key.as_dict(private=True), "kid": key.thumbprint()})


def load_keys(path: Path) -> SigningKeys:
    """Read the keys, or make the first one. The file appears whole or not at all, with mode 0600."""
    if not path.exists():
        write_private(path, json.dumps({"keys": [generate_key().as_dict(private=True)]}).encode())
    return SigningKeys([_load(k) for k in json.loads(path.read_bytes())["keys"]])


def _load(jwk: dict[str, str]) -> RSAKey:
    """A key from our own file. Its primes are not tested again, which costs a tenth of a second of every start."""

    def number(name: str) -> int:
        return int.from_bytes(base64.urlsafe_b64decode(jwk[name] + "=="))

    public = RSAPublicNumbers(number("e"), number("n"))
    p, q, d, dp, dq, qi = map(number, ("p", "q", "d", "dp", "dq", "qi"))
    private = RSAPrivateNumbers(p, q, d, dp, dq, qi, public)
    native = private.private_key(unsafe_skip_rsa_key_validation=True)
    return RSAKey(native, native, {"kid": jwk["kid"]})
