"""The steps of a request, in the order `app.Arm` runs them. Each refuses by raising ArmError."""

from __future__ import annotations

import contextlib
import uuid

import msgspec

from sorairo.arm import errors, jsonc, regions
from sorairo.arm.exchange import Answer, Exchange
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id
from sorairo.engine.operations import log_refusal

CLOSING = (
    (b"cache-control", b"no-cache"),
    (b"pragma", b"no-cache"),
    (b"expires", b"-1"),
    (b"strict-transport-security", b"max-age=31536000; includeSubDomains"),
    (b"x-content-type-options", b"nosniff"),
)
_WITH_BODY = ("PUT", "PATCH", "POST")


def identify(x: Exchange) -> None:
    """Ids that follow the request: our own, and the client's that joins several requests."""
    x.request_id = str(uuid.uuid4())
    theirs = x.headers.get("x-ms-correlation-request-id", "")
    x.correlation_id = theirs if 0 < len(theirs) <= 128 and theirs.isprintable() else x.request_id


def locate(x: Exchange) -> None:
    """What the path names, if anything."""
    x._target = x.arm.resolve(x.path)


def authenticate(x: Exchange) -> None:
    """Who is calling. A stranger is not even told which paths there are."""
    if x._target is None or not x._target.anonymous:
        x._principal = x.arm.authenticate(x.headers.get("authorization"))


def place(x: Exchange) -> None:
    """The path must name something, in a subscription there is."""
    if x._target is None:
        raise errors.unknown_path(x.path)
    subscription = x._target.subscription
    if subscription and subscription.lower() not in x.arm.subscriptions:
        try:
            uuid.UUID(subscription)
        except ValueError:
            raise errors.bad_subscription(subscription) from None
        if x.control.store.get(f"/subscriptions/{subscription}") is None:
            raise errors.no_subscription(subscription)
        x.arm.subscriptions.add(subscription.lower())


def throttle(x: Exchange) -> None:
    if x._principal is not None:
        x.remaining = x.arm.throttle.take(x.method, x.principal.object_id, x.target.subscription)


def negotiate(x: Exchange) -> None:
    """The api-version, and whether the type is one there is, in the order ARM finds fault."""
    target, version = x.target, x.api_version
    if target.anonymous:
        return
    if not version:
        raise errors.missing_version()
    if target.unknown is not None and x.method not in target.routes:
        namespace, kind = target.unknown
        if namespace.lower() not in x.control.registry.providers:
            raise errors.invalid_namespace(namespace)
        raise errors.invalid_type(namespace, kind, version)
    if target.versions and version.lower() not in target.versions:
        if target.owner:
            raise errors.unregistered_version(version, target.owner, target.versions, regions.NAMES)
        raise errors.invalid_version(version, target.versions)


def method(x: Exchange) -> None:
    found = x.target.routes.get(x.method)
    if found is None:
        raise errors.method_not_allowed(x.method, f"{x.base}{x.path}")
    x._route = found


def authorize(x: Exchange) -> None:
    """Lists with no permission of their own show each caller what it may see."""
    if x.route.permission and x._principal is not None:
        x.arm.authorize(x.principal, x.route.permission, x.target.scope)


async def content(x: Exchange) -> None:
    """The JSON object that a PUT, PATCH or POST carries; a POST may carry nothing."""
    if x.method not in _WITH_BODY:
        return
    raw = await _read(x)
    if not raw.strip():
        if x.method == "POST":
            return
        raise errors.invalid_content("The request content is empty; a JSON object was expected.")
    given = x.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if given != "application/json" and not given.endswith("+json"):
        raise errors.media_type(given)
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        try:
            document = msgspec.json.decode(raw)
        except msgspec.DecodeError:
            if not _holds_template(x):
                raise
            document = msgspec.json.decode(jsonc.strict(raw.decode()))
    except (msgspec.DecodeError, ValueError) as e:
        raise errors.invalid_content(str(e)) from None
    except RecursionError:
        raise errors.invalid_content("It is nested too deeply.") from None
    if not isinstance(document, dict):
        raise errors.invalid_content(f"Expected an object, got {type(document).__name__}.")
    x.body = document


def _holds_template(x: Exchange) -> bool:
    type = x.target.type
    return type is not None and type.name.lower() == "microsoft.resources/deployments"


async def _read(x: Exchange) -> bytes:
    limit = x.arm.settings.largest_body
    if int(x.headers.get("content-length") or 0) > limit:
        raise errors.too_large(limit)
    raw, more = b"", True
    while more:
        message = await x.receive()
        if message["type"] == "http.disconnect":
            raise errors.invalid_content("The client went away before all of it had come.")
        raw += message.get("body", b"")
        more = message.get("more_body", False)
        if len(raw) > limit:
            raise errors.too_large(limit)
    return raw


async def note(x: Exchange, error: ArmError) -> None:
    """Put a write that its caller may not do (403), or not now (409), into the activity log, as Azure does."""
    if error.status not in (403, 409) or x.method in ("GET", "HEAD") or x._principal is None or x._route is None:
        return
    action, target = x.route.permission, x.target
    if not action or not target.subscription:
        return
    id = target.id or parse_id(target.scope)
    with contextlib.suppress(ArmError):  # A full disk: what is answered matters more.
        await x.control.store.transact(lambda tx: log_refusal(tx, id, action, x.caller, x.correlation_id, error))


def refusal(x: Exchange, error: ArmError) -> Answer:
    """The one shape of every error."""
    answer = Answer(error.status, {"error": error.body()})
    if error.status == 401:
        answer.headers["www-authenticate"] = x.arm.challenge(error)
    elif error.status == 405 and x._target is not None:
        answer.headers["allow"] = ", ".join(sorted(x.target.routes))
    return answer
