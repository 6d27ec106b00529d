import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "engine"))

import components


@pytest.fixture(scope="session")
def built() -> Callable[[str], Path]:
    """The folder of a component, or the reason why the test is skipped."""
    optional = {component.name for component in components.OPTIONAL}
    where = components.folders(components.chosen(components.minors(), optional))

    def folder(name: str) -> Path:
        if not where[name].exists():
            pytest.skip(f"{name} is not built; python3 engine/build.py --only {name} builds it")
        return where[name]

    return folder
