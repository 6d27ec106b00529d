"""The images that a cluster cannot do without, named as on Azure but under a host that exists nowhere else."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import oci
from oci import Entry, File, Folder, Image, Link

_MCR = "mcr.sorairo.internal"
_NOBODY = "65534:65534"


def _program(folder: Path, name: str) -> dict[str, Entry]:
    return {f"/{name}": File((folder / "bin" / name).read_bytes(), 0o755)}


def _users(*lines: str) -> dict[str, Entry]:
    users = ("root:x:0:0:root:/root:/bin/sh", "nobody:x:65534:65534:nobody:/:/bin/false", *lines)
    groups = ("root:x:0:", "nobody:x:65534:")
    return {
        "/etc/passwd": File("".join(f"{line}\n" for line in users).encode()),
        "/etc/group": File("".join(f"{line}\n" for line in groups).encode()),
    }


def _pause(version: str, needed: Mapping[str, Path]) -> Image:
    return Image(
        [f"{_MCR}/oss/kubernetes/pause:{version}"], _program(needed["pause"], "pause"), ["/pause"], user="65535:65535"
    )


def _coredns(version: str, needed: Mapping[str, Path]) -> Image:
    name = f"{_MCR}/oss/kubernetes/coredns:v{version}"
    return Image([name], _program(needed["coredns"], "coredns") | _users(), ["/coredns"], ports=[53])


def _metrics_server(version: str, needed: Mapping[str, Path]) -> Image:
    files = _program(needed["metrics-server"], "metrics-server") | _users() | {"/tmp": Folder(0o1777)}
    name = f"{_MCR}/oss/kubernetes/metrics-server:v{version}"
    return Image([name], files, ["/metrics-server"], user=_NOBODY)


def _web(version: str, needed: Mapping[str, Path]) -> Image:
    name = f"{_MCR}/sorairo/web:{version}"
    return Image([name], _program(needed["web"], "web") | _users(), ["/web"], user=_NOBODY, ports=[80, 8080])


def _busybox(version: str, needed: Mapping[str, Path]) -> Image:
    program = needed["supervisor"] / "bin" / "busybox"
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
    files: dict[str, Entry] = {f"/bin/{applet}": Link("busybox") for applet in listed.stdout.split()}
    files["/bin/busybox"] = File(program.read_bytes(), 0o755)
    files["/usr/bin/env"] = Link("/bin/env")
    files |= {
        "/tmp": Folder(0o1777),
        "/root": Folder(0o700),
        "/home": Folder(),
        "/var/spool": Folder(),
        "/dev": Folder(),
    }
    return Image(["docker.io/library/busybox:latest", "docker.io/library/busybox:1"], files | _users(), command=["sh"])


_ALL = {"pause": _pause, "coredns": _coredns, "metrics-server": _metrics_server, "web": _web, "busybox": _busybox}


def archive(name: str, version: str, needed: Mapping[str, Path]) -> bytes:
    """The image layout tar of one of the images. `needed` has the folders of the components that it is made of."""
    return oci.layout([_ALL[name](version, needed)], processor())


def processor() -> str:
    """This machine's architecture, in OCI's and Go's words."""
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
