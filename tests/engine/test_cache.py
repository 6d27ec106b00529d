"""What is in the cache is complete, and never stale."""

import os
from pathlib import Path

import cache
import components
import pytest


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_a_folder_appears_when_it_is_complete() -> None:
    final = cache.root() / "etcd-1"
    with cache.new_folder(final) as filling:
        (filling / "etcd").write_text("program")
        assert not final.exists()
    assert (final / "etcd").read_text() == "program"


def test_a_build_that_fails_leaves_nothing() -> None:
    def build() -> None:
        with cache.new_folder(cache.root() / "etcd-1") as filling:
            (filling / "etcd").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        build()
    assert list(cache.root().iterdir()) == []


def test_a_second_build_of_a_component_waits() -> None:
    waited = False

    def on_wait() -> None:
        nonlocal waited
        waited = True
        os.close(release)  # the other one goes on, and lets go

    ready, told = os.pipe()
    hold, release = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(release)
        with cache.lock("etcd"):
            os.write(told, b".")
            os.read(hold, 1)
        os._exit(0)
    os.close(hold)
    os.read(ready, 1)
    with cache.lock("etcd", on_wait):
        assert waited
    os.waitpid(child, 0)


def test_parts_are_told_apart() -> None:
    assert cache.digest([b"ab", b"c"]) != cache.digest([b"a", b"bc"])


def test_a_component_moves_when_what_it_is_made_of_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = components.folders(components.chosen(components.minors()))
    assert before == components.folders(components.chosen(components.minors()))

    monkeypatch.setattr("images.processor", lambda: "riscv64")
    after = components.folders(components.chosen(components.minors()))
    assert all(before[name] != after[name] for name in before), "one for each architecture"


def test_an_image_moves_with_its_program() -> None:
    first = components.PROGRAMS[5]
    assert first.name == "pause"
    image = next(component for component in components.IMAGES if component.name == "image-pause")
    newer = components.Component(first.name, "3.11", first.recipe)
    assert components.folders([first, image])["image-pause"] != components.folders([newer, image])["image-pause"]


def test_versions_come_from_the_modules() -> None:
    known = {component.name: component.version for component in components.chosen(components.minors())}
    assert known["kubernetes-1.37"].startswith("1.37.")
    assert known["kubernetes-1.36"].startswith("1.36.")
    with pytest.raises(LookupError):
        components.pinned("tools/runc", "example.com/not/there")
