"""The differences between a resource as it is and as it would be, in the shape of Azure's what-if.

https://learn.microsoft.com/rest/api/resources/deployments/what-if#whatifpropertychange
"""

from __future__ import annotations

from typing import Any

from sorairo.templates.frame import Document
from sorairo.templates.values import same


def delta(before: Document, after: Document) -> list[Document]:
    """`[{path, propertyChangeType, before, after, children}]`: objects member by member, arrays as one change that has
    the changes of its elements as children."""
    return _object(before, after, "")


def _object(before: Document, after: Document, prefix: str) -> list[Document]:
    found: list[Document] = []
    for name in sorted(before.keys() | after.keys()):
        path = f"{prefix}.{name}" if prefix else name
        found += _value(path, before.get(name), after.get(name), name in before, name in after)
    return found


def _value(path: str, before: Any, after: Any, there: bool, wanted: bool) -> list[Document]:
    # A null is as good as nothing: clients send nulls for what they leave out.
    there, wanted = there and before is not None, wanted and after is not None
    if not there and not wanted:
        return []
    if not there:
        return [_change(path, "Create", after=after)]
    if not wanted:
        return [_change(path, "Delete", before=before)]
    if isinstance(before, dict) and isinstance(after, dict):
        return _object(before, after, path)
    if isinstance(before, list) and isinstance(after, list):
        children = _elements(before, after)
        return [_change(path, "Array", before=before, after=after, children=children)] if children else []
    return [] if same(before, after) else [_change(path, "Modify", before=before, after=after)]


def _elements(before: list[Any], after: list[Any]) -> list[Document]:
    """Elements with a name are compared with their namesakes, others by position."""
    pairs = _by_name(before, after) or [
        (at, before[at] if at < len(before) else None, after[at] if at < len(after) else None)
        for at in range(max(len(before), len(after)))
    ]
    found: list[Document] = []
    for at, old, new in pairs:
        if isinstance(old, dict) and isinstance(new, dict):
            inner = _object(old, new, "")
            if inner:
                found.append(_change(str(at), "Modify", children=inner))
        else:
            found += _value(str(at), old, new, True, True)
    return found


def _by_name(before: list[Any], after: list[Any]) -> list[tuple[int, Any, Any]]:
    if not all(isinstance(e, dict) and isinstance(e.get("name"), str) for e in (*before, *after)):
        return []
    old = {e["name"].lower(): e for e in before}
    new = {e["name"].lower(): e for e in after}
    names = [*new, *(n for n in old if n not in new)]
    return [(at, old.get(name), new.get(name)) for at, name in enumerate(names)]


def _change(path: str, kind: str, **rest: Any) -> Document:
    return {"path": path, "propertyChangeType": kind, **rest}
