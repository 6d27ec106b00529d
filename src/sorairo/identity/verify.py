"""Who sent this request: a bearer token verified in full.

Codes and words are Azure Resource Manager's.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError

from sorairo.engine.errors import ArmError
from sorairo.identity.principal import Principal
from sorairo.identity.tokens import Tokens

CACHED = 4096
"""Verified tokens remembered, so that a client's second request costs a hash rather than a signature."""
LONGEST = 16384
"""Characters of the longest token looked at."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Verifier:
    """`authenticate` for one audience set (ARM's own by default)."""

    def __init__(
        self,
        tokens: Tokens,
        audiences: frozenset[str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = tokens.keys
        self._authority = tokens.authority
        self._directory = tokens.directory
        self._audiences = audiences or tokens.authority.management
        self._clock = clock
        self._seen: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    def authenticate(self, authorization: str | None) -> Principal:
        """The principal an `Authorization` header proves. Raises ArmError (401): `AuthenticationFailed`,
        `InvalidAuthenticationToken`, `ExpiredAuthenticationToken`, `InvalidAuthenticationTokenTenant`,
        `InvalidAuthenticationTokenAudience`."""
        if not authorization:
            raise _refused("AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _refused(
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is provided in an invalid format.",
            )
        now = self._clock()
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        seen = self._seen.get(digest)
        if seen is not None:
            if now >= seen[1]:
                del self._seen[digest]
                raise _expired(seen[1], now)
            return seen[0]
        claims = self._verified(token)
        self._check(claims, now)
        groups = claims.get("groups", ())
        if "groups" in claims.get("_claim_names", {}):  # More than fit in a token.
            groups = self._directory.groups_of(claims["oid"])
        principal = Principal(claims["oid"], claims["tid"], claims.get("appid", ""), tuple(groups), claims)
        self._seen[digest] = (principal, claims["exp"])
        if len(self._seen) > CACHED:
            self._seen.popitem(last=False)
        return principal

    def challenge(self, error: ArmError, login: str = "") -> str:
        """The `WWW-Authenticate` header that goes with a 401. `login`: where the token service is for who asks."""
        uri = f"{login or self._authority.base}/{self._directory.tenant['tenantId']}"
        described = error.message.replace('"', "'")
        return f'Bearer authorization_uri="{uri}", error="invalid_token", error_description="{described}"'

    def _verified(self, token: str) -> dict[str, Any]:
        """The claims of a token that one of our keys signed as RS256, and no other way."""
        parts = token.split(".")
        if len(parts) != 3 or len(token) > LONGEST:
            raise _invalid()
        try:
            header = _decode(_unpacked(parts[0]))
            # The same bytes can be written as base64 in several ways; one token is one text.
            if _packed(_unpacked(parts[2])) != parts[2]:
                raise _invalid()
            key = self._keys.find(header.get("kid"))
            if header.get("alg") != "RS256" or header.get("typ") != "JWT" or key is None:
                raise _invalid()
            if {"crit", "b64", "zip", "enc", "jwk", "jku", "x5u", "x5c"} & header.keys():
                raise _invalid()
            return _decode(jws.deserialize_compact(token, key, algorithms=["RS256"]).payload)
        except (ValueError, JoseError) as cause:
            raise _invalid() from cause

    def _check(self, claims: dict[str, Any], now: float) -> None:
        expires, starts = claims.get("exp"), claims.get("nbf")
        if not (type(expires) is int and type(starts) is int):
            raise _invalid()
        if now >= expires:
            raise _expired(expires, now)
        if now < starts:
            raise _refused(
                "InvalidAuthenticationToken",
                f"The access token is not valid yet: it is valid from UTC time '{_utc(starts)}' "
                f"and current UTC time is '{_utc(now)}'.",
            )
        tenant = self._directory.tenant["tenantId"]
        issuer = self._authority.issuer(tenant)
        if claims.get("iss") != issuer or claims.get("tid") != tenant:
            raise _refused(
                "InvalidAuthenticationTokenTenant",
                f"The access token is from the wrong issuer '{claims.get('iss')}'. It must match the tenant "
                f"'{issuer}' associated with this subscription. Please use the authority (URL) "
                f"'{self._authority.base}/{tenant}' to get the token.",
            )
        audience = claims.get("aud")
        if not isinstance(audience, str) or audience not in self._audiences:
            allowed = ",".join(f"'{a}'" for a in sorted(self._audiences))
            raise _refused(
                "InvalidAuthenticationTokenAudience",
                f"The access token has been obtained for wrong audience or resource '{audience}'. It should exactly "
                f"match with one of the allowed audiences {allowed}.",
            )
        if claims.get("ver") != "1.0" or not _texts(claims, "oid", "sub"):
            raise _invalid()


def _refused(code: str, message: str) -> ArmError:
    return ArmError(code, message, status=401)


def _invalid() -> ArmError:
    return _refused("InvalidAuthenticationToken", "The access token is invalid.")


def _expired(expires: float, now: float) -> ArmError:
    return _refused(
        "ExpiredAuthenticationToken",
        f"The access token expiry UTC time '{_utc(expires)}' is earlier than current UTC time '{_utc(now)}'.",
    )


def _utc(at: float) -> str:
    """As .NET writes it: 7/14/2021 7:46:09 PM."""
    t = time.gmtime(at)
    hour = t.tm_hour % 12 or 12
    half = "PM" if t.tm_hour >= 12 else "AM"
    return f"{t.tm_mon}/{t.tm_mday}/{t.tm_year} {hour}:{t.tm_min:02}:{t.tm_sec:02} {half}"


def _texts(claims: dict[str, Any], *names: str) -> bool:
    return all(isinstance(claims.get(n), str) and claims[n] for n in names)


def _unpacked(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _packed(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
