"""Every path that is not simply a resource of some provider, and who answers it."""

from __future__ import annotations

from sorairo.arm import lro
from sorairo.arm.handlers import activity, features, graph, lists, metadata, providers, resources, scopes, sorairo, tags
from sorairo.arm.routing import Endpoint, Handler, Handlers, Route, Router
from sorairo.engine.errors import not_implemented
from sorairo.engine.registry import Registry

VERSIONS = (
    "2025-04-01", "2025-03-01", "2024-11-01", "2024-07-01", "2024-03-01", "2023-07-01", "2022-12-01", "2022-09-01",
    "2021-10-01", "2021-04-01", "2021-01-01", "2020-10-01", "2020-08-01", "2020-06-01", "2020-05-01", "2020-01-01",
    "2019-11-01", "2019-10-01", "2019-08-01", "2019-07-01", "2019-06-01", "2019-05-10", "2019-05-01", "2019-03-01",
    "2018-08-01", "2018-06-01", "2018-05-01", "2018-02-01", "2018-01-01", "2017-08-01", "2017-05-10", "2017-05-01",
    "2016-09-01", "2016-07-01", "2016-06-01", "2016-02-01", "2015-11-01", "2015-01-01", "2014-04-01",
)  # fmt: skip
"""Of ARM's own API (Microsoft.Resources), whose lists and groups change little from one to the next."""

ACTIVITY_VERSIONS = ("2017-03-01-preview", "2015-04-01", "2014-04-01")
_RESOURCES = "Microsoft.Resources/subscriptions"


def _get(handler: Handler, permission: str = "") -> dict[str, Route]:
    return {"GET": Route(handler, permission)}


_FEATURE = "Microsoft.Features/providers/features"
_REGISTRATION = "Microsoft.Features/featureProviders/subscriptionFeatureRegistrations"
_FEATURES = {
    "features": _get(features.every, "Microsoft.Features/features/read"),
    "providers/{namespace}/features": _get(features.every, f"{_FEATURE}/read"),
    "providers/{namespace}/features/{name}": _get(features.one, f"{_FEATURE}/read"),
    "providers/{namespace}/features/{name}/register": {"POST": Route(features.register, f"{_FEATURE}/register/action")},
    "providers/{namespace}/features/{name}/unregister": {
        "POST": Route(features.unregister, f"{_FEATURE}/unregister/action")
    },
    "subscriptionFeatureRegistrations": _get(features.registrations, f"{_REGISTRATION}/read"),
    "featureProviders/{namespace}/subscriptionFeatureRegistrations": _get(
        features.registrations, f"{_REGISTRATION}/read"
    ),
    "featureProviders/{namespace}/subscriptionFeatureRegistrations/{name}": {
        "GET": Route(features.registration, f"{_REGISTRATION}/read"),
        "PUT": Route(features.create_registration, f"{_REGISTRATION}/write"),
        "DELETE": Route(features.delete_registration, f"{_REGISTRATION}/delete"),
    },
}

ROOT = (
    Endpoint("metadata/endpoints", _get(metadata.endpoints), anonymous=True),
    Endpoint("metadata/vmImageAliases", _get(metadata.image_aliases), anonymous=True),
    Endpoint("tenants", _get(scopes.tenants), VERSIONS),
    Endpoint("subscriptions", _get(scopes.subscriptions), VERSIONS),
    Endpoint(
        "subscriptions/{subscription}/locations",
        _get(scopes.locations, f"{_RESOURCES}/locations/read"),
        VERSIONS,
    ),
    Endpoint("subscriptions/{subscription}/tagNames", _get(scopes.tag_names, f"{_RESOURCES}/tagNames/read"), VERSIONS),
    Endpoint("subscriptions/{subscription}/resources", _get(lists.resources), VERSIONS),
    Endpoint("subscriptions/{subscription}/resourceGroups", _get(lists.groups), VERSIONS),
    Endpoint("subscriptions/{subscription}/resourceGroups/{group}/resources", _get(lists.resources), VERSIONS),
    *(
        Endpoint(
            f"subscriptions/{{subscription}}/resourceGroups/{{group}}/{action}",
            {"POST": Route(resources.act_on_scope(action), f"{_RESOURCES}/resourceGroups/{action}/action")},
            VERSIONS,
        )
        for action in ("exportTemplate", "moveResources", "validateMoveResources")
    ),
    # Microsoft.Resources/providers/read is asked of nobody: what exists is no secret to those who may sign in.
    Endpoint("providers", _get(providers.every), VERSIONS),
    Endpoint("subscriptions/{subscription}/providers", _get(providers.every), VERSIONS),
    *(
        Endpoint(f"subscriptions/{{subscription}}/providers/Microsoft.Features/{path}", routes, features.VERSIONS)
        for path, routes in _FEATURES.items()
    ),
)

