"""What a deployment's document says besides what was asked for."""

from __future__ import annotations

from datetime import UTC, datetime

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Document
from sorairo.providers.microsoft_resources.prepared import Prepared
from sorairo.templates.errors import ExpressionError, Needed
from sorairo.templates.evaluate import resolve
from sorairo.templates.expand import Unit
from sorairo.templates.parameters import shown


def timestamp(seconds: float) -> str:
    """As Azure writes time: `2024-05-01T12:00:00.000000Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def duration(seconds: float) -> str:
    """ISO 8601: `PT3.1415927S`."""
    hours, rest = divmod(max(0.0, seconds), 3600)
    minutes, rest = divmod(rest, 60)
    text = (f"{int(hours)}H" if hours else "") + (f"{int(minutes)}M" if minutes else "")
    return f"PT{text}{rest:.7f}".rstrip("0").rstrip(".") + "S"


def asked(prepared: Prepared) -> Document:
    """What was asked for, as it is shown: parameters without secrets, resources by provider, what goes before what."""
    return {
        "templateHash": prepared.template.hash,
        "parameters": shown(prepared.template, prepared.values),
        "mode": prepared.mode,
        "providers": _providers(prepared),
        "dependencies": _dependencies(prepared),
    }


def resources(prepared: Prepared) -> list[Document]:
    """`outputResources`, `validatedResources`."""
    return [{"id": u.id} for u in prepared.plan.deployed]


def _providers(prepared: Prepared) -> list[Document]:
    found: dict[str, dict[str, dict[str, None]]] = {}
    for unit in prepared.plan.deployed:
        namespace, _, kind = unit.type.partition("/")
        places = found.setdefault(namespace, {}).setdefault(kind, {})
        try:
            location = resolve(unit.body.get("location"), unit.frame)
        except (ExpressionError, ArmError, Needed):
            location = None  # known only when its turn comes
        if isinstance(location, str):
            places[location.replace(" ", "").lower()] = None
    return [
        {
            "namespace": namespace,
            "resourceTypes": [
                {"resourceType": kind, "locations": list(places) or [None]} for kind, places in kinds.items()
            ],
        }
        for namespace, kinds in found.items()
    ]


def _dependencies(prepared: Prepared) -> list[Document]:
    units = {u.key: u for u in prepared.plan.deployed}
    return [{"dependsOn": [_named(units[k]) for k in u.needs], **_named(u)} for u in units.values() if u.needs]


def _named(unit: Unit) -> Document:
    return {"id": unit.id, "resourceType": unit.type, "resourceName": unit.name}


def label(id: str, scope: str) -> str:
    """A resource as steps and messages call it: `Microsoft.Network/virtualNetworks/v` in the deployment's own scope."""
    inside = f"{scope}/providers/"
    return id[len(inside) :] if id.lower().startswith(inside.lower()) else id
