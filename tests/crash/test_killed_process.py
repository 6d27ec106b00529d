"""kill -9 of the real process at steps of create, scale and delete: nothing acknowledged is lost, and nothing is left.

The steps are read off the trace of an undisturbed run. Then the same is done again, with a process that dies at a first
point, is started again, dies at the next, and so on: one life of a cluster goes through a dozen. All the points there
are, each by itself, are gone through with a world in memory, in `test_every_step.py`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from host import Host
from installation import Installation

DEATHS = 4
"""For each request, evenly spread over its points. `SORAIRO_DEATHS` for more."""
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, control groups, links")

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=["hollow", pytest.param("linux", marks=[pytest.mark.root, ROOT])])
def on(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    it = Installation(tmp_path_factory.mktemp("crash"), request.param)
    try:
        it.start()
        it.group("g")
        yield it
    finally:
        it.purge()


def cluster(count: int) -> dict[str, Any]:
    pool = {"name": "nodepool1", "mode": "System", "count": count}
    return {
        "location": "westeurope",
        "identity": {"type": "SystemAssigned"},
        "properties": {"agentPoolProfiles": [pool]},
    }


REQUESTS: dict[str, tuple[str, dict[str, Any] | None]] = {
    "create": ("PUT", cluster(1)),
    "scale up": ("PUT", cluster(2)),
    "scale down": ("PUT", cluster(1)),
    "delete": ("DELETE", None),
}


def ask(on: Installation, what: str) -> str:
    """The operation's URL: of this request, or of an earlier one whose answer its client did not live to see."""
    method, body = REQUESTS[what]
    path = on.cluster_path("g", "c")
    answer = on.arm(method, path, body)
    if "azure-asyncoperation" in answer.headers:
        return str(answer.headers["azure-asyncoperation"])
    # It was done before the answer was (a hollow node takes no time), or an earlier request has it in hand.
    assert answer.status_code in (200, 201, 204, 409), answer.text
    query = f"&resourceId={on.subscription}/{path}"
    known = on.http.get(f"/providers/Microsoft.Sorairo/operations?api-version=2026-12-01{query}").json()["value"]
    where = f"{on.subscription}/providers/Microsoft.ContainerService/locations/westeurope/operations/{known[0]['id']}"
    return f"{on.base}{where}?api-version=2026-06-01"


def points(on: Installation, operation: str) -> list[str]:
    """`kind/step:before` and `:after` of every step the operation took, in order of time."""
    id = operation.split("?")[0].rsplit("/", 1)[1]
    spans = on.arm("GET", f"/providers/Microsoft.Sorairo/traces/{id}").json()["properties"]["spans"]
    rounds = {s["spanId"]: s["name"].removeprefix("reconcile ") for s in spans if s["kind"] == "reconcile"}
    steps = [s for s in spans if s["kind"] == "step" and s["parentSpanId"] in rounds]
    found = [
        (s[edge], f"{rounds[s['parentSpanId']]}/{s['name']}:{name}")
        for s in steps
        for edge, name in (("startTime", "before"), ("endTime", "after"))
        if s[edge]
    ]
    return list(dict.fromkeys(point for _, point in sorted(found)))


def finish(on: Installation, operation: str, seconds: float = 120) -> str | None:
    """The operation's end; None when the process died first."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert on.process
        if on.process.poll() is not None:
            return None
        try:
            status = str(on.http.get(operation).json()["status"])
        except httpx.TransportError:
            continue
        if status != "InProgress":
            return status
        time.sleep(0.03)
    raise AssertionError(f"{operation} does not end")


def disturbed(on: Installation, what: str, at: list[str]) -> set[str]:
    """Do it, dying at each point that can still be reached. The points where it died."""
    on.stop()
    hit: set[str] = set()
    operation: str | None = None
    for point in [*at, ""]:
        on.start(SORAIRO_CRASH_AT=point)
        try:
            if operation is None:
                operation = ask(on, what)
        except httpx.TransportError:  # It died before it acknowledged: the client asks again.
            pass
        ended = finish(on, operation) if operation else None
        if ended is None and on.process and on.wait_dead() == -9:
            hit.add(point)
            continue
        assert ended == "Succeeded", f"{what} after {sorted(hit)}: {on.http.get(str(operation)).text[-1500:]}"
        break
    on.stop()
    on.start()
    assert operation
    assert finish(on, operation) == "Succeeded"
    return hit


def nodes(on: Installation) -> int:
    listed = on.kubectl(on.kubeconfig("g", "c"), "get", "nodes", "--no-headers")
    return sum(" Ready " in line for line in listed.splitlines())


def test_a_process_killed_at_any_step_finishes_what_it_acknowledged(on: Installation) -> None:
    before = Host.now()
    declared = {}
    for what in REQUESTS:
        operation = ask(on, what)
        assert finish(on, operation) == "Succeeded", on.http.get(operation).text
        declared[what] = points(on, operation)
    assert Host.now().difference(before, on.marks) == {}, "the undisturbed run leaves nothing"

    for what, found in declared.items():
        deaths = int(os.environ.get("SORAIRO_DEATHS", DEATHS))
        chosen = found[:: max(1, len(found) // deaths)]
        # A concurrent step may have been over before a new process came to it.
        assert disturbed(on, what, chosen) != set()
        if what != "delete":
            assert nodes(on) == (2 if what == "scale up" else 1)
    assert Host.now().difference(before, on.marks) == {}
