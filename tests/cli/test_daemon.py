"""`up` and `down`: once, twice, at once, after a kill, after a stop."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sorairo.state import State

from .conftest import answer, free_port, sorairo


def processes_below(state: Path) -> list[str]:
    """Command lines of living processes that name the state directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(state) in line:
                found.append(line)
    return found


def test_up_then_up_again(state: Path, up: dict[str, Any]) -> None:
    assert up["started"] is True
    assert up["substrate"] == "hollow"
    again = answer(state, "up")
    assert again["started"] is False
    assert {**again, "started": True} == up
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    for private in ("credentials.json", "state.db", "identity/signing-keys.json", "tls/ca.key", "tls/server.key"):
        assert stat.S_IMODE((state / private).stat().st_mode) == 0o600, private


def test_down_leaves_nothing(state: Path, up: dict[str, Any]) -> None:
    sorairo(state, "down", "--yes")
    assert not state.exists()
    assert processes_below(state) == []
    assert "nothing to remove" in sorairo(state, "down", "--yes").stdout


def test_down_with_state_kept_brings_the_same_back(state: Path, up: dict[str, Any]) -> None:
    credentials = (state / "credentials.json").read_text()
    authority = (state / "tls" / "ca.pem").read_text()
    sorairo(state, "down", "--keep-state")
    assert processes_below(state) == []
    again = answer(state, "up")
    assert again["started"] is True
    assert again["endpoints"] == up["endpoints"]
    assert again["subscriptionId"] == up["subscriptionId"]
    assert (state / "credentials.json").read_text() == credentials
    assert (state / "tls" / "ca.pem").read_text() == authority


def test_a_killed_daemon_is_started_again(state: Path, up: dict[str, Any]) -> None:
    os.kill(up["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 10
    while State(state).daemon() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    status = sorairo(state, "status", "--json", check=False)
    assert status.returncode == 3
    assert json.loads(status.stdout)["running"] is False
    again = answer(state, "up")
    assert again["pid"] != up["pid"]
    assert again["subscriptionId"] == up["subscriptionId"]


def test_two_at_once_make_one_daemon(state: Path) -> None:
    command = [sys.executable, "-m", "sorairo.cli", "up", "--json", "--substrate", "hollow", "--port", str(free_port())]
    environment = {**os.environ, "SORAIRO_STATE": str(state)}
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    assert sorted(s["started"] for s in said) == [False, True]
    assert len({s["pid"] for s in said}) == 1


def test_status_says_what_runs(running: tuple[Path, dict[str, Any]]) -> None:
    state, up = running
    status = answer(state, "status")
    assert status["running"] is True
    assert status["pid"] == up["pid"]
    assert status["endpoints"]["resourceManager"] == up["endpoints"]["resourceManager"]
    assert status["clusters"] == []
    human = sorairo(state, "status").stdout
    assert "no clusters yet" in human
    assert up["endpoints"]["resourceManager"] in human


def test_a_taken_port_is_named(state: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = sorairo(state, "up", "--substrate", "hollow", "--port", str(port), check=False)
    assert refused.returncode == 1
    assert f"port {port} is in use" in refused.stderr
    assert "→" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_failing_start_shows_the_log_and_the_doctor(state: Path, up: dict[str, Any]) -> None:
    sorairo(state, "down", "--keep-state")
    (state / "state.db").write_bytes(b"this is no database" * 1000)
    refused = sorairo(state, "up", check=False)
    assert refused.returncode == 1
    assert "not a database" in refused.stderr
    assert "sorairo doctor" in refused.stderr
    (state / "state.db").unlink()
    for beside in state.glob("state.db-*"):
        beside.unlink()


def test_a_directory_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for command in (["up", "--substrate", "hollow"], ["down", "--yes"]):
        refused = sorairo(tmp_path, *command, check=False)
        assert refused.returncode == 1, command
        assert "Traceback" not in refused.stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert stat.S_IMODE(tmp_path.stat().st_mode) != 0o600


def test_another_substrate_or_port_is_refused_while_running(running: tuple[Path, dict[str, Any]]) -> None:
    state, _ = running
    moved = sorairo(state, "up", "--port", str(free_port()), check=False)
    assert moved.returncode == 1
    assert "running on port" in moved.stderr
    if os.geteuid() == 0:
        other = sorairo(state, "up", "--substrate", "linux", check=False)
        assert other.returncode == 1
        assert "hollow substrate" in other.stderr


def test_problems_are_json_for_scripts(state: Path) -> None:
    refused = sorairo(state, "env", "--json", check=False)
    assert refused.returncode == 3
    assert json.loads(refused.stdout)["error"]["next"] == "start it with: sorairo up"


def test_a_start_costs_less_than_three_seconds_of_one_core(state: Path, up: dict[str, Any]) -> None:
    """Work, not time, which depends on what else runs: `bench/up.py` takes the time."""
    sorairo(state, "down", "--keep-state")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    pid = answer(state, "up")["pid"]
    own = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])
    daemon = ticks / os.sysconf("SC_CLK_TCK")
    print(f"up: {own:.2f} s, daemon: {daemon:.2f} s")
    assert own + daemon < 3
