"""OCI image layouts, written without any registry or container tool.

The same input gives the same bytes: times are fixed, entries sorted, owners root. Layers are left uncompressed, so that
a node imports them without spending processor time; the package that carries them is compressed.
See https://github.com/opencontainers/image-spec, `image-layout.md`.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CREATED = "2026-01-01T00:00:00Z"
_EPOCH = 1767225600  # the same moment

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class File:
    """A regular file of the image. `mode` is its permission bits."""

    content: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class Link:
    """A symbolic link of the image."""

    target: str


@dataclass(frozen=True)
class Folder:
    mode: int = 0o755


Entry = File | Link | Folder


@dataclass(frozen=True)
class Image:
    """An image of one layer. `names` are full references; `files` maps absolute paths to entries."""

    names: Sequence[str]
    files: Mapping[str, Entry]
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    user: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    ports: Sequence[int] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _tar(entries: Mapping[str, Entry]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, entry in sorted(entries.items()):
            info = tarfile.TarInfo(path.lstrip("/"))
            info.mtime = _EPOCH
            match entry:
                case File(content, mode):
                    info.mode, info.size = mode, len(content)
                    archive.addfile(info, io.BytesIO(content))
                case Link(target):
                    info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, target
                    archive.addfile(info)
                case Folder(mode):
                    info.type, info.mode = tarfile.DIRTYPE, mode
                    archive.addfile(info)
    return buffer.getvalue()


def layer(files: Mapping[str, Entry]) -> bytes:
    """The layer that holds `files`, with the folders above them."""
    entries: dict[str, Entry] = {}
    for path in files:
        for parent in Path(path).parents:
            if parent != Path("/"):
                entries.setdefault(str(parent), Folder())
    entries.update(files)
    return _tar(entries)


def _config(image: Image, diff_id: str, architecture: str) -> dict[str, Any]:
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **image.env}
    run: dict[str, Any] = {"Env": [f"{name}={value}" for name, value in sorted(env.items())], "WorkingDir": "/"}
    if image.entrypoint:
        run["Entrypoint"] = list(image.entrypoint)
    if image.command:
        run["Cmd"] = list(image.command)
    if image.user:
        run["User"] = image.user
    if image.ports:
        run["ExposedPorts"] = {f"{port}/tcp": {} for port in image.ports}
    if image.labels:
        run["Labels"] = dict(image.labels)
    return {
        "architecture": architecture,
        "os": "linux",
        "created": CREATED,
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
        "history": [{"created": CREATED, "created_by": "sorairo engine"}],
    }


def layout(images: Iterable[Image], architecture: str) -> bytes:
    """A tar of one image layout with `images`, as `ctr images import` and `skopeo oci-archive:` read it.

    `architecture` is OCI's word: amd64, arm64.
    """
    blobs: dict[str, bytes] = {}
    descriptors: list[dict[str, Any]] = []

    def put(content: bytes, media_type: str) -> dict[str, Any]:
        name = _sha256(content)
        blobs[name] = content
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(content)}

    for image in images:
        content = put(layer(image.files), _LAYER)
        config = put(_json(_config(image, content["digest"].removeprefix("sha256:"), architecture)), _CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": [content]}
        descriptor = put(_json(manifest), _MANIFEST) | {"platform": {"architecture": architecture, "os": "linux"}}
        for name in image.names:
            # containerd's importer takes the image's name from the first; other tools take the tag from the second.
            annotations = {
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": name.rpartition(":")[2],
            }
            descriptors.append(descriptor | {"annotations": annotations})

    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": descriptors}
    entries: dict[str, Entry] = {
        "blobs": Folder(),
        "blobs/sha256": Folder(),
        "oci-layout": File(_json({"imageLayoutVersion": "1.0.0"})),
        "index.json": File(_json(index)),
    }
    entries |= {f"blobs/sha256/{name}": File(content) for name, content in blobs.items()}
    return _tar(entries)
