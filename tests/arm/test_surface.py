"""What ARM answers itself: who may come in, what is above the groups, lists over all types, tags, the activity log."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from arm.conftest import GROUP, OTHER, RG, SUB, SUBSCRIPTION, V, World
from sorairo.arm.throttle import Throttle, Throttled

WIDGETS = f"{GROUP}/providers/Microsoft.Test/widgets"
TAGS = "providers/Microsoft.Resources/tags/default"


async def test_strangers_are_told_nothing_but_how_to_sign_in(arm: World) -> None:
    for path in (GROUP, "/nonsense", "/subscriptions"):
        answer = await arm.client.get(path)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "AuthenticationFailed"
        assert answer.headers["www-authenticate"] == 'Bearer error="AuthenticationFailed"'
    assert (await arm.call("GET", GROUP, token="expired")).json()["error"]["code"] == "ExpiredAuthenticationToken"


async def test_each_verb_needs_its_action(arm: World) -> None:
    arm.roles["reader"] = [("Microsoft.Test/widgets/read", GROUP), ("Microsoft.Resources/subscriptions/read", SUB)]
    await arm.made(f"{WIDGETS}/a")
    assert (await arm.call("GET", f"{WIDGETS}/a", token="reader")).status_code == 200
    for method in ("PUT", "PATCH", "DELETE"):
        body = None if method == "DELETE" else {"location": "eastus"}
        refused = await arm.call(method, f"{WIDGETS}/a", body, token="reader")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "AuthorizationFailed")
    refused = await arm.call("GET", GROUP, v=RG, token="reader")
    assert "Microsoft.Resources/subscriptions/resourceGroups/read" in refused.text


async def test_lists_show_each_caller_what_it_may_see(arm: World) -> None:
    other = GROUP.replace("/Web", "/Other")
    await arm.call("PUT", other, {"location": "eastus"}, v=RG)
    for group in (GROUP, other):
        await arm.made(f"{group}/providers/Microsoft.Test/widgets/a")
    arm.roles["reader"] = [("Microsoft.", other)]
    for path, v in (
        (f"{SUB}/resources", RG),
        (f"{SUB}/providers/Microsoft.Test/widgets", V),
        (f"{SUB}/resourcegroups", RG),
    ):
        value = (await arm.call("GET", path, v=v, token="reader")).json()["value"]
        assert len(value) == 1, path
        assert value[0]["id"].startswith(other)
        assert len((await arm.call("GET", path, v=v)).json()["value"]) == 2
    assert (await arm.call("GET", "/subscriptions", v="2022-12-01", token="reader")).json()["value"] == []


async def test_ids_and_headers_of_every_answer(arm: World) -> None:
    answer = await arm.call("GET", GROUP, v=RG, x_ms_correlation_request_id="theirs", x_ms_client_request_id="c")
    assert answer.headers["x-ms-correlation-request-id"] == "theirs"
    assert answer.headers["x-ms-routing-request-id"].endswith(":theirs")
    assert len(answer.headers["x-ms-request-id"]) == 36
    assert "x-ms-client-request-id" not in answer.headers
    assert int(answer.headers["x-ms-ratelimit-remaining-subscription-reads"]) > 0
    assert answer.headers["cache-control"] == "no-cache"
    answer = await arm.call(
        "PUT", GROUP, {"location": "eastus"}, v=RG, x_ms_client_request_id="c", x_ms_return_client_request_id="true"
    )
    assert answer.headers["x-ms-client-request-id"] == "c"
    assert "x-ms-ratelimit-remaining-subscription-writes" in answer.headers
    assert answer.headers["x-ms-correlation-request-id"] == answer.headers["x-ms-request-id"]
    answer = await arm.call("GET", "/tenants", v="2022-12-01")
    assert "x-ms-ratelimit-remaining-tenant-reads" in answer.headers


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "InvalidRequestContent"),
        (b"[]", "application/json", 400, "InvalidRequestContent"),
        (b"", "application/json", 400, "InvalidRequestContent"),
        (b'{"location": "\xff"}', "application/json", 400, "InvalidRequestContent"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "application/json", 400, "InvalidRequestContent"),
        (b"<a/>", "text/xml", 415, "UnsupportedMediaType"),
        (b'\xef\xbb\xbf{"location":"eastus"}', "application/json; charset=utf-8", 201, None),
    ],
)
async def test_bodies(arm: World, content: bytes, kind: str, status: int, code: str | None) -> None:
    headers = {"authorization": "Bearer owner", "content-type": kind}
    answer = await arm.client.put(f"{WIDGETS}/b?api-version={V}", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert code is None or answer.json()["error"]["code"] == code


async def test_a_body_that_is_too_large_whether_it_says_so_or_not(start: Any) -> None:
    world: World = await start(largest_body=1000)

    async def chunks() -> Any:
        for _ in range(20):
            yield b" " * 100

    headers = {"authorization": "Bearer owner", "content-type": "application/json"}
    for content in (b" " * 2000, chunks()):
        answer = await world.client.put(f"{GROUP}?api-version={RG}", content=content, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "RequestContentTooLarge")


async def test_a_bug_is_a_500_that_tells_its_request_and_nothing_else(
    arm: World, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = await arm.call("GET", f"{GROUP}/providers/Microsoft.Test/gadgets/g/crash")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "InternalServerError")
    assert answer.headers["x-ms-request-id"] in answer.text
    assert "secret-in-a-message" not in answer.text
    logged = capsys.readouterr().out
    assert answer.headers["x-ms-request-id"] in logged
    assert "ZeroDivisionError" in logged
    assert "Bearer" not in logged


async def test_azures_limits_when_asked_for(start: Any) -> None:
    world: World = await start(limits="azure")
    world.app.throttle = Throttle("azure", clock=lambda: 0.0)  # however slow the machine
    answers = [await world.call("GET", f"{SUB}/resourcegroups", v=RG) for _ in range(260)]
    assert [a.status_code for a in answers] == [200] * 250 + [429] * 10
    refused = answers[250:]
    assert refused[0].json()["error"]["code"] == "SubscriptionRequestsThrottled"
    assert refused[0].headers["retry-after"] == "1"
    # Others, other subscriptions and writes have buckets of their own.
    assert (await world.call("PUT", GROUP, {"location": "eastus"}, v=RG)).status_code == 201
    world.roles["reader"] = [("Microsoft.", SUB)]
    assert (await world.call("GET", f"{SUB}/resourcegroups", v=RG, token="reader")).status_code == 200
    other = f"/subscriptions/{OTHER}/resourcegroups"
    assert (await world.call("GET", other, v=RG)).status_code == 200


def test_a_bucket_refills_at_its_rate() -> None:
    now = [0.0]
    throttle = Throttle("azure", clock=lambda: now[0])
    for _ in range(200):
        throttle.take("DELETE", "p", "s")
    with pytest.raises(Throttled) as refused:
        throttle.take("DELETE", "p", "s")
    assert refused.value.seconds == 1
    now[0] = 0.3
    assert [throttle.take("DELETE", "p", "S")[1] for _ in range(3)] == ["2", "1", "0"]
    now[0] = 1e6
    assert throttle.take("DELETE", "p", "s") == ("x-ms-ratelimit-remaining-subscription-deletes", "199")
    assert throttle.take("POST", "p", "")[0] == "x-ms-ratelimit-remaining-tenant-writes"


async def test_tenants_subscriptions_locations_providers(arm: World) -> None:
    tenants = (await arm.call("GET", "/tenants", v="2022-12-01")).json()["value"]
    assert tenants[0]["tenantId"] == "tenant-1"
    listed = (await arm.call("GET", "/subscriptions", v="2022-12-01")).json()["value"]
    assert [s["subscriptionId"] for s in listed] == [SUBSCRIPTION, OTHER]
    one = (await arm.call("GET", SUB, v="2022-12-01")).json()
    assert (one["id"], one["state"]) == (SUB, "Enabled")
    places = (await arm.call("GET", f"{SUB}/locations", v="2022-12-01")).json()["value"]
    assert {"eastus", "westeurope", "japaneast"} <= {p["name"] for p in places}
    for path in ("/providers", f"{SUB}/providers"):
        names = [p["namespace"] for p in (await arm.call("GET", path, v=RG)).json()["value"]]
        assert names == ["Microsoft.Authorization", "Microsoft.Resources", "Microsoft.Test"]
    provider = (await arm.call("GET", f"{SUB}/providers/microsoft.test", v=RG)).json()
    assert (provider["id"], provider["registrationState"]) == (f"{SUB}/providers/Microsoft.Test", "Registered")
    kinds = {t["resourceType"]: t for t in provider["resourceTypes"]}
    assert kinds["gadgets/parts"]["apiVersions"][0] == V
    assert "Japan East" in kinds["widgets"]["locations"]
    registered = await arm.call("POST", f"{SUB}/providers/Microsoft.Test/register", v=RG)
    assert registered.json()["registrationState"] == "Registered"
    assert (await arm.call("POST", f"{SUB}/providers/Microsoft.Nope/register", v=RG)).status_code == 404


async def test_metadata_is_for_everyone_and_its_shape_follows_the_version(arm: World) -> None:
    base = "https://arm.test:8443"
    new = (await arm.client.get(f"{base}//metadata/endpoints?api-version=2022-09-01")).json()
    assert (new["name"], new["resourceManager"]) == ("sorairo", f"{base}/")
    assert new["authentication"]["loginEndpoint"] == base
    assert new["authentication"]["audiences"]
    assert new["suffixes"]["acrLoginServer"] == "azurecr.sorairo.internal"
    assert (await arm.client.get("/metadata/endpoints?api-version=2019-05-01")).json() == [new]
    assert "galleryEndpoint" in (await arm.client.get("/Metadata/Endpoints?api-version=2015-01-01")).json()
    assert (await arm.client.get("/metadata/endpoints")).json() == new


async def test_resource_groups(arm: World) -> None:
    made = await arm.call("PUT", f"{SUB}/resourcegroups/second", {"location": "westeurope", "tags": {"env": "x"}}, v=RG)
    assert made.status_code == 201
    assert made.json()["type"] == "Microsoft.Resources/resourceGroups"
    again = await arm.call("PUT", f"{SUB}/resourcegroups/second", {"location": "westeurope"}, v=RG)
    assert again.status_code == 200
    moved = await arm.call("PUT", f"{SUB}/resourcegroups/second", {"location": "eastus"}, v=RG)
    assert moved.status_code == 409
    patched = await arm.call("PATCH", f"{SUB}/resourcegroups/second", {"tags": {"env": "prod"}}, v=RG)
    assert patched.json()["tags"] == {"env": "prod"}

    async def names(query: str = "") -> list[str]:
        found = await arm.call("GET", f"{SUB}/resourcegroups{query}", v=RG)
        return [g["name"] for g in found.json()["value"]]

    assert await names() == ["second", "Web"]
    assert await names("?$filter=tagName eq 'env' and tagValue eq 'PROD'") == ["second"]
    assert await names("?$top=1") == ["second"]
    await arm.made(f"{WIDGETS}/a")
    gone = await arm.call("DELETE", GROUP, v=RG)
    assert gone.status_code == 202
    assert (await arm.ended(gone))["status"] == "Succeeded"
    assert await names() == ["second"]
    assert (await arm.call("DELETE", GROUP, v=RG)).status_code == 404
    assert (await arm.call("POST", f"{SUB}/resourcegroups/second/exportTemplate", {}, v=RG)).status_code == 200


async def test_resources_are_filtered_expanded_and_paged(arm: World) -> None:
    for n in range(5):
        await arm.made(f"{WIDGETS}/w{n}", {"tags": {"n": str(n), "odd": str(n % 2)}, "properties": {"hidden": 1}})
    await arm.made(f"{GROUP}/providers/Microsoft.Test/gadgets/g0", {"location": "westus"})

    async def names(filter: str) -> list[str]:
        answer = await arm.call("GET", f"{SUB}/resources?$filter={filter}", v=RG)
        assert answer.status_code == 200, answer.text
        return [d["name"] for d in answer.json()["value"]]

    assert await names("resourceType eq 'MICROSOFT.test/gadgets'") == ["g0"]
    assert await names("name eq 'W1' or name eq 'g0'") == ["g0", "w1"]
    assert await names("tagName eq 'odd' and tagValue eq '1'") == ["w1", "w3"]
    assert await names("tagName eq 'n' and tagValue eq 'x'") == []
    assert await names("substringof('W', name) and not (name eq 'w0')") == ["w1", "w2", "w3", "w4"]
    assert await names("location eq 'westus' and resourceGroup eq 'web'") == ["g0"]
    assert await names("startswith(tagName, 'O') and tagValue eq '0'") == ["w0", "w2", "w4"]
    for wrong in ("colour eq 'red'", "name eq", "name", "(name eq 'a'", "name is 'a'", "f('a',name)"):
        answer = await arm.call("GET", f"{SUB}/resources?$filter={wrong}", v=RG)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidFilterInQueryString"), wrong

    brief = (await arm.call("GET", f"{GROUP}/resources?$expand=createdTime,provisioningState", v=RG)).json()["value"]
    assert "properties" not in brief[0]
    assert brief[0]["provisioningState"] == "Succeeded"
    assert {"createdTime"} == brief[0].keys() & {"createdTime", "changedTime"}

    seen, url = [], f"{SUB}/resources?$top=4&$filter=location ne 'x'&api-version={RG}"
    for _ in range(5):
        page = (await arm.call("GET", url, v=None)).json()
        seen += [d["name"] for d in page["value"]]
        url = page.get("nextLink", "")
        if not url:
            break
        assert url.startswith("https://arm.test:8443/subscriptions/")
        await arm.call("DELETE", f"{WIDGETS}/w0")  # what was shown may go; nothing else is missed for it
    assert seen == ["g0", "w0", "w1", "w2", "w3", "w4"]
    for query in ("$top=0", "$top=x", "$skiptoken=!!", "$expand=everything"):
        assert (await arm.call("GET", f"{SUB}/resources?{query}", v=RG)).status_code == 400


@pytest.mark.parametrize("scope", ["subscription", "group", "resource"])
async def test_tags_are_a_resource_of_any_scope(arm: World, scope: str) -> None:
    await arm.made(f"{WIDGETS}/a")
    at = {"subscription": SUB, "group": GROUP, "resource": f"{WIDGETS}/a"}[scope]
    path = f"{at}/{TAGS}"
    answer = await arm.call("PUT", path, {"properties": {"tags": {"a": "1", "b": "2"}}}, v=RG)
    assert answer.json()["properties"]["tags"] == {"a": "1", "b": "2"}
    for operation, tags, result in (
        ("Merge", {"A": "9", "c": "3"}, {"b": "2", "A": "9", "c": "3"}),
        ("Delete", {"b": "2", "c": "wrong"}, {"A": "9", "c": "3"}),
        ("Replace", {"z": "0"}, {"z": "0"}),
    ):
        await arm.call("PATCH", path, {"operation": operation, "properties": {"tags": tags}}, v=RG)
        assert (await arm.call("GET", path, v=RG)).json()["properties"]["tags"] == result
    assert (await arm.call("PATCH", path, {"properties": {"tags": {}}}, v=RG)).status_code == 400
    assert (await arm.call("GET", at, v=V if scope == "resource" else "2021-04-01")).json()["tags"] == {"z": "0"}
    names = (await arm.call("GET", f"{SUB}/tagNames", v=RG)).json()["value"]
    assert {"tagName": "z", "count": 1} in [{"tagName": t["tagName"], "count": t["count"]["value"]} for t in names]
    assert (await arm.call("DELETE", path, v=RG)).status_code == 200
    assert (await arm.call("GET", path, v=RG)).json()["properties"]["tags"] == {}


async def test_what_has_no_tags_says_so(arm: World) -> None:
    """A child inside its parent's document: a subnet, a rule."""
    await arm.made(f"{GROUP}/providers/Microsoft.Test/gadgets/g", {"properties": {"slots": [{"name": "s"}]}})
    path = f"{GROUP}/providers/Microsoft.Test/gadgets/g/slots/s/{TAGS}"
    refused = await arm.call("PUT", path, {"properties": {"tags": {"a": "1"}}}, v=RG)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "TagsNotSupported")


