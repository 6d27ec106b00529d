"""The query language of Azure Resource Graph: what people ask, what it gives, and how the rest is refused."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sorairo.kql import QueryError, Table, compile_query

COLUMNS = ("id", "name", "type", "location", "resourceGroup", "tags", "properties", "zones")


def row(name: str, kind: str, location: str = "westeurope", **more: Any) -> dict[str, Any]:
    given = {"tags": None, "properties": {}, "zones": None, **more}
    return {"id": f"/{name}", "name": name, "type": kind, "location": location, "resourceGroup": "rg", **given}


VNET, VM, AKS = "microsoft.network/virtualnetworks", "microsoft.compute/virtualmachines", "aks"
ROWS = [
    row("hub", VNET, tags={"env": "prod", "Cost Center": "12"}, properties={"space": ["10.0.0.0/8"]}),
    row("spoke", VNET, "eastus", tags={"env": "dev"}),
    row("vm-web-1", VM, properties={"hardwareProfile": {"vmSize": "B2s"}, "cores": 2, "on": True,
                                    "made": "2024-05-01T10:00:00Z"}, zones=["1"]),
    row("vm-web-2", VM, "eastus", properties={"hardwareProfile": {"vmSize": "D4"}, "cores": 4, "on": False,
                                              "made": "2024-06-01T10:00:00Z"}),
    row("cluster", AKS, properties={"agentPoolProfiles": [{"name": "a", "count": 3}, {"name": "b", "count": 1}]}),
]  # fmt: skip
GROUPS = [
    {"id": "/g", "name": "rg", "type": "microsoft.resources/subscriptions/resourcegroups", "owner": "ann"},
    {"id": "/h", "name": "other", "type": "microsoft.resources/subscriptions/resourcegroups", "owner": "bob"},
]
TABLES = {
    "resources": Table(COLUMNS, lambda: [dict(r) for r in ROWS]),
    "resourcecontainers": Table(("id", "name", "type", "owner"), lambda: [dict(r) for r in GROUPS]),
}


def ask(text: str) -> list[dict[str, Any]]:
    query = compile_query(text, TABLES)
    found = query.run()
    assert all(tuple(r) == query.columns or set(r) <= set(query.columns) for r in found)
    return found


def names(text: str) -> list[str]:
    return [r["name"] for r in ask(text)]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("type =~ 'Microsoft.Network/VirtualNetworks'", "hub spoke"),
        ("type == 'Microsoft.Network/VirtualNetworks'", ""),
        ("type != 'aks' and location == 'eastus'", "spoke vm-web-2"),
        ("type !~ 'AKS' and not(location == 'westeurope')", "spoke vm-web-2"),
        ("type contains 'NETWORK'", "hub spoke"),
        ("type !contains 'network'", "vm-web-1 vm-web-2 cluster"),
        ("type contains_cs 'NETWORK'", ""),
        ("name has 'web'", "vm-web-1 vm-web-2"),
        ("name has 'we'", ""),
        ("name !has 'web'", "hub spoke cluster"),
        ("name startswith 'VM'", "vm-web-1 vm-web-2"),
        ("name endswith '2' or name endswith 'KE'", "spoke vm-web-2"),
        ("name in ('hub', 'HUB', 'spoke')", "hub spoke"),
        ("name in~ ('HUB')", "hub"),
        ("name !in ('hub')", "spoke vm-web-1 vm-web-2 cluster"),
        ("name !in~ ('HUB', 'SPOKE')", "vm-web-1 vm-web-2 cluster"),
        ("name has_any ('hub', 'web')", "hub vm-web-1 vm-web-2"),
        ("name matches regex '^vm-.*-[12]$'", "vm-web-1 vm-web-2"),
        ("tags.env == 'prod'", "hub"),
        ("tags['Cost Center'] == '12'", "hub"),
        ("isnotempty(tags)", "hub spoke"),
        ("isnull(tags) and type == 'aks'", "cluster"),
        ("properties.cores > 2", "vm-web-2"),
        ("properties.cores between (1 .. 2)", "vm-web-1"),
        ("properties.on == true", "vm-web-1"),
        ("properties.on", "vm-web-1"),
        ("properties.hardwareProfile.vmSize =~ 'd4'", "vm-web-2"),
        ("properties.agentPoolProfiles[0].count == 3", "cluster"),
        ("array_length(zones) > 0", "vm-web-1"),
        ("todatetime(properties.made) > datetime(2024-05-15)", "vm-web-2"),
        ("todatetime(properties.made) < datetime(2024-05-15T00:00:00Z)", "vm-web-1"),
        ("todatetime(properties.made) > ago(1d)", ""),
        ("strlen(name) == 3 and 1 + 2 * 3 == 7 and (1 + 2) * 3 == 9", "hub"),
        ("iff(location == 'eastus', 'far', 'near') == 'far'", "spoke vm-web-2"),
        ("case(name == 'hub', 1, name == 'spoke', 2, 3) < 3", "hub spoke"),
        ("tolower(name) == 'hub' // a comment\n", "hub"),
        ("split(name, '-')[1] == 'web'", "vm-web-1 vm-web-2"),
        ("extract('vm-([a-z]+)-', 1, name) == 'web'", "vm-web-1 vm-web-2"),
        ("coalesce(tags.env, 'none') == 'none' and type == 'aks'", "cluster"),
        ("properties.none.at.all == 'x'", ""),
        ("properties.none.at.all != 'x' and name == 'hub'", "hub"),
    ],
)  # fmt: skip
def test_where(where: str, expected: str) -> None:
    assert names(f"Resources | where {where}") == expected.split()


def test_a_query_may_begin_with_an_operator_and_end_with_a_semicolon() -> None:
    assert names("where name == 'hub';") == ["hub"]
    assert names("resources") == [r["name"] for r in ROWS]
    assert [r["name"] for r in ask("ResourceContainers | where owner == 'ann'")] == ["rg"]


def test_columns_chosen_made_renamed_and_dropped() -> None:
    found = ask(
        "Resources | where type =~ 'microsoft.compute/virtualmachines'"
        " | extend size = tostring(properties.hardwareProfile.vmSize)"
        " | project name, size, upper = toupper(location), properties.cores"
    )
    assert found[0] == {"name": "vm-web-1", "size": "B2s", "upper": "WESTEUROPE", "properties_cores": 2}
    assert ask("Resources | project id, name | project-away i* | project-rename called = name | take 1") == [
        {"called": "hub"}
    ]
    assert ask("Resources | project-keep name, zones | take 1") == [{"name": "hub", "zones": None}]
    assert compile_query("Resources | extend 1 + 1 | project-keep Column1", TABLES).columns == ("Column1",)


def test_order_top_limit_distinct_and_count() -> None:
    assert names("Resources | order by name asc | limit 2") == ["cluster", "hub"]
    assert names("Resources | sort by location asc, name desc | project name") == [
        "vm-web-2", "spoke", "vm-web-1", "hub", "cluster"
    ]  # fmt: skip
    assert names("Resources | top 1 by toint(properties.cores) desc nulls last") == ["vm-web-2"]
    assert names("Resources | order by toint(properties.cores) asc | take 3")[0] == "hub"
    assert ask("Resources | distinct location | order by location asc") == [
        {"location": "eastus"}, {"location": "westeurope"}
    ]  # fmt: skip
    assert ask("Resources | count") == [{"Count": 5}]


def test_summaries() -> None:
    assert ask("Resources | summarize count() by type | order by count_ desc, type asc") == [
        {"type": VM, "count_": 2}, {"type": VNET, "count_": 2}, {"type": AKS, "count_": 1}
    ]  # fmt: skip
    assert ask(
        "Resources | summarize n = count(), places = make_set(location), cores = sum(toint(properties.cores))"
    ) == [{"n": 5, "places": ["westeurope", "eastus"], "cores": 6}]
    assert ask("Resources | summarize dcount(location), min(name), max(name), countif(tags.env == 'dev')") == [
        {"dcount_location": 2, "min_name": "cluster", "max_name": "vm-web-2", "countif_": 1}
    ]
    assert ask("Resources | where name == 'none' | summarize count()") == [{"count_": 0}]
    assert ask("Resources | where name == 'none' | summarize count() by type") == []
    assert ask("Resources | summarize count() by tostring(tags.env), location | where location == 'eastus'")[0] == {
        "Column1": "dev", "location": "eastus", "count_": 1
    }  # fmt: skip


def test_arrays_spread_over_rows() -> None:
    found = ask(
        "Resources | where type == 'aks' | mv-expand pool = properties.agentPoolProfiles"
        " | project name, pool.name, count = toint(pool['count'])"
    )
    assert found == [
        {"name": "cluster", "pool_name": "a", "count": 3},
        {"name": "cluster", "pool_name": "b", "count": 1},
    ]


def test_joins() -> None:
    text = (
        "Resources | where name in ('hub', 'spoke') | join kind={}"
        " (ResourceContainers | project resourceGroup = name, owner) on resourceGroup | project name, owner"
    )
    both = [{"name": "hub", "owner": "ann"}, {"name": "spoke", "owner": "ann"}]
    assert ask(text.format("leftouter")) == both
    assert ask(text.format("inner")) == both
    assert len(ask(text.format("innerunique"))) == 1
    anti = "ResourceContainers | join kind=leftanti (Resources) on $left.name == $right.resourceGroup | project name"
    assert ask(anti) == [{"name": "other"}]
    clash = "Resources | join (Resources) on id | take 1"
    assert "name1" in compile_query(clash, TABLES).columns


@pytest.mark.parametrize(
    ("text", "code", "part"),
    [
        ("", "ParserFailure", "empty"),
        ("Nothing | take 1", "InvalidQuery", "'Nothing' is no table. There are: resourcecontainers, resources."),
        ("Resources | where nope == 1", "InvalidQuery", "column or scalar expression named 'nope'"),
        ("Resources | project nope", "InvalidQuery", "'nope'"),
        ("Resources | project-away nope", "InvalidQuery", "'nope'"),
        ("Resources | frobnicate", "ParserFailure", "'frobnicate' is no operator"),
        ("Resources | where name == ", "ParserFailure", "the end of the query"),
        ("Resources | where (name == 'a'", "ParserFailure", "')' was expected"),
        ("Resources | take ten", "ParserFailure", "number of rows"),
        ("Resources | where name ~ 'a'", "ParserFailure", "'~'"),
        ("Resources | where 'unclosed", "ParserFailure", "was not expected"),
        ("union Resources", "UnsupportedFeature", "operator 'union'"),
        ("Resources | parse name with a", "UnsupportedFeature", "operator 'parse'"),
        ("let x = 1; Resources", "UnsupportedFeature", "operator 'let'"),
        ("Resources | extend a = geo_distance(1)", "UnsupportedFeature", "function 'geo_distance'"),
        ("Resources | summarize percentile(name, 5)", "UnsupportedFeature", "aggregate 'percentile'"),
        ("Resources | extend strlen()", "InvalidQuery", "does not take 0 arguments"),
        ("Resources | join kind=fullouter (Resources) on id", "UnsupportedFeature", "'fullouter'"),
        ("Resources | where " + "(" * 300 + "true" + ")" * 300, "ParserFailure", "nested too deeply"),
        ("Resources | where name matches regex '('", "InvalidQuery", "regex"),
    ],
)
def test_the_rest_is_refused_with_a_word_and_a_place(text: str, code: str, part: str) -> None:
    with pytest.raises(QueryError) as refused:
        ask(text)
    assert refused.value.code == code
    assert part in refused.value.message


def test_where_an_error_is() -> None:
    with pytest.raises(QueryError) as refused:
        ask("Resources\n| where name == 'a'\n| frobnicate 3")
    assert (refused.value.line, refused.value.at, refused.value.token) == (3, 2, "frobnicate")


_SPELLED = """
Resources where project extend summarize by order top take distinct count join on kind = == =~ ! contains in has and or
not ( ) [ ] , . | name type tags.env properties 'a' 1 2.5 1d ago now tostring strcat make_set mv-expand asc between ..
dynamic datetime $left true - + * / %
"""
_WORDS = st.sampled_from(_SPELLED.split())


@given(st.lists(_WORDS, max_size=14).map(lambda w: "Resources | " + " ".join(w)))
def test_any_words_are_answered_or_refused(text: str) -> None:
    with contextlib.suppress(QueryError):
        compile_query(text, TABLES).run()


@given(st.text(max_size=80))
def test_any_text_is_answered_or_refused(text: str) -> None:
    with contextlib.suppress(QueryError):
        compile_query(text, TABLES).run()
