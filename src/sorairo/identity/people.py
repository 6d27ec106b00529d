"""Users' tokens: what a person who signed in once is given, again and again.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow
https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError

from sorairo.identity import errors
from sorairo.identity.directory import Directory
from sorairo.identity.tokens import LIFETIME, SKEW, Tokens

Document = dict[str, Any]

REFRESH_LIFETIME = 90 * 86400
CODE_LIFETIME = 600
DEVICE_LIFETIME = 900
INTERVAL = 5
"""Seconds between a device's questions."""
_REFRESH = "refresh+jwt"
"""`typ` of refresh tokens: nothing else takes them, since access tokens are `JWT`."""
OIDC = frozenset({"openid", "profile", "email", "offline_access"})
"""Scopes that name no resource."""
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ23456789"
"""Of user codes: no vowels, so no words; nothing that looks like something else."""
MOST = 1000
"""Sign-ins under way at once; the oldest gives way."""

# Public clients of Microsoft's own that exist in every tenant.
FIRST_PARTY = {
    "04b07795-8ddb-461a-bbee-02f9e1bf7b46": "Microsoft Azure CLI",
    "1950a258-227b-4e31-a9cf-717495945fc2": "Microsoft Azure PowerShell",
    "80faf920-1908-4b52-b5ef-a8e7bedfc67a": "Azure Kubernetes Service AAD Client",
    "aebc6443-996d-45c2-90f0-388ff96faa56": "Visual Studio Code",
    "0c1307d4-29d6-4389-a11c-5cbe7f65d7fa": "Azure Mobile App",
}


@dataclass(slots=True)
class Pending:
    """A sign-in under way."""

    client_id: str
    scope: str
    ends: float
    user_id: str = ""
    """Who signed in; '' until then."""
    declined: bool = False
    redirect_uri: str = ""
    challenge: str = ""
    nonce: str = ""


