"""What an installation chooses for itself, and keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from sorairo.state import Config, State


@pytest.fixture
def state(tmp_path: Path) -> State:
    it = State(tmp_path / "state")
    it.make()
    return it


def as_if_routed(monkeypatch: pytest.MonkeyPatch, *pieces: str) -> None:
    monkeypatch.setattr("sorairo.state._routed", lambda piece: piece in pieces)


def test_a_public_range_that_is_routed_already_is_passed_over(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    as_if_routed(monkeypatch)
    first = state.choose_public_range()
    assert first == state.choose_public_range() == state.fabric.public_range
    as_if_routed(monkeypatch, first)
    second = state.choose_public_range()
    assert int(second.split(".")[2]) == (int(first.split(".")[2]) + 1) % 256
    as_if_routed(monkeypatch, first, second)
    assert state.choose_public_range() not in (first, second)


def test_what_was_chosen_stays(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters keep their public addresses over a restart, when the range is routed by ourselves."""
    as_if_routed(monkeypatch, state.fabric.public_range)
    chosen = state.choose_public_range()
    state.write_config(Config(8443, "hollow", public_range=chosen))
    as_if_routed(monkeypatch, chosen)
    assert state.choose_public_range() == state.fabric.public_range == chosen


def test_one_made_before_ranges_were_chosen_keeps_its_own(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state.fabric.public_range
    state.write_config(Config(8443, "hollow"))
    as_if_routed(monkeypatch, before)
    assert state.choose_public_range() == before
