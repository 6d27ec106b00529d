"""What must hold before a write is taken: it is the version the client saw, in the place it was made."""

from __future__ import annotations

from sorairo.engine.errors import ArmError
from sorairo.engine.ids import ResourceId, parse_id
from sorairo.engine.types import Document, Resource


def place(body: Document, existing: Resource | None) -> None:
    location = body.get("location")
    if existing and location is None:
        body["location"] = existing.body.get("location")
    elif not isinstance(location, str) or not location:
        raise ArmError("LocationRequired", "The location property is required for this definition.", target="location")
    elif existing and existing.body.get("location") and _plain(location) != _plain(existing.body["location"]):
        if existing.rid.type == "Microsoft.Resources/resourceGroups":
            raise ArmError(
                "InvalidResourceGroupLocation",
                f"Invalid resource group location '{location}'. The Resource group already exists in location "
                f"'{existing.body['location']}'.",
                status=409,
            )
        raise ArmError(
            "InvalidResourceLocation",
            f"The resource '{existing.rid.name}' already exists in location '{existing.body['location']}' in resource "
            f"group '{existing.rid.resource_group}'. A resource with the same name cannot be created in location "
            f"'{location}'. Please select a new resource name.",
            status=409,
        )
    else:
        body["location"] = _plain(location)


def _plain(location: str) -> str:
    """`West Europe` and `westeurope` are the same place."""
    return location.replace(" ", "").lower()


def parent_missing(id: ResourceId) -> ArmError:
    parent = parse_id(id.parent)
    return ArmError(
        "ParentResourceNotFound",
        f"Can not perform requested operation on nested resource. Parent resource '{parent.name}' not found.",
        status=404,
    )


def check_etag(existing: Resource | None, if_match: str | None, if_none_match: str | None) -> None:
    def strip(tag: str) -> str:
        return tag.strip().removeprefix("W/").strip('"')

    if if_none_match is not None and if_none_match.strip() == "*" and existing:
        raise ArmError("PreconditionFailed", "The resource exists, and If-None-Match: * was given.", status=412)
    if if_match is None or if_match.strip() == "":
        return
    if existing is None or (if_match.strip() != "*" and strip(if_match) != existing.etag):
        raise ArmError(
            "PreconditionFailed",
            "The condition specified using HTTP conditional header(s) is not met: the resource has changed since it "
            "was read. Get it again and repeat the change.",
            status=412,
        )
