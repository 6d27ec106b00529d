"""Routes to nodes' blocks of pods: given nodes and a table, when one of them changes, then these routes are in it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from cluster.fakes import CONFIG, NETWORK, World, error
from sorairo.cluster.cloud import routes
from sorairo.cluster.cloud.routes import Node, change

CIDR = "10.244.0.0/16"
TABLE = f"{NETWORK}/routeTables/{CONFIG.route_table}"
DEFAULT = {"name": "out", "properties": {"addressPrefix": "0.0.0.0/0", "nextHopType": "VirtualAppliance",
                                         "nextHopIpAddress": "10.224.9.4"}}  # fmt: skip
SERVICE = {"name": "cloud", "properties": {"addressPrefix": "AzureCloud", "nextHopType": "Internet"}}


def node(n: int, **other: str) -> Node:
    known = {"name": f"n{n}", "block": f"10.244.{n}.0/24", "address": f"10.224.0.{n + 4}", "unavailable": ""}
    return Node(**{**known, **other})


def route(n: int, **other: str) -> dict[str, Any]:
    found = node(n, **other).route
    assert found
    return found


def test_a_route_is_named_as_cloud_provider_azure_names_it() -> None:
    assert route(5) == {
        "name": "n5____102445024",
        "properties": {
            "addressPrefix": "10.244.5.0/24",
            "nextHopType": "VirtualAppliance",
            "nextHopIpAddress": "10.224.0.9",
        },
    }
    assert node(5, block="").route is None
    assert node(5, address="").route is None


def test_what_is_right_is_left_alone() -> None:
    there = [{**route(1), "id": "x", "etag": "y"}, DEFAULT, SERVICE]
    assert change(there, [node(1)], CIDR) == there


@pytest.mark.parametrize(
    ("there", "nodes", "after"),
    [
        ([DEFAULT], [node(2), node(1)], [DEFAULT, route(1), route(2)]),
        ([route(1), DEFAULT, SERVICE], [], [DEFAULT, SERVICE]),
        ([route(1)], [node(1, address="10.224.0.77")], [route(1, address="10.224.0.77")]),
        ([route(1)], [node(2, block="10.244.1.0/24")], [route(2, block="10.244.1.0/24")]),
        ([{**route(1), "name": "N1____102441024"}], [node(1)], [{**route(1), "name": "N1____102441024"}]),
    ],
)
def test_routes_within_the_pod_cidr_are_the_nodes_and_others_stay(there: Any, nodes: Any, after: Any) -> None:
    assert change(there, nodes, CIDR) == after


# --- by watching nodes --------------------------------------------------------------------------------------


@pytest.fixture
def routed(world: World) -> World:
    world.pod_cidr = CIDR
    world.arm.put(TABLE, {"location": "westeurope", "properties": {"routes": [DEFAULT]}})
    world.arm.log.clear()
    return world


def names(world: World) -> list[str]:
    table = world.arm.get(TABLE)
    return [each["name"] for each in table["properties"]["routes"]] if table else []


def condition(world: World, name: str) -> str:
    found = world.api.objects[f"/api/v1/nodes/{name}"]["status"].get("conditions") or []
    return next((c["reason"] for c in found if c["type"] == "NetworkUnavailable"), "")


async def test_nodes_that_come_and_go(routed: World) -> None:
    routed.node("early", block="10.244.0.0/24", address="10.224.0.4")
    routed.start()
    await routed.until(lambda: condition(routed, "early") == "RouteCreated")
    assert names(routed) == ["out", "early____102440024"]
    routed.node("late", address="10.224.0.5")  # The controller manager has not said yet.
    await routed.quiet()
    assert names(routed) == ["out", "early____102440024"]
    routed.node("late", block="10.244.1.0/24", address="10.224.0.5")
    await routed.until(lambda: condition(routed, "late") == "RouteCreated")
    assert names(routed)[2:] == ["late____102441024"]
    routed.api.remove("/api/v1/nodes/early")
    await routed.until(lambda: names(routed) == ["out", "late____102441024"])
    written = routed.arm.writes()
    await routed.quiet()
    await routed.stop()
    routed.start()
    await routed.quiet()
    assert routed.arm.writes() == written, "nothing was to be changed"


async def test_many_nodes_are_one_write_and_others_writes_are_kept(routed: World) -> None:
    for n in range(20):
        routed.node(f"n{n}", block=f"10.244.{n}.0/24", address=f"10.224.0.{n + 4}")
    moved = []

    def somebody_was_first(method: str, path: str) -> httpx.Response | None:
        if method == "PUT" and not moved:
            moved.append(path)
            routed.arm.put(TABLE, {"location": "westeurope", "properties": {"routes": [DEFAULT, SERVICE]}})
        return None

    routed.arm.refuse = somebody_was_first
    routed.start()
    await routed.until(lambda: len(names(routed)) == 22)
    assert names(routed)[:2] == ["out", "cloud"]
    assert routed.arm.writes() == [f"PUT routeTables/{CONFIG.route_table}"] * 2, "the first was refused with a 412"


async def test_a_table_that_is_gone_is_made_again_and_a_route_taken_away_comes_back(
    routed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "PERIOD", 0.01)
    routed.arm.documents.pop(TABLE.lower())
    routed.node("n1", block="10.244.1.0/24", address="10.224.0.5")
    routed.start()
    await routed.until(lambda: names(routed) == ["n1____102441024"])
    routed.arm.put(TABLE, {"location": "westeurope", "properties": {"routes": []}})
    await routed.until(lambda: names(routed) == ["n1____102441024"])


async def test_without_permission_it_is_told_and_with_it_mended(routed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "PERIOD", 0.01)
    routed.arm.refuse = lambda method, path: error(403, "AuthorizationFailed") if method == "PUT" else None
    routed.node("n1", block="10.244.1.0/24", address="10.224.0.5")
    routed.start()
    await routed.until(lambda: condition(routed, "n1") == "NoRouteCreated")
    await routed.until(lambda: routed.messages("FailedToCreateRoute"))
    (event,) = [e for e in routed.api.events if e["reason"] == "FailedToCreateRoute"]
    assert "AuthorizationFailed" in event["message"]
    assert (event["involvedObject"]["kind"], event["involvedObject"].get("namespace")) == ("Node", None)
    assert (event["metadata"]["namespace"], event["source"]["component"]) == ("default", "route_controller")
    routed.arm.refuse = lambda method, path: None
    await routed.until(lambda: condition(routed, "n1") == "RouteCreated")
    assert names(routed) == ["out", "n1____102441024"]


async def test_nobody_but_kubenet_has_routes(world: World) -> None:
    world.node("n1", block="10.244.1.0/24", address="10.224.0.5")
    world.start()
    await world.quiet()
    assert not [path for _, path in world.arm.log if "/routeTables/" in path]
