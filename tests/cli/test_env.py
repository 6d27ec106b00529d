"""`sorairo env`: text that a shell evaluates, whatever is in the paths."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sorairo.cli.env import _export, _fish, _prepend
from sorairo.cli.links import find_az
from sorairo.state import State

from .conftest import answer, free_port, sorairo

awkward = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@settings(max_examples=60, deadline=None)
@given(value=awkward)
def test_a_posix_shell_reads_back_what_was_meant(value: str) -> None:
    line = _export("bash", "X", value)
    done = subprocess.run(["sh", "-c", f'{line}\nprintf %s "$X"'], capture_output=True, timeout=10)
    assert done.stdout.decode() == value


def test_path_comes_first_and_once(running: tuple[Path, dict[str, Any]]) -> None:
    state, up = running
    text = sorairo(state, "env").stdout
    script = f'{text}\nprintf "%s\\n" "$PATH" "$SORAIRO_ENDPOINT" "$AZURE_CONFIG_DIR"'
    path, endpoint, config = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert path.split(":")[0] == str(state / "bin")
    assert endpoint == up["endpoints"]["resourceManager"]
    assert config == str(state / "azure")
    assert "export PATH" not in sorairo(state, "env", PATH=path).stdout


def test_the_secret_is_exported_only_when_asked_for(running: tuple[Path, dict[str, Any]]) -> None:
    state, _ = running
    secret = answer(state, "env", "--with-secret")["AZURE_CLIENT_SECRET"]
    assert "AZURE_CLIENT_SECRET" not in answer(state, "env")
    assert secret not in sorairo(state, "env").stdout


def test_a_state_directory_with_an_awkward_name(tmp_path: Path) -> None:
    state = tmp_path / "it's a $HOME; state"
    try:
        sorairo(state, "up", "--substrate", "hollow", "--port", str(free_port()))
        text = sorairo(state, "env").stdout
        shown = subprocess.run(
            ["sh", "-c", f'{text}\nprintf %s "$SORAIRO_STATE"'], capture_output=True, text=True, check=True
        ).stdout
        assert shown == str(state)
    finally:
        sorairo(state, "down", "--yes")


def test_the_bundle_trusts_the_public_and_us(running: tuple[Path, dict[str, Any]]) -> None:
    state, _ = running
    bundle = Path(answer(state, "env")["REQUESTS_CA_BUNDLE"]).read_text()
    ours = (state / "tls" / "ca.pem").read_text()
    assert ours in bundle
    assert bundle.count("BEGIN CERTIFICATE") > 1
    # A second shell inside the first starts from the same public bundle, not from ours.
    again = answer(state, "env")
    assert Path(again["REQUESTS_CA_BUNDLE"]).read_text() == bundle


def test_fish_quoting() -> None:
    assert _fish("it's \\ $x") == "'it\\'s \\\\ $x'"
    assert _prepend("fish", "/a b") == "set -gx PATH '/a b' $PATH"


@pytest.mark.az
def test_az_is_signed_in(running: tuple[Path, dict[str, Any]]) -> None:
    state, up = running
    if find_az(State(state)) is None:
        pytest.skip("no az on this machine")
    text = sorairo(state, "env").stdout
    home = state.parent / "home"
    home.mkdir()
    done = subprocess.run(
        ["sh", "-c", f"{text}\naz account show --query id -o tsv"],
        capture_output=True,
        text=True,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        timeout=120,
    )
    assert done.stdout.strip() == up["subscriptionId"], done.stderr
    assert not (home / ".azure").exists()
    # The secret passed through a file that is gone, and stands where az itself keeps it, for its owner alone.
    assert not (state / "azure" / ".secret").exists()
    shutil.rmtree(home)
