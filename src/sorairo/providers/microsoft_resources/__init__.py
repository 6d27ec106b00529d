"""Microsoft.Resources: subscriptions, resource groups, and deployments of templates."""

from __future__ import annotations

from sorairo.engine.types import Provider
from sorairo.providers.microsoft_resources.asking import Asks
from sorairo.providers.microsoft_resources.deployments import deployments
from sorairo.providers.microsoft_resources.groups import RESOURCE_GROUPS
from sorairo.providers.microsoft_resources.subscriptions import SUBSCRIPTIONS
from sorairo.store import Store

PROVIDER = Provider("Microsoft.Resources", (SUBSCRIPTIONS, RESOURCE_GROUPS))
"""Without deployments: for who needs a group and nothing else."""


def provider(store: Store, asks: Asks) -> Provider:
    """`asks`: how deployments put resources, as the one who asked for them."""
    type, routes = deployments(store, asks)
    return Provider("Microsoft.Resources", (SUBSCRIPTIONS, RESOURCE_GROUPS, type), routes=routes)
