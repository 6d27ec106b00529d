"""Form bodies, bounded."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.requests import Request

from sorairo.identity.errors import EntraError

LONGEST = 65536
"""Bytes of the largest form read."""


async def read_form(request: Request) -> dict[str, str]:
    """Raises EntraError 413 for a larger one."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST:
            raise EntraError(90014, "invalid_request", "The request body is too large.", status=413)
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
