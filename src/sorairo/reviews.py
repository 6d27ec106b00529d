"""What API servers ask the daemon: the token service's keys, whether Azure's roles allow a request, and who somebody is
whose groups are more than a token names.

A SubjectAccessReview comes in, is turned into a data action at a scope, and is decided as everything else is; a
TokenReview's token is verified as ARM verifies its own. Answers are for the API server of the cluster in the path:
it proves itself with a token made of the cluster's key.
https://kubernetes.io/docs/reference/access-authn-authz/webhook/
https://kubernetes.io/docs/reference/access-authn-authz/authentication/#webhook-token-authentication
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Resource
from sorairo.identity.authorization import Authorization
from sorairo.identity.principal import Principal
from sorairo.providers.microsoft_containerservice import azure_rbac, entra

PATHS = re.compile(rf"({entra.REVIEWS}|{entra.TOKEN_REVIEWS})(/.+)", re.IGNORECASE)
_KEYS = re.compile(r"/[^/]+/(\.well-known/openid-configuration|discovery/keys)", re.IGNORECASE)


class Reviews:
    """An ASGI app that answers `PATHS`."""

    def __init__(
        self,
        cluster: Callable[[str], Resource | None],
        principal: Callable[[str], Principal],
        authorization: Authorization,
        authenticate: Callable[[str | None], Principal],
    ) -> None:
        """`principal`: who an object id stands for now, in what groups: a token names no more than 200 of them;
        `authenticate`: as ARM's, for tokens that are meant for API servers."""
        self._cluster = cluster
        self._principal = principal
        self._authorization = authorization
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (await self._answer(Request(scope, receive)))(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = PATHS.fullmatch(request.scope["path"])
        cluster = self._cluster(path[2]) if path else None
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        known = cluster is not None and "pki" in cluster.private and scheme.lower() == "bearer"
        if (
            cluster is None
            or not known
            or not hmac.compare_digest(entra.review_token(cluster).encode(), token.encode())
        ):
            return Response(status_code=401)
        if request.method != "POST":
            return Response(status_code=405)
        try:
            review = msgspec.json.decode(await request.body(), type=dict[str, Any])
            spec = dict(review["spec"])
            of_token = path is not None and path[1].lower() == entra.TOKEN_REVIEWS
            status = self.tell(cluster, str(spec["token"])) if of_token else self.decide(cluster, spec)
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError, AttributeError):
            return Response("not a review", status_code=400)
        kind = ("authentication", "TokenReview") if of_token else ("authorization", "SubjectAccessReview")
        return JSONResponse({"apiVersion": f"{kind[0]}.k8s.io/v1", "kind": kind[1], "status": status})

    def tell(self, cluster: Resource, token: str) -> dict[str, Any]:
        """A token review's `status`: who has a token that does not name all groups, and is in which of them now."""
        try:
            who = entra.user(self._authenticate(f"Bearer {token}"))
        except ArmError as e:
            return {"authenticated": False, "error": e.message}
        if who is None or entra.profile(cluster) is None or cluster.deleting:
            return {"authenticated": False}
        return {"authenticated": True, "user": who}

    def decide(self, cluster: Resource, spec: azure_rbac.Spec) -> dict[str, Any]:
        """A review's `status`: no opinion of who is not in the directory, and where Azure's roles do not count."""
        oid = next(iter((spec.get("extra") or {}).get(entra.OID) or ()), None)
        actions = azure_rbac.data_actions(spec)
        if not oid or not actions or not entra.by_azure_roles(cluster) or cluster.deleting:
            return {"allowed": False, "reason": azure_rbac.NO_OPINION}
        who, scope = self._principal(str(oid).lower()), azure_rbac.scope(cluster.id, spec)
        if all(self._authorization.allows(who, action, scope, data=True) for action in actions):
            return {"allowed": True, "reason": azure_rbac.ALLOWED}
        return {"allowed": False, "denied": True, "reason": azure_rbac.DENIED}


def behind_doors(tokens: ASGIApp, reviews: Reviews) -> ASGIApp:
    """What there is of the origin within a control plane's network: the keys that tokens are signed with, and reviews.
    `tokens`: the token service."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if PATHS.fullmatch(path):
            await reviews(scope, receive, send)
        elif _KEYS.fullmatch(path):
            await tokens(scope, receive, send)
        else:
            await Response(status_code=404)(scope, receive, send)

    return app
