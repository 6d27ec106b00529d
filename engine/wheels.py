"""The Python packages that carry built components, as wheels and as a folder that an environment can import from.

- `sorairo-kubernetes-1-37`: package `sorairo_kubernetes_1_37` with `bin/kubernetes`, and the entry point `1.37` in the
  group `sorairo.kubernetes`; one such for each minor.
- `sorairo-engine`: package `sorairo_engine` with the programs, as `BIN` and `CNI`, and their `VERSIONS`.
- `sorairo-images`: package `sorairo_images` with image archives, as `IMAGES`, and the names in them, `REFERENCES`.
"""

import base64
import hashlib
import json
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cache
from components import CLIENTS, IMAGES, ONLY_IN_IMAGES, OPTIONAL, PROGRAMS, Component
from licences import Licences
from recipes import DebianFiles
from toolchain import run

VERSION = "0.1.0"  # of the packages that are not named for one upstream program
LIMIT = 100 * 1000 * 1000  # bytes of one wheel, as package indexes have it
_DATE = (2026, 1, 1, 0, 0, 0)

Contents = Mapping[str, Path | bytes]  # path in the package folder: a file, or what is written there


@dataclass(frozen=True)
class Distribution:
    """One Python distribution. `folders` are those of its components; `libc` the oldest glibc that it runs on."""

    name: str
    version: str
    summary: str
    folders: Mapping[str, Path]
    names: Mapping[str, object]  # constants of its module
    libc: str = "2_17"
    entry_points: str = ""

    @property
    def package(self) -> str:
        return self.name.replace("-", "_")

    @property
    def info(self) -> str:
        return f"{self.package}-{self.version}.dist-info"

    @property
    def tag(self) -> str:
        return f"py3-none-manylinux_{self.libc}_{os.uname().machine}"


def _references(folders: Mapping[str, Path]) -> dict[str, list[str]]:
    """The image names in each archive, by its file name."""
    found: dict[str, list[str]] = {}
    for folder in folders.values():
        for path in sorted((folder / "images").glob("*.tar")):
            with tarfile.open(path) as archive:
                index = archive.extractfile("index.json")
                assert index is not None
                manifests = json.load(index)["manifests"]
            found[path.name] = [manifest["annotations"]["io.containerd.image.name"] for manifest in manifests]
    return found


def distributions(components: list[Component], where: Mapping[str, Path]) -> list[Distribution]:
    """What can be packed of the components that are built."""
    built = [component for component in components if where[component.name].exists()]
    found = []
    for component in built:
        if component.name.startswith("kubernetes-"):
            minor = component.name.removeprefix("kubernetes-")
            name = f"sorairo-kubernetes-{minor.replace('.', '-')}"
            found.append(
                Distribution(
                    name,
                    component.version,
                    f"Kubernetes {component.version} in one program, for sorairo",
                    {component.name: where[component.name]},
                    {"VERSION": component.version, "MINOR": minor},
                    entry_points=f"[sorairo.kubernetes]\n{minor} = {name.replace('-', '_')}\n",
                )
            )
    kept = [component for component in built if component in PROGRAMS and component.name not in ONLY_IN_IMAGES]
    if kept:
        versions: dict[str, str] = {}
        for component in kept:
            if isinstance(component.recipe, DebianFiles):  # of the release that it was built on
                record = json.loads((where[component.name] / "component.json").read_text())
                versions |= {package: record[package] for package in component.recipe.packages}
            else:
                versions[component.name] = component.version
        programs = {component.name: where[component.name] for component in kept}
        summary = "The programs around Kubernetes, for sorairo: etcd, containerd, runc, CNI plugins and others"
        # Debian's runit asks for a newer glibc than the rest, which is static.
        found.append(Distribution("sorairo-engine", VERSION, summary, programs, {"VERSIONS": versions}, libc="2_34"))
    for component in built:
        if component in CLIENTS:
            found.append(
                Distribution(
                    f"sorairo-{component.name}",
                    component.version,
                    f"{component.name} {component.version}, as kubectl calls it where sorairo's users sign in",
                    {component.name: where[component.name]},
                    {"VERSION": component.version},
                )
            )
        if component in OPTIONAL:
            summary = f"{component.name} {component.version}, which sorairo runs where it is asked to"
            folder = {component.name: where[component.name]}
            names = {"VERSION": component.version}
            found.append(Distribution(f"sorairo-{component.name}", component.version, summary, folder, names))
    archives = {component.name: where[component.name] for component in built if component in IMAGES}
    if archives:
        summary = "Container images that a sorairo cluster starts with"
        references = {"REFERENCES": _references(archives)}
        found.append(Distribution("sorairo-images", VERSION, summary, archives, references))
    return found


