"""The command line as a user has it: a process of its own, a state directory of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def sorairo(state: Path, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. With `check`, a failure shows what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "sorairo.cli", *arguments],
        env={**os.environ, "SORAIRO_STATE": str(state), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    if check:
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def answer(state: Path, *arguments: str) -> Any:
    """What a command says with `--json`."""
    return json.loads(sorairo(state, *arguments, "--json").stdout)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """Where sorairo may be started; whatever was is taken down afterwards."""
    folder = tmp_path / "state"
    yield folder
    sorairo(folder, "down", "--yes", check=False)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    """One for tests that change nothing: its state directory, and what `up` said."""
    state = tmp_path_factory.mktemp("running") / "state"
    yield state, answer(state, "up", "--substrate", "hollow", "--port", str(free_port()))
    sorairo(state, "down", "--yes")


@pytest.fixture
def up(state: Path) -> dict[str, Any]:
    """A running sorairo without nodes; what `up` said."""
    said: dict[str, Any] = answer(state, "up", "--substrate", "hollow", "--port", str(free_port()))
    return said