async def test_the_activity_log_tells_who_did_what(arm: World) -> None:
    await arm.call("PUT", f"{WIDGETS}/a", {"location": "eastus"}, x_ms_correlation_request_id="mine")
    path = f"{SUB}/providers/microsoft.insights/eventtypes/management/values"

    async def events(filter: str) -> list[dict[str, Any]]:
        answer = await arm.call("GET", f"{path}?$filter={filter}", v="2015-04-01")
        assert answer.status_code == 200, answer.text
        return list(answer.json()["value"])

    today = "eventTimestamp ge 2020-01-01T00:00:00Z and eventTimestamp le 2100-01-01"
    found = await events(f"{today} and eventChannels eq 'Admin, Operation' and correlationId eq 'mine'")
    assert len(found) == 1
    assert found[0]["operationName"]["value"] == "Microsoft.Test/widgets/write"
    assert (found[0]["caller"], found[0]["resourceGroupName"]) == ("owner", "Web")
    assert len(await events(f"{today} and resourceGroupName eq 'WEB'")) == 2
    assert await events("eventTimestamp ge '2100-01-01T00:00:00Z'") == []
    assert len(await events(f"resourceUri eq '{GROUP}'")) == 1


async def test_a_trace_leads_from_the_request_to_its_steps(arm: World) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    gadget = f"{GROUP}/providers/Microsoft.Test/gadgets/g"
    made = await arm.call("PUT", gadget, {"location": "eastus"}, traceparent=parent)
    await arm.ended(made)
    operation = made.headers["azure-asyncoperation"].split("/operations/")[1].split("?")[0]
    async with asyncio.timeout(5):
        while True:
            answer = await arm.call("GET", f"{SUB}/providers/Microsoft.Sorairo/traces/{operation}", v="2026-12-01")
            spans = answer.json()["properties"]["spans"] if answer.status_code == 200 else []
            if {"request", "operation", "reconcile", "step"} <= {s["kind"] for s in spans}:
                break
            await asyncio.sleep(0.05)
    by_id = {s["spanId"]: s for s in spans}
    assert {s["traceId"] for s in spans} == {"0af7651916cd43dd8448eb211c80319c"}
    step = next(s for s in spans if s["kind"] == "step")
    kinds = []
    while step:
        kinds.append(step["kind"])
        step = by_id.get(step["parentSpanId"], {})
    assert kinds == ["step", "reconcile", "operation", "request"]
    request = next(s for s in spans if s["kind"] == "request")
    assert request["parentSpanId"] == "b7ad6b7169203331"
    assert request["attributes"]["http.response.status_code"] == 201
    same = await arm.call("GET", "/providers/Microsoft.Sorairo/traces/0af7651916cd43dd8448eb211c80319c", v="2026-12-01")
    assert len(same.json()["properties"]["spans"]) == len(spans)
    refused = await arm.call("GET", f"/providers/Microsoft.Sorairo/traces/{operation}", v="2026-12-01", token="x")
    assert refused.status_code == 403


async def test_status_and_operations(arm: World) -> None:
    arm.gate.open.clear()
    gadget = f"{GROUP}/providers/Microsoft.Test/gadgets/g"
    await arm.call("PUT", gadget, {"location": "eastus"})
    status = (await arm.call("GET", f"{SUB}/providers/Microsoft.Sorairo/status/default", v="2026-12-01")).json()
    assert status["properties"]["resources"]["Microsoft.Test/gadgets"] == {"Creating": 1}
    assert status["properties"]["operationsInProgress"][0]["resourceId"] == gadget
    path = f"/providers/Microsoft.Sorairo/operations?status=InProgress&resourceId={gadget}"
    assert len((await arm.call("GET", path, v="2026-12-01")).json()["value"]) == 1


async def test_nothing_else_of_the_origin_is_ours(start: Any) -> None:
    """Other apps are served beside ARM."""
    import re

    async def token(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(scope["path"]).encode()})

    world: World = await start()
    world.app._mounts = [(re.compile(r"/[^/]+/oauth2/token"), token)]
    assert (await world.client.post("/t/oauth2/token")).json() == "/t/oauth2/token"
    assert (await world.client.post("/t/oauth2/other")).status_code == 401
