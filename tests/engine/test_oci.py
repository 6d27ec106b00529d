"""An image archive is a valid OCI layout, names its images, and is the same bytes each time."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import components
import oci
import pytest
from oci import File, Folder, Image, Link

HELLO = Image(
    names=["registry.example/hello:1", "registry.example/hello:latest"],
    files={"/bin/hello": File(b"#!/bin/sh\n", 0o755), "/bin/hi": Link("hello"), "/tmp": Folder(0o1777)},
    entrypoint=["/bin/hello"],
    user="65534",
    ports=[8080],
)


def read_layout(archive: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The index and the blobs by digest, each blob checked against its name."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}  # type: ignore[union-attr]
    assert json.loads(files.pop("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(files.pop("index.json"))
    blobs = {name.replace("blobs/sha256/", "sha256:"): content for name, content in files.items()}
    for digest, content in blobs.items():
        assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    return index, blobs


def check_layout(archive: bytes) -> list[tuple[str, dict[str, Any], bytes]]:
    """Name, configuration and layer of each image, with every descriptor followed."""
    index, blobs = read_layout(archive)
    assert index["schemaVersion"] == 2
    found = []
    for entry in index["manifests"]:
        assert len(blobs[entry["digest"]]) == entry["size"]
        manifest = json.loads(blobs[entry["digest"]])
        config = json.loads(blobs[manifest["config"]["digest"]])
        (layer,) = manifest["layers"]
        assert len(blobs[layer["digest"]]) == layer["size"]
        assert config["rootfs"]["diff_ids"] == [layer["digest"]], "a layer that is not compressed is its own diff"
        found.append((entry["annotations"]["io.containerd.image.name"], config, blobs[layer["digest"]]))
    return found


def test_each_name_is_an_entry_of_the_index() -> None:
    first, second = check_layout(oci.layout([HELLO], "amd64"))
    assert [first[0], second[0]] == list(HELLO.names)
    assert first[1] == second[1]


def test_the_configuration_says_how_to_run_it() -> None:
    _, config, _ = check_layout(oci.layout([HELLO], "arm64"))[0]
    assert (config["architecture"], config["os"]) == ("arm64", "linux")
    assert config["config"]["Entrypoint"] == ["/bin/hello"]
    assert config["config"]["User"] == "65534"
    assert config["config"]["ExposedPorts"] == {"8080/tcp": {}}


def test_a_layer_has_the_folders_above_its_files() -> None:
    with tarfile.open(fileobj=io.BytesIO(oci.layer(HELLO.files))) as tar:
        entries = {entry.name: entry for entry in tar}
    assert list(entries) == ["bin", "bin/hello", "bin/hi", "tmp"], "a folder comes before what is in it"
    assert entries["bin/hello"].mode == 0o755
    assert entries["bin/hi"].linkname == "hello"
    assert entries["tmp"].mode == 0o1777
    assert {(entry.uid, entry.gid) for entry in entries.values()} == {(0, 0)}


def test_the_same_files_give_the_same_bytes() -> None:
    turned = Image(**{**vars(HELLO), "files": dict(reversed(HELLO.files.items()))})
    assert oci.layout([HELLO], "amd64") == oci.layout([turned], "amd64")


@pytest.mark.engine
@pytest.mark.parametrize("image", [component.name for component in components.IMAGES])
def test_built_image(built: Callable[[str], Path], image: str) -> None:
    (archive,) = (built(image) / "images").glob("*.tar")
    for name, config, layer in check_layout(archive.read_bytes()):
        assert name.startswith(("mcr.sorairo.internal/", "docker.io/library/"))
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            run = config["config"]
            program = (run.get("Entrypoint") or [f"/bin/{run['Cmd'][0]}"])[0].lstrip("/")
            entry = tar.getmember(program)
            if entry.issym():
                entry = tar.getmember(str(Path(program).parent / entry.linkname))
            assert entry.mode & 0o111, f"{name} starts {program}"