class People:
    """Codes live in memory: a restart of some minutes' sign-ins asks for another try. Refresh tokens do not: they are
    signed, so that nothing is kept for them, and hold while the user is there and the password is the same."""

    def __init__(self, tokens: Tokens, clock: Callable[[], float] = time.time) -> None:
        self._tokens = tokens
        self._directory: Directory = tokens.directory
        self._clock = clock
        self.codes: dict[str, Pending] = {}
        self.devices: dict[str, Pending] = {}
        """By device code."""
        self.user_codes: dict[str, str] = {}
        """Of a user code, the device code."""

    # --- codes -----------------------------------------------------------------------------------------

    def new_code(self, it: Pending) -> str:
        code = f"0.A{secrets.token_urlsafe(48)}"
        _bounded(self.codes)[code] = it
        return code

    def redeem(self, code: str, client_id: str, redirect_uri: str, verifier: str) -> Pending:
        """Once. Raises EntraError 54005 (unknown, spent or too old), 50011, 501481 (PKCE)."""
        it = self.codes.pop(code, None)
        if it is None or it.client_id != client_id or self._clock() >= it.ends:
            raise errors.spent_code()
        if redirect_uri != it.redirect_uri:
            raise errors.bad_redirect(redirect_uri, client_id)
        if it.challenge:
            digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
            if not hmac.compare_digest(digest, it.challenge):
                raise errors.bad_verifier()
        return it

    def new_device(self, client_id: str, scope: str) -> tuple[str, str]:
        """Device code, and the user code that a person types."""
        device, user = secrets.token_urlsafe(48), "".join(secrets.choice(_LETTERS) for _ in range(9))
        _bounded(self.devices)[device] = Pending(client_id, scope, self._clock() + DEVICE_LIFETIME)
        _bounded(self.user_codes)[user] = device
        return device, user

    def device(self, user_code: str) -> Pending | None:
        """What a user code stands for while it waits; None: unknown, too old, or answered."""
        it = self.devices.get(self.user_codes.get(user_code.strip().upper().replace("-", ""), ""))
        return it if it and self._clock() < it.ends and not it.user_id and not it.declined else None

    def redeem_device(self, device_code: str, client_id: str) -> Pending:
        """Raises EntraError 70016 (wait), 70018 (declined), 70019 (unknown or too old)."""
        it = self.devices.get(device_code)
        if it is None or it.client_id != client_id or self._clock() >= it.ends:
            raise errors.bad_device_code()
        if it.declined:
            raise errors.declined()
        if not it.user_id:
            raise errors.pending()
        del self.devices[device_code]
        return it

    # --- tokens ----------------------------------------------------------------------------------------

    def grant(self, user: Document, client_id: str, scope: str, *, client_info: bool, nonce: str = "") -> Document:
        """The token endpoint's answer. `scope` as asked: one resource's, with `openid` and its like.

        Raises EntraError 70011, 500011."""
        resource = resource_of(scope)
        if not self._tokens.authority.knows(resource, self._directory):
            raise errors.unknown_resource(resource, self._directory.tenant["displayName"])
        asked, now = scope.split(), int(self._clock())
        claims = self.claims(user, client_id, resource)
        answer: Document = {
            "scope": " ".join(s for s in asked if s not in OIDC) or f"{resource}/user_impersonation",
            "expires_in": LIFETIME - 1,
            "ext_expires_in": LIFETIME - 1,
            "access_token": self._tokens.sign(claims),
        }
        if "offline_access" in asked:
            answer["refresh_token"] = self._refresh_token(user["id"], client_id, now)
        if "openid" in asked:
            answer["id_token"] = self._id_token(user, client_id, nonce, now)
        if client_info:
            info = {"uid": user["id"], "utid": claims["tid"]}
            answer["client_info"] = base64.urlsafe_b64encode(json.dumps(info).encode()).rstrip(b"=").decode()
        return answer

    def claims(self, user: Document, client_id: str, audience: str) -> Document:
        tenant, issued = self._directory.tenant["tenantId"], int(self._clock())
        claims = {
            "aud": audience,
            "iss": self._tokens.authority.issuer(tenant),
            "iat": issued - SKEW,
            "nbf": issued - SKEW,
            "exp": issued + LIFETIME,
            "acr": "1",
            "amr": ["pwd"],
            "appid": client_id,
            "appidacr": "0",
            "idtyp": "user",
            "name": user["displayName"],
            "oid": user["id"],
            "scp": "user_impersonation",
            "sub": user["id"],
            "tid": tenant,
            "unique_name": user["userPrincipalName"],
            "upn": user["userPrincipalName"],
            "uti": base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode(),
            "ver": "1.0",
        }
        return {**claims, **self._tokens.groups(user["id"], "users")}

    def refresh(self, token: str, client_id: str) -> Document:
        """The user a refresh token stands for. Raises EntraError: 9002313 (none of ours), 700082 (too old), 50173
        (password changed since, user gone), 50057 (disabled)."""
        try:
            header = jws.extract_compact(token.encode()).headers()
            key = self._tokens.keys.find(header.get("kid"))
            if key is None or header.get("typ") != _REFRESH:
                raise errors.bad_refresh_token()
            claims = json.loads(jws.deserialize_compact(token, key, algorithms=["RS256"]).payload)
        except (JoseError, ValueError) as cause:
            raise errors.bad_refresh_token() from cause
        if claims["client"] != client_id:
            raise errors.bad_refresh_token()
        if self._clock() >= claims["exp"]:
            raise errors.expired_refresh_token()
        user = self._directory.user(claims["oid"])
        if user is None or user["password"]["changed"] > claims["at"]:
            raise errors.stale_grant()
        if not user["accountEnabled"]:
            raise errors.disabled_user()
        return user

    def _refresh_token(self, user_id: str, client_id: str, now: int) -> str:
        claims = {"oid": user_id, "client": client_id, "at": self._clock(), "exp": now + REFRESH_LIFETIME}
        key = self._tokens.keys.current
        header = {"alg": "RS256", "typ": _REFRESH, "kid": str(key.kid)}
        return jws.serialize_compact(header, json.dumps(claims).encode(), key, algorithms=["RS256"])

    def _id_token(self, user: Document, client_id: str, nonce: str, now: int) -> str:
        tenant = self._directory.tenant["tenantId"]
        claims = {
            "aud": client_id,
            "iss": self._tokens.authority.issuer_v2(tenant),
            "iat": now - SKEW,
            "nbf": now - SKEW,
            "exp": now + LIFETIME,
            "name": user["displayName"],
            "oid": user["id"],
            "preferred_username": user["userPrincipalName"],
            "sub": user["id"],
            "tid": tenant,
            "ver": "2.0",
        }
        return self._tokens.sign({**claims, "nonce": nonce} if nonce else claims)


def resource_of(scope: str) -> str:
    """The one resource that delegated scopes name: `https://x//.default` is `https://x/`'s, a bare name Graph's.
    Raises EntraError 70011 when they name several."""
    found = set()
    for one in scope.split():
        if one in OIDC:
            continue
        if one.endswith("/.default"):
            found.add(one.removesuffix("/.default"))
        else:
            found.add(one.rpartition("/")[0] or "https://graph.microsoft.com")
    if len(found) > 1:
        raise errors.bad_scope(scope)
    return found.pop() if found else "https://graph.microsoft.com"


def _bounded(kept: dict[str, Any]) -> dict[str, Any]:
    while len(kept) >= MOST:
        kept.pop(next(iter(kept)))
    return kept
