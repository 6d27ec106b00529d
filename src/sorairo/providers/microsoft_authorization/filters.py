"""The `$filter`s that role lists understand: terms joined by `and`, compared without case."""

from __future__ import annotations

import re

from sorairo.engine.errors import ArmError

_TERM = re.compile(
    r"(?P<call>atScope|atScopeAndBelow|asTarget)\(\)"
    r"|(?P<who>assignedTo)\('(?P<argument>[^']*)'\)"
    r"|(?P<field>principalId|roleName|denyAssignmentName|type)\s+eq\s+'(?P<value>(?:[^']|'')*)'",
    re.IGNORECASE,
)


def parse_filter(text: str, allowed: frozenset[str], supported: str) -> dict[str, str]:
    """`{"atscope": "", "principalid": "…"}`, names and values in lower case.

    Raises ArmError 400 `UnsupportedQuery` for a term that is not among `allowed`; `supported` lists them in words.
    """
    terms: dict[str, str] = {}
    for term in re.split(r"\s+and\s+", text.strip(), flags=re.IGNORECASE) if text.strip() else []:
        found = _TERM.fullmatch(term.strip())
        name = (found["call"] or found["who"] or found["field"]).lower() if found else ""
        if found is None or name not in allowed:
            raise ArmError(
                "UnsupportedQuery", f"The filter '{text}' is not supported. Supported filters are either {supported}."
            )
        terms[name] = (found["argument"] or found["value"] or "").replace("''", "'").lower()
    return terms
