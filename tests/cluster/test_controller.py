"""A cluster and its cloud in memory, and the controller between them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cluster.fakes import GROUP, NETWORK, World, prefix, service
from sorairo.cluster.cloud import balancer, names

P = prefix(1)
PIP = f"{NETWORK}/publicIPAddresses/kubernetes-{P}"


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


async def test_a_service_that_nobody_foresaw_stands_in_nobody_elses_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumbling(id: str, before: Any, targets: Any, *others: Any, **more: Any) -> Any:
        if any(exposure.prefix == P for exposure, _ in targets):
            raise KeyError("nodePort")
        return change(id, before, targets, *others, **more)

    change = balancer.change
    monkeypatch.setattr(balancer, "change", stumbling)
    for n in (1, 2):
        world.apply(service(n))
    world.start()
    await world.reached("web2")
    assert world.addresses("web1") == []
    assert "SyncLoadBalancerFailed" in world.reasons()


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
