"""A cluster's principal: whether it can sign in, and another secret for it.

https://learn.microsoft.com/azure/aks/update-credentials
"""

from __future__ import annotations

from collections.abc import Callable

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Document, Resource
from sorairo.providers.microsoft_containerservice import cloud
from sorairo.providers.principals import Principals


def invalid(cause: object) -> ArmError:
    """A service principal that cannot sign in. `cause` has the token service's words, AADSTS code first."""
    return ArmError(
        "ServicePrincipalValidationClientError",
        "The credentials in ServicePrincipalProfile were invalid. Please see https://aka.ms/aks-sp-help for more "
        f"details. (Details: {cause})",
        target="servicePrincipalProfile",
    )


def refusal(principals: Principals, cluster: Resource) -> Document | None:
    """Why a cluster can do nothing to its cloud: an error's code and message. None: it can, as far as signing in."""
    if cloud.identity_id(cluster) is not None or "secret" not in cluster.private:
        return None
    try:
        principals.check_secret(cluster.properties["servicePrincipalProfile"]["clientId"], cluster.private["secret"])
    except Exception as e:
        return invalid(e).body()
    return None


def reset(principals: Principals) -> Callable[[Resource, Document], None]:
    """`az aks update-credentials --reset-service-principal`: from then on another secret, or another principal."""

    def change(cluster: Resource, body: Document) -> None:
        _idle(cluster)
        if cloud.identity_id(cluster) is not None:
            raise ArmError(
                "ResetServicePrincipalProfileNotAllowed",
                f"Managed cluster {cluster.rid.name} uses a managed identity: it has no service principal to reset.",
                target="servicePrincipalProfile",
            )
        client, secret = str(body.get("clientId") or ""), str(body.get("secret") or "")
        for name, value in (("clientId", client), ("secret", secret)):
            if not value or value.lower() == "msi":
                raise ArmError(
                    "InvalidParameter",
                    f"Required parameter {name} is missing (null) or is not valid.",
                    target=f"servicePrincipalProfile.{name}",
                )
        try:
            principal = principals.check_secret(client, secret)
        except Exception as e:
            raise invalid(e) from None
        cluster.properties["servicePrincipalProfile"] = {"clientId": client}
        cluster.private |= {"secret": secret, "servicePrincipal": principal.object_id}

    return change


def reset_aad(cluster: Resource, body: Document) -> None:
    """`az aks update-credentials --reset-aad`: other applications, for clusters that have their own for Entra."""
    _idle(cluster)
    if not cluster.properties.get("aadProfile"):
        raise ArmError(
            "BadRequest",
            f"Managed cluster {cluster.rid.name} has no AAD profile to reset: it is not enabled for Entra ID.",
            target="aadProfile",
        )
    raise ArmError(
        "BadRequest",
        "Resetting the AAD profile is not allowed for clusters with AKS-managed Microsoft Entra integration: it has no "
        "applications of your own.",
        target="aadProfile",
    )


def _idle(cluster: Resource) -> None:
    if not cluster.settled:
        raise ArmError(
            "OperationNotAllowed",
            f"Operation is not allowed because there's an in progress operation on the managed cluster "
            f"{cluster.rid.name}. Please wait for it to finish before starting a new operation.",
            status=409,
        )
