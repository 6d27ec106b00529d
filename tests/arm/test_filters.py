"""`$filter` and paths, held to properties rather than examples."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sorairo.arm.endpoints import make_router
from sorairo.arm.filters import Filter, moment, parse
from sorairo.engine.errors import ArmError
from sorairo.engine.registry import Registry
from sorairo.engine.types import Inline, Provider, ResourceType
from sorairo.providers.microsoft_resources import PROVIDER as RESOURCES

texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)
fields = st.sampled_from(["name", "location", "kind"])
ROW = {"name": "Web'1", "location": "eastus", "kind": None, "size": 3.0, "big": True}


def quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def holds(filter: Filter | str, row: dict[str, Any] = ROW) -> bool:
    return (parse(filter) if isinstance(filter, str) else filter)(row.get)


@given(fields, texts)
def test_eq_is_equality_without_case_and_ne_its_opposite(field: str, value: str) -> None:
    row = {field: value}
    assert holds(f"{field} eq {quote(value.upper())}", row) == (value.upper().lower() == value.lower())
    assert holds(f"{field.upper()} eq {quote(value)}", row)
    assert not holds(f"{field} ne {quote(value)}", row)


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.data())
def test_and_binds_before_or(facts: list[bool], data: st.DataObject) -> None:
    words = [data.draw(st.sampled_from(["and", "or"])) for _ in facts[1:]]
    term = {True: "name eq 'web''1'", False: "name eq 'other'"}
    text, python = term[facts[0]], str(facts[0])
    for word, fact in zip(words, facts[1:], strict=True):
        text += f" {word.upper()} {term[fact]}"
        python += f" {word} {fact}"
    assert holds(text) == eval(python)
    assert holds(f"not ({text})") != eval(python)


@given(texts)
def test_anything_is_read_or_refused_as_azure_does(text: str) -> None:
    refused = None
    try:
        holds(text)
    except ArmError as e:
        refused = e
    assert refused is None or (refused.status, refused.code) == (400, "InvalidFilterInQueryString")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("substringof('EB', name)", True),
        ("contains(name, 'x')", False),
        ("endswith(name,'1') and startswith(name, 'w')", True),
        ("kind eq null", True),
        ("kind ne 'a'", True),
        ("kind gt 'a'", False),
        ("size ge 3 and size lt 4", True),
        ("size eq 'three'", False),
        ("big eq true", True),
        ("atScope()", True),
        ("location gt 'a' and location le 'eastus'", True),
    ],
)
def test_examples(text: str, expected: bool) -> None:
    assert holds(text) is expected


@pytest.mark.parametrize(
    "text", ["", "name eq 'a", "(" * 5000, "not " * 200 + "name eq 'a'", "name eq 'a' name", "'a' eq name"]
)
def test_what_is_not_a_filter(text: str) -> None:
    with pytest.raises(ArmError):
        parse(text)


def test_moments() -> None:
    assert moment("2024-05-01T00:00:00Z") == moment("2024-05-01") == moment("2024-05-01T02:00:00.0000000+02:00")
    assert moment("12.5") == 12.5
    assert moment("yesterday") is None


ROUTER = make_router(
    Registry(
        [
            RESOURCES,
            Provider(
                "Microsoft.Test",
                (
                    ResourceType("Microsoft.Test/things", ("1",)),
                    ResourceType("Microsoft.Test/things/parts", ("1",), inline=Inline("parts")),
                ),
            ),
        ]
    )
)
names = st.text(string.ascii_letters + string.digits + "-_.()", min_size=1, max_size=12).filter(
    lambda s: s.lower() not in ("providers", "resourcegroups")
)


@given(names, names, names, st.sampled_from([str.lower, str.upper, str.title, str]))
def test_a_path_names_the_same_thing_in_any_case(group: str, name: str, part: str, case: Any) -> None:
    path = f"/subscriptions/s/resourceGroups/{group}/providers/Microsoft.Test/things/{name}/parts/{part}"
    target = ROUTER.resolve(case(path))
    assert target is not None
    assert target.id is not None
    assert target.id.key == path.lower()
    assert target.type is not None
    assert target.type.name == "Microsoft.Test/things/parts"
    above = ROUTER.resolve(case(path.rsplit("/", 1)[0]) + "/")
    assert above is not None
    assert (above.scope.lower(), set(above.routes)) == (path.lower().rsplit("/", 2)[0], {"GET"})


@given(st.text(string.ascii_letters + "/.{}%é", max_size=60))
def test_any_path_names_something_or_nothing(path: str) -> None:
    ROUTER.resolve(path)