_TAGS = "Microsoft.Resources/tags"

BELOW = (
    Endpoint("{namespace}", _get(providers.one), VERSIONS, scopes=("tenant", "subscription")),
    Endpoint(
        "{namespace}/register", {"POST": Route(providers.register, f"{_RESOURCES}/providers/register/action")}, VERSIONS
    ),
    Endpoint(
        "{namespace}/unregister",
        {"POST": Route(providers.unregister, f"{_RESOURCES}/providers/unregister/action")},
        VERSIONS,
    ),
    # Any api-version: it is the one of the request that began the operation.
    Endpoint("{namespace}/locations/{location}/operations/{id}", _get(lro.status), scopes=("tenant", "subscription")),
    Endpoint(
        "{namespace}/locations/{location}/operationresults/{id}", _get(lro.result), scopes=("tenant", "subscription")
    ),
    Endpoint(
        "Microsoft.Resources/tags/default",
        {
            "GET": Route(tags.show, f"{_TAGS}/read"),
            "PUT": Route(tags.replace, f"{_TAGS}/write"),
            "PATCH": Route(tags.change, f"{_TAGS}/write"),
            "DELETE": Route(tags.clear, f"{_TAGS}/delete"),
        },
        VERSIONS,
        scopes=("subscription", "group", "resource"),
    ),
    Endpoint(
        "Microsoft.ResourceGraph/resources",
        # Asked of nobody: each is shown what they may read.
        {"POST": Route(graph.query)},
        graph.VERSIONS,
        scopes=("tenant",),
    ),
    Endpoint(
        "Microsoft.Insights/eventtypes/management/values",
        _get(activity.events, "Microsoft.Insights/eventtypes/values/read"),
        ACTIVITY_VERSIONS,
    ),
    *(
        Endpoint(f"Microsoft.Sorairo/{path}", _get(handler), sorairo.VERSIONS, scopes=("tenant", "subscription"))
        for path, handler in (
            ("traces/{id}", sorairo.trace),
            ("operations", sorairo.operations),
            ("status/default", sorairo.status),
            ("logs/default", sorairo.logs),
            ("packets/default", sorairo.packet),
        )
    ),
)


_POLICY = ("policyAssignments", "policyDefinitions", "policySetDefinitions", "policyExemptions")


def _missing(feature: str) -> Handler:
    async def handler(x: object) -> None:
        raise not_implemented(feature)

    return handler  # type: ignore[return-value]


UNBUILT = tuple(
    Endpoint(
        pattern,
        {m: Route(_missing("Azure Policy")) for m in ("GET", "PUT", "PATCH", "DELETE", "POST")},
        scopes=("tenant", "subscription", "group", "resource"),
    )
    for pattern in (
        *(f"Microsoft.Authorization/{kind}" for kind in _POLICY),
        *(f"Microsoft.Authorization/{kind}/{{name}}" for kind in _POLICY),
        *(f"Microsoft.PolicyInsights/{{kind}}{rest}" for rest in ("", "/{a}", "/{a}/{b}", "/{a}/{b}/{c}")),
    )
)
"""Known to Azure and not to us: they say so, rather than that there is no such path."""


def make_router(registry: Registry) -> Router:
    handlers = Handlers(
        show=resources.show,
        exists=resources.exists,
        put=resources.put,
        patch=resources.patch,
        delete=resources.delete,
        act=resources.act,
        collection=resources.collection,
        result=lro.result,
        extra=resources.extra,
    )
    return Router(registry, handlers, ROOT, (*BELOW, *UNBUILT))
