"""A small ARM client of the standard library alone, so that commands start quickly."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from sorairo.cli.problem import Problem, not_running
from sorairo.identity.bootstrap import Credentials
from sorairo.state import Config, State

API = "2026-12-01"
"""api-version of what sorairo adds to ARM under `/providers/Microsoft.Sorairo`."""
RESOURCES = "2024-11-01"
CLUSTERS = "2026-06-01"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Any
    """The JSON, or None."""

    @property
    def error(self) -> dict[str, Any]:
        found = self.body.get("error", {}) if isinstance(self.body, dict) else {}
        return found if isinstance(found, dict) else {}


class Client:
    """Signed in as the administrator of a state directory."""

    def __init__(self, state: State) -> None:
        """Raises Problem when sorairo was never started there."""
        config = state.config()
        credentials = Credentials.read(state.credentials)
        if config is None or credentials is None:
            raise not_running(state.root)
        self.config: Config = config
        self.credentials: Credentials = credentials
        self.subscription = f"/subscriptions/{credentials.subscriptionId}"
        self._state = state
        self._tls = ssl.create_default_context(cafile=str(state.ca))
        self._connection: http.client.HTTPSConnection | None = None
        self._token = ""

    def get(self, path: str, api: str = API, **query: str) -> Any:
        """The JSON of a GET. Raises Problem with Azure's code and words."""
        return self.checked("GET", path, api, query=query).body

    def checked(
        self,
        method: str,
        path: str,
        api: str,
        body: Any = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        answer = self.call(method, path, api, body, query)
        if answer.status >= 400:
            error = answer.error
            raise Problem(f"{error.get('code', answer.status)}: {error.get('message', 'the request failed')}")
        return answer

    def call(
        self, method: str, path: str, api: str, body: Any = None, query: Mapping[str, str] | None = None
    ) -> Answer:
        """One request, whatever its answer. `path` may be a whole URL of ours, with its query."""
        found = urlsplit(path)
        target = quote(found.path, safe="/%:$,()'=@") + "?"
        target += found.query or urlencode({"api-version": api, **(query or {})})
        headers = {"Authorization": f"Bearer {self.token()}", "Accept": "application/json"}
        payload = None
        if body is not None:
            payload = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        return _answer(self._send(method, target, payload, headers))

    def wait(self, answer: Answer, tell: Callable[[dict[str, Any]], None] = lambda document: None) -> None:
        """Follow a long-running operation to its end. Raises Problem with what it failed with."""
        url = answer.headers.get("azure-asyncoperation", "")
        while url:
            found = self.checked("GET", url, "")
            tell(found.body)
            if found.body["status"] not in ("Succeeded", "Failed", "Canceled"):
                # Not Azure's Retry-After, which is in whole seconds: a person is watching, and this is one machine.
                time.sleep(0.2)
                continue
            if found.body["status"] != "Succeeded":
                error = found.body.get("error") or {}
                raise Problem(f"{error.get('code', found.body['status'])}: {error.get('message', '')}")
            return

    def stream(self, path: str, api: str = API, **query: str) -> Iterator[str]:
        """Lines of an answer that may never end. Raises Problem."""
        target = quote(path) + "?" + urlencode({"api-version": api, **query})
        answer = self._send("GET", target, None, {"Authorization": f"Bearer {self.token()}"}, timeout=None)
        if answer.status >= 400:
            error = _answer(answer).error
            raise Problem(f"{error.get('code', answer.status)}: {error.get('message', '')}")
        try:
            for line in answer:
                yield line.decode("utf-8", "replace").rstrip("\n")
        except (OSError, http.client.HTTPException) as cause:
            raise Problem(f"the connection to sorairo ended: {cause}", "see: sorairo status") from cause

    def token(self) -> str:
        if not self._token:
            form = {
                "grant_type": "client_credentials",
                "client_id": self.credentials.clientId,
                "client_secret": self.credentials.clientSecret,
                "scope": f"{self.config.endpoint}//.default",
            }
            answer = _answer(
                self._send(
                    "POST",
                    f"/{self.credentials.tenantId}/oauth2/v2.0/token",
                    urlencode(form).encode(),
                    {"Content-Type": "application/x-www-form-urlencoded"},
                )
            )
            if answer.status != 200:
                said = answer.body.get("error_description", "") if isinstance(answer.body, dict) else ""
                raise Problem(f"sorairo refused its own administrator: {said.split(' Trace ID')[0]}", "sorairo doctor")
            self._token = str(answer.body["access_token"])
        return self._token

    def _send(
        self,
        method: str,
        target: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout: float | None = 60.0,
    ) -> http.client.HTTPResponse:
        for fresh in (False, True):
            if self._connection is None:
                self._connection = http.client.HTTPSConnection(
                    self.config.host, self.config.port, context=self._tls, timeout=60.0
                )
            try:
                self._connection.request(method, target, body, dict(headers))
                if self._connection.sock:
                    self._connection.sock.settimeout(timeout)
                return self._connection.getresponse()
            except ConnectionRefusedError as cause:
                raise not_running(self._state.root) from cause
            except (OSError, http.client.HTTPException) as cause:
                # A kept connection that the daemon has closed in the meantime: once more on a new one.
                self._connection.close()
                self._connection = None
                if fresh:
                    raise Problem(f"no answer from {self.config.endpoint}: {cause}", "see: sorairo doctor") from cause
        raise AssertionError("unreachable")


def _answer(response: http.client.HTTPResponse) -> Answer:
    raw = response.read()
    try:
        body = json.loads(raw) if raw else None
    except ValueError:
        body = None
    return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, body)


def answers(state: State, config: Config, timeout: float = 2.0) -> bool:
    """Whether ARM stands at the endpoint, without signing in."""
    connection = http.client.HTTPSConnection(
        config.host, config.port, context=ssl.create_default_context(cafile=str(state.ca)), timeout=timeout
    )
    try:
        connection.request("GET", "/metadata/endpoints?api-version=2022-09-01")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
