"""Microsoft.Resources: subscriptions and resource groups."""

from sorairo.engine.types import Provider
from sorairo.providers.microsoft_resources.groups import RESOURCE_GROUPS
from sorairo.providers.microsoft_resources.subscriptions import SUBSCRIPTIONS

PROVIDER = Provider("Microsoft.Resources", (SUBSCRIPTIONS, RESOURCE_GROUPS))
