"""What commands draw, from documents alone."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from sorairo.cli import packet, show, trace
from sorairo.cli.checks import all_checks
from sorairo.cli.status import render as render_status
from sorairo.state import State


def drawn(thing: Any, width: int = 100) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(thing)
    return console.export_text()


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0004, "0 ms"),
        (0.85, "850 ms"),
        (4.24, "4.2 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (200000, "2 d 7 h"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert show.span(seconds) == shown


@pytest.mark.parametrize(("count", "shown"), [(0, "0 B"), (2048, "2 KB"), (5 << 20, "5 MB"), (3 << 30, "3.0 GB")])
def test_sizes(count: int, shown: str) -> None:
    assert show.size(count) == shown


def span(id: str, parent: str, name: str, start: int, end: int | None, **more: Any) -> dict[str, Any]:
    return {
        "spanId": id,
        "parentSpanId": parent,
        "name": name,
        "kind": "step",
        "status": "ok",
        "startTime": f"2026-01-01T00:00:{start:02}Z",
        "endTime": None if end is None else f"2026-01-01T00:00:{end:02}Z",
        "attributes": {},
        **more,
    }


TRACE = {
    "traceId": "t",
    "operation": {"spanId": "op", "status": "InProgress", "message": "waiting for nodes"},
    "spans": [
        span("a", "", "PUT /subscriptions/s/resourceGroups/g/providers/M.C/managedClusters/c", 0, 1, kind="request"),
        span("op", "a", "PUT M.C/managedClusters/c", 1, None, kind="operation"),
        span("s2", "gone", "second", 5, 9),
        span("s1", "gone", "first", 2, 4, status="error", attributes={"error": "the host refused"}),
    ],
}


def test_a_trace_is_a_tree_in_the_order_of_time() -> None:
    lines = drawn(trace.render(TRACE, 100)).splitlines()
    assert "9.0 s in all, 4 spans" in lines[0]
    assert "waiting for nodes" in lines[1]
    # The reconcile that the steps belong to has not ended, so is not there: they hang on the operation.
    assert lines[2].startswith("PUT managedClusters/c ")
    assert lines[3].startswith("└─ PUT managedClusters/c ")
    assert lines[4].startswith("   ├─ first ")
    assert lines[5].startswith("   └─ second ")
    assert "the host refused" in lines[6]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_trace_fits_any_terminal(width: int) -> None:
    text = drawn(trace.render(TRACE, width), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "4.0 s" in text


@pytest.mark.parametrize(
    ("what", "id"),
    [
        ("abc", "abc"),
        ("latest", "latest"),
        ("https://h:1/subscriptions/s/providers/M.X/locations/l/operations/abc?api-version=1", "abc"),
    ],
)
def test_operations_are_found_in_urls(what: str, id: str) -> None:
    assert trace.identify(what) == id


def test_status_counts_processes() -> None:
    document = {
        "version": "1",
        "substrate": "linux",
        "pid": 7,
        "state": "/s",
        "uptimeSeconds": 5,
        "endpoints": {"resourceManager": "https://h"},
        "clusters": [
            {
                "name": "c",
                "resourceGroup": "g",
                "kubernetesVersion": "1.37.2",
                "provisioningState": "Succeeded",
                "powerState": "Running",
                "machines": [
                    {
                        "id": "m",
                        "resourceId": "/x/c",
                        "processes": [
                            {"name": "etcd", "pid": 1, "running": True, "restarts": 0},
                            {"name": "kube-apiserver", "pid": None, "running": False, "restarts": 3},
                        ],
                    }
                ],
            }
        ],
    }
    text = drawn(render_status(document, processes=True))
    assert "1/2" in text
    assert "Running" in text
    assert "3 restarts" in text


def test_the_doctor_looks_at_everything_and_says_what_it_means(tmp_path: Any) -> None:
    checks = list(all_checks(State(tmp_path / "state"), "hollow"))
    assert {"python", "memory", "disk", "port", "cgroup", "az"} <= {c.name for c in checks}
    for check in checks:
        assert check.found
        assert check.verdict == "ok" or check.means, check
    assert not (tmp_path / "state").exists()


def hop(kind: str, name: str, *next: dict[str, Any], text: str = "", refused: bool = False) -> dict[str, Any]:
    return {"kind": kind, "name": name, "text": text, "id": "", "refused": refused, "next": list(next)}


def test_a_packets_way_branches_where_there_is_a_choice() -> None:
    ends = [hop("node", "n0", hop("pod", "default/web")), hop("security group", "nsg", text="no", refused=True)]
    path = hop("client", "host", hop("load balancer", "lb / r", *ends, text="tcp 80 to one of 2"))
    found = {"from": "1.1.1.1", "to": "2.2.2.2:80", "protocol": "tcp", "outcome": "mixed",
             "refusedBy": ["security group nsg: no"], "path": path}  # fmt: skip
    assert [line.rstrip() for line in drawn(packet.render(found)).splitlines()] == [
        "tcp 1.1.1.1 → 2.2.2.2:80: it arrives by some ways, by others it is refused",
        "  security group nsg: no",
        "client host",
        "↓ load balancer lb / r  tcp 80 to one of 2",
        "├─ node n0",
        "│  ↓ pod default/web",
        "└─ security group nsg  no",
    ]
