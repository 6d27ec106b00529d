"""What the token service may refuse with, in Entra's own shape and words.

Codes: https://learn.microsoft.com/entra/identity-platform/reference-error-codes
"""

from __future__ import annotations

import time
import uuid
from typing import Any


class EntraError(Exception):
    """`{"error", "error_description": "AADSTS…", "error_codes": […], …}` with status 400 or 401."""

    def __init__(self, code: int, error: str, message: str, *, status: int = 400) -> None:
        super().__init__(f"AADSTS{code}: {message}")
        self.code = code
        self.error = error
        self.message = message
        self.status = status

    def body(self, correlation_id: str = "") -> dict[str, Any]:
        """The answer's JSON. `correlation_id` is the client's `client-request-id` when it sent one."""
        trace_id, correlation_id = str(uuid.uuid4()), correlation_id or str(uuid.uuid4())
        timestamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
        return {
            "error": self.error,
            "error_description": (
                f"AADSTS{self.code}: {self.message} Trace ID: {trace_id} "
                f"Correlation ID: {correlation_id} Timestamp: {timestamp}"
            ),
            "error_codes": [self.code],
            "timestamp": timestamp,
            "trace_id": trace_id,
            "correlation_id": correlation_id,
            # Entra's own page about the code: what a person who searches for it should find.
            "error_uri": f"https://login.microsoftonline.com/error?code={self.code}",
        }


def missing_parameter(name: str) -> EntraError:
    return EntraError(900144, "invalid_request", f"The request body must contain the following parameter: '{name}'.")


def unknown_tenant(tenant: str, error: str = "invalid_request") -> EntraError:
    return EntraError(
        90002,
        error,
        f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the "
        "correct cloud. Check with your subscription administrator, this may happen if there are no active "
        "subscriptions for the tenant.",
    )


def no_tenant() -> EntraError:
    return EntraError(
        50059,
        "invalid_request",
        "No tenant-identifying information found in either the request or implied by any provided credentials.",
    )


def unknown_application(client_id: str, directory: str) -> EntraError:
    return EntraError(
        700016,
        "unauthorized_client",
        f"Application with identifier '{client_id}' was not found in the directory '{directory}'. This can happen if "
        "the application has not been installed by the administrator of the tenant or consented to by any user in "
        "the tenant. You may have sent your authentication request to the wrong tenant.",
    )


def no_credential() -> EntraError:
    return EntraError(
        7000218,
        "invalid_client",
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        status=401,
    )


def bad_secret(client_id: str) -> EntraError:
    return EntraError(
        7000215,
        "invalid_client",
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, "
        f"not the client secret ID, for a secret added to app '{client_id}'.",
        status=401,
    )


def expired_secret(client_id: str) -> EntraError:
    return EntraError(
        7000222,
        "invalid_client",
        f"The provided client secret keys for app '{client_id}' are expired. Visit the Azure portal to create new "
        "keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added "
        "security: https://aka.ms/certCreds.",
        status=401,
    )


def disabled(client_id: str, name: str) -> EntraError:
    return EntraError(7000112, "unauthorized_client", f"Application '{client_id}'({name}) is disabled.")


def unknown_user(name: str, directory: str) -> EntraError:
    return EntraError(
        50034,
        "invalid_grant",
        f"The user account {name} does not exist in the {directory} directory. To sign into this application, the "
        "account must be added to the directory.",
    )


def bad_password() -> EntraError:
    return EntraError(50126, "invalid_grant", "Error validating credentials due to invalid username or password.")


def disabled_user() -> EntraError:
    return EntraError(50057, "invalid_grant", "The user account is disabled.")


def bad_certificate(client_id: str, reason: str, thumbprint: str) -> EntraError:
    return EntraError(
        700027,
        "invalid_client",
        "The certificate with identifier used to sign the client assertion is not registered on application. "
        f"[Reason - {reason}, Thumbprint of key used by client: '{thumbprint}', Client app: '{client_id}'].",
        status=401,
    )


def malformed_assertion() -> EntraError:
    return EntraError(50027, "invalid_request", "JWT token is invalid or malformed.")


def another_client() -> EntraError:
    return EntraError(
        700021,
        "invalid_client",
        "Client assertion application identifier doesn't match 'client_id' parameter.",
        status=401,
    )


