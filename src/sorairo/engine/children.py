"""Children that are stored inside their parent's document: a write of one is a write of the parent."""

from __future__ import annotations

from typing import Any

from sorairo.engine import documents
from sorairo.engine.documents import find_inline, inline_stored
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import ResourceId
from sorairo.engine.types import Document, Inline, ResourceType, Schema


def with_child(
    parent_body: Document, id: ResourceId, type: ResourceType[Any], body: Document, schema: Schema, *, patch: bool
) -> tuple[Document, bool]:
    """The parent's body with a child put into its list, and whether the child is new.

    Raises ArmError when the child does not satisfy its own schema."""
    assert type.inline
    parent_body = documents.copied(parent_body)
    items = parent_body.setdefault("properties", {}).setdefault(type.inline.path, [])
    item = inline_stored(body, id.name, type.inline)
    present = find_inline(items, id.name)
    if present is not None:
        item["name"] = present["name"]
        item = documents.merge_patch(present, item) if patch else item
    if type.schema:
        item = _checked(type.schema, type.inline, item, schema)
    if present is None:
        items.append(item)
    else:
        items[items.index(present)] = item
    return parent_body, present is None


def check_names(types: list[ResourceType[Any]], id: ResourceId, body: Document) -> None:
    """Children in a document, of these types, are objects with names of their own: what their paths are made of.

    Raises ArmError. Agent pools (`flat`) have rules of their own for theirs."""
    properties = body.get("properties")
    for inline in (t.inline for t in types if t.inline):
        items = properties.get(inline.path) if isinstance(properties, dict) else None
        if items is None:
            continue
        if not isinstance(items, list) or not all(isinstance(i, dict) for i in items):
            raise ArmError(
                "InvalidRequestContent",
                f"The request content was invalid: 'properties.{inline.path}' must be a list of objects.",
                target=f"properties.{inline.path}",
            )
        seen: set[str] = set()
        for n, item in enumerate(items if not inline.flat else ()):
            name = item.get("name")
            if not isinstance(name, str) or not name or "/" in name:
                raise ArmError(
                    "InvalidRequestFormat",
                    f"Cannot parse the request: 'properties.{inline.path}[{n}]' has no valid name.",
                    target=f"properties.{inline.path}[{n}].name",
                )
            if name.lower() in seen:
                raise ArmError(
                    "DuplicateResourceName",
                    f"Resource {id.text} has two child resources with the same name ({name}).",
                    target=f"properties.{inline.path}[{n}].name",
                )
            seen.add(name.lower())


def _checked(name: str, inline: Inline, item: Document, schema: Schema) -> Document:
    """A child held to its schema, which describes it as its own GET shows it; its name is the path's."""
    called = item["name"]
    document = {"properties": {k: v for k, v in item.items() if k != "name"}} if inline.flat else item
    schema(name, document)
    return {**(document["properties"] if inline.flat else document), "name": called}
