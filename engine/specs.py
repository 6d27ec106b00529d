"""The image that Kubernetes' own specs run, agnhost, by the names they have for it, and the others that they ask for.

Upstream's is made of Alpine's packages; this one of Debian's: curl, netcat (the one whose options the specs use), wget
and a shell with their libraries, busybox for all else. Busybox's own shell calls its netcat whatever the PATH says, and
its wget, which is static, ends with a fault where there is another C library to look up names with. They are fetched,
not installed, as those of `DebianFiles`.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import images
import oci
from licences import Licences
from oci import Entry, File, Folder, Image, Link
from recipes import HERE, Workshop
from toolchain import run

PACKAGES = ("curl", "dash", "netcat-openbsd", "wget")
_E2E = "registry.k8s.io/e2e-test-images"
NAMES = {
    "agnhost": (f"{_E2E}/agnhost:2.66.1", f"{_E2E}/agnhost:2.55"),
    "pause": ("registry.k8s.io/pause:3.10.2",),
    "busybox": (f"{_E2E}/busybox:1.37.0-2",),
}
"""As `test/utils/image/manifest.go` of the Kubernetes that is pinned has them."""
_CLOSURE = ("--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces")


@dataclass(frozen=True)
class SpecImages:
    """images/specs.tar: one archive of all of them. Needs the components agnhost, pause and supervisor."""

    def inputs(self) -> Iterator[bytes]:
        yield (HERE / "specs.py").read_bytes()
        yield (HERE / "oci.py").read_bytes()

    def build(self, shop: Workshop) -> None:
        scratch = shop.out / ".root"
        root = scratch / "root"
        root.mkdir(parents=True)
        listed = run(["apt-cache", "depends", *_CLOSURE, "--no-enhances", *PACKAGES])
        packages = sorted({line for line in listed.splitlines() if line[:1] not in (" ", "<", "")})
        shop.progress.step(f"fetching {len(packages)} packages")
        run(["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", *packages], cwd=scratch)
        for archive in sorted(scratch.glob("*.deb")):
            run(["dpkg-deb", "-x", str(archive), str(root)])
            named = run(["dpkg-deb", "-W", "--showformat", "${Package} ${Version}", str(archive)])
            package, version = named.split()
            shop.licences.add_debian(package, version, root)
        shutil.rmtree(root / "usr/share", ignore_errors=True)
        for name, program in (("nc", "nc.openbsd"), ("sh", "dash")):
            (root / "bin" / name).unlink(missing_ok=True)
            (root / "bin" / name).symlink_to(program)
        busybox = dict(images._ALL["busybox"]("", shop.needed).files)
        agnhost = busybox | _tree(root)
        program = (shop.needed["agnhost"] / "bin/agnhost").read_bytes()
        agnhost |= {"/agnhost": File(program, 0o755), "/agnhost-2": Link("agnhost"), "/uploads": Folder()}
        pause = {"/pause": File((shop.needed["pause"] / "bin/pause").read_bytes(), 0o755)}
        made = [
            Image(NAMES["agnhost"], agnhost, ["/agnhost"], ["pause"], ports=[80, 8080, 8081, 9376, 5000]),
            Image(NAMES["pause"], pause, ["/pause"], user="65535:65535"),
            Image(NAMES["busybox"], busybox, command=["sh"]),
        ]
        (shop.out / "images").mkdir()
        (shop.out / "images" / "specs.tar").write_bytes(oci.layout(made, images.processor()))
        shutil.rmtree(scratch)
        for needed in shop.needed.values():
            shop.licences.extend(Licences.read(needed))


def _tree(root: Path) -> dict[str, Entry]:
    """The files and links below a folder, as an image has them."""
    found: dict[str, Entry] = {}
    for path in sorted(root.rglob("*")):
        name = f"/{path.relative_to(root)}"
        if path.is_symlink():
            found[name] = Link(str(path.readlink()))
        elif path.is_file():
            found[name] = File(path.read_bytes(), path.stat().st_mode & 0o777)
    return found