def contents(distribution: Distribution) -> dict[str, Path | bytes]:
    """Every file of a distribution but the wheel's own records."""
    files: dict[str, Path | bytes] = {}
    licences = Licences()
    constants = dict(distribution.names)
    places = []
    for folder in distribution.folders.values():
        licences.extend(Licences.read(folder))
        for place in ("bin", "cni", "images"):
            found = sorted((folder / place).glob("*"))
            files |= {f"{distribution.package}/{place}/{path.name}": path for path in found}
            if found and place not in places:
                places.append(place)
    module = [f'"""{distribution.summary}."""', "", "from pathlib import Path", ""]
    module += [f'{place.upper()} = Path(__file__).parent / "{place}"' for place in places]
    module += [f"{name} = {value!r}" for name, value in constants.items()]
    text = {
        f"{distribution.package}/__init__.py": "\n".join(module) + "\n",
        f"{distribution.package}/py.typed": "",
        f"{distribution.package}/NOTICE": licences.notice(),
        f"{distribution.package}/LICENCES.txt": licences.all_texts(),
        f"{distribution.info}/METADATA": (
            f"Metadata-Version: 2.1\nName: {distribution.name}\nVersion: {distribution.version}\n"
            f"Summary: {distribution.summary}\nRequires-Python: >=3.11\nLicense: Apache-2.0 and others, see NOTICE\n"
        ),
    }
    if distribution.entry_points:
        text[f"{distribution.info}/entry_points.txt"] = distribution.entry_points
    return files | {path: content.encode() for path, content in text.items()}


def write(distribution: Distribution, folder: Path) -> Path:
    """The distribution's wheel in `folder`. The same files give the same bytes."""
    files = contents(distribution)
    wheel = f"Wheel-Version: 1.0\nGenerator: sorairo\nRoot-Is-Purelib: false\nTag: {distribution.tag}\n"
    files[f"{distribution.info}/WHEEL"] = wheel.encode()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{distribution.package}-{distribution.version}-{distribution.tag}.whl"
    partial = target.with_suffix(".part")
    record = []
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in sorted(files.items()):
            data = content.read_bytes() if isinstance(content, Path) else content
            program = isinstance(content, Path) and bool(content.stat().st_mode & stat.S_IXUSR)
            _add(archive, path, data, 0o755 if program else 0o644)
            checksum = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{path},sha256={checksum},{len(data)}\n")
        name = f"{distribution.info}/RECORD"
        _add(archive, name, "".join([*record, f"{name},,\n"]).encode(), 0o644)
    partial.rename(target)
    return target


def _add(archive: zipfile.ZipFile, path: str, data: bytes, mode: int) -> None:
    entry = zipfile.ZipInfo(path, _DATE)
    entry.create_system = 3  # Unix: pip then honours the mode
    entry.external_attr = (stat.S_IFREG | mode) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, data)


def link(packed: list[Distribution], python: Path) -> Path:
    """Make the packages importable in python's environment without copying: hard links, and a path to their folder.

    A wheel that is installed there comes first. Returns the folder, which is in the cache.
    """
    every = [
        (path, str(content)) for distribution in packed for path, content in sorted(contents(distribution).items())
    ]
    folder = cache.root() / f"packages-{cache.digest(part.encode() for pair in every for part in pair)}"
    with cache.lock("packages"):
        if not folder.exists():
            with cache.new_folder(folder) as filling:
                for distribution in packed:
                    for path, content in contents(distribution).items():
                        target = filling / path
                        target.parent.mkdir(parents=True, exist_ok=True)
                        if isinstance(content, bytes):
                            target.write_bytes(content)
                        else:
                            _link_or_copy(content, target)
    where = run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    (Path(where) / "sorairo-engine-built.pth").write_text(f"{folder}\n")
    return folder


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
