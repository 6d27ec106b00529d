"""Clients that ask for this and that, all at once, of a sorairo that is killed again and again.

Whatever was acknowledged is there in the next life (a put is told by its tag); when at last nobody asks any more, all
operations have ended, every wish is true, and nothing on the host is nobody's.
"""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Document

from .world import CLUSTER, GROUP, Kind, Life, World, cluster, quickly

LIVES = 8
SEEDS = int(os.environ.get("SORAIRO_SEEDS", "3"))
"""More find more: `SORAIRO_SEEDS=200 pytest tests/crash/test_random.py`."""
NETWORK = f"{GROUP}/providers/Microsoft.Network"
GONE = "gone"


def bodies(chance: random.Random) -> dict[str, Document]:
    """What may be put where."""
    pools = {"one": chance.randint(1, 3), **({"two": chance.randint(0, 2)} if chance.random() < 0.5 else {})}
    space = f"10.{chance.randint(1, 3)}.0.0/16"
    where = {"location": "westeurope"}
    return {
        CLUSTER: cluster(**pools),
        f"{NETWORK}/virtualNetworks/v": {**where, "properties": {"addressSpace": {"addressPrefixes": [space]}}},
        f"{NETWORK}/publicIPAddresses/p": {**where, "sku": {"name": "Standard"}, "properties": {}},
        f"{NETWORK}/networkSecurityGroups/s": {**where, "properties": {}},
        f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i": {**where, "properties": {}},
    }


@dataclass
class Client:
    """Asks for one resource, one request at a time."""

    id: str
    chance: random.Random
    acknowledged: str = GONE
    unsure: str | None = None
    """Of the request whose answer it did not live to see."""
    asked: list[str] = field(default_factory=list)

    async def run(self, life: Life, numbers: list[int]) -> None:
        while True:
            number = str(len(numbers))
            numbers.append(0)
            wish = GONE if self.chance.random() < 0.3 else number
            self.unsure = wish
            try:
                if wish == GONE:
                    operation = await life.delete(self.id)
                else:
                    operation = await life.put(self.id, {**bodies(self.chance)[self.id], "tags": {"n": number}})
                self.acknowledged, self.unsure = wish, None
                self.asked.append(wish)
                if operation and operation.status == "InProgress" and self.chance.random() < 0.7:
                    await life.ended(operation)
            except ArmError as refused:
                self.unsure = None
                if refused.status not in (404, 409):
                    raise
            await asyncio.sleep(self.chance.random() * 0.02)

    def check(self, life: Life) -> None:
        """In a new life: what was acknowledged, or what was asked for when the last one ended."""
        found = life.store.get(self.id)
        now = GONE if found is None or found.deleting else found.body["tags"]["n"]
        if now == self.unsure:
            self.acknowledged = now
        self.unsure = None
        assert now == self.acknowledged, f"{self.id}: {self.asked}"


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("kind", ["hollow", "linux"])
async def test_what_was_acknowledged_outlives_any_death(
    kind: Kind, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch)
    chance = random.Random(seed)
    world = World(kind, tmp_path)
    clients = [Client(id, random.Random(f"{seed} {id}")) for id in bodies(chance)]
    numbers: list[int] = []
    for _ in range(LIVES):
        left = chance.randint(1, 150)

        def at(point: str) -> bool:
            nonlocal left
            left -= 1
            return left == 0

        async with world.life(at) as life:
            for client in clients:
                client.check(life)
            asking = [asyncio.create_task(c.run(life, numbers)) for c in clients]
            dead = asyncio.create_task(life.dead.wait())
            done, _ = await asyncio.wait({*asking, dead}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            for task in done - {dead}:
                task.result()
    async with world.life() as life:
        for client in clients:
            client.check(life)
        await life.quiet(30)
        found = life.store.get(CLUSTER)
        pools = {p["name"]: int(p["count"]) for p in found.properties["agentPoolProfiles"]} if found else None
        await life.check_all()
        if pools is not None:
            await life.check(pools)
    assert sum(len(c.asked) for c in clients) > LIVES
