"""One installation with simulated nodes for every flow that asks ARM alone, one cluster in it, one `az` signed in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from azure_cli import Az
from flows_shared import CLUSTER, GROUP
from installation import Installation
from unchanged import Snapshot


@pytest.fixture(scope="session")
def hollow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A running daemon on the hollow substrate, with a resource group `flows`."""
    installation = Installation(tmp_path_factory.mktemp("hollow") / "state", "hollow").start()
    try:
        installation.group(GROUP)
        yield installation
    finally:
        installation.purge()


@pytest.fixture(scope="session")
def az(hollow: Installation) -> Az:
    return Az(hollow)


@pytest.fixture(scope="session")
def cluster(hollow: Installation) -> str:
    """The path of the shared cluster, of one node. Tests put back what they change."""
    ended = hollow.create_cluster(GROUP, CLUSTER)
    assert ended["status"] == "Succeeded", ended
    return hollow.cluster_path(GROUP, CLUSTER)


@pytest.fixture
def unchanged(hollow: Installation) -> Iterator[None]:
    """What a refused request must leave: every resource, every group and every process as they were."""
    before = Snapshot.of(hollow)
    yield
    assert Snapshot.of(hollow) == before
