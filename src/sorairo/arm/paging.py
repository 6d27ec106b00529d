"""`$top`, `$skiptoken` and `nextLink`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlencode

from sorairo.arm.errors import invalid_parameter
from sorairo.arm.exchange import Answer, Exchange
from sorairo.engine.types import Document

PAGE = 1000
"""Most items of one answer."""


def page(x: Exchange, items: Sequence[Document]) -> Answer:
    """One page of documents that are in order of their ids; the next begins after the last id of this one, so that
    what is created or deleted between two requests neither hides nor repeats another."""
    after = _after(x.query.get("$skiptoken", ""))
    rest = [i for i in items if i["id"].lower() > after] if after else items
    size = min(_top(x.query.get("$top", "")), PAGE)
    body: Document = {"value": rest[:size]}
    if len(rest) > size:
        token = base64.urlsafe_b64encode(rest[size - 1]["id"].lower().encode()).decode()
        query = [(k, v) for k, v in parse_qsl(x.raw_query, keep_blank_values=True) if k.lower() != "$skiptoken"]
        body["nextLink"] = f"{x.base}{x.path}?{urlencode([*query, ('$skiptoken', token)], safe='$')}"
    return Answer(200, body)


def _after(token: str) -> str:
    if not token:
        return ""
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise invalid_parameter("$skiptoken", token[:60], "it is none that this server gave") from None


def _top(text: str) -> int:
    if not text:
        return PAGE
    if not text.isascii() or not text.isdigit() or int(text[:9]) == 0:
        raise invalid_parameter("$top", text[:60], "a number above zero was expected")
    return int(text[:9])