def wrong_assertion_audience(audience: str) -> EntraError:
    return EntraError(
        700023,
        "invalid_client",
        f"Client assertion audience claim '{audience}' does not match Realm issuer.",
        status=401,
    )


def assertion_not_in_time(now: str, starts: str, ends: str) -> EntraError:
    return EntraError(
        700024,
        "invalid_client",
        f"Client assertion is not within its valid time range. Current time: {now}, assertion valid from {starts}, "
        f"expiry time of assertion {ends}. Review the documentation at "
        "https://learn.microsoft.com/entra/identity-platform/certificate-credentials.",
        status=401,
    )


def no_federation(code: int, part: str, given: str) -> EntraError:
    return EntraError(
        code,
        "invalid_client",
        f"No matching federated identity record found for presented assertion {part} '{given}'. Check your federated "
        "identity credential Subject, Audience and Issuer against the presented assertion. "
        "https://learn.microsoft.com/entra/workload-id/workload-identity-federation",
        status=401,
    )


def unknown_issuer_key(kid: str) -> EntraError:
    return EntraError(
        50013,
        "invalid_grant",
        f"Assertion failed signature validation. [Reason - The key was not found., Key identifier: '{kid}'].",
    )


def issuer_unreachable(issuer: str, why: str) -> EntraError:
    return EntraError(50166, "invalid_request", f"Request to external OIDC endpoint '{issuer}' failed: {why}.")


def bad_redirect(uri: str, client_id: str) -> EntraError:
    return EntraError(
        50011,
        "invalid_request",
        f"The redirect URI '{uri}' specified in the request does not match the redirect URIs configured for the "
        f"application '{client_id}'. Make sure the redirect URI sent in the request matches one added to your "
        "application. Navigate to https://aka.ms/redirectUriMismatchError to learn more.",
    )


def spent_code() -> EntraError:
    return EntraError(54005, "invalid_grant", "OAuth2 Authorization code was already redeemed, please retry with a new "
                      "valid code or use an existing refresh token.")  # fmt: skip


def bad_verifier() -> EntraError:
    return EntraError(501481, "invalid_grant", "The Code_Verifier does not match the code_challenge supplied in the "
                      "authorization request.")  # fmt: skip


def pending() -> EntraError:
    return EntraError(70016, "authorization_pending", "OAuth 2.0 device flow error. Authorization is pending. Continue "
                      "polling.")  # fmt: skip


def declined() -> EntraError:
    return EntraError(70018, "authorization_declined", "The user declined the request to sign in.")


def bad_device_code() -> EntraError:
    return EntraError(70019, "expired_token", "Verification code expired. Have the user retry the sign-in.")


def stale_grant() -> EntraError:
    return EntraError(
        50173,
        "invalid_grant",
        "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have "
        "changed or reset their password.",
    )


def bad_refresh_token() -> EntraError:
    return EntraError(9002313, "invalid_grant", "Invalid request. Request is malformed or invalid: the refresh token.")


def expired_refresh_token() -> EntraError:
    return EntraError(700082, "invalid_grant", "The refresh token has expired due to inactivity.")


def bad_grant(grant: str) -> EntraError:
    return EntraError(70003, "unsupported_grant_type", f"The app requested an unsupported grant type '{grant}'.")


def bad_scope(scope: str) -> EntraError:
    return EntraError(
        70011,
        "invalid_scope",
        "The provided request must include a 'scope' input parameter. The provided value for the input parameter "
        f"'scope' is not valid. The scope {scope} is not valid.",
    )


def scope_not_default(scope: str) -> EntraError:
    return EntraError(
        1002012,
        "invalid_scope",
        f"The provided value for scope {scope} is not valid. Client credential flows must have a scope value with "
        "/.default suffixed to the resource identifier (application ID URI).",
    )


def unknown_resource(resource: str, directory: str) -> EntraError:
    return EntraError(
        500011,
        "invalid_resource",
        f"The resource principal named {resource} was not found in the tenant named {directory}. This can happen if "
        "the application has not been installed by the administrator of the tenant or consented to by any user in "
        "the tenant. You might have sent your authentication request to the wrong tenant.",
    )
