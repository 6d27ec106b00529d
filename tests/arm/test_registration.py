"""Providers and features a subscription is registered for, and what is not built saying so."""

from __future__ import annotations

import pytest

from arm.conftest import GROUP, RG, SUB, V, World

WIDGET = f"{GROUP}/providers/Microsoft.Test/widgets/w"
F = "2021-07-01"


async def test_a_provider_that_is_not_registered_refuses_and_tells_how(arm: World) -> None:
    await arm.made(WIDGET)
    used = await arm.call("POST", f"{SUB}/providers/microsoft.test/unregister", v=RG)
    assert (used.status_code, used.json()["error"]["code"]) == (409, "CannotUnregisterProvider")
    assert WIDGET in used.json()["error"]["message"]
    await arm.call("DELETE", WIDGET)
    gone = await arm.call("POST", f"{SUB}/providers/microsoft.test/unregister", v=RG)
    assert gone.json()["registrationState"] == "NotRegistered"
    listed = (await arm.call("GET", f"{SUB}/providers", v=RG)).json()["value"]
    assert {p["namespace"]: p["registrationState"] for p in listed}["Microsoft.Test"] == "NotRegistered"
    refused = await arm.call("PUT", WIDGET, {"location": "eastus"})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (409, "MissingSubscriptionRegistration")
    assert error["details"][0]["target"] == "Microsoft.Test"
    assert (await arm.call("GET", f"{GROUP}/providers/Microsoft.Test/widgets")).status_code == 200
    again = await arm.call("POST", f"{SUB}/providers/Microsoft.Test/register", v=RG)
    assert again.json()["registrationState"] == "Registered"
    await arm.made(WIDGET)
    free = await arm.call("POST", f"{SUB}/providers/Microsoft.Resources/unregister", v=RG)
    assert (free.status_code, free.json()["error"]["code"]) == (409, "CannotUnregisterProvider")


async def test_features_are_asked_for_by_name(arm: World) -> None:
    base = f"{SUB}/providers/Microsoft.Features"
    feature = f"{base}/providers/microsoft.test/features/FastPreview"
    before = (await arm.call("GET", feature, v=F)).json()
    assert before["name"] == "Microsoft.Test/FastPreview"
    assert before["properties"]["state"] == "NotRegistered"
    made = (await arm.call("POST", f"{feature}/register", v=F)).json()
    assert made["properties"]["state"] == "Registered"
    assert made["id"].endswith("/providers/Microsoft.Features/providers/Microsoft.Test/features/FastPreview")
    for path in (f"{base}/features", f"{base}/providers/Microsoft.Test/features"):
        assert [f["name"] for f in (await arm.call("GET", path, v=F)).json()["value"]] == ["Microsoft.Test/FastPreview"]
    back = (await arm.call("POST", f"{feature}/unregister", v=F)).json()
    assert back["properties"]["state"] == "NotRegistered"
    unknown = await arm.call("GET", f"{base}/providers/Microsoft.Nope/features/x", v=F)
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "InvalidResourceNamespace")


async def test_feature_registrations_are_the_same_as_resources(arm: World) -> None:
    base = f"{SUB}/providers/Microsoft.Features/featureProviders/Microsoft.Test/subscriptionFeatureRegistrations"
    missing = await arm.call("GET", f"{base}/Fast", v=F)
    assert missing.status_code == 404
    made = await arm.call("PUT", f"{base}/Fast", {}, v=F)
    assert made.json()["properties"]["state"] == "Registered"
    assert [r["name"] for r in (await arm.call("GET", base, v=F)).json()["value"]] == ["Fast"]
    assert (await arm.call("DELETE", f"{base}/Fast", v=F)).status_code == 200
    assert (await arm.call("GET", base, v=F)).json()["value"] == []


async def test_who_may_not_register_does_not(arm: World) -> None:
    arm.roles["dev"] = [("Microsoft.Test/", SUB)]
    for path, v in (
        (f"{SUB}/providers/Microsoft.Test/unregister", RG),
        (f"{SUB}/providers/Microsoft.Features/providers/Microsoft.Test/features/Fast/register", F),
    ):
        assert (await arm.call("POST", path, v=v, token="dev")).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        f"{SUB}/providers/Microsoft.Authorization/policyAssignments",
        f"{GROUP}/providers/Microsoft.Authorization/policyAssignments/p",
        "/providers/Microsoft.Authorization/policyDefinitions/d",
        f"{SUB}/providers/Microsoft.PolicyInsights/policyStates/latest/summarize",
    ],
)
async def test_policy_says_that_it_is_not_built(arm: World, path: str) -> None:
    for method in ("GET", "PUT", "POST"):
        body = None if method == "GET" else {"properties": {}}
        answer = await arm.call(method, path, body, v=V)
        assert (answer.status_code, answer.json()["error"]["code"]) == (501, "NotImplemented")
        assert "Azure Policy" in answer.json()["error"]["message"]
