"""Fields of a document that a `$filter` may ask for, and which documents a caller is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sorairo.arm.exchange import Exchange
from sorairo.arm.filters import Filter, Lookup, Value
from sorairo.engine.ids import parse_id
from sorairo.engine.types import Document

_RENAMED = {"resourcetype": "type", "resourceid": "id"}


def lookup(document: Document, tag: tuple[str, str] | None = None) -> Lookup:
    """Values by lower-case name: of the document, failing that of its properties; `/` goes into objects. `tag` is
    the one that `tagName` and `tagValue` speak of."""

    def value(field: str) -> Value:
        if field in ("tagname", "tagvalue"):
            return tag[field == "tagvalue"] if tag else None
        if field == "resourcegroup":
            return parse_id(document["id"]).resource_group
        path = _RENAMED.get(field, field).split("/")
        for root in (document, document.get("properties") or {}):
            found: object = root
            for name in path:
                found = _member(found, name)
            if isinstance(found, str | bool | int | float):
                return found
        return None

    return value


def _member(of: object, name: str) -> object:
    if not isinstance(of, dict):
        return None
    return of[name] if name in of else next((v for k, v in of.items() if k.lower() == name), None)


def matches(wanted: Filter, document: Document) -> bool:
    """`tagName eq 'a' and tagValue eq 'b'` speaks of one tag: some tag must make the whole true."""
    if not wanted.fields & {"tagname", "tagvalue"}:
        return wanted(lookup(document))
    return any(wanted(lookup(document, tag)) for tag in _tags(document))


def _tags(document: Document) -> Iterator[tuple[str, str] | None]:
    tags = document.get("tags") or {}
    yield from tags.items() if tags else [None]


def shown_to(x: Exchange, documents: Sequence[Document], action: str, each: str = "") -> Sequence[Document]:
    """All of them when the caller may at the scope itself; else those it may one by one, as ARM's lists do. `each`
    is the action for one where it is another; `{type}` in it stands for the document's."""
    if x.may(action, x.target.scope):
        return documents
    return [d for d in documents if x.may((each or action).replace("{type}", d.get("type", "")), d["id"])]
