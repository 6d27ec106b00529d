"""What a new cluster's etcd holds before its API server starts for the first time.

An API server with an empty etcd makes some 150 roles, bindings, priorities and registrations, one after the other, each
waiting for the disk; then the controller manager makes an account for each of its controllers. That is half of the time
until a cluster stands. `seeds/VERSION.json` has these objects as that version makes them (`tools/seeds.py` reads them
off a cluster); with an identity and a date of their own they are put where the API server looks. It finds nothing to
make, and says so after its own check, which would mend what is not as it should be.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


@lru_cache(maxsize=2)
def _learned(version: str) -> str | None:
    file = resources.files(__package__) / "seeds" / f"{version}.json"
    return file.read_text() if file.is_file() else None


def objects(version: str, ca: str) -> dict[str, Any]:
    """etcd key → object. Empty for a version nobody has read off: its API server makes them itself. `ca`: PEM."""
    learned = _learned(version)
    return {**json.loads(learned), **_namespaces(ca)} if learned else {}


def _namespaces(ca: str) -> dict[str, Any]:
    """What controllers make in an empty cluster, and a pod must find there."""
    found: dict[str, Any] = {}
    for name in NAMESPACES:
        found[f"/registry/namespaces/{name}"] = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        }
        found[f"/registry/serviceaccounts/{name}/default"] = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": name},
        }
        found[f"/registry/configmaps/{name}/kube-root-ca.crt"] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "kube-root-ca.crt", "namespace": name},
            "data": {"ca.crt": ca},
        }
    return found
