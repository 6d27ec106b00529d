"""What goes wrong is told in Azure's words, keeps nobody else waiting, and is tried until it succeeds."""

from __future__ import annotations

import json
from typing import Any

import httpx

from cluster.fakes import NETWORK, World, error, prefix, service
from sorairo.cluster.cloud import names

P = prefix(1)
PIP = f"{NETWORK}/publicIPAddresses/kubernetes-{P}"


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


async def test_what_fails_after_it_was_accepted_is_put_back(world: World) -> None:
    world.arm.fail = lambda path, body: "SubnetIsFull" if '"frontendPort": 666' in json.dumps(body) else None
    for n in (1, 2):
        world.apply(service(n, ports=[{"port": 666 if n == 1 else 80}], annotations={names.A_INTERNAL: "true"}))
    world.start()
    await world.reached("web2")
    await world.until(lambda: world.messages("SyncLoadBalancerFailed"))
    assert "ERROR CODE: SubnetIsFull" in world.messages("SyncLoadBalancerFailed")[0]
    await world.quiet()
    await world.stop()
    assert list(world.rules("kubernetes-internal")) == [f"{prefix(2)}-TCP-80"]


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


async def test_an_idle_connection_that_ends_is_nobodys_failure(world: World) -> None:
    """Each document is asked for twice: the first time the server has just let go of the connection."""
    asked: set[str] = set()

    def ended(method: str, path: str) -> None:
        if path not in asked:
            asked.add(path)
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")

    world.arm.refuse = ended
    world.start()
    world.apply(service(1))
    await world.reached()
    assert world.messages("SyncLoadBalancerFailed") == []
