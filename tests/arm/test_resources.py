"""Resources through ARM's verbs: ids, versions, ETags, long-running operations, actions, lists."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from arm.conftest import GROUP, RG, SUB, Start, V, World
from sorairo.engine.errors import ArmError

WIDGET = f"{GROUP}/providers/Microsoft.Test/widgets/w"
GADGET = f"{GROUP}/providers/Microsoft.Test/gadgets/g"


async def test_put_get_delete_of_what_is_only_a_document(arm: World) -> None:
    made = await arm.call("PUT", WIDGET, {"location": "East US", "tags": {"a": "b"}, "properties": {"size": 1}})
    assert made.status_code == 201
    assert "azure-asyncoperation" not in made.headers
    document = made.json()
    assert document["id"] == WIDGET
    assert (document["name"], document["type"]) == ("w", "Microsoft.Test/widgets")
    assert document["location"] == "eastus"
    assert document["properties"] == {"size": 1, "provisioningState": "Succeeded"}
    assert made.headers["etag"] == document["etag"]
    assert made.headers["content-type"] == "application/json; charset=utf-8"

    again = await arm.call("PUT", WIDGET, {"location": "eastus"})
    assert again.status_code == 200
    assert (await arm.call("GET", WIDGET)).json() == again.json()
    gone = await arm.call("DELETE", WIDGET)
    assert (gone.status_code, gone.json()["id"]) == (200, WIDGET)
    assert (await arm.call("DELETE", WIDGET)).status_code == 204
    missing = await arm.call("GET", WIDGET)
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "ResourceNotFound"


async def test_paths_have_no_case_and_names_keep_theirs(arm: World) -> None:
    await arm.made(WIDGET)
    for path in (WIDGET.upper(), WIDGET.lower(), WIDGET + "/", WIDGET.replace("/resourceGroups", "//resourcegroups")):
        answer = await arm.call("GET", path)
        assert answer.status_code == 200, path
        assert answer.json()["id"] == WIDGET
    await arm.call("PUT", WIDGET.upper(), {"location": "eastus", "tags": {"n": "2"}})
    document = (await arm.call("GET", WIDGET)).json()
    assert (document["id"], document["tags"]) == (WIDGET, {"n": "2"})
    # What is not a name is written as Azure writes it, however the first request did.
    await arm.made(GADGET.lower())
    part = await arm.call("PUT", f"{GADGET.upper()}/PARTS/Pp", {})
    assert part.json()["id"] == f"{SUB}/resourceGroups/WEB/providers/Microsoft.Test/gadgets/G/parts/Pp"


async def test_head_tells_existence_without_a_body(arm: World) -> None:
    await arm.made(WIDGET)
    for path, v, status in ((WIDGET, V, 204), (WIDGET + "x", V, 404), (GROUP, RG, 204), (GROUP + "x", RG, 404)):
        answer = await arm.call("HEAD", path, v=v)
        assert (answer.status_code, answer.content) == (status, b"")


async def test_a_group_that_is_not_there(arm: World) -> None:
    missing = WIDGET.replace("/Web/", "/Nowhere/")
    for method, path in (("GET", missing), ("PUT", missing), ("GET", missing.rsplit("/", 1)[0])):
        answer = await arm.call(method, path, {"location": "eastus"} if method == "PUT" else None)
        assert answer.status_code == 404
        assert answer.json()["error"] == {
            "code": "ResourceGroupNotFound",
            "message": "Resource group 'Nowhere' could not be found.",
        }


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "MissingApiVersionParameter"),
        ("?api-version=2001-01-01", 400, "NoRegisteredProviderFound"),
        ("?API-Version=2022-01-01-PREVIEW", 404, "ResourceNotFound"),
    ],
)
async def test_api_versions_of_a_type(arm: World, query: str, status: int, code: str) -> None:
    answer = await arm.call("GET", WIDGET + query, v=None)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    if code == "NoRegisteredProviderFound":
        assert "for type 'widgets'. The supported api-versions are '2024-01-01, 2023" in answer.text
        assert "The supported locations are 'eastus, " in answer.text


async def test_unknown_versions_types_namespaces_paths(arm: World) -> None:
    async def code(path: str, v: str = V) -> tuple[int, str]:
        answer = await arm.call("GET", path, v=v)
        return answer.status_code, answer.json()["error"]["code"]

    assert await code(f"{SUB}/resourcegroups", "1999-01-01") == (400, "InvalidApiVersionParameter")
    assert await code(GROUP, "1999-01-01") == (400, "InvalidApiVersionParameter")
    assert await code(f"{GROUP}/providers/Microsoft.Nothing/things/x") == (404, "InvalidResourceNamespace")
    assert await code(f"{GROUP}/providers/Microsoft.Test/nothings/x") == (404, "InvalidResourceType")
    assert await code(f"{GROUP}/providers/Microsoft.Test/nothings") == (404, "InvalidResourceType")
    assert await code("/elsewhere/x") == (404, "InvalidRequestUri")
    assert await code(f"{SUB}/nonsense") == (404, "InvalidRequestUri")
    assert await code("/subscriptions/0b1f6471-1bf0-4dda-aec3-999999999999/resourceGroups", RG) == (
        404,
        "SubscriptionNotFound",
    )
    assert await code("/subscriptions/me/resourceGroups", RG) == (400, "InvalidSubscriptionId")


async def test_wrong_methods_say_which_would_do(arm: World) -> None:
    for method, path, allow in (
        ("POST", WIDGET, None),
        ("DELETE", f"{GROUP}/providers/Microsoft.Test/widgets", "GET"),
        ("PUT", f"{SUB}/resources", "GET"),
        ("PUT", f"{GROUP}/providers/Microsoft.Test/instances/i", "GET, HEAD"),
    ):
        answer = await arm.call(method, path, {}, v=RG if path.endswith("resources") else V)
        assert (answer.status_code, answer.json()["error"]["code"]) == (405, "MethodNotAllowed"), path
        assert allow is None or answer.headers["allow"] == allow


async def test_etags_guard_writes(arm: World) -> None:
    first = (await arm.call("PUT", WIDGET, {"location": "eastus"}, if_none_match="*")).json()["etag"]
    taken = await arm.call("PUT", WIDGET, {"location": "eastus"}, if_none_match="*")
    assert (taken.status_code, taken.json()["error"]["code"]) == (412, "PreconditionFailed")
    second = await arm.call("PUT", WIDGET, {"location": "eastus", "tags": {"n": "2"}}, if_match=first)
    assert second.status_code == 200
    for method in ("PUT", "PATCH", "DELETE"):
        stale = await arm.call(method, WIDGET, None if method == "DELETE" else {"location": "eastus"}, if_match=first)
        assert stale.status_code == 412, method
    stale = await arm.call("PUT", WIDGET, {"location": "eastus", "etag": first})
    assert stale.status_code == 412
    document = (await arm.call("GET", WIDGET)).json()
    assert document["tags"] == {"n": "2"}
    assert (await arm.call("PUT", WIDGET, document)).status_code == 200
    # An etag in a document that was kept from before says nothing about a resource that is not there.
    assert (await arm.call("PUT", WIDGET + "2", document)).status_code == 201
    assert (await arm.call("DELETE", WIDGET, if_match="*")).status_code == 200


async def test_patch_merges_and_needs_a_resource(arm: World) -> None:
    assert (await arm.call("PATCH", WIDGET, {"tags": {}})).status_code == 404
    await arm.made(WIDGET, {"tags": {"a": "1", "b": "2"}, "properties": {"x": {"y": 1, "z": 2}}})
    answer = await arm.call("PATCH", WIDGET, {"tags": {"a": None, "c": "3"}, "properties": {"x": {"y": 5}}})
    assert answer.status_code == 200
    assert answer.json()["tags"] == {"c": "3"}  # as a whole, alone of all
    assert answer.json()["properties"]["x"] == {"y": 5, "z": 2}


async def test_a_create_that_takes_time(arm: World) -> None:
    arm.gate.open.clear()
    made = await arm.call("PUT", GADGET, {"location": "japaneast"})
    assert made.status_code == 201
    assert made.json()["properties"]["provisioningState"] == "Creating"
    assert made.headers["retry-after"] == "1"
    assert "location" not in made.headers
    url = made.headers["azure-asyncoperation"]
    assert url.startswith(f"https://arm.test:8443{SUB}/providers/Microsoft.Test/locations/japaneast/operations/")
    assert url.endswith(f"?api-version={V}")

    poll = await arm.call("GET", url, v=None)
    assert (poll.status_code, poll.headers["retry-after"]) == (200, "1")
    assert poll.json()["status"] == "InProgress"
    assert "endTime" not in poll.json()
    assert poll.json()["startTime"].endswith("Z")

    arm.gate.open.set()
    ended = await arm.ended(made)
    assert ended["status"] == "Succeeded"
    assert ended["name"] in url
    assert ended["endTime"] >= ended["startTime"]
    document = (await arm.call("GET", GADGET)).json()
    assert document["properties"] == {"provisioningState": "Succeeded", "address": "10.0.0.1"}

    gone = await arm.call("DELETE", GADGET)
    assert (gone.status_code, gone.content) == (202, b"")
    assert "/operationresults/" in gone.headers["location"]
    assert (await arm.ended(gone))["status"] == "Succeeded"
    assert (await arm.call("GET", gone.headers["location"], v=None)).status_code == 204
    assert (await arm.call("DELETE", GADGET)).status_code == 204


async def test_what_is_made_while_the_client_waits_is_answered_as_done(start: Start) -> None:
    arm: World = await start(patience=5.0)
    await arm.made(GROUP)
    made = await arm.call("PUT", GADGET, {"location": "eastus"})
    assert (made.status_code, "azure-asyncoperation" in made.headers) == (201, False)
    assert made.json()["properties"] == {"provisioningState": "Succeeded", "address": "10.0.0.1"}
    arm.gate.refusal = ArmError("QuotaExceeded", "too many")
    failed = await arm.call("PUT", GADGET + "2", {"location": "eastus"})
    assert (failed.status_code, (await arm.ended(failed))["status"]) == (201, "Failed")
    arm.gate.refusal = None
    arm.app.settings = replace(arm.app.settings, patience=0.02)
    arm.gate.open.clear()
    slow = await arm.call("PUT", GADGET + "3", {"location": "eastus"})
    assert slow.json()["properties"]["provisioningState"] == "Creating"


async def test_a_create_that_fails_says_why_in_its_operation(arm: World) -> None:
    arm.gate.refusal = ArmError("QuotaExceeded", "too many", target="cores")
    made = await arm.call("PUT", GADGET, {"location": "eastus"})
    ended = await arm.ended(made)
    assert ended["status"] == "Failed"
    assert ended["error"] == {"code": "QuotaExceeded", "message": "too many", "target": "cores"}
    assert (await arm.call("GET", GADGET)).json()["properties"]["provisioningState"] == "Failed"
    result = made.headers["azure-asyncoperation"].replace("/operations/", "/operationresults/")
    answer = await arm.call("GET", result, v=None)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "QuotaExceeded")


async def test_a_type_whose_sdk_takes_202_gets_its_result_at_location(arm: World) -> None:
    arm.gate.open.clear()
    made = await arm.call("PUT", f"{GROUP}/providers/Microsoft.Test/accounts/a", {"location": "eastus"})
    assert made.status_code == 202
    waiting = await arm.call("GET", made.headers["location"], v=None)
    assert waiting.status_code == 202
    assert (waiting.headers["retry-after"], waiting.headers["location"]) == ("1", made.headers["location"])
    assert waiting.json()["properties"]["provisioningState"] == "InProgress"
    arm.gate.open.set()
    await arm.ended(made)
    result = await arm.call("GET", made.headers["location"], v=None)
    assert (result.status_code, result.json()["name"]) == (200, "a")


async def test_actions_answer_at_once_or_by_an_operation(arm: World) -> None:
    await arm.made(GADGET)
    keys = await arm.call("POST", f"{GADGET}/LISTKEYS?expand=all", {"x": 1})
    assert keys.json() == {"keys": ["g"], "asked": {"x": 1}, "expand": "all"}
    assert (await arm.call("POST", f"{GADGET}/listKeys")).json()["asked"] == {}

    run = await arm.call("POST", f"{GADGET}/run", {"command": "id"})
    assert (run.status_code, run.content) == (202, b"")
    ended = await arm.ended(run)
    result = {"ran": "id", "properties": {"provisioningState": "Succeeded"}}
    assert (ended["status"], ended["properties"]) == ("Succeeded", result)
    assert (await arm.call("GET", run.headers["location"], v=None)).json() == result
    failed = await arm.ended(await arm.call("POST", f"{GADGET}/run", {"fail": True}))
    assert (failed["status"], failed["error"]["code"]) == ("Failed", "Refused")

    restarted = await arm.call("POST", f"{GADGET}/restart")
    await arm.ended(restarted)
    assert (await arm.call("GET", restarted.headers["location"], v=None)).json()["properties"]["restarts"] == 1
    unknown = await arm.call("POST", f"{GADGET}/explode")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (501, "NotImplemented")
    assert (await arm.call("POST", f"{GADGET}2/listKeys")).status_code == 404


async def test_the_result_of_a_command_is_found_below_its_resource(arm: World) -> None:
    """As az aks command invoke has it: it takes the command's id out of Location, and polls for a state in the body."""
    await arm.made(GADGET)
    arm.gate.open.clear()
    invoked = await arm.call("POST", f"{GADGET}/invoke", {"command": "id"})
    command = re.findall(r"commandResults\/(\w*)\?", invoked.headers["location"])
    assert len(command) == 1
    waiting = await arm.call("GET", invoked.headers["location"], v=None)
    assert (waiting.status_code, waiting.headers["location"]) == (202, invoked.headers["location"])
    assert waiting.json()["properties"]["provisioningState"] == "InProgress"
    arm.gate.open.set()
    await arm.ended(invoked)
    found = await arm.call("GET", f"{GADGET}/commandResults/{command[0]}")
    assert (found.status_code, found.json()["ran"]) == (200, "id")


