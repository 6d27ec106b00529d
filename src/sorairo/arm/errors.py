"""What ARM itself refuses, in its own codes and words.

https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sorairo.engine.errors import ArmError


def missing_version() -> ArmError:
    return ArmError(
        "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests."
    )


def invalid_version(version: str, known: Sequence[str]) -> ArmError:
    """For what ARM answers itself (groups, subscriptions, tags)."""
    return ArmError(
        "InvalidApiVersionParameter",
        f"The api-version '{version}' is invalid. The supported versions are '{','.join(known)}'.",
    )


def unregistered_version(version: str, type: str, known: Sequence[str], locations: Sequence[str]) -> ArmError:
    """For what a resource provider answers."""
    return ArmError(
        "NoRegisteredProviderFound",
        f"No registered resource provider found for location '{locations[0]}' and API version '{version}' for type "
        f"'{type}'. The supported api-versions are '{', '.join(known)}'. "
        f"The supported locations are '{', '.join(locations)}'.",
    )


def invalid_namespace(namespace: str) -> ArmError:
    return ArmError("InvalidResourceNamespace", f"The resource namespace '{namespace}' is invalid.", status=404)


def invalid_type(namespace: str, type: str, version: str) -> ArmError:
    return ArmError(
        "InvalidResourceType",
        f"The resource type '{type}' could not be found in the namespace '{namespace}' for api version '{version}'.",
        status=404,
    )


def method_not_allowed(method: str, url: str) -> ArmError:
    """The caller adds the `Allow` header."""
    return ArmError(
        "MethodNotAllowed", f"The HTTP method '{method}' is not supported on the resource '{url}'.", status=405
    )


def unknown_path(path: str) -> ArmError:
    return ArmError("InvalidRequestUri", f"The request URI '{path}' is not one that this server answers.", status=404)


def invalid_content(reason: str) -> ArmError:
    return ArmError(
        "InvalidRequestContent", f"The request content was invalid and could not be deserialized: '{reason}'."
    )


def too_large(limit: int) -> ArmError:
    return ArmError(
        "RequestContentTooLarge",
        f"The request content size exceeds the maximum size of {limit // (1024 * 1024)} MB.",
        status=413,
    )


def media_type(given: str) -> ArmError:
    return ArmError(
        "UnsupportedMediaType",
        f"The content media type '{given}' is not supported. Only 'application/json' is supported.",
        status=415,
    )


def no_subscription(subscription: str) -> ArmError:
    return ArmError("SubscriptionNotFound", f"The subscription '{subscription}' could not be found.", status=404)


def bad_subscription(subscription: str) -> ArmError:
    return ArmError(
        "InvalidSubscriptionId", f"The provided subscription identifier '{subscription}' is malformed or invalid."
    )


def invalid_filter(text: str, reason: str) -> ArmError:
    return ArmError("InvalidFilterInQueryString", f"Invalid $filter '{text}' specified in the query string: {reason}.")


def invalid_parameter(name: str, value: str, wanted: str) -> ArmError:
    return ArmError(
        "InvalidParameterInQueryString", f"Invalid {name} '{value}' specified in the query string: {wanted}."
    )


def unavailable_location(location: str, type: str, known: Iterable[str]) -> ArmError:
    if type == "Microsoft.Resources/resourceGroups":
        return ArmError(
            "LocationNotAvailableForResourceGroup",
            f"The provided location '{location}' is not available for resource group. "
            f"List of available regions is '{','.join(known)}'.",
        )
    return ArmError(
        "LocationNotAvailableForResourceType",
        f"The provided location '{location}' is not available for resource type '{type}'. "
        f"List of available regions for the resource type is '{','.join(known)}'.",
    )


def no_operation(id: str) -> ArmError:
    return ArmError("OperationNotFound", f"The operation '{id}' could not be found.", status=404)


def throttled(verb: str, subscription: str, actor: str, seconds: int) -> ArmError:
    where = f"subscription '{subscription}'" if subscription else "the tenant"
    return ArmError(
        "SubscriptionRequestsThrottled" if subscription else "TenantRequestsThrottled",
        f"Number of '{verb}' requests for {where} actor '{actor}' exceeded. Please try again after '{seconds}' "
        "seconds after additional tokens are available. "
        "Refer to https://aka.ms/arm-throttling for additional information.",
        status=429,
    )


def unexpected(request_id: str) -> ArmError:
    return ArmError(
        "InternalServerError",
        "Encountered internal server error: this is a bug in sorairo, and its log holds the cause. "
        f"Diagnostic information: request id '{request_id}'.",
        status=500,
    )
