"""Whom a node trusts: whom the host does, and the installation's own authority."""

from __future__ import annotations

from pathlib import Path

import pytest

from sorairo.drivers.home import Home
from sorairo.drivers.linux import rootfs
from sorairo.drivers.linux.rootfs import NodeRoot
from sorairo.drivers.protocols import Machine


@pytest.fixture
def node(tmp_path: Path) -> NodeRoot:
    authority = tmp_path / "ca.pem"
    authority.write_bytes(b"OURS\n")
    (tmp_path / "n1" / "root").mkdir(parents=True)
    return NodeRoot(Home(tmp_path / "n1"), Machine("n1", "/owner", (), isolation="node"), {}, authority)


def test_ours_is_laid_over_the_hosts_bundle_beside_the_others(
    node: NodeRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "host" / "bundle.pem"
    bundle.parent.mkdir()
    bundle.write_bytes(b"THE HOSTS")
    name = str(bundle).lstrip("/")
    monkeypatch.setattr(rootfs, "_BUNDLES", (name, "etc/not/there.pem"))
    node._prepare_trust(node.home.root)
    (mount,) = [m for m in node.mounts() if m[1] == f"{node.home.root}/{name}"]
    assert Path(mount[0]).read_bytes() == b"THE HOSTS\nOURS\n"
    assert mount[3] == "bind,ro"
    assert bundle.read_bytes() == b"THE HOSTS"


def test_where_the_host_has_none_it_is_the_nodes_own(
    node: NodeRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rootfs, "_BUNDLES", ("etc/not/there.pem",))
    node._prepare_trust(node.home.root)
    assert (node.home.root / "etc/not/there.pem").read_bytes() == b"OURS\n"
    assert not [m for m in node.mounts() if m[1].endswith("there.pem")]