async def test_operations_are_for_those_concerned(arm: World) -> None:
    made = await arm.call("PUT", GADGET, {"location": "eastus"})
    url = made.headers["azure-asyncoperation"]
    assert (await arm.call("GET", url, v=None, token="stranger")).status_code == 403
    arm.roles["reader"] = [("Microsoft.Test/gadgets/read", GROUP)]
    assert (await arm.call("GET", url, v=None, token="reader")).status_code == 200
    elsewhere = url.replace("111111111111", "222222222222")
    assert (await arm.call("GET", elsewhere, v=None)).json()["error"]["code"] == "OperationNotFound"
    unknown = url.replace(url.split("operations/")[1].split("?")[0], "nothing")
    assert (await arm.call("GET", unknown, v=None)).status_code == 404


async def test_children_stored_and_inline(arm: World) -> None:
    orphan = await arm.call("PUT", f"{GADGET}/parts/p", {"properties": {}})
    assert (orphan.status_code, orphan.json()["error"]["code"]) == (404, "ParentResourceNotFound")
    assert (await arm.call("GET", f"{GADGET}/parts")).status_code == 404
    await arm.made(GADGET)
    assert (await arm.call("PUT", f"{GADGET}/parts/p", {})).status_code == 201
    assert [d["name"] for d in (await arm.call("GET", f"{GADGET}/parts")).json()["value"]] == ["p"]
    assert (await arm.call("GET", f"{GADGET}/slots")).json()["value"] == []
    slot = await arm.call("PUT", f"{GADGET}/slots/One", {"properties": {"n": 1}})
    assert slot.status_code == 201
    assert slot.json()["id"] == f"{GADGET}/slots/One"
    await arm.ended(slot)
    assert (await arm.call("GET", f"{GADGET}/slots/one")).json()["properties"]["n"] == 1
    assert [d["name"] for d in (await arm.call("GET", f"{GADGET}/slots")).json()["value"]] == ["One"]
    assert (await arm.call("DELETE", f"{GADGET}/slots/two")).status_code == 204


