"""What the README says works is what tests prove."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import parity


def test_every_claim_names_a_test_that_exists_and_the_pages_are_up_to_date() -> None:
    assert parity.problems() == []


def test_a_test_that_is_not_there_proves_nothing() -> None:
    here = "tests/test_parity.py"
    assert parity.proved(f"{here}::test_a_test_that_is_not_there_proves_nothing")
    assert not parity.proved(f"{here}::test_nothing_of_the_kind")
    assert not parity.proved("tests/no_such_file.py::test_a_test_that_is_not_there_proves_nothing")
