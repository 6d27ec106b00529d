"""One who asks ARM and Graph for things, and knows from a model what must come of it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from crash.world import Host
from fuzz.origin import Answer, Origin, origin
from fuzz.run import logged
from fuzz.stateful.model import Arm, Directory, End
from sorairo.identity.keys import load_keys

T = TypeVar("T")

GROUPS = "2024-11-01"
groups = st.sampled_from(("a", "A", "b"))
names = st.sampled_from(("x", "X", "y"))
tags = st.sampled_from(({}, {"k": "v"}, {"k": "w", "Two": ""}, {"é": "ü"}))
some = st.integers(0, 11)
"""Which of those there are, counted round."""

COUNTED: Counter[str] = Counter()
"""Requests and how they ended, over all runs of this process."""


@cache
def _keys() -> Path:
    """Of a token service: made once, since that takes longer than a run."""
    file = Path(tempfile.mkdtemp()) / "keys.json"
    load_keys(file)
    return file


class Asker(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._around = contextlib.ExitStack()
        self.folder = Path(self._around.enter_context(tempfile.TemporaryDirectory()))
        self.logs = self._around.enter_context(logged())
        shutil.copy(_keys(), self.folder / "keys.json")
        self.loop = asyncio.new_event_loop()
        self.host = Host("linux")
        self._open()
        self.arm, self.directory = Arm(self.it.subscription), Directory()
        self.kept = {self.it.admin.objectId}
        self.addresses: dict[str, str] = {}
        self.etags: dict[str, str] = {}
        self.identities: dict[str, str] = {}

    def _open(self) -> None:
        self._origin = origin(self.folder, self.host)
        self.it: Origin = self.run(self._origin.__aenter__())
        self.it.app.throttle.take = lambda *_: None  # type: ignore[assignment,method-assign,return-value]

    def _close(self) -> None:
        self.run(self._origin.__aexit__(None, None, None))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        try:
            self._close()
        finally:
            self.loop.close()
            self._around.close()

    # --- asking ----------------------------------------------------------------------------------------

    async def _ask(
        self, method: str, path: str, body: Any = None, v: str = "", query: str = "", **headers: Any
    ) -> Answer:
        query = "&".join(filter(None, (f"api-version={v}" if v else "", query)))
        answer = await self.it.call(method, path, query, body, **headers)
        COUNTED["requests"] += 1
        COUNTED[str(answer.status)] += 1
        if answer.status >= 500:
            assert (answer.status, answer.code) == (501, "NotImplemented"), (method, path, answer.raw)
        return answer

    def ask(self, method: str, path: str, body: Any = None, v: str = "", query: str = "", **headers: Any) -> Answer:
        async def asked() -> Answer:
            answer = await self._ask(method, path, body, v, query, **headers)
            if method != "GET":
                await self.it.quiet()
            return answer

        return self.run(asked())

    def ends(self, answer: Answer, expected: End, *others: End) -> None:
        """`others`: an answer that may be given as well. What is not done at once is accepted."""
        found = End(answer.status, answer.code)
        assert found in (expected, *others), f"{found}, not {expected}: {answer.raw[:400]!r}"

    def pick(self, among: list[str], number: int) -> str:
        """One of them; of none, one that there is not."""
        return among[number % len(among)] if among else "00000000-0000-0000-0000-000000000001"