async def test_what_is_refused_before_it_is_stored(arm: World) -> None:
    async def code(path: str, body: object) -> tuple[int, str]:
        answer = await arm.call("PUT", path, body)
        return answer.status_code, answer.json()["error"]["code"]

    assert await code(WIDGET, {}) == (400, "LocationRequired")
    assert await code(WIDGET, {"location": "atlantis"}) == (400, "LocationNotAvailableForResourceType")
    assert await code(f"{GROUP}/providers/Microsoft.Test/widgets/a%3Cb", {"location": "eastus"}) == (
        400,
        "InvalidResourceName",
    )
    assert await code(f"{SUB}/providers/Microsoft.Test/widgets/w", {"location": "eastus"}) == (
        400,
        "InvalidParameterInQueryString",
    )
    for tags, problem in (
        ({"a": 1}, "InvalidRequestContent"),
        ({"a/b": "x"}, "InvalidTagNameCharacters"),
        ({"A": "1", "a": "2"}, "DuplicateTagNames"),
        ({f"t{n}": "" for n in range(51)}, "TooManyTags"),
        ({"t": "v" * 257}, "TagTooLong"),
    ):
        assert await code(WIDGET, {"location": "eastus", "tags": tags}) == (400, problem)
    assert (await arm.call("GET", WIDGET)).status_code == 404


