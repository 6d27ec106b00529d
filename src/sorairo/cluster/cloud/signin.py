"""Tokens for the resource manager, as the cluster's principal.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import httpx

EARLY = 300.0
"""Seconds before its end that a token is no longer used."""
USED = 30.0
"""Seconds after which it is no longer used in any case. Azure's own programs use one to its end, and so learn an hour
late that their secret has expired or their principal has gone; signing in costs milliseconds here."""


class SignInFailed(Exception):
    """No token: `str(e)` has the token service's own words, AADSTS code first."""


class Credential(Protocol):
    async def token(self) -> str:
        """Raises SignInFailed."""
        ...

    def forget(self) -> None:
        """The token was refused: the next call gets a new one."""
        ...


class ClientSecret:
    """A service principal's: client credentials, for as long as the secret holds."""

    def __init__(
        self, http: httpx.AsyncClient, login: str, tenant_id: str, client_id: str, secret: str, audience: str
    ) -> None:
        """`login`: `https://HOST[:PORT]` of the token service; `audience`: what tokens are for."""
        self._http = http
        self._url = f"{login}/{tenant_id}/oauth2/v2.0/token"
        self._form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": secret,
            "scope": f"{audience}/.default",
        }
        self._token, self._until = "", 0.0

    async def token(self) -> str:
        if time.time() >= self._until:
            await self._sign_in()
        return self._token

    def forget(self) -> None:
        self._until = 0.0

    async def _sign_in(self) -> None:
        try:
            response = await self._http.post(self._url, data=self._form)
            body = response.json()
        except (httpx.TransportError, ValueError) as e:
            raise SignInFailed(f"ClientSecretCredential: {self._url}: {e or type(e).__name__}") from e
        if response.status_code != 200:
            told = body.get("error_description") or body.get("error") or response.text
            raise SignInFailed(
                f"ClientSecretCredential authentication failed. POST {self._url} "
                f"RESPONSE {response.status_code}: {told}"
            )
        self._token = str(body["access_token"])
        self._until = _until(float(body["expires_in"]))


class Issued:
    """A managed identity's, where the token service is at hand: `issue` makes a token that lives `lifetime` seconds.

    `issue` raises LookupError when there is no such identity."""

    def __init__(self, issue: Callable[[], str], lifetime: float) -> None:
        self._issue = issue
        self._lifetime = lifetime
        self._token, self._until = "", 0.0

    async def token(self) -> str:
        if time.time() >= self._until:
            try:
                self._token = self._issue()
            except LookupError as e:
                raise SignInFailed(f"ManagedIdentityCredential authentication failed. Identity not found: {e}") from e
            self._until = _until(self._lifetime)
        return self._token

    def forget(self) -> None:
        self._until = 0.0


def _until(lifetime: float) -> float:
    return time.time() + min(lifetime - EARLY, USED)
