"""The browser's side of the token service: `authorize`, and the page where a device's code is approved."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sorairo.identity import errors, pages
from sorairo.identity.clients import Clients
from sorairo.identity.directory import Directory
from sorairo.identity.errors import EntraError
from sorairo.identity.form import read_form
from sorairo.identity.people import CODE_LIFETIME, FIRST_PARTY, Pending, People, resource_of

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class SignIn:
    def __init__(self, directory: Directory, people: People, clients: Clients) -> None:
        self._directory = directory
        self._people = people
        self._clients = clients

    async def authorize(self, request: Request) -> Response:
        """GET shows the page; POST signs in and goes back to the client with a code. What is wrong with the request
        itself is shown, not sent on: who cannot be trusted with a code is not to be redirected to either."""
        query = dict(request.query_params)
        client_id, uri = query.get("client_id", "").lower(), query.get("redirect_uri", "")
        try:
            name = self._clients.name(client_id)
            self._check_redirect(client_id, uri)
        except EntraError as e:
            return pages.done("Sign-in is not possible", str(e), 400)
        if query.get("response_type") != "code":
            return _back(uri, query, {"error": "unsupported_response_type", "error_description": "AADSTS700054: "
                                      "response_type 'code' is the only one that is enabled."})  # fmt: skip
        if query.get("code_challenge") and query.get("code_challenge_method") != "S256":
            return _back(uri, query, {"error": "invalid_request", "error_description": "AADSTS501491: the "
                                      "code_challenge_method must be S256."})  # fmt: skip
        try:
            resource_of(query.get("scope", ""))
        except EntraError as e:
            return _back(uri, query, {"error": e.error, "error_description": str(e)})
        if request.method == "GET":
            return pages.sign_in(name, user=query.get("login_hint", ""))
        form = await read_form(request)
        user, wrong = await self._check(form)
        if wrong:
            return pages.sign_in(name, wrong=wrong, user=form.get("username", ""))
        code = self._people.new_code(
            Pending(
                client_id,
                query.get("scope", ""),
                time.time() + CODE_LIFETIME,
                user,
                redirect_uri=uri,
                challenge=query.get("code_challenge", ""),
                nonce=query.get("nonce", ""),
            )
        )
        return _back(uri, query, {"code": code})

    async def device(self, request: Request) -> Response:
        """The page a device's message sends a person to."""
        if request.method == "GET":
            code = request.query_params.get("otc", "")
            waiting = self._people.device(code) if code else None
            return pages.sign_in(self._clients.name(waiting.client_id) if waiting else "", code=code)
        form = await read_form(request)
        code = form.get("code", "")
        waiting = self._people.device(code)
        if waiting is None:
            return pages.sign_in(
                "", wrong="That code is unknown or has expired.", user=form.get("username", ""), code=""
            )
        name = self._clients.name(waiting.client_id)
        if form.get("decline"):
            waiting.declined = True
            return pages.done("Declined", f"{name} was not signed in. You may close this window.")
        user, wrong = await self._check(form)
        if wrong:
            return pages.sign_in(name, wrong=wrong, user=form.get("username", ""), code=code)
        waiting.user_id = user
        return pages.done("Signed in", f"You have signed in to {name}. You may close this window.")

    async def _check(self, form: Mapping[str, str]) -> tuple[str, str]:
        """Object id of the user, or what to tell them. The hash is slow on purpose, so it is not ours to wait for."""
        try:
            user = await asyncio.to_thread(
                self._directory.check_password, form.get("username", "").strip(), form.get("password", "")
            )
        except EntraError as e:
            return "", str(e)
        return str(user["id"]), ""

    def _check_redirect(self, client_id: str, uri: str) -> None:
        """A client of everybody's listens on this machine; an application says where it does. The port of a loopback
        address is free. Raises EntraError 50011."""
        try:
            parts = urlsplit(uri)
            host = parts.hostname
        except ValueError:
            raise errors.bad_redirect(uri, client_id) from None
        loopback = parts.scheme == "http" and host in _LOOPBACK
        if client_id in FIRST_PARTY:
            if not loopback:
                raise errors.bad_redirect(uri, client_id)
            return
        application = self._directory.application(client_id) or {}
        registered = [
            u for k in ("web", "spa", "publicClient") for u in (application.get(k) or {}).get("redirectUris", [])
        ]
        if uri in registered:
            return
        if loopback and any(_same_but_port(uri, r) for r in registered):
            return
        raise errors.bad_redirect(uri, client_id)


def _same_but_port(one: str, other: str) -> bool:
    a, b = urlsplit(one), urlsplit(other)
    return (a.scheme, a.hostname, a.path.rstrip("/")) == (b.scheme, b.hostname, b.path.rstrip("/"))


def _back(uri: str, query: Mapping[str, str], values: dict[str, str]) -> Response:
    """To the client, the way it asked for."""
    if "state" in query:
        values["state"] = query["state"]
    mode = query.get("response_mode") or "query"
    if mode == "form_post":
        return pages.form_post(uri, values)
    mark = "#" if mode == "fragment" else "&" if "?" in uri else "?"
    return RedirectResponse(f"{uri}{mark}{urlencode(values)}", 302, headers={"Cache-Control": "no-store"})
