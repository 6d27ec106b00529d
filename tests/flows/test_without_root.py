"""The hollow substrate as a user without any privilege: the same life of a cluster, once more as `nobody`.

Where the tests run as somebody else anyway, `test_hollow_cluster` is that already.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import sorairo

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (util-linux)"),
]

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Room:
    """A folder that `nobody` can read, and what it takes to run Python there."""

    folder: Path
    python: Path
    path: list[Path]

    @property
    def home(self) -> Path:
        return self.folder / "home"


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    folder = Path(tempfile.mkdtemp(prefix="sorairo-nobody-"))
    try:
        folder.chmod(0o755)
        python = _opened(Path(sys.base_prefix), folder / "python")
        packages = Path(sysconfig.get_paths()["purelib"])
        path = [_opened(Path(sorairo.__file__).parents[1], folder / "src"), _opened(packages, folder / "packages")]
        # What .pth files name, which are read in a site folder only: editable installs, and the engine as it was built.
        lines = [line for file in sorted(packages.glob("*.pth")) for line in file.read_text().splitlines()]
        path += [_opened(Path(e), folder / f"more{n}") for n, e in enumerate(lines) if e.startswith("/")]
        shutil.copytree(TESTS, folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(TESTS.parent / "pyproject.toml", folder)
        it = Room(folder, python / "bin" / f"python3.{sys.version_info.minor}", path)
        it.home.mkdir()
        nobody = pwd.getpwnam("nobody")
        os.chown(it.home, nobody.pw_uid, nobody.pw_gid)
        yield it
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _opened(source: Path, copy: Path) -> Path:
    """`source`, or when others may not enter it the same files elsewhere, hard-linked where that can be."""
    if all(p.stat().st_mode & 0o005 == 0o005 for p in (source, *source.parents)):
        return source
    if subprocess.run(["cp", "-al", str(source), str(copy)], capture_output=True, check=False).returncode != 0:
        shutil.rmtree(copy, ignore_errors=True)
        subprocess.run(["cp", "-a", str(source), str(copy)], check=True)
    return copy


def test_nobody_needs_no_privilege(room: Room) -> None:
    nobody = pwd.getpwnam("nobody")
    environment = {
        "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(room.home),
        "PYTHONPATH": ":".join(map(str, room.path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LD_LIBRARY_PATH": str(room.python.parents[1] / "lib"),
    }
    drop = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--inh-caps=-all"]
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={room.home / 'tmp'}"]
    done = subprocess.run(
        [*drop, "--no-new-privs", str(room.python), *tests, "tests/flows/test_hollow_cluster.py"],
        cwd=room.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout
