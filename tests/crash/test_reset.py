"""Death before and after each step that gives a cluster's nodes a new secret: in the end both have it, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from sorairo.engine.ids import parse_id
from sorairo.engine.types import Operation
from sorairo.identity.credentials import new_secret
from sorairo.identity.directory import Directory

from .world import CLUSTER, Life, World, cluster, everywhere, quickly

NODES = 2
AZURE_JSON = "/etc/kubernetes/azure.json"


async def reset(life: Life, client_id: str, secret: str) -> Operation | None:
    body = {"clientId": client_id, "secret": secret}
    return (
        await life.control.act(parse_id(CLUSTER), "resetServicePrincipalProfile", body, {}, principal="me")
    ).operation


def rolled(life: Life, secret: str) -> None:
    """Every node has it: as what its file is to be, and in the file."""
    instances = life.instances()
    wished = [f["content"] for i in instances for f in i.private["files"] if f["path"] == AZURE_JSON]
    assert len(wished) == len(instances) == NODES
    specs = [s for s in life.host.nodes.specs.values() if AZURE_JSON in s.files]
    assert len(specs) == NODES
    assert all(s.files[AZURE_JSON].mode == 0o600 for s in specs)
    for content in (*wished, *(s.files[AZURE_JSON].content.decode() for s in specs)):
        assert secret in content


async def test_killed_at_any_step_of_a_reset_all_nodes_come_to_have_the_new_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch)
    first, second = new_secret(), new_secret()
    start = World("linux", tmp_path / "given")
    async with start.life() as life:
        await life.quiet()
        directory = Directory(life.store)
        principal, _ = await directory.create_application("c", secret=first)
        await directory.add_secret(principal.client_id, second)
        body = cluster(one=NODES)
        del body["identity"]
        profile = {"clientId": principal.client_id, "secret": first.value}
        body["properties"]["servicePrincipalProfile"] = profile
        created = await life.ended(await life.put(CLUSTER, body))
        assert (created.status, created.error) == ("Succeeded", None)
        await life.quiet()
        rolled(life, first.value)

    async def healed(life: Life) -> None:
        await life.quiet()
        await life.check({"one": NODES})
        rolled(life, second.value)

    async with start.copy(tmp_path / "undisturbed").life() as life:
        await life.quiet()
        life.points.clear()
        done = await life.ended(await reset(life, principal.client_id, second.value))
        assert (done.status, done.error) == ("Succeeded", None)
        await healed(life)
        points = list(dict.fromkeys(life.points))
    assert any("update instance" in point for point in points)

    async def die(world: World, point: str) -> None:
        armed = False
        async with world.life(lambda passed: armed and passed == point) as life:
            await life.quiet()
            armed = True
            asked = await reset(life, principal.client_id, second.value)
            await life.dead.wait()
        async with world.life() as life:
            operation = await life.ended(asked)
            assert (operation.status, operation.error) == ("Succeeded", None), point
            await healed(life)

    await everywhere(start, points, tmp_path, die)
