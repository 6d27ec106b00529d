"""What API servers ask the daemon: the token service's keys, and whether Azure's roles allow a request.

A SubjectAccessReview comes in, is turned into a data action at a scope, and is decided as everything else is. The
answer is for the API server of the cluster in the path alone: it proves itself with a token made of the cluster's key.
https://kubernetes.io/docs/reference/access-authn-authz/webhook/
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

from sorairo.engine.types import Resource
from sorairo.identity.authorization import Authorization
from sorairo.identity.principal import Principal
from sorairo.providers.microsoft_containerservice import azure_rbac, entra

PATHS = re.compile(rf"{entra.REVIEWS}/.+", re.IGNORECASE)
_KEYS = re.compile(r"/[^/]+/(\.well-known/openid-configuration|discovery/keys)", re.IGNORECASE)


class Reviews:
    """An ASGI app that answers `PATHS`."""

    def __init__(
        self,
        cluster: Callable[[str], Resource | None],
        principal: Callable[[str], Principal],
        authorization: Authorization,
    ) -> None:
        """`principal`: who an object id stands for now, in what groups: a token names no more than 200 of them."""
        self._cluster = cluster
        self._principal = principal
        self._authorization = authorization

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (await self._answer(Request(scope, receive)))(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        cluster = self._cluster(request.scope["path"][len(entra.REVIEWS) :])
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
            status = self.decide(cluster, dict(review["spec"]))
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError, AttributeError):
            return Response("not a SubjectAccessReview", status_code=400)
        return JSONResponse({"apiVersion": "authorization.k8s.io/v1", "kind": review.get("kind"), "status": status})

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
