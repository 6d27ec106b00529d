"""What a machine's `customData` asks of it: the part of cloud-init's language that a node needs.

`write_files` (path, content, permissions, encoding b64) as cloud-init has it, and `sorairo`, our own key:
`services` (name, argv, env, wait_for) and `images` (names of image stores). With the first line
`## template: jinja`, `{{ v1.local_hostname }}` and the other names in `Metadata` are filled in.
https://cloudinit.readthedocs.io/en/latest/reference/modules.html#write-files
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sorairo.drivers.protocols import File, Machine, Service
from sorairo.engine.errors import ArmError

_EXPRESSION = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class CloudConfig:
    files: Mapping[str, File]
    services: tuple[Service, ...]
    images: tuple[str, ...]


def parse(custom_data: str, metadata: Mapping[str, str]) -> CloudConfig:
    """`custom_data`: base64 of a `#cloud-config` document (JSON, or YAML). `metadata`: values of expressions.

    Raises ArmError `InvalidParameter`.
    """
    if not custom_data:
        return CloudConfig({}, (), ())
    try:
        text = base64.b64decode(custom_data, validate=True).decode()
    except ValueError as e:
        raise ArmError("InvalidParameter", f"Custom data is not base64 of text: {e}", target="customData") from None
    if text.startswith("## template: jinja"):
        text = _EXPRESSION.sub(lambda m: _value(m.group(1), metadata), text)
    document = _load(text)
    extra = document.get("sorairo", {})
    return CloudConfig(
        {f["path"]: _file(f) for f in document.get("write_files", [])},
        tuple(
            Service(s["name"], tuple(s["argv"]), s.get("env", {}), tuple(s.get("wait_for", ())))
            for s in extra.get("services", [])
        ),
        tuple(extra.get("images", ())),
    )


def machine(
    config: CloudConfig,
    *,
    id: str,
    owner: str,
    hostname: str,
    cpus: int,
    memory_bytes: int,
    secrets: Mapping[str, str],
    more: Sequence[Mapping[str, Any]] = (),
    resolver: str = "",
) -> Machine:
    """The machine of a virtual machine. `secrets`: files for this one alone, path → text. `more`: files that are
    changed while it runs, as `write_files` has them. `resolver`: whom it asks for names, as in `/etc/resolv.conf`,
    which programs read anew whenever they ask."""
    own = {path: File(text.encode(), 0o600) for path, text in secrets.items()}
    files = {**config.files, **own, **{item["path"]: _file(item) for item in more}}
    if resolver:
        files = {"/etc/resolv.conf": File(resolver.encode(), 0o644, restarts=()), **files}
    return Machine(
        id=id,
        owner=owner,
        services=config.services,
        files=files,
        namespace=id,
        isolation="node",
        hostname=hostname,
        cpus=float(cpus),
        memory_bytes=memory_bytes,
        images=config.images,
    )


def _value(name: str, metadata: Mapping[str, str]) -> str:
    if name not in metadata:
        raise ArmError("InvalidParameter", f"Custom data asks for '{name}', which is not known.", target="customData")
    return json.dumps(metadata[name])[1:-1]  # We fill in text inside JSON strings.


def _load(text: str) -> dict[str, Any]:
    body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    try:
        document = json.loads(body)
    except ValueError:
        import yaml

        try:
            document = yaml.safe_load(body)
        except yaml.YAMLError as e:
            raise ArmError("InvalidParameter", f"Custom data is not YAML: {e}", target="customData") from None
    return document if isinstance(document, dict) else {}


def _file(item: Mapping[str, Any]) -> File:
    content = str(item.get("content", ""))
    data = base64.b64decode(content) if item.get("encoding") in ("b64", "base64") else content.encode()
    restarts = item.get("restarts")
    return File(data, int(str(item.get("permissions", "0644")), 8), None if restarts is None else tuple(restarts))
