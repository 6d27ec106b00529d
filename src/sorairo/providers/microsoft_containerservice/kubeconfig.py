"""Kubeconfigs, for people and for our own programs."""

from __future__ import annotations

import base64
from typing import Any

import yaml

_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""libyaml's where it is: a control plane has five of these, and they are compared at every look."""


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def kubeconfig(
    *,
    server: str,
    ca: str,
    user: str,
    cert: str,
    key: str,
    cluster: str = "cluster",
    tls_server_name: str | None = None,
) -> str:
    """YAML, everything inline. `ca`, `cert` and `key` are PEM texts."""
    where: dict[str, Any] = {"server": server, "certificate-authority-data": _b64(ca)}
    if tls_server_name:
        where["tls-server-name"] = tls_server_name
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": where}],
        "users": [{"name": user, "user": {"client-certificate-data": _b64(cert), "client-key-data": _b64(key)}}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
        "preferences": {},
    }
    return str(yaml.dump(document, Dumper=_DUMPER, sort_keys=False))
