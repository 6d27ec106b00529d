"""How a component's files are made: from Go modules, C, Debian's packages, or as an image of other components.

A recipe's `inputs` are everything that decides its output; changing one of them makes a new folder in the cache.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import images
from licences import MODULE, Licences
from progress import Progress
from toolchain import BuildError, Go, find_or_install, run

HERE = Path(__file__).parent


@dataclass
class Workshop:
    """What a recipe works with: where to put its files, and the folders of the components it needs."""

    out: Path
    version: str
    needed: Mapping[str, Path]
    progress: Progress
    log: Path
    record: dict[str, str] = field(default_factory=dict)  # what else is worth knowing of how it was made
    licences: Licences = field(default_factory=Licences)


class Recipe(Protocol):
    def inputs(self) -> Iterator[bytes]: ...

    def build(self, shop: Workshop) -> None: ...


def _contents(*paths: Path) -> Iterator[bytes]:
    for path in sorted(paths):
        yield path.name.encode()
        yield path.read_bytes()


@dataclass(frozen=True)
class Program:
    """One Go program. `variables` are linker assignments, with {version}, {major}, {minor} and {released} filled in."""

    package: str
    file: str
    tags: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()


@dataclass(frozen=True)
class GoPrograms:
    """Programs of the Go module in `folder`, versioned as `module` is there. They are static with cgo too."""

    folder: str
    module: str
    programs: tuple[Program, ...]
    cgo: bool = False

    def inputs(self) -> Iterator[bytes]:
        folder = HERE / self.folder
        yield json.dumps(asdict(self), sort_keys=True).encode()
        yield from _contents(*folder.glob("go.*"))
        for program in self.programs:
            if program.package.startswith("."):
                yield from _contents(*(path for path in (folder / program.package).iterdir() if path.is_file()))

    def build(self, shop: Workshop) -> None:
        folder = HERE / self.folder
        found = re.search(r"^go (\S+)", (folder / "go.mod").read_text(), re.MULTILINE)
        go = find_or_install(found[1] if found else "1.26")
        shop.record["go"] = go.version
        if self.cgo:
            _check_c_libraries("libseccomp")
        shop.progress.step("fetching modules")
        described = go.output(folder, "list", "-m", "-json", self.module) if self.module else ""
        values = self._values(shop.version, described)
        packages = {line for program in self.programs for line in self._list(go, program, "{{.ImportPath}}")}
        shop.progress.step("compiling", len(packages))
        for program in self.programs:
            self._compile(program, [str(go.path), *self._flags(program, values)], go.environment(self.cgo), shop)
        shop.progress.step("collecting licences")
        modules = {line for program in self.programs for line in self._list(go, program, MODULE)}
        shop.licences.add_go(go, modules)
        if self.cgo:
            _add_c_libraries(shop.licences, "libseccomp-dev", "libc6-dev")

    def _list(self, go: Go, program: Program, form: str) -> list[str]:
        """A line for each package that program is linked from."""
        command = ["list", "-deps", "-f", form, "-tags", ",".join(self._tags(program)), program.package]
        return go.output(HERE / self.folder, *command, cgo=self.cgo).splitlines()

    def _tags(self, program: Program) -> tuple[str, ...]:
        return (*program.tags, "netgo", "osusergo") if self.cgo else program.tags

    @staticmethod
    def _values(version: str, listed: str) -> dict[str, str]:
        released = re.search(r'"Time": "(.*)"', listed)
        major, minor, *_ = [*version.split("."), "0"]
        return {"version": version, "major": major, "minor": minor, "released": released[1] if released else ""}

    def _flags(self, program: Program, values: Mapping[str, str]) -> list[str]:
        link = ["-s", "-w", "-buildid="]  # no symbol table, and nothing that differs from one build to the next
        if self.cgo:
            link += ["-linkmode", "external", "-extldflags", "-static"]
        link += [f"-X {variable.format(**values)}" for variable in program.variables]
        flags = ["build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", " ".join(link)]
        return [*flags, "-tags", ",".join(self._tags(program))]

    def _compile(self, program: Program, command: list[str], env: Mapping[str, str], shop: Workshop) -> None:
        target = shop.out / program.file
        target.parent.mkdir(parents=True, exist_ok=True)
        command += ["-o", str(target), program.package]
        with (
            shop.log.open("a") as log,
            subprocess.Popen(
                command, cwd=HERE / self.folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as building,
        ):
            assert building.stdout is not None
            for line in building.stdout:  # with -v: the name of each package as it is compiled
                log.write(line)
                shop.progress.advance()
        if building.returncode:
            tail = "".join(shop.log.read_text().splitlines(keepends=True)[-20:])
            raise BuildError(f"go build {program.package} failed (all of it: {shop.log}):\n{tail}")


def _check_c_libraries(*names: str) -> None:
    """Say what to install before a compiler says something less clear."""
    absent = [tool for tool in ("gcc", "pkg-config") if shutil.which(tool) is None]
    if not absent:
        absent = [name for name in names if subprocess.run(["pkg-config", "--exists", name], check=False).returncode]
    if absent:
        packages = (HERE / "apt-packages.txt").read_text().split()
        raise BuildError(
            f"{', '.join(absent)} missing; on Debian or Ubuntu: sudo apt-get install -y {' '.join(packages)}"
        )


def _add_c_libraries(licences: Licences, *packages: str) -> None:
    """Name the C libraries that are linked in, where Debian's package manager knows them."""
    for package in packages:
        if shutil.which("dpkg-query"):
            licences.add_debian(package, run(["dpkg-query", "-W", "-f", "${Version}", package]), Path("/"))


