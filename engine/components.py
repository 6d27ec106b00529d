"""What the engine is made of: each component's sources and files. Versions are those of the go.mod files."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import cache
import images
from recipes import CProgram, DebianFiles, GoPrograms, ImageArchive, Program, Recipe
from specs import SpecImages

HERE = Path(__file__).parent

_COMPONENT_BASE = tuple(
    f"{package}.{variable}"
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    for variable in (
        "gitVersion=v{version}",
        "gitMajor={major}",
        "gitMinor={minor}",
        "gitCommit=",  # not known from a module; its placeholder would show
        "gitTreeState=clean",
        "buildDate={released}",
    )
)
_CONTAINERD = ("github.com/containerd/containerd/v2/version.Version=v{version}",)
_CONTAINERD_TAGS = ("no_btrfs", "no_devmapper", "no_zfs", "no_rdt", "no_tracing", "urfave_cli_no_docs")
_METRICS_SERVER = (
    "k8s.io/client-go/pkg/version.gitVersion=v{version}",
    "k8s.io/client-go/pkg/version.gitCommit=",
    "k8s.io/client-go/pkg/version.buildDate={released}",
)
_CNI = ("github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion=v{version}",)


@dataclass(frozen=True)
class Component:
    """One thing that is built by itself. `needs` names the components whose files its recipe reads."""

    name: str
    version: str
    recipe: Recipe
    needs: tuple[str, ...] = ()


def pinned(folder: str, module: str) -> str:
    """The version of `module` in folder's go.mod, without its v."""
    text = (HERE / folder / "go.mod").read_text()
    found = re.search(rf"^\s*(?:require )?{re.escape(module)} v(\S+)", text, re.MULTILINE)
    if found is None:
        raise LookupError(f"{folder}/go.mod does not require {module}")
    return found[1]


def kubernetes(minor: str) -> Component:
    folder = f"kubernetes-{minor}"
    # The tags are upstream's own: without them gRPC keeps request traces and the API types carry fuzzers.
    program = Program(".", "bin/kubernetes", tags=("grpcnotrace", "notest"), variables=_COMPONENT_BASE)
    recipe = GoPrograms(folder, "k8s.io/kubernetes", (program,))
    return Component(folder, pinned(folder, "k8s.io/kubernetes"), recipe)


def _go(name: str, folder: str, module: str, *programs: Program, cgo: bool = False) -> Component:
    return Component(name, pinned(folder, module), GoPrograms(folder, module, programs, cgo))


def _cni(path: str) -> Program:
    package = f"github.com/containernetworking/plugins/plugins/{path}"
    return Program(package, f"cni/{path.rpartition('/')[2]}", variables=_CNI)


def minors() -> list[str]:
    """The Kubernetes minors that the engine has, newest first."""
    found = [
        folder.name.removeprefix("kubernetes-") for folder in HERE.glob("kubernetes-*") if (folder / "go.mod").exists()
    ]
    return sorted(found, key=lambda minor: int(minor.partition(".")[2]), reverse=True)


_PATHS = {
    "busybox-static": {"bin/busybox": "bin/busybox", "usr/bin/busybox": "bin/busybox"},
    "runit": {f"usr/bin/{name}": f"bin/{name}" for name in ("runsvdir", "runsv", "sv", "svlogd", "chpst")},
}

