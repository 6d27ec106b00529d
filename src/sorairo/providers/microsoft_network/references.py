"""Resources that name others: those must be there, and those that are named stay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sorairo.engine.errors import ArmError
from sorairo.engine.ids import lineage, parse_id
from sorairo.engine.types import Reader


def of_type(ids: Iterable[str], type: str) -> set[str]:
    """Keys of the resources of a type that ids name, or parts of them."""
    return {key for id in ids for key in lineage(id) if parse_id(key).type == type.lower()}


def missing(id: str, by: str) -> ArmError:
    return ArmError(
        "InvalidResourceReference",
        f"Resource {id} referenced by resource {by} was not found. Please make sure that the referenced resource "
        "exists, and that both resources are in the same region.",
        target=id,
    )


async def check_there(reader: Reader, id: str, by: str) -> None:
    """Raises ArmError `InvalidResourceReference`."""
    if await reader.get(id) is None:
        raise missing(id, by)


def in_use(code: str, noun: str, id: str, users: Sequence[str]) -> ArmError:
    """`noun` as Azure begins the sentence with it."""
    return ArmError(
        code,
        f"{noun} {id} cannot be deleted because it is in use by the following resources: {', '.join(users)}. In order "
        f"to delete the {noun}, remove the association with the resource(s).",
        target=id,
    )