@dataclass(frozen=True)
class CProgram:
    """A static program of one C file."""

    source: str
    file: str

    def inputs(self) -> Iterator[bytes]:
        yield self.file.encode()
        yield from _contents(HERE / self.source)

    def build(self, shop: Workshop) -> None:
        _check_c_libraries()
        target = shop.out / self.file
        target.parent.mkdir(parents=True)
        run(["gcc", "-Os", "-Wall", "-Werror", "-static", "-s", "-Wl,--gc-sections", "-Wl,--build-id=none",
             "-o", str(target), str(HERE / self.source)])  # fmt: skip
        _add_c_libraries(shop.licences, "libc6-dev")


@dataclass(frozen=True)
class DebianFiles:
    """Files out of Debian packages, fetched but not installed: {package: {path in it: path in the component}}."""

    packages: Mapping[str, Mapping[str, str]]

    def inputs(self) -> Iterator[bytes]:
        yield json.dumps(self.packages, sort_keys=True).encode()

    def build(self, shop: Workshop) -> None:
        for package, files in self.packages.items():
            shop.progress.step(f"fetching {package}")
            scratch = shop.out / ".deb"
            unpacked = scratch / "unpacked"
            unpacked.mkdir(parents=True)
            # As root, apt downloads as another user if it can; it can't write here, and says so at length.
            run(["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", package], cwd=scratch)
            archive = str(next(scratch.glob("*.deb")))
            run(["dpkg-deb", "-x", archive, str(unpacked)])
            for source, target in files.items():
                if (unpacked / source).exists():
                    (shop.out / target).parent.mkdir(exist_ok=True)
                    shutil.copyfile(unpacked / source, shop.out / target)
                    (shop.out / target).chmod(0o755)
            version = run(["dpkg-deb", "-f", archive, "Version"]).strip()
            shop.licences.add_debian(package, version, unpacked)
            shop.record[package] = version
            shutil.rmtree(scratch)
        absent = {
            target for files in self.packages.values() for target in files.values() if not (shop.out / target).exists()
        }
        if absent:
            raise BuildError(f"not in the packages {', '.join(self.packages)}: {', '.join(sorted(absent))}")


@dataclass(frozen=True)
class ImageArchive:
    """An image of images.py, as images/<name>.tar."""

    name: str

    def inputs(self) -> Iterator[bytes]:
        yield self.name.encode()
        yield from _contents(HERE / "oci.py", HERE / "images.py")

    def build(self, shop: Workshop) -> None:
        (shop.out / "images").mkdir()
        archive = images.archive(self.name, shop.version, shop.needed)
        (shop.out / "images" / f"{self.name}.tar").write_bytes(archive)
        for needed in shop.needed.values():
            shop.licences.extend(Licences.read(needed))


def size(folder: Path) -> int:
    """The bytes of the files that a component has."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
