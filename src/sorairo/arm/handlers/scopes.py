"""What is above the resource groups: tenants, subscriptions, their locations and the tags used in them.

https://learn.microsoft.com/rest/api/resources/subscriptions
"""

from __future__ import annotations

from collections import Counter

from sorairo.arm import regions
from sorairo.arm.exchange import Answer, Exchange
from sorairo.arm.handlers.lookup import shown_to
from sorairo.arm.paging import page


async def tenants(x: Exchange) -> Answer:
    tenant = x.arm.settings.tenant
    id = tenant.get("tenantId", x.principal.tenant_id)
    domain = tenant.get("domain", x.arm.settings.suffix)
    return Answer(
        200,
        {
            "value": [
                {
                    "id": f"/tenants/{id}",
                    "tenantId": id,
                    "countryCode": "JP",
                    "displayName": tenant.get("displayName", x.arm.settings.cloud),
                    "domains": [domain],
                    "tenantCategory": "Home",
                    "defaultDomain": domain,
                    "tenantType": "AAD",
                }
            ]
        },
    )


async def subscriptions(x: Exchange) -> Answer:
    """Those the caller has any role in that lets it read them."""
    found = x.control.list("Microsoft.Resources/subscriptions", "/")
    answer = page(x, shown_to(x, found, "Microsoft.Resources/subscriptions/read"))
    answer.body["count"] = {"type": "Total", "value": len(answer.body["value"])}
    return answer


async def locations(x: Exchange) -> Answer:
    return Answer(200, {"value": regions.locations(x.target.subscription)})


async def tag_names(x: Exchange) -> Answer:
    """`az tag list`: every tag in use, with its values, counted."""
    used: dict[str, Counter[str]] = {}
    own = x.control.store.get(x.target.scope)
    for resource in [*([own] if own else []), *x.control.store.list(under=x.target.scope)]:
        for name, value in (resource.body.get("tags") or {}).items():
            used.setdefault(name, Counter())[value] += 1
    base = f"{x.target.scope}/tagNames"
    value = [
        {
            "id": f"{base}/{name}",
            "tagName": name,
            "count": {"type": "Total", "value": sum(values.values())},
            "values": [
                {"id": f"{base}/{name}/tagValues/{v}", "tagValue": v, "count": {"type": "Total", "value": n}}
                for v, n in sorted(values.items())
            ],
        }
        for name, values in sorted(used.items())
    ]
    return Answer(200, {"value": value})