async def test_routes_of_a_provider(arm: World) -> None:
    answer = await arm.call("GET", f"{SUB}/providers/Microsoft.Test/locations/EastUS/sizes")
    assert answer.json()["value"] == [{"name": "small", "location": "EastUS", "scope": SUB}]
    assert (await arm.call("GET", f"{GROUP}/providers/microsoft.test/GADGETS/g/log")).text == "one\ntwo\n"
    arm.roles["reader"] = [("Microsoft.Test/locations/sizes/read", SUB)]
    path = f"{SUB}/providers/Microsoft.Test/locations/eastus/sizes"
    assert (await arm.call("GET", path, token="reader")).status_code == 200
    assert (await arm.call("GET", path, token="stranger")).status_code == 403
    assert (await arm.call("GET", path, v="1999-01-01")).status_code == 400


async def test_an_identity_is_assigned_by_who_may(arm: World) -> None:
    """Who may write a resource may not therefore make it somebody: what runs in it could act as that."""
    await arm.made(GROUP)
    identity = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/strong"
    body = {"location": "eastus", "identity": {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}}}
    arm.roles["writer"] = [("Microsoft.Test/", GROUP)]
    for method in ("PUT", "PATCH"):
        refused = await arm.call(method, WIDGET, body, token="writer")
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "LinkedAuthorizationFailed"
        assert f"on the linked scope(s) '{identity}'" in refused.json()["error"]["message"]
    assert (await arm.call("GET", WIDGET)).status_code == 404
    arm.roles["writer"].append(("Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", identity))
    assert (await arm.call("PUT", WIDGET, body, token="writer")).status_code == 201
    # What it has, others may write back as it was, and take away.
    del arm.roles["writer"][-1]
    assert (await arm.call("PUT", WIDGET, body, token="writer")).status_code == 200
    none = {"identity": {"type": "None", "userAssignedIdentities": {identity: None}}}
    assert (await arm.call("PATCH", WIDGET, none, token="writer")).status_code == 200
