"""Metadata for the programs of a hidden control plane: tokens as the cluster itself, and that no node is theirs.

On Azure they get tokens in a way that nobody sees. Here it is the one that every program knows: `169.254.169.254`,
which in the control plane's own network namespace is this. Upstream's cloud controller asks it, too, whether the node
that it looks at is the machine it runs on, to spare itself a request; it runs on none.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from sorairo.engine.types import Document, Resource
from sorairo.identity.tokens import Tokens
from sorairo.imds.service import IDENTITY, Failed, guard, refusal, secret, version_of
from sorairo.imds.tokens import Refused, token
from sorairo.imds.versions import VERSIONS

TOKEN, INSTANCE = "metadata/identity/oauth2/token", "metadata/instance"


def create_app(tokens: Tokens, cluster: Callable[[], Resource | None]) -> ASGIApp:
    """`cluster`: whose control plane asks; None: it is gone."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            response = secret(_answer(tokens, cluster(), Request(scope, receive)))
        except (Failed, Refused) as e:
            response = refusal(e)
        await response(scope, receive, send)

    return app


def _answer(tokens: Tokens, cluster: Resource | None, request: Request) -> Document:
    path = request.url.path.strip("/").lower()
    if path not in (TOKEN, INSTANCE) or request.method != "GET":
        raise Failed(404, "Not found")
    guard(request, identity=path == TOKEN)
    version_of(request, IDENTITY if path == TOKEN else VERSIONS[0])
    if cluster is None:
        raise Refused("invalid_request", "Identity not found")
    if path == TOKEN:
        return token(tokens, cluster, request.query_params)
    compute = {
        "location": cluster.body["location"],
        "name": f"{cluster.rid.name}-control-plane",
        "resourceGroupName": cluster.rid.resource_group,
        "subscriptionId": cluster.rid.subscription,
    }
    return {"compute": compute, "network": {"interface": []}}
