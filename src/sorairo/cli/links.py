"""`state/bin`: the programs that `sorairo env` puts on PATH, as links to where they really are."""

from __future__ import annotations

import os
import shutil
import sys
from importlib import metadata, util
from pathlib import Path

from sorairo.state import State

CALLED = ("kubectl",)
"""Names under which the Kubernetes program is linked on PATH."""
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")


def minors() -> dict[str, Path]:
    """Kubernetes minors installed (wheels or a built engine), newest first, and the folder of their program."""
    found: dict[str, Path] = {}
    for entry in metadata.entry_points(group="sorairo.kubernetes"):
        spec = util.find_spec(entry.value)
        if spec and spec.origin:
            folder = Path(spec.origin).parent / "bin"
            if (folder / "kubernetes").exists():
                found[entry.name] = folder
    return dict(sorted(found.items(), key=lambda f: [int(n) for n in f[0].split(".") if n.isdigit()], reverse=True))


def programs() -> Path | None:
    """The folder of the programs around Kubernetes (etcd, containerd, …)."""
    spec = util.find_spec("sorairo_engine")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "bin"


def kubelogin() -> Path | None:
    """What kubectl calls to sign in to a cluster for the directory's users."""
    spec = util.find_spec("sorairo_kubelogin")
    found = Path(spec.origin).parent / "bin" / "kubelogin" if spec and spec.origin else None
    return found if found and found.exists() else None


def find_az(state: State) -> Path | None:
    """The machine's own `az`, else one that came with sorairo (`sorairo[az]`, or a cache of it)."""
    path = os.pathsep.join(p for p in os.environ.get("PATH", "").split(os.pathsep) if Path(p) != state.bin)
    beside = Path(sys.executable).parent / "az"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sorairo" / "az" / "bin" / "az"
    own = shutil.which("az", path=path)
    return next((p for p in (Path(own) if own else None, beside, cache) if p and os.access(p, os.X_OK)), None)


def write_links(state: State) -> None:
    """Make `state/bin` (for PATH) and `state/engine` (every upstream program) point at what is installed now."""
    engine = state.root / "engine"
    for folder in (state.bin, engine):
        folder.mkdir(exist_ok=True)
    newest = next(iter(minors().values()), None)
    wanted: dict[Path, Path] = {}
    if newest is not None:
        kubernetes = newest / "kubernetes"
        wanted |= {state.bin / name: kubernetes for name in CALLED}
        wanted |= {engine / name: kubernetes for name in ("kubernetes", *COMPONENTS)}
    around = programs()
    if around is not None and around.is_dir():
        wanted |= {engine / p.name: p for p in around.iterdir()}
    if (signing_in := kubelogin()) is not None:
        wanted[state.bin / "kubelogin"] = signing_in
    az = find_az(state)
    if az is not None:
        wanted[state.bin / "az"] = az
    sorairo = Path(sys.executable).parent / "sorairo"
    if sorairo.exists():
        wanted[state.bin / "sorairo"] = sorairo
    for link, target in wanted.items():
        _link(link, target)
    for folder in (state.bin, engine):
        for link in folder.iterdir():
            if link not in wanted and link.is_symlink():
                link.unlink()


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    beside = link.with_name(f".{link.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    beside.replace(link)
