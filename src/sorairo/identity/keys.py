"""The RSA keys tokens are signed with: a JWK set in a file of the state directory, readable by its owner alone."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateNumbers, RSAPublicNumbers
from joserfc.jwk import RSAKey

from sorairo.files import write_private

BITS = 2048
"""What Entra uses; verifying costs 30 µs."""

ROTATE = 90 * 86400
"""Seconds a key signs. The next is made at the first start after that."""
KEEP = 91 * 86400
"""Seconds a key verifies after the next one took over: the life of a refresh token, and a day."""


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


def load_keys(path: Path, now: float | None = None) -> SigningKeys:
    """Read the keys, oldest first, and make the first one, or the next when the newest has signed for `ROTATE`. One
    whose successor is as old as the longest-lived token is dropped. The file appears whole or not at all, mode 0600."""
    now = time.time() if now is None else now
    kept = _kept(json.loads(path.read_bytes())["keys"] if path.exists() else [], now)
    if not kept or now - kept[-1]["made"] >= ROTATE:
        kept.append({**generate_key().as_dict(private=True), "made": now})
        write_private(path, json.dumps({"keys": kept}).encode())
    return SigningKeys([_load(k) for k in kept])


def _kept(keys: list[dict[str, Any]], now: float) -> list[dict[str, Any]]:
    """Those that may still have to verify something. One of unknown age counts as made now."""
    dated = [{**k, "made": k.get("made", now)} for k in keys]
    after = [k["made"] for k in dated[1:]] + [now]
    return [k for k, successor in zip(dated, after, strict=False) if now - successor < KEEP]


def _load(jwk: dict[str, Any]) -> RSAKey:
    """A key from our own file. Its primes are not tested again, which costs a tenth of a second of every start."""

    def number(name: str) -> int:
        return int.from_bytes(base64.urlsafe_b64decode(jwk[name] + "=="))

    public = RSAPublicNumbers(number("e"), number("n"))
    p, q, d, dp, dq, qi = map(number, ("p", "q", "d", "dp", "dq", "qi"))
    private = RSAPrivateNumbers(p, q, d, dp, dq, qi, public)
    native = private.private_key(unsafe_skip_rsa_key_validation=True)
    return RSAKey(native, native, {"kid": jwk["kid"]})
