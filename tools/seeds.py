"""Read off a cluster what its API server and controllers made by themselves, for `providers/…/seeds/`.

    python tools/seeds.py --kubeconfig FILE [--kubectl PROGRAM] [--out FOLDER]

The cluster must be new, and made without a seed of its own version, or one would only read back what was put.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

# API path, and what etcd's keys begin with (after /registry/).
LEARNED = {
    "/apis/rbac.authorization.k8s.io/v1/clusterroles": "clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings": "clusterrolebindings",
    "/apis/rbac.authorization.k8s.io/v1/roles": "roles",
    "/apis/rbac.authorization.k8s.io/v1/rolebindings": "rolebindings",
    "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas": "flowschemas",
    "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations": "prioritylevelconfigurations",
    "/apis/scheduling.k8s.io/v1/priorityclasses": "priorityclasses",
    "/apis/apiregistration.k8s.io/v1/apiservices": "apiregistration.k8s.io/apiservices",
    "/api/v1/namespaces/kube-system/serviceaccounts": "serviceaccounts",
}
OURS = "kubernetes.azure.com/managedby"
"""Label of what the cluster's add-ons brought."""
FOLDER = Path(__file__).parent.parent / "src/sorairo/providers/microsoft_containerservice/seeds"


def learn(kubectl: list[str]) -> dict[str, Any]:
    def get(path: str) -> Any:
        return json.loads(subprocess.run([*kubectl, "get", "--raw", path], check=True, capture_output=True).stdout)

    found: dict[str, Any] = {}
    for path, prefix in LEARNED.items():
        listed = get(path)
        for item in listed["items"]:
            metadata = item["metadata"]
            # Add-ons' own, and what was made for the fabric: no part of Kubernetes.
            if OURS in metadata.get("labels", {}) or (prefix == "serviceaccounts" and metadata["name"] == "default"):
                continue
            if item.get("spec", {}).get("service"):
                continue
            for name in ("resourceVersion", "uid", "creationTimestamp", "managedFields"):
                metadata.pop(name, None)
            item.pop("status", None) if prefix != "apiregistration.k8s.io/apiservices" else None
            name = "/".join(each for each in (metadata.get("namespace"), metadata["name"]) if each)
            kind = listed["kind"].removesuffix("List")
            found[f"/registry/{prefix}/{name}"] = {"apiVersion": listed["apiVersion"], "kind": kind, **item}
    return dict(sorted(found.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--kubectl", default="kubectl")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    kubectl = [options.kubectl, f"--kubeconfig={options.kubeconfig}"]
    version = json.loads(subprocess.run([*kubectl, "get", "--raw", "/version"], check=True, capture_output=True).stdout)
    file = options.out / f"{version['gitVersion'].removeprefix('v')}.json"
    file.write_text(json.dumps(learn(kubectl), separators=(",", ":")) + "\n")
    print(f"{file.name}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
