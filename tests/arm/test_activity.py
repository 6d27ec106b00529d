"""The activity log: every filter, pages, and how things came out."""

from __future__ import annotations

from typing import Any

import pytest

from arm.conftest import GROUP, SUB, World
from sorairo.engine.errors import ArmError

A = "2015-04-01"
TEST = f"{GROUP}/providers/Microsoft.Test"
LOG = f"{SUB}/providers/Microsoft.Insights/eventtypes/management/values"


async def events(arm: World, filter: str = "", **query: str) -> list[dict[str, Any]]:
    """All pages."""
    more = {"$filter": filter} if filter else {}
    path = LOG + "?" + "&".join(f"{k}={v}" for k, v in {**more, **query}.items())
    found: list[dict[str, Any]] = []
    while path:
        answer = await arm.call("GET", path, v=None if "api-version" in path else A)
        assert answer.status_code == 200, answer.text
        found += answer.json()["value"]
        path = answer.json().get("nextLink", "")
    return found


@pytest.fixture
async def busy(arm: World) -> World:
    """A widget that was made, a gadget that failed, and one that was deleted by somebody else."""
    await arm.call("PUT", f"{TEST}/widgets/w", {"location": "eastus"}, x_ms_correlation_request_id="mine")
    arm.gate.refusal = ArmError("NoMoreGadgets", "there are no more", target="g")
    await arm.ended(await arm.call("PUT", f"{TEST}/gadgets/g", {"location": "eastus"}))
    arm.gate.refusal = None
    arm.roles["ann"] = [("Microsoft.Test/", GROUP)]
    await arm.ended(await arm.call("DELETE", f"{TEST}/gadgets/g", token="ann"))
    return arm


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ("", ["delete Succeeded", "delete Accepted", "write Failed", "write Accepted", "write Succeeded"]),
        ("status eq 'Failed'", ["write Failed"]),
        ("levels eq 'Error'", ["write Failed"]),
        ("level eq 'error' and category eq 'Administrative'", ["write Failed"]),
        ("caller eq 'ann'", ["delete Succeeded", "delete Accepted"]),
        ("correlationId eq 'mine'", ["write Succeeded"]),
        (f"resourceUri eq '{TEST}/widgets/w'", ["write Succeeded"]),
        (f"resourceId eq '{TEST}/WIDGETS/w'", ["write Succeeded"]),
        ("resourceType eq 'microsoft.test/widgets'", ["write Succeeded"]),
        ("operations eq 'Microsoft.Test/gadgets/delete'", ["delete Succeeded", "delete Accepted"]),
        ("resourceProvider eq 'Microsoft.Test' and status ne 'Accepted' and not caller eq 'ann'",
         ["write Failed", "write Succeeded"]),
        ("eventTimestamp ge 2020-01-01T00:00:00Z and eventTimestamp le 2020-01-02T00:00:00Z", []),
        ("eventTimestamp ge 2100-01-01T00:00:00Z or caller eq 'ann'", ["delete Succeeded", "delete Accepted"]),
        ("eventTimestamp ge '2020-01-01T00:00:00Z' and caller eq 'ann' and eventChannels eq 'Admin, Operation'",
         ["delete Succeeded", "delete Accepted"]),
    ],
)  # fmt: skip
async def test_filters(busy: World, filter: str, expected: list[str]) -> None:
    inside = "resourceGroupName eq 'WEB' and resourceProvider ne 'Microsoft.Resources'"
    found = await events(busy, f"{inside} and ({filter})" if filter else inside)
    told = [f"{e['operationName']['value'].rpartition('/')[2]} {e['status']['value']}" for e in found]
    assert told == expected


async def test_what_failed_says_why(busy: World) -> None:
    (failed,) = await events(busy, "status eq 'Failed'")
    assert failed["eventName"]["value"] == "EndRequest"
    assert '"code":"NoMoreGadgets"' in failed["properties"]["statusMessage"]
    one = await events(busy, f"eventDataId eq '{failed['eventDataId']}'")
    assert one == [failed]


async def test_pages_bounds_and_selection(arm: World) -> None:
    def many(tx: Any) -> None:
        for n in range(1234):
            tx.add_activity(
                {"resourceId": f"{TEST}/widgets/w{n}", "operationName": "Microsoft.Test/widgets/write", "caller": "ann",
                 "status": "Succeeded", "eventTimestamp": 1_000_000.0 + n // 700}
            )  # fmt: skip

    await arm.store.transact(many)
    found = await events(arm, "caller eq 'ann'")
    assert len({e["resourceId"] for e in found}) == 1234
    assert len(await events(arm, "caller eq 'ann'", **{"$top": "5"})) == 5
    (first,) = await events(arm, "caller eq 'ann'", **{"$top": "1", "$select": "caller,resourceId"})
    assert set(first) == {"caller", "resourceId"}
    for query in ("$top=many", "$skiptoken=-1"):
        assert (await arm.call("GET", f"{LOG}?{query}", v=A)).status_code == 400
    wrong = await arm.call("GET", f"{LOG}?$filter=nonsense eq 'x'", v=A)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "InvalidFilterInQueryString")


async def test_what_was_refused_is_told_too(busy: World) -> None:
    before = len(await events(busy))
    refused = await busy.call("PUT", f"{TEST}/widgets/mine", {"location": "eastus"}, token="ben")
    assert refused.status_code == 403
    assert (await busy.call("GET", f"{TEST}/widgets/w", token="ben")).status_code == 403
    assert (await busy.call("PUT", f"{TEST}/widgets/w", {"location": "moon"})).status_code == 400
    busy.gate.open.clear()
    await busy.call("PUT", f"{TEST}/gadgets/slow", {"location": "eastus"})
    await busy.call("DELETE", f"{TEST}/gadgets/slow")
    assert (await busy.call("PUT", f"{TEST}/gadgets/slow", {"location": "eastus"})).status_code == 409
    busy.gate.open.set()

    [event] = await events(busy, "caller eq 'ben'")
    assert event["operationName"]["value"] == "Microsoft.Test/widgets/write"
    assert (event["status"]["value"], event["subStatus"]["value"], event["level"]) == ("Failed", "Forbidden", "Error")
    assert event["properties"]["statusCode"] == "Forbidden"
    assert "AuthorizationFailed" in event["properties"]["statusMessage"]
    [conflict] = await events(busy, "subStatus eq 'Conflict'")
    assert conflict["resourceId"].endswith("/gadgets/slow")
    assert len(await events(busy)) >= before + 2
