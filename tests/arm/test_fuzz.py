"""Whatever is sent, ARM answers in its own words: never a 5xx that it did not mean."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arm.conftest import GROUP, RG, SUB, V, World

WIDGET = f"{GROUP}/providers/Microsoft.Test/widgets/w"
text = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "location": st.sampled_from(["eastus", "East US", ""]) | values,
        "tags": st.dictionaries(text, text, max_size=3) | values,
        "properties": st.dictionaries(text, values, max_size=3) | values,
        "etag": values,
        "name": values,
        "sku": values,
    },
)
SEGMENTS = ["providers", "Microsoft.Test", "Microsoft.Resources", "Microsoft.Sorairo", "tags", "default", "widgets",
            "gadgets", "slots", "listKeys", "locations", "operations", "resourceGroups", "x", "resources",
            "subscriptions", "$", "traces", "metadata"]  # fmt: skip
# The application keeps its state from one example to the next, as it does between a client's requests.
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)


@shared
@given(body=bodies, method=st.sampled_from(["PUT", "PATCH"]))
async def test_any_document_is_stored_as_it_is_or_refused(arm: World, body: dict[str, Any], method: str) -> None:
    answer = await arm.call(method, WIDGET, body)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert set(answer.json()) == {"error"}
        return
    shown = (await arm.call("GET", WIDGET)).json()
    assert shown == answer.json()
    if method == "PUT":
        assert shown.get("sku") == body.get("sku")


@shared
@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS"]),
    below=st.lists(
        st.sampled_from(SEGMENTS),
        max_size=9,
    ),
    root=st.sampled_from(["", SUB, GROUP, WIDGET]),
    query=st.sampled_from(["", f"?api-version={V}", f"?api-version={RG}", f"?api-version={V}&$filter=a&$top=b"]),
)
async def test_any_path_gets_an_answer(arm: World, method: str, below: list[str], root: str, query: str) -> None:
    body = json.dumps({"location": "eastus"}).encode() if method in ("PUT", "PATCH", "POST") else None
    headers = {"authorization": "Bearer owner", "content-type": "application/json"}
    path = "/".join([root, *below]) or "/"
    if method == "DELETE" and path.strip("/") == GROUP.strip("/"):
        return
    answer = await arm.client.request(method, f"/{path.lstrip('/')}{query}", content=body, headers=headers)
    assert answer.status_code < 500 or answer.status_code == 501, f"{method} {path}: {answer.text}"
    assert len(answer.headers["x-ms-request-id"]) == 36
