"""A cluster and its cloud in memory, and the controller between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cluster.fakes import GROUP, NETWORK, World, error, prefix, service
from sorairo.cluster.cloud import controller, names

P = prefix(1)
PIP = f"{NETWORK}/publicIPAddresses/kubernetes-{P}"


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(controller, "FIRST_PAUSE", 0.01)
    it = World()
    yield it
    await it.stop()


async def test_a_service_is_exposed_and_taken_back(world: World) -> None:
    world.start()
    world.apply(service(1))
    address = await world.reached()
    pip = world.arm.get(PIP)
    assert pip
    assert pip["properties"]["ipAddress"] == address
    assert pip["tags"] == {
        "aks-managed-cluster-name": "c",
        "k8s-azure-cluster-name": "kubernetes",
        "k8s-azure-service": "default/web1",
    }
    assert world.frontends() == ["out", P]
    assert list(world.rules()) == [f"{P}-TCP-80"]
    assert [r["properties"]["destinationAddressPrefix"] for r in world.security()] == [address]
    found = world.service("web1")
    assert found
    assert found["metadata"]["finalizers"] == [names.FINALIZER]
    await world.until(lambda: world.reasons() == ["EnsuringLoadBalancer", "EnsuredLoadBalancer"])

    world.delete("web1")
    await world.until(lambda: world.service("web1") is None)
    assert world.arm.get(PIP) is None
    assert world.frontends() == ["out"]
    assert world.rules() == {}
    assert world.security() == []
    await world.until(lambda: world.reasons()[2:] == ["DeletingLoadBalancer", "DeletedLoadBalancer"])


async def test_nothing_is_written_when_nothing_is_to_be_changed(world: World) -> None:
    world.start()
    world.apply(service(1))
    await world.reached()
    await world.quiet()
    written, told = world.arm.writes(), len(world.api.history)
    changed = service(1)
    changed["metadata"]["labels"] = {"a": "b"}
    world.apply(changed)
    await world.quiet()
    await world.stop()
    world.start()  # All is looked at again.
    await world.quiet()
    assert world.arm.writes() == written
    assert len(world.api.history) == told + 1
    assert world.reasons() == ["EnsuringLoadBalancer", "EnsuredLoadBalancer"]


async def test_the_finalizer_comes_first_and_the_status_last(world: World) -> None:
    order: list[str] = []
    world.arm.refuse = lambda method, path: (
        order.append(f"{method} {path.rsplit('/', 2)[1]}") if method == "PUT" else None
    )
    request = world.api.request

    async def recorded(access: Any, method: str, path: str, **kwargs: Any) -> Any:
        if method == "PATCH":
            order.append("status" if path.endswith("/status") else "finalizer")
        return await request(access, method, path, **kwargs)

    world.api.request = recorded  # type: ignore[method-assign]
    world.start()
    world.apply(service(1))
    await world.reached()
    assert order == [
        "finalizer",
        "PUT publicIPAddresses",
        "PUT loadBalancers",
        "PUT networkSecurityGroups",
        "status",
    ]


async def test_ports_and_source_ranges_change(world: World) -> None:
    world.start()
    world.apply(service(1))
    address = await world.reached()
    world.apply(service(1, ports=[{"port": 8080}, {"port": 53, "protocol": "UDP"}]))
    await world.until(lambda: list(world.rules()) == [f"{P}-TCP-8080", f"{P}-UDP-53"])
    await world.quiet()
    assert [r["properties"]["destinationPortRanges"] for r in world.security()] == [["8080"], ["53"]]
    world.apply(service(1, loadBalancerSourceRanges=["10.0.0.0/8"]))
    await world.until(lambda: [r["properties"]["sourceAddressPrefix"] for r in world.security()] == ["10.0.0.0/8"])
    assert world.addresses("web1") == [address]


async def test_many_at_once_are_one_write_of_each_document(world: World) -> None:
    for n in range(1, 51):
        world.apply(service(n))
    world.start()
    await world.until(lambda: all(world.addresses(f"web{n}") for n in range(1, 51)))
    writes = world.arm.writes()
    assert writes.count("PUT loadBalancers/kubernetes") == 1
    assert writes.count("PUT networkSecurityGroups/aks-nsg") == 1
    assert len(world.rules()) == 50
    (rule,) = world.security()
    assert len(rule["properties"]["destinationAddressPrefixes"]) == 50


async def test_a_service_that_stops_being_one_gives_everything_back(world: World) -> None:
    world.start()
    world.apply(service(1))
    await world.reached()
    world.apply(service(1, type="ClusterIP"))
    await world.until(lambda: not world.addresses("web1"))
    await world.until(lambda: (world.service("web1") or {})["metadata"]["finalizers"] == [])
    assert world.arm.get(PIP) is None
    assert world.rules() == {}
    await world.quiet()
    world.apply(service(1))
    await world.reached()


async def test_an_internal_service_is_at_an_address_of_the_subnet(world: World) -> None:
    world.start()
    world.apply(service(1, annotations={names.A_INTERNAL: "true"}))
    assert (await world.reached()).startswith("10.0.0.")
    assert world.frontends("kubernetes-internal") == [P]
    assert world.arm.get(PIP) is None
    assert world.security() == []
    # Then it goes public, and back.
    world.apply(service(1))
    await world.until(lambda: world.addresses("web1") and world.addresses("web1")[0].startswith("198.18."))
    assert world.arm.get(f"{NETWORK}/loadBalancers/kubernetes-internal") is None
    world.apply(service(1, annotations={names.A_INTERNAL: "true"}))
    await world.until(lambda: world.addresses("web1")[0].startswith("10."))
    await world.quiet()
    assert world.arm.get(PIP) is None
    assert world.frontends() == ["out"]
    world.delete("web1")
    await world.until(lambda: world.service("web1") is None)
    assert world.arm.get(f"{NETWORK}/loadBalancers/kubernetes-internal") is None


async def test_services_share_a_public_ip_until_the_last_has_gone(world: World) -> None:
    world.start()
    world.apply(service(1))
    address = await world.reached()
    world.apply(service(2, ports=[{"port": 81}], loadBalancerIP=address))
    assert await world.reached("web2") == address
    assert world.frontends() == ["out", P]
    pip = world.arm.get(PIP)
    assert pip
    assert pip["tags"]["k8s-azure-service"] == "default/web1,default/web2"
    world.delete("web1")
    await world.until(lambda: world.service("web1") is None)
    pip = world.arm.get(PIP)
    assert pip
    assert pip["tags"]["k8s-azure-service"] == "default/web2"
    assert [r["properties"]["destinationPortRanges"] for r in world.security()] == [["81"]]
    world.delete("web2")
    await world.until(lambda: world.service("web2") is None)
    assert world.arm.get(PIP) is None
    assert world.frontends() == ["out"]


async def test_a_users_own_public_ip_outlives_its_service(world: World) -> None:
    mine = f"{GROUP.replace('MC_g_c_westeurope', 'shared')}/providers/Microsoft.Network/publicIPAddresses/mine"
    world.arm.put(mine, {"properties": {}})
    world.start()
    notes = {names.A_PIP_NAME: "mine", names.A_GROUP: "shared"}
    world.apply(service(1, annotations=notes))
    pip = world.arm.get(mine)
    assert pip
    assert await world.reached() == pip["properties"]["ipAddress"]
    world.delete("web1")
    await world.until(lambda: world.service("web1") is None)
    assert world.arm.get(mine) == pip


# --- what goes wrong --------------------------------------------------------------------------------------


async def test_missing_rights_are_an_event_in_azures_words_and_mended_by_themselves(world: World) -> None:
    world.arm.refuse = lambda method, path: (
        error(403, "AuthorizationFailed", "The client 'c' does not have authorization to perform action 'w'.")
        if method == "PUT" and "loadbalancers" in path.lower()
        else None
    )
    world.start()
    world.apply(service(1))
    await world.until(lambda: world.messages("SyncLoadBalancerFailed"))
    (message,) = set(world.messages("SyncLoadBalancerFailed"))
    assert message.startswith(
        "Error syncing load balancer: failed to ensure load balancer: PUT https://arm/subscriptions"
    )
    assert "RESPONSE 403: 403 Forbidden\nERROR CODE: AuthorizationFailed\n" in message
    assert "does not have authorization to perform action" in message
    await world.until(lambda: world.api.events[-1].get("count", 0) > 2 or world.api.events[-2].get("count", 0) > 2)
    assert world.reasons().count("SyncLoadBalancerFailed") == 1  # Counted up, not written again.
    assert not world.addresses("web1")
    world.arm.refuse = lambda method, path: None
    await world.reached()


async def test_what_the_operation_says_is_told_too(world: World) -> None:
    world.arm.refuse = lambda method, path: (
        error(400, "PublicIPCountLimitReached", "Cannot create more than 3 public IP addresses for this subscription.")
        if method == "PUT" and "publicip" in path.lower()
        else None
    )
    world.start()
    world.apply(service(1))
    await world.until(lambda: world.messages("SyncLoadBalancerFailed"))
    assert "PublicIPCountLimitReached" in world.messages("SyncLoadBalancerFailed")[0]
    assert "Cannot create more than 3 public IP addresses" in world.messages("SyncLoadBalancerFailed")[0]


async def test_a_public_ip_that_got_no_address_is_asked_for_again(world: World) -> None:
    put = world.arm.put
    left = iter([False, False])

    def put_without(id: str, body: dict[str, Any]) -> dict[str, Any]:
        document = put(id, body)
        if "/publicipaddresses/" in id.lower() and not next(left, True):
            del document["properties"]["ipAddress"]
        return document

    world.arm.put = put_without  # type: ignore[method-assign]
    world.start()
    world.apply(service(1))
    await world.reached()
    assert "has no address yet" in world.messages("SyncLoadBalancerFailed")[0]


async def test_an_expired_secret_is_told_with_its_code(world: World) -> None:
    world.arm.signed_in = False
    world.start()
    world.apply(service(1))
    await world.until(lambda: world.messages("SyncLoadBalancerFailed"))
    assert "AADSTS7000222" in world.messages("SyncLoadBalancerFailed")[0]
    world.arm.signed_in = True
    await world.reached()


async def test_one_bad_service_does_not_keep_the_others_waiting(world: World) -> None:
    world.apply(service(1, annotations={names.A_IDLE: "99"}))
    world.apply(service(2))
    world.start()
    await world.reached("web2")
    await world.until(lambda: world.messages("SyncLoadBalancerFailed"))
    assert "between 4 and 30" in world.messages("SyncLoadBalancerFailed")[0]
    world.apply(service(1))
    await world.reached("web1")


async def test_when_arm_refuses_the_whole_document_each_is_tried_by_itself(world: World) -> None:
    for n in (1, 2, 3):
        world.apply(service(n, ports=[{"port": 666 if n == 2 else 80}]))
    answer = world.arm._answer

    async def checked(request: Any) -> Any:
        if request.method == "PUT" and b'"frontendPort":666' in request.content:
            return error(400, "InvalidRequestFormat", "666 is the number of the beast.")
        return await answer(request)

    world.arm._answer = checked  # type: ignore[method-assign]
    world.start()
    await world.reached("web1")
    await world.reached("web3")
    await world.until(lambda: world.messages("SyncLoadBalancerFailed"))
    assert world.reasons("web1") == ["EnsuringLoadBalancer", "EnsuredLoadBalancer"]
    assert "666" in world.messages("SyncLoadBalancerFailed")[0]


async def test_a_document_that_somebody_else_writes_meanwhile_is_read_again(world: World) -> None:
    lb = f"{NETWORK}/loadBalancers/kubernetes"
    once = iter([True])

    def interfere(method: str, path: str) -> None:
        if method == "PUT" and path == lb and next(once, False):
            document = world.balancer()
            document["properties"]["probes"] = [{"name": "mine", "properties": {"protocol": "Tcp", "port": 1}}]
            world.arm.put(lb, document)

    world.arm.refuse = interfere  # type: ignore[assignment]
    world.start()
    world.apply(service(1))
    await world.reached()
    assert [p["name"] for p in world.balancer()["properties"]["probes"]] == ["mine", f"{P}-TCP-80"]
    assert world.messages("SyncLoadBalancerFailed") == []


async def test_a_delete_that_fails_keeps_the_service_until_it_succeeds(world: World) -> None:
    world.start()
    world.apply(service(1))
    await world.reached()
    world.arm.refuse = lambda method, path: error(409, "Conflict") if method == "DELETE" else None
    world.delete("web1")
    await world.until(lambda: world.messages("SyncLoadBalancerFailed"))
    assert "failed to delete load balancer" in world.messages("SyncLoadBalancerFailed")[0]
    assert world.service("web1")
    world.arm.refuse = lambda method, path: None
    await world.until(lambda: world.service("web1") is None)
    assert world.arm.get(PIP) is None


# --- crashes and gaps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("writes", range(8))
async def test_a_controller_that_ends_anywhere_leaves_nothing_that_the_next_one_does_not_mend(
    world: World, writes: int
) -> None:
    """Killed before its nth write, while one Service comes, one goes and one changes."""
    world.start()
    for n in (1, 2):
        world.apply(service(n))
    await world.reached("web1")
    await world.reached("web2")
    await world.quiet()
    left = [writes]

    def kill(method: str, path: str) -> None:
        if method != "GET":
            left[0] -= 1
            if left[0] < 0 and world._task:
                world._task.cancel()
                raise asyncio.CancelledError

    world.arm.refuse = kill  # type: ignore[assignment]
    world.delete("web1")
    world.apply(service(2, ports=[{"port": 81}]))
    world.apply(service(3))
    await world.quiet()
    await world.stop()
    world.arm.refuse = lambda method, path: None
    world.start()
    await world.reached("web3")
    await world.until(lambda: world.service("web1") is None)
    await world.until(lambda: f"{prefix(2)}-TCP-81" in world.rules())
    await world.quiet()
    assert sorted(world.rules()) == [f"{prefix(2)}-TCP-81", f"{prefix(3)}-TCP-80"]
    assert sorted(world.arm.of("publicIPAddresses")) == [
        f"kubernetes-{prefix(2)}",
        f"kubernetes-{prefix(3)}",
        "outbound",
    ]
    destinations = {r["properties"]["destinationAddressPrefix"] for r in world.security()}
    assert destinations == {world.addresses("web2")[0], world.addresses("web3")[0]}


async def test_what_belongs_to_services_that_are_no_more_is_found_at_start(world: World) -> None:
    world.start()
    for n in (1, 2):
        world.apply(service(n))
    await world.reached("web1")
    await world.reached("web2")
    await world.stop()
    gone = world.service("web1")
    assert gone
    gone["metadata"]["finalizers"] = []  # Somebody was in a hurry.
    world.delete("web1")
    world.start()
    await world.until(lambda: list(world.rules()) == [f"{prefix(2)}-TCP-80"])
    await world.until(lambda: world.arm.get(PIP) is None)
    await world.quiet()
    (rule,) = world.security()
    assert rule["properties"]["destinationAddressPrefix"] == world.addresses("web2")[0]


async def test_a_watch_that_breaks_off_misses_nothing(world: World) -> None:
    world.start()
    world.apply(service(1))
    await world.reached("web1")
    await world.quiet()
    world.api.down = True
    world.api._tell("BOOKMARK", service(9))
    await world.quiet()
    world.delete("web1")
    world.apply(service(2))
    world.api.forgotten = world.api._version + 1  # And the history is gone: only a list tells.
    world.api.down = False
    await world.reached("web2")
    await world.until(lambda: world.service("web1") is None)
    assert list(world.rules()) == [f"{prefix(2)}-TCP-80"]
