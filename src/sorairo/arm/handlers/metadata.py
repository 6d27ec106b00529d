"""`/metadata/endpoints`: how a client that knows only our URL finds the rest of the cloud.

`az cloud register --endpoint-resource-manager` and Terraform read it before anyone signs in. The shape depends on the
api-version: an object since 2022-09-01, a list of clouds before, another object still before that.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from sorairo.arm.exchange import Answer, Exchange
from sorairo.arm.settings import Settings
from sorairo.engine.types import Document


async def endpoints(x: Exchange) -> Answer:
    version = x.api_version or "2022-09-01"
    if version >= "2022-09-01":
        return Answer(200, cloud(x.arm.settings, x.base))
    if version >= "2018-05-01":
        return Answer(200, [cloud(x.arm.settings, x.base)])
    found = cloud(x.arm.settings, x.base)
    return Answer(
        200,
        {
            "galleryEndpoint": found["gallery"],
            "graphEndpoint": found["graph"],
            "portalEndpoint": found["portal"],
            "authentication": {k: found["authentication"][k] for k in ("loginEndpoint", "audiences")},
        },
    )


async def image_aliases(x: Exchange) -> Answer:
    return Answer(200, dict(x.arm.settings.image_aliases))


def cloud(settings: Settings, base: str) -> Document:
    """The document of today's api-version. `base`: `https://HOST:PORT` as who asks sees us."""
    login = settings.login_url or base
    graph = (settings.graph_url or base).rstrip("/") + "/"
    suffix = settings.suffix
    return {
        "name": settings.cloud,
        "portal": base,
        "resourceManager": base + "/",
        "authentication": {
            "loginEndpoint": login,
            # Clients ask tokens for the first of them.
            "audiences": [base + "/", f"https://management.{suffix}/", "https://management.azure.com/"],
            "tenant": settings.tenant.get("tenantId", "common"),
            "identityProvider": "AAD",
        },
        "graph": graph,
        "graphAudience": graph,
        "microsoftGraphResourceId": graph,
        "gallery": base + "/",
        "batch": base + "/",
        "media": base,
        "sqlManagement": base + "/",
        "vmImageAliasDoc": base + "/metadata/vmImageAliases",
        "activeDirectoryDataLake": base + "/",
        "logAnalyticsResourceId": base,
        "appInsightsResourceId": base,
        "suffixes": {
            "storage": f"core.{suffix}",
            "acrLoginServer": f"azurecr.{suffix}",
            "keyVaultDns": f"vault.{suffix}",
            "mhsmDns": f"managedhsm.{suffix}",
            "sqlServerHostname": f"database.{suffix}",
            "storageSyncEndpointSuffix": f"afs.{suffix}",
            "azureDataLakeStoreFileSystem": f"azuredatalakestore.{suffix}",
            "azureDataLakeAnalyticsCatalogAndJob": f"azuredatalakeanalytics.{suffix}",
            "azureFrontDoorEndpointSuffix": urlsplit(base).hostname or suffix,
        },
    }
