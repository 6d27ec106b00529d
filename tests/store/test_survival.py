"""A writer is killed with SIGKILL while it works, again and again: every acknowledged write is there afterwards."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path

from sorairo.store import Store

WRITER = """
import asyncio, sys
from sorairo.engine.types import Operation, Resource
from sorairo.store import Store

async def client(store, name):
    for n in range(100000):
        id = f"/subscriptions/s/resourceGroups/g/providers/Microsoft.X/things/{name}-{n}"
        def both(tx):
            tx.put(Resource(id, {"n": n, "pad": "x" * 500}))
            tx.put_operation(Operation(id.rsplit("/")[-1], id, "PUT"))
        await store.transact(both)
        print(id, flush=True)  # the acknowledgement

async def main():
    store = Store.open(sys.argv[1])
    await asyncio.gather(*(client(store, f"{sys.argv[2]}-{c}") for c in range(16)))

asyncio.run(main())
"""


def test_every_acknowledged_write_survives_kill_9(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    acknowledged: set[str] = set()
    for life in range(6):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, url, str(life)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(random.randint(20, 400)):
            acknowledged.add(writer.stdout.readline().strip())
        writer.send_signal(signal.SIGKILL)
        # A line cut short by the kill is no acknowledgement.
        acknowledged.update(line.strip() for line in writer.stdout if line.endswith("\n"))
        writer.wait()

        store = Store.open(url)
        there = {r.id for r in store.list()}
        assert acknowledged <= there
        # A resource and its operation are one transaction: never one without the other.
        assert len(there) == len(store.operations(limit=1_000_000))
        assert len(store.pending()) == len(there)
        asyncio.run(store.close())
