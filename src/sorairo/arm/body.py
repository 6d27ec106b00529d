"""What ARM checks in every document, whatever its type: its tags.

https://learn.microsoft.com/azure/azure-resource-manager/management/tag-resources#limitations
"""

from __future__ import annotations

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Document

MOST, LONGEST_NAME, LONGEST_VALUE = 50, 512, 256
_RESERVED = frozenset("<>%&\\?/")


def check_tags(document: Document) -> None:
    """Raises ArmError 400. A null value (in a PATCH) takes a tag away."""
    tags = document.get("tags")
    if tags is None:
        return
    if not isinstance(tags, dict) or not all(v is None or isinstance(v, str) for v in tags.values()):
        raise ArmError(
            "InvalidRequestContent",
            "The request content was invalid and could not be deserialized: 'tags must be an object of text values'.",
            target="tags",
        )
    if len(tags) > MOST:
        raise ArmError(
            "TooManyTags", f"The number of tags '{len(tags)}' exceeds the maximum of '{MOST}'.", target="tags"
        )
    seen: set[str] = set()
    for name, value in tags.items():
        if not 0 < len(name) <= LONGEST_NAME or len(value or "") > LONGEST_VALUE:
            raise ArmError(
                "TagTooLong",
                f"The tag '{name[:80]}' is invalid: names have 1 to {LONGEST_NAME} characters, values up to "
                f"{LONGEST_VALUE}.",
                target="tags",
            )
        if _RESERVED & set(name) or not name.isprintable():
            raise ArmError(
                "InvalidTagNameCharacters",
                f"The tag names '{name}' have reserved characters '<,>,%,&,\\,?,/' or control characters.",
                target="tags",
            )
        if name.lower() in seen:
            raise ArmError(
                "DuplicateTagNames", f"The tag name '{name}' is given twice; case does not count.", target="tags"
            )
        seen.add(name.lower())
