"""Tags of any scope as a resource of their own, `{scope}/providers/Microsoft.Resources/tags/default`.

https://learn.microsoft.com/rest/api/resources/tags
"""

from __future__ import annotations

from sorairo.arm.body import check_tags
from sorairo.arm.errors import invalid_content
from sorairo.arm.exchange import Answer, Exchange
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import parse_id

_UNPLACED = ("Microsoft.Resources/subscriptions", "Microsoft.Resources/deployments")
"""Types that have tags though they have no location."""


async def show(x: Exchange) -> Answer:
    return _answer(x, _present(x))


async def replace(x: Exchange) -> Answer:
    return await _store(x, _given(x))


async def change(x: Exchange) -> Answer:
    """`operation`: Merge, Replace, or Delete (a tag with this name and this value)."""
    given, present = _given(x), _present(x)
    operation = x.body.get("operation")
    if operation == "Merge":
        names = {n.lower() for n in given}
        return await _store(x, {n: v for n, v in present.items() if n.lower() not in names} | given)
    if operation == "Replace":
        return await _store(x, given)
    if operation == "Delete":
        gone = {(n.lower(), v) for n, v in given.items()}
        return await _store(x, {n: v for n, v in present.items() if (n.lower(), v) not in gone})
    raise invalid_content(f"operation must be Merge, Replace or Delete, not '{operation}'.")


async def clear(x: Exchange) -> Answer:
    await _store(x, {})
    return Answer(200)


def _present(x: Exchange) -> dict[str, str]:
    return x.control.show(parse_id(x.target.scope)).get("tags") or {}


def _given(x: Exchange) -> dict[str, str]:
    properties = x.body.get("properties")
    tags = (properties or {}).get("tags") if isinstance(properties or {}, dict) else None
    if not isinstance(tags, dict):
        raise invalid_content("properties.tags must be an object.")
    check_tags({"tags": tags})
    return tags


async def _store(x: Exchange, tags: dict[str, str]) -> Answer:
    id = parse_id(x.target.scope)
    type = x.control.type_of(id.type)
    if not type.located and type.name not in _UNPLACED:
        raise ArmError("TagsNotSupported", f"Resources of type '{type.name}' have no tags.", target=id.text)
    if not type.writable:
        await x.control.retag(id, tags, principal=x.caller, correlation_id=x.correlation_id)
        return _answer(x, tags)
    await x.control.put(
        id,
        {"tags": tags},
        principal=x.caller,
        patch=True,
        correlation_id=x.correlation_id,
    )
    return _answer(x, tags)


def _answer(x: Exchange, tags: dict[str, str]) -> Answer:
    return Answer(
        200,
        {
            "id": f"{x.target.scope}/providers/Microsoft.Resources/tags/default",
            "name": "default",
            "type": "Microsoft.Resources/tags",
            "properties": {"tags": tags},
        },
    )