PROGRAMS = (
    _go(
        "runc",
        "tools/runc",
        "github.com/opencontainers/runc",
        Program("github.com/opencontainers/runc", "bin/runc", tags=("seccomp", "urfave_cli_no_docs")),
        cgo=True,
    ),
    _go(
        "containerd",
        "tools/runtime",
        "github.com/containerd/containerd/v2",
        Program("github.com/containerd/containerd/v2/cmd/containerd", "bin/containerd", _CONTAINERD_TAGS, _CONTAINERD),
        Program(
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            "bin/containerd-shim-runc-v2",
            (*_CONTAINERD_TAGS, "no_grpc"),  # as upstream: one shim runs for each pod
            _CONTAINERD,
        ),
        Program("github.com/containerd/containerd/v2/cmd/ctr", "bin/ctr", _CONTAINERD_TAGS, _CONTAINERD),
    ),
    Component("supervisor", "Debian's", DebianFiles(_PATHS)),  # runit, and busybox for its shell
    _go("etcd", "tools/services", "go.etcd.io/etcd/server/v3", Program("go.etcd.io/etcd/server/v3", "bin/etcd")),
    _go(
        "cni",
        "tools/runtime",
        "github.com/containernetworking/plugins",
        *(_cni(f"main/{name}") for name in ("ptp", "bridge", "loopback")),
        *(_cni(path) for path in ("ipam/host-local", "meta/portmap", "meta/bandwidth")),
    ),
    Component("pause", "3.10", CProgram("images/pause/pause.c", "bin/pause")),
    Component("web", "1", GoPrograms("images/web", "", (Program(".", "bin/web"),))),
    _go("coredns", "tools/services", "github.com/coredns/coredns", Program("./coredns", "bin/coredns")),
    _go(
        "kwok",
        "tools/kubernetes",
        "sigs.k8s.io/kwok",
        Program("sigs.k8s.io/kwok/cmd/kwok", "bin/kwok", ("grpcnotrace", "notest")),
    ),
    _go(
        "metrics-server",
        "tools/kubernetes",
        "sigs.k8s.io/metrics-server",
        Program(
            "./metrics-server",
            "bin/metrics-server",
            ("grpcnotrace", "notest"),
            _METRICS_SERVER,
        ),
    ),
    _go(
        "registry",
        "tools/services",
        "github.com/distribution/distribution/v3",
        Program(
            "./registry",
            "bin/registry",
            variables=("github.com/distribution/distribution/v3/version.version=v{version}",),
        ),
    ),
)

CLIENTS = (
    _go(
        "kubelogin",
        "tools/kubelogin",
        "github.com/Azure/kubelogin",
        Program("github.com/Azure/kubelogin", "bin/kubelogin", variables=("main.gitTag=v{version}",)),
    ),
)
"""What people run rather than sorairo: a wheel each, for `sorairo-engine` has no room left."""

OPTIONAL = (
    _go(
        "cloud-provider",
        "tools/cloud-provider",
        "k8s.io/cloud-provider",
        Program(".", "bin/cloud-controller-manager", ("grpcnotrace", "notest"), _COMPONENT_BASE),
    ),
)
"""What is built only when it is asked for by name (`--with`), a wheel each: nothing needs it unless it is chosen."""

_AGNHOST = Program("k8s.io/kubernetes/test/images/agnhost", "bin/agnhost", ("grpcnotrace", "notest"))
SPECS = (
    _go(
        "e2e",
        "tools/e2e",
        "k8s.io/kubernetes",
        Program(".", "bin/e2e", ("grpcnotrace", "notest"), _COMPONENT_BASE),
    ),
    _go("agnhost", "tools/e2e", "k8s.io/kubernetes", _AGNHOST),
    Component(
        "image-specs", pinned("tools/e2e", "k8s.io/kubernetes"), SpecImages(), ("agnhost", "pause", "supervisor")
    ),
)
"""Kubernetes' own specs and the image that they use: built when they are asked for (`--only`), in no wheel."""

ONLY_IN_IMAGES = ("pause", "web", "metrics-server")


def _image(name: str, program: str) -> Component:
    version = next(component.version for component in PROGRAMS if component.name == program)
    return Component(f"image-{name}", version, ImageArchive(name), (program,))


IMAGES = (
    _image("pause", "pause"),
    _image("busybox", "supervisor"),
    _image("web", "web"),
    _image("coredns", "coredns"),
    _image("metrics-server", "metrics-server"),
)


def folders(components: Iterable[Component]) -> dict[str, Path]:
    """Where each component is, or will be when it is built. A component's needs come before it."""
    where: dict[str, Path] = {}
    for component in components:
        parts = [component.name.encode(), component.version.encode(), images.processor().encode()]
        parts += [where[name].name.encode() for name in component.needs]
        where[component.name] = cache.root() / f"{component.name}-{cache.digest([*parts, *component.recipe.inputs()])}"
    return where


def chosen(wanted_minors: list[str], besides: Collection[str] = ()) -> list[Component]:
    """Everything for these minors, in the order in which it is worth having: one Kubernetes first, the others last.
    `besides`: names of optional ones."""
    first, *others = [kubernetes(minor) for minor in wanted_minors]
    return [first, *PROGRAMS, *IMAGES, *CLIENTS, *others, *(c for c in (*OPTIONAL, *SPECS) if c.name in besides)]
