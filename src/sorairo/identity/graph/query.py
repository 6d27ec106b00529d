"""What a list is asked with: `$filter`, `$search`, `$orderby`, `$select`, `$top`, `$count`, `$skiptoken`.

https://learn.microsoft.com/graph/query-parameters
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from sorairo.identity.graph.errors import GraphError
from sorairo.identity.graph.filters import parse_filter

Document = dict[str, Any]
PAGE = 100
"""Objects of a page where nobody says otherwise."""
_CLAUSE = re.compile(r'\s*"(?P<name>\w+):(?P<text>(?:[^"\\]|\\.)*)"\s*(?P<join>AND|OR)?', re.IGNORECASE)


def answer(documents: Iterable[Document], query: Mapping[str, str], url: str, eventual: bool) -> Document:
    """The body of a list's answer. `url`: of the request, without its query; `eventual`: the client sent
    `ConsistencyLevel: eventual`, without which there is no `$search`. Raises GraphError 400."""
    if "$filter" in query:
        documents = filter(parse_filter(query["$filter"]), documents)
    if "$search" in query:
        if not eventual:
            raise GraphError(
                400, "Request_UnsupportedQuery", "Request with $search query parameter only works through MSGraph with "
                "a special request header: 'ConsistencyLevel: eventual'",
            )  # fmt: skip
        documents = filter(_search(query["$search"]), documents)
    by, _, direction = query.get("$orderby", "").partition(" ")
    descending = direction.strip().lower() == "desc"

    def rank(document: Document) -> list[str]:
        return [str(document.get(by) or "").lower() if by else "", str(document.get("id", ""))]

    found = sorted(documents, key=rank, reverse=descending)
    body: Document = {"@odata.context": url}
    if query.get("$count", "").lower() == "true":
        body["@odata.count"] = len(found)
    if "$skiptoken" in query:
        after = _token(query["$skiptoken"])
        found = [d for d in found if (rank(d) < after if descending else rank(d) > after)]
    top = _top(query.get("$top"))
    page = found[:top]
    if len(found) > top:
        token = base64.urlsafe_b64encode(json.dumps(rank(page[-1])).encode()).decode()
        kept = {k: v for k, v in query.items() if k != "$skiptoken"} | {"$skiptoken": token}
        body["@odata.nextLink"] = f"{url}?" + "&".join(f"{k}={quote(v)}" for k, v in kept.items())
    return {**body, "value": [select(d, query) for d in page]}


def select(document: Document, query: Mapping[str, str]) -> Document:
    wanted = {n.strip() for n in query.get("$select", "").split(",")} - {""}
    return {k: v for k, v in document.items() if k in wanted or k == "@odata.type"} if wanted else document


def _top(text: str | None) -> int:
    if text is None:
        return PAGE
    if not text.isdecimal() or not 1 <= int(text) <= 999:
        raise GraphError(400, "Request_BadRequest", f"Invalid page size specified: '{text}'. Must be between 1 and 999 "
                         "inclusive.")  # fmt: skip
    return int(text)


def _token(text: str) -> list[str]:
    try:
        name, id = json.loads(base64.urlsafe_b64decode(text))
        return [str(name), str(id)]
    except (ValueError, TypeError):
        raise GraphError(400, "Directory_ExpiredPageToken", "The specified page token value is invalid.") from None


def _search(text: str) -> Callable[[Document], bool]:
    """`"displayName:one two" OR "mail:x"`: a property holds words that start so."""
    clauses: list[tuple[str, str, str]] = []
    at = 0
    while at < len(text):
        found = _CLAUSE.match(text, at)
        if found is None:
            raise GraphError(400, "BadRequest", f"Syntax error: character at position {at} of '{text}' is not valid.")
        clauses.append((found["name"], found["text"].lower(), (found["join"] or "").upper()))
        at = found.end()

    def holds(document: Document, name: str, wanted: str) -> bool:
        value = str(document.get(name) or "").lower()
        words = re.split(r"[\s\-_.@]+", value)
        return all(value.startswith(w) or any(p.startswith(w) for p in words) for w in wanted.split())

    def test(document: Document) -> bool:
        alternatives, current = [], True
        for name, wanted, join in clauses:
            current = current and holds(document, name, wanted)
            if join == "OR":
                alternatives.append(current)
                current = True
        return any([*alternatives, current])

    return test
