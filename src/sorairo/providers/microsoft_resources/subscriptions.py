"""Microsoft.Resources/subscriptions: made by `sorairo up`, read by everyone.

https://learn.microsoft.com/rest/api/resources/subscriptions
"""

from sorairo.engine.types import Document, Resource, ResourceType


def _render(resource: Resource, document: Document) -> Document:
    """Subscriptions are flat on the wire: no `properties`, no etag."""
    name = resource.rid.name
    tags = resource.body.get("tags")
    return ({"tags": tags} if tags else {}) | {
        "id": resource.id,
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionId": name,
        "tenantId": resource.properties.get("tenantId"),
        "displayName": resource.properties.get("displayName", "sorairo"),
        "state": "Enabled",
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    }


SUBSCRIPTIONS: ResourceType[None] = ResourceType(
    "Microsoft.Resources/subscriptions",
    ("2022-12-01", "2022-09-01", "2021-10-01", "2021-04-01", "2021-01-01", "2020-01-01", "2019-11-01", "2019-06-01",
     "2018-06-01", "2016-06-01"),
    render=_render,
    located=False,
    tracked=False,
    writable=False,
)  # fmt: skip
