"""Which application a token request comes from, and how it proves that."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_plus

from sorairo.identity import assertions, errors
from sorairo.identity.assertions import IssuerKeys
from sorairo.identity.directory import ServicePrincipal
from sorairo.identity.people import FIRST_PARTY
from sorairo.identity.tokens import Tokens

IdentityTrusts = Callable[[str], list[dict[str, Any]]]
"""Federated credentials (`issuer`, `subject`, `audiences`) of a managed identity, by its resource id."""
SECRET, CERTIFICATE = "1", "2"
"""`appidacr` of the tokens."""


class Clients:
    def __init__(self, tokens: Tokens, issuer_keys: IssuerKeys, identity_trusts: IdentityTrusts) -> None:
        self._tokens = tokens
        self._directory = tokens.directory
        self._issuer_keys = issuer_keys
        self._identity_trusts = identity_trusts

    async def confidential(self, form: Mapping[str, str], header: str) -> tuple[ServicePrincipal, str]:
        """The service principal, and by what it was proved. `header`: Authorization, for a Basic one.

        Raises EntraError: 900144, 700016, 7000218 (no credential) and what each credential is refused with.
        """
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        if not client_id:
            client_id, secret = _basic(header)
        if not client_id:
            raise errors.missing_parameter("client_id")
        if self._directory.by_client_id(client_id) is None:
            raise errors.unknown_application(client_id, self._directory.tenant["displayName"])
        if secret:
            return self._directory.check_secret(client_id, secret), SECRET
        assertion = form.get("client_assertion", "")
        if not assertion:
            raise errors.no_credential()
        return await self._by_assertion(client_id.lower(), assertion), CERTIFICATE

    async def public(self, form: Mapping[str, str], header: str) -> str:
        """The client of a user's sign-in, by its id. An application that has credentials may prove itself as well,
        and is refused when it does so wrongly."""
        client_id = form.get("client_id", "").lower()
        if not client_id:
            raise errors.missing_parameter("client_id")
        self.name(client_id)
        if form.get("client_secret") or form.get("client_assertion"):
            await self.confidential(form, header)
        return client_id

    def name(self, client_id: str) -> str:
        """What a person knows the client as. Raises EntraError 700016."""
        application = self._directory.application(client_id)
        if client_id in FIRST_PARTY or application is None:
            if client_id not in FIRST_PARTY:
                raise errors.unknown_application(client_id, self._directory.tenant["displayName"])
            return FIRST_PARTY[client_id]
        return str(application["displayName"])

    async def _by_assertion(self, client_id: str, assertion: str) -> ServicePrincipal:
        principal = self._directory.by_client_id(client_id)
        assert principal is not None
        now = time.time()
        _, claims = assertions.read(assertion)
        if claims.get("iss") == client_id or claims.get("iss") == claims.get("sub"):
            certificates = self._directory.credentials(client_id, "keyCredentials")
            assertions.by_certificate(assertion, client_id, certificates, self._audiences(), now)
        else:
            if principal.resource_id:
                trusted = self._identity_trusts(principal.resource_id)
            else:
                trusted = (self._directory.application(client_id) or {}).get("federatedIdentityCredentials", [])
            await assertions.by_federation(assertion, trusted, self._issuer_keys, now)
        if not principal.enabled:
            raise errors.disabled(client_id, principal.name)
        return principal

    def _audiences(self) -> frozenset[str]:
        """How clients name us in an assertion: the token endpoint's URL or the issuer's, by any name of the tenant."""
        authority, tenant = self._tokens.authority, self._directory.tenant
        names = (tenant["tenantId"], tenant["domain"], "common", "organizations")
        paths = ("oauth2/v2.0/token", "oauth2/token", "v2.0", "")
        return frozenset().union(*(authority.endpoints(f"{n}/{p}") for n in names for p in paths))


def _basic(header: str) -> tuple[str, str]:
    """Client id and secret of a Basic header, each form-encoded (RFC 6749 2.3.1); empty when there is none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return unquote_plus(client_id), unquote_plus(secret)
