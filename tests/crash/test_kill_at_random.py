"""kill -9 of the real daemon, at any moment, under clients that do not stop asking: what was acknowledged is there."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from installation import Installation

LIVES = 5
NETWORK = "resourceGroups/g/providers/Microsoft.Network"
GONE = "gone"


@pytest.fixture
def on(tmp_path: Path) -> Iterator[Installation]:
    it = Installation(tmp_path / "state", "hollow")
    try:
        it.start()
        it.group("g")
        yield it
    finally:
        it.purge()


def body(path: str, number: str) -> dict[str, Any]:
    properties = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}} if "virtualNetworks" in path else {}
    return {"location": "westeurope", "tags": {"n": number}, "properties": properties}


class Client(threading.Thread):
    """Puts and deletes one resource until the daemon is gone."""

    def __init__(self, on: Installation, path: str, known: str, numbers: Iterator[str], seed: str) -> None:
        super().__init__(daemon=True)
        self._on, self._path, self._numbers = on, path, numbers
        self._chance = random.Random(seed)
        self._http = httpx.Client(
            base_url=on.base, headers=on.http.headers, verify=False, timeout=10, params={"api-version": "2024-05-01"}
        )
        self.acknowledged, self.unsure, self.count = known, "", 0

    def run(self) -> None:
        with contextlib.suppress(httpx.TransportError), self._http:
            while True:
                self.unsure = GONE if self._chance.random() < 0.3 else next(self._numbers)
                url = f"{self._on.subscription}/{self._path}"
                if self.unsure == GONE:
                    answer = self._http.delete(url)
                else:
                    answer = self._http.put(url, json=body(self._path, self.unsure))
                if answer.is_success:
                    self.acknowledged = self.unsure
                    self.count += 1
                else:
                    assert answer.status_code in (404, 409), answer.text
                self.unsure = ""


def test_what_was_acknowledged_is_there(on: Installation) -> None:
    paths = [f"{NETWORK}/{kind}/r{n}" for kind in ("virtualNetworks", "networkSecurityGroups") for n in range(4)]
    known = dict.fromkeys(paths, GONE)
    numbers = (str(n) for n in range(1_000_000))
    lock = threading.Lock()

    def numbered() -> Iterator[str]:
        while True:
            with lock:
                number = next(numbers)
            yield number

    chance = random.Random(7)
    acknowledged = 0
    for life in range(LIVES):
        clients = {p: Client(on, p, known[p], numbered(), f"{life} {p}") for p in paths}
        for client in clients.values():
            client.start()
        time.sleep(chance.uniform(0.3, 1.2))  # The moment is what is tried, not waited for.
        on.kill()
        for client in clients.values():
            client.join(20)
        on.start()
        for path, client in clients.items():
            answer = on.arm("GET", path)
            gone = answer.status_code == 404 or answer.json()["properties"]["provisioningState"] == "Deleting"
            now = GONE if gone else answer.json()["tags"]["n"]
            assert now in {client.acknowledged, client.unsure or client.acknowledged}, path
            known[path] = now
            acknowledged += client.count
    assert acknowledged > 10 * LIVES
    for path in paths:
        on.wait(on.arm("DELETE", path))
        assert on.arm("GET", path).status_code == 404
    status = on.arm("GET", "/providers/Microsoft.Sorairo/status/default").json()["properties"]
    assert (status["pending"], status["operationsInProgress"]) == (0, [])
