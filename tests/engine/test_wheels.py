"""The packages that carry what is built: small, reproducible, with programs that can be run once installed."""

import base64
import hashlib
import os
import subprocess
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import components
import pytest
import wheels
from licences import Licences

PROGRAM = "#!/bin/sh\necho etcd Version: 3.7.3\n"


@pytest.fixture
def distribution(tmp_path: Path) -> wheels.Distribution:
    """A distribution of one small program."""
    folder = tmp_path / "etcd"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "etcd").write_text(PROGRAM)
    (folder / "bin" / "etcd").chmod(0o755)
    licences = Licences()
    licences.add("go.etcd.io/etcd", "v3.7.3", ["Apache License\nVersion 2.0, January 2004"])
    licences.write(folder)
    names = {"VERSIONS": {"etcd": "3.7.3"}}
    entry = "[sorairo.kubernetes]\n0.1 = sorairo_sample\n"
    return wheels.Distribution("sorairo-sample", "1.0", "A sample", {"etcd": folder}, names, entry_points=entry)


def check(python: Path) -> None:
    """The package is found as other programs find it, and its program runs."""
    script = """
import subprocess
from importlib.metadata import entry_points, version
package = {entry.name: entry for entry in entry_points(group="sorairo.kubernetes")}["0.1"].load()
assert version("sorairo-sample") == "1.0"
assert package.VERSIONS == {"etcd": "3.7.3"}
print(subprocess.check_output([package.BIN / "etcd"], text=True), end="")
"""
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "etcd Version: 3.7.3\n", done.stderr


def test_a_program_of_an_installed_wheel_runs(distribution: wheels.Distribution, tmp_path: Path) -> None:
    wheel = wheels.write(distribution, tmp_path / "dist")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-index", wheel], check=True)
    check(python)


def test_linked_packages_need_no_wheel(
    distribution: wheels.Distribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    folder = wheels.link([distribution], python)
    check(python)
    assert (folder / "sorairo_sample" / "bin" / "etcd").stat().st_nlink == 2, "not a copy"
    assert wheels.link([distribution], python) == folder


def test_a_wheel_records_its_files(distribution: wheels.Distribution, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheels.write(distribution, tmp_path)) as archive:
        names = set(archive.namelist())
        rows = [line.split(",") for line in archive.read("sorairo_sample-1.0.dist-info/RECORD").decode().splitlines()]
        assert {path for path, _, _ in rows} == names
        for path, checksum, length in rows:
            if checksum:
                data = archive.read(path)
                expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                assert (checksum, int(length)) == (f"sha256={expected}", len(data))
        assert "go.etcd.io/etcd v3.7.3: Apache-2.0" in archive.read("sorairo_sample/NOTICE").decode()
        assert "January 2004" in archive.read("sorairo_sample/LICENCES.txt").decode()


def test_the_same_files_give_the_same_wheel(distribution: wheels.Distribution, tmp_path: Path) -> None:
    first = wheels.write(distribution, tmp_path / "first").read_bytes()
    os.utime(distribution.folders["etcd"] / "bin" / "etcd", (0, 0))
    assert wheels.write(distribution, tmp_path / "second").read_bytes() == first


@pytest.mark.engine
@pytest.mark.slow
def test_wheels_are_small_enough_to_publish(built: Callable[[str], Path], tmp_path: Path) -> None:
    known = components.chosen(components.minors()[:1])
    for component in known:
        built(component.name)
    packed = wheels.distributions(known, components.folders(known))
    names = {distribution.name for distribution in packed}
    assert names == {"sorairo-kubernetes-1-37", "sorairo-engine", "sorairo-images", "sorairo-kubelogin"}
    for distribution in packed:
        wheel = wheels.write(distribution, tmp_path)
        assert wheel.stat().st_size < wheels.LIMIT, wheel.name


@pytest.mark.engine
def test_every_licence_of_what_is_built_is_known(built: Callable[[str], Path]) -> None:
    licences = Licences.read(built("etcd"))
    assert ("go.etcd.io/etcd/server/v3", "v3.7.3", "Apache-2.0") in licences.notices
    assert [notice for notice in licences.notices if notice[2] == "unknown"] == []
