"""Kubeconfigs, for people and for our own programs."""

from __future__ import annotations

import base64
from collections.abc import Mapping
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
    more = {"tls-server-name": tls_server_name} if tls_server_name else {}
    return text(document(server, ca, user, certificate(cert, key), cluster, **more))


def certificate(cert: str, key: str) -> dict[str, str]:
    """What a user proves themselves with: PEM texts."""
    return {"client-certificate-data": _b64(cert), "client-key-data": _b64(key)}


def document(server: str, ca: str, user: str, proof: Mapping[str, Any], cluster: str = "cluster", **more: str) -> Any:
    """One cluster, and one user who proves themselves with `proof` (`{"token": …}`, `{"exec": …}`, …)."""
    where = {"server": server, "certificate-authority-data": _b64(ca), **more}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": where}],
        "users": [{"name": user, "user": dict(proof)}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
        "preferences": {},
    }


def text(document: Mapping[str, Any]) -> str:
    return str(yaml.dump(dict(document), Dumper=_DUMPER, sort_keys=False))
