"""Microsoft.Resources: subscriptions, resource groups, and deployments of templates."""

from __future__ import annotations

from dataclasses import replace

from sorairo.engine.types import Action, Provider
from sorairo.providers.microsoft_resources.asking import Asks
from sorairo.providers.microsoft_resources.deployments import deployments
from sorairo.providers.microsoft_resources.export import Exporter
from sorairo.providers.microsoft_resources.groups import RESOURCE_GROUPS
from sorairo.providers.microsoft_resources.moves import Mover
from sorairo.providers.microsoft_resources.subscriptions import SUBSCRIPTIONS
from sorairo.store import Store

_GROUPS = "Microsoft.Resources/subscriptions/resourceGroups"

PROVIDER = Provider("Microsoft.Resources", (SUBSCRIPTIONS, RESOURCE_GROUPS))
"""Without deployments: for who needs a group and nothing else."""


def provider(store: Store, asks: Asks) -> Provider:
    """`asks`: how deployments put resources, as the one who asked for them."""
    type, routes = deployments(store, asks)
    mover, exporter = Mover(store, asks), Exporter(asks)
    groups = replace(
        RESOURCE_GROUPS,
        actions=(
            Action("moveResources", f"{_GROUPS}/moveResources/action", run=mover.move, lro=True),
            Action("validateMoveResources", f"{_GROUPS}/validateMoveResources/action", run=mover.validate, lro=True),
            Action("exportTemplate", f"{_GROUPS}/exportTemplate/action", run=exporter.export, absent=True),
        ),
    )
    return Provider("Microsoft.Resources", (SUBSCRIPTIONS, groups, type), routes=routes)
