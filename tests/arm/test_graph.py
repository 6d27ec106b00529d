"""Azure Resource Graph over ARM: what is asked, who sees what, pages, and refusals."""

from __future__ import annotations

from typing import Any

import pytest

from arm.conftest import GROUP, OTHER, RG, SUB, SUBSCRIPTION, World

API = "2022-10-01"
TEST = f"{GROUP}/providers/Microsoft.Test"


async def ask(arm: World, query: str, *, token: str = "owner", v: str = API, **more: Any) -> dict[str, Any]:
    answer = await arm.call(
        "POST", "/providers/Microsoft.ResourceGraph/resources", {"query": query, **more}, v=v, token=token
    )
    return answer.json()


@pytest.fixture
async def stocked(arm: World) -> World:
    for n in range(5):
        place = "westeurope" if n % 2 else "eastus"
        await arm.made(f"{TEST}/widgets/w{n}", {"location": place, "tags": {"n": str(n)}, "properties": {"size": n}})
    await arm.made(f"{TEST}/gadgets/g")
    await arm.made(f"{TEST}/gadgets/g/parts/p")
    return arm


async def test_resources_are_rows(stocked: World) -> None:
    found = await ask(stocked, "Resources | where type =~ 'Microsoft.Test/widgets' and properties.size > 3")
    assert (found["totalRecords"], found["count"], found["resultTruncated"]) == (1, 1, "false")
    (row,) = found["data"]
    assert row["id"] == f"{TEST}/widgets/w4"
    assert (row["type"], row["resourceGroup"], row["location"]) == ("microsoft.test/widgets", "web", "eastus")
    assert (row["subscriptionId"], row["tags"], row["kind"]) == (SUBSCRIPTION, {"n": "4"}, "")
    found = await ask(stocked, "Resources | summarize count() by type | order by count_ desc")
    # What has no place of its own (a part of a gadget) is no resource of the index.
    assert found["data"] == [
        {"type": "microsoft.test/widgets", "count_": 5}, {"type": "microsoft.test/gadgets", "count_": 1}
    ]  # fmt: skip


async def test_subscriptions_and_groups_are_containers(stocked: World) -> None:
    found = await ask(stocked, "ResourceContainers | order by type asc, id asc | project name, type, subscriptionId")
    assert [tuple(r.values()) for r in found["data"]] == [
        ("one", "microsoft.resources/subscriptions", SUBSCRIPTION),
        ("one", "microsoft.resources/subscriptions", OTHER),
        ("Web", "microsoft.resources/subscriptions/resourcegroups", SUBSCRIPTION),
    ]
    here = await ask(stocked, "Resources | count", subscriptions=[OTHER])
    assert here["data"] == [{"Count": 0}]


async def test_each_sees_what_they_may_read(stocked: World) -> None:
    stocked.roles["dev"] = [
        ("Microsoft.Test/widgets/read", f"{TEST}/widgets/w1"),
        ("Microsoft.Test/gadgets/read", GROUP),
    ]
    found = await ask(stocked, "Resources | project name | order by name asc", token="dev")
    assert [r["name"] for r in found["data"]] == ["g", "w1"]
    assert (await ask(stocked, "ResourceContainers | count", token="dev"))["data"] == [{"Count": 0}]
    assert (await ask(stocked, "Resources", token="stranger"))["data"] == []


async def test_pages_tables_and_facets(stocked: World) -> None:
    query = "Resources | where type endswith 'widgets' | project id, name | order by name asc"
    first = await ask(stocked, query, options={"$top": 2})
    assert (first["totalRecords"], first["count"]) == (5, 2)
    seen = [r["name"] for r in first["data"]]
    token = first["$skipToken"]
    while token:
        page = await ask(stocked, query, options={"$top": 2, "$skipToken": token})
        seen += [r["name"] for r in page["data"]]
        token = page.get("$skipToken")
    assert seen == [f"w{n}" for n in range(5)]
    skipped = await ask(stocked, query, options={"$skip": 4})
    assert [r["name"] for r in skipped["data"]] == ["w4"]
    table = await ask(stocked, query, options={"$top": 1, "resultFormat": "table"})
    assert table["data"] == {
        "columns": [{"name": "id", "type": "string"}, {"name": "name", "type": "string"}],
        "rows": [[f"{TEST}/widgets/w0", "w0"]],
    }
    assert "columns" in (await ask(stocked, query, v="2019-04-01"))["data"]
    facets = await ask(stocked, "Resources", facets=[{"expression": "location"}, {"expression": "nope"}])
    assert facets["facets"][0]["data"] == [{"location": "eastus", "count": 4}, {"location": "westeurope", "count": 2}]
    assert facets["facets"][1]["resultType"] == "FacetError"


async def test_questions_that_are_none(stocked: World) -> None:
    for query, code, part in (
        ("Resources | where nope == 1", "BadRequest", "'nope'"),
        ("Resources | frobnicate", "BadRequest", "frobnicate"),
        ("Resources | parse name with a", "NotImplemented", "operator 'parse'"),
        ("policyresources | take 1", "NotImplemented", "'policyresources'"),
        (3, "BadRequest", "'query'"),
    ):
        error = (await ask(stocked, query))["error"]  # type: ignore[arg-type]
        assert error["code"] == code, query
        assert part in error["message"], query
    wrong = (await ask(stocked, "Resources\n| frobnicate"))["error"]
    assert wrong["details"][1]["line"] == 2
    assert wrong["details"][1]["token"] == "frobnicate"
    for options in ({"$top": 1001}, {"$top": 0}, {"$skip": -1}, {"$skipToken": "?"}):
        assert (await ask(stocked, "Resources", options=options))["error"]["code"] == "BadRequest"
    assert (await ask(stocked, "Resources", managementGroups=["m"]))["error"]["code"] == "NotImplemented"
    assert (await stocked.call("GET", f"{SUB}/resources", v=RG)).status_code == 200
